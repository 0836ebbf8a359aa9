"""Traffic baselines, simulators by name, and the evaluation command."""

import json
from dataclasses import replace

import numpy as np
import pytest

from harness import registry
from harness.errors import ConfigError, UnknownNameError
from harness.evaluate_traffic import main
from harness.geometry import boxes_overlap
from harness.interfaces import TrafficPolicy
from harness.metrics.wosac import FEATURES
from harness.traffic.baselines import ConstantVelocitySimulator, LogSimulator
from harness.traffic.evaluation import METRICS, evaluate, summarise
from harness.traffic.heights import follow_ground
from harness.traffic.lane_idm import LaneIDMSimulator, LaneIDMTraffic
from harness.traffic.lane_paths import FREE, LaneIDMConfig, prepare_paths
from harness.traffic.log_policies import ConstantVelocityTraffic
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.rollouts import PolicySimulator, SceneSimulator, SimulatedScene, simulated_agents
from scenarios.scenario import FUTURE_STEPS, Kind, MapFeature, Scenario
from tests.scenes import Agent, crossing, lasting, make_scene


def road(*agents: Agent, slope: float = 0.0, lights: bool = False) -> Scenario:
    """One lane along +x with its edges, rising by `slope`; the ego starts at (0, 0) at 10 m/s."""
    x = np.arange(-100.0, 400.1, 5.0)

    def line(name: str, kind: str, x: np.ndarray, y: float) -> MapFeature:
        return MapFeature(name, kind, np.stack([x, np.full_like(x, y), slope * x], -1))

    features = [
        line("lane", "LANE_SURFACE_STREET", x, 0.0),
        line("right", "ROAD_EDGE_BOUNDARY", x, -3.5),
        line("left", "ROAD_EDGE_BOUNDARY", x[::-1], 3.5),
    ]
    scene = make_scene([Agent("ego", 0, 0), *agents], features, opponent=None)
    light = {"lane": "lane", "stop_point": np.array([60.0, 0, 0]), "state": {"object_state": ["LANE_STATE_STOP"] * 91}}
    return replace(scene, lights={"lane": light} if lights else {})


@pytest.mark.parametrize("make", [LogSimulator, ConstantVelocitySimulator, LaneIDMSimulator])
def test_every_baseline_keeps_the_contract(make):
    scene = crossing(extra=[Agent("walker", 5, 5, 1.0, 1.5, Kind.PEDESTRIAN), Agent("late", 60, 0, first=11)])
    simulator = make()
    assert isinstance(simulator, SceneSimulator)
    found, again = simulator.simulate(scene, 3, 7), simulator.simulate(scene, 3, 7)
    assert found.states.shape == (3, 3, FUTURE_STEPS, 4)
    assert found.agents.tolist() == simulated_agents(scene).tolist() == [0, 1, 2]
    assert np.isfinite(found.states).all()
    assert np.array_equal(found.states, again.states)
    # Nobody jumps at the seam.
    first = found.states[:, :, 0, :2] - scene.position[found.agents, 10, :2]
    assert np.hypot(first[..., 0], first[..., 1]).max() < 1.2


def test_log_with_and_without_its_gaps():
    scene = road(Agent("other", 20, 0, speed=5.0, last=50))
    raw = LogSimulator(as_recorded=True).simulate(scene, 2, 0).states
    kept = LogSimulator().simulate(scene, 2, 0).states
    assert raw[0, 1, 60].tolist() == [0.0, 0.0, 0.0, 0.0]
    assert kept[1, 1, :, 0] == pytest.approx(20 + 5.0 * 0.1 * np.arange(11, 91))
    assert np.array_equal(kept[:, 0], raw[:, 0])
    valid = scene.valid.copy()
    valid[1, 20:30] = False
    position = np.where(valid[..., None], scene.position, 0.0)
    gap = LogSimulator().simulate(replace(scene, valid=valid, position=position), 1, 0).states
    assert gap == pytest.approx(kept[:1])


