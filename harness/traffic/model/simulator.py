"""The learned model as a `SceneSimulator`, for the commands that compare simulators."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.traffic.conditions import Conditions
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
        options: Other fields of `Sampling` (method, temperature, continuity, choices), and those of `Conditions` (pace,
            gap, attention, spread, gap_spread): how drivers drive.

    Raises:
        WeightsError: The file cannot be used.
        ConfigError: Unknown or bad options, or Warm-K with weights whose head makes no tokens.
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
        **options: Any,
    ) -> None:
        if top_k is not None:
            options["k"] = top_k
        chosen, driven = ([item.name for item in fields(kind)] for kind in (Sampling, Conditions))
        if not set(options) <= {*chosen, *driven} or rule not in RULES:
            raise ConfigError(
                f"smart: options are {', '.join([*chosen, *driven])}, top_k, device, shield and rule "
                f"({', '.join(RULES)}); found {', '.join([*options, rule])}."
            )
        sampling = Sampling(**{name: options.pop(name) for name in chosen if name in options})
        self.model = SmartModel.load(weights, sampling=sampling, device=device)
        self.model.rule, self.model.shielded, self.model.conditions = RULES[rule], shield, Conditions(**options)
        if self.model.network.mixture is not None and sampling.method != "top_k":
            raise ConfigError(
                f"smart: method={sampling.method} chooses among tokens, and these weights are of an ego policy (GMM "
                "head); give method=top_k."
            )

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Roll the scene out; see `SmartModel.simulate`."""
        return self.model.simulate(scenario, rollouts, seed)
