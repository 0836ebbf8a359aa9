"""Layout tokens, and who enters and leaves a log, on scenes whose every event is known."""

from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.geometry import from_frame
from harness.traffic.tokens.layout import (
    END,
    GRID_CELLS,
    GRID_STEP,
    YAWS,
    grid_cells,
    grid_tokens,
    layout_poses,
    layout_tokens,
    yaw_tokens,
)
from harness.traffic.tokens.population import (
    ObservedTraffic,
    Passage,
    PopulationLabels,
    arrivals,
    departures,
    ego_states,
    median_sizes,
    observed_traffic,
)
from scenarios.scenario import Kind
from tests.scenes import Agent, make_scene

STEPS = 31


def scene(*agents: Agent, ego_speed: float = 0.0):
    return make_scene([Agent("ego", 0, 0, speed=ego_speed, last=STEPS - 1), *agents], [], steps=STEPS, opponent=None)


def born(found: PopulationLabels, agent: int) -> tuple[int, Passage]:
    (row,) = np.flatnonzero(found.agent == agent)
    return int(found.decision[row]), Passage(found.passage[row])


def test_the_grid_has_the_cells_of_the_paper():
    cells = grid_cells()
    assert cells.shape == (GRID_CELLS, 2)
    assert np.hypot(*cells.T).max() == 75.0
    assert grid_tokens(cells).tolist() == list(range(GRID_CELLS))
    with pytest.raises(ValueError, match="read-only"):
        cells[0] = 0


def test_tokens_and_back():
    rng = np.random.default_rng(0)
    observer = np.array([4000.0, -900.0, 2.5])
    radius, angle = 75 * np.sqrt(rng.random(500)), rng.uniform(-np.pi, np.pi, 500)
    local = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    heading = rng.uniform(-7, 7, 500)
    poses = np.concatenate([from_frame(local, observer), heading[:, None]], -1)
    tokens = layout_tokens(poses, observer)
    assert tokens.covered.all()
    assert tokens.yaw.min() >= 0
    assert tokens.yaw.max() < YAWS
    again = layout_poses(tokens.grid, tokens.yaw, observer)
    inner = radius < 75 - GRID_STEP
    assert np.hypot(*(again - poses)[inner, :2].T).max() <= GRID_STEP / np.sqrt(2) + 1e-9
    turn = np.angle(np.exp(1j * (again[:, 2] - heading)))
    assert np.abs(turn).max() <= np.pi / YAWS + 1e-9
    assert layout_tokens(again, observer).grid.tolist() == tokens.grid.tolist()
    assert not layout_tokens(np.array([80.0, 0.0, 0.0]), np.zeros(3)).covered


def test_yaws_are_rounded_not_cut():
    degrees = np.array([0.0, 1.4, 1.6, -1.4, -1.6, 358.6, 358.4, 180.0])
    assert yaw_tokens(np.radians(degrees)).tolist() == [0, 0, 1, 0, 119, 0, 119, 60]


def test_who_enters_and_how():
    log = observed_traffic(
        scene(
            Agent("drives in", 80, 0, np.pi, 10.0),  # 75 m at step 5, so there at step 10.
            Agent("at the border", 0, 70, 0.0, 5.0, first=12),
            Agent("parked", 20, 20, 0.0, 0.0, first=13),
            Agent("truck", 20, -10, np.pi / 2, 0.0, size=(12.0, 3.0, 3.0)),
            Agent("behind the truck", 40, -20, np.pi / 2, 5.0, first=15),
            Agent("from nowhere", -30, 5, 0.0, 5.0, first=17),
            Agent("always", 10, 30),
            Agent("cone", 5, 5, kind=Kind.CONE, first=15),
            Agent("out from behind it", 40, -22, np.pi / 2, 10.0, first=15),  # In sight from 7.4 m aside on.
        )
    )
    found = arrivals(log)
    assert born(found, 1) == (2, Passage.DROVE)
    # First seen at step 12; as for motion tokens, it is taken to have come from step 10.
    assert born(found, 2) == (2, Passage.BORDER)
    assert born(found, 3) == (2, Passage.STANDING)
    assert born(found, 5) == (3, Passage.HIDDEN)
    assert born(found, 6) == (3, Passage.UNKNOWN)
    assert born(found, 9) == (3, Passage.HIDDEN)
    assert sorted(found.agent.tolist()) == [1, 2, 3, 5, 6, 9]
    assert departures(log).agent.size == 0


def test_who_is_hidden_says_the_step_before_it_was_seen():
    """At step 17 the truck hides it; at step 14, before the step to which its track is continued back, it did not."""
    truck = Agent("truck", 20, -10, np.pi / 2, 0.0, size=(12.0, 3.0, 3.0))
    log = observed_traffic(scene(truck, Agent("emerges", 40, -42.5, np.pi / 2, 5.0, first=18)))
    assert born(arrivals(log), 2) == (3, Passage.HIDDEN)


def test_without_a_sensor_at_the_observer_nobody_is_hidden():
    log = observed_traffic(
        scene(
            Agent("truck", 20, -10, np.pi / 2, 0.0, size=(12.0, 3.0, 3.0)),
            Agent("behind the truck", 40, -20, np.pi / 2, 5.0, first=15),
        ),
        sees=False,
    )
    assert born(arrivals(log), 2) == (3, Passage.UNKNOWN)


