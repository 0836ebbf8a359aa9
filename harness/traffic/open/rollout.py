"""Roll-outs that agents enter and leave: rows are used by one after another, and only who is there is encoded."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.network import MapFeatures
from harness.traffic.model.rollout import Rollout, contour_distance, remembered
from harness.traffic.open.network import UNKNOWN_MOTION, NewcomerNetwork
from harness.traffic.tokens.shapes import box_corners_torch, half_diagonals


class OpenRollout(Rollout):
    """One world whose agents come and go.

    Args:
        network: In evaluation mode.
        maps: Encoded maps.
        start: A rows, with at least one token of history.
    """

    network: NewcomerNetwork

    def __init__(self, network: NewcomerNetwork, maps: MapFeatures, start: AgentBatch) -> None:
        super().__init__(network, maps, start)
        self._entered = torch.zeros_like(self.valid)

    def enter(self, row: int, kind: int, size: Tensor) -> None:
        """Somebody of a kind and size [3] (m) enters in a row: what the row remembers is forgotten."""
        self.kinds[0, row], self.sizes[0, row] = kind, size
        self._known[row] = False
        self._entered[0, row] = True

    def arrive(self, who: Tensor) -> None:
        """Some of the rows [A] will be there next without a motion that has led them there."""
        self._entered[0] |= who

    def follow(self, token: Tensor, motion: Tensor, pose: Tensor, valid: Tensor) -> None:
        """Go on with everything given; who has just come has come by no motion. See `Rollout.follow`."""
        token = torch.where(self._entered, UNKNOWN_MOTION, token)
        motion = motion * ~self._entered[..., None]
        self._entered = torch.zeros_like(valid)
        super().follow(token, motion, pose, valid)

    def _nearest(self, motion: Tensor, valid: Tensor) -> Tensor:
        """Tokens nearest to motions, of those who are there; see `Rollout`."""
        kinds, token = self.kinds[valid], torch.zeros_like(self.token)
        corners = box_corners_torch(motion[valid], half_diagonals(kinds))
        token[valid] = contour_distance(self._corners[kinds], corners).argmin(-1)
        return token

    @torch.no_grad()
    def _encode(self) -> Tensor:
        """Features [A, hidden] of the present moment, zero where nobody is; remembers keys and values."""
        network, rows = self.network, self.valid[0].nonzero()[:, 0]
        pose, motion = self.pose[0, rows], self.motion[0, rows]
        features = self.pose.new_zeros(self.agents, network.config.hidden)
        keys = [torch.cat([torch.zeros_like(kept[:, :1]), kept[:, :-1]], 1) for kept in self._keys]
        if len(rows):
            x = network.embed(self.token[0, rows], motion, self.kinds[0, rows], self.sizes[0, rows], self._table)
            # As in training: who comes back remembers nothing of before it was gone.
            past = remembered(self._poses[rows], self._known[rows].cumprod(1).bool(), pose, network)
            place = network.place_edges(pose, motion, self.scene.expand(len(rows)), self.maps.batch)
            there = torch.ones_like(rows, dtype=torch.bool)[None]
            others = network.agent_edges(pose[None], motion[None], there, torch.arange(len(rows))[None].to(rows))
            for number, (layer, known) in enumerate(zip(network.decoder, self.maps.keys, strict=True)):
                keys[number][rows, 0] = layer.past.keys(x)
                x = layer.past(x, self._keys[number][rows].flatten(0, 1), past)
                x = layer.map(x, known, place)
                x = layer.agents(x, layer.agents.keys(x), others)
            features[rows] = x
        self._keys = keys
        self._poses = torch.cat([self.pose[0, :, None], self._poses[:, :-1]], 1)
        self._known = torch.cat([self.valid[0, :, None], self._known[:, :-1]], 1)
        return features