def test_a_log_that_ends_early_goes_on_at_its_last_velocity():
    scene = road(Agent("other", 20, 0, speed=5.0))
    whole = LogSimulator().simulate(scene, 1, 0).states
    assert LogSimulator().simulate(lasting(scene, 41), 1, 0).states == pytest.approx(whole)
    assert LogSimulator().simulate(lasting(scene, 199), 1, 0).states == pytest.approx(whole)
    assert LogSimulator(as_recorded=True).simulate(lasting(scene, 41), 1, 0).states[0, 1, -1, 0] == 20 + 5.0 * 4.0


def test_constant_velocity():
    states = ConstantVelocitySimulator().simulate(road(Agent("other", 20, 1, 0.5, 6.0)), 2, 0).states
    assert states[1, 1, -1] == pytest.approx([20 + 9 * 6 * np.cos(0.5), 1 + 9 * 6 * np.sin(0.5), 0.0, 0.5])


def test_idm_follows_and_does_not_run_into_the_one_ahead():
    scene = road(Agent("slow", 40, 0, speed=3.0))
    states = LaneIDMSimulator().simulate(scene, 8, 0).states
    assert not boxes_overlap(states[:, 0][..., [0, 1, 3]], (4.5, 2.0), states[:, 1][..., [0, 1, 3]], (4.5, 2.0)).any()
    constant = ConstantVelocitySimulator().simulate(scene, 1, 0).states
    assert constant[0, 0, -1, 0] > constant[0, 1, -1, 0]
    assert (states[:, 0, -1, 0] < states[:, 1, -1, 0] - 4.5).all()
    # The one in front speeds up, each driver to a speed of its own.
    speed = np.diff(states[:, 1, -2:, 0], axis=-1)[:, 0] / 0.1
    assert (speed > 8.0).all()
    assert np.ptp(speed) > 0.1


def test_idm_stops_at_a_red_light_and_parked_cars_stay():
    parked = road(Agent("parked", 30, 3.0, speed=0.0, heading=0.1), lights=True)
    states = LaneIDMSimulator().simulate(parked, 4, 0).states
    assert states[:, 1] == pytest.approx(np.broadcast_to([30.0, 3.0, 0.0, 0.1], states[:, 1].shape))
    assert (states[:, 0, -1, 0] + 2.25 < 60.0).all()
    assert (states[:, 0, -1, 0] > 40.0).all()
    green = LaneIDMSimulator().simulate(replace(parked, lights={}), 4, 0).states
    assert (green[:, 0, -1, 0] > 70.0).all()


def test_idm_takes_every_branch():
    scene = crossing(ego_speed=8.0)
    states = LaneIDMSimulator().simulate(scene, 16, 0).states
    ended = states[:, 0, -1, 1]
    assert (np.abs(ended) < 1.0).any()
    assert (ended > 3.0).any()


def test_ways_on_along_a_lane_with_its_red_light():
    scene, config = road(lights=True), LaneIDMConfig(speed=9.0)
    poses, velocity = np.array([[0.0, 1.0, 0.0], [0.0, 60.0, 1.0]]), np.array([[10.0, 0.0], [0.0, 4.0]])
    paths = prepare_paths(scene, poses, velocity, config)
    assert paths.count.tolist() == [1, 1]
    # On the lane: back to its centre, at most at the default limit, up to the light.
    assert paths.points[0, 0, 0] == pytest.approx([0.0, 1.0, 0.0])
    assert paths.points[0, 0, -1] == pytest.approx([300.0, 0.0, 0.0], abs=1e-3)
    assert paths.limit[0, 0, 100:].max() == 9.0
    assert paths.red[0, 0] == pytest.approx(60.0)
    # Off the lanes: straight on, as fast as now.
    assert paths.points[1, 0, 10] == pytest.approx([10 * np.cos(1.0), 60 + 10 * np.sin(1.0), 1.0])
    assert paths.limit[1, 0, 0] == pytest.approx(4.0)
    assert paths.red[1, 0] == FREE
    for name, value in (("gap", 0.0), ("lateral", -1.0), ("return_length", 0.0), ("speed", np.inf), ("spread", np.nan)):
        with pytest.raises(ConfigError, match="idm-lane"):
            LaneIDMConfig(**{name: value})


