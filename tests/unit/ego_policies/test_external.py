"""Programs as systems under test: what they are told, and every way in which they can fail."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ego_policies.external.channel import Channel, words_of
from ego_policies.external.messages import Introduction, hello, read_action, read_trajectory, step_message
from ego_policies.external.policy import ExternalPolicy
from harness.benchmarking.lineup import _system
from harness.benchmarking.runner import anchored
from harness.checks import check_policy
from harness.checks.policy import log_view
from harness.errors import NoAnswerError, PolicyError
from tests.scenes import straight_road

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = f"{sys.executable} {ROOT / 'examples' / 'external_planner.py'}"
SCENE = straight_road()
VIEW = log_view(SCENE, 10)
NOTHING = np.zeros(0, np.float32)

PROGRAM = """
import json, sys, time
for line in sys.stdin:
    message = json.loads(line)
    print(message["type"], file=sys.stderr, flush=True)
    answer = {"hello": %(hello)s, "reset": {}, "step": {"action": [0.5, -2]}}[message["type"]]
    if message["type"] == "step":
        pass
        %(step)s
    print(json.dumps(answer), flush=True)
"""
HELLO = {"protocol": 1, "name": "mine", "view": True}


def program(folder, step="pass", **said):
    """A command; `step` is Python that a step runs before it is answered."""
    path = folder / "program.py"
    path.write_text(PROGRAM % {"hello": {**HELLO, **said}, "step": step})
    return f"{sys.executable} {path}"


def begun(path, **options):
    policy = ExternalPolicy(path, **options)
    policy.reset(SCENE, np.random.default_rng(0))
    return policy


def test_a_program_drives_and_its_answers_are_timed(tmp_path):
    policy = begun(program(tmp_path, "time.sleep(0.05)"))
    assert (policy.name, policy.observation, policy.privileged, policy.control) == ("mine", "none", True, "action")
    assert policy.act(NOTHING, VIEW).tolist() == [0.5, -1.0]
    assert 0.05 <= policy.measured()["answer_mean"] == policy.measured()["answer_max"] < 1.0
    assert [file.name for file in policy.files][-1] == "program.py"
    policy.reset(SCENE, np.random.default_rng(0))
    assert policy.measured() == {}


FAILURES = {
    "dies": ("print('bad luck', file=sys.stderr); sys.exit(3)", r"exit code 3 before it answered step 10.*bad luck"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", r"died of SIGKILL before it answered step 10"),
    "is killed oddly": ("import os; os.kill(os.getpid(), 40)", r"died of signal 40 before it answered step 10"),
    "is late": ("time.sleep(60)", r"no answer to step 10 within 0\.5 s.*\?timeout="),
    "prints": ("print('thinking', flush=True)", r"answered step 10 with 'thinking'.*standard error"),
    "no object": ("answer = [0, 0]", r"with '\[0, 0\]'\. Expected one object of JSON"),
    "no action": ("answer = {'steer': 1}", r"expected \"action\", got 'steer'\. An example is \{\"action\""),
    "not finite": ("answer = {'action': [float('nan'), 0]}", r"not finite"),
    "three numbers": ("answer = {'action': [0, 0, 0]}", r"got shape \(3,\)"),
    "text": ("answer = {'action': ['left', 0]}", r"to be numbers"),
    "endless": ("print('x' * 2_000_000)", r"a line of more than 1,000,000 bytes"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_whatever_goes_wrong_names_the_program_and_the_step(tmp_path, case):
    step, message = FAILURES[case]
    policy = begun(program(tmp_path, step), timeout=0.5 if case == "is late" else 20.0)
    with pytest.raises(NoAnswerError, match=message) as failure:
        policy.act(NOTHING, VIEW)
    assert "program.py` " in str(failure.value)
    with pytest.raises(PolicyError, match="before an episode began"):
        policy.act(NOTHING, VIEW)


def test_it_is_started_anew_after_a_failure(tmp_path):
    marker = tmp_path / "marker"
    step = f"import pathlib; m = pathlib.Path({str(marker)!r}); m.exists() or (m.touch(), sys.exit(1))"
    policy = begun(program(tmp_path, step))
    with pytest.raises(NoAnswerError):
        policy.act(NOTHING, VIEW)
    policy.reset(SCENE, np.random.default_rng(0))
    assert policy.act(NOTHING, VIEW).tolist() == [0.5, -1.0]


def test_who_has_become_another_is_refused(tmp_path):
    policy = begun(program(tmp_path))
    policy.close()
    program(tmp_path, observation="cat")
    for _ in range(2):
        with pytest.raises(PolicyError, match="something else of itself"):
            policy.reset(SCENE, np.random.default_rng(0))


def test_an_answer_that_nobody_asked_for_is_found(tmp_path):
    policy = begun(program(tmp_path, "print(json.dumps(answer), flush=True)"))
    policy.act(NOTHING, VIEW)
    time.sleep(0.2)
    with pytest.raises(NoAnswerError, match="before it was asked for step 10"):
        policy.act(NOTHING, VIEW)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"protocol": 2}, 'expected "protocol": 1, got 2'),
        ({"name": ""}, 'expected a "name"'),
        ({"view": False}, "it sees nothing"),
        ({"view": "yes"}, "true or false"),
        ({"answer": "brake"}, "one of action, trajectory"),
        ({"observation": 5}, "name of a preset"),
    ],
)
def test_introductions(said, message):
    with pytest.raises(ValueError, match=message):
        Introduction.read({**HELLO, **said})
    assert Introduction.read({**HELLO, "view": False, "observation": "cat"}).observation == "cat"
    assert hello() == {"type": "hello", "protocol": 1}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no-such-program-anywhere", "cannot be started: No such file"),
        ("true", "ended with exit code 0 before it answered the first message"),
        ("tcp://localhost", "expected tcp://HOST:PORT"),
        ("tcp://localhost:1", "nobody answers at this address"),
        ("'open", "Close its quotes"),
        (" ", "expected a command or an address"),
    ],
)
def test_programs_that_do_not_start(path, message):
    with pytest.raises(PolicyError, match=message):
        ExternalPolicy(path, start=5.0)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"start": "soon"}, {"timeout": True}, {"timeout": float("inf")}])
def test_times_that_are_none(options):
    with pytest.raises(PolicyError, match="expected seconds above 0"):
        ExternalPolicy("true", **options)


def test_words_of_a_command(tmp_path):
    path = tmp_path / "my planner"
    path.touch()
    assert words_of(str(path)) == [str(path)]
    assert words_of(f"run '{path}' -v") == ["run", str(path), "-v"]
    # Longer than the name of any file may be.
    assert words_of("run " + "x" * 300) == ["run", "x" * 300]
    policy = ExternalPolicy(f"{program(tmp_path)} {'x' * 300}")
    assert [file.name for file in policy.files][-1] == "program.py"


def test_a_command_may_be_longer_than_the_name_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    program(tmp_path)
    spec = f"external:python program.py {'x' * 300}"
    assert anchored(spec) == spec
    for text in (spec, f"{spec}?timeout=2"):
        assert len(_system(text).digest) == 64


def test_what_a_step_says():
    message = step_message(np.array([0.25, 1.0], np.float32), VIEW, with_view=False)
    assert message == {"type": "step", "step": 10, "observation": [0.25, 1.0]}
    message = step_message(None, VIEW, with_view=True)
    assert message["ego"] == pytest.approx(VIEW.ego.tolist(), abs=1e-6)
    assert np.array(message["agents"]).shape == VIEW.agents.shape
    assert message["speed_limit"] is None
    json.dumps(message, allow_nan=False)


def test_trajectories():
    assert read_trajectory({"trajectory": [[0, 0, 0], [1, 0, 0]]}).shape == (2, 3)
    for wrong in ([[0, 0, 0]], [[0, 0]] * 3, [0, 0, 0], [[0, 0, 0], [1, 0]]):
        with pytest.raises(ValueError, match="expected"):
            read_trajectory({"trajectory": wrong})
    assert read_action({"action": [3, 0]}).tolist() == [1.0, 0.0]


def test_a_program_behind_a_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve():
            connection = server.accept()[0]
            with connection:
                subprocess.run(EXAMPLE.split(), stdin=connection.fileno(), stdout=connection.fileno(), check=True)

        thread = threading.Thread(target=serve)
        thread.start()
        policy = begun(f"tcp://127.0.0.1:{port}")
        assert policy.act(NOTHING, VIEW).shape == (2,)
        assert policy.files == ()
        policy.close()
        thread.join(20)
        assert not thread.is_alive()


def test_nothing_is_left_running(tmp_path):
    def alive():
        return Path(f"/proc/{pid}").exists()

    stubborn = tmp_path / "stubborn.sh"
    stubborn.write_text("#!/bin/sh\nexec sleep 60\n")
    stubborn.chmod(0o755)
    channel = Channel(str(stubborn), 5.0)
    pid = channel._process.pid
    assert alive()
    del channel
    assert not alive()


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_client_in_c_drives_as_the_one_in_python_does(tmp_path):
    binary = tmp_path / "planner"
    source = ROOT / "examples" / "external_planner.cpp"
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Werror", "-o", str(binary), str(source)], check=True)
    ours, theirs = begun(EXAMPLE), begun(str(binary))
    for step in (10, 30, 60):
        view = log_view(SCENE, step)
        np.testing.assert_allclose(theirs.act(NOTHING, view), ours.act(NOTHING, view), atol=1e-5)
    check_policy(theirs, SCENE)
