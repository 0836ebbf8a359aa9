"""Hand-made roll-outs and networks whose answers are known."""

import numpy as np
import torch

from adversaries.seal.rollouts import Rollouts
from adversaries.seal.weights import SealModel
from tests.unit.adversaries.fakes import line


def rollouts(contact=(40, -1), offset=0.0) -> Rollouts:
    """Two candidates ahead of an ego that drives along x at 10 m/s; against the first it brakes from step 30 on."""
    ego = line(offset, 0.0, 0.0, 10.0)
    opponent = np.stack([line(offset + 20.0, 0.0, 0.0, 6.0), line(offset + 40.0, 3.5, 0.0, 14.0)])
    induced = np.stack([ego, ego])
    slow = np.maximum(10.0 - 0.5 * np.arange(61), 0.0)
    induced[0, 30:, 3] = slow
    induced[0, 31:, 0] = induced[0, 30, 0] + np.cumsum(0.05 * (slow[1:] + slow[:-1]))
    valid = np.ones((2, 91), bool)
    for k, step in enumerate(contact):
        if step >= 0:
            valid[k, step + 1 :] = False
    return Rollouts(
        ego=ego,
        ego_valid=np.ones(91, bool),
        opponent=opponent,
        opponent_valid=np.ones(91, bool),
        induced=induced,
        induced_valid=valid,
        contact=np.array(contact, dtype=np.int64),
        ego_size=np.array([4.5, 2.0]),
        opponent_size=np.array([4.5, 2.0]),
        dt=np.array(0.1),
    )


def model(seed: int = 0) -> SealModel:
    """Untrained, but always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = SealModel()
    return made.load_tensors(made.tensors())
