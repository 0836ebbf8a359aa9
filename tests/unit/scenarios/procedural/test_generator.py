"""The folder: content, determinism, resuming, extending, dying workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ConfigError, GauntletError
from scenarios import safe_pickle
from scenarios.procedural import ProceduralConfig, default_folder, ensure, generate
from scenarios.procedural.generator import INDEX, MAPPING, SUMMARY
from scenarios.procedural.pool import Pool, SimulationTask
from tests.unit.scenarios.procedural import workers

SHORT = {"max_vehicles": 12, "duration": 20.0, "warm_up": 4.0}
SMALL = ProceduralConfig(train=3, val=1, test=2, **SHORT)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return generate(SMALL, tmp_path_factory.mktemp("procedural"), workers=1)


@pytest.fixture(scope="module")
def scenes(folder):
    return [safe_pickle.load(path) for path in sorted(folder.glob("sd_*.pkl"))]


def test_counts_and_names(folder):
    names = sorted(path.name for path in folder.glob("sd_*.pkl"))
    assert [sum(f"pg-{split}-" in name for name in names) for split in ("train", "val", "test")] == [3, 1, 2]
    summary, mapping = safe_pickle.load(folder / SUMMARY), safe_pickle.load(folder / MAPPING)
    assert list(summary) == list(mapping) == names
    assert set(mapping.values()) == {""}
    assert not list(folder.glob(".*"))


def test_splits_never_share_a_simulation(scenes):
    seeds = {}
    for scene in scenes:
        seeds.setdefault(scene["metadata"]["seed"], set()).add(scene["id"].split("-")[1])
    assert all(len(splits) == 1 for splits in seeds.values())


def test_scenes_are_valid_scenario_descriptions(scenes):
    from metadrive.scenario.scenario_description import ScenarioDescription

    for scene in scenes:
        ScenarioDescription.sanity_check(scene, check_self_type=True, valid_check=True)
        metadata = scene["metadata"]
        ego, opponent = metadata["objects_of_interest"]
        assert metadata["sdc_id"] == ego != opponent
        for key in (ego, opponent):
            state = scene["tracks"][key]["state"]
            assert state["valid"].all()
            assert state["position"].shape == (91, 3)
        path = scene["tracks"][ego]["state"]["position"][10:, :2].astype(float)
        assert np.hypot(*np.diff(path, axis=0).T).sum() >= SMALL.min_ego_path


def test_motion_is_sane(scenes):
    for scene in scenes:
        for key, track in scene["tracks"].items():
            state = track["state"]
            rows = np.flatnonzero(state["valid"])
            assert (np.diff(rows) == 1).all()
            position, velocity = state["position"][rows, :2].astype(float), state["velocity"][rows].astype(float)
            assert np.abs(np.diff(position, axis=0) / 0.1 - (velocity[1:] + velocity[:-1]) / 2).max() < 0.3
            if key in scene["metadata"]["objects_of_interest"]:
                speed = np.hypot(*velocity.T)
                heading = np.unwrap(state["heading"][rows].astype(float))
                assert np.abs(np.diff(speed)).max() / 0.1 < 4.5
                assert np.abs(np.diff(heading)).max() / 0.1 < 1.0


def test_the_log_is_free_of_collisions_by_the_harness_geometry(scenes):
    from harness.geometry import boxes_overlap

    for scene in scenes:
        states = [track["state"] for track in scene["tracks"].values()]
        for i, one in enumerate(states):
            for other in states[:i]:
                both = one["valid"] & other["valid"]
                pose = [np.c_[s["position"][both, :2], s["heading"][both]].astype(float) for s in (one, other)]
                size = [np.c_[s["length"][both], s["width"][both]].astype(float) for s in (one, other)]
                assert not boxes_overlap(pose[0], size[0], pose[1], size[1]).any()


def test_the_store_takes_every_scene(folder):
    from scenarios.filters import reject_reason
    from scenarios.store import ScenarioStore

    store = ScenarioStore(folder)
    assert len(store) == 6
    for scenario in store:
        assert reject_reason(scenario) is None
        assert scenario.agent_ids[scenario.opponent] == scenario.objects_of_interest[1]


def test_same_bytes_from_two_workers_and_from_two_calls(folder, tmp_path):
    generate(ProceduralConfig(train=1, val=0, test=2, **SHORT), tmp_path, workers=1)
    generate(SMALL, tmp_path, workers=2)
    assert contents(tmp_path) == contents(folder)


def test_the_hash_seed_does_not_matter(folder):
    code = (
        "import hashlib, pickle; from scenarios.procedural.config import ProceduralConfig;"
        "from scenarios.procedural.simulate import simulate;"
        "scenes = simulate(ProceduralConfig(max_vehicles=12, duration=20.0, warm_up=4.0), 'train', 0);"
        "print(hashlib.sha256(pickle.dumps(scenes, 4)).hexdigest())"
    )
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout.splitlines()[-1])
    assert len(found) == 1


def test_a_complete_folder_is_left_alone(folder):
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("sd_*.pkl")}
    calls = []
    generate(SMALL, folder, workers=1, progress=lambda done, total: calls.append((done, total)))
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("sd_*.pkl")} == before
    assert calls == [(6, 6)]


def test_lost_files_are_made_again(folder, tmp_path):
    for name, data in contents(folder).items():
        (tmp_path / name).write_bytes(data)
    victim = sorted(tmp_path.glob("sd_pg-train-*"))[-1]
    victim.unlink()
    generate(SMALL, tmp_path, workers=1)
    assert contents(tmp_path) == contents(folder)


@pytest.mark.parametrize("name", [INDEX, SUMMARY])
def test_a_damaged_index_costs_time_not_scenes(folder, tmp_path, name):
    small = ProceduralConfig(train=1, val=0, test=0, **SHORT)
    generate(small, tmp_path, workers=1)
    before = contents(tmp_path)
    (tmp_path / name).write_bytes(b"\x80")
    generate(small, tmp_path, workers=1)
    assert contents(tmp_path) == before


def test_another_generators_folder_is_refused(folder):
    with pytest.raises(ConfigError, match="holds scenes of generator"):
        generate(ProceduralConfig(train=1, test=0, seed=7), folder)


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(GauntletError, match="GAUNTLET_CACHE"):
        ensure(train=1, test=0, folder=tmp_path / "file" / "below")


def test_a_full_disk_leaves_no_half_files(monkeypatch, tmp_path):
    def full(path, data):
        path.with_name(path.name).touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(GauntletError, match="No space left"):
        generate(ProceduralConfig(train=0, test=0), tmp_path)
    assert contents(tmp_path) == {}


def test_a_failing_simulation_is_reported_and_passed_over(monkeypatch, tmp_path):
    from scenarios.procedural import simulate

    real = simulate.simulate

    def failing(config, split, index):
        if index == 0:
            raise ValueError("a block did not fit")
        return real(config, split, index)

    monkeypatch.setattr(simulate, "simulate", failing)
    generate(ProceduralConfig(train=1, test=0, **SHORT), tmp_path, workers=1)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["failures"] == {"train/0": "ValueError: a block did not fit"}
    assert index["simulations"]["train"][0] == 0
    assert len(list(tmp_path.glob("sd_*.pkl"))) == 1


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GAUNTLET_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "procedural" / ProceduralConfig().digest
    assert default_folder(ProceduralConfig(seed=1)) != default_folder()
    assert default_folder(ProceduralConfig(train=7)) == default_folder()


@pytest.mark.parametrize("options", [{"train": -1}, {"kinds": {"motorway": 1.0}}, {"kinds": {}}, {"duration": 10.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError):
        ProceduralConfig(**options)


def test_a_dead_worker_costs_a_retry(monkeypatch, tmp_path):
    monkeypatch.setenv("GAUNTLET_TEST_MARKER", str(tmp_path / "died"))
    pool = Pool(SMALL, 2, work=workers.dies_once)
    try:
        outcomes = list(pool.results(SimulationTask("train", k) for k in range(6)))
    finally:
        pool.close()
    assert (tmp_path / "died").exists()
    assert [outcome.task.number for outcome in outcomes] == list(range(6))
    assert all(outcome.scenes and not outcome.failure for outcome in outcomes)


def test_a_task_whose_worker_always_dies_ends_the_generation_and_is_no_verdict():
    pool = Pool(SMALL, 2, work=workers.always_dies)
    outcomes = []
    try:
        with pytest.raises(GauntletError, match="simulation 1 of train died 3 times"):
            outcomes.extend(pool.results(SimulationTask("train", k) for k in range(4)))
    finally:
        pool.close()
    assert all(not outcome.failure for outcome in outcomes)


def test_marks_of_workers_that_died_are_healed(folder, tmp_path):
    """Older versions wrote them, and then silently used other scenes for good."""
    for name, data in contents(folder).items():
        (tmp_path / name).write_bytes(data)
    index = json.loads((tmp_path / INDEX).read_text())
    first, blamed = index["simulations"]["train"], len(index["simulations"]["train"]) - 1
    index["simulations"]["train"] = [*first[:blamed], 0, *first[blamed:]]
    index["failures"] = {f"train/{blamed}": "the worker process died in 3 trials"}
    (tmp_path / INDEX).write_text(json.dumps(index))
    generate(SMALL, tmp_path, workers=1)
    assert contents(tmp_path) == contents(folder)


def test_a_complete_folder_is_only_read(folder, tmp_path, capsys):
    for name, data in contents(folder).items():
        (tmp_path / name).write_bytes(data)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    tmp_path.chmod(0o500)
    generate(SMALL, tmp_path)
    tmp_path.chmod(0o700)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert capsys.readouterr().err == ""


def test_importing_the_package_starts_no_engine_and_no_metadrive():
    code = "import sys, scenarios.procedural; print('metadrive' in sys.modules, 'panda3d' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_index_names_the_generator(folder):
    index = json.loads((folder / INDEX).read_text())
    assert index["digest"] == SMALL.digest
    assert index["failures"] == {}
