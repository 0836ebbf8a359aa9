"""Realism scores of whole scenes: by hand on small ones, and the official numbers where WOMD protos are at hand."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import ConfigError, ScenarioError
from harness.metrics.wosac import FEATURES, OFFICIAL, WEIGHTS, Quirks, Scorer, evaluated_agents, score
from harness.traffic.baselines import ConstantVelocitySimulator, LogSimulator
from harness.traffic.rollouts import SimulatedScene, simulated_agents
from scenarios.scenario import Kind, MapFeature, Scenario
from tests.scenes import CAR, Agent, lasting, make_scene


def road(*agents: Agent) -> Scenario:
    """A straight road along +x, 7 m wide about y = 0, its edges with the road on the left."""
    x = np.arange(-100.0, 300.1, 10.0)

    def line(name: str, kind: str, x: np.ndarray, y: float) -> MapFeature:
        return MapFeature(name, kind, np.stack([x, np.full_like(x, y), np.zeros_like(x)], -1))

    features = [
        line("lane", "LANE_SURFACE_STREET", x, 0.0),
        line("right", "ROAD_EDGE_BOUNDARY", x, -3.5),
        line("left", "ROAD_EDGE_BOUNDARY", x[::-1], 3.5),
    ]
    return make_scene([Agent("ego", 0, 0), *agents], features, opponent=None)


def simulated(scene: Scenario, *shifts: tuple[float, float]) -> SimulatedScene:
    """The log once per (dx, dy), all agents but the first shifted by it over the whole future."""
    log = LogSimulator().simulate(scene, len(shifts), 0)
    states = log.states.copy()
    states[:, 1:, :, :2] += np.array(shifts)[:, None, None]
    return SimulatedScene(states, log.agents)


@pytest.mark.parametrize(("steps", "future"), [(14, 3), (41, 30), (91, 80), (199, 80)])
def test_a_scene_is_judged_over_its_own_length_and_8_s_at_most(steps, future):
    scene, rollouts = lasting(road(Agent("other", 20, 0)), steps), 4
    found = score(scene, simulated(scene, *[(0.0, 0.0)] * rollouts))
    # Constant speed: every value lies in the log's bin; the last step has no central difference.
    count = (future - 1) * rollouts
    assert found.likelihoods["linear_speed"] == pytest.approx((count + 0.1) / (count + 1.0))
    assert 0.0 < found.meta <= 1.0
    assert found.ade == pytest.approx(0.0)


def test_log_replay_of_a_lone_car_by_hand():
    scene, rollouts = road(), 4
    log = LogSimulator().simulate(scene, rollouts, 0)
    exact, official = score(scene, log), score(scene, log, parity=True)
    # Constant speed: every simulated value lies in the log's bin, but the NaN at the end in the top bin by the quirk.
    assert exact.likelihoods["linear_speed"] == pytest.approx((79 * rollouts + 0.1) / (79 * rollouts + 1.0))
    assert official.likelihoods["linear_speed"] == pytest.approx((79 * rollouts + 0.1) / (80 * rollouts + 1.0))
    assert official.likelihoods["angular_acceleration"] == pytest.approx(
        (78 * rollouts + 0.1) / (80 * rollouts + 1.1), rel=1e-6
    )
    sure = (rollouts + 0.001) / (rollouts + 0.002)
    for name in ("collision_indication", "offroad_indication", "traffic_light_violation"):
        assert exact.likelihoods[name] == pytest.approx(sure)
    for name in ("distance_to_nearest_object", "distance_to_road_edge", "time_to_collision"):
        assert official.likelihoods[name] == pytest.approx((80 * rollouts + 0.1) / (80 * rollouts + 1.0))
    assert exact.meta == pytest.approx(sum(WEIGHTS["2025"][name] * exact.likelihoods[name] for name in FEATURES))
    assert exact.min_ade == exact.ade == 0.0
    assert exact.collision_rate == exact.offroad_rate == exact.red_light_rate == 0.0


def test_buckets_and_the_weights_of_both_years():
    scene = road(Agent("other", 40, 0, speed=8.0))
    sim = simulated(scene, (0, 0), (3, 0), (0, 3.2), (-40, 0))
    new, old = score(scene, sim), score(scene, sim, config="2024")
    assert new.likelihoods == old.likelihoods
    value = new.likelihoods
    assert old.map == pytest.approx(
        (0.1 * value["distance_to_road_edge"] + 0.25 * value["offroad_indication"]) / 0.35, rel=1e-9
    )
    assert new.kinematic == pytest.approx(np.mean([value[name] for name in FEATURES[:4]]))
    assert all(sum(year.values()) == pytest.approx(1.0) for year in WEIGHTS.values())
    with pytest.raises(ConfigError, match="2023"):
        score(scene, sim, config="2023")


def test_each_rollout_by_itself():
    scene = road(Agent("other", 40, 0, speed=10.0))
    # The log; off the road; into the ego.
    scorer = Scorer(scene, agents=(0, 1))
    found = scorer.score_groups(simulated(scene, (0, 0), (0, 6.0), (-38.0, 0)), 3)
    assert found.off_road.tolist() == [[False, False], [False, True], [False, False]]
    assert found.collided.tolist() == [[False, False], [False, False], [True, True]]
    assert found.displacement == pytest.approx(torch.tensor([[0.0, 0], [0, 6], [0, 38]], dtype=torch.float64))
    assert found.meta[0] > found.meta[1:].max()
    assert found.collision_rate.tolist() == [0.0, 0.0, 1.0]
    # Each is what it would be alone.
    alone = scorer.score(simulated(scene, (0, 6.0)))
    assert found.meta[1].item() == pytest.approx(alone.meta)
    assert found.likelihoods["offroad_indication"][1].item() == pytest.approx(alone.likelihoods["offroad_indication"])
    # Only who leaves the road has less of its own, a collision is held against both, and one agent alone is the scene.
    lost = found.meta_of_agents[0] - found.meta_of_agents
    assert lost[1, 1] > 0.25 * 0.99
    assert lost[1, 0] < 0.1
    assert (lost[2] > 0.25 * 0.99).all()
    lone = Scorer(scene, agents=(1,)).score_groups(simulated(scene, (0, 6.0)), 1)
    assert lone.meta_of_agents[:, 0].tolist() == pytest.approx(lone.meta.tolist())


def test_what_an_agent_has_not_it_shares_with_the_scene():
    scene = road(Agent("walker", 40, 3.0, speed=1.0, kind=Kind.PEDESTRIAN))
    found = Scorer(scene, agents=(0, 1)).score_groups(simulated(scene, (0, 0)), 1)
    # A time to collision exists for vehicles alone: the walker takes the scene's, and nothing is undefined.
    assert found.meta_of_agents.isfinite().all()
    assert found.meta_of_agents[0].mean().item() == pytest.approx(found.meta[0].item(), abs=0.02)


def test_pooled_rollouts_share_one_distribution():
    scene = road(Agent("other", 40, 0))
    scorer = Scorer(scene, agents=(1,))
    pooled = scorer.score(simulated(scene, (0, 0), (0, 6.0), (0, 6.0), (0, 6.0)))
    assert pooled.likelihoods["offroad_indication"] == pytest.approx(1.001 / 4.002)
    assert (pooled.min_ade, pooled.ade) == pytest.approx((0.0, 4.5))
    halves = scorer.score_groups(simulated(scene, (0, 0), (0, 6.0), (0, 6.0), (0, 6.0)), 2)
    assert halves.likelihoods["offroad_indication"].tolist() == pytest.approx([1.001 / 2.002, 0.001 / 2.002])


def test_history_in_the_displacement_is_a_quirk():
    scene = road(Agent("other", 40, 0))
    sim = simulated(scene, (0, 1.0))
    assert Scorer(scene, agents=(1,)).score(sim).min_ade == pytest.approx(1.0)
    assert Scorer(scene, agents=(1,), quirks=Quirks(ade_with_history=True)).score(sim).min_ade == pytest.approx(80 / 91)


def test_agents_that_the_log_loses_count_only_while_it_has_them():
    scene = road(Agent("other", 40, 0, speed=10.0, last=40))
    # From step 41 on the log says nothing about the other: leaving the road then is not held against it.
    states = LogSimulator().simulate(scene, 1, 0).states.copy()
    late, early = states.copy(), states.copy()
    late[:, 1, 31:, 1] = 20.0
    early[:, 1, 29:, 1] = 20.0
    agents = simulated_agents(scene)
    scorer = Scorer(scene, agents=(1,))
    assert scorer.score(SimulatedScene(late, agents)).offroad_rate == 0.0
    assert scorer.score(SimulatedScene(early, agents)).offroad_rate == 1.0


def test_who_is_evaluated():
    scene = road(
        Agent("7", 20, 0), Agent("30", 40, 0), Agent("late", 60, 0, first=11), Agent("cone", 9, 9, kind=Kind.CONE)
    )
    assert evaluated_agents(scene) == ((1, 2, 0), "all")
    assert evaluated_agents(replace(scene, objects_of_interest=("30",))) == ((2, 0), "objects_of_interest")
    metadata = {"tracks_to_predict": {"30": {}, "late": {}, "7": {}}}
    assert evaluated_agents(replace(scene, metadata=metadata)) == ((1, 2, 0), "tracks_to_predict")


def test_a_far_away_world_changes_nothing_but_by_the_single_precision_quirk():
    scene = road(Agent("other", 40, 0, speed=8.0))
    far = np.array([9000.0, -7000.0, 0.0])
    moved = replace(
        scene,
        position=scene.position + far,
        features=tuple(replace(feature, points=feature.points + far) for feature in scene.features),
    )
    here, there = (score(one, ConstantVelocitySimulator().simulate(one, 2, 0)) for one in (scene, moved))
    assert there.as_dict() == pytest.approx(here.as_dict(), abs=1e-9)


def test_the_order_of_simulated_agents_does_not_matter():
    scene = road(Agent("other", 40, 0, speed=8.0))
    sim = simulated(scene, (0, 2.0))
    turned = SimulatedScene(sim.states[:, ::-1], sim.agents[::-1])
    assert score(scene, turned).as_dict() == score(scene, sim).as_dict()


def test_what_cannot_be_scored_says_so():
    scene = road(Agent("other", 40, 0))
    log = LogSimulator().simulate(scene, 2, 0)
    scorer = Scorer(scene)
    with pytest.raises(ConfigError, match="2 agents at step 10"):
        scorer.score(SimulatedScene(log.states[:, :1], log.agents[:1]))
    with pytest.raises(ConfigError, match="80 are judged after step 10"):
        scorer.score(SimulatedScene(log.states[:, :, :70], log.agents))
    with pytest.raises(ConfigError, match="NaN"):
        scorer.score(SimulatedScene(np.full_like(log.states, np.nan), log.agents))
    with pytest.raises(ConfigError, match="equal groups"):
        scorer.score_groups(log, 3)
    with pytest.raises(ConfigError, match="not there at step 10"):
        Scorer(road(Agent("late", 40, 0, first=11)), agents=(1,))
    with pytest.raises(ScenarioError, match="no road edges"):
        Scorer(replace(scene, features=scene.features[:1]))
    with pytest.raises(ScenarioError, match=r"0\.1 s"):
        Scorer(replace(scene, dt=0.5))


def test_what_does_not_rest_on_road_edges_is_scored_without_them():
    scene = road(Agent("other", 40, 0))
    blind = replace(scene, features=scene.features[:1])
    sim = simulated(scene, (0.0, 0.0), (3.0, 8.0))
    whole, part = Scorer(scene).score(sim).as_dict(), Scorer(blind, partial=True).score(sim).as_dict()
    resting = {"meta", "map", "distance_to_road_edge", "offroad_indication", "simulated_offroad_rate"}
    assert {name for name, value in part.items() if np.isnan(value)} == resting
    assert {name: value for name, value in part.items() if name not in resting} == {
        name: value for name, value in whole.items() if name not in resting
    }
    assert Scorer(scene, partial=True).score(sim).as_dict() == whole


def test_sizes_are_those_of_step_ten():
    scene = road(Agent("other", 20, 0))
    size = scene.size.copy()
    size[:, 11:, 1] = 50.0
    grown = replace(scene, size=size)
    assert score(grown, LogSimulator().simulate(grown, 1, 0)).collision_rate == 0.0
    assert CAR[1] == 2.0


# ---- the official numbers: facts about two WOMD scenes, by waymo-open-dataset 1.6.7 with its 2025 configuration

GOLDEN = {
    ("637f20cafde22ff8", "submission"): {
        "meta": 0.25824,
        "kinematic": 0.28683,
        "interactive": 0.24972,
        "map": 0.25285,
        "min_ade": 2.08469,
        "linear_speed": 0.64715,
        "linear_acceleration": 0.12931,
        "angular_speed": 0.06160,
        "angular_acceleration": 0.30928,
        "distance_to_nearest_object": 0.23724,
        "collision_indication": 0.05287,
        "time_to_collision": 0.75434,
        "distance_to_road_edge": 0.40215,
        "offroad_indication": 0.07357,
        "traffic_light_violation": 0.99997,
        "simulated_collision_rate": 0.6875,
        "simulated_offroad_rate": 0.26562,
    },
    ("637f20cafde22ff8", "log"): {
        "meta": 0.82663,
        "kinematic": 0.62517,
        "interactive": 0.83033,
        "map": 0.93700,
        "min_ade": 0.0,
    },
    ("ee519cf571686d19", "log"): {
        "meta": 0.83523,
        "kinematic": 0.50410,
        "interactive": 0.88686,
        "map": 0.95808,
        "min_ade": 0.0,
    },
}
FILES = {
    "637f20cafde22ff8": "motion_data_one_scenario.tfrecord",
    "ee519cf571686d19": "womd_scenario_input.tfrecord",
}


@pytest.fixture(scope="module")
def protos() -> Path:
    folder = os.environ.get("GAUNTLET_WOD_PROTO")
    if not folder or not (Path(folder) / FILES["637f20cafde22ff8"]).is_file():
        pytest.skip(f"needs WOMD protos: set GAUNTLET_WOD_PROTO to a folder with {', '.join(FILES.values())}")
    return Path(folder)


def submission(scene: Scenario, path: Path) -> SimulatedScene:
    from scenarios.importers.womd_schema import message

    agents = simulated_agents(scene)
    states = []
    for joint in message("Submission").FromString(path.read_bytes()).scenario_rollouts[0].joint_scenes:
        rows = {str(one.object_id): one for one in joint.simulated_trajectories}
        order = [rows[scene.agent_ids[agent]] for agent in agents]
        states.append([np.stack([one.center_x, one.center_y, one.center_z, one.heading], -1) for one in order])
    return SimulatedScene(np.array(states, dtype=np.float64), agents)


@pytest.mark.wod_proto
@pytest.mark.parametrize(("name", "rollouts"), GOLDEN)
def test_official_numbers(protos, name, rollouts):
    from scenarios.importers import womd

    scene = womd.load(protos / FILES[name])
    if rollouts == "log":
        sim = LogSimulator(as_recorded=True).simulate(scene, 32, 0)
    else:
        sim = submission(scene, protos / "test_submission.binproto")
    found = score(scene, sim, parity=True).as_dict()
    expected = GOLDEN[name, rollouts]
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-4)
    assert Scorer(scene, quirks=OFFICIAL).score(sim).as_dict() == found
