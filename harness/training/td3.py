"""Stable-Baselines3's TD3 with a faster update: same networks, same files, same numbers to float tolerance."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from stable_baselines3 import TD3
from torch import Tensor, nn

from harness.errors import ConfigError, WeightsError
from harness.training import td3_kernel
from harness.training.config import Precision

BLOCKS: Final = ("first.weight", "first.bias", "second.weight", "second.bias", "head.weight", "head.bias")
"""Order of the parameter blocks of a stack of networks; the first four are the hidden part."""
HIDDEN_BLOCKS: Final = 4


def resolve_precision(precision: Precision) -> torch.dtype:
    """The dtype of the hidden layers' matrix products.

    `auto` is bfloat16 where the processor multiplies it natively, which halves the cost of an update, and
    float32 elsewhere.
    """
    if precision == "auto":
        # The flag exists on Linux x86 builds of torch; without it float32 is always right.
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        return torch.bfloat16 if native else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of `td3_kernel` as one TorchScript call."""
    with warnings.catch_warnings():
        # Deprecated in favour of torch.compile, which needs a C++ compiler on the user's machine.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.script(function)


def linear_layers(network: nn.Module) -> list[nn.Linear]:
    """The three linear layers of a network with two hidden layers of rectified linear units.

    Raises:
        ConfigError: The network has another shape.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    others = [
        layer for layer in network.modules() if not isinstance(layer, nn.Linear | nn.ReLU | nn.Tanh | nn.Sequential)
    ]
    if len(layers) != 3 or others:
        raise ConfigError(
            f"the fast TD3 update knows networks of two hidden linear layers with ReLU, not {network}. "
            "Use net_arch=[256, 256], or Stable-Baselines3's own TD3."
        )
    return layers


class FlatStack:
    """K equal networks and their targets in flat float32 memory; the modules' parameters become views of it.

    Attributes:
        parameters, targets, gradient, first_moment, second_moment: Flat float32 [N].
        steps: Adam's step count, float32 scalar.
    """

    def __init__(self, networks: list[nn.Module], targets: list[nn.Module], dtype: torch.dtype) -> None:
        """Move the parameters of `networks` and `targets` into flat memory."""
        self._layers = [linear_layers(network) for network in networks]
        target_layers = [linear_layers(network) for network in targets]
        self._shapes = self._block_shapes()
        size = sum(shape.numel() for shape in self._shapes)
        self.parameters, self.targets = torch.zeros(size), torch.zeros(size)
        self.gradient, self.first_moment, self.second_moment = torch.zeros(size), torch.zeros(size), torch.zeros(size)
        self.steps = torch.zeros(())
        for flat, layers in ((self.parameters, self._layers), (self.targets, target_layers)):
            for block, members in zip(self.blocks(flat), self._members(layers), strict=True):
                for row, parameter in zip(block, members, strict=True):
                    row.view(parameter.shape).copy_(parameter.data)
                    parameter.data = row.view(parameter.shape)
        hidden = sum(shape.numel() for shape in self._shapes[:HIDDEN_BLOCKS]) if dtype != torch.float32 else 0
        self._shadow, self._target_shadow = torch.zeros(hidden, dtype=dtype), torch.zeros(hidden, dtype=dtype)
        self.refresh()

    def _block_shapes(self) -> list[torch.Size]:
        count = len(self._layers)
        shapes: list[torch.Size] = []
        for layer in self._layers[0]:
            shapes += [torch.Size((count, *layer.weight.shape)), torch.Size((count, 1, layer.out_features))]
        return shapes

    def blocks(self, flat: Tensor) -> list[Tensor]:
        """Views of `flat`, one per block (as many as fit: shadows hold the hidden part only)."""
        blocks: list[Tensor] = []
        start = 0
        for shape in self._shapes:
            if start >= flat.numel():
                break
            blocks.append(flat[start : start + shape.numel()].view(shape))
            start += shape.numel()
        return blocks

    @staticmethod
    def _members(layers: list[list[nn.Linear]]) -> list[list[nn.Parameter]]:
        """Parameters of every network, block by block."""
        rows = [[parameter for layer in network for parameter in (layer.weight, layer.bias)] for network in layers]
        return [list(block) for block in zip(*rows, strict=True)]

    def refresh(self) -> None:
        """Bring the low-precision copies up to date with the parameters."""
        self._shadow.copy_(self.parameters[: self._shadow.numel()])
        self._target_shadow.copy_(self.targets[: self._target_shadow.numel()])

    def arguments(self) -> list[list[Tensor]]:
        """What `td3_kernel.update` takes for this stack's networks."""

        def compute(flat: Tensor, shadow: Tensor) -> list[Tensor]:
            hidden = self.blocks(shadow)
            return hidden + self.blocks(flat)[len(hidden) :]

        return [
            compute(self.parameters, self._shadow),
            compute(self.targets, self._target_shadow),
            self.blocks(self.gradient),
            [self.parameters, self.targets, self._shadow, self._target_shadow],
        ]

    def adam_arguments(self) -> list[list[Tensor]]:
        """What `td3_kernel.adam` takes for this stack."""
        moments = [self.first_moment], [self.second_moment]
        return [[self.parameters], [self.gradient], *moments, [], [self.steps]]

    def bind_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Let `optimizer` (SB3's Adam) show our moments as its own, after taking over any that it has."""
        moments = {"exp_avg": self.first_moment, "exp_avg_sq": self.second_moment}
        members = self._members(self._layers)
        for name, flat in moments.items():
            for block, parameters in zip(self.blocks(flat), members, strict=True):
                for row, parameter in zip(block, parameters, strict=True):
                    state = optimizer.state[parameter]
                    if name in state:
                        row.view(parameter.shape).copy_(state[name])
                        self.steps.copy_(state["step"])
                    state[name] = row.view(parameter.shape)
        self.count_steps(optimizer)

    def count_steps(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the step counts that `optimizer` shows up to date: one tensor each, for Adam counts in place."""
        for block in self._members(self._layers):
            for parameter in block:
                optimizer.state[parameter]["step"] = self.steps.clone()

    def state(self) -> dict[str, Tensor]:
        """Everything to save."""
        return {
            "parameters": self.parameters,
            "targets": self.targets,
            "first_moment": self.first_moment,
            "second_moment": self.second_moment,
            "steps": self.steps,
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state()`.

        Raises:
            WeightsError: A tensor is missing or of another shape.
        """
        for name, tensor in self.state().items():
            if name not in state or state[name].shape != tensor.shape:
                found = tuple(state[name].shape) if name in state else "nothing"
                raise WeightsError(f"checkpoint tensor {name!r}: expected shape {tuple(tensor.shape)}, found {found}.")
            tensor.copy_(state[name])
        self.refresh()


class FastTD3(TD3):
    """TD3 whose update batches both critics, uses fused Adam and flat polyak averaging, and needs no autograd.

    `save` writes an ordinary Stable-Baselines3 zip, which `TD3.load` reads. Batches, noise and numbers are those
    of `TD3.train` (in float32, to rounding). Two hidden layers with ReLU; no batch normalisation; CPU.

    Paper: Fujimoto et al. (2018). Code: Stable-Baselines3's TD3, which this extends.
    """

    precision: Precision = "float32"
    two_threads: bool = False
    _critics: FlatStack
    _actors: FlatStack

    def __init__(self, *args: Any, precision: Precision = "float32", two_threads: bool = False, **kwargs: Any) -> None:
        """Build the model.

        Args:
            *args: As for `stable_baselines3.TD3`.
            precision: Precision of the hidden layers' matrix products.
            two_threads: Use a second thread (see `td3_kernel.updates_on_two`); no number depends on it.
            **kwargs: As for `stable_baselines3.TD3`.
        """
        self.precision, self.two_threads = precision, two_threads
        super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()
        self._dtype = resolve_precision(self.precision)
        self._critics = FlatStack(list(self.critic.q_networks), list(self.critic_target.q_networks), self._dtype)
        self._actors = FlatStack([self.actor.mu], [self.actor_target.mu], self._dtype)
        self._updates = compiled(td3_kernel.updates_on_two if self.two_threads else td3_kernel.updates)
        self._bind()

    def _bind(self) -> None:
        """Share moments with SB3's optimisers, and fix the kernel's arguments."""
        self._critics.bind_optimizer(self.critic.optimizer)
        self._actors.bind_optimizer(self.actor.optimizer)
        self._critics.refresh()
        self._actors.refresh()
        critics, actors = self._critics, self._actors
        self._networks = (critics.arguments(), critics.adam_arguments(), actors.arguments(), actors.adam_arguments())

    def set_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Load parameters as Stable-Baselines3 does, into the flat memory."""
        super().set_parameters(*args, **kwargs)
        self._bind()

    def get_parameters(self) -> dict[str, dict[str, object]]:
        """Parameters as Stable-Baselines3 gives them."""
        self._critics.count_steps(self.critic.optimizer)
        self._actors.count_steps(self.actor.optimizer)
        return super().get_parameters()

    def _excluded_save_params(self) -> list[str]:
        own = ["_critics", "_actors", "_updates", "_networks", "_dtype", "two_threads"]
        return super()._excluded_save_params() + own

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the hidden layers' matrix products."""
        return self._dtype

    def learn_from(self, batches: list[list[Tensor]]) -> Tensor:
        """One update per batch (see `td3_kernel.critic_step`); returns critic and actor losses [batches, 2].

        The actor loss is 0 when an update leaves the actor alone (`policy_delay`).
        """
        rate = float(self.lr_schedule(self._current_progress_remaining))
        done = self._n_updates
        self._n_updates += len(batches)
        return self._updates(*self._networks, batches, rate, self.tau, done, self.policy_delay, self._dtype)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """As `TD3.train`, on Stable-Baselines3's own replay buffer."""
        self.policy.set_training_mode(True)
        losses: list[Tensor] = []
        for _ in range(gradient_steps):
            data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)  # type: ignore[union-attr]
            noise = data.actions.clone().normal_(0, self.target_policy_noise)
            noise.clamp_(-self.target_noise_clip, self.target_noise_clip)
            discounts = data.discounts if data.discounts is not None else torch.full_like(data.rewards, self.gamma)
            discounts = ((1 - data.dones) * discounts).flatten()
            batch = [data.observations, data.actions, data.rewards.flatten(), discounts, data.next_observations, noise]
            losses.append(self.learn_from([batch]))
        critic_loss, actor_loss = torch.cat(losses).mean(0).tolist()
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/critic_loss", critic_loss)
        self.logger.record("train/actor_loss", actor_loss * self.policy_delay)

    def learner_state(self) -> dict[str, Tensor]:
        """Networks, targets and optimisers as flat tensors (no code inside: fit for safetensors)."""
        stacks = {"critic": self._critics, "actor": self._actors}
        return {f"{name}.{key}": value for name, stack in stacks.items() for key, value in stack.state().items()}

    def load_learner_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore `learner_state()`.

        Raises:
            WeightsError: It belongs to another architecture.
        """
        for name, stack in {"critic": self._critics, "actor": self._actors}.items():
            prefix = f"{name}."
            stack.load({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
