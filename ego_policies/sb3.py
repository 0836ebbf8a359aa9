"""Trained networks as policies: Stable-Baselines3 checkpoints and policy files; nothing stored in them is run.

`algorithm.load` unpickles classes (cloudpickle) from the `data` member of the zip, so a checkpoint from a stranger
runs code. Here only the numbers of the network (`ego_policies/torch_archives.py`) and the plain-JSON part of `data` are
read, and the actor is rebuilt from the shapes: every algorithm whose actor is a plain MLP on a flat observation.
Gauntlet's own policy files (`harness/fitting/policy_files.py`) are safetensors, and say what their network reads.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ego_policies.normalisation import read_scaling
from ego_policies.torch_archives import DAMAGE, MAX_BYTES, MAX_RATIO, TorchArchive
from ego_policies.torch_pickles import StoredTensor
from harness.errors import ConfigError, PolicyError
from harness.files import MEGABYTE, checked_zip, read_bounded
from harness.fitting.policy_files import PolicyFile, read_policy
from harness.interfaces import EgoView
from scenarios.scenario import Scenario

SHIPPED: Final = Path(__file__).parent / "weights"
"""Policy files that are part of the package, by the names of their policies. They are trained on procedural scenes."""
SUFFIX: Final = ".safetensors"
"""What the names of policy files end with."""
MAX_DATA: Final = 32 * MEGABYTE
"""Bytes of the member `data`: spaces, schedules and the last observation, as JSON."""
MAX_LAYERS: Final = 200
"""Most layers of an actor, its activations included."""
MAX_TEXT: Final = 20_000
"""Letters of the text of a bound: one number for each part of an action."""

Activation = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _relu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(x, 0.0)


def _elu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def _leaky_relu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(x > 0, x, np.float32(0.01) * x)


ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "ReLU": _relu,
    "Tanh": np.tanh,
    "ELU": _elu,
    "LeakyReLU": _leaky_relu,
}

# Per layout: prefix of the hidden (and, for TD3, output) layers, the separate output layer, whether tanh squashes it,
# and SB3's default activation. Layers within a prefix are numbered with their activations in between.
_LAYOUTS: Final = {
    "td3": ("actor.mu.", None, True, "ReLU"),
    "sac": ("actor.latent_pi.", "actor.mu", True, "ReLU"),
    "actor_critic": ("mlp_extractor.policy_net.", "action_net", False, "Tanh"),
}


@dataclass(frozen=True, slots=True)
class MLP:
    """A small multilayer perceptron in numpy: for one observation it beats torch's call overhead.

    Attributes:
        layers: (weight [out, in], bias [out]) per layer, float32.
        activation: Between layers.
        squash: Whether tanh follows the last layer.
    """

    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    activation: Activation
    squash: bool

    @property
    def inputs(self) -> int:
        """Size of the observation."""
        return int(self.layers[0][0].shape[1])

    @property
    def outputs(self) -> int:
        """Size of the action."""
        return int(self.layers[-1][0].shape[0])

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Output [..., out] for input [..., in]."""
        last = len(self.layers) - 1
        for index, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T + bias
            if index < last:
                x = self.activation(x)
        return np.tanh(x) if self.squash else x


def actor_from_state_dict(state: Mapping[str, object], activation: str | None = None, where: str = "state dict") -> MLP:
    """Rebuild the deterministic actor of TD3, DDPG, SAC, PPO or A2C from an SB3 policy's state dict.

    Args:
        state: Name → tensor (or array).
        activation: Name in `ACTIVATIONS`; None takes SB3's default for the algorithm.
        where: For messages.

    Raises:
        PolicyError: Not an MLP actor on a flat observation.
    """
    for prefix, output, squash, default in _LAYOUTS.values():
        hidden = [number for number in range(MAX_LAYERS) if f"{prefix}{number}.weight" in state]
        if not hidden:
            continue
        names = [f"{prefix}{number}" for number in hidden] + ([output] if output else [])
        chosen = activation or default
        if chosen not in ACTIVATIONS:
            raise PolicyError(
                f"{where}: activation {chosen!r} is not one of {', '.join(ACTIVATIONS)}. "
                "Export the policy to TorchScript (.pt) or ONNX (.onnx) instead."
            )
        if prefix == _LAYOUTS["actor_critic"][0] and "log_std" not in state:
            raise PolicyError(
                f"{where}: the policy chooses among discrete actions (it has no log_std), but Gauntlet's are two "
                "numbers in [-1, 1]. Export one that maps its choice to steering and throttle to TorchScript (.pt)."
            )
        layers = tuple(_layer(state, name, where) for name in names)
        for (first, _), (second, _) in itertools.pairwise(layers):
            if second.shape[1] != first.shape[0]:
                raise PolicyError(f"{where}: layers do not chain: {[layer[0].shape for layer in layers]}.")
        if any("features_extractor" in key and key.startswith(("actor.", "features")) for key in state):
            raise PolicyError(
                f"{where}: the actor has a trained feature extractor, which cannot be rebuilt from shapes. "
                "Export the policy to TorchScript (.pt) or ONNX (.onnx) instead."
            )
        return MLP(layers, ACTIVATIONS[chosen], squash)
    raise PolicyError(
        f"{where}: no actor found. Expected parameters named actor.mu.* (TD3, DDPG), actor.latent_pi.* (SAC) or "
        f"mlp_extractor.policy_net.* (PPO, A2C); found {', '.join(list(state)[:5]) or 'nothing'}. "
        "Export other networks to TorchScript (.pt) or ONNX (.onnx)."
    )


