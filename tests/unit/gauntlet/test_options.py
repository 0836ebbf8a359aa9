"""Keywords become configurations, and objects names, or one clear error."""

from pathlib import Path

import pytest

from gauntlet.options import configured, named, of_main, several
from harness.attacks.config import AttackConfig
from harness.errors import ConfigError
from harness.training.config import PRESETS
from tests.unit.benchmarking.saboteurs import Jitter


def test_options_replace_values_and_leave_the_rest():
    config = configured(AttackConfig(seed=3), adversary="cat", out=Path("run"), intensity=1, prior="p.safetensors")
    assert (config.adversary, config.out, config.intensity, config.seed) == (("cat",), Path("run"), 1, 3)
    assert config.prior == Path("p.safetensors")


def test_groups_take_mappings_and_keep_their_other_values():
    best = PRESETS["best"][1]
    config = configured(best, ppo={"epochs": 2}, seed=7)
    assert (config.ppo.epochs, config.seed) == (2, 7)
    assert config.ppo.gamma == best.ppo.gamma
    assert configured(best) == best


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scnes": "2"}, "unknown option 'scnes'"),
        ({"pictures": "two"}, "pictures: expected int"),
        ({"pictures": -1}, "expected 0 or more"),
        ({"protocol": "mine"}, "protocol: expected 'corrected'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        configured(AttackConfig(), **options)


def test_an_unknown_option_of_a_group_is_named():
    with pytest.raises(ConfigError, match=r"ppo\.epoch"):
        configured(PRESETS["best"][1], ppo={"epoch": 2})


def test_classes_and_functions_have_names():
    assert named("sage@0.5") == "sage@0.5"
    assert named(Jitter) == "tests.unit.benchmarking.saboteurs:Jitter"
    assert several(["cat", Jitter]) == ["cat", f"Jitter={named(Jitter)}"]
    assert several(Jitter) == [f"Jitter={named(Jitter)}"]
    assert of_main(["idm", "Mine=__main__:Mine"])
    assert not of_main(["idm", named(Jitter)])


@pytest.mark.parametrize("thing", [lambda observation: observation, Path("."), 3])
def test_what_no_process_finds_again_is_refused(thing):
    with pytest.raises(ConfigError, match="top level"):
        named(thing)


def test_one_thing_that_has_no_name_is_refused():
    with pytest.raises(ConfigError, match="top level"):
        several(3)
