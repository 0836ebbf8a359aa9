"""An empty cache: every kind of program fills it, several at once fill it once, and each shows what is going on."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from harness.errors import GauntletError
from scenarios.procedural.generator import INDEX, LOCK
from scenarios.procedural.pool import Pool, SimulationTask
from scenarios.turns import Announcer, my_turn
from tests.unit.scenarios.procedural import workers
from tests.unit.scenarios.procedural.test_generator import SMALL

PROGRAM = """
from functools import partial
from scenarios.procedural import ProceduralConfig, generate, generator
from scenarios.procedural.pool import SimulationResult
def work(config, task):
    return SimulationResult(task, [(f"sd_pg-train-{{task.number:06d}}-0.pkl", b"", {{"number": task.number}})], "")
generator.Pool = partial(generator.Pool, work=work)
print(generate(ProceduralConfig(train=3, test=0), {folder!r}, workers=2))
"""
WITH_FAKE_SIMULATIONS = """
import sys, time, types
def simulate(config, split, number):
    time.sleep(0.3)
    return [{{"metadata": {{"number": number}}}}]
sys.modules["scenarios.procedural.simulate"] = types.SimpleNamespace(simulate=simulate)
from scenarios.procedural import ProceduralConfig, generate
generate(ProceduralConfig(train=5, test=0), {folder!r}, workers=1)
"""


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def test_a_script_without_a_guard_fills_the_cache_and_says_so(tmp_path):
    script = tmp_path / "plain.py"
    script.write_text(PROGRAM.format(folder=str(tmp_path / "scenes")))
    out, err = start(str(script)).communicate(timeout=120)
    assert out.strip() == str(tmp_path / "scenes")
    assert "generating 3 scenes, once" in err
    assert "done: 3 scenes" in err
    assert json.loads((tmp_path / "scenes" / INDEX).read_text())["failures"] == {}


def test_several_at_once_wait_for_each_other_and_a_killed_one_costs_nothing(tmp_path):
    program = WITH_FAKE_SIMULATIONS.format(folder=str(tmp_path))
    first = start("-c", program)
    while not (tmp_path / LOCK).exists():
        assert first.poll() is None
        time.sleep(0.02)
    others = [start("-c", program) for _ in range(2)]
    time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    errors = [process.communicate(timeout=120)[1] for process in others]
    assert [process.returncode for process in others] == [0, 0]
    assert sum(", once, in" in error for error in errors) == 1, "the other one only waited"
    assert len(list(tmp_path.glob("sd_*.pkl"))) == 5
    assert not (tmp_path / LOCK).exists()


def within_a_daemon(folder, pipe):
    os.environ["GAUNTLET_TEST_MARKER"] = str(folder / "died")
    pool = Pool(SMALL, 2, work=workers.dies_once)
    pipe.send([outcome.task.number for outcome in pool.results(SimulationTask("train", k) for k in range(4))])
    pool.close()


def test_a_daemon_may_have_several_workers(tmp_path):
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=within_a_daemon, args=(tmp_path, theirs), daemon=True)
    process.start()
    assert ours.recv() == [0, 1, 2, 3]
    process.join(120)
    assert process.exitcode == 0


def test_whoever_waits_says_for_whom_once(tmp_path):
    said = []
    with my_turn(tmp_path / LOCK, "works", said.append):
        process = multiprocessing.get_context("fork").Process(target=_wait_for, args=(tmp_path,))
        process.start()
        time.sleep(0.5)
        assert process.is_alive()
    process.join(10)
    assert process.exitcode == 0
    assert not said


def _wait_for(folder):
    said = []
    parent = os.getppid()
    with my_turn(folder / LOCK, "works", said.append):
        assert len(said) == 1
        assert f"process {parent} on" in said[0]


class Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_terminal_gets_a_bar(monkeypatch, tmp_path):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    announcer = Announcer("procedural", "generating {} scenes")
    for done in range(3):
        announcer(done, 2)
    assert "\r" + "━" * 15 + "╌" * 15 + " 1/2 scenes" in terminal.text
    assert terminal.text.endswith("done: 2 scenes, after 0 s\n")


def test_a_log_file_gets_a_line_now_and_then(monkeypatch, capsys, tmp_path):
    now = iter([0.0, 0.0, 5.0, 11.0, 12.0])
    monkeypatch.setattr("scenarios.turns.time.monotonic", lambda: next(now))
    announcer = Announcer("procedural", "generating {} scenes")
    for done in range(4):
        announcer(done, 3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[1] == "procedural: 2 of 3 scenes"


def test_an_unwritable_folder_cannot_be_locked(tmp_path):
    from harness.errors import GauntletError

    with (
        pytest.raises(GauntletError, match="Choose another folder"),
        my_turn(tmp_path / "nowhere" / LOCK, "works", print),
    ):
        pass


def test_a_full_disk_is_named_and_leaves_no_lock(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(GauntletError, match="The disk is full"), my_turn(tmp_path / LOCK, "generates", print):
        pass
    assert not list(tmp_path.iterdir())
