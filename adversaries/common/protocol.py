"""The two readings of the published attacks, `corrected` and `as-published`, and what sets them apart.

Known departures of CAT's public code from its paper or from sound practice, and who repeats them on request:

| published behaviour | repeated by |
|---|---|
| contact checked at every fifth step only | `check.stride` |
| edge against edge: containment and touching boxes missed | `check.edges_only` |
| headings from smoothed finite differences, a standing car points east | `check.headings`, `path_headings` |
| log-probabilities from the seventh candidate on set to the seventh's | `clamp_rank` |
| ego trajectories weigh 1 each, so the score is no probability (same ranking) | `normalise_ego` |
| k counts samples of 0.5 s, so the factor 0.99 is per half second | `check.stride` |
| velocities are forward differences, zero in the last row | `forward_velocity` |
| rule: uniform curve parameter, uncontrolled speed, logged future read | `rule_as_written` |
| rule: ego rows appended one step early, 90 rows instead of 91 | `rule_as_written` |
| rule: attacks in evaluation mode are silently those of `cat` | never: `rule` is always the Bézier curve |
| a late opponent's missing history is read as the point (0, 0) | never: `valid` is honoured |
| plan applied one step late, stale plans survive a reset, an empty plan teleports | never here; see the engine |
| replay ego's contacts are not counted | never; see `harness.metrics` |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.errors import UnknownNameError
from harness.metrics.collision import AS_PUBLISHED, EVERY_STEP, OverlapCheck


@dataclass(frozen=True, slots=True)
class Protocol:
    """Switches for every departure that an adversary can repeat.

    Attributes:
        name: As it appears in tables.
        check: How contact with the ego is judged.
        clamp_rank: Log-probabilities from this rank on (0 is the likeliest) are set to that rank's, or None.
        normalise_ego: Whether the weights of the ego trajectories sum to one.
        path_headings: Whether plan headings are recomputed from positions (CAT's smoothing) instead of the model's.
        forward_velocity: Whether plan velocities are forward differences instead of the model's.
        rule_as_written: Whether `rule` builds its rows exactly as CAT's `adv_generator_rule.py`.
    """

    name: str
    check: OverlapCheck
    clamp_rank: int | None
    normalise_ego: bool
    path_headings: bool
    forward_velocity: bool
    rule_as_written: bool


CORRECTED: Final = Protocol(
    name="corrected",
    check=EVERY_STEP,
    clamp_rank=None,
    normalise_ego=True,
    path_headings=False,
    forward_velocity=False,
    rule_as_written=False,
)
PUBLISHED: Final = Protocol(
    name="as-published",
    check=AS_PUBLISHED,
    clamp_rank=6,
    normalise_ego=False,
    path_headings=True,
    forward_velocity=True,
    rule_as_written=True,
)
PROTOCOLS: Final[dict[str, Protocol]] = {protocol.name: protocol for protocol in (CORRECTED, PUBLISHED)}


def protocol_of(value: str | Protocol) -> Protocol:
    """The protocol of that name (a `Protocol` passes through).

    Raises:
        UnknownNameError: No such protocol.
    """
    if isinstance(value, Protocol):
        return value
    try:
        return PROTOCOLS[value]
    except KeyError:
        raise UnknownNameError("protocol", value, PROTOCOLS) from None
