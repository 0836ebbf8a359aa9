"""Where the simulator of an environment lives: in this process, or in one of its own.

MetaDrive allows one engine per process. `LocalCore` starts it at the first reset, so that environments can be made
(for their spaces, or before a fork) without one. `RemoteCore` gives an environment a process of its own, so that
any number of them can live side by side; every step then crosses a pipe.
"""

from __future__ import annotations

import multiprocessing as mp
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from harness.engine.config import SENSORS, EngineConfig
from harness.errors import EngineError, GauntletError
from harness.interfaces import EgoView
from scenarios.scenario import ScenarioSource

if TYPE_CHECKING:
    from harness.engine.env import GauntletEnv
    from harness.engine.recording import Recording

START_TIMEOUT: Final = 120.0
"""Seconds that a simulator process may take to import MetaDrive and answer."""

StepResult = tuple[NDArray[np.float32], float, bool, bool, dict[str, object]]


class _Core:
    """What both have: scenes, options and spaces."""

    def __init__(self, source: ScenarioSource, options: EngineConfig) -> None:
        self.source = source
        self.options = options
        size = SENSORS[options.observation].size
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)


class LocalCore(_Core):
    """`GauntletEnv` in this process, made at the first reset and again after a close."""

    _env: GauntletEnv | None = None

    def _need(self) -> GauntletEnv:
        if self._env is None:
            raise EngineError("there is no simulator: call reset() first.")
        return self._env

    def reset(self, *, seed: int, options: dict[str, object]) -> tuple[NDArray[np.float32], dict[str, object]]:
        """Begin an episode, starting the simulator where needed.

        Raises:
            EngineError: This process has another one.
        """
        if self._env is None:
            # Imported here: it takes a second and needs MetaDrive's libraries.
            from harness.engine.env import GauntletEnv

            self._env = GauntletEnv(self.source, self.options)
        return self._env.reset(seed=seed, options=options)

    def step(self, action: NDArray[np.float32]) -> StepResult:
        """Advance 0.1 s."""
        return self._need().step(action)

    def render(self) -> NDArray[np.uint8]:
        """Picture from above [H, W, 3]."""
        return self._need().render()

    def view(self, *, futures: bool = False) -> EgoView:
        """The present, for privileged policies; with `futures`, also what is to come."""
        return self._need().view(futures=futures)

    def recording(self) -> Recording:
        """What happened in this episode."""
        return self._need().recording()

    def close(self) -> None:
        """Stop the simulator; closing twice is allowed."""
        if self._env is not None:
            self._env.close()
            self._env = None


class RemoteCore(_Core):
    """`GauntletEnv` in a process of its own. Not within daemonic processes: those may not have children."""

    _process: mp.process.BaseProcess | None = None
    _pipe: Connection | None = None

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._pipe is None or self._process is None:
            raise EngineError("there is no simulator: call reset() first.")
        try:
            self._pipe.send((name, args, kwargs))
            failed, answer = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            code = self._process.exitcode
            self._drop()
            raise EngineError(
                f"the simulator's process died during {name}() (exit code {code}; -9 often means: out of memory). "
                "The next reset() starts another one."
            ) from error
        if failed:
            raise answer
        return answer

    def reset(self, *, seed: int, options: dict[str, Any]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode, starting the process where needed."""
        if self._process is None:
            self._start()
        return self._call("reset", seed=seed, options=options)

    def step(self, action: NDArray[np.float32]) -> StepResult:
        """Advance 0.1 s."""
        return self._call("step", action)

    def render(self) -> NDArray[np.uint8]:
        """Picture from above [H, W, 3]."""
        return self._call("render")

    def view(self, *, futures: bool = False) -> EgoView:
        """The present, for privileged policies; with `futures`, also what is to come."""
        return self._call("view", futures=futures)

    def recording(self) -> Recording:
        """What happened in this episode."""
        return self._call("recording")

    def close(self) -> None:
        """Stop the process; closing twice is allowed."""
        if self._pipe is not None and self._process is not None and self._process.is_alive():
            try:
                self._call("close")
            except EngineError:
                return
        self._drop()

    def _start(self) -> None:
        # Spawned, not forked: this process may hold threads, or an engine of its own.
        context = mp.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.source, self.options), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START_TIMEOUT):
            self._drop()
            raise EngineError(f"the simulator's process did not start within {START_TIMEOUT:.0f} s.")
        try:
            failed, answer = self._pipe.recv()
        except EOFError as error:
            self._drop()
            raise EngineError(
                "the simulator's process could not start. In a script, make environments under "
                "`if __name__ == '__main__':`, as Python's multiprocessing asks."
            ) from error
        if failed:
            self._drop()
            raise answer

    def _drop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join(timeout=5.0)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._pipe = self._process = None


def _serve(pipe: Connection, source: ScenarioSource, options: EngineConfig) -> None:
    """Answer calls until `close` or until the other side is gone. Runs in the simulator's process."""
    core = LocalCore(source, options)
    pipe.send((False, None))
    name = ""
    while name != "close":
        try:
            name, args, kwargs = pipe.recv()
        except EOFError:
            break
        try:
            answer = (False, getattr(core, name)(*args, **kwargs))
        except GauntletError as error:
            answer = (True, error)
        except Exception as error:  # whatever else fails must reach the caller, not only this process's stderr
            answer = (True, EngineError(f"the simulator failed in {name}(): {type(error).__name__}: {error}"))
            pipe.send(answer)
            raise
        pipe.send(answer)
    core.close()