def _layer(state: Mapping[str, object], name: str, where: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    missing = [key for key in (f"{name}.weight", f"{name}.bias") if key not in state]
    if missing:
        raise PolicyError(f"{where}: parameter {missing[0]} is missing.")
    weight, bias = (np.array(state[f"{name}.{part}"], dtype=np.float32) for part in ("weight", "bias"))
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise PolicyError(f"{where}: {name} is not a linear layer: weight {weight.shape}, bias {bias.shape}.")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise PolicyError(f"{where}: {name} holds NaN or infinite weights: the training diverged.")
    return weight, bias


def read_checkpoint(path: str | Path) -> MLP:
    """Read the actor of an SB3 zip. Nothing stored in the file is executed.

    Raises:
        PolicyError: Missing, not an SB3 zip, larger than it may be, an unsafe or unsupported content.
    """
    path = Path(path)
    if not path.exists():
        raise PolicyError(f"policy checkpoint {path} does not exist.")
    content = read_bounded(path, MAX_BYTES, PolicyError)
    try:
        with checked_zip(content, MAX_BYTES, ratio=MAX_RATIO) as archive:
            members = {member.filename: member.file_size for member in archive.infolist()}
            if "policy.pth" not in members:
                raise PolicyError(
                    f"{path} is not a Stable-Baselines3 checkpoint (or is truncated): no policy.pth among "
                    f"{[name[:40] for name in sorted(members)[:6]]}."
                )
            if members.get("data", 0) > MAX_DATA:
                raise PolicyError(f"{path}: member data has {members['data']:,} bytes, the limit is {MAX_DATA:,}.")
            weights = archive.read("policy.pth")
            data = json.loads(archive.read("data")) if "data" in members else {}
    except DAMAGE as error:
        if isinstance(error, PolicyError):
            raise
        raise PolicyError(f"{path} is not a readable Stable-Baselines3 zip: {_first_line(error)}") from error
    try:
        state = _Parameters(TorchArchive(weights))
    except DAMAGE as error:
        raise PolicyError(
            f"{path}: policy.pth is damaged, was written by PyTorch before 1.6, or holds more than tensors, and was "
            f"not loaded: {_first_line(error)}"
        ) from error
    return actor_from_state_dict(state, _activation(data, path), str(path))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


class _Parameters(Mapping[str, object]):
    """Tensors of a `policy.pth` by name, each read when it is asked for."""

    def __init__(self, archive: TorchArchive) -> None:
        state, _ = archive.unpickle("data.pkl", "data", script=False)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}, expected a dict of tensors")
        self._archive = archive
        self._tensors = {name: item for name, item in state.items() if isinstance(item, StoredTensor)}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._archive.array(self._tensors[name], "data")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _activation(data: object, path: Path) -> str | None:
    """Check what the plain-JSON part of `data` says, and return the actor's activation where it is not the default."""
    if not isinstance(data, dict):
        return None
    if data.get("use_sde"):
        raise PolicyError(f"{path}: policies with state-dependent exploration (use_sde) are not supported.")
    space = data.get("action_space")
    if isinstance(space, dict) and "low" in space:
        low, high = (_numbers(space.get(side, ""), path) for side in ("low", "high"))
        if any(number != -1.0 for number in low) or any(number != 1.0 for number in high):
            raise PolicyError(f"{path}: trained with actions in {low[:4]} … {high[:4]}, but Gauntlet's are in [-1, 1].")
    kwargs = data.get("policy_kwargs")
    named = str(kwargs.get("activation_fn", "") or "") if isinstance(kwargs, dict) else ""
    # "<class 'torch.nn.modules.activation.Tanh'>"
    return named[-MAX_TEXT:].removesuffix("'>").rpartition(".")[2][:60] or None


