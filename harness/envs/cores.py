"""Where the simulator of an environment lives: in this process, or in one of its own.

MetaDrive allows one engine per process. `LocalCore` starts it at the first reset, so that environments can be made
(for their spaces, or before a fork) without one. `RemoteCore` gives an environment a process of its own, so that
any number of them can live side by side; every step then crosses a pipe. `AutoCore` is the first where the engine is
free when it is needed, and the second where it is taken.
"""

from __future__ import annotations

import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from harness.engine.config import SENSORS, EngineConfig
from harness.errors import EngineError
from harness.interfaces import EgoView
from harness.specs import parse
from scenarios.children import Ask, Child, ChildDiedError
from scenarios.scenario import Scenario, ScenarioSource

if TYPE_CHECKING:
    from harness.engine.env import GauntletEnv
    from harness.engine.recording import Recording

START_TIMEOUT: Final = 600.0
"""Seconds that a simulator process may take to import MetaDrive and answer; minutes where it is starved."""

Isolated = bool | Literal["auto"]
StepResult = tuple[NDArray[np.float32], float, bool, bool, dict[str, object]]
Started = tuple[NDArray[np.float32], dict[str, object]]
_NONE: Final = "there is no simulator: call reset() first."


class _Core:
    """What all have: scenes, options and spaces."""

    def __init__(self, source: ScenarioSource, options: EngineConfig) -> None:
        self.source = source
        self.options = options
        preset = SENSORS[options.observation]
        self.observation_space = gym.spaces.Box(preset.low, 1.0, (preset.size,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __getstate__(self) -> dict[str, object]:
        """What copies and pickles take along: no simulator, for theirs starts at their first reset."""
        kept = ("source", "options", "observation_space", "action_space")
        return {name: vars(self)[name] for name in kept}


class _Passing(_Core, ABC):
    """One that passes calls on to what it has: an environment, or another core."""

    @abstractmethod
    def _need(self) -> GauntletEnv | LocalCore | RemoteCore:
        """What calls are passed on to; an error where there is no simulator."""

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


class LocalCore(_Passing):
    """`GauntletEnv` in this process, made at the first reset and again after a close."""

    _env: GauntletEnv | None = None
    _process = -1

    @property
    def live(self) -> bool:
        """Whether a simulator of this very process exists; one that a fork inherited is its parent's."""
        return self._env is not None and self._process == os.getpid()

    def _need(self) -> GauntletEnv:
        if self._env is None or self._process != os.getpid():
            raise EngineError(_NONE)
        return self._env

    def reset(self, *, seed: int, options: dict[str, object]) -> Started:
        """Begin an episode, starting the simulator where needed.

        Raises:
            EngineError: This process has another one.
        """
        if not self.live:
            # Imported here: it takes a second and needs MetaDrive's libraries.
            from harness.engine import GauntletEnv

            self._env, self._process = GauntletEnv(self.source, self.options), os.getpid()
        from harness.engine.headless import owns_engine

        env = self._need()
        try:
            return env.reset(seed=seed, options=options)
        finally:
            if not owns_engine(env):
                self._env = None  # It failed before its engine started, which others may take meanwhile.

    def close(self) -> None:
        """Stop the simulator; closing twice is allowed, and in a fork the parent's lives on."""
        if self.live:
            self._need().close()
            self._env = None


class RemoteCore(_Core):
    """`GauntletEnv` in a process of its own, which asks for the scenes that it needs."""

    _child: Child | None = None
    _turn: threading.Lock

    @property
    def live(self) -> bool:
        """Whether a process started by this one exists; one that a fork inherited is its parent's."""
        return self._child is not None and self._child.owned

    def _call(self, name: str, *args: object, by_value: bool = False, **kwargs: object) -> Any:
        if self._child is None or not self._child.owned:
            raise EngineError(_NONE)
        try:
            with self._turn:  # Threads take turns: each gets the answer to its own call.
                return self._child.call(name, *args, by_value=by_value, **kwargs)
        except ChildDiedError as error:
            self._child = None
            raise EngineError(
                f"the simulator's process died during {name}(): {error}. The next reset() starts another one."
            ) from error
        except BaseException:
            if self._child.pipe.closed:
                self._child = None  # Interrupted: the answer to this call could be taken for another's.
            raise

    def reset(self, *, seed: int, options: dict[str, Any]) -> Started:
        """Begin an episode, starting the process where needed."""
        if not self.live:
            source = self.source

            def answer(index: Any) -> Scenario | tuple[str, ...]:
                # Of the source alone: a child that knew this core would keep it, and itself, alive.
                return source.ids if index is None else source[index]

            child = Child(_simulator, self.options, len(self.source), _own_classes(self.options), answer=answer)
            try:
                child.ready(START_TIMEOUT)
            except ChildDiedError as error:
                raise EngineError(f"the simulator's process could not start: {error}.") from error
            self._child, self._turn = child, threading.Lock()
        return self._call("reset", seed=seed, options=options, by_value=True)

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
        """Stop the process; closing twice is allowed, and in a fork the parent's lives on."""
        if self._child is not None and self._child.owned:
            self._child.close()
        self._child = None


class AutoCore(_Passing):
    """A `LocalCore` where this process's engine is free at the first reset, otherwise a `RemoteCore`."""

    _core: LocalCore | RemoteCore | None = None

    def _need(self) -> LocalCore | RemoteCore:
        if self._core is None or not self._core.live:
            raise EngineError(_NONE)
        return self._core

    def reset(self, *, seed: int, options: dict[str, Any]) -> Started:
        """Begin an episode, starting the simulator where needed, and where there is room for one."""
        if self._core is None or not self._core.live:
            # Imported here: it takes a second and needs MetaDrive's libraries.
            from harness.engine import GauntletEnv  # noqa: F401 (quietly, and naming what is missing)
            from harness.engine.headless import engine_taken, starting

            with starting:  # Until it is taken: another thread may be looking as well.
                if not engine_taken():
                    self._core = LocalCore(self.source, self.options)
                    return self._core.reset(seed=seed, options=options)
            self._core = RemoteCore(self.source, self.options)
        return self._core.reset(seed=seed, options=options)

    def close(self) -> None:
        """Stop the simulator; closing twice is allowed."""
        if self._core is not None:
            self._core.close()
            self._core = None


class _Asked:
    """The scenes of another process, asked for one by one; a `ScenarioSource`."""

    def __init__(self, ask: Ask, count: int) -> None:
        self._ask, self._count = ask, count

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return self._ask(None)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Scenario:
        return self._ask(index)


def _own_classes(options: EngineConfig) -> dict[str, object]:
    """Classes of the main script that options name (`__main__:Traffic`): another process has another main script."""
    spec = parse(options.traffic)
    main = vars(sys.modules["__main__"])
    return {spec.file: main[spec.file]} if spec.name == "__main__" and spec.file in main else {}


def _simulator(ask: Ask, options: EngineConfig, count: int, own: Mapping[str, object]) -> LocalCore:
    """What lives in the process of a `RemoteCore`."""
    vars(sys.modules["__main__"]).update(own)
    return LocalCore(_Asked(ask, count), options)
