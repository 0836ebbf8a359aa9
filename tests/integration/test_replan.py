"""`sage_replan` in the engine: whoever departs from the forecast is met by a plan made anew, not by one made once."""

from itertools import pairwise

import numpy as np
import pytest

from adversaries.sage import adversary, replanning
from adversaries.sage.replan import ReplanningSageAdversary
from adversaries.sage.replanning import ReplanningController
from harness.engine import EngineConfig, GauntletEnv
from harness.errors import ConfigError
from harness.fast.library import packed_scenes
from harness.fast.vector import FastVectorEnv
from harness.interfaces import VX
from harness.traffic.log_policies import LogTraffic
from tests.scenes import Agent, crossing
from tests.sources import ListSource
from tests.unit.adversaries.fakes import context
from tests.unit.adversaries.sage.toys import five_speeds

# Both are 50 m from the crossing at step 0 and drive at 10 m/s; others are far behind the crossing.
OTHERS = [Agent("third", 100.0, 0.0), Agent("leaves", 140.0, 0.0, last=40)]
SCENE = crossing(opponent_delay=0.0, extra=OTHERS)


class Slows(LogTraffic):
    """Everybody drives at half of the logged speed."""

    def step(self, step, states, valid):
        _, there = super().step(step, states, valid)
        after = states.copy()
        after[:, VX:] = self._states[:, step, VX:] / 2
        after[:, :2] += after[:, VX:] * 0.1
        return after, there


@pytest.fixture(scope="module")
def env():
    made = GauntletEnv(ListSource([SCENE]), EngineConfig(traffic=f"{__name__}:Slows"))
    yield made
    made.close()


def attack(monkeypatch, **options):
    """At λ = 1, with candidates that drive straight on at 4, 6, 8, 10 or 12 m/s."""
    for module in (adversary, replanning):
        monkeypatch.setattr(module, "drawn_goals", five_speeds)
    given = context(SCENE)
    return ReplanningSageAdversary(**options).plan(
        type(given)(SCENE, 1, given.ego_trajectories, 1.0, given.rng, given.ego_size)
    )


def play(env, plan, slower_from=90, pace=5.0):
    """The recording of an ego that keeps 10 m/s, and `pace` from a step on."""
    env.reset(options={"scenario": 0, "plan": plan, "ego": "policy"})
    for step in range(90):
        speed = float(np.hypot(*env.recording().ego.states[step, VX:]))
        wanted = pace if step >= slower_from else 10.0
        out = env.step(np.array([0.0, np.clip(0.5 * (wanted - speed), -0.4, 1.0)]))
        if out[2] or out[3]:
            break
    return env.recording()


def nearest(record):
    both = record.ego.valid & record.opponent.valid
    return float(np.hypot(*(record.ego.states[both, :2] - record.opponent.states[both, :2]).T).min())


def test_a_plan_made_once_meets_the_ego_that_it_expects(env, monkeypatch):
    plan = attack(monkeypatch, period=0)
    assert plan.info["expects_contact"]
    assert nearest(play(env, plan)) < 3.5


def test_an_ego_that_slows_down_is_missed_by_the_plan_made_once_and_met_by_the_one_made_anew(env, monkeypatch):
    """From step 15 on the ego drives at 5 m/s: it is at the crossing 3.5 s later than the plan of step 10 expects."""
    once = play(env, attack(monkeypatch, period=0), slower_from=15)
    plan = attack(monkeypatch)
    anew = play(env, plan, slower_from=15)
    assert nearest(once) > 10.0
    assert nearest(anew) < 3.5
    steps = [made.step for made in plan.controller.decisions]
    assert steps[:3] == [20, 30, 40]
    assert plan.controller.decisions[0].expects_contact
    # The same episode again is the same to the last digit.
    again = play(env, plan, slower_from=15)
    np.testing.assert_array_equal(again.opponent.states, anew.opponent.states)


@pytest.mark.parametrize(("period", "limit"), [(10, 0.3), (0, 0.05)])
def test_it_stays_near_the_paths_that_it_makes(env, monkeypatch, period, limit):
    """A path of eight seconds tells whether what is left of a gap is made up for: it would grow otherwise."""
    plan = attack(monkeypatch, period=period)
    record = play(env, plan, slower_from=15)
    driven, end = record.opponent.states, int(np.flatnonzero(record.opponent.valid)[-1])
    paths = [(10, plan.states), *((made.step, made.states) for made in plan.controller.decisions)]
    for (first, path), (after, _) in pairwise([*paths, (end, plan.states)]):
        rows = slice(first + 1, min(after, end) + 1)
        assert np.hypot(*(driven[rows, :2] - path[rows, :2]).T).max(initial=0.0) < limit


def test_a_controller_that_watches_is_shown_everybody_where_they_truly_are(env, monkeypatch):
    """From the first step on, before each action, in traffic that departs from its log."""
    calls = []
    for name in ("watch", "act"):
        usual = getattr(ReplanningController, name)
        monkeypatch.setattr(
            ReplanningController,
            name,
            lambda self, *given, usual=usual, name=name: calls.append((name, *given)) or usual(self, *given),
        )
    record = play(env, attack(monkeypatch), slower_from=15)
    last = record.steps
    watched = [call[1:] for call in calls if call[0] == "watch"]
    assert [step for step, *_ in watched] == list(range(last + 1))
    assert [call[:2] for call in calls[-3:]] == [("watch", last - 1), ("act", last - 1), ("watch", last)]
    for step, states, valid, sizes in watched:
        assert valid.tolist() == [True, True, True, step <= 40]
        for agent, truth in ((0, record.ego.states), (1, record.opponent.states), (2, record.agents[2])):
            np.testing.assert_allclose(states[agent], truth[step], atol=2e-3)
        np.testing.assert_allclose(sizes, [[4.5, 2.0]] * 4)
        assert states[3].any() == (step <= 40)
    # The third car has driven at half of its logged speed.
    assert watched[-1][1][2, 0] == pytest.approx(100.0 + 0.5 * last, abs=0.6)


def test_its_plans_are_refused_by_the_fast_engine(monkeypatch):
    fast = FastVectorEnv(packed_scenes(ListSource([SCENE])), 1)
    with pytest.raises(ConfigError, match="plans with a controller"):
        fast.reset(options={"episodes": [(0, attack(monkeypatch))]})
    fast.close()
