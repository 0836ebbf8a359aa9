"""A user's own policy: any callable, a TorchScript file or an ONNX file, without writing a class.

TorchScript and ONNX files hold programs: not Python's, but those of torch's and onnxruntime's interpreters. What a file
asks for is checked before it is loaded (`ego_policies/torchscript.py`, `ego_policies/onnx_files.py`): it can compute
numbers from an observation, and nothing else. What one answer may take is bounded too (`ego_policies/bounded.py`).
Nobody can end the answer of a TorchScript file: a worker ends itself instead, and any other process only says so.
"""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ego_policies.bounded import ANSWER_BYTES, ANSWER_S, Patience, bounded_memory
from ego_policies.onnx_files import read_onnx
from ego_policies.torchscript import load_checked, load_trusted
from harness.errors import PolicyError
from harness.files import MEGABYTE
from harness.interfaces import LATE_ANSWER, EgoView
from scenarios.scenario import Scenario

_LOAD_COPIES: Final = 6
"""Copies of a policy file in memory while it is loaded: its bytes and parts, the checked archive, the library's own."""
_NO_MEMORY: Final = ("bad_alloc", "allocate memory")
_FATAL: Final = 4
"""What onnxruntime prints by itself: its errors are raised as well."""
log = logging.getLogger(__name__)


class CallablePolicy:
    """Wraps `f(observation) -> action`, or an object with SB3's `predict(observation, deterministic=True)`.

    If the wrapped object has a `reset` that can be called without arguments, it is called at every episode's start.
    What it returns is passed on as it is: the harness checks every action.
    """

    control: ClassVar[Literal["action", "replay"]] = "action"

    def __init__(
        self,
        function: Any,
        *,
        observation: str = "cat",
        name: str | None = None,
        privileged: bool = False,
    ) -> None:
        """Wrap a callable or a model.

        Args:
            function: The policy; called with the observation [D] float32.
            observation: Preset that it expects.
            name: Label in tables; the callable's own name by default.
            privileged: Say so if it sees more than the observation.

        Raises:
            PolicyError: Neither callable nor a model with `predict`.
        """
        self._predicts = callable(getattr(function, "predict", None))
        if not self._predicts and not callable(function):
            raise PolicyError(
                f"expected a callable or an object with `predict`, got {type(function).__name__}{_lacking(function)}."
            )
        self._function = function
        self._reset = getattr(function, "reset", None)
        if self._reset is not None and not _callable_without_arguments(self._reset):
            self._reset = None
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.observation = observation
        self.privileged = privileged

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Call the wrapped object's own `reset`, where it has one."""
        if self._reset is not None:
            self._reset()

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """What the callable returns (the first item of a tuple, as `predict` returns action and state)."""
        found = (
            self._function.predict(observation, deterministic=True) if self._predicts else self._function(observation)
        )
        return found[0] if isinstance(found, tuple) and len(found) == 2 and np.ndim(found[0]) == 1 else found


def _lacking(thing: object) -> str:
    """What an object with `act` lacks to be a policy of its own; empty for other objects."""
    wanted = ("name", "control", "observation", "privileged", "reset")
    missing = [f"`{name}`" for name in wanted if not hasattr(thing, name)]
    return f", which has `act` but no {', '.join(missing)}" if missing and hasattr(thing, "act") else ""


def _callable_without_arguments(function: object) -> bool:
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


class _FilePolicy:
    """What TorchScript and ONNX policies share."""

    name = "file"
    control: ClassVar[Literal["action", "replay"]] = "action"
    privileged = False

    def __init__(self, path: str | Path, *, observation: str = "cat", name: str | None = None) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise PolicyError(f"policy file {self.path} does not exist.")
        self.observation = observation
        self.name = name or type(self).name
        self._patience = Patience(self._give_up)
        self._late = False

    def _bounded_load(self) -> AbstractContextManager[None]:
        """Room for some copies of the file, and for a library's own needs."""
        return bounded_memory(ANSWER_BYTES + _LOAD_COPIES * self.path.stat().st_size)

    def _give_up(self) -> None:
        self._late = True

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to prepare: the graph has no memory."""

    def _failed(self, observation: NDArray[np.float32], error: BaseException) -> PolicyError:
        """What to say of an answer that did not come, by its last line: the others are the library's own places."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[-1][:200].rstrip(".")
        if self._late:
            reason = "it took too long"
        elif isinstance(error, MemoryError) or any(words in reason for words in _NO_MEMORY):
            reason = "it needs too much memory"
        return PolicyError(
            f"policy {self.name!r} ({self.path}) failed on an observation of shape {observation.shape}: {reason}. "
            f"Expected: float32 [1, {observation.size}] in, the action [1, 2] out, within {ANSWER_S:g} s and "
            f"{ANSWER_BYTES // MEGABYTE:,} MB."
        )