def test_heights_follow_the_road():
    scene = road(slope=0.05)
    position = scene.position.copy()
    position[..., 2] = 0.05 * position[..., 0] + 0.75
    scene = replace(scene, position=position)
    points = np.array([[[[60.0, 0.0], [100.0, 0.0], [110.0, 1.0]]]])
    assert follow_ground(scene, np.array([0]), points)[0, 0] == pytest.approx([3.75, 5.75, 6.25], abs=0.15)
    flat = follow_ground(road(), np.array([0]), points)
    assert (flat == 0).all()


def test_simulated_scene_checks_its_shape():
    with pytest.raises(ConfigError, match="expected"):
        SimulatedScene(np.zeros((2, 3, 80, 4)), np.arange(2))
    with pytest.raises(ConfigError, match="expected"):
        SimulatedScene(np.zeros((2, 3, 80, 3)), np.arange(3))


class Shifted(ConstantVelocitySimulator):
    """A simulator of one's own, with an option."""

    name = "shifted"

    def __init__(self, *, by: float = 1.0) -> None:
        self.by = by

    def simulate(self, scenario, rollouts, seed):
        found = super().simulate(scenario, rollouts, seed)
        found.states[..., 1] += self.by
        return found


def test_simulators_by_name():
    assert make_simulator("log").name == "log"
    own = make_simulator(f"{Shifted.__module__}:Shifted?by=2.5")
    assert own.by == 2.5
    with pytest.raises(UnknownNameError, match="constant_velocity"):
        make_simulator("constant")
    assert make_simulator("idm-lane?speed=3").config.speed == 3
    with pytest.raises(ConfigError, match="colour"):
        make_simulator("idm-lane?colour=3")
    with pytest.warns(FutureWarning, match="`idm` is `idm-lane` here"):
        assert isinstance(make_simulator("idm"), LaneIDMSimulator)
    with pytest.raises(ConfigError, match="no `reset` and `step`"):
        make_traffic(f"{Shifted.__module__}:Shifted")
    with pytest.raises(ConfigError, match="neither a TrafficPolicy"):
        make_simulator("collections:OrderedDict")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        make_simulator("no.such:Thing")


@pytest.mark.parametrize(
    "name", sorted(set(registry.names("traffic")) - {"smart", "rosetta", "infgen"})
)  # these have tests of their own
def test_every_registered_name_is_background_and_simulates_scenes(name):
    scene = crossing(extra=[Agent("late", 60, 0, first=11)])
    assert isinstance(make_traffic(name), TrafficPolicy)
    found = make_simulator(name).simulate(scene, 2, 3)
    assert found.states.shape == (2, 2, FUTURE_STEPS, 4)
    assert np.isfinite(found.states).all()
    first = found.states[:, :, 0, :2] - scene.position[found.agents, 10, :2]
    assert np.hypot(first[..., 0], first[..., 1]).max() < 1.2


def test_a_policy_is_rolled_out_for_everybody_and_nobody_is_lost():
    scene = road(Agent("other", 20, 0, speed=5.0, last=50))
    along_the_log = make_simulator("idm-path").simulate(scene, 2, 0).states
    logged = LogSimulator().simulate(scene, 2, 0).states
    assert along_the_log == pytest.approx(logged)
    straight = PolicySimulator(ConstantVelocityTraffic()).simulate(scene, 2, 0).states
    assert straight == pytest.approx(ConstantVelocitySimulator().simulate(scene, 2, 0).states)


def play(traffic, scene, ego):
    """Everybody's states [T, A, 5], and who is there [T, A], around an ego that drives as `ego` [T, 5] says."""
    states, valid = [np.stack([scene.states(agent)[0] for agent in range(scene.num_agents)])], [scene.valid[:, 0]]
    traffic.reset(scene, np.random.default_rng(0))
    for step in range(scene.num_steps - 1):
        following, present = traffic.step(step, states[-1].copy(), valid[-1].copy())
        following[scene.ego], present[scene.ego] = ego[step + 1], True
        states.append(following)
        valid.append(present)
    return np.array(states), np.array(valid)


