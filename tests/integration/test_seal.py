"""`seal` in the engine: roll-outs for its training, and an attack that ends in physics."""

from functools import partial

import numpy as np
import pytest

from adversaries.seal.adversary import SealAdversary
from adversaries.seal.rollouts import Rollouts, roll_out
from harness.attacks.every_candidate import collect
from harness.engine import EngineConfig, GauntletEnv
from harness.episodes.two_stage import two_stages
from harness.registry import make
from tests.scenes import straight_road
from tests.sources import ListSource
from tests.unit.adversaries.fakes import FixedPrior, line
from tests.unit.adversaries.seal.toys import model

SCENES = ListSource([straight_road(opponent_gap=20.0)])
BLOCKS, LEAVES = line(20.0, 0.0, 0.0, 2.0), line(20.0, 3.5, 0.0, 14.0)


def test_roll_outs_of_an_intelligent_driver(tmp_path) -> None:
    """It brakes for a car that creeps in its lane, and drives on as before if the car drives away."""
    told = []
    names = collect(
        SCENES,
        make("policy", "idm"),
        partial(roll_out, FixedPrior(np.stack([BLOCKS, LEAVES]), [-1.0, -2.0])),
        tmp_path,
        report=lambda done, total: told.append((done, total)),
    )
    assert (names, told) == (["straight_road"], [(1, 1)])
    record = Rollouts.load(tmp_path / "straight_road.npz")
    slowest = np.where(record.induced_valid, np.hypot(*np.moveaxis(record.induced[..., 3:], -1, 0)), 99.0).min(-1)
    assert slowest[0] < 5.0
    assert record.contact[1] == -1
    shared = record.induced_valid[1] & record.ego_valid
    np.testing.assert_allclose(record.induced[1, shared], record.ego[shared], atol=0.3)
    np.testing.assert_array_equal(record.opponent[0, 11:], BLOCKS[11:])


@pytest.fixture(scope="module")
def env():
    env = GauntletEnv(SCENES, EngineConfig(observation="none"))
    yield env
    env.close()


def test_an_attack_follows_its_plan_and_then_drives(env) -> None:
    adversary = SealAdversary(FixedPrior(line(20.0, 0.0, 0.0, 6.0)[None], [-1.0]), model())
    _, *played = two_stages(env, make("policy", "idm"), [adversary, adversary], 0)
    first, second = (one.episode for one in played)
    takeover = first.plan.takeover_step
    assert 11 < takeover < 60
    np.testing.assert_allclose(first.opponent.states[:takeover], first.plan.states[:takeover], atol=1e-4)
    rest = slice(takeover + 5, 90)
    assert np.abs(first.opponent.states[rest] - first.plan.states[rest]).max() > 0.1
    np.testing.assert_array_equal(first.opponent.states, second.opponent.states)
    # What is driven can be driven: no jump in speed, no sideways motion beyond the tyres'.
    speed = np.hypot(*first.opponent.states[takeover - 1 :, 3:].T)[: first.steps - takeover]
    assert np.abs(np.diff(speed)).max() < 1.2
