"""The scenes that are measured on."""

from __future__ import annotations

import numpy as np

from harness.errors import ConfigError
from scenarios.scenario import Scenario, ScenarioSource


def spread(source: ScenarioSource, count: int) -> list[Scenario]:
    """`count` scenes spread evenly over the source (all, if it has fewer).

    Raises:
        ConfigError: The source is empty.
    """
    if len(source) == 0:
        raise ConfigError("there are no scenes to measure on")
    places = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int))
    return [source[int(place)] for place in places]
