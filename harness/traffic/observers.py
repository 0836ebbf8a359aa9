"""Who watches traffic: as it is named on a command line, and as traffic is told."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from harness.interfaces import Floats, TrafficPolicy

Observer = Literal["ego", "middle"]
"""The ego, or somebody fixed in the middle of what was recorded, who looks along the world's +x."""


@runtime_checkable
class WatchedTraffic(TrafficPolicy, Protocol):
    """A `TrafficPolicy` whose traffic is that around an observer, optional beside it: nobody is there out of its sight.

    Until it is told otherwise the observer is the ego.
    """

    def watch(self, observer: Floats | None, area: Floats | None) -> None:
        """Say who watches, from the next episode on.

        Args:
            observer: [3] x, y (m), heading (rad) of a fixed observer, world frame; None for the ego.
            area: [P, 2] polygon of what it sees within its 75 m, m, world frame; None for all of that.
        """
        ...
