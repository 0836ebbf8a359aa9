"""`MotionPrior`: load, score, complete, decode."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from adversaries.prior.cache import SceneCache
from adversaries.prior.config import ARCHITECTURE, PriorConfig
from adversaries.prior.decode import Decode, choose
from adversaries.prior.features import Features, extract
from adversaries.prior.kinematics import RollOut
from adversaries.prior.network import Encoding, GoalNetwork, to_batch
from adversaries.prior.roads import RoadsCache
from harness.files import write_bytes
from harness.fitting.identity import fingerprint
from harness.fitting.weights import check_layers, fill, read_tensors
from harness.geometry import from_frame, wrap_angle
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Scenario

Floats = NDArray[np.float64]

SHIPPED: Final = Path(__file__).parent / "weights" / "procedural.safetensors"
"""Weights trained on procedural scenes, part of the package."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What one agent might do. K candidates, best first in the order of the decoding.

    Attributes:
        states: [K, T, 5] x, y, heading, vx, vy by absolute step, world frame: the log up to the current step, the
            model's drivable roll-out for the next 80; later rows repeat the last and are not valid.
        valid: [T] bool.
        log_prob: [K] log-probability of each goal among *all* goals of the agent.
        goals: [K, 2] world frame, m. The roll-out ends there unless the drivable bounds forbid it.
        index: [K] which of the agent's goal candidates each is (for `MotionPrior.log_probs`).
    """

    states: Floats
    valid: NDArray[np.bool_]
    log_prob: Floats
    goals: Floats
    index: NDArray[np.intp]


class MotionPrior:
    """A trained motion prior with caches of maps and features.

    Args:
        network: The model; put into evaluation mode.
        info: What else the weights file says of its making.
        cache_size: How many agents' features to keep (about 0.1 MB each); maps are always kept for the last few scenes.
    """

    def __init__(self, network: GoalNetwork, info: dict[str, object] | None = None, cache_size: int = 64) -> None:
        self.network = network.eval()
        self.config = network.config
        self.info = info or {}
        self._roads = RoadsCache()
        self._features: SceneCache[Features] = SceneCache(cache_size)
        # Walking through the modules takes longer than a whole choice among candidates.
        self._parameters = tuple(self.network.parameters())
        self._identity: tuple[int, str] | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, cache_size: int = 64) -> MotionPrior:
        """Read weights; `None` means the shipped ones.

        Raises:
            WeightsError: Missing file, not safetensors, another architecture, or tensors that do not fit.
        """
        file = SHIPPED if path is None else Path(path)
        missing = (
            "no motion prior weights at {file}. Train some with `python -m harness.train_prior`, "
            "or leave the path out to use the shipped ones."
        )
        tensors, header = read_tensors(file, ("architecture", ARCHITECTURE), missing)
        config = PriorConfig.from_dict(header.get("config", {}), str(file))
        check_layers(str(file), tensors, layers=config.layers)
        network = fill(lambda: GoalNetwork(config), tensors, str(file))
        return cls(cast(GoalNetwork, network), header.get("info"), cache_size)

    def save(self, path: str | os.PathLike[str], info: dict[str, object] | None = None) -> None:
        """Write weights, configuration and `info` (JSON-able) to a safetensors file, all or nothing."""
        header = {
            "architecture": ARCHITECTURE,
            "config": json.dumps(self.config.to_dict()),
            "info": json.dumps(info if info is not None else self.info),
        }
        tensors = {name: value.detach().contiguous() for name, value in self.network.state_dict().items()}
        write_bytes(Path(path), save(tensors, metadata=header))

    @property
    def version(self) -> int:
        """A number that changes whenever the weights do: tensors count their in-place changes."""
        return sum(parameter._version for parameter in self._parameters)

    @property
    def identity(self) -> str:
        """A text that is equal for equal weights and configuration only."""
        version = self.version
        if self._identity is None or self._identity[0] != version:
            self._identity = version, json.dumps([ARCHITECTURE, self.config.to_dict(), fingerprint(self.network)])
        return self._identity[1]

    def features(self, scenario: Scenario, agent: int, step: int = CURRENT_STEP) -> Features:
        """Features of one agent, cached."""
        return self._features.get(
            scenario, (agent, step), lambda: extract(scenario, agent, step, self.config, self._roads)
        )

    @torch.no_grad()
    def candidates(
        self,
        scenario: Scenario,
        agent: int,
        step: int = CURRENT_STEP,
        num: int = 32,
        decode: Decode = "nms",
    ) -> Candidates:
        """`num` possible futures of `agent`, given everything up to `step`; deterministic.

        Args:
            scenario: The scene.
            agent: Index of the agent.
            step: Current step.
            num: How many.
            decode: `nms` (diverse, as CAT) or `topk` (as SAGE).

        Raises:
            AdversaryError: The agent is absent at `step`.
        """
        features = self.features(scenario, agent, step)
        encoding, log_probs = self.score([features])
        scores = log_probs[0].double().numpy()
        index = choose(scores, features.goal_points, features.goal_mask, num, float(features.speed), decode)
        paths = self.network.complete_exactly(encoding, torch.as_tensor(features.goals[index])[None])
        states, valid = world_states(scenario, agent, step, features.pose, paths)
        goals = from_frame(features.goal_points[index].astype(np.float64), features.pose)
        return Candidates(states, valid, scores[index], goals, index)

    def score(self, features: Sequence[Features]) -> tuple[Encoding, torch.Tensor]:
        """Encoding and log-probabilities [B, G] of all goal candidates of B agents; gradients flow."""
        batch = to_batch(list(features))
        return self.network(batch)

    def log_probs(self, features: Sequence[Features], index: NDArray[np.intp]) -> torch.Tensor:
        """Log π [B, K] of given goal candidates (`Candidates.index`, [B, K]); gradients flow.

        A policy and its reference evaluated here on the same indices are compared on the same goals.
        """
        _, log_probs = self.score(features)
        return log_probs.gather(1, torch.as_tensor(index))

    def complete(self, encoding: Encoding, features: Sequence[Features], index: NDArray[np.intp]) -> RollOut:
        """Trajectories [B, K, FUTURE_STEPS] towards goal candidates `index` [B, K], agent frame; gradients flow.

        These are the network's own. `candidates` corrects them to end at their goals (`kinematics.drive_to`).
        """
        goals = torch.stack([torch.as_tensor(f.goals[i]) for f, i in zip(features, index, strict=True)])
        return self.network.complete(encoding, goals)


def world_states(
    scenario: Scenario, agent: int, step: int, pose: Floats, paths: RollOut
) -> tuple[Floats, NDArray[np.bool_]]:
    """Roll-outs [1, K, FUTURE_STEPS] as world states [K, T, 5] by absolute step with validity [T]."""
    points = from_frame(paths.points[0].double().numpy(), pose)
    heading = wrap_angle(paths.heading[0].double().numpy() + pose[2])
    speed = paths.speed[0].double().numpy()
    total = scenario.num_steps
    count = len(points)
    states = np.broadcast_to(scenario.states(agent), (count, total, 5)).copy()
    valid = scenario.valid[agent].copy()
    until = min(total, step + 1 + FUTURE_STEPS)
    future = np.concatenate(
        [points, heading[..., None], np.stack([speed * np.cos(heading), speed * np.sin(heading)], -1)], -1
    )
    states[:, step + 1 : until] = future[:, : until - step - 1]
    valid[step + 1 : until] = True
    states[:, until:] = states[:, until - 1 : until]
    valid[until:] = False
    return states, valid
