"""RosettaSim as a `SceneSimulator`, for the commands that compare simulators over 8 s."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.traffic.open.policy import options_of
from harness.traffic.rollouts import SimulatedScene
from harness.traffic.rosetta.decoding import RosettaOptions
from harness.traffic.rosetta.model import RosettaModel
from harness.traffic.sampling import Sampling
from scenarios.scenario import Scenario


class RosettaSimulator:
    """8 s roll-outs as in the sim agents challenge, many at once: everybody of step 10 stays, and nobody enters.

    Paper: RosettaSim, section 6.1 and appendix D.3; it takes `top_k=48` here.

    Args:
        weights: File of `train_traffic --stage rosetta`; None for the one that comes with the package.
        device: Where it computes.
        base: Folder of the sequence model `language`, if the weights were trained with one.
        options: Fields of `RosettaOptions`. Those of motion count: `top_k` and `temperature`. Who enters and who is let
            go is no question here.

    Raises:
        WeightsError: The file cannot be used.
        ConfigError: Bad options.
    """

    name = "rosetta"

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "cpu",
        base: str | Path | None = None,
        **options: Any,
    ) -> None:
        chosen = options_of(self.name, RosettaOptions, options)
        sampling = Sampling(k=chosen.top_k, temperature=chosen.temperature)
        self.model = RosettaModel.load(weights, sampling=sampling, device=device, base=base)

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Roll the scene out; see `SmartModel.simulate`."""
        return self.model.simulate(scenario, rollouts, seed)
