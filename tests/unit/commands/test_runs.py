"""Run directories: what is refused, what survives a kill, what a message says."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from harness.commands import runs
from harness.commands.runs import RunDirectory, read_records
from harness.errors import RunError
from harness.files import write_atomically, write_json


def test_a_run_records_how_to_repeat_it(tmp_path) -> None:
    with RunDirectory.create(tmp_path / "new" / "run", "train_ego", {"steps": 3}) as run:
        info = runs.read_run(run.path)
    assert info["verb"] == "train_ego"
    assert info["config"] == {"steps": 3}
    assert info["provenance"]["versions"]["numpy"] == np.__version__
    assert info["provenance"]["command"]


def test_a_folder_that_holds_something_is_refused_and_untouched(tmp_path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(RunError, match=r"not empty.*precious"):
        RunDirectory.create(tmp_path, "train_ego", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["precious.txt"]


def test_a_run_that_was_killed_as_it_began_can_begin_again(tmp_path) -> None:
    (tmp_path / ".lock").write_text("")
    (tmp_path / ".run.123.part.json").write_text('{"ver')
    RunDirectory.create(tmp_path, "train_ego", {}).close()
    assert {entry.name for entry in tmp_path.iterdir()} == {".lock", "run.json"}


def test_an_existing_run_points_to_resume(tmp_path) -> None:
    RunDirectory.create(tmp_path / "run", "train_ego", {}).close()
    with pytest.raises(RunError, match="--resume"):
        RunDirectory.create(tmp_path / "run", "train_ego", {})


def test_a_folder_below_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="choose another folder"):
        RunDirectory.create(tmp_path / "file" / "run", "train_ego", {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_refused(tmp_path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="may not write"):
        RunDirectory.create(tmp_path / "run", "train_ego", {})
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("code", "says"), [(errno.EACCES, "may not write"), (errno.EROFS, "read-only"), (errno.ENOSPC, "disk is full")]
)
def test_messages_say_what_to_do(tmp_path, monkeypatch, code: int, says: str) -> None:
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    path = tmp_path / "results.json"
    write_json(path, {"old": 1})
    monkeypatch.setattr(runs.os, "fsync", refuse)
    with pytest.raises(RunError, match=says) as caught:
        write_json(path, {"new": 2})
    assert str(path) in str(caught.value)
    assert path.read_text() == '{\n "old": 1\n}\n', "the old file is whole"
    assert list(tmp_path.iterdir()) == [path], "nothing half-written stays"


def test_a_full_disk_while_appending_keeps_what_was_written(tmp_path) -> None:
    run = RunDirectory.create(tmp_path / "run", "train_ego", {})
    run.append("episodes", {"step": 1})

    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    run._files["episodes"].close()
    run._files["episodes"] = Full()
    with pytest.raises(RunError, match="free some space"):
        run.append("episodes", {"step": 2})
    assert run.records("episodes") == [{"step": 1}]


def test_a_writer_that_fails_leaves_no_trace(tmp_path) -> None:
    def fail(beside):
        beside.write_text("half")
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        write_atomically(tmp_path / "file.txt", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_tolerated_and_others_are_not(tmp_path) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert read_records(path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(RunError, match="line 2"):
        read_records(path)
    path.write_text("[" * 100_000 + '\n{"step": 2}\n')
    with pytest.raises(RunError, match="line 1 is damaged"):
        read_records(path)


DEEP = '{"resumed": ' + "[" * 600 + "]" * 600 + ', "step": 1, "verb": "train_ego", "config": {}}'
"""Python reads it, and cannot write it again."""


@pytest.mark.parametrize("line", ["5", "[]", "null", "{", "[" * 100_000, DEEP, '{"step": "x"}', '{"other": 1}', "NaN"])
def test_lines_that_are_no_records_are_one_error(tmp_path, line: str) -> None:
    with RunDirectory.create(tmp_path / "run", "train_ego", {}) as run:
        (run.path / "metrics.jsonl").write_text(line + '\n{"step": 1}\n')
        with pytest.raises(RunError, match=r"metrics\.jsonl.*start anew"):
            run.keep_records("metrics", lambda record: record["step"] <= 5)


def test_a_run_that_is_nested_too_deep_is_not_gone_on_with(tmp_path) -> None:
    (tmp_path / "run.json").write_text(DEEP)
    with pytest.raises(RunError, match=r"run\.json cannot be read as JSON: it is nested too deep"):
        RunDirectory.reopen(tmp_path, "train_ego")


@pytest.mark.parametrize("place", [".lock", "metrics.jsonl", "checkpoint", "episodes/idm", "policy.zip"])
def test_a_run_folder_with_links_is_not_gone_on_with(tmp_path, place: str) -> None:
    RunDirectory.create(tmp_path / "run", "train_ego", {}).close()
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    link = tmp_path / "run" / place
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(mine if "." in place else tmp_path)
    with pytest.raises(RunError, match=r"symbolic link: .*write through"):
        RunDirectory.reopen(tmp_path / "run", "train_ego")
    assert mine.read_text() == "mine"


def test_a_run_folder_with_pipes_does_not_wait_for_them(tmp_path) -> None:
    RunDirectory.create(tmp_path / "run", "train_ego", {}).close()
    (tmp_path / "run" / ".lock").unlink()
    os.mkfifo(tmp_path / "run" / ".lock")
    with pytest.raises(RunError, match=r"pipe.*\.lock"):
        RunDirectory.reopen(tmp_path / "run", "train_ego")
    (tmp_path / "run" / "run.json").unlink()
    os.mkfifo(tmp_path / "run" / "run.json")
    with pytest.raises(RunError, match="not a run folder"):
        RunDirectory.reopen(tmp_path / "run", "train_ego")


def test_a_new_run_does_not_write_through_a_lock_that_is_a_link(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(RunError, match="write in"):
        RunDirectory.create(tmp_path / "run", "train_ego", {})
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_records_after_a_checkpoint_are_dropped_and_appending_goes_on(tmp_path) -> None:
    run = RunDirectory.create(tmp_path / "run", "train_ego", {})
    for step in range(4):
        run.append("episodes", {"step": step, "value": np.float32(0.5), "bad": float("nan")})
    kept = run.keep_records("episodes", lambda record: record["step"] <= 1)
    assert [record["step"] for record in kept] == [0, 1]
    run.append("episodes", {"step": 2})
    assert [record["step"] for record in run.records("episodes")] == [0, 1, 2]
    assert kept[0] == {"step": 0, "value": 0.5, "bad": None}


def test_two_processes_cannot_share_a_run(tmp_path) -> None:
    run = RunDirectory.create(tmp_path / "run", "train_ego", {})
    with pytest.raises(RunError, match="in use"):
        RunDirectory.reopen(tmp_path / "run", "train_ego")
    run.close()
    again = RunDirectory.reopen(tmp_path / "run", "train_ego")
    assert len(again.info["resumed"]) == 1
    again.close()


def test_resuming_what_is_no_run_says_so(tmp_path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        RunDirectory.reopen(tmp_path, "train_ego")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        RunDirectory.reopen(tmp_path, "train_ego")
    (tmp_path / "run.json").write_text('{"verb": "attack", "config": {}, "resumed": []}')
    with pytest.raises(RunError, match="attack"):
        RunDirectory.reopen(tmp_path, "train_ego")
