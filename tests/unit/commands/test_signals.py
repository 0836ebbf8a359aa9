"""Commands that are told to stop: exit codes, one line, no traceback, at every moment."""

import errno
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from harness.commands import signals
from harness.commands.scaffold import Session, reported
from harness.commands.signals import Terminated, raised

NUMBERS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
ALL = pytest.mark.parametrize(("number", "code"), [(number, 128 + number) for number in signals.CODES])


def run(script: str, number: int, *, times: int = 1, folder: Path | None = None) -> tuple[int, str, str]:
    """A program that prints `ready` and is then sent a signal; returns exit code, output and errors.

    With a folder it is run as `python -m` runs a module, else as `python -c`.
    """
    how, more = ["-c", textwrap.dedent(script)], {}
    if folder is not None:
        (folder / "program.py").write_text(textwrap.dedent(script))
        how, more = ["-m", "program"], {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, *how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | more
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.2)
    out, errors = process.communicate(timeout=30)
    return process.returncode, out, errors


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """A shell that starts the tests in the background has them ignore Ctrl-C, and their processes as well."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGHUP, before[1])


@NUMBERS
def test_a_signal_while_modules_are_imported_ends_the_process_at_once(number, code):
    # As in `python -m harness.VERB`, where the package is imported first and heavy modules after it.
    script = """
        import sys, time
        sys.argv[0] = "/usr/bin/gauntlet"
        import harness
        print("ready", flush=True)
        time.sleep(20)
    """
    assert run(script, number)[0::2] == (code, "stopped at once; whatever was finished is kept.\n")


@NUMBERS
def test_a_signal_while_the_interpreter_ends_changes_nothing(number, code):
    script = """
        import sys, time
        class Late:
            def __del__(self, write=sys.stdout.write, flush=sys.stdout.flush, sleep=time.sleep):
                write("ready\\n"), flush(), sleep(0.5)
        sys.argv[0] = "/usr/bin/gauntlet"
        import harness
        sys.late = Late()
    """
    assert run(script, number)[0::2] == (0, "")


def test_a_program_that_imports_the_package_keeps_its_handlers():
    assert run("import harness, time; print('ready', flush=True); time.sleep(20)", signal.SIGTERM)[0] == -signal.SIGTERM


@NUMBERS
def test_the_first_signal_cleans_up_and_the_second_ends_it(number, code):
    script = """
        import sys, time
        from harness.commands.scaffold import Session, reported
        with reported(Session("t")):
            try:
                print("ready", flush=True)
                time.sleep(20)
            finally:
                print("cleaned", flush=True)
                {}
    """
    one, out, errors = run(script.format("pass"), number)
    assert (one, out) == (code, "cleaned\n")
    assert errors.startswith("stopped; whatever was finished is kept.")
    two, _, errors = run(script.format("time.sleep(20)"), number, times=2)
    assert (two, errors) == (code, "stopped at once; whatever was finished is kept.\n")


def test_where_sighup_is_ignored_it_stays_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with raised():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_what_is_printed_to_a_terminal_that_is_gone_goes_nowhere(tmp_path):
    ours, terminal = pty.openpty()
    file = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    try:
        signals.leave_terminal((terminal, file))
        assert os.isatty(terminal)
        os.close(ours)
        with pytest.raises(OSError, match="Input/output"):
            os.write(terminal, b"x")
        signals.leave_terminal((terminal, file))
        os.write(terminal, b"x"), os.write(file, b"y")
    finally:
        os.close(terminal), os.close(file)
    assert (tmp_path / "log").read_text() == "y"


def test_ctrl_c_within_code_that_is_made_of_text_has_its_exit_code_too(tmp_path):
    # As in the making of a data class: Python remembers that such code was interrupted, and would end itself by SIGINT.
    script = """
        from harness.commands.scaffold import Session, reported
        with reported(Session("t")):
            print("ready", flush=True)
            exec("import time; time.sleep(20)")
    """
    code, _, errors = run(script, signal.SIGINT, folder=tmp_path)
    assert (code, "Traceback" in errors) == (130, False)


@ALL
def test_a_signal_that_gets_lost_in_a_destructor_comes_again(number, code):
    script = f"""
        import os, time
        from harness.commands.scaffold import Session, reported
        class Slow:
            def __del__(self):
                os.kill(os.getpid(), {int(number)})
                time.sleep(0.01)
        with reported(Session("t")):
            print("ready", flush=True)
            Slow()
            for _ in range(2000):
                time.sleep(0.01)
        print("nothing came")
    """
    stopped, out, errors = run(script, number, times=0)
    assert (stopped, out) == (code, "")
    assert "Exception ignored" not in errors


def test_handlers_are_given_back_and_a_callers_own_stays():
    def own(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGINT, own)
    try:
        with raised():
            assert signal.getsignal(signal.SIGINT) is own
            with pytest.raises(Terminated):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)
    with raised(), raised():
        pass
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (before, signal.SIG_DFL)


def test_after_a_command_a_signal_raises_nothing(monkeypatch):
    def end(number):
        raise SystemExit(number)

    monkeypatch.setattr(signals, "end_at_once", end)
    with raised():
        action = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        action(signal.SIGTERM, None)


def test_a_reader_that_has_ended_is_no_fault_of_the_disk(capsys):
    with pytest.raises(SystemExit) as stop, reported(Session("t")):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert stop.value.code == 141
    assert capsys.readouterr().err.startswith("nobody reads the output any more: stopped;")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_output_is_one_line_and_exit_code_2():
    code = """if True:
        from harness.commands.scaffold import Session, reported
        with reported(Session("t")):
            Session("t").say("x" * 99999)
    """
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr
