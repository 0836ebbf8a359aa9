"""The Ray executor on a local cluster of several nodes, one of which is killed while it works."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.commands.scaffold import Session
from harness.episodes.records import EpisodeStore
from harness.executors import WorkerSetup, run_jobs
from harness.executors.ray import RayCrew
from harness.training.matrix import MatrixConfig, cells, prepare
from harness.training.matrix_run import _train
from scenarios.export import write_folder
from tests.scenes import crossing
from tests.unit.training.runs import ENDLESS, KEPT, STARTED, command_beside, interrupt_when

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.ray, pytest.mark.slow]
TARGETS = "tests.unit.executors.worker_targets"


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without processors (the driver) and two nodes with one each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def test_jobs_on_two_nodes(cluster: Any) -> None:
    results = list(run_jobs(range(6), WorkerSetup(f"{TARGETS}:square"), "ray"))
    assert {r.job: r.value for r in results} == {job: job * job for job in range(6)}


def test_trouble_on_ray(cluster: Any, tmp_path: Path) -> None:
    jobs = [(name, name) for name in ("exit", "hang", "raise", "once", "fine")]
    setup = WorkerSetup(f"{TARGETS}:troubled", {"folder": str(tmp_path)})
    found = {r.job[0]: r for r in run_jobs(jobs, setup, "ray", timeout_s=5.0)}
    assert (found["fine"].value, found["once"].value) == ("FINE", "ONCE")
    assert {name: r.attempts for name, r in found.items()} == {
        "exit": 2,
        "hang": 2,
        "raise": 2,
        "once": 2,
        "fine": 1,
    }
    assert "lost" in found["exit"].error
    assert "5 s" in found["hang"].error
    assert "ValueError: broken job" in found["raise"].error


def test_a_node_is_killed_mid_run(cluster: Any, tmp_path: Path) -> None:
    setup = WorkerSetup(f"{TARGETS}:on_node", {"folder": str(tmp_path), "seconds": 1.0})
    killer = threading.Thread(target=_kill_when_both_work, args=(cluster, tmp_path))
    killer.start()
    results = list(run_jobs(range(10), setup, "ray", workers=2, timeout_s=120.0))
    killer.join()
    assert {r.job for r in results} == set(range(10))
    assert not [r.error for r in results if r.error]
    assert sum(r.attempts for r in results) == 11  # one job was on the lost node
    assert len({node for node in tmp_path.glob("node.*")}) == 2


def test_a_cluster_that_is_started_here_leaves_the_programs_signals_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    crew = RayCrew()
    try:
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
        crew.close()


def test_training_on_ray_is_the_run_of_processes(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.training.test_crew_trainer import here, same, started, told

    options = {"steps": 120, "eval_every": 120, "workers": 2}
    run, trainer = started(tmp_path / "ray", executor="ray", **options)
    (run.path / "die-4").write_text("x")
    trainer.run()
    assert (run.path / "die-4").read_text() == ""
    other, expected = started(tmp_path / "here", **options)
    here(monkeypatch, expected.config)
    expected.run()
    assert told(run) == told(other)
    assert same(trainer, expected)


def test_the_benchmark_loses_nothing_with_a_node(cluster: Any, tmp_path: Path) -> None:
    from harness import benchmark
    from tests.integration.test_benchmark import SABOTEURS, cells

    scenes = tmp_path / "scenes"
    write_folder([crossing(scene_id=f"crossing{number}", interest=("ego", "opponent")) for number in range(6)], scenes)
    base = ["--data", str(scenes), "--split", "all", "--sut", "replay"]
    base += ["--adversary", "rule", f"slow={SABOTEURS}:Slow"]
    benchmark.main([*base, "--out", str(tmp_path / "serial"), "--executor", "serial"])
    store = EpisodeStore(tmp_path / "ray")
    killer = threading.Thread(target=_kill_after_records, args=(cluster, store))
    killer.start()
    benchmark.main([*base, "--out", str(tmp_path / "ray"), "--executor", "ray", "--workers", "2"])
    killer.join()
    assert cells(tmp_path / "ray") == cells(tmp_path / "serial")


def _kill_after_records(cluster: Any, store: EpisodeStore) -> None:
    end = time.monotonic() + 120
    while len(list(store.keys())) < 4 and time.monotonic() < end:
        time.sleep(0.05)
    cluster.remove_node(cluster.nodes[0], allow_graceful=False)


def _kill_when_both_work(cluster: Any, folder: Path) -> None:
    end = time.monotonic() + 60
    while len(list(folder.glob("node.*"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    cluster.remove_node(cluster.nodes[0], allow_graceful=False)


def test_a_matrix_that_is_stopped_has_checkpoints(cluster: Any, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command_beside(tmp_path).write_text(ENDLESS)
    config = MatrixConfig(executor="ray", adversary=("none", "rule"), ablate=())
    runs = cells(config, tmp_path / "matrix")
    for run in runs:
        prepare(run)
    # Both are at work as soon as the second is: there is a processor for each.
    interrupt_when(runs[1].folder / STARTED)
    with pytest.raises(KeyboardInterrupt):
        _train(runs, config, Session("train_matrix"))
    assert [run.folder.joinpath(KEPT).exists() for run in runs] == [True, True]
