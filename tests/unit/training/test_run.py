"""A training run as a command: signals, the line of an evaluation, the bar; a matrix that cannot be finished."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.commands.printing import bars, make_console
from harness.commands.scaffold import Session
from harness.errors import RunError
from harness.executors import JobResult
from harness.training import matrix_run
from harness.training.config import TrainConfig
from harness.training.evaluation import Row
from harness.training.matrix import MatrixConfig
from harness.training.matrix_run import run_matrix
from harness.training.run import ONE_S, BarWatcher, evaluation_line, stopping_politely


def row(stage: str, scene: str, completion: float, collision: float, error: str = "") -> Row:
    numbers = dict.fromkeys(("reward", "cost", "speed", "jerk"), 0.0)
    return Row(100, stage, scene, completion=completion, collision=collision, error=error, **numbers)


def test_the_line_of_an_evaluation() -> None:
    rows = [row("normal", "a", 1.0, 0.0), row("normal", "b", 0.5, 1.0), row("adversarial", "a", 0.2, 1.0)]
    rows.append(row("adversarial", "b", 0.0, 0.0, error="no opponent"))
    assert evaluation_line(1500, rows) == (
        "step    1,500  normal: completion 0.75, collision 0.50  ·  "
        "adversarial: completion 0.20, collision 1.00 (1 failed)"
    )


def test_the_first_signal_asks_and_the_second_stops(capsys, monkeypatch) -> None:
    ended: list[int] = []
    clock = [100.0]
    monkeypatch.setattr("harness.training.run.end_at_once", ended.append)
    monkeypatch.setattr("harness.training.run.time", SimpleNamespace(monotonic=lambda: clock[0]))
    trainer = SimpleNamespace(stop_requested=False)
    before = signal.getsignal(signal.SIGTERM)
    with stopping_politely(trainer, Session("train_ego")) as came:
        os.kill(os.getpid(), signal.SIGTERM)
        assert trainer.stop_requested
        # A killed parent's threads each send one, at the same moment.
        os.kill(os.getpid(), signal.SIGTERM)
        assert not ended
        clock[0] += ONE_S
        os.kill(os.getpid(), signal.SIGTERM)
    assert came == ended * 2 == [signal.SIGTERM, signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before
    assert "with a checkpoint" in capsys.readouterr().out


def test_the_bar_follows_steps_and_never_passes_the_budget() -> None:
    with bars(make_console()) as shown:
        watcher = BarWatcher(shown, 100, Session("train_ego"))
        watcher.step(SimpleNamespace(step=120))
        watcher.metrics({"steps_per_second": 217.4})
        assert (shown.tasks[0].completed, shown.tasks[0].fields["note"]) == (100, "217 steps/s")


def test_a_matrix_in_which_every_run_fails_says_why(tmp_path, monkeypatch) -> None:
    failed = [JobResult(None, None, "none-seed0: no such folder: nowhere", 2)]
    monkeypatch.setattr(matrix_run, "run_jobs", lambda jobs, *_: (replace(failed[0], job=job) for job in jobs))
    config = MatrixConfig(out=tmp_path / "matrix", adversary=("none",), ablate=(), train=TrainConfig(steps=10))
    with pytest.raises(RunError, match="no such folder"):
        run_matrix(config, Session("train_matrix"))
