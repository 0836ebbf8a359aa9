"""Who takes part, and what is recorded of their weights."""

import json
import os
from pathlib import Path

import pytest

from harness import registry
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.lineup import Lineup, SystemInfo, assemble
from harness.benchmarking.run import _take_up
from harness.errors import RunError
from scenarios.export import write_folder
from tests.scenes import straight_road


class Steered:
    """Takes a folder."""

    name = "steered"

    def __init__(self, experts=None):
        self.experts = experts

    def plan(self, context):
        return None


def test_weights_named_in_a_specification_are_recorded(tmp_path, monkeypatch):
    table = registry.BUILTIN["adversary"] | {"steered": f"{__name__}:Steered"}
    monkeypatch.setitem(registry.BUILTIN, "adversary", table)
    write_folder([straight_road()], tmp_path / "data")
    experts = tmp_path / "experts"
    experts.mkdir()
    (experts / "adv.safetensors").write_text("one")
    config = BenchmarkConfig(
        data=str(tmp_path / "data"), split="all", sut=("replay",), adversary=(f"steered:{experts}@0.5", "rule")
    )
    before = assemble(config)
    assert list(before.digests) == [str(experts)]
    stored = before.as_dict("corrected") | {"scenes": list(before.scenes)}
    assemble(config).check_same(stored, tmp_path)
    (experts / "adv.safetensors").write_text("two")
    with pytest.raises(RunError, match="weights of an adversary have changed"):
        assemble(config).check_same(stored, tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", '{"scenes": 5}', '{"protocol": [1]}', '{"scenes": ["a"], "systems": [3]}'])
def test_a_lineup_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "lineup.json").write_text(text)
    config = BenchmarkConfig(resume=tmp_path)
    mine = Lineup(("a",), (SystemInfo("idm", "idm", True, False, "action"),), (), {})
    with pytest.raises(RunError):
        _take_up(tmp_path, config, mine)
    (tmp_path / "lineup.json").write_text(json.dumps(mine.as_dict("corrected") | {"labels": 3}))
    _take_up(tmp_path, config, mine)
    assert "labels" not in json.loads((tmp_path / "lineup.json").read_text()), "what a stranger wrote is not kept"


class Driver:
    """Reads two files."""

    name, control, observation, privileged = "driver", "replay", "none", True

    def __init__(self, path, scaling=None):
        self.path, self.scaling = path, scaling

    def reset(self, scenario, rng):
        pass

    def act(self, observation, view):
        raise AssertionError("not driven")


class Shipped(Driver):
    """Reads a file that nobody named."""

    def __init__(self):
        super().__init__(__file__)


class Wanderer(Driver):
    """Goes to another folder while it is built."""

    def __init__(self):
        os.chdir("/")


def test_a_system_that_changes_the_working_directory_changes_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder([straight_road()], tmp_path / "data")
    config = BenchmarkConfig(data="data", split="all", sut=(f"{__name__}:Wanderer",), adversary=("rule",))
    assert assemble(config).systems[0].control == "replay"
    assert Path.cwd() == tmp_path


def test_every_file_of_a_system_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.BUILTIN, "policy", registry.BUILTIN["policy"] | {"driver": f"{__name__}:Driver"})
    write_folder([straight_road()], tmp_path / "data")
    model, scaling = tmp_path / "model", tmp_path / "scaling"
    model.write_text("model")
    scaling.write_text("one")
    config = BenchmarkConfig(
        data=str(tmp_path / "data"), split="all", sut=(f"driver:{model}?scaling={scaling}",), adversary=("rule",)
    )
    before = assemble(config)
    stored = before.as_dict("corrected") | {"scenes": list(before.scenes)}
    assemble(config).check_same(stored, tmp_path)
    scaling.write_text("two")
    with pytest.raises(RunError, match="file of system 'driver' has changed"):
        assemble(config).check_same(stored, tmp_path)


def test_the_file_of_a_policy_that_comes_with_the_package_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.BUILTIN, "policy", registry.BUILTIN["policy"] | {"driver": f"{__name__}:Shipped"})
    write_folder([straight_road()], tmp_path / "data")
    config = BenchmarkConfig(data=str(tmp_path / "data"), split="all", sut=("driver", "idm"), adversary=("rule",))
    digests = [system.digest for system in assemble(config).systems]
    assert len(digests[0]) == 64
    assert not digests[1]
