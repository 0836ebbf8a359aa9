"""Constants of the rule-based expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ego_policies.rule_expert.pid import Gains
from harness.errors import ConfigError

LATERAL: Final = Gains(1.25, 0.75, 0.3)
LONGITUDINAL: Final = Gains(5.0, 0.5, 1.0)
CRUISES: Final = ("flow", "constant", "log")


@dataclass(frozen=True, slots=True)
class RuleExpertConfig:
    """Constants of the driver; those of SAGE's published expert unless a field says otherwise."""

    lateral: Gains = LATERAL
    """Gains from the angle (rad) to a way point ahead, to steering."""
    longitudinal: Gains = LONGITUDINAL
    """Gains from the speed error (m/s) to five times the pedal."""
    window: int = 40
    """Samples that the integrals remember."""
    lookahead_time: float = 0.3
    """Distance of the way point over speed, s."""
    min_lookahead: float = 2.0
    """Nearest way point, m."""
    max_lookahead: float = 15.0
    """Farthest way point, m."""
    cruise: Literal["flow", "constant", "log"] = "flow"
    """Speed on a straight road. `flow` (published): the 75th percentile of the speeds of the moving agents within
    `flow_radius` of the ego and `flow_width` of the route, within `flow_limits`; `free_speed` where there are none.
    `constant`: `target_speed`. `log`: the highest speed of the ego's own log."""
    target_speed: float = 10.0
    """Standard target speed, m/s."""
    intersection_speed: float = 5.0
    """Target speed in bends (the published code's sign of an intersection), m/s, unless traffic flows there."""
    free_speed: float = 15.0
    """Target speed without traffic, m/s."""
    flow_radius: float = 20.0
    """Vehicles farther away do not count as flow, m."""
    flow_width: float = 7.8
    """Vehicles farther from the route do not count as flow, m (1.2 lane widths of the published reference lane)."""
    flow_limits: tuple[float, float] = (5.0, 25.0)
    """Slowest and fastest speed that flow may ask for, m/s."""
    bend: float = 0.1734
    """Turn between two successive 2 m chords of the route that counts as an intersection, rad (cosine 0.985)."""
    cornering: float = 4.0
    """Lateral acceleration that targets keep to in coming curves, m/s² (ours: published targets leave the road)."""
    horizon: float = 2.0
    """Length of the forecast, s."""
    intersection_horizon: float = 4.0
    """Length of the forecast in bends, s."""
    margin_ahead: float = 1.0
    """Room kept before the ego's box, m, growing from 0 over the first second of the forecast (ours; published 0: who
    knows the future exactly would follow at a hand's breadth, and the simulated bodies are up to 0.3 m longer)."""
    margin_beside: float = 0.3
    """Room kept on either side of the ego's box, m (ours; published 0)."""
    slower: tuple[float, ...] = (0.75, 0.5, 0.25, 0.0)
    """Shares of the target speed tried in turn when it leads to a collision (ours; published: only 0)."""
    faster: tuple[float, ...] = (1.25, 1.5, 2.0)
    """Shares tried when slowing down does not help, as before somebody closing in from behind (published: one such
    target, at least 15 m/s)."""
    min_escape: float = 5.0
    """Target speed that `faster` multiplies at least, m/s: an ego that crawls could not get away otherwise (ours)."""

    def __post_init__(self) -> None:
        """Reject values that cannot work."""
        positive = ("window", "min_lookahead", "target_speed", "free_speed", "bend", "cornering", "horizon")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"RuleExpertConfig.{name} must be positive, got {getattr(self, name)}.")
        if self.cruise not in CRUISES:
            raise ConfigError(f"RuleExpertConfig.cruise must be one of {', '.join(CRUISES)}, got {self.cruise!r}.")
        if self.intersection_horizon < self.horizon:
            raise ConfigError("RuleExpertConfig.intersection_horizon must not be shorter than horizon.")
