"""The two readings: one object, every switch of which is read by somebody, the same in every command."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from harness.attacks.config import AttackConfig
from harness.benchmarking.config import BenchmarkConfig
from harness.episodes.protocol import (
    ADVERSARY_SWITCHES,
    CORRECTED,
    MEANING,
    PROTOCOLS,
    PUBLISHED,
    SWITCHES,
    protocol_of,
)
from harness.errors import UnknownNameError
from harness.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[3]


def reads(folder: str) -> set[str]:
    """Attributes that the modules of a folder read, the protocol's own module left out."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        if path != ROOT / "harness/episodes/protocol.py":
            tree = ast.parse(path.read_text())
            found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found


def test_every_switch_sets_the_two_readings_apart_and_is_read():
    for name in SWITCHES:
        assert getattr(CORRECTED, name) != getattr(PUBLISHED, name), name
    assert set(ADVERSARY_SWITCHES) <= reads("adversaries")
    assert set(SWITCHES) - set(ADVERSARY_SWITCHES) <= reads("harness")


def test_every_deviation_of_an_evaluation_is_named():
    assert PUBLISHED.names() == tuple(MEANING)
    assert CORRECTED.names() == ()
    assert {row["repeated"] for row in PUBLISHED.describe()} == {"yes"}
    assert [row["name"] for row in CORRECTED.describe()] == list(MEANING)
    assert replace(CORRECTED, name="mine", clamp_rank=6).names() == ("adversaries_as_written",)


def test_names_become_protocols_and_protocols_pass():
    for name, protocol in PROTOCOLS.items():
        assert protocol_of(name) is protocol_of(protocol) is protocol
        assert protocol.name == name
    with pytest.raises(UnknownNameError, match="as-published"):
        protocol_of("published")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_the_same_in_every_command(name):
    configs = AttackConfig(protocol=name), BenchmarkConfig(protocol=name), TrainConfig(protocol=name)
    assert {protocol_of(config.protocol) for config in configs} == {PROTOCOLS[name]}
