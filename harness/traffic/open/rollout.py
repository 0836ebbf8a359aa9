"""Roll-outs that agents enter and leave: rows are used by one after another."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.network import MapFeatures
from harness.traffic.model.rollout import Rollout
from harness.traffic.open.network import UNKNOWN_MOTION, NewcomerNetwork


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
        # As in training: who comes back remembers nothing of before it was gone.
        self._known &= valid[0, :, None]
