"""Compare Gauntlet's realism metrics with the official package, component by component, on the same roll-outs.

The official package (waymo-open-dataset, with TensorFlow) needs numpy below 2 and so an environment of its own. This
lean one gives the same numbers as the pinned one (Python 3.11):

    python3.11 -m venv official
    official/bin/pip install --no-deps waymo-open-dataset-tf-2-12-0==1.6.7
    official/bin/pip install tensorflow-cpu==2.15.1 tensorflow-probability==0.23.0 "numpy<2" scikit-learn dacite \
        immutabledict einops

    python scripts/compare_wosac_official.py --official official/bin/python --data FILE.tfrecord

Cases per scene: `log` (the log, 32 times), `noise` (the log with smooth random drift, headings shifted by full turns)
and `red` (as noise, with every light of the scene red and a light on the lane of each evaluated vehicle).
The official code takes one to three minutes a case.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = "--as-official-worker"


@dataclass(frozen=True)
class Config:
    """Compare the realism metrics with the official package."""

    official: Path
    """Python interpreter of an environment with waymo-open-dataset."""
    data: tuple[Path, ...]
    """TFRecord files; the first scene of each is used."""
    cases: tuple[str, ...] = ("log", "noise", "red")
    """Which roll-outs."""
    submission: Path | None = None
    """A submission proto whose roll-outs of the scene (if it has any) are compared as well."""
    years: tuple[str, ...] = ("2025", "2024")
    """Metric configurations."""
    rollouts: int = 32
    """Roll-outs per case; the official code insists on nothing here, the challenge on 32."""
    seed: int = 0
    """Of the noise."""
    json: Path | None = None
    """Write every number to this file."""
    tolerance: float = 1e-4
    """Largest difference that passes; exit code 1 beyond it."""


def official_worker() -> None:
    """Runs in the official environment: request on stdin, one JSON line with every component on stdout."""
    import waymo_open_dataset
    from google.protobuf import text_format
    from waymo_open_dataset.protos import scenario_pb2, sim_agents_metrics_pb2, sim_agents_submission_pb2
    from waymo_open_dataset.utils.sim_agents import submission_specs
    from waymo_open_dataset.wdl_limited.sim_agents_metrics import metric_features, metrics

    request = json.load(sys.stdin)
    scenario = scenario_pb2.Scenario.FromString(Path(request["scenario"]).read_bytes())
    rollouts = sim_agents_submission_pb2.ScenarioRollouts.FromString(Path(request["rollouts"]).read_bytes())
    folder = Path(waymo_open_dataset.__path__[0]) / "wdl_limited" / "sim_agents_metrics"
    files = {"2025": "challenge_2025_sim_agents_config.textproto", "2024": "challenge_2024_config.textproto"}
    result: dict[str, Any] = {}
    begin = time.perf_counter()
    features = metric_features.compute_scenario_rollouts_features(
        scenario, rollouts, submission_specs.ChallengeType.SIM_AGENTS
    )
    of_features = time.perf_counter() - begin
    for year in request["years"]:
        config = sim_agents_metrics_pb2.SimAgentMetricsConfig()
        text_format.Parse((folder / files[year]).read_text(), config)
        begin = time.perf_counter()
        found = metrics.compute_scenario_metrics_for_features_bundle(config, scenario.scenario_id, *features)
        spent = of_features + time.perf_counter() - begin
        buckets = metrics.aggregate_metrics_to_buckets(config, found)
        numbers = {field.name: value for field, value in found.ListFields() if field.name != "scenario_id"}
        # Fields that are zero are not listed.
        numbers = {field.name: getattr(found, field.name) for field in found.DESCRIPTOR.fields} | numbers
        numbers.pop("scenario_id")
        numbers.update({field.name: getattr(buckets, field.name) for field in buckets.DESCRIPTOR.fields})
        result[year] = {"numbers": numbers, "seconds": spent}
    sys.stdout.write("\n" + json.dumps(result) + "\n")


def main() -> int:
    """Run every case; 1 if a component differs by more than the tolerance."""
    import tyro
    from rich.console import Console
    from rich.progress import track

    config, console = tyro.cli(Config, description=__doc__), Console()
    cases = [case for path in config.data for case in make_cases(config, path)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, scenario, rollouts in track(cases, "comparing", console=Console(stderr=True), transient=True):
            theirs = ask_official(config, Path(folder), scenario, rollouts)
            for year in config.years:
                ours, seconds = our_numbers(scenario, rollouts, year)
                official = {key: theirs[year]["numbers"][key] for key in ours}
                row = {"case": name, "year": year, "ours": ours, "official": official}
                row |= {"seconds": seconds, "official_seconds": theirs[year]["seconds"]}
                rows.append(row)
                gap = max(abs(value - official[key]) for key, value in ours.items())
                console.print(
                    f"{name} {year}: {seconds:.2f} s, official {row['official_seconds']:.1f} s; "
                    f"largest difference {gap:.1e}"
                )
            if config.json is not None:  # After every case: they take minutes.
                config.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    worst = show(console, rows)
    return int(not worst <= config.tolerance)


def make_cases(config: Config, path: Path) -> list[tuple[str, bytes, bytes]]:
    """Name, scenario proto and roll-outs proto of every case of one file."""
    import numpy as np

    from scenarios.importers import tfrecord, womd
    from scenarios.importers.womd_schema import message

    data = tfrecord.read(path, tfrecord.scan(path)[0])
    scene = womd.from_bytes(data, str(path))
    agents = np.flatnonzero(scene.valid[:, 10])
    ids = [int(scene.agent_ids[agent]) for agent in agents]
    poses = np.concatenate([scene.position[agents, 11:], scene.heading[agents, 11:, None]], -1)
    log = np.repeat(poses[None], config.rollouts, 0)
    rng = np.random.default_rng(config.seed)
    drift = rng.normal(size=(*log.shape[:2], 1, 4)) * np.array([1.0, 1.0, 0.1, 0.05]) * np.arange(1, 81)[:, None] / 40
    noise = log + drift
    noise[..., 3] += 2 * np.pi * rng.integers(-1, 2, size=(*log.shape[:2], 1))
    made = []
    for case in config.cases:
        states = log if case == "log" else noise
        proto = with_red_lights(data) if case == "red" else data
        made.append((f"{scene.id} {case}", proto, to_proto(scene.id, ids, states)))
    if config.submission is not None:
        submission = message("Submission").FromString(config.submission.read_bytes())
        for rollouts in submission.scenario_rollouts:
            if rollouts.scenario_id == scene.id:
                made.append((f"{scene.id} submission", data, rollouts.SerializeToString()))
    return made


def with_red_lights(data: bytes) -> bytes:
    """The scene with every light red, and a red light ahead on the lane of each agent that is to be predicted."""
    import numpy as np

    from scenarios.importers.womd_schema import message

    proto = message("Scenario").FromString(data)
    lanes = [
        (feature.id, np.array([(point.x, point.y, point.z) for point in feature.lane.polyline]))
        for feature in proto.map_features
        if feature.HasField("lane") and feature.lane.type == 2 and len(feature.lane.polyline) > 1
    ]
    places = {}
    for index in {proto.sdc_track_index, *(entry.track_index for entry in proto.tracks_to_predict)}:
        states = proto.tracks[index].states
        if states[10].valid and states[50].valid:
            middle = np.array([states[50].center_x, states[50].center_y])
            lane, line = min(lanes, key=lambda entry: np.hypot(*(entry[1][:, :2] - middle).T).min())
            places[lane] = line[np.hypot(*(line[:, :2] - middle).T).argmin()]
    while len(proto.dynamic_map_states) < len(proto.timestamps_seconds):
        proto.dynamic_map_states.add()
    for step, moment in enumerate(proto.dynamic_map_states):
        for light in moment.lane_states:
            light.state = 4
        for lane, point in places.items():
            if all(light.lane != lane for light in moment.lane_states) and step % 7:  # Now and then it is not seen.
                added = moment.lane_states.add(lane=lane, state=1 if step % 2 else 4)
                added.stop_point.x, added.stop_point.y, added.stop_point.z = point
    return proto.SerializeToString()


def to_proto(name: str, ids: list[int], states: Any) -> bytes:
    """States [R, A, S, 4] as a `ScenarioRollouts` proto."""
    from scenarios.importers.womd_schema import message

    proto = message("ScenarioRollouts")(scenario_id=name)
    for rollout in states:
        scene = proto.joint_scenes.add()
        for agent, rows in zip(ids, rollout, strict=True):
            scene.simulated_trajectories.add(
                object_id=agent, center_x=rows[:, 0], center_y=rows[:, 1], center_z=rows[:, 2], heading=rows[:, 3]
            )
    return proto.SerializeToString()


def ask_official(config: Config, folder: Path, scenario: bytes, rollouts: bytes) -> dict[str, Any]:
    """Every component by the official package."""
    (folder / "scenario").write_bytes(scenario)
    (folder / "rollouts").write_bytes(rollouts)
    request = {"scenario": f"{folder}/scenario", "rollouts": f"{folder}/rollouts", "years": config.years}
    done = subprocess.run(
        [str(config.official), str(Path(__file__).resolve()), WORKER],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""},
    )
    if done.returncode:
        raise SystemExit(f"the official package failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def our_numbers(scenario: bytes, rollouts: bytes, year: str) -> tuple[dict[str, float], float]:
    """The same components by Gauntlet with `parity`, under the official names, and the seconds they took."""
    import numpy as np

    from harness.metrics.wosac import FEATURES, Scorer
    from harness.traffic.rollouts import SimulatedScene, simulated_agents
    from scenarios.importers import womd
    from scenarios.importers.womd_schema import message

    scene = womd.from_bytes(scenario)
    agents = simulated_agents(scene)
    proto = message("ScenarioRollouts").FromString(rollouts)
    states = []
    for joint in proto.joint_scenes:
        rows = {str(one.object_id): one for one in joint.simulated_trajectories}
        order = [rows[scene.agent_ids[agent]] for agent in agents]
        states.append([np.stack([one.center_x, one.center_y, one.center_z, one.heading], -1) for one in order])
    begin = time.perf_counter()
    found = Scorer(scene, year, parity=True).score(SimulatedScene(np.array(states, dtype=np.float64), agents))
    spent = time.perf_counter() - begin
    numbers = {f"{name}_likelihood": found.likelihoods[name] for name in FEATURES}
    numbers |= {
        "metametric": found.meta,
        "kinematic_metrics": found.kinematic,
        "interactive_metrics": found.interactive,
        "map_based_metrics": found.map,
        "average_displacement_error": found.ade,
        "min_average_displacement_error": found.min_ade,
        "simulated_collision_rate": found.collision_rate,
        "simulated_offroad_rate": found.offroad_rate,
        "simulated_traffic_light_violation_rate": found.red_light_rate,
    }
    return numbers, spent


def show(console: Any, rows: list[dict[str, Any]]) -> float:
    """Print the table; the largest difference."""
    from rich.table import Table

    table = Table("case", "component", "ours", "official", "difference", title="with parity")
    worst = 0.0
    for row in rows:
        for name, value in row["ours"].items():
            gap = abs(value - row["official"][name])
            worst = max(worst, gap)
            numbers = (f"{value:.6f}", f"{row['official'][name]:.6f}", f"{gap:.1e}")
            table.add_row(f"{row['case']} {row['year']}", name, *numbers)
    console.print(table)
    console.print(f"largest difference: {worst:.2e}")
    return worst


if __name__ == "__main__":
    if WORKER in sys.argv:
        official_worker()
    else:
        sys.exit(main())