class TorchScriptPolicy(_FilePolicy):
    """A TorchScript module mapping observations [1, D] to actions [1, 2] (float32, CPU).

    A module that returns several things returns the action first, as policies of Stable-Baselines3 do (action, value,
    log-probability). One that draws random numbers draws them from the episode's own generator.
    """

    name = "torchscript"

    def __init__(
        self, path: str | Path, *, observation: str = "cat", name: str | None = None, trust: bool = False
    ) -> None:
        """Load a `.pt` file written by `torch.jit.save`.

        Args:
            path: The file. Its code may use tensor operators only; see `ego_policies/torchscript.py`.
            observation: Preset that it expects.
            name: Label in tables; `torchscript` by default.
            trust: Load it unchecked: its code can then do what torch's operators can, such as write files. For files
                whose maker is known.

        Raises:
            PolicyError: Missing, not a TorchScript file, or it asks for more than tensor operators.
        """
        super().__init__(path, observation=observation, name=name)
        if not isinstance(trust, bool):
            raise PolicyError(f"{self.path}: trust is {trust!r}, expected true or false.")
        with self._bounded_load():
            self._module, self._random = (load_trusted(self.path), True) if trust else load_checked(self.path)
        self._state = torch.Generator().get_state()

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Seed what the module draws at random, if it does."""
        if self._random:
            self._state = torch.Generator().manual_seed(int(rng.integers(1 << 62))).get_state()

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Action of the module.

        Raises:
            PolicyError: The module refuses the observation, or runs out of memory.
        """
        batch = torch.from_numpy(np.ascontiguousarray(observation, dtype=np.float32)[None])
        try:
            with torch.inference_mode(), bounded_memory(ANSWER_BYTES), self._patience.watch():
                found = self._drawn(batch) if self._random else self._module(batch)
                if isinstance(found, (tuple, list)) and found and isinstance(found[0], torch.Tensor):
                    found = found[0]
                if isinstance(found, torch.Tensor):
                    # Numpy knows no bfloat16 and no gradients.
                    found = (found.float() if found.is_floating_point() else found).detach().numpy()
        # What the module itself raises is none of Python's own errors.
        except (RuntimeError, TypeError, MemoryError, torch.jit.Error) as error:
            raise self._failed(observation, error) from error
        return _first_row(found)

    def _give_up(self) -> None:
        """End this process if it is a worker: torch cannot be asked to stop, and somebody waits for the answer."""
        log.error("policy %r (%s) has computed %g s on one answer.", self.name, self.path, ANSWER_S)
        if multiprocessing.parent_process() is not None:
            os._exit(LATE_ANSWER)

    def _drawn(self, batch: torch.Tensor) -> Any:
        """The module's answer; the process's own generator is left as it was."""
        with torch.random.fork_rng(devices=()):
            torch.set_rng_state(self._state)
            found = self._module(batch)
            self._state = torch.get_rng_state()
        return found


class OnnxPolicy(_FilePolicy):
    """An ONNX graph with one float32 input [1 or N, D]; its first output is the action [1 or N, 2]."""

    name = "onnx"

    def __init__(self, path: str | Path, *, observation: str = "cat", name: str | None = None) -> None:
        """Load an `.onnx` file, with all its weights in it.

        Raises:
            PolicyError: Missing, not ONNX, of several inputs, its weights lie in other files, or onnxruntime is not
                installed.
        """
        super().__init__(path, observation=observation, name=name)
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as state
        except ImportError as error:
            raise PolicyError("ONNX policies need onnxruntime: pip install 'gauntlet-drive[onnx]'.") from error
        self._errors: tuple[type[Exception], ...] = (
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.InvalidProtobuf,
            state.NoSuchFile,
            state.NotImplemented,
            state.RuntimeException,
            # What pybind makes of C++'s own exceptions, and of names that are not UTF-8.
            *(ValueError, TypeError, RuntimeError, IndexError, MemoryError),
        )
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = _FATAL
        data = read_onnx(self.path)
        try:
            with self._bounded_load():
                self._session = _onnx_session(data)
            inputs = self._session.get_inputs()
            names = [item.name for item in inputs]
        except self._errors as error:
            raise PolicyError(
                f"{self.path} is not a usable ONNX file: {str(error)[:200]}. Write one with torch.onnx.export, and "
                "open it with onnxruntime.InferenceSession to see what is wrong."
            ) from error
        if len(inputs) != 1:
            raise PolicyError(f"{self.path}: expected one input, found {names[:20]}.")
        self._input = names[0]
        size = inputs[0].shape[-1] if inputs[0].shape else None
        self.observation_size: int | None = size if isinstance(size, int) else None

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Action of the graph.

        Raises:
            PolicyError: The graph refuses the observation, or needs too much time or memory.
        """
        batch = np.ascontiguousarray(observation, dtype=np.float32)[None]
        try:
            with bounded_memory(ANSWER_BYTES), self._patience.watch():
                found = self._session.run(None, {self._input: batch}, self._options)[0]
        except self._errors as error:
            raise self._failed(observation, error) from error
        return _first_row(found)

    def _give_up(self) -> None:
        super()._give_up()
        self._options.terminate = True


def _onnx_session(data: bytes) -> Any:
    """A session that computes nothing before it is asked, keeps no memory between answers, and uses one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One observation at a time: more threads only fight with the simulator.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    # What is constant would be computed here, and could be large.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(data, sess_options=options, providers=["CPUExecutionProvider"])


def _first_row(found: object) -> NDArray[np.float32]:
    """The action of a batch of one; anything else goes on to the harness's check as it is."""
    array = np.asarray(found)
    return array[0] if array.ndim == 2 and len(array) == 1 else array
