"""Several environments in one process: nobody has to know that MetaDrive allows one engine."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from copy import deepcopy

import numpy as np
import pytest

import harness.envs  # noqa: F401
from harness.engine.config import EngineConfig
from harness.envs.cores import AutoCore, LocalCore, RemoteCore
from harness.envs.suite import AdversaryEnv
from harness.errors import EngineError, PolicyError
from tests.sources import tiny_source

STRAIGHT = np.array([0.0, 0.3], np.float32)


def make(**options):
    return AdversaryEnv(tiny_source(), adversary="rule", **options)


def place(env):
    return type(env.core._core)


def episode(env, seed):
    observation, info = env.reset(seed=seed, options={"scenario": 1})
    rows, done = [(observation.tobytes(), info)], False
    while not done:
        observation, reward, terminated, truncated, info = env.step(STRAIGHT)
        rows.append((observation.tobytes(), reward, terminated, truncated, info))
        done = terminated or truncated
    return rows


@pytest.fixture(scope="module")
def pair():
    """Two live environments: the first in this process, the second in one of its own."""
    made = make(), make(render_mode="rgb_array")
    for env in made:
        env.reset(seed=0)
    yield made
    for env in made:
        env.close()


def test_the_second_environment_moves_out_and_gives_the_same(pair):
    here, there = pair
    assert (place(here), place(there)) == (LocalCore, RemoteCore)
    assert episode(here, 3) == episode(there, 3)
    assert there.render().shape == (480, 480, 3)
    assert np.array_equal(here.core.view().agents, there.core.view().agents)
    assert np.array_equal(here.core.recording().ego.states, there.core.recording().ego.states)
    assert here.observation_space == there.observation_space


def test_copies_have_no_simulator_and_leave_the_original_its_own(pair):
    for env in pair:
        env.reset(seed=0)
        copies = deepcopy(env), pickle.loads(pickle.dumps(env))
        for copy in copies:
            with pytest.raises(EngineError, match="before reset"):
                copy.step(STRAIGHT)
            assert copy.core._core is None
        del copy, copies
        gc.collect()
        env.step(STRAIGHT)
    with pytest.raises(TypeError, match="cannot be copied"):
        deepcopy(pair[1].core._core._child)


def test_the_engine_goes_to_one_of_several_threads(monkeypatch):
    began, places = [], []

    class Slow(LocalCore):
        def reset(self, *, seed, options):
            time.sleep(0.05)
            began.append(self)

    class Elsewhere(RemoteCore):
        def reset(self, *, seed, options):
            places.append(self)

    monkeypatch.setattr("harness.engine.headless.engine_taken", lambda: bool(began))
    monkeypatch.setattr("harness.envs.cores.LocalCore", Slow)
    monkeypatch.setattr("harness.envs.cores.RemoteCore", Elsewhere)
    cores = [AutoCore(tiny_source(), EngineConfig()) for _ in range(3)]
    threads = [threading.Thread(target=core.reset, kwargs={"seed": 0, "options": {}}) for core in cores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(began), len(places)) == (1, 2)


def test_errors_cross_the_border_as_themselves(pair):
    _, there = pair
    there.reset(seed=0)
    with pytest.raises(PolicyError):
        there.step(np.array([np.nan, 0.0], np.float32))
    with pytest.raises(PolicyError) as raised:
        there.core.step(np.zeros(3))
    assert "in step" in str(raised.value.__cause__)
    there.step(STRAIGHT)


def test_a_dead_process_is_one_clear_error_and_a_reset_brings_it_back(pair):
    _, there = pair
    os.kill(there.core._core._child.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"died during step\(\).*SIGKILL.*next reset"):
        there.step(STRAIGHT)
    with pytest.raises(EngineError, match=r"call reset\(\)"):
        there.step(STRAIGHT)
    there.reset(seed=0)
    there.step(STRAIGHT)


def test_a_fork_of_a_process_with_an_engine_drives_its_own(pair):
    here, there = pair
    expected = episode(here, 5)
    episode(there, 5)
    for env in pair:
        env.reset(seed=1)
    pid = os.fork()
    if pid == 0:
        same = False
        try:
            same = episode(here, 5) == expected and place(here) is RemoteCore
            there.close()
            here.close()
        finally:
            os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for env in pair:
        env.step(STRAIGHT)


def test_a_forgotten_environment_leaves_its_engine_to_the_next():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.integration.test_envs_isolation import *\n"
        "for seed in range(3):\n"
        "    env = make(); env.reset(seed=seed); env.step(STRAIGHT); print(place(env).__name__)\n"
        "    del env\n"
        "env = make(); env.reset(); env = make(); env.reset(); print(place(env).__name__)\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, root], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["LocalCore"] * 4, "a cell of a notebook that is run again included"


def test_a_forgotten_process_ends_at_once(pair):
    forgotten = make()
    forgotten.reset(seed=0)
    pid = forgotten.core._core._child.pid
    del forgotten
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_failed_first_reset_gives_the_place_up(pair):
    pair[0].close()
    core = AutoCore(tiny_source(), pair[0].core.options)
    with pytest.raises(Exception, match="outside"):
        core.reset(seed=0, options={"scenario": 99})
    pair[0].reset(seed=0)
    core.reset(seed=0, options={"scenario": 0})
    assert (place(pair[0]), type(core._core)) == (LocalCore, RemoteCore)
    core.close()


def test_threads_that_share_one_take_turns(pair):
    core = pair[1].core
    results, failures = [], []

    def drive():
        try:
            results.extend(core.view().agents.tobytes() for _ in range(30))
        except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
            failures.append(error)

    pair[1].reset(seed=3)
    threads = [threading.Thread(target=drive) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(results) == 90
    assert len(set(results)) == 1
