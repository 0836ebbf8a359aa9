"""Drivers' conditions: what they are worth, whom drivers follow and see, and that traffic answers monotonically."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.checks import check_traffic
from harness.errors import ConfigError
from harness.evaluate_traffic import main
from harness.files import read_json
from harness.traffic.conditions import Ahead, Conditions, Desires, LaneSpeeds, draw_desires, shift, vehicle_ahead
from harness.traffic.config import EvaluateTrafficConfig
from harness.traffic.dials import movement, parse_dial, rank_correlation, turn
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.model.drivers import DriverPool, prefer_speed
from harness.traffic.model.simulator import SmartSimulator
from scenarios.scenario import Kind
from tests.scenes import Agent, straight_road
from tests.sources import ListSource
from tests.unit.traffic.scenes import small_model, tiny_vocabulary, traffic

NOBODY = Ahead(np.array(np.inf), np.array(0.0))


def queue():
    """Three vehicles that follow the ego in its lane at 10 m/s, 16 m apart."""
    return straight_road(extra=[Agent(f"behind{k}", -16.0 * k, 0.0, 0.0, 10.0) for k in (1, 2, 3)], with_opponent=False)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "small.safetensors"
    small_model(vocabulary=tiny_vocabulary()).save(path)
    return path


@pytest.mark.parametrize(
    ("speed", "ahead", "pace", "gap", "expected"),
    [
        (10.0, NOBODY, 1.0, 1.5, 0.0),
        # On a free road at the limit: 2 (1 - 1 / 1.2⁴).
        (10.0, NOBODY, 1.2, 1.5, 1.0355),
        # Beyond what it desires nobody is pushed, nor braked before that is reached.
        (12.5, NOBODY, 1.2, 1.5, 0.0),
        (7.0, NOBODY, 0.8, 1.5, 0.0),
        # 2 (1 - (.9 / .8)⁴) and 2 (1 - .9⁴): the driver alone would brake with 1.2036.
        (9.0, NOBODY, 0.8, 1.5, -1.2036),
        # As fast as the leader, 22 m behind it: wanted are 17 and 27 m, of which the latter is not kept.
        (10.0, Ahead(np.array(22.0), np.array(10.0)), 1.0, 2.5, -2 * (27 / 22) ** 2 + 2 * (17 / 22) ** 2),
        # The other way round the driver would still like to brake: 2 (1 - 1 - (9.5 / 12)²).
        (10.0, Ahead(np.array(12.0), np.array(10.0)), 1.0, 0.75, 0.0),
        (5.0, Ahead(np.array(8.0), np.array(5.0)), 1.0, 0.75, 2 * (1 - 0.5**4 - (5.75 / 8) ** 2)),
    ],
)
def test_what_a_condition_is_worth(speed, ahead, pace, gap, expected):
    found = shift(np.array(speed), np.array(10.0), ahead, Desires(np.array(pace), np.array(gap)))
    assert found == pytest.approx(expected, abs=1e-3)


def test_whom_drivers_follow():
    """Two lanes 3.5 m apart on a bend of 50 m; one who crosses, one who comes, one who is not there."""
    bend = [(r * np.sin(a), 50 - r * np.cos(a), a) for r, a in ((50.0, 0.0), (50.0, 0.4), (46.5, 0.2), (50.0, 0.7))]
    others = [(12.0, 1.4, 1.6), (30.0, 8.0, np.pi), (8.0, 0.6, 0.1)]
    poses, present = np.array([*bend, *others]), np.array([True] * 6 + [False])
    half = np.tile([2.0, 1.0], (7, 1))
    found = vehicle_ahead(poses, np.arange(7.0), half, present)
    # Along the bend: .4 and .3 rad of 50 m, less two halves of 4 m.
    assert found.gap[[0, 1]] == pytest.approx([16.0, 11.0], abs=0.02)
    assert found.speed[[0, 1]].tolist() == [1.0, 3.0]
    assert np.isinf(found.gap[2:]).all()
    assert found.speed[2] == 0.0


def test_lanes_say_how_fast():
    speeds = LaneSpeeds(straight_road())
    assert speeds.at(np.array([[0.0, 0.0, 0.0], [0.0, 300.0, 0.0]])).tolist() == [13.9, np.inf]


def test_a_preference_shifts_the_mean_speed_and_nothing_else():
    speeds = torch.linspace(9, 11, 70)
    logits = torch.randn(3, 70, generator=torch.Generator().manual_seed(0))
    logits -= 12 * (speeds - 10).square()
    wanted = torch.tensor([0.0, 0.15, -0.1])
    found = prefer_speed(logits, speeds.expand(3, -1), wanted)
    assert torch.equal(found[0], logits[0])
    kept = logits.topk(64, -1).indices

    def mean(values):
        return (values.gather(-1, kept).softmax(-1) * speeds[kept]).sum(-1)

    assert (mean(found) - mean(logits)).tolist() == pytest.approx(wanted.tolist(), abs=1e-3)
    # Whatever is asked for, no token gains more than 2 m/s at 8 nats.
    assert (prefer_speed(logits, speeds.expand(3, -1), torch.full((3,), 9.0)) - logits).abs().max() < 32


def test_a_population_has_its_means_and_spreads():
    conditions = Conditions(pace=1.2, gap=2.0, spread=0.1, gap_spread=0.2)
    drawn = draw_desires(conditions, (50, 40), np.random.default_rng(0))
    assert drawn.pace.mean() == pytest.approx(1.2, abs=0.01)
    assert (drawn.pace.std() / 1.2, drawn.gap.std() / 2.0) == pytest.approx((0.1, 0.2), abs=0.01)
    wide = draw_desires(Conditions(pace=1.2, spread=5.0), (50, 40), np.random.default_rng(0))
    assert (wide.pace.min(), wide.pace.max()) == pytest.approx((0.6, 1.8))
    same = draw_desires(Conditions(), (2, 3), np.random.default_rng(0))
    assert (np.unique(same.pace).tolist(), np.unique(same.gap).tolist()) == ([1.0], [1.5])


def test_who_does_not_look_knows_nothing_of_others(weights):
    scene, moved = traffic(), traffic()
    moved.position.setflags(write=True)
    moved.position[1, :, :2] += 2.0
    model = SmartSimulator(weights, attention=0).model

    def logits(made, attention):
        model.conditions = Conditions(attention=attention)
        tokens = model.tokens(made, agents=np.arange(2))
        maps = model.start(tokens).maps
        batch = model.start(tokens).batch()
        people = DriverPool(model.conditions, made, tokens.frame, 0)
        return model.start_encoded(maps, batch, 1, people).logits()[0, 0]

    assert torch.equal(logits(scene, 0.0), logits(moved, 0.0))
    assert not torch.equal(logits(scene, 1.0), logits(moved, 1.0))
    pool = DriverPool(Conditions(attention=0.3), scene, np.zeros(3), 0)
    assert pool.drivers(100, 50).look().float().mean() == pytest.approx(0.3, abs=0.02)
    # Whoever decides again has looked anew.
    start = model.start(model.tokens(scene))
    rollout = model.start_encoded(start.maps, start.batch(), 20, pool)
    before = rollout.drivers.sees
    rollout.advance(torch.zeros_like(rollout.kinds))
    assert not torch.equal(before, rollout.drivers.sees)


def test_vehicles_that_see_somebody_ahead_keep_their_gap(weights):
    """A car in front, a car behind it, and a cyclist behind that one, all at 10 m/s and 16 m apart."""
    cyclist = Agent("cyclist", -32.0, 0.0, 0.0, 10.0, Kind.CYCLIST, (1.8, 0.6, 1.7))
    scene = straight_road(extra=[Agent("car", -16.0, 0.0, 0.0, 10.0), cyclist], with_opponent=False)
    model = SmartSimulator(weights).model
    tokens = model.tokens(scene)
    rollout = model.start(tokens)
    ends = model.network.motions[rollout.kinds, :, -1]
    logits = torch.zeros(ends.shape[:3])
    for attention, changed in ((1.0, [False, True, False]), (0.0, [False] * 3)):
        people = DriverPool(Conditions(gap=3.0, attention=attention), scene, tokens.frame, 0).drivers(1, 3)
        found = people.prefer(rollout.batch(), logits, ends)
        assert (found != logits).any(-1)[0].tolist() == changed
        # Standing gains, driving on loses.
        assert (found[0, 1, 0] > 0 > found[0, 1, 4]) == changed[1]


def test_speeds_and_time_gaps_by_hand():
    more = (
        # 41.5 m behind the last one, it does not follow.
        Agent("far", -48.0 - 46.0, 0.0, 0.0, 10.0),
        Agent("walker", 0.0, -6.0, 0.0, 1.5, Kind.PEDESTRIAN, (0.8, 0.8, 1.8)),
        Agent("parked", 0.0, 9.0, 0.0, 0.0),
    )
    extra = [*(Agent(f"behind{k}", -16.0 * k, 0.0, 0.0, 10.0) for k in (1, 2, 3)), *more]
    scene = straight_road(extra=extra, with_opponent=False)
    found = movement(scene, make_simulator("constant_velocity").simulate(scene, 1, 0))
    assert found == pytest.approx({"speed": 10.0, "time_gap": (16.0 - 4.5) / 10.0})


def test_neutral_conditions_change_nothing_and_others_are_repeated(weights, tmp_path):
    scene = traffic()
    plain = make_simulator(f"smart:{weights}?shield=true").simulate(scene, 2, 0).states
    neutral = make_simulator(f"smart:{weights}?shield=true&pace=1&gap=1.5&attention=1").simulate(scene, 2, 0).states
    assert np.array_equal(plain, neutral)
    text = f"smart:{weights}?shield=true&pace=1.2&attention=.5&spread=.2&gap_spread=.3"
    first, second = (make_simulator(text).simulate(scene, 2, 0).states for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, plain)
    check_traffic(make_traffic(text), scene)
    small_model(head="gmm").save(tmp_path / "gmm.safetensors")
    slow, fast = (SmartSimulator(tmp_path / "gmm.safetensors", pace=pace).simulate(scene, 2, 0) for pace in (0.5, 2))
    assert movement(scene, slow)["speed"] < movement(scene, fast)["speed"]
    with pytest.raises(ConfigError, match="attention"):
        SmartSimulator(weights, attention=2)
    with pytest.raises(ConfigError, match="pace, gap, attention"):
        SmartSimulator(weights, speed=2)


def test_traffic_answers_monotonically():
    """The shipped model: speed by pace, time gap by gap, and hits of a braking ego by attention (behind the shield)."""
    scene = queue()
    for option, levels, measure in (("pace", (0.7, 1, 1.3), "speed"), ("gap", (0.8, 1.5, 3), "time_gap")):
        made = (make_simulator(f"smart?{option}={level}").simulate(scene, 2, 0) for level in levels)
        values = [movement(scene, simulated)[measure] for simulated in made]
        assert values == sorted(set(values)), option
    found = turn(["smart?shield=true"], parse_dial("attention=0,1"), [scene], rollouts=1, seed=0, deceleration=6.0)
    assert found["smart?shield=true"]["trend"]["hits"]["mean"] == pytest.approx(-1.0)


def test_lane_followers_have_the_same_dials():
    scene = queue()
    speeds = [movement(scene, make_simulator(f"idm-lane?spread=0&pace={p}").simulate(scene, 1, 0)) for p in (0.7, 1.0)]
    assert speeds[0]["speed"] < speeds[1]["speed"]
    gaps = [movement(scene, make_simulator(f"idm-lane?spread=0&gap={g}").simulate(scene, 1, 0)) for g in (0.8, 3.0)]
    assert gaps[0]["time_gap"] < gaps[1]["time_gap"]


def test_the_command_prints_and_writes_a_dial(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: ListSource([queue()]))
    file = tmp_path / "dial.json"
    main(["--traffic", "idm-lane", "--dial", "gap=0.8,3", "--rollouts", "1", "--json", str(file)])
    shown = capsys.readouterr().out
    assert "mean time gap" in shown
    assert "Spearman" in shown
    found = read_json(file)["traffic"]["idm-lane"]
    assert found["trend"]["time_gap"]["mean"] == pytest.approx(1.0)
    assert found["levels"]["3"]["hits"]["scenes"] == 1
    assert rank_correlation((1, 2, 3), np.ones(3)) == 0.0
    assert rank_correlation((1, 2, 3), np.array([2.0, 1.0, 0.5])) == pytest.approx(-1.0)
    for text in ("pace", "pace=1", "pace=1,1", "=1,2", "pace=1,x"):
        with pytest.raises(ConfigError, match="--dial"):
            parse_dial(text)
    with pytest.raises(ConfigError, match="'gap' is an option that is to be set"):
        turn(["idm-lane?gap=2"], parse_dial("gap=1,2"), [], rollouts=1, seed=0, deceleration=6.0)
    with pytest.raises(ConfigError, match="--dial"):
        EvaluateTrafficConfig(dial="gap=1,2", causes=True)
