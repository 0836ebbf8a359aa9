"""From a specification to background traffic."""

from __future__ import annotations

from harness import specs
from harness.interfaces import TrafficPolicy


def make_traffic(spec: str) -> TrafficPolicy:
    """Build the policy that moves the background.

    Args:
        spec: A registered name, a name and a weights file (`smart:FILE`), or `module:Class`; options behind a question
            mark, as in `smart:FILE?temperature=0.8&top_k=20`. See `harness.specs`.

    Raises:
        UnknownNameError: No such name.
        ConfigError: It cannot be imported or built, takes no file, or has no such option.
        WeightsError: The file cannot be used.
    """
    policy: TrafficPolicy = specs.build("traffic", spec)
    return policy
