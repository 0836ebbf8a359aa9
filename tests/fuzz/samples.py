"""One small sound file of every format, made here: nothing of a data set, nothing downloaded."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gymnasium.spaces import Box

from harness.episodes.records import CellKey
from scenarios.description import to_description
from scenarios.importers import tfrecord
from scenarios.importers.womd_schema import message
from scenarios.scenario import Scenario
from tests.scenes import Agent, straight_road

if TYPE_CHECKING:
    from harness.training.learner import Learner

STEPS = 31


def scene() -> Scenario:
    """A road of two lanes with an ego, an opponent, a pedestrian and a light."""
    walker = Agent("walker", 30.0, 8.0, 1.5, 1.0, size=(0.7, 0.7, 1.8), last=STEPS - 1)
    return straight_road(steps=STEPS, extra=[walker], opponent_to=STEPS - 1, rotation=0.4, origin=(900.0, -300.0))


def description() -> dict:
    document = to_description(scene())
    light = {"type": "TRAFFIC_LIGHT", "state": {"object_state": ["LANE_STATE_STOP"] * STEPS}, "lane": "right"}
    document["dynamic_map_states"] = {"right": {**light, "stop_point": np.array([950.0, -280.0, 0.0])}}
    document["metadata"] |= {"ts": np.arange(STEPS) * 0.1, "objects_of_interest": ["ego", "opponent"]}
    document["metadata"]["tracks_to_predict"] = {"opponent": {"track_index": 1, "track_id": "opponent"}}
    sign = {"type": "STOP_SIGN", "position": np.array([940.0, -280.0, 0.0]), "lane": ["right"]}
    document["map_features"] |= {"sign": sign}
    document["map_features"]["right"] |= {"speed_limit_kmh": 50, "left_neighbor": [{"feature_id": "left"}]}
    return document


def pickled(folder: Path) -> None:
    (folder / "scene.pkl").write_bytes(pickle.dumps(description()))


def summary(folder: Path) -> None:
    pickled(folder)
    about = {"scene.pkl": {"id": "straight_road", "length": STEPS, "number_summary": {"num_objects": 3}}}
    (folder / "dataset_summary.pkl").write_bytes(pickle.dumps(about))
    (folder / "dataset_mapping.pkl").write_bytes(pickle.dumps({"scene.pkl": ""}))


def splits(folder: Path) -> None:
    pickled(folder)
    (folder / "splits.json").write_text(json.dumps({"train": ["scene"], "val": [], "test": []}))


def _points(line: np.ndarray) -> list[dict[str, float]]:
    return [{"x": float(x), "y": float(y), "z": 0.0} for x, y, *_ in line]


def gpudrive(folder: Path) -> None:
    made = scene()
    objects = [
        {
            "id": row,
            "type": ("vehicle", "vehicle", "pedestrian")[row],
            **dict(zip(("length", "width", "height"), made.size[row, 0].tolist(), strict=True)),
            "position": _points(made.position[row]),
            "velocity": _points(made.velocity[row]),
            "heading": made.heading[row].tolist(),
            "valid": made.valid[row].tolist(),
        }
        for row in range(made.num_agents)
    ]
    kinds = {"LANE_SURFACE_STREET": 2, "ROAD_EDGE_BOUNDARY": 15}
    roads = [
        {"id": place, "type": "lane", "map_element_id": kinds.get(feature.type, 6), "geometry": _points(feature.points)}
        for place, feature in enumerate(made.features)
    ]
    about = {"sdc_track_index": 0, "objects_of_interest": [0, 1], "tracks_to_predict": [{"track_index": 1}]}
    document = {"name": "scene", "scenario_id": "abc", "objects": objects, "roads": roads, "metadata": about}
    (folder / "scene.json").write_text(json.dumps({**document, "tl_states": {}}))


def proto() -> bytes:
    """A WOMD `Scenario` with what `scene` has."""
    made = scene()
    whole = message("Scenario")(scenario_id="ab12", current_time_index=10, sdc_track_index=0)
    whole.timestamps_seconds.extend((np.arange(STEPS) * 0.1).tolist())
    whole.objects_of_interest.extend([1, 2])
    for row in range(made.num_agents):
        track = whole.tracks.add(id=row + 1, object_type=1 if row < 2 else 2)
        for step in range(STEPS):
            (x, y, z), (vx, vy) = made.position[row, step], made.velocity[row, step]
            length, width, height = made.size[row, step]
            track.states.add(
                center_x=x, center_y=y, center_z=z, length=length, width=width, height=height, velocity_x=vx,
                velocity_y=vy, heading=made.heading[row, step], valid=bool(made.valid[row, step]),
            )  # fmt: skip
    for place, feature in enumerate(made.features):
        entry = whole.map_features.add(id=place)
        if feature.is_lane:
            entry.lane.type = 2
            entry.lane.left_neighbors.add(feature_id=1, self_end_index=3, neighbor_end_index=3)
            line = entry.lane.polyline
        elif feature.is_road_edge:
            entry.road_edge.type = 1
            line = entry.road_edge.polyline
        else:
            line = entry.road_line.polyline
        for x, y, z in feature.points:
            line.add(x=x, y=y, z=z)
    for _ in range(STEPS):
        signal = whole.dynamic_map_states.add().lane_states.add(lane=0, state=4)
        signal.stop_point.x = 950.0
    whole.tracks_to_predict.add(track_index=1)
    return bytes(whole.SerializeToString())


def womd(folder: Path) -> None:
    tfrecord.write(folder / "scene.tfrecord", [proto()])


def argoverse_table() -> dict[str, list]:
    """Columns of the tracks."""
    made, rows = scene(), []
    for agent, (name, kind) in enumerate((("AV", "vehicle"), ("71", "bus"), ("72", "pedestrian"))):
        for step in range(STEPS):
            (x, y, _), (vx, vy) = made.position[agent, step], made.velocity[agent, step]
            rows.append((name, kind, 3 - agent, step, x, y, made.heading[agent, step], vx, vy))
    names = ("track_id", "object_type", "object_category", "timestep", "position_x", "position_y", "heading")
    columns = zip((*names, "velocity_x", "velocity_y"), map(list, zip(*rows, strict=True)), strict=True)
    constant = {"scenario_id": "s1", "focal_track_id": "71", "num_timestamps": STEPS, "city": "here"}
    return {**dict(columns), **{name: [value] * len(rows) for name, value in constant.items()}}


def argoverse(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(argoverse_table()), folder / "scenario_s1.parquet")
    lanes = {}
    for place, feature in enumerate(feature for feature in scene().features if feature.is_lane):
        line = feature.points
        lanes[str(place)] = {
            "centerline": _points(line),
            "left_lane_boundary": _points(line + np.array([0.0, 1.75, 0.0])),
            "right_lane_boundary": _points(line - np.array([0.0, 1.75, 0.0])),
            "left_lane_mark_type": "DASHED_WHITE",
            "right_lane_mark_type": "NONE",
            "left_neighbor_id": 1 - place,
            "right_neighbor_id": None,
            "predecessors": [],
            "successors": [7],
            "lane_type": "VEHICLE",
            "is_intersection": False,
        }
    wide, right, left = np.array([0.0, 3.0, 0.0]), *(feature.points for feature in scene().features[:2])
    border = _points(np.concatenate([right - wide, left[::-1] + wide]))
    crossing = {"5": {"edge1": _points(right[3:5]), "edge2": _points(right[5:7])}}
    areas = {"9": {"area_boundary": border}}
    archive = {"lane_segments": lanes, "pedestrian_crossings": crossing, "drivable_areas": areas}
    (folder / "log_map_archive_s1.json").write_text(json.dumps(archive))


def commonroad(folder: Path) -> None:
    from tests.unit.scenarios.commonroad import ROAD, SIGNS, obstacle, problem, scenario

    cars = obstacle(100) + obstacle(101, x=20.0, y=5.25) + obstacle(102, "pedestrian", x=30.0, y=-2.0, speed=1.0)
    (folder / "scene.xml").write_text(scenario(ROAD, SIGNS, cars, problem(0, 0.0, 1.75)))


def run(folder: Path) -> None:
    """A run folder of a benchmark with one record."""
    from harness.benchmarking.config import BenchmarkConfig
    from harness.commands.runs import RunDirectory

    config = asdict(BenchmarkConfig(sut=("idm",), adversary=("rule",)))
    with RunDirectory.create(folder, "benchmark", config) as made:
        made.append("scores", {"scene": "a", "collided": True})


KEY = CellKey("scene", "idm", "cat")


def record(folder: Path) -> None:
    """A record of an attacked episode."""
    from harness.episodes.records import EpisodeStore
    from tests.unit.benchmarking.examples import an_episode

    EpisodeStore(folder).write(KEY, an_episode(), {"collided": True, "gap": 0.5}, {"curve": np.arange(5.0)})


def prior(folder: Path) -> None:
    from tests.unit.adversaries.prior.worlds import untrained

    untrained().save(folder / "prior.safetensors")


def vocabulary(folder: Path) -> None:
    from harness.traffic.tokens.vocabulary import shipped

    shipped().save(folder / "vocabulary.safetensors")


def learner() -> Learner:
    """The smallest learner."""
    from harness.training.config import TD3Config
    from harness.training.learner import Learner

    spaces = Box(-1.0, 1.0, (5,), np.float32), Box(-1.0, 1.0, (2,), np.float32)
    return Learner(*spaces, TD3Config(hidden=8), 100, 0)


def checkpoint(folder: Path) -> None:
    """A checkpoint of a training of three steps."""
    from harness.training import checkpoint as checkpoints

    made, zero = learner(), np.zeros(5, np.float32)
    made.memory.begin(zero)
    for step in range(3):
        made.memory.add(np.zeros(2, np.float32), 1.0, step == 2, zero)
    made.memory.end()
    progress = checkpoints.TrainingProgress(step=3, episode=1, curriculum={"level": 0.5})
    checkpoints.save(folder, progress, made, {"ego": np.zeros((2, 5))})


def candidates(folder: Path) -> None:
    """Candidates that an adversary keeps, three over 20 steps."""
    from adversaries.common.stock import entry
    from harness.files import write_arrays

    made = entry(np.zeros((3, 20, 5)), np.ones(20, bool), np.zeros(3), (4.5, 2.0), contact=np.zeros(3, bool))
    write_arrays(folder / "candidates.npz", made, packed=False)


def normalised(folder: Path) -> None:
    """A policy, and the statistics of its observations."""
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from tests.unit.ego_policies.conftest import Plain

    stable_baselines(folder)
    VecNormalize(DummyVecEnv([Plain])).save(str(folder / "normalise.pkl"))


def seal(folder: Path) -> None:
    from adversaries.seal.weights import SHIPPED

    (folder / "seal.safetensors").write_bytes(SHIPPED.read_bytes())


def stable_baselines(folder: Path) -> None:
    from stable_baselines3 import TD3

    from tests.unit.ego_policies.conftest import Plain

    TD3("MlpPolicy", Plain(), policy_kwargs={"net_arch": [8]}, buffer_size=10).save(folder / "policy.zip")


def policy_file(folder: Path) -> None:
    from harness.fitting.policy_files import PolicyFile

    layers = ((np.ones((3, 112), np.float32), np.zeros(3, np.float32)), (np.ones((2, 3), np.float32), np.ones(2)))
    PolicyFile("ppo", "cat", "Tanh", True, layers).save(folder / "policy.safetensors")


def torchscript(folder: Path) -> None:
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(7, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 7)), str(folder / "policy.pt"))


def onnx(folder: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    weight = numpy_helper.from_array(np.ones((7, 2), np.float32), "w")
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in (("x", 7), ("y", 2))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", shapes[:1], shapes[1:], [weight])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "policy.onnx")
