"""Traffic flow: how many agents enter and leave every half second, where, and how alike that is to the log.

An agent is *there* while it is valid and within `RADIUS` of the observer. It enters where it is there at one decision
and was not at the one before, whatever the reason: it drove in, or appeared. It leaves the other way round.

RosettaSim (appendix E.2 and H) compares windows of 8 s with the log of a whole data set in bins two agents wide.
These bins cannot tell models apart: nobody and one agent are the same. So bins of one stand beside them, and beside
the mean over windows, in which 16 draws from the very log are not the log either, all windows together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.metrics.longterm.distributions import Counts, Floats, counts_per_step, js_score, likelihood, masses
from harness.metrics.longterm.windows import WINDOW, Starts, over_windows
from harness.metrics.wosac.config import Histogram

Bools = NDArray[np.bool_]

RADIUS: Final = 75.0
"""Who is farther from the observer than this is not there, m (InfGen, RosettaSim)."""
DECISION: Final = 5
"""Steps between two decisions of who enters and leaves, 0.5 s."""
PAPER: Final = Histogram(0.0, 10.0, 5)
"""Numbers of agents per decision, in the bins of RosettaSim's algorithm 2: two wide."""
ONES: Final = Histogram(0.0, 10.0, 10)
"""The same with bins of one; nine and more are one bin."""
DISTANCES: Final = Histogram(0.0, RADIUS, 10)
"""Distances from the observer, m (InfGen)."""
FLOW: Final = ("enter", "exit")
"""What the realism of the traffic flow is the mean of."""
FLOW_FEATURES: Final = (
    "enter",
    "exit",
    "enter_by_ones",
    "exit_by_ones",
    "enter_distance",
    "exit_distance",
)
"""Every score of the traffic flow: #enter and #exit in the paper's bins and in bins of one, D_enter and D_exit."""


@dataclass(frozen=True, slots=True, eq=False)
class FlowEvents:
    """Who comes and goes, by half seconds. N of them; number n leads from decision n to decision n + 1.

    Attributes:
        enter, exit: Number of agents [N].
        enter_distance, exit_distance: How many of them at which distance [N, bins of `DISTANCES`]: where they are
            there first, and where they were there last.
        present: Number of agents at the end of each half second [N].
    """

    enter: Counts
    exit: Counts
    enter_distance: Counts
    exit_distance: Counts
    present: Counts

    def since(self, decision: int) -> FlowEvents:
        """What happens after a decision."""
        parts = (self.enter, self.exit, self.enter_distance, self.exit_distance, self.present)
        return FlowEvents(*(part[decision:] for part in parts))

    def histograms(self) -> dict[str, Counts]:
        """Counts [N, bins] of every score in `FLOW_FEATURES`."""
        return {
            "enter": _one_hot(self.enter, PAPER),
            "exit": _one_hot(self.exit, PAPER),
            "enter_by_ones": _one_hot(self.enter, ONES),
            "exit_by_ones": _one_hot(self.exit, ONES),
            "enter_distance": self.enter_distance,
            "exit_distance": self.exit_distance,
        }


def flow_events(distance: Floats, valid: Bools, *, radius: float = RADIUS, every: int = DECISION) -> FlowEvents:
    """Who comes and goes in a log or a roll-out.

    Args:
        distance: [A, T] from the observer, m; anything where invalid.
        valid: [A, T]; without the observer's own row. A gap in a track counts as leaving and entering: fill those of
            logs, whose sensors blink.
        radius: Who is farther away is not there, m; infinite where an area is observed as a whole.
        every: Steps between decisions; steps 0, `every`, 2 `every` … are looked at.

    Raises:
        ConfigError: Shapes differ, or there are fewer than two decisions.
    """
    if distance.shape != valid.shape or valid.ndim != 2 or valid.shape[1] <= every:
        raise ConfigError(
            f"flow: distances {distance.shape} and validity {valid.shape}; expected [agents, steps] of both, with more "
            f"than {every} steps."
        )
    away = np.where(valid, distance, np.inf)[:, ::every]
    there = away < radius
    before, after = there[:, :-1], there[:, 1:]
    entered, left = after & ~before, before & ~after
    return FlowEvents(
        enter=entered.sum(0).astype(np.int64),
        exit=left.sum(0).astype(np.int64),
        enter_distance=counts_per_step(away[:, 1:], entered, DISTANCES),
        exit_distance=counts_per_step(away[:, :-1], left, DISTANCES),
        present=after.sum(0).astype(np.int64),
    )


def flow_reference(logs: Iterable[FlowEvents]) -> dict[str, Floats]:
    """Distributions [bins] of every score in `FLOW_FEATURES` over all logs together, smoothed.

    Raises:
        ConfigError: There are no logs.
    """
    found = [log.histograms() for log in logs]
    if not found:
        raise ConfigError("flow: there is no log to compare with.")
    return {name: masses(np.sum([part[name].sum(0) for part in found], 0)) for name in FLOW_FEATURES}


def flow_scores(
    events: FlowEvents, reference: Mapping[str, Floats], starts: Starts, length: int = WINDOW
) -> dict[str, Floats]:
    """Scores [W] of every window against the log, 0 … 1: RosettaSim, appendix E.2.

    Numbers are compared by the Jensen-Shannon divergence, with 0.1 added to every bin. Distances are scored by the
    geometric mean of the probabilities that the log gives them, which rewards who lets agents in at the border alone
    (appendix F.4): reported, and part of nothing. They are NaN where nobody enters or leaves.

    Args:
        events: A roll-out's.
        reference: The log's, as `flow_reference` gives it, [bins] each, or one per window [W, bins].
        starts: [W] first steps, multiples of `DECISION`.
        length: Steps of a window, a multiple of `DECISION`.

    Raises:
        ConfigError: A window begins or ends between two decisions.
    """
    return window_flow_scores(flow_counts(events, starts, length), reference)


def window_flow_scores(counts: Mapping[str, Counts], reference: Mapping[str, Floats]) -> dict[str, Floats]:
    """As `flow_scores`, from `flow_counts` [W, bins]."""
    scores = {}
    for name, count in counts.items():
        if name.endswith("distance"):
            scores[name] = likelihood(count, reference[name])
        else:
            scores[name] = js_score(masses(count), reference[name])
    return scores


def flow_counts(events: FlowEvents, starts: Starts, length: int = WINDOW) -> dict[str, Counts]:
    """Counts [W, bins] of every score in `FLOW_FEATURES` in each window; arguments and errors as `flow_scores`."""
    if length % DECISION or (starts % DECISION).any():
        raise ConfigError(f"flow: windows must begin and end at decisions, every {DECISION} steps.")
    return {
        name: over_windows(count, starts // DECISION, length // DECISION) for name, count in events.histograms().items()
    }


def pooled_flow(events: Iterable[FlowEvents], reference: Mapping[str, Floats]) -> dict[str, float]:
    """Scores of all half seconds of all scenes together, 0 … 1: that of the log itself is exactly 1.

    This is what says whether a model lets as many come and go as there are, and where, without the noise of short
    windows. It does not see when. Distances are compared by their distributions, too: NaN where nobody came or went.
    """
    found = [part.histograms() for part in events]
    result = {}
    for name in FLOW_FEATURES:
        count = np.sum([part[name].sum(0) for part in found], 0)
        result[name] = float(js_score(masses(count), reference[name])) if count.sum() else float("nan")
    return result


def _one_hot(numbers: Counts, histogram: Histogram) -> Counts:
    """[N, bins]: 1 in the bin of each number."""
    return counts_per_step(numbers[None].astype(np.float64), np.ones((1, len(numbers)), bool), histogram)
