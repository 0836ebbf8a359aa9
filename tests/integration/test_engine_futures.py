"""What a policy that may see the future is shown, and that it then happens."""

from dataclasses import replace

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.engine.futures import foresee
from harness.episodes.rollout import run_episode
from harness.interfaces import STATE, AttackPlan
from tests.scenes import LANE_WIDTH, Agent, straight_road
from tests.sources import ListSource

FAR = 40_000.0


def swerve(first=11, last=60):
    """A plan whose rows are all different from each other and from the log."""
    steps = np.arange(91)
    states = np.stack([FAR + 30 + 0.8 * steps, 0.03 * steps - FAR / 2, 0.001 * steps, 0 * steps + 8.0, 0 * steps], -1)
    valid = (steps >= first) & (steps <= last)
    return AttackPlan(np.where(valid[:, None], states, np.nan), valid)


def scene():
    aside = Agent("aside", -15.0, LANE_WIDTH, 0.0, 9.0, last=40)
    late = Agent("late", 80.0, LANE_WIDTH, 0.0, 12.0, first=20)
    return straight_road(opponent_gap=30.0, extra=[aside, late], origin=(FAR, -FAR / 2))


@pytest.fixture(scope="module")
def env():
    env = GauntletEnv(ListSource([scene()]), EngineConfig())
    yield env
    env.close()


@pytest.mark.parametrize("plan", [None, swerve(), swerve(first=30)], ids=["log", "plan", "late plan"])
def test_what_is_foreseen_happens(env, plan):
    env.reset(options={"scenario": 0, "plan": plan, "ego": "replay"})
    for _ in range(25):
        env.step(np.zeros(2))
    view = env.view(futures=True)
    assert view.futures.shape == (len(view.agents), 65, STATE) == (3, 65, STATE)
    coming = {row: view.futures[row] for row in range(3)}
    for h in range(64):
        env.step(np.zeros(2))
        record = env.recording()
        for row, agent in enumerate((1, 2, 3)):
            seen = coming[row][h]
            assert np.isfinite(seen).all() == record.agents_valid[agent, 26 + h]
            if np.isfinite(seen[0]) and not (agent == 1 and plan is not None):
                assert seen == pytest.approx(scene().states(agent)[26 + h], abs=0.01)
            elif np.isfinite(seen[0]):
                assert seen == pytest.approx(record.opponent.states[26 + h], abs=0.01)


def test_the_opponents_future_is_its_plan_and_ends_with_it(env):
    plan = swerve()
    env.reset(options={"scenario": 0, "plan": plan, "ego": "replay"})
    for _ in range(15):
        env.step(np.zeros(2))
    futures = env.view(futures=True).futures[0]
    assert futures[: 60 - 15] == pytest.approx(plan.states[16:61], abs=1e-6)
    assert np.isnan(futures[60 - 15 :]).all()


def test_at_the_end_of_the_log_there_is_no_future(env):
    env.reset(options={"scenario": 0, "ego": "replay"})
    for _ in range(90):
        env.step(np.zeros(2))
    view = env.view(futures=True)
    assert view.futures.shape == (len(view.agents), 0, STATE)


class Watcher:
    """Drives straight on and keeps what it is shown."""

    name, control, observation, privileged = "watcher", "action", "none", True

    def __init__(self, **declared):
        self.seen = []
        for name, value in declared.items():
            setattr(self, name, value)

    def reset(self, scenario, rng):
        self.seen = []

    def act(self, observation, view):
        self.seen.append(view.futures)
        return np.zeros(2, np.float32)


def test_only_policies_that_declare_it_are_shown_the_future(env, monkeypatch):
    seer, blind = Watcher(sees_futures=True), Watcher(sees_futures=False)
    run_episode(env, seer, None, 0)
    assert all(futures is not None for futures in seer.seen)
    monkeypatch.setattr(type(env._traffic), "futures", lambda *_: pytest.fail("computed though nobody asked"))
    run_episode(env, blind, None, 0)
    run_episode(env, Watcher(), None, 0)
    assert all(futures is None for futures in blind.seen)


def test_nobody_knows_the_future_of_traffic_that_reacts(env):
    plan = swerve()
    env.reset(options={"scenario": 0, "plan": plan, "ego": "replay"})
    rows = plan.states - np.array([*env._scene.origin, 0, 0, 0])
    coming = foresee(env._scene, np.array([1, 2, 3]), 15, (rows, plan.valid), logged=False)
    found, known = coming
    assert found[0, :45] == pytest.approx(plan.states[16:61], abs=0.01), "the opponent still follows its plan"
    assert np.isnan(found[1:]).all()
    assert known.tolist() == [75, 0, 0]


class Rolls:
    """A controller that never touches the pedals."""

    def reset(self, plan, context):
        pass

    def act(self, step, opponent, ego):
        return np.zeros(2)


@pytest.mark.parametrize(("step", "known"), [(5, 24), (25, 4), (28, 1), (29, 0), (40, 0)])
def test_nobody_knows_what_a_controller_will_do(env, step, known):
    """It takes over at step 30: of the opponent the rows of steps up to 29 are known, of the others all are."""
    plan = replace(swerve(), controller=Rolls(), takeover_step=30)
    env.reset(options={"scenario": 0, "plan": plan, "ego": "replay"})
    for _ in range(step):
        env.step(np.zeros(2))
    view = env.view(futures=True)
    opponent, others = view.futures[0], view.foreseen[1:]
    assert np.isfinite(opponent[:known]).all()
    assert np.isnan(opponent[known:]).all()
    assert view.foreseen[0] == known
    assert (others == 90 - step).all()
    assert np.isfinite(view.futures[1, : 40 - step]).all()
