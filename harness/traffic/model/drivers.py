"""Drivers' conditions in the learned model's roll-outs: whom each driver sees, and which tokens it prefers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.traffic.conditions import Conditions, LaneSpeeds, draw_desires, shift, vehicle_ahead
from harness.traffic.tokens.shapes import TOKEN_STEPS
from harness.traffic.tokens.tokeniser import apply
from scenarios.scenario import Scenario

if TYPE_CHECKING:
    from harness.traffic.model.rollout import Rollout

_TOKEN: Final = TOKEN_STEPS * 0.1
"""Length of a token, s."""
_CANDIDATES: Final = 64
"""Most probable tokens among which the preference is changed; as many as the shield looks at."""
_REACH: Final = 2.0
"""Tokens that differ from the mean speed by more than this (m/s) are preferred no more than those that do by it:
4 m/s², more than conditions ever ask for but in an emergency."""
_STEEPEST: Final = 8.0
"""Largest preference for 1 m/s, nats: what the model rules out stays ruled out."""
_HALVINGS: Final = 16
"""Steps of the search for the preference: its error is below a thousandth nat."""


class DriverPool:
    """Who drives in the roll-outs of one scene.

    Args:
        conditions: How they drive.
        scenario: Gives lanes and speed limits.
        frame: [3] world pose of the frame of the roll-outs.
        seed: Seed of who drives how, and of when they look; the noise of tokens has its own.
    """

    def __init__(self, conditions: Conditions, scenario: Scenario, frame: NDArray[np.float64], seed: int) -> None:
        self.conditions, self.speeds, self.frame = conditions, LaneSpeeds(scenario), frame
        self._rng = np.random.default_rng([seed, 0xD1])

    def drivers(self, worlds: int, agents: int, device: torch.device | str = "cpu") -> Motorists:
        """The next ones, for W worlds of A agents."""
        return Motorists(self, (worlds, agents), self._rng, device)


class Motorists:
    """The drivers of one roll-out of W worlds of A agents; see `DriverPool`.

    Attributes:
        sees: [W, A] who has seen the others at the present decision.
    """

    def __init__(
        self, pool: DriverPool, shape: tuple[int, int], rng: np.random.Generator, device: torch.device | str
    ) -> None:
        self._pool, self._shape, self._rng, self._device = pool, shape, rng, device
        self.desires = draw_desires(pool.conditions, shape, rng)
        self.look()

    def look(self) -> Tensor:
        """Draw who sees the others [W, A] at the next decision: everybody with the probability of its attention."""
        seen = self._rng.random(self._shape) < self._pool.conditions.attention
        self.sees = torch.as_tensor(seen, device=self._device)
        return self.sees

    def prefer(self, rollout: Rollout, logits: Tensor, ends: Tensor) -> Tensor:
        """Logits [W, A, V] by what drivers desire, from the model's for motions that end at `ends` [W, A, V, 3].

        The mean speed of each driver's next motion is shifted by what `harness.traffic.conditions.shift` says, with the
        least change of the distribution that does so: by a preference that is proportional to speed (exponential
        tilting; Csiszár, Annals of Probability 3 (1975) 146). Only vehicles that are there are drivers.
        """
        world = self._pool.frame
        pose = apply(world, rollout.pose.double().cpu().numpy())
        speed = rollout.motion[..., 0].double().cpu().numpy() / _TOKEN
        half, present = (part.cpu().numpy() for part in (rollout.sizes[..., :2].double() / 2, rollout.valid))
        ahead = vehicle_ahead(pose, speed, half, present)
        # Whom it does not see, it does not follow.
        ahead = ahead._replace(gap=np.where(self.sees.cpu().numpy(), ahead.gap, np.inf))
        change = shift(speed, self._pool.speeds.at(pose), ahead, self.desires)
        change = np.where(present & (rollout.kinds.cpu().numpy() == 0), change, 0.0)
        wanted = torch.as_tensor(change * _TOKEN, dtype=logits.dtype, device=logits.device)
        return prefer_speed(logits, ends[..., 0] / _TOKEN, wanted)


def prefer_speed(logits: Tensor, speeds: Tensor, wanted: Tensor) -> Tensor:
    """Logits whose mean speed is another, as far as the likeliest tokens allow.

    Args:
        logits: [..., V].
        speeds: [..., V] speed of each token, m/s.
        wanted: [...] by how much the mean speed is to change, m/s; where it is 0, nothing changes.

    Returns:
        [..., V].
    """
    kept, index = logits.topk(min(_CANDIDATES, logits.shape[-1]), -1)
    speed = speeds.gather(-1, index)
    share = kept.softmax(-1)
    score = (speed - (share * speed).sum(-1, keepdim=True)).clamp(-_REACH, _REACH)
    score = score - (share * score).sum(-1, keepdim=True)
    low, high = torch.full_like(wanted, -_STEEPEST), torch.full_like(wanted, _STEEPEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        mean = ((kept + middle[..., None] * score).softmax(-1) * score).sum(-1)
        low, high = torch.where(mean < wanted, middle, low), torch.where(mean < wanted, high, middle)
    preference = torch.where(wanted == 0, 0.0, (low + high) / 2)
    return logits.scatter_add(-1, index, preference[..., None] * score)
