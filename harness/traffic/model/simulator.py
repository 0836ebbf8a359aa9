"""The learned model as a `SceneSimulator`, for the commands that compare simulators."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.traffic.model.rules import RULES
from harness.traffic.model.smart import SmartModel
from harness.traffic.rollouts import SimulatedScene
from harness.traffic.sampling import Sampling
from scenarios.scenario import Scenario


class SmartSimulator:
    """SMART roll-outs.

    Args:
        weights: File of `train_traffic`; None for the shipped model.
        device: Where it computes.
        top_k: See `k` of `Sampling`.
        rule: Which of `choices` roll-outs is kept: `likelihood` or `overlaps` (see `harness.traffic.model.rules`).
        shield: Whether tokens (or components of a mixture) that lead into others or off the road are taken out before
            one is drawn; see `harness.traffic.shield`.
        sampling: Other fields of `Sampling`: method, temperature, continuity, choices.

    Raises:
        WeightsError: The file cannot be used.
        ConfigError: Unknown or bad sampling options, or Warm-K with weights whose head makes no tokens.
    """

    name = "smart"

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "cpu",
        top_k: int | None = None,
        rule: str = "likelihood",
        shield: bool = False,
        **sampling: Any,
    ) -> None:
        if top_k is not None:
            sampling["k"] = top_k
        known = [item.name for item in fields(Sampling)]
        if not set(sampling) <= set(known) or rule not in RULES:
            raise ConfigError(
                f"smart: options are {', '.join(known)}, top_k, device, shield and rule ({', '.join(RULES)}); found "
                f"{', '.join([*sampling, rule])}."
            )
        self.model = SmartModel.load(weights, sampling=Sampling(**sampling), device=device)
        self.model.rule, self.model.shielded = RULES[rule], shield
        if self.model.network.mixture is not None and self.model.sampling.method != "top_k":
            raise ConfigError(
                f"smart: method={self.model.sampling.method} chooses among tokens, and these weights are of an ego "
                "policy (GMM head); give method=top_k."
            )

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Roll the scene out; see `SmartModel.simulate`."""
        return self.model.simulate(scenario, rollouts, seed)
