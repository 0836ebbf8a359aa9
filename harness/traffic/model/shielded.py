"""The shield over the learned model's roll-outs: its tokens in the order in which they would be drawn."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from harness.traffic.model.rollout import Rollout
from harness.traffic.road_sides import RoadSides
from harness.traffic.rollouts import Interventions
from harness.traffic.sampling import perturbed
from harness.traffic.shield import Crowd, ShieldConfig, choose_safely

_NEVER: Final = 1e4
"""Taken from the logits of tokens that sampling leaves out, nats: they come after all others, the likelier ones first.
"""


class Shield:
    """Chooses the tokens of one scene's roll-outs, and counts what it changes.

    Args:
        road: Edges in the frame of the roll-outs; None where there are none to mind.
        config: Distances and times.
    """

    def __init__(self, road: RoadSides | None, config: ShieldConfig | None = None) -> None:
        self.road, self.config = road, config or ShieldConfig()
        self.interventions = Interventions(0, 0, 0)

    def choose(
        self,
        rollout: Rollout,
        logits: Tensor,
        wanted: Tensor,
        temperature: float,
        generator: torch.Generator,
        decides: Tensor | None = None,
        motions: Tensor | None = None,
    ) -> Tensor:
        """Tokens [W, A]: those that would be drawn without a shield, wherever nothing speaks against them.

        With Gumbel noise the drawn token is the first of an order, and leaving tokens out before drawing takes the
        first that remains: so does the shield.

        Args:
            rollout: Where everybody is.
            logits: [W, A, V] what the model says.
            wanted: The logits that are drawn from, those of tokens that sampling leaves out at minus infinity.
            temperature: See `draw`.
            generator: Source of randomness; the same noise as without a shield.
            decides: [W, A] whose tokens count; by default everybody's who is present.
            motions: [W, A, n·V, TOKEN_STEPS, 3] what may be done instead of tokens, in each agent's frame: n lists of
                V. The later lists come after all of the earlier ones, in the same order.

        Returns:
            [W, A] numbers of tokens, or of motions.
        """
        liked = perturbed(wanted, temperature, generator)
        left_out = liked == -torch.inf
        if left_out.any():
            liked = torch.where(left_out, logits - _NEVER, liked)
        order = liked.topk(min(self.config.candidates, liked.shape[-1]), -1).indices
        crowd = Crowd(
            pose=rollout.pose,
            motion=rollout.motion,
            slowing=rollout.slowing(),
            half=rollout.sizes[..., :2] / 2,
            present=rollout.valid,
            decides=rollout.valid if decides is None else decides,
            sees=rollout.valid if rollout.drivers is None else rollout.drivers.sees,
            drives=rollout.kinds == 0,
        )
        if motions is None:
            motions = rollout.network.motions[rollout.kinds[..., None], order, 1:]
        else:
            size = logits.shape[-1]
            order = torch.cat([order + size * number for number in range(motions.shape[2] // size)], -1)
            motions = motions.gather(2, order[..., None, None].expand(*order.shape, *motions.shape[-2:]))
        choice, done = choose_safely(crowd, motions, self.road, self.config)
        self.interventions = self.interventions.plus(done)
        return order.gather(-1, choice[..., None])[..., 0]
