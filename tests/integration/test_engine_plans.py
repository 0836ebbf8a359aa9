"""Attack plans in the engine: absolute steps, no lag, nothing left over."""

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.errors import ConfigError
from harness.interfaces import STATE, AttackPlan
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road
from tests.sources import ListSource

FAR = 40_000.0
"""World coordinates as large as WOMD's."""


def sideways(first=11, last=60, x=60.0, y=LANE_WIDTH, origin=(0.0, 0.0)):
    """A plan whose rows are all different: row k is at x + k, y + 0.01 k, heading 0.001 k."""
    steps = np.arange(91)
    states = np.zeros((91, STATE))
    states[:, 0] = origin[0] + x + steps
    states[:, 1] = origin[1] + y + 0.01 * steps
    states[:, 2] = 0.001 * steps
    states[:, 3] = 10.0
    valid = (steps >= first) & (steps <= last)
    return AttackPlan(np.where(valid[:, None], states, np.nan), valid)


@pytest.fixture(scope="module")
def env():
    parked = Agent("opponent", 60.0, LANE_WIDTH, 0.0, 0.0)
    scenes = [
        straight_road(opponent_gap=30.0),
        straight_road(opponent_gap=30.0, opponent_from=5, origin=(FAR, -FAR), scene_id="late"),
        straight_road(with_opponent=False, extra=[parked], scene_id="parked").with_opponent(1),
        crossing(),
        straight_road(with_opponent=False, scene_id="alone"),
    ]
    env = GauntletEnv(ListSource(scenes), EngineConfig())
    yield env
    env.close()


def play(env, scene, plan, steps=90, ego="replay"):
    env.reset(options={"scenario": scene, "plan": plan, "ego": ego})
    for _ in range(steps):
        env.step(np.zeros(2))
    return env.recording()


def test_row_k_is_where_the_opponent_is_after_step_k(env):
    plan = sideways()
    env.reset(options={"scenario": 0, "plan": plan, "ego": "replay"})
    for step in range(1, 61):
        env.step(np.zeros(2))
        seen = env.view().agents
        assert env.view().step == step
        expected = plan.states[step] if step >= 11 else env.scenario.states(1)[step]
        np.testing.assert_allclose(seen[0], expected, atol=1e-4)


def test_recording_holds_log_then_plan_then_nothing(env):
    plan = sideways()
    record = play(env, 0, plan)
    assert record.opponent is not None
    np.testing.assert_allclose(record.opponent.states[:11], env.scenario.states(1)[:11])
    np.testing.assert_allclose(record.opponent.states[11:61], plan.states[11:61], atol=1e-4)
    assert record.opponent.valid[:61].all()
    assert not record.opponent.valid[61:].any(), "after its last row the opponent must not jump back to its log"


def test_the_lidar_sees_the_plan_not_the_log(env):
    observation, _ = env.reset(options={"scenario": 0, "ego": "replay"})
    for _ in range(20):
        observation, *_ = env.step(np.zeros(2))
    logged = observation[82:]
    plan = sideways(first=0, x=35.0, y=0.0)
    env.reset(options={"scenario": 0, "plan": plan, "ego": "replay"})
    for _ in range(20):
        observation, *_ = env.step(np.zeros(2))
    # Ego at x = 20, plan at 35 + 20 = 55: the rear of a 4.6 m body is 32.7 m ahead.
    assert observation[82] == pytest.approx((55.0 - 20.0 - 2.3) / 50.0, abs=2e-3)
    assert logged[0] == pytest.approx(1.0)


def test_late_opponent_appears_with_its_first_row_and_is_never_at_the_origin(env):
    plan = sideways(first=8, origin=(FAR, -FAR))
    record = play(env, 1, plan)
    assert record.opponent is not None
    assert record.opponent.valid.tolist() == [5 <= step <= 60 for step in range(91)]
    np.testing.assert_allclose(record.opponent.states[5:8], env.scenario.states(1)[5:8])
    np.testing.assert_allclose(record.opponent.states[8], plan.states[8], atol=0.01)


def test_a_plan_does_not_survive_reset(env):
    play(env, 0, sideways(), steps=30)
    record = play(env, 0, None)
    assert record.opponent is not None
    np.testing.assert_allclose(record.opponent.states, env.scenario.states(1))


def test_an_attacking_opponent_exists_even_where_parked_cars_are_filtered(env):
    assert not play(env, 2, None, steps=5).agents_valid[1].any()
    assert play(env, 2, sideways(), steps=20).agents_valid[1, :21].all()


def test_nobody_appears_inside_the_driven_ego(env):
    """The late opponent would appear on top of the ego: that would be a crash that nobody caused."""
    plan = sideways(first=5, last=90, x=-1.0, y=0.0, origin=(FAR, -FAR))
    env.reset(options={"scenario": 1, "plan": plan})
    for _ in range(5):
        *_, info = env.step(np.array([0.0, 0.1]))
    assert info["spawn_blocked"] == 1
    assert not info["crash_opponent"]


@pytest.mark.parametrize("ego", ["replay", "policy"])
def test_both_judges_report_a_planned_crash(env, ego):
    """The opponent stands on the ego's lane from step 11 on, 40 m ahead: boxes 4.515 and 4.5 m long meet at 35.5 m."""
    states = np.tile([40.0, 0.0, 0.0, 0.0, 0.0], (91, 1))
    record = play(env, 0, AttackPlan(states, np.arange(91) >= 11), steps=60, ego=ego)
    first = [record.crash_contact, record.crash_geometry, record.crash_opponent]
    assert None not in first
    assert max(first) - min(first) <= 1
    if ego == "replay":
        assert record.crash_geometry == 36


def test_no_crash_without_attack(env):
    record = play(env, 0, None)
    assert (record.crash_contact, record.crash_geometry, record.crash_opponent) == (None, None, None)


@pytest.mark.parametrize(
    ("scene", "states", "valid"),
    [
        (4, np.zeros((91, STATE)), np.ones(91, bool)),
        (0, np.zeros((91, 3)), np.ones(91, bool)),
        (0, np.zeros((91, STATE)), np.ones(90, bool)),
        (0, np.full((91, STATE), np.nan), np.ones(91, bool)),
    ],
)
def test_impossible_plans_are_refused(env, scene, states, valid):
    with pytest.raises(ConfigError):
        env.reset(options={"scenario": scene, "plan": AttackPlan(states, valid)})
