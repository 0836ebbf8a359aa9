"""The one display of a fit's events: lines, bars, TensorBoard."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.commands.progress import SECONDS, FitDisplay, ShownNumber
from harness.fitting.events import Advanced, Done, Epoch, Started, number, numbers


def shown(*events, **options) -> list[str]:
    console = Console(file=io.StringIO(), width=160)
    with FitDisplay(console, **options) as display:
        for event in events:
            display(event)
    return console.file.getvalue().splitlines()


def test_a_line_holds_the_named_columns_that_a_row_has() -> None:
    columns = (
        ShownNumber("val.miss", ".2f", " m", "missed"),
        ShownNumber("absent"),
        ShownNumber("loss", ".1f"),
        SECONDS,
    )
    row = {"epoch": 3, "loss": 0.25, "val": {"miss": 0.5}, "seconds": 61.2, "unasked": 1.0}
    assert shown(Epoch("prior", row), columns=columns) == ["prior epoch   3  missed 0.50 m  loss 0.2  after 61 s"]
    assert shown(Epoch("skills", {"epoch": 1, "loss": None, "held_out": 0.5})) == ["skills epoch   1  held_out 0.5"]


def test_lines_come_every_so_often_and_at_the_end() -> None:
    rows = [Epoch("a", {"epoch": k, "loss": float(k)}) for k in range(8)]
    lines = shown(Started("a", "the [new]", 7), *rows, Done("a"), Done("b", "over"), every=5)
    assert lines == ["a: the [new]", "a epoch   0  loss 0", "a epoch   5  loss 5", "a epoch   7  loss 7", "b: over"]


def test_bars_leave_when_their_task_is_complete() -> None:
    display = FitDisplay(Console(file=io.StringIO()))
    with display:
        display(Advanced("scenes", 1, 2))
        display(Advanced("samples", 3, 3))
        assert [task.description for task in display._progress.tasks] == ["scenes"]


def test_every_number_reaches_tensorboard(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown(Epoch("adv", {"epoch": 2, "loss": None, "train": {"reward": 0.5}, "pairs": 3}), board=tmp_path)
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert sorted(board.Tags()["scalars"]) == ["adv/epoch", "adv/pairs", "adv/train/reward"]
    assert board.Scalars("adv/train/reward")[0].step == 2


def test_numbers_by_dotted_key() -> None:
    row = {"epoch": 1, "held_out": {"reward": 2}, "loss": None}
    assert number(row, "held_out.reward") == 2.0
    assert number(row, "loss") is None
    assert number(row, "epoch.reward") is None
    assert numbers(row) == {"epoch": 1.0, "held_out.reward": 2.0}
