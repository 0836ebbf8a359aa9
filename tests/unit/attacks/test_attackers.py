"""Adversaries as a user lists them."""

import csv

import numpy as np
import pytest

from harness.attack import main
from harness.attacks.attackers import Attacker, Dialled
from harness.attacks.config import AttackConfig
from harness.episodes.attacks import attack_context
from harness.errors import ConfigError
from tests.scenes import straight_road

SEEN = []


class Listener:
    """Plans nothing, and remembers how hard it should have attacked."""

    name = "listener"

    def __init__(self, gain=1.0, protocol="corrected"):
        self.gain, self.protocol = gain, protocol

    def plan(self, context):
        SEEN.append((self.gain, context.intensity))


HERE = f"{__name__}:Listener"


@pytest.mark.parametrize(
    ("text", "label", "head", "options", "intensity"),
    [
        ("cat", "cat", "cat", {}, 1.0),
        ("sage@0.5", "sage@0.5", "sage", {}, 0.5),
        ("mild=sage:EXPERTS?spacing=4@0.25", "mild", "sage:EXPERTS", {"spacing": 4}, 0.25),
        ("sage?spacing=4", "sage?spacing=4", "sage", {"spacing": 4}, 1.0),
        ("my.module:Class?gain=2", "my.module:Class?gain=2", "my.module:Class", {"gain": 2}, 1.0),
    ],
)
def test_a_label_a_specification_and_an_intensity(text, label, head, options, intensity):
    found = Attacker.parse(text, 1.0)
    assert (found.label, found.spec.head, dict(found.spec.options), found.intensity) == (
        label,
        head,
        options,
        intensity,
    )


def test_it_is_built_with_its_own_options_and_what_is_offered():
    made = Attacker.parse(f"{HERE}?gain=3", 1.0).build(protocol="as-published", prior="elsewhere")
    assert (made.gain, made.protocol) == (3, "as-published")
    with pytest.raises(ConfigError, match="no option 'colour'"):
        Attacker.parse(f"{HERE}?colour=3", 1.0).build()


def test_a_dialled_adversary_attacks_at_its_own_intensity():
    SEEN.clear()
    adversary = Dialled(Listener(), "mild", 0.25)
    assert adversary.name == "mild"
    assert adversary.plan(attack_context(straight_road(), np.random.default_rng(0))) is None
    assert SEEN == [(1.0, 0.25)]


def test_the_command_attacks_with_several_intensities_of_one_adversary(tmp_path):
    from scenarios.export import write_folder

    write_folder([straight_road()], tmp_path / "data")
    SEEN.clear()
    adversaries = [f"mild={HERE}@0.25", f"hard={HERE}?gain=2"]
    main(
        ["--data", str(tmp_path / "data"), "--split", "all", "--adversary", *adversaries, "--out", str(tmp_path / "o")]
    )
    assert SEEN == [(1.0, 0.25), (2, 1.0)]
    with (tmp_path / "o" / "attacks.csv").open() as file:
        assert [row["adversary"] for row in csv.DictReader(file)] == ["mild", "hard"]
    with pytest.raises(ConfigError, match="called the same"):
        AttackConfig(adversary=("cat", "cat"))
