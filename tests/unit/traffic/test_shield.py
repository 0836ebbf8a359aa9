"""The shield: whom it stops, where it looks, what it counts, and that nothing changes where nothing is in the way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import torch

from harness.checks import check_traffic
from harness.errors import ConfigError
from harness.report.traffic_tables import realism_table
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.model.shielded import Shield
from harness.traffic.model.simulator import SmartSimulator
from harness.traffic.road_sides import RoadSides
from harness.traffic.rollouts import total_interventions
from harness.traffic.shield import Crowd, choose_safely
from scenarios.scenario import Kind
from tests.scenes import Agent, make_scene, straight_road
from tests.unit.traffic.scenes import small_model, tiny_vocabulary, traffic

SIZE = (4.0, 2.0)
ROAD = RoadSides([np.array([[-100.0, -4.0], [100.0, -4.0]]), np.array([[100.0, 4.0], [-100.0, 4.0]])])
"""A road along x, 8 m wide: its edges run with the road on their left."""


def ways(*ends):
    """Candidates [C, 5, 3] that go evenly to an end (x, y) in half a second; the first is the one wanted most."""
    share = torch.arange(1, 6) / 5.0
    return torch.stack([torch.stack([x * share, y * share, 0 * share], -1) for x, y in ends])


def decide(agents, candidates, road=None, slowing=0.0, sees=None):
    """Choices and counts of agents (x, y, heading, speed, decides), all with candidates of the same number."""
    pose = torch.tensor([agent[:3] for agent in agents])[None]
    speed = torch.tensor([agent[3] for agent in agents])
    motion = torch.stack([speed / 2, 0 * speed, 0 * speed], -1)[None]
    present = torch.ones(1, len(agents), dtype=torch.bool)
    decides = torch.tensor([[agent[4] for agent in agents]])
    half = torch.tensor(SIZE).expand(1, len(agents), 2) / 2
    seeing = present if sees is None else torch.tensor([sees])
    crowd = Crowd(pose, motion, torch.full((1, len(agents)), slowing), half, present, decides, seeing, present)
    choice, done = choose_safely(crowd, torch.stack(candidates)[None], road)
    return choice[0].tolist(), tuple(done)


ON, STAND = (5.0, 0.0), (0.0, 0.0)
GO_OR_STAND = ways(ON, STAND)
BRAKING = ways(ON, (4.0, 0.0), (3.0, 0.0), STAND)


@pytest.mark.parametrize(
    ("agents", "candidates", "choice", "done"),
    [
        # Far apart: nobody is touched.
        ([(0.0, 0.0, 0.0, 10.0, True), (0.0, 5.0, 0.0, 10.0, True)], [GO_OR_STAND] * 2, [0, 0], (2, 0, 0)),
        # Following at the same speed, 3 m between bumpers: both go on, as the follower can brake.
        ([(0.0, 0.0, 0.0, 10.0, True), (7.0, 0.0, 0.0, 10.0, True)], [GO_OR_STAND] * 2, [0, 0], (2, 0, 0)),
        # The leader stands: the follower has to stop, not the leader.
        ([(0.0, 0.0, 0.0, 10.0, True), (9.2, 0.0, 0.0, 0.0, True)], [GO_OR_STAND, ways(STAND, ON)], [1, 0], (2, 1, 0)),
        # Head-on, 6 m between bumpers, equally fast: the later one minds the earlier one, which goes on as it wants.
        (
            [(0.0, 0.0, 0.0, 10.0, True), (10.0, 0.0, math.pi, 10.0, True)],
            [GO_OR_STAND, ways(ON, (0.0, 3.0))],
            [0, 1],
            (2, 1, 0),
        ),
        # A parked car, 20 m between bumpers: 5 m and 10²/6.8 = 14.7 m of braking are less, so it may go on for now.
        ([(0.0, 0.0, 0.0, 10.0, True), (24.0, 0.0, 0.0, 0.0, False)], [BRAKING] * 2, [0, 0], (1, 0, 0)),
        # 16 m: on 4 m and (8 m/s) 9.4 m of braking it still stops, on 5 m and 14.7 m it does not.
        ([(0.0, 0.0, 0.0, 10.0, True), (20.0, 0.0, 0.0, 0.0, False)], [BRAKING] * 2, [1, 0], (1, 1, 0)),
        # Overlapping already: what goes apart is free, what goes deeper is not.
        ([(0.0, 0.0, 0.0, 1.0, True), (-3.0, 0.0, 0.0, 0.0, False)], [ways((1.0, 0.0), STAND)] * 2, [0, 0], (1, 0, 0)),
        ([(0.0, 0.0, 0.0, 1.0, True), (3.0, 0.0, 0.0, 0.0, False)], [ways((1.0, 0.0), STAND)] * 2, [1, 0], (1, 1, 0)),
        # No way out: the candidate that goes in least deep, and it is counted.
        (
            [(0.0, 0.0, 0.0, 10.0, True), (5.0, 0.0, 0.0, 0.0, False)],
            [ways(ON, (4.0, 0.0), (3.5, 0.0))] * 2,
            [2, 0],
            (1, 1, 1),
        ),
        # The one behind has no way out, so the one that cuts in before it stays where it is.
        (
            [(0.0, 0.0, 0.0, 10.0, True), (3.0, 2.5, 0.0, 4.0, True)],
            [ways(ON, (5.5, 0.0)), ways((2.0, -2.0), (2.0, 0.0))],
            [0, 1],
            (2, 1, 0),
        ),
    ],
)  # fmt: skip
def test_others(agents, candidates, choice, done):
    assert decide(agents, candidates) == (choice, done)


def test_who_slows_down_is_expected_to_stop():
    """A car 8 m ahead at 10 m/s: braking at 8 m/s² it comes to stand where a follower that goes on cannot."""
    agents = [(0.0, 0.0, 0.0, 10.0, True), (12.0, 0.0, 0.0, 10.0, False)]
    assert decide(agents, [BRAKING] * 2)[0] == [0, 0]
    assert decide(agents, [BRAKING] * 2, slowing=8.0)[0] == [2, 0]


@pytest.mark.parametrize(
    ("y", "candidates", "choice"),
    [
        (0.0, ways((5.0, 0.0), STAND), 0),
        (2.0, ways((5.0, 2.0), (5.0, 0.5), (5.0, 0.0)), 2),  # 1 m to the edge, and one token more counts
        (3.5, ways((5.0, 0.5), (5.0, 0.0)), 1),  # half a metre over the edge: no farther
        (3.5, ways((5.0, -0.5), (5.0, 0.0)), 0),  # back is free
        (8.0, ways((5.0, 2.0), (5.0, 0.0)), 0),  # in a car park edges are none of its business
    ],
)
def test_road_edges(y, candidates, choice):
    assert decide([(0.0, y, 0.0, 10.0, True)], [candidates], ROAD)[0] == [choice]


def test_sides_of_edges():
    """A square island (road outside) and its mirror image (road inside), corners included."""
    island = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 10.0], [10.0, 0.0], [0.0, 0.0]])
    points = torch.tensor([[5.0, 1.0], [5.0, -2.0], [-3.0, -4.0], [13.0, 14.0], [9.0, 8.0], [900.0, 0.0]])
    inside = RoadSides([island]).distance(points)
    assert inside.tolist() == pytest.approx([1.0, -2.0, -5.0, -5.0, 1.0, -math.inf])
    assert RoadSides([island[::-1]]).distance(points)[:5].tolist() == pytest.approx([-1.0, 2.0, 5.0, 5.0, -1.0])
    assert RoadSides([]).distance(points).tolist() == [-math.inf] * 6
    # Edges without points, or without length, are none.
    some = RoadSides([np.zeros((0, 2)), island, np.ones((3, 2))])
    assert some.distance(points).tolist() == inside.tolist()


def test_sides_of_a_winding_road_are_those_of_its_polygon():
    rng = np.random.default_rng(0)
    angle, radius = np.sort(rng.uniform(0, 2 * np.pi, 14)), rng.uniform(20, 40, 14)
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    ring = np.concatenate([ring, ring[:1]])
    places = rng.uniform(-45, 45, (4000, 2))
    away = shapely.distance(shapely.LinearRing(ring), shapely.points(places))
    inside = shapely.contains(shapely.Polygon(ring), shapely.points(places))
    near = away < 6
    found = RoadSides([ring]).distance(torch.tensor(places[near], dtype=torch.float32))
    assert found.numpy() == pytest.approx(np.where(inside, -away, away)[near], abs=1e-4)


def test_bends_of_half_a_metre_are_kept():
    bent = RoadSides([np.array([[0.0, 0.0], [10.0, 0.5], [20.0, 0.0]])])
    assert bent.distance(torch.tensor([[10.0, 1.0]])).tolist() == pytest.approx([-0.5])


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("turned", [False, True])
def test_behind_a_sharp_corner_both_of_its_edges_say_the_side(first, turned):
    """A wedge whose edges, alone, take one of two points beyond its tip for points inside of it."""
    wedge = np.roll(np.array([[0.0, 0.0], [20.0, 2.0], [20.0, -2.0]]), first, 0)
    ring = np.concatenate([wedge, wedge[:1]])
    found = RoadSides([ring[::-1] if turned else ring]).distance(torch.tensor([[-3.0, 1.0], [-3.0, -1.0]]))
    assert found.tolist() == pytest.approx([(1 if turned else -1) * math.sqrt(10)] * 2)


@pytest.mark.parametrize(
    ("sees", "choice"),
    [([True, True], [0, 1]), ([True, False], [1, 0]), ([False, True], [0, 1]), ([False] * 2, [0, 0])],
)
def test_who_sees_nobody_is_minded_and_minds_nobody(sees, choice):
    """Head-on, equally fast: the later one minds the earlier one, unless it alone sees nothing."""
    agents = [(0.0, 0.0, 0.0, 10.0, True), (10.0, 0.0, math.pi, 10.0, True)]
    assert decide(agents, [ways(ON, (0.0, 3.0))] * 2, sees=sees)[0] == choice


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "small.safetensors"
    small_model(vocabulary=tiny_vocabulary()).save(path)
    return path


def test_simulator_and_policy_have_it_as_an_option(weights):
    scene = traffic()
    plain, shielded = make_simulator(f"smart:{weights}"), make_simulator(f"smart:{weights}?shield=true")
    free, kept = plain.simulate(scene, 2, 0), shielded.simulate(scene, 2, 0)
    assert free.interventions is None
    assert kept.interventions.decisions == 2 * 16 * len(kept.agents)
    assert 0 < kept.interventions.changed < kept.interventions.decisions
    assert not np.array_equal(free.states, kept.states)
    policy = make_traffic(f"smart:{weights}?shield=true")
    assert isinstance(policy.model.shield(scene, np.zeros(3)), Shield)
    check_traffic(policy, scene)
    assert 0 < policy.interventions.decisions <= 3 * 16  # neither ego nor opponent
    policy.reset(scene, np.random.default_rng(0))
    assert policy.interventions.decisions == 0
    assert make_traffic(f"smart:{weights}").interventions is None
    shares = {"smart": free.interventions, "smart?shield=true": kept.interventions}
    numbers = {
        name: {"intervals": {}, "seconds": {}, "interventions": total_interventions([done])}
        for name, done in shares.items()
    }
    table = realism_table(numbers, "")
    assert [column.key for column in table.columns][-2:] == ["changed", "no_way_out"]
    assert table.rows[1]["changed"] == kept.interventions.changed / kept.interventions.decisions
    del numbers["smart?shield=true"]
    assert [column.key for column in realism_table(numbers, "").columns][-1] == "seconds"


@pytest.mark.parametrize(
    ("head", "options"), [("tokens", ""), ("tokens", "&method=warm_k"), ("tokens", "&temperature=0"), ("gmm", "")]
)
def test_where_nothing_is_in_the_way_nothing_changes(tmp_path, head, options, monkeypatch):
    scene, weights = traffic(), tmp_path / "small.safetensors"
    small_model(vocabulary=tiny_vocabulary(), head=head).save(weights)
    nobody = "harness.traffic.shield._Deciding._conflicts"
    monkeypatch.setattr(nobody, lambda self: torch.zeros_like(self.pairs.who, dtype=torch.bool))
    monkeypatch.setattr("harness.traffic.road_sides.RoadSides.__len__", lambda self: 0)
    plain = make_simulator(f"smart:{weights}?device=cpu{options}").simulate(scene, 2, 0)
    kept = make_simulator(f"smart:{weights}?shield=true{options}").simulate(scene, 2, 0)
    assert np.array_equal(plain.states, kept.states)
    assert kept.interventions.changed == 0


def test_a_mixture_has_its_ways_and_the_same_ones_braking(tmp_path):
    """Everybody would go on as before: a car that comes up to a cyclist that stands has to brake, and can."""
    weights = tmp_path / "gmm.safetensors"
    model = small_model(vocabulary=tiny_vocabulary(), head="gmm")
    with torch.no_grad():
        model.network.mixture.net[-1].weight.zero_()
        model.network.mixture.net[-1].bias.zero_()
    model.save(weights)
    agents = (Agent("cyclist", 45.0, 0.0, 0.0, 0.0, Kind.CYCLIST, (1.8, 0.6, 1.7)), Agent("car", 0.0, 0.0, 0.0, 10.0))
    scene = make_scene(agents, straight_road().features, opponent=None)
    plain, kept = (SmartSimulator(weights, shield=shield).simulate(scene, 2, 0) for shield in (False, True))
    assert np.allclose(plain.states[:, 1, -1, 0], 90.0, atol=0.1)
    room = 45.0 - (1.8 + 4.5) / 2
    assert (kept.states[:, 1, :, 0] < room - 0.05).all()
    assert (kept.states[:, 1, -1, 0] > room - 5.0).all()
    steps = np.diff(kept.states[:, 1, ::5, 0], axis=1)
    assert np.diff(steps).min() > -0.851  # braking, at no more than it can
    assert kept.interventions.changed > 0 == kept.interventions.no_way_out
    with pytest.raises(ConfigError, match=r"warm_k chooses among tokens.*GMM"):
        SmartSimulator(weights, method="warm_k")
