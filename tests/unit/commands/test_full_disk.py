"""Every kind of file on a full disk: one `RunError`, the old file intact, nothing half written, no traceback.

The disk is full for a process of its own, whose files may not grow beyond 4 kB: the system refuses the same calls.
"""

import errno
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from harness.commands.board import Board
from harness.errors import RunError
from harness.files import write_atomically

WRITERS = """
    import resource, sys
    from pathlib import Path

    import numpy as np
    import torch
    from safetensors.torch import save_file
    from torch.utils.tensorboard import SummaryWriter  # its own modules are read before the disk is full

    from harness.commands.board import Board
    from harness.commands.runs import RunDirectory
    from harness.drawing.figure import panels, save_figure
    from harness.errors import RunError
    from harness.files import write_arrays, write_atomically, write_json, write_text

    folder = Path(sys.argv[1])
    big = torch.rand(100_000)
    run = RunDirectory.create(folder / "run", "x", {})
    board = Board(folder)
    board.add("a", 0.0, 0)
    board.flush()
    figure, _ = panels(1, 1, width=5.0, height=5.0)

    def records():
        for number in range(1000):
            run.append("metrics", {"number": number})

    def scalars():
        for step in range(1000):
            board.add("a", 0.5, step)
            board.flush()

    writers = {
        "a.safetensors": lambda path: write_atomically(path, lambda beside: save_file({"a": big}, beside)),
        "b.pt": lambda path: write_atomically(path, lambda beside: torch.save({"a": big}, beside)),
        "c.npz": lambda path: write_arrays(path, {"a": big.numpy()}),
        "d.json": lambda path: write_json(path, big.tolist()),
        "e.csv": lambda path: write_text(path, "x" * 100_000),
        "f.png": lambda path: save_figure(figure, path),
        "run/metrics.jsonl": lambda path: records(),
        "tensorboard": lambda path: scalars(),
    }
    for name in writers:
        if "." in name and "/" not in name:
            (folder / name).write_text("old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    for name, write in writers.items():
        try:
            write(folder / name)
            print(f"{name}: written")
        except RunError as error:
            print(f"{name}: {error}")
    for close in (run.close, board.close):
        try:
            close()
        except RunError as error:
            print(f"closing: {error}")
    for path in sorted(folder.glob("*.*")):
        assert path.read_text() == "old", path
    assert not [path for path in folder.rglob(".*") if "part" in path.name]
"""


def test_every_writer_says_it_in_one_line_and_leaves_the_old_file(tmp_path):
    script = tmp_path / "script.txt"
    script.write_text(textwrap.dedent(WRITERS))
    folder = tmp_path / "disk"
    folder.mkdir()
    command = [sys.executable, "-c", script.read_text(), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.endswith(": written")] == []
    said = {line.partition(": ")[0]: line for line in lines}
    assert set(said) >= {
        "a.safetensors",
        "b.pt",
        "c.npz",
        "d.json",
        "e.csv",
        "f.png",
        "run/metrics.jsonl",
        "tensorboard",
    }
    assert all("what was written before is intact" in line for line in lines), lines
    assert "Exception ignored" not in done.stderr


def test_a_library_that_fails_by_its_own_error_is_told_with_the_path(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_text("old")

    def write(beside):
        beside.write_text("half")
        raise RuntimeError(
            "[enforce fail at inline_container.cc:595] . PytorchStreamWriter failed writing file\nframe #0"
        )

    with pytest.raises(RunError, match=r"cannot write .*weights\.pt: \[enforce fail.*writing file\. Free some space"):
        write_atomically(path, write)
    assert [item.read_text() for item in tmp_path.iterdir()] == ["old"]


def test_a_board_that_cannot_be_written_is_a_run_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    board = Board(tmp_path)
    monkeypatch.setattr(board, "_writer", SimpleNamespace(add_scalar=full, flush=full, close=full))
    for act in (lambda: board.add("a", 1.0, 1), board.flush, board.close):
        with pytest.raises(RunError, match="The disk is full"):
            act()
    board.close()
