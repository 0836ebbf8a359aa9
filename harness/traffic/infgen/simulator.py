"""The InfGen-like model as a `SceneSimulator`, for the commands that compare simulators over 8 s."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.traffic.infgen.decoding import InfGenOptions
from harness.traffic.infgen.model import InfGenModel
from harness.traffic.open.policy import options_of
from harness.traffic.rollouts import SimulatedScene
from harness.traffic.sampling import Sampling
from scenarios.scenario import Scenario


class InfGenSimulator:
    """8 s roll-outs as in the sim agents challenge, many at once: everybody of step 10 stays, and nobody enters.

    They are SMART's, by this model's scene encoder and motion head.

    Args:
        weights: File of `train_traffic --stage infgen`.
        device: Where it computes.
        options: Fields of `InfGenOptions`. Those of motion count: `top_k` and `temperature`.

    Raises:
        WeightsError: No file is given, or it cannot be used.
        ConfigError: Bad options.
    """

    name = "infgen"

    def __init__(self, weights: str | Path | None = None, *, device: str = "cpu", **options: Any) -> None:
        chosen = options_of(self.name, InfGenOptions, options)
        sampling = Sampling(k=chosen.top_k, temperature=chosen.temperature)
        self.model = InfGenModel.load(weights, sampling=sampling, device=device)

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Roll the scene out; see `SmartModel.simulate`."""
        return self.model.simulate(scenario, rollouts, seed)
