"""Two-stage evaluation: what is attacked with what, how collisions count, how summaries are made."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from harness.engine.config import EngineConfig
from harness.episodes.cutting import cut_off
from harness.episodes.protocol import CORRECTED, protocol_of
from harness.episodes.rules import EndRules, RuledEnv
from harness.errors import AdversaryError, PolicyError
from harness.interfaces import Episode, Trajectory
from harness.training.evaluation import COLUMNS, STAGES, Evaluator, Row, summarise
from tests.unit.training.fakes import FakeAdversary, FakeEnv, FakeSource


class Straight:
    """Half throttle: 24 steps to the goal."""

    name, control, observation, privileged = "straight", "action", "cat", False

    def reset(self, scenario, rng):
        pass

    def act(self, observation, view):
        return np.array([0.0, 0.5], np.float32)


def evaluator(adversary=None, policy=None, crash_ends=False, horizon=40, **options) -> Evaluator:
    env = RuledEnv(FakeEnv(FakeSource(4)), EndRules(horizon, crash_ends=crash_ends))
    return Evaluator(
        env,
        policy or Straight(),
        adversary,
        [2, 3],
        intensity=1.0,
        seed=5,
        **options,
    )


def test_an_episode_that_was_over_by_then_is_cut_nowhere() -> None:
    over = episode(steps=50, arrived=True)
    assert cut_off(over, 50, None, 0.1) is over
    failed = episode(error="no such scene")
    assert cut_off(failed, 10, None, 0.1) is failed


@pytest.mark.parametrize("told", [False, True])
def test_a_shorter_horizon_gives_what_playing_to_it_gives(told, monkeypatch) -> None:
    monkeypatch.setattr(EngineConfig, "knows_horizon", told)
    judge = evaluator(FakeAdversary(), also_at=(4, 10, 30))
    rows = list(judge.rows(7))
    assert len(rows) == judge.count == 16
    assert judge.env.rules.horizon == 40
    for steps in (4, 10, 30):
        played = list(evaluator(FakeAdversary(), horizon=steps).rows(7))
        part = [row for row in rows if row.horizon == steps]
        # Text, since NaN differs from itself.
        assert str([replace(row, horizon=0) for row in part]) == str(played)
        assert [row.contact for row in part] == [False, steps > 5] * 2
        assert [row.steps for row in part] == [min(steps, 24)] * 4
    assert [row for row in rows if not row.horizon] == list(evaluator(FakeAdversary()).rows(7))
    # Episodes are played once, unless observation or reward tell how much time is left.
    assert len(judge._adversary.contexts) == (8 if told else 2)


@pytest.mark.parametrize("told", [False, True])
def test_what_a_policy_does_as_recorded_is_played_once_for_several_adversaries(told, monkeypatch) -> None:
    monkeypatch.setattr(EngineConfig, "knows_horizon", told)
    reset = []
    monkeypatch.setattr(Straight, "reset", lambda policy, scenario, rng: reset.append(scenario.id))
    known, adversaries = {}, (FakeAdversary(), FakeAdversary())
    found = [list(evaluator(one, also_at=(10,), undisturbed=known).rows(7)) for one in adversaries]
    # Two scenes as recorded, and attacked by each; all of it twice where the ego knows the horizon.
    assert len(reset) == (2 + 2 * 2) * (1 + told)
    assert str(found) == str([list(evaluator(FakeAdversary(), also_at=(10,)).rows(7))] * 2)
    told_of = [[context.ego_trajectories[0].states.tolist() for context in one.contexts] for one in adversaries]
    assert told_of[0] == told_of[1], "both attack the same drives"


def test_every_scene_is_driven_undisturbed_then_attacked_where_it_was_just_driven() -> None:
    adversary = FakeAdversary()
    rows = list(evaluator(adversary).rows(700))
    assert [(row.scene, row.stage) for row in rows] == [
        (scene, stage) for scene in ("scene-2", "scene-3") for stage in STAGES
    ]
    assert [row.attacked for row in rows] == [False, True, False, True]
    assert {row.step for row in rows} == {700}
    for context in adversary.contexts:
        assert len(context.ego_trajectories) == 1
        # The attack aims at that drive (half a metre per step for 24 steps), not at the log (a metre per step).
        drive = context.ego_trajectories[0]
        assert drive.valid.sum() == 25
        assert drive.states[24, 0] == 12.0
    assert [row.completion for row in rows] == [1.0] * 4


def test_a_crash_ends_evaluation_episodes_only_where_asked() -> None:
    for crash_ends, steps in ((False, 24), (True, 5)):
        attacked = [row for row in evaluator(FakeAdversary(), crash_ends=crash_ends).rows(0) if row.attacked]
        assert [row.steps for row in attacked] == [steps] * 2
        assert all(row.collision == 1.0 and row.contact and not row.geometry for row in attacked)


def test_the_same_seed_gives_the_same_rows() -> None:
    assert list(evaluator(FakeAdversary()).rows(1)) == list(evaluator(FakeAdversary()).rows(1))


def test_a_failed_episode_is_counted_never_averaged_never_dropped() -> None:
    class Choosy(FakeAdversary):
        def plan(self, context):
            if context.scenario.id == "scene-3":
                raise AdversaryError("nothing to attack with")
            return super().plan(context)

    rows = list(evaluator(Choosy()).rows(0))
    assert len(rows) == 4
    assert rows[3].error == "nothing to attack with"
    normal, attacked = summarise([asdict(row) for row in rows])
    assert (normal.scenes, normal.failed) == (2, 0)
    assert (attacked.scenes, attacked.failed, attacked.attacked) == (1, 1, 1)
    assert attacked.columns["completion"].mean == 1.0


def test_a_policy_that_fails_stops_the_evaluation() -> None:
    class Broken(Straight):
        def act(self, observation, view):
            raise PolicyError("not finite")

    with pytest.raises(PolicyError):
        list(evaluator(policy=Broken()).rows(0))


def episode(**changes) -> Episode:
    nothing = Trajectory(np.zeros((91, 5)), np.ones(91, bool))
    base = Episode(
        scenario_id="s", policy="p", adversary="none", intensity=0.0, seed=0, ego=nothing, opponent=None,
        agents=np.zeros((0, 91, 5)), agents_valid=np.zeros((0, 91), bool), plan=None, steps=90, reward=1.0, cost=0.0,
        route_completion=0.5, arrived=False, off_road=False, truncated=True, crash_contact=None, crash_geometry=None,
        crash_opponent=None, mean_speed=5.0, mean_jerk=2.0,
    )  # fmt: skip
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("contact", "geometry", "protocol", "collision"),
    [
        (None, None, "corrected", 0.0),
        (7, None, "corrected", 1.0),
        (None, 7, "corrected", 1.0),
        (None, 7, "as-published", 0.0),
        (7, None, "as-published", 1.0),
    ],
)
def test_collisions_count_boxes_unless_as_published(contact, geometry, protocol: str, collision: float) -> None:
    row = Row.of(episode(crash_contact=contact, crash_geometry=geometry), 0, "normal", protocol_of(protocol))
    assert row.collision == collision
    assert (row.contact, row.geometry) == (contact is not None, geometry is not None)


def test_summaries_are_means_with_intervals_by_step_and_stage() -> None:
    rows = [
        asdict(replace(Row.of(episode(reward=float(value)), step, "normal", CORRECTED), scene=str(value)))
        for step in (200, 100)
        for value in (1, 2, 6)
    ]
    first, second = summarise(rows, seed=1)
    assert (first.step, second.step) == (100, 200)
    assert first.columns["reward"].mean == pytest.approx(3.0)
    assert first.columns["reward"].low < 3.0 < first.columns["reward"].high
    assert {column.key for column in COLUMNS} <= set(first.columns)
    # Horizons are apart, the whole episode first; rows of older runs lack what was added since.
    rows += [dict(row, horizon=50, reward=0.0) for row in rows]
    for row in rows[:6]:
        del row["horizon"], row["unavoidable"]
    found = summarise(rows)
    assert [(row.step, row.horizon, row.place) for row in found[:2]] == [
        (100, 0, "as recorded"), (100, 50, "as recorded, 50 steps"),
    ]  # fmt: skip
    assert found[0].columns["reward"].mean == pytest.approx(3.0)
    assert np.isnan(found[0].columns["unavoidable"].mean)
    # What a JSON file makes of an undefined number is None, and it is left out of the mean.
    rows[5]["jerk"] = None
    assert summarise(rows[:6])[1].columns["jerk"].mean == pytest.approx(2.0)
