"""A user's own policy: any callable, a TorchScript file or an ONNX file, without writing a class.

TorchScript and ONNX files are graphs, not Python pickles. Reading one runs no Python; it does run the graph, in
torch's or onnxruntime's interpreter, so a hostile file can still waste time and memory.
"""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import PolicyError
from harness.interfaces import EgoView
from scenarios.scenario import Scenario


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
            raise PolicyError(f"expected a callable or an object with `predict`, got {type(function).__name__}.")
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
        if not self.path.is_file():
            raise PolicyError(f"policy file {self.path} does not exist.")
        self.observation = observation
        self.name = name or type(self).name

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to prepare: the graph has no memory."""


class TorchScriptPolicy(_FilePolicy):
    """A TorchScript module mapping observations [1, D] to actions [1, 2] (float32, CPU)."""

    name = "torchscript"

    def __init__(self, path: str | Path, *, observation: str = "cat", name: str | None = None) -> None:
        """Load a `.pt` file written by `torch.jit.save`.

        Raises:
            PolicyError: Missing, or not a TorchScript file.
        """
        super().__init__(path, observation=observation, name=name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._module = torch.jit.load(str(self.path), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise PolicyError(
                f"{self.path} is not a TorchScript file: {str(error)[:200]}. Write one with "
                "torch.jit.save(torch.jit.trace(module, example), path); a plain state dict is not enough."
            ) from error

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Action of the module.

        Raises:
            PolicyError: The module refuses the observation.
        """
        batch = torch.from_numpy(np.ascontiguousarray(observation, dtype=np.float32)[None])
        try:
            with torch.inference_mode():
                found = self._module(batch)
        except RuntimeError as error:
            raise PolicyError(
                f"policy {self.name!r} ({self.path}) failed on an observation of shape {observation.shape}: "
                f"{str(error).strip().splitlines()[-1][:200]}"
            ) from error
        return _first_row(found.numpy() if isinstance(found, torch.Tensor) else found)


class OnnxPolicy(_FilePolicy):
    """An ONNX graph with one float32 input [1 or N, D]; its first output is the action [1 or N, 2]."""

    name = "onnx"

    def __init__(self, path: str | Path, *, observation: str = "cat", name: str | None = None) -> None:
        """Load an `.onnx` file.

        Raises:
            PolicyError: Missing, not ONNX, of several inputs, or onnxruntime is not installed.
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
        )
        options = onnxruntime.SessionOptions()
        # One observation at a time: more threads only fight with the simulator.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except self._errors as error:
            raise PolicyError(f"{self.path} is not a usable ONNX file: {str(error)[:200]}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise PolicyError(f"{self.path}: expected one input, found {[item.name for item in inputs]}.")
        self._input = inputs[0].name
        size = inputs[0].shape[-1] if inputs[0].shape else None
        self.observation_size: int | None = size if isinstance(size, int) else None

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Action of the graph.

        Raises:
            PolicyError: The graph refuses the observation.
        """
        batch = np.ascontiguousarray(observation, dtype=np.float32)[None]
        try:
            found = self._session.run(None, {self._input: batch})
        except self._errors as error:
            raise PolicyError(
                f"policy {self.name!r} ({self.path}) failed on an observation of shape {observation.shape}: "
                f"{str(error)[:200]}"
            ) from error
        return _first_row(found[0])


def _first_row(found: object) -> NDArray[np.float32]:
    """The action of a batch of one; anything else goes on to the harness's check as it is."""
    array = np.asarray(found)
    return array[0] if array.ndim == 2 and len(array) == 1 else array
