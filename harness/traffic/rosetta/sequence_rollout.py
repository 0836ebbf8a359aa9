"""Roll-outs of RosettaSim in which everybody stays: one decision of all agents in all worlds at a time.

Paper: RosettaSim, section 6.1 and appendix D.3, the short-term benchmark: nobody enters, and no heuristic is used.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.drivers import Motorists
from harness.traffic.model.network import MapFeatures
from harness.traffic.model.rollout import Rollout, contour_distance
from harness.traffic.open.decisions import nearest_first
from harness.traffic.rosetta.network import RosettaNetwork
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.tokens.shapes import TOKEN_KINDS, box_corners_torch, half_diagonals


class SequenceRollout(Rollout):
    """Worlds of one scene in which everybody stays; cones and other things stay where they are.

    The observer is the ego; where it has no tokens, whoever stands nearest to the origin of the scene's frame.

    Args:
        network: In evaluation mode.
        maps: Encoded maps.
        start: Agents with at least one token of history.
        scene: The scene.
        drivers: How they drive, where not just as the model says.
    """

    network: RosettaNetwork

    def __init__(
        self,
        network: RosettaNetwork,
        maps: MapFeatures,
        start: AgentBatch,
        scene: SceneTokens,
        drivers: Motorists | None = None,
    ) -> None:
        super().__init__(network, maps, start, drivers)
        device = start.pose.device
        place = start.pose[0, :, -1].double().cpu().numpy()
        people = np.flatnonzero(scene.road_user)
        nearest = people[nearest_first(place[people], np.zeros(2))]
        self._observer = int(np.append(np.flatnonzero(scene.ego), nearest)[0]) if len(place) else 0
        self._moves = torch.as_tensor(scene.road_user | scene.ego, device=device)
        kinds = torch.arange(TOKEN_KINDS, device=device)
        still = box_corners_torch(torch.zeros(TOKEN_KINDS, 3, device=device), half_diagonals(kinds))
        self._still = contour_distance(self._corners, still).argmin(-1)

    @torch.no_grad()
    def logits(self, agents: slice = slice(None)) -> Tensor:
        """Next-token logits [W, A, V] of everybody, or of some; of things those of standing still."""
        network, moves = self.network, self._moves & self.valid
        gap = (self.pose[..., :2] - self.pose[:, self._observer, None, :2]).square().sum(-1)
        order = gap.masked_fill(~moves, torch.inf).argsort(dim=-1, stable=True)[:, : int(self._moves.sum())]
        count, present = order.shape[1], moves.gather(1, order)
        features = _rows(self.features.view(self.worlds, self.agents, -1), order)
        x, _ = network.sequence(network.agent_tokens(features), present.repeat(1, 2))
        kinds, motion = self.kinds.gather(1, order).flatten(), _rows(self.motion, order).flatten(0, 1)
        known = torch.ones_like(kinds, dtype=torch.bool)
        found = network.motion_logits(
            x[:, count:].flatten(0, 1), features.flatten(0, 1), kinds, motion, known, self._table
        )
        stays = found.new_full((self.worlds, self.agents, found.shape[-1]), -torch.inf)
        stays.scatter_(2, self._still[self.kinds][..., None], 0.0)
        found = found.view(self.worlds, count, -1)
        return stays.scatter(1, order[..., None].expand_as(found), found)[:, agents]


def _rows(values: Tensor, order: Tensor) -> Tensor:
    """Rows [W, N, …] of values [W, A, F]."""
    return values.gather(1, order[..., None].expand(-1, -1, values.shape[-1]))
