"""Attacks as a file: what comes back, what is refused, and what a file cannot hold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from harness.attacks.config import AttackConfig
from harness.attacks.frozen import AttackKey, AttackSet, FrozenAttack, FrozenAttacks, frozen, frozen_spec
from harness.benchmarking.config import BenchmarkConfig
from harness.episodes.attacks import attack_context
from harness.errors import AdversaryError, ConfigError, WeightsError
from harness.interfaces import AttackPlan
from harness.specs import build
from scenarios.scenario import Scenario
from tests.scenes import straight_road

CAT, SAGE = AttackKey("cat", "log", "straight_road"), AttackKey("sage@0.5", "idm", "straight_road")


class Driver:
    """Stands for a controller."""

    def reset(self, plan, context):
        """Begin."""

    def act(self, step, opponent, ego):
        """Do nothing."""
        return np.zeros(2)


def a_plan(scene: Scenario, **more: object) -> AttackPlan:
    assert scene.opponent is not None
    states = scene.states(scene.opponent) + 1 / 3
    return AttackPlan(states, np.arange(len(states)) < 60, **more)  # type: ignore[arg-type]


def context(scene: Scenario):
    return attack_context(scene, np.random.default_rng(0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    scene = straight_road()
    quiet = FrozenAttack.of(scene, 0.5, None)
    assert frozen([(CAT, FrozenAttack.of(scene, 1.0, a_plan(scene))), (SAGE, quiet)], tmp_path / "a", traffic="x") == []
    return tmp_path / "a"


def test_plans_come_back_to_the_last_bit(file: Path) -> None:
    scene = straight_road()
    found = FrozenAttacks(str(file), "cat").plan(context(scene))
    wanted = a_plan(scene)
    assert found is not None
    assert np.array_equal(found.states, wanted.states)
    assert np.array_equal(found.valid, wanted.valid)
    assert FrozenAttacks(str(file), "sage@0.5", "idm").plan(context(scene)) is None, "that one left the scene alone"
    stored = AttackSet.load(file)
    assert stored.groups == {("cat", "log"): 1.0, ("sage@0.5", "idm"): 0.5}
    assert stored.about["traffic"] == "x"
    assert "numpy" in stored.about["versions"]


def test_equal_attacks_have_one_address(file: Path, tmp_path: Path) -> None:
    scene = straight_road()
    stored = AttackSet.load(file)
    again = {CAT: FrozenAttack.of(scene, 1.0, a_plan(scene)), SAGE: FrozenAttack.of(scene, 0.5, None)}
    assert AttackSet(again).address == stored.address
    moved = replace(a_plan(scene), states=a_plan(scene).states + 1e-12)
    assert AttackSet({**again, CAT: FrozenAttack.of(scene, 1.0, moved)}).address != stored.address
    assert AttackSet({**again, SAGE: FrozenAttack.of(scene, 0.6, None)}).address != stored.address


def test_what_a_controller_drives_is_left_out(tmp_path: Path) -> None:
    scene = straight_road()
    driven = a_plan(scene, takeover_step=20, controller=Driver())
    assert FrozenAttack.of(scene, 1.0, driven) is None
    # As a record gives it back: the controller is gone, the step at which it took over is not.
    assert FrozenAttack.of(scene, 1.0, replace(driven, controller=None)) is None
    assert frozen([(CAT, None)], tmp_path / "a") == [CAT]
    assert AttackSet.load(tmp_path / "a").attacks == {}


def test_a_plan_that_was_changed_is_refused(file: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, "np") as opened:
        header = opened.metadata()
    arrays = load_file(file)
    arrays["0.states"][40, 0] += 1e-9
    save_file(arrays, file, header)
    with pytest.raises(WeightsError, match="was changed after it had been written"):
        AttackSet.load(file)
    entries = json.loads(header["entries"])
    entries[0]["scene"] = "another"
    save_file(load_file(file), file, {**header, "entries": json.dumps(entries)})
    with pytest.raises(WeightsError, match="was changed"):
        AttackSet.load(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entries": "[]"}, "was changed"),
        ({"entries": "[{}]"}, "holds no attacks that can be read"),
        ({"entries": "3"}, "holds no attacks that can be read"),
        ({"about": "[1]"}, "holds no attacks that can be read"),
        ({"attacks": "gauntlet-attacks-9"}, "expected 'gauntlet-attacks-1'"),
    ],
)
def test_other_files_are_refused(file: Path, change: dict[str, str], message: str) -> None:
    from safetensors import safe_open

    with safe_open(file, "np") as opened:
        header = {**opened.metadata(), **change}
    save_file(load_file(file), file, header)
    with pytest.raises(WeightsError, match=message):
        AttackSet.load(file)


def test_arrays_of_another_shape_are_refused(file: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, "np") as opened:
        header = opened.metadata()
    arrays = load_file(file)
    save_file({**arrays, "0.states": arrays["0.states"][:, :4].copy()}, file, header)
    with pytest.raises(WeightsError, match=r"attack 0 has arrays of float64 \(91, 4\)"):
        AttackSet.load(file)


def test_other_scenes_are_refused_by_name(file: Path) -> None:
    adversary = FrozenAttacks(str(file), "cat")
    with pytest.raises(AdversaryError, match=r"other: .* has no attack of cat on log on it"):
        adversary.plan(context(straight_road(scene_id="other")))
    with pytest.raises(AdversaryError, match="was made on other data of this name"):
        adversary.plan(context(replace(straight_road(), heading=straight_road().heading + 0.01)))


def test_attacks_that_are_not_in_the_file_are_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no attacks of cat on idm\. It has cat on log, sage@0\.5 on idm"):
        FrozenAttacks(str(file), "cat", "idm")
    with pytest.raises(WeightsError, match="Make one with attack --freeze"):
        FrozenAttacks(str(tmp_path / "none"), "cat")


def test_a_benchmark_has_a_row_for_each(file: Path) -> None:
    config = BenchmarkConfig(attacks=file)
    assert [(item.label, item.intensity) for item in config.attackers] == [
        ("cat on log", 1.0),
        ("sage@0.5 on idm", 0.5),
    ]
    made = config.attackers[0].build(protocol="corrected", prior=None)
    assert made.plan(context(straight_road())) is not None
    assert build("adversary", frozen_spec(file, "cat", "log")).name == "frozen"


@pytest.mark.parametrize("config", [AttackConfig, BenchmarkConfig])
def test_attacks_as_published_are_not_frozen(config: type) -> None:
    with pytest.raises(ConfigError, match="--freeze: attacks as published are played a step late"):
        config(protocol="as-published", freeze=Path("x"))