def test_traffic_on_the_lanes_follows_the_log_for_a_second_and_then_brakes_for_the_ego():
    scene = road(Agent("behind", -30, 0, speed=10.0), Agent("late", -60, 0, speed=10.0, first=20, last=60))
    ego = scene.states(0).copy()
    ego[11:, :2], ego[11:, 3:] = ego[10, :2], 0.0
    states, valid = play(LaneIDMTraffic(), scene, ego)
    log = scene.states(1)
    assert np.array_equal(states[:11, 1], log[:11])
    assert (states[:, 1, 0] + 2.25 < ego[:, 0] - 2.25).all()
    assert states[-1, 1, 3] < 1.0
    # Who appears later joins then, and stays where its log ends.
    assert not valid[:20, 2].any()
    assert valid[20:, 2].all()
    assert (states[20:, 2, 0] + 4.5 < states[20:, 1, 0]).all()
    free, _ = play(LaneIDMTraffic(), scene, scene.states(0))
    assert free[-1, 1, 0] > states[-1, 1, 0] + 20.0


def test_the_same_driver_in_the_background_and_in_whole_scenes():
    scene = road(Agent("slow", 40, 0, speed=3.0))
    background, _ = play(LaneIDMTraffic(spread=0), scene, scene.states(0))
    simulated = LaneIDMSimulator(spread=0).simulate(scene, 1, 0).states
    assert background[11:, 1, 0] == pytest.approx(simulated[0, 1, :, 0])


def test_evaluate_leaves_unusable_scenes_out_for_every_model():
    good = road(Agent("other", 40, 0, speed=8.0))
    slow, bare = replace(good, id="slow", dt=0.5), replace(good, id="bare", features=good.features[:1])
    table = evaluate({"log": LogSimulator(), "cv": ConstantVelocitySimulator()}, [slow, bare, good], rollouts=2)
    assert table.scenes == ["bare", "scene"]
    assert "0.1 s" in table.left_out["slow"]
    # Without road edges a scene is scored by what does not rest on them.
    assert table.without_edges == ["bare"]
    assert np.isnan(table.scores["log"]["meta"]).tolist() == [True, False]
    assert not np.isnan(table.scores["log"]["kinematic"]).any()
    summary = summarise(table)
    assert set(METRICS) < set(summary["models"]["cv"])
    assert summary["models"]["log"]["N"] == 2
    assert summary["paired"]["log - cv"]["meta"]["scenes"] == 1
    # Constant velocity is the truth here.
    assert summary["paired"]["log - cv"]["meta"]["mean"] == pytest.approx(0.0, abs=1e-9)


def test_command(tmp_path, capsys):
    from scenarios.export import write_folder

    write_folder(
        [replace(road(Agent("other", 40, 0, speed=speed)), id=f"s{speed:.0f}") for speed in (6, 8)], tmp_path / "d"
    )
    out = tmp_path / "out.json"
    models = ["log", "constant_velocity", f"{Shifted.__module__}:Shifted?by=8.0"]
    main(["--data", str(tmp_path / "d"), "--traffic", *models, "--rollouts", "2", "--parity", "--json", str(out)])
    found = json.loads(out.read_text())
    for name in models:
        model = found["models"][name]
        assert {"meta", "kinematic", "interactive", "map", "min_ade", "N", *FEATURES} <= set(model)
        assert model["N"] == 2
        low, high = model["intervals"]["meta"]
        assert low <= model["meta"] <= high
    assert found["models"][models[2]]["simulated_offroad_rate"] == 1.0
    assert found["models"]["log"]["meta"] > found["models"][models[2]]["meta"]
    assert len(found["paired"]) == 3
    assert found["settings"]["parity"] is True
    assert "realism 2025" in capsys.readouterr().out
    main(["--data", str(tmp_path / "d"), "--traffic", *models[:2], "--rollouts", "1", "--agents", "near"])
    assert "scored agents: everybody within 100 m of the AV" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path / "none"), "--models", "log"])
    assert "write --traffic" in capsys.readouterr().err
