"""Long roll-outs: who watches, what counts, and the command that compares models with the recordings."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ConfigError, ScenarioError
from harness.evaluate_longterm import main
from harness.interfaces import Newcomer
from harness.metrics.intervals import bootstrap_mean, resampled
from harness.metrics.longterm.features import LONG_TERM_FEATURES
from harness.metrics.longterm.flow import FLOW_FEATURES
from harness.metrics.longterm.retrieval import nearest_windows
from harness.report.longterm_tables import longterm_report
from harness.traffic.log_policies import ConstantVelocityTraffic
from harness.traffic.longterm import evaluation
from harness.traffic.longterm.comparison import compare_long
from harness.traffic.longterm.config import EvaluateLongtermConfig
from harness.traffic.longterm.evaluation import BUCKETS, SCENE_METRICS, _Base, references_used, run_long, score_long
from harness.traffic.longterm.scene import LongScene
from scenarios.export import write_folder
from scenarios.scenario import Kind, Scenario
from tests.scenes import Agent, lasting
from tests.unit.metrics.test_wosac import road

STEPS = 121
WINDOWS = 7


class Vanishing(ConstantVelocityTraffic):
    """Lets everybody disappear after 5 s."""

    name = "vanishing"

    def step(self, step, states, valid):
        following, present = super().step(step, states, valid)
        return following, present & (step < 50)


class Drawing(ConstantVelocityTraffic):
    """Draws a number in every episode."""

    name = "drawing"

    def __init__(self):
        self.drawn = []

    def reset(self, scenario, rng):
        super().reset(scenario, rng)
        self.drawn.append(int(rng.integers(1_000_000)))


class Visited(ConstantVelocityTraffic):
    """Lets a van come at step 30, somewhere on the road, and go at step 60."""

    name = "visited"
    reserve = 1

    def __init__(self, x):
        self.x = x

    def step(self, step, states, valid):
        following, present = super().step(step, states, valid)
        self.now, slot = step + 1, len(valid) - 1
        present[slot] = 30 <= self.now < 60
        following[slot] = [self.x, 0.5, 0.0, 0.0, 0.0]
        self.slot = slot
        return following, present

    def spawned(self):
        return [Newcomer(self.slot, Kind.VEHICLE, (6.0, 2.2, 2.5))] if self.now == 30 else []


def scene(name: str = "scene", speed: float = 9.0) -> Scenario:
    """A car that stays ahead of the ego; one that leaves its 75 m; one that appears in the midst of the scene."""
    long = lasting(
        road(
            Agent("ahead", 20, 0, speed=10.0),
            Agent("away", 50, 0.5, speed=10.0 + speed),
            Agent("late", -30, 1.0, speed=10.0, first=42),
        ),
        STEPS,
    )
    return replace(long, id=name)


def config(*models: str, **options) -> EvaluateLongtermConfig:
    return EvaluateLongtermConfig(traffic=models, references=2, **options)


def test_the_log_around_the_ego():
    found = LongScene.of(scene(), 311, "ego")
    log = found.log()
    assert found.starts.tolist() == [10 + 5 * n for n in range(WINDOWS)]
    assert found.judged.all()
    # "away" is 75 m away at 2.8 s; "late" appears at step 42, and has come from step 40.
    assert np.flatnonzero(log.events.exit).tolist() == [3]
    assert np.flatnonzero(log.events.enter).tolist() == [5]
    assert log.events.present.tolist() == [2] * 3 + [1] * 2 + [2] * 17
    # The ego drives as recorded and is not judged; a window's features are those of the 80 steps after its start.
    assert log.counts["collision_indication"].sum(1).tolist()[:5] == [3] * 4 + [2]
    assert log.counts["distance_to_road_edge"][-1].sum() == 2 * 80
    # Ways are seen every second of a window: "away" is there at steps 20 and 25.
    assert [len(way) for way in log.paths] == [3, 3, 2, 2, 2, 2, 2]


def test_what_the_history_holds_is_no_models_merit():
    """Who comes before step 10 is in no pooled flow: a model that lets nobody in shares nothing with the log."""
    agents = (Agent("early", 20, 0, speed=10.0, first=3), Agent("late", 30, 1.0, speed=10.0, first=42))
    early = lasting(road(*agents), STEPS)
    found = LongScene.of(early, 311, "ego")
    for record in (found.log(), found.roll_out(ConstantVelocityTraffic(), 0)):
        assert len(record.events.enter) == (STEPS - 11) // 5
        assert record.flow["enter"].sum(-1).tolist() == [16] * WINDOWS
    assert found.log().events.enter.sum() == 1
    assert found.roll_out(ConstantVelocityTraffic(), 0).events.enter.sum() == 0


def test_an_ego_that_has_gone_is_in_nobodys_way():
    left = lasting(road(Agent("behind", -30, 0.0)), STEPS)
    valid = left.valid.copy()
    valid[left.ego, 30:] = False
    found = LongScene.of(replace(left, valid=valid), 311, "ego")
    # It was seen last at 29 m, where the one behind it is at step 59.
    rolled = found.roll_out(ConstantVelocityTraffic(), 0)
    assert rolled.counts["collision_indication"].tolist() == [[1, 0]] * WINDOWS
    assert found.log().counts["collision_indication"].tolist() == [[1, 0]] * WINDOWS


class Looking(ConstantVelocityTraffic):
    """Takes note of when it is told that the ego is there."""

    name = "looking"

    def reset(self, scenario, rng):
        super().reset(scenario, rng)
        self.known, self.told = scenario.valid[scenario.ego], []

    def step(self, step, states, valid):
        self.told.append(bool(valid[0]))
        return super().step(step, states, valid)


def test_an_ego_is_there_in_the_gaps_of_its_log_and_not_beyond_it():
    long = lasting(road(Agent("ahead", 20, 0)), STEPS)
    valid = long.valid.copy()
    valid[0, 40:50] = valid[0, 100:] = False
    policy = Looking()
    LongScene.of(replace(long, valid=valid), 311, "ego").roll_out(policy, 0)
    assert policy.told == [step < 100 for step in range(STEPS - 1)]
    assert np.array_equal(policy.known, valid[0])


def test_people_and_cones():
    people = Agent("walker", 10, 6, speed=6.0, kind=Kind.PEDESTRIAN), Agent("cone", 12, 3, speed=0.0, kind=Kind.CONE)
    log = LongScene.of(lasting(road(*people), STEPS), 311, "ego").log()
    assert set(log.events.present.tolist()) == {1}, "cones are no traffic"
    assert log.counts["linear_speed"][0].sum() == 80
    assert log.counts["time_to_collision"].sum() == 0, "only vehicles follow one another"


def test_windows_without_a_map_are_not_judged():
    ending = scene()
    cut = tuple(replace(one, points=one.points[one.points[:, 0] <= 0]) for one in ending.features)
    run = run_long({}, [replace(ending, features=cut)], config("log", every=1))
    # The ego has something of it within 32 m up to step 32.
    assert run.judged[0].tolist() == [True] * 5 + [False] * 2
    many = replace(config("log", every=1), references=99)
    assert references_used(run, many) == 5
    windows = score_long(run, many)["log"]["windows"]
    assert np.isnan(windows["behaviour"]).tolist() == np.isnan(windows["flow"]).tolist() == [False] * 5 + [True] * 2
    with pytest.raises(ConfigError, match="only 5 windows"):
        nearest_windows(np.zeros((1, len(_Base.of(run, 1).windows.paths))), 6)


def test_a_window_is_judged_by_the_steps_after_its_start():
    ending = scene()
    cut = tuple(replace(one, points=one.points[one.points[:, 0] <= 0] - [2.0, 0.0, 0.0]) for one in ending.features)
    found = LongScene.of(replace(ending, features=cut), 311, "ego")
    # The ego has something of the map within 32 m up to step 30, where the fifth window begins: it is of steps 31 on.
    assert found.judged.tolist() == [True] * 4 + [False] * 3


def test_a_straight_road_that_is_drawn_by_its_ends_is_a_map():
    long = scene()
    ends = tuple(replace(one, points=10 * one.points[[0, -1]]) for one in long.features)
    assert LongScene.of(replace(long, features=ends), 311, "ego").judged.all()


def test_who_comes_is_as_high_as_the_ego_was():
    hill = scene()
    raised = tuple(replace(one, points=one.points + np.array([0.0, 0.0, 50.0])) for one in hill.features)
    # An edge of another road, below, across where the van stands.
    below = replace(hill.features[1], id="below", points=np.array([[55.0, -9.0, 0.0], [65.0, 9.0, 0.0]]))
    position = hill.position + np.array([0.0, 0.0, 50.0])
    found = LongScene.of(replace(hill, features=(*raised, below), position=position), 311, "ego")
    off = found.roll_out(Visited(60.0), 0).counts["offroad_indication"]
    assert off[:, 1].tolist() == [0] * WINDOWS


def test_every_roll_out_draws_by_itself():
    policies = [Drawing(), Drawing()]
    for seed, policy in enumerate(policies):
        run = run_long({"by chance": policy}, [scene("one"), scene("two")], config("by chance", rollouts=3, seed=seed))
        assert [len(found) for found in run.models["by chance"]] == [3, 3]
    # Another seed and another scene have other roll-outs.
    assert len({*policies[0].drawn, *policies[1].drawn}) == 12
    # In which order scenes come, and after how many others, changes nothing; nor who asks for the first roll-out.
    again = Drawing()
    run_long({"by chance": again}, [scene("two")], config("by chance", rollouts=3))
    LongScene.of(scene("two"), 311, "ego").roll_out(again, 0)
    assert again.drawn == [*policies[0].drawn[3:], policies[0].drawn[3]]


class Giving(ConstantVelocityTraffic):
    """Cannot do without a third road user."""

    name = "giving"

    def reset(self, scenario, rng):
        super().reset(scenario, rng)
        if scenario.num_agents < 3:
            raise ScenarioError("nobody to give to")


def test_time_spent_on_scenes_that_are_left_out_is_not_counted(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("harness.traffic.longterm.evaluation.time.perf_counter", lambda: float(next(ticks)))
    lonely = replace(lasting(road(Agent("ahead", 20, 0)), STEPS), id="lonely")
    policies = {"steady": ConstantVelocityTraffic(), "giving": Giving()}
    run = run_long(policies, [scene("one"), lonely], config(*policies))
    assert (run.scenes, run.left_out) == (["one"], {"lonely": "nobody to give to"})
    assert run.seconds == {"steady": 1.0, "giving": 1.0}


def test_what_invalid_rows_hold_does_not_matter():
    sloped = scene()
    hill = tuple(
        replace(one, points=np.column_stack([one.points[:, :2], 0.05 * one.points[:, 0]])) for one in sloped.features
    )
    clean = replace(sloped, features=hill)
    position = np.where(clean.valid[..., None], clean.position, np.nan)
    holed = replace(clean, position=position)
    one, other = (LongScene.of(part, 311, "ego").roll_out(ConstantVelocityTraffic(), 0) for part in (clean, holed))
    assert all(np.array_equal(one.counts[name], other.counts[name]) for name in LONG_TERM_FEATURES)


def test_nobody_enters_a_scene_that_is_rolled_out():
    found = LongScene.of(scene(), 311, "ego").roll_out(ConstantVelocityTraffic(), 0)
    assert found.events.enter.sum() == 0
    assert np.flatnonzero(found.events.exit).tolist() == [3]
    gone = LongScene.of(scene(), 311, "ego").roll_out(Vanishing(), 0)
    assert gone.events.present[-1] == 0
    assert gone.counts["linear_speed"][-1].sum() == 9  # "ahead", at steps 41 to 49.


@pytest.mark.parametrize("observer", ["ego", "middle"])
def test_who_enters_a_scene_that_is_rolled_out_counts(observer):
    found = LongScene.of(scene(), 311, observer)
    visited = Visited(60.0 if observer == "ego" else found.observer[0, 0])
    without, rolled = (found.roll_out(policy, 0) for policy in (ConstantVelocityTraffic(), visited))
    assert rolled.events.enter.sum() == without.events.enter.sum() + 1
    assert rolled.events.exit.sum() == without.events.exit.sum() + 1
    more = rolled.events.present - without.events.present
    assert more.tolist() == [int(30 <= step < 60) for step in range(15, 15 + 5 * len(more), 5)]


def test_a_fixed_observer_sees_the_ego_as_one_of_many():
    found = LongScene.of(scene(), 311, "middle")
    log, rolled = found.log(), found.roll_out(ConstantVelocityTraffic(), 0)
    assert np.ptp(found.observer, axis=0) == pytest.approx([0, 0, 0])
    x = found.scenario.position[..., 0]
    near = found.scenario.valid & (np.abs(x - found.observer[0, 0]) < 74.9)
    assert log.events.present[8:].tolist() == near[:, 55::5].sum(0).tolist()
    assert log.events.present.max() == 3
    # The ego is moved by the policy, at the same constant velocity.
    assert np.array_equal(log.events.present[:5], rolled.events.present[:5])
    assert rolled.counts["collision_indication"][0].sum() == log.counts["collision_indication"][0].sum()


def test_what_cannot_be_looked_at_is_refused():
    with pytest.raises(ScenarioError, match="one window needs 91"):
        LongScene.of(lasting(scene(), 90), 311, "ego")
    far = scene()
    with pytest.raises(ScenarioError, match="no map"):
        LongScene.of(replace(far, features=()), 311, "ego")
    with pytest.raises(ScenarioError, match=r"steps of 0\.2 s"):
        LongScene.of(replace(scene(), dt=0.2), 311, "ego")
    with pytest.raises(ConfigError, match="horizon"):
        config("log", horizon=90)
    with pytest.raises(ConfigError, match="only once"):
        config("log", "log")
    with pytest.raises(ConfigError, match=r"--map-weight inf: expected a finite number"):
        config("log", map_weight=float("inf"))


def test_the_horizon_cuts():
    # The second window looks at steps 16 to 95.
    assert [len(LongScene.of(scene(), steps, "ego").starts) for steps in (95, 96)] == [1, 2]


def test_scores_of_models():
    options = config("log", "constant_velocity", f"{__name__}:Vanishing", rollouts=1)
    result = compare_long(options, [scene("one"), scene("two", 8.0), lasting(scene("short"), 60)])
    assert list(result["left_out"]) == ["short"]
    assert result["windows"] == [WINDOWS, WINDOWS]
    log, steady, gone = (result["models"][name] for name in options.traffic)
    for numbers in (log, steady, gone):
        assert {"rmm_f1", "rmm_f1_pooled", "N", *SCENE_METRICS, *LONG_TERM_FEATURES} <= set(numbers)
        assert numbers["N"] == 2
        low, high = numbers["intervals"]["rmm_f1"]
        assert low <= numbers["rmm_f1"] <= high
    # The recording is the ceiling, exactly, where all of it is compared with itself.
    assert all(log[f"pooled_{name}"] == 1.0 for name in (*FLOW_FEATURES, "flow"))
    assert [log[f"pooled_{name}"] for name in BUCKETS] == pytest.approx([1.0] * 4)
    assert log["rmm_f1_pooled"] == pytest.approx(1.0)
    assert gone["pooled_behaviour"] < 1.0
    assert steady["pooled_enter_by_ones"] < 1.0
    assert steady["pooled_exit_by_ones"] == 1.0
    assert np.isnan(steady["pooled_enter_distance"])
    assert log["behaviour"] > 0.99 * steady["behaviour"]
    assert steady["rmm_f1_pooled"] < log["rmm_f1_pooled"]
    assert (log["entries_per_s"], steady["entries_per_s"]) == (pytest.approx(2 / 22), 0.0)
    assert gone["present"] < steady["present"]
    assert len(log["windows"]["flow"]) == WINDOWS
    assert log["windows"]["behaviour_stability"][0] == 0.0
    assert gone["pooled_flow"] < steady["pooled_flow"] < log["pooled_flow"] == 1.0


def test_intervals_have_the_seed_that_is_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr(evaluation, "bootstrap_mean", lambda values, seed: seen.append(seed) or bootstrap_mean(values))
    monkeypatch.setattr(
        evaluation, "resampled", lambda statistic, sizes, seed: seen.append(seed) or resampled(statistic, sizes, seed)
    )
    options = config("log", seed=7)
    score_long(run_long({}, [scene("one"), scene("two", 5.0)], options), options)
    assert set(seen) == {7}


def test_windows_of_other_scenes_only():
    options = config("log", foreign=True)
    run = run_long({}, [scene("one"), scene("two", 5.0)], options)
    own, foreign = (score_long(run, option)["log"] for option in (config("log"), options))
    assert own["linear_speed"] > foreign["linear_speed"]
    # Seven windows of a scene, of which every fourth can be retrieved: four of two scenes, two of the other one.
    few = replace(config("log"), references=5)
    assert [references_used(run, part) for part in (few, replace(few, foreign=True), replace(few, every=7))] == [
        4,
        2,
        2,
    ]
    assert score_long(run, few)["log"]["N"] == 2
    alone = run_long({}, [scene("one")], options)
    with pytest.raises(ConfigError, match="only 0 windows"):
        score_long(alone, options)
    with pytest.raises(ConfigError, match="none of the scenes"):
        score_long(run_long({}, [], options), options)


def test_without_road_edges_the_rest_is_judged():
    bare = scene("bare")
    bare = replace(bare, features=tuple(feature for feature in bare.features if feature.is_lane))
    result = compare_long(config("log"), [bare])
    assert result["without_edges"] == ["bare"]
    log = result["models"]["log"]
    assert np.isnan([log["map"], log["behaviour"], log["rmm_f1"]]).all()
    assert log["kinematic"] > 0.9
    assert any("no road edges" in part for part in longterm_report(result) if isinstance(part, str))


def test_the_command(tmp_path, capsys):
    write_folder([scene("one"), scene("two", 8.0)], tmp_path / "d")
    out, picture = tmp_path / "out.json", tmp_path / "windows.png"
    options = ["--json", str(out), "--picture", str(picture)]
    main(["--data", str(tmp_path / "d"), "--models", "log", "constant_velocity", *options])
    found = json.loads(out.read_text())
    assert picture.stat().st_size > 10_000
    windows = found["models"]["log"]["windows"]
    assert {f"{name}{end}" for name in ("enter", "exit_distance") for end in ("", "_by_retrieval")} <= windows.keys()
    assert found["models"]["constant_velocity"]["rmm_f1"] > 0
    assert found["settings"]["traffic"] == ["log", "constant_velocity"]
    said = capsys.readouterr().out
    assert "traffic around the ego: 2 scenes, 14 windows" in said
    assert "rmm_f1" in said
    assert "compared with 4 recorded windows each" in said
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path / "d"), "--traffic", "log", "--horizon", "20"])
    assert "horizon" in capsys.readouterr().err