def test_who_leaves_and_how():
    log = observed_traffic(
        scene(
            Agent("drives out", 68, 0, 0.0, 5.0),  # 75 m at step 14.
            Agent("at the border", 0, 70, 0.0, 5.0, last=12),
            Agent("parked", 20, 20, 0.0, 0.0, last=13),
            Agent("truck", 20, -10, np.pi / 2, 0.0, size=(12.0, 3.0, 3.0)),
            Agent("behind the truck", 40, -27, np.pi / 2, 5.0, last=14),
            Agent("to nowhere", -30, 5, 0.0, 5.0, last=17),
            Agent("behind it then", 40, 7, -np.pi / 2, 10.0, last=14),
        )
    )
    found = departures(log)
    assert born(found, 1) == (2, Passage.DROVE)
    assert born(found, 2) == (2, Passage.BORDER)
    assert born(found, 3) == (2, Passage.STANDING)
    assert born(found, 5) == (2, Passage.HIDDEN)
    assert born(found, 6) == (3, Passage.UNKNOWN)
    assert born(found, 7) == (2, Passage.HIDDEN)
    assert arrivals(log).agent.size == 0


def test_newcomers_are_generated_the_nearest_first():
    log = observed_traffic(
        scene(
            Agent("far", 60, 0, 0.0, 5.0, first=10),
            Agent("near", 9, 12, np.pi / 2, 5.0, kind=Kind.PEDESTRIAN, first=10),
            Agent("later", 30, 0, 0.0, 5.0, kind=Kind.CYCLIST, first=20),
        )
    )
    found = arrivals(log)
    assert found.agent.tolist() == [2, 1, 3]
    # Who appears at step 10 itself is given a whole token of past, as everybody who is simulated.
    assert found.decision.tolist() == [1, 1, 4]
    assert found.there[:, 1].tolist() == [False, True, True, False]
    tokens = found.sequence(1)
    place = log.poses[2, 5]
    assert tokens.tolist() == [1, int(grid_tokens(place[:2])), 30, 0, int(grid_tokens(log.poses[1, 5, :2])), 0, END]
    assert found.sequence(2).tolist() == [END]


def test_tokens_are_seen_from_where_the_observer_is_then():
    log = observed_traffic(scene(Agent("new", 30, 0, 0.0, 5.0, first=20), ego_speed=10.0))
    found = arrivals(log)
    x, ego = log.poses[1, 20, 0], log.observer[20, 0]
    assert ego == pytest.approx(20.0)
    assert grid_cells()[found.grid[0]] == pytest.approx([3 * round((x - ego) / 3), 0])


def test_a_fixed_observer_of_an_area():
    agents = [Agent("crosses", -40, 0, 0.0, 10.0), Agent("inside", 5, 15, 0.0, 1.0, first=10)]
    square = np.array([[-30.0, -30.0], [30.0, -30.0], [30.0, 30.0], [-30.0, 30.0]])
    log = observed_traffic(scene(*agents), np.zeros(3), sees=False, area=square)
    found = arrivals(log)
    assert born(found, 1) == (3, Passage.DROVE)  # At -30 m at step 10, on the border; inside at step 15.
    assert found.there[1].tolist() == [False] * 3 + [True] * 4
    assert born(found, 2) == (1, Passage.UNKNOWN)
    # The ego is one among others here.
    assert found.there[0].all()
    away = observed_traffic(scene(*agents), np.array([100.0, 0.0, 0.0]), sees=False)
    assert not arrivals(away).there.any()


def test_gaps_are_filled_before_labels_are_made():
    lost = scene(Agent("blinks", 20, 0, 0.0, 5.0))
    valid = lost.valid.copy()
    valid[1, 8:14] = False
    log = observed_traffic(replace(lost, valid=valid))
    assert arrivals(log).agent.size == departures(log).agent.size == 0


def test_an_ego_that_is_lost_waits():
    lost = scene(ego_speed=10.0)
    valid = lost.valid.copy()
    valid[0, :3] = valid[0, 20:] = False
    path = ego_states(replace(lost, valid=valid))
    assert path[[0, 3, 19, 30], 0] == pytest.approx([3.0, 3.0, 19.0, 19.0])
    assert path[30, 3:] == pytest.approx([10.0, 0.0])


def test_sizes_of_newcomers():
    sizes = np.array([[4.0, 2.0, 1.5], [5.0, 2.2, 1.7], [12.0, 3.0, 3.0], [0.7, 0.7, 1.8]])
    found = median_sizes(sizes, np.array([0, 0, 0, 1]))
    assert found[0].tolist() == [5.0, 2.2, 1.7]
    assert found[1].tolist() == [0.7, 0.7, 1.8]
    assert np.isnan(found[2]).all()


def test_shapes_are_checked():
    log = observed_traffic(scene())
    fields = {name: getattr(log, name) for name in ObservedTraffic.__slots__}
    with pytest.raises(ConfigError, match="sizes has the shape"):
        ObservedTraffic(**{**fields, "sizes": np.zeros((3, 2))})
    short = {name: fields[name][:, :5] for name in ("poses", "velocity", "valid")}
    with pytest.raises(ConfigError, match="more than 5"):
        ObservedTraffic(**{**fields, **short, "observer": log.observer[:5]})