def _numbers(text: object, path: Path) -> list[float]:
    """The numbers in the text of an array, such as `[-1. -1.]`."""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise PolicyError(f"{path}: the bounds of its actions are no text of at most {MAX_TEXT:,} letters.")
    words = text.translate(str.maketrans("[],()", "     ")).split()
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise PolicyError(f"{path}: the bounds of its actions are {text[:60]!r}, expected numbers.") from error


def shipped(name: str) -> Path:
    """The policy file of this name that comes with the package.

    Raises:
        ConfigError: There is none.
    """
    file = SHIPPED / f"{name}{SUFFIX}"
    if not file.is_file():
        raise ConfigError(f"policy {name!r} needs a file: write {name}:PATH. None comes with this installation.")
    return file


class SB3Policy:
    """A trained MLP that acts deterministically: from a policy file, or from a Stable-Baselines3 checkpoint.

    Every algorithm with such an actor is read: TD3, DDPG, SAC, PPO, A2C.
    """

    name = "sb3"
    control: ClassVar[Literal["action", "replay"]] = "action"
    privileged = False

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        observation: str | None = None,
        name: str | None = None,
        normalize: str | Path | None = None,
    ) -> None:
        """Load a policy.

        Args:
            path: SB3 zip, or policy file (`*.safetensors`); None: the one of this name that comes with the package.
            observation: Preset that it was trained with. A policy file says so itself; of a zip it is `cat` by default.
            name: Label in tables; the registry name by default, and of a file under `sb3` the algorithm's.
            normalize: File of the statistics by which `VecNormalize` scaled the observations in training: what
                `VecNormalize.save` wrote, or an npz (see `ego_policies/normalisation.py`). None: none were used.

        Raises:
            ConfigError: No file is given, and none comes with the package.
            PolicyError: A file is missing, damaged, or not supported, or the two do not belong together.
            WeightsError: A policy file is missing, damaged, or holds no policy.
        """
        path = shipped(type(self).name) if path is None else path
        self.path = str(path)
        self.name = name or type(self).name
        if Path(path).suffix.lower() == SUFFIX:
            stored = read_policy(path)
            self.actor = MLP(stored.layers, ACTIVATIONS[stored.activation], stored.squash)
            self.observation, self.name = self._as_stored(stored, observation, name)
        else:
            self.actor, self.observation = read_checkpoint(path), observation or "cat"
        self.scaling = None if normalize is None else read_scaling(Path(normalize))
        if self.scaling is not None and self.scaling.mean.shape != (self.actor.inputs,):
            raise PolicyError(
                f"{normalize}: statistics of observations of shape {self.scaling.mean.shape}, but the policy {path} "
                f"expects ({self.actor.inputs},). Give the file that was saved with it."
            )

    def _as_stored(self, stored: PolicyFile, observation: str | None, name: str | None) -> tuple[str, str]:
        """Preset and label of a policy file, where neither the caller nor this class expects others."""
        if observation not in (None, stored.observation):
            raise PolicyError(
                f"{self.path}: trained with the observation preset {stored.observation!r}, not {observation!r}. "
                "Leave the option out: the file says it."
            )
        own = type(self).name
        if own not in (SB3Policy.name, stored.algorithm):
            raise PolicyError(
                f"{self.path}: a policy of {stored.algorithm}, not of {own}. Write {stored.algorithm}:{self.path}."
            )
        return stored.observation, name or stored.algorithm

    @property
    def observation_size(self) -> int:
        """Length of the observation vector that the network expects."""
        return self.actor.inputs

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to prepare: the network has no memory."""

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Deterministic action [2]; the view is ignored.

        Raises:
            PolicyError: The observation has another length than the network's input.
        """
        if observation.shape != (self.actor.inputs,):
            raise PolicyError(
                f"policy {self.name!r} expects an observation of shape ({self.actor.inputs},), got "
                f"{observation.shape}: it was trained with another observation preset than {self.observation!r}."
            )
        seen = observation if self.scaling is None else self.scaling(observation)
        return np.clip(self.actor(seen.astype(np.float32, copy=False)), -1.0, 1.0)
