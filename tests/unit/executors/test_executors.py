"""Jobs on workers: complete and keyed results whatever a worker does."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from harness.errors import ConfigError, RunError, UnknownNameError, WorkerError
from harness.executors import WorkerSetup, run_jobs

TARGETS = "tests.unit.executors.worker_targets"
SQUARE = WorkerSetup(f"{TARGETS}:square", {"offset": 1})


def troubled(folder: Path) -> WorkerSetup:
    return WorkerSetup(f"{TARGETS}:troubled", {"folder": str(folder)})


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_every_job_has_its_result(executor: str) -> None:
    results = list(run_jobs(range(7), SQUARE, executor, workers=2))
    assert {result.job: result.value for result in results} == {job: job * job + 1 for job in range(7)}
    assert all((result.error, result.attempts) == ("", 1) for result in results)


def test_no_jobs_start_nothing() -> None:
    assert list(run_jobs([], SQUARE, "process")) == []


def test_trouble_costs_one_retry_and_is_reported(tmp_path: Path) -> None:
    jobs = [(name, name) for name in ("exit", "segfault", "hang", "raise", "once", "fine", "fine2")]
    found = {r.job[0]: r for r in run_jobs(jobs, troubled(tmp_path), "process", workers=2, timeout_s=1.0)}
    assert set(found) == {name for name, _ in jobs}
    assert (found["fine"].value, found["fine2"].value, found["once"].value) == ("FINE", "FINE2", "ONCE")
    assert {name: found[name].attempts for name in found} == {
        **dict.fromkeys(("exit", "segfault", "hang", "raise", "once"), 2),
        **dict.fromkeys(("fine", "fine2"), 1),
    }
    assert "exit code 3" in found["exit"].error
    assert "SIGSEGV" in found["segfault"].error
    assert "1 s" in found["hang"].error
    assert "ValueError: broken job (worker_targets.py:" in found["raise"].error
    # Every attempt after a failure happened on another worker.
    for name in ("exit", "segfault", "hang", "raise"):
        pids = {file.read_text() for file in tmp_path.glob(f"{name}.*")}
        assert len(pids) == 2, name


def test_serial_reports_what_raises(tmp_path: Path) -> None:
    results = {r.job[0]: r for r in run_jobs([("a", "raise"), ("b", "fine")], troubled(tmp_path), retries=2)}
    assert (results["a"].attempts, results["b"].value) == (3, "B")
    assert "broken job" in results["a"].error


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_a_full_disk_is_no_fault_of_a_job_and_ends_the_run(executor: str, tmp_path: Path) -> None:
    with pytest.raises((RunError, WorkerError), match=r"^the disk is full$"):
        list(run_jobs([("a", "full"), ("b", "full")], troubled(tmp_path), executor, workers=1))
    assert [file.name for file in tmp_path.iterdir()] == ["a.0"]


def test_workers_use_one_thread_and_are_closed(tmp_path: Path) -> None:
    setup = WorkerSetup(f"{TARGETS}:Closing", {"folder": str(tmp_path)})
    results = list(run_jobs(range(2), setup, "process", workers=1))
    assert results[0].value == {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    assert len(list(tmp_path.glob("closed.*"))) == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [("unbuildable", "no weights here"), ("missing", "cannot be loaded"), ("exits_at_once", "exit code 4")],
)
def test_workers_that_cannot_start_end_the_run(target: str, message: str) -> None:
    with pytest.raises(WorkerError, match=message):
        list(run_jobs([1], WorkerSetup(f"{TARGETS}:{target}"), "process", workers=1))


def test_bad_options() -> None:
    with pytest.raises(UnknownNameError, match="process"):
        run_jobs([1], SQUARE, "proces")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="workers >= 1"):
        run_jobs([1], SQUARE, "process", workers=0)
    with pytest.raises(ConfigError, match="timeout"):
        run_jobs([1], SQUARE, timeout_s=0.0)


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        from harness.executors import WorkerSetup, run_jobs
        if __name__ == "__main__":
            setup = WorkerSetup("{TARGETS}:slow_writer", {{"folder": {str(tmp_path)!r}}})
            list(run_jobs([1], setup, "process", workers=1))
    """)
    script = tmp_path / "parent.py"
    script.write_text(f"import sys; sys.path[:0] = {sys.path!r}\n{code}")
    parent = subprocess.Popen([sys.executable, str(script)])
    try:
        alive = tmp_path / "alive"
        until(alive.exists)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    time.sleep(0.5)
    before = alive.read_text()
    time.sleep(0.3)
    assert alive.read_text() == before


def until(happened, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)
