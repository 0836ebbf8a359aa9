"""Who watches traffic: as it is named on a command line, and as traffic is told."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from harness.errors import ConfigError
from harness.interfaces import Floats, TrafficPolicy

Observer = Literal["ego", "middle"]
"""The ego, or somebody fixed in the middle of what was recorded, who looks along the world's +x."""


def check_observer(trained: Observer | None, observer: Observer, what: str, remedy: str) -> None:
    """Refuse to look at traffic from elsewhere than where its model has learnt to look from.

    Args:
        trained: Around whom it was trained; None where that is not known, as of files of before it was stored.
        observer: Around whom it is used.
        what: Whose model, for the message.
        remedy: What else can be done than to train it otherwise, as the end of a sentence.

    Raises:
        ConfigError: They are not the same.
    """
    if trained is None or trained == observer:
        return
    seen = {"ego": "the ego", "middle": "a fixed observer in the middle of each scene"}
    raise ConfigError(
        f"{what}: it was trained around {seen[trained]} (--options.observer {trained}), and here {seen[observer]} "
        f"watches. Train it with --options.observer {observer}, or {remedy}."
    )


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
