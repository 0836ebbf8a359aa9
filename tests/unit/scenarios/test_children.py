"""Objects in processes of their own: values, errors, ends, and every kind of program that starts them."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from harness.errors import ConfigError, UnknownNameError, WorkerError
from scenarios.children import Child, ChildDiedError, RemoteTraceback


class Thing:
    def __init__(self, start=0):
        if start == "bad":
            raise ConfigError("cannot be built")
        self.value = start

    def add(self, number):
        self.value += number
        return self.value

    def fail(self, error):
        raise error

    def fail_oddly(self):
        raise Odd(1, 2)

    def end(self):
        os._exit(3)

    def unsendable(self):
        return lambda: self.value

    def nothing_sends(self):
        return (number for number in range(3))


class Odd(Exception):  # noqa: N818
    """Does not survive a pickle: its constructor wants two values."""

    def __init__(self, one, other):
        super().__init__(one)
        self.other = other


class Curious:
    def __init__(self, ask, factor):
        self.ask, self.factor = ask, factor

    def work(self, question):
        return self.factor * self.ask(question)


def gone(pid, within=5.0):
    for _ in range(int(within / 0.05)):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def child():
    made = Child(Thing, 10)
    yield made
    made.close()
    made.close()


def test_methods_return_values_and_errors_as_themselves(child):
    assert [child.call("add", 1), child.call("add", 2, by_value=False)] == [11, 13]
    for error in (ConfigError("no"), UnknownNameError("policy", "idn", ["idm"]), KeyError("key"), ZeroDivisionError()):
        with pytest.raises(type(error)) as raised:
            child.call("fail", error)
        assert str(raised.value) == str(error)
        assert isinstance(raised.value.__cause__, RemoteTraceback)
        assert "in fail" in str(raised.value.__cause__)
    assert child.call("unsendable")() == 13
    with pytest.raises(WorkerError, match="Odd: 1"):
        child.call("fail_oddly")
    with pytest.raises(TypeError, match="missing 1 required"):
        child.call("fail", Odd(1, 2))
    with pytest.raises(WorkerError, match="cannot be sent"):
        child.call("nothing_sends")
    assert child.call("add", 0) == 13, "it lives on"


def test_what_cannot_be_built_says_so():
    with pytest.raises(ConfigError, match="cannot be built"):
        Child(Thing, "bad").ready()
    slow = Child(Thing)
    with pytest.raises(WorkerError, match="did not start within 0 s"):
        slow.ready(timeout=0.0)
    assert gone(slow.pid)


def test_it_may_ask_its_owner():
    def answer(question):
        if question == 0:
            raise ConfigError("no such scene")
        return question + 1

    child = Child(Curious, 10, answer=answer)
    assert child.call("work", 4) == 50
    with pytest.raises(ConfigError, match="no such scene"):
        child.call("work", 0)
    assert child.call("work", 1) == 20
    child.close()


def test_a_dead_child_is_one_clear_error():
    for end, how in ((lambda c: c.start("end"), "exit code 3"), (lambda c: os.kill(c.pid, signal.SIGKILL), "SIGKILL")):
        child = Child(Thing)
        child.ready()
        end(child)
        time.sleep(0.1)
        child.start("add", 1)
        with pytest.raises(ChildDiedError, match=how):
            child.result()


def test_it_ends_with_its_owner_object():
    child = Child(Thing)
    child.ready()
    pid = child.pid
    del child
    gc.collect()
    assert gone(pid)


def test_an_interrupted_call_ends_it(monkeypatch):
    child = Child(Thing)
    child.ready()

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(child.pipe, "recv_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        child.call("add", 1)
    assert gone(child.pid)


PROGRAM = """
from scenarios.children import Child
class Mine:
    def __init__(self, value): self.value = value
    def get(self, other): return self.value + other.value
child = Child(Mine, 1)
print("pid", child.pid, flush=True)
print("answer", child.call("get", Mine(2)), flush=True)
"""


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.mark.parametrize("kind", ["script", "-c", "stdin"])
def test_no_program_needs_a_guard(kind, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "json.py").write_text("raise SystemExit('not the standard module')")
    script = tmp_path / "plain.py"
    script.write_text(PROGRAM)
    arguments = {"script": [str(script)], "-c": ["-P", "-c", PROGRAM], "stdin": ["-P", "-"]}[kind]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=PROGRAM if kind == "stdin" else None,
        cwd=elsewhere,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[1:] == ["answer 3"]
    assert gone(int(done.stdout.split()[1]))


def within_a_daemon(pipe):
    child = Child(Thing, 1)
    pipe.send(child.call("add", 1))


def test_daemons_have_children_too():
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=within_a_daemon, args=(theirs,), daemon=True)
    process.start()
    assert ours.recv() == 2
    process.join()


def test_it_ends_with_a_killed_parent():
    program = PROGRAM + "\nimport time, os\nif os.fork(): pass\ntime.sleep(60)\n"
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    pid = int(parent.stdout.readline().split()[1])
    parent.stdout.readline()
    parent.kill()
    try:
        assert gone(pid), "although a fork of its parent holds the pipe's other end"
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
