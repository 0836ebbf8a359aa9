"""Scenes of any rate at the one rate that everything here runs at: 10 Hz.

The simulator, the motion models and the metrics take a step for 0.1 s. A scene that was sampled otherwise would play
too fast or too slowly, so every loader passes its scenes through `resampled`.

Positions follow the cubic Hermite curve through the samples with the recorded velocities as slopes, where those fit
the samples; else straight lines. Moving agents of 30 WOMD scenes, thinned to 5 (2) Hz and brought back, are off by
0.8 (1.1) cm at the median and 12 (19) cm at the 99th percentile; on straight lines by 1.1 (2.8) and 18 (25) cm, and
there the speed jumps at every sample.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from harness.geometry import wrap_angle
from scenarios.bounds import refuse_excess
from scenarios.resampled_format import write_lights, write_metadata, written_form
from scenarios.scenario import DT, Scenario
from scenarios.source_format import FORMAT_KEY, SourceFormat
from scenarios.time_stamps import at_ten_hertz, time_stamps, time_step

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RECORDED_RATE: Final = "recorded_rate"
"""Key in the metadata of a resampled scene: how often it was recorded, as text such as `5 Hz`."""
TEN_HERTZ: Final = "10 Hz"
"""The rate of every scene that a loader gives, as text."""
_RATE: Final = re.compile(r"[0-9.]{1,8} Hz(, uneven)?")
_UNEVEN: Final = 0.15
"""Steps that differ from the typical one by more than this share are uneven."""
_SAME_TIME: Final = 1e-4
"""A step so near to a sample takes its rows as they are, s: 4 mm at 40 m/s, below the precision of any tracker."""
_EDGE: Final = 0.005
"""A track lasts for this much longer than its samples, s, so that a wandering clock costs it no row."""
_MISFIT: Final = (0.5, 0.25)
"""Recorded velocities are slopes of the path only where their mean is within 0.5 m/s plus 25 % of the way travelled."""
_FITS: Final = (0.6, 1.7)
"""Ways travelled by the recorded velocities over those between positions; 5 Hz taken for 10 Hz gives 0.5 or 2."""
_MOVING: Final = 2.0
"""Slower agents tell nothing about time, m/s."""
_ROWS_AT_ONCE: Final = 500_000
"""Agents times steps that are worked on at once: some 200 MB."""
_ENOUGH: Final = 20
"""Samples of moving agents from which time can be told."""


@dataclass(frozen=True)
class Grid:
    """Where the steps of 0.1 s lie among the samples. N = steps.

    Attributes:
        times: Time of each step after the first sample, [N], s.
        stamps: Time of each sample after the first, [T], s.
        left: Sample at or before each step, [N]; never the last.
        weight: How far each step is on its way to the next sample, 0 … 1, [N].
        held: Latest sample at each step, [N].
    """

    times: Floats
    stamps: Floats
    left: NDArray[np.intp]
    weight: Floats
    held: NDArray[np.intp]

    @classmethod
    def of(cls, stamps: Floats) -> Grid:
        """The steps from the first sample to the last; stamps [T] rise, T ≥ 2."""
        times = np.arange(int(np.floor((stamps[-1] + _EDGE) / DT)) + 1, dtype=np.float64) * DT
        left = np.clip(np.searchsorted(stamps, times, "right") - 1, 0, len(stamps) - 2)
        gap = stamps[left + 1] - stamps[left]
        after, before = times - stamps[left], stamps[left + 1] - times
        weight = np.clip(after / gap, 0.0, 1.0)
        weight = np.where(before <= _SAME_TIME, 1.0, np.where(after <= _SAME_TIME, 0.0, weight))
        return cls(times, stamps, left, weight, left + (weight == 1.0))

    def validity(self, valid: Bools) -> tuple[Bools, Bools, Bools]:
        """Which rows [A, N] lie between two valid samples, which take the sample before, which the one after."""
        before, after = valid[:, self.left], valid[:, self.left + 1]
        exact = (self.weight == 0.0) | (self.weight == 1.0)
        near_left = self.times - self.stamps[self.left] <= _EDGE
        near_right = self.stamps[self.left + 1] - self.times <= _EDGE
        between = before & after & ~exact
        return (
            between,
            before & ~between & np.where(exact, self.weight == 0.0, near_left),
            after & ~between & np.where(exact, self.weight == 1.0, near_right),
        )


def resampled(scenario: Scenario) -> Scenario:
    """The scene in steps of 0.1 s from its first sample on; the scene itself where it is so already.

    Positions, velocities, sizes and headings (along the shorter arc) are interpolated at the true time stamps. A step
    is valid only between two valid samples: nothing is invented across gaps, but an agent that was seen once, or for
    less than a step, keeps one row as it was sampled. Lights, and whatever else the file says per sample, hold the
    latest sample. Fields of the file that count samples are rewritten, and the metadata remembers the rate.
    Step 10 stays the current step: 1 s after the first sample, whatever the source calls current.

    Raises:
        ScenarioError: The time stamps are of no use (see `time_stamps.time_stamps`), or contradict the motion.
    """
    stamps = stamps_of(scenario)
    _refuse_contradiction(scenario, stamps)
    if len(stamps) < 2 or at_ten_hertz(stamps):
        return scenario if scenario.dt == DT else replace(scenario, dt=DT)
    grid = Grid.of(stamps)
    refuse_excess(scenario.source or scenario.id, scenario.num_agents, len(grid.times))
    made = _tracks(scenario, grid)
    metadata = write_metadata(scenario, made, grid.held, grid.times)
    metadata[RECORDED_RATE] = _rate_text(stamps)
    form = scenario.extras.get(FORMAT_KEY)
    extras = dict(scenario.extras)
    if isinstance(form, SourceFormat):
        extras[FORMAT_KEY] = written_form(form, grid.held, scenario.num_steps)
    lights = write_lights(scenario.lights, grid.held, scenario.num_steps)
    return replace(made, lights=lights, metadata=metadata, extras=extras)


def stamps_of(scenario: Scenario) -> Floats:
    """Time of every step after the first, [T], s; errors as `time_stamps.time_stamps`."""
    if scenario.metadata.get("ts") is None and scenario.metadata.get("sample_rate") is None:
        return np.arange(scenario.num_steps, dtype=np.float64) * scenario.dt
    return time_stamps(scenario.metadata, scenario.num_steps, scenario.source or scenario.id)


def recorded_rate(scenario: Scenario) -> str:
    """How often the scene was recorded, such as `10 Hz`, `5 Hz` or `2 Hz, uneven`, also after it was resampled."""
    told = scenario.metadata.get(RECORDED_RATE)
    if isinstance(told, str) and _RATE.fullmatch(told):
        return told
    return f"{1 / scenario.dt:.3g} Hz"


def resampling_note(rates: Iterable[str]) -> str:
    """One sentence about the scenes of a source that are resampled, from their recorded rates; empty if none is.

    Example: `12 of 20 scenes were recorded at 5 Hz and are resampled to 10 Hz`.
    """
    counts = Counter(rates)
    total = sum(counts.values())
    del counts[TEN_HERTZ], counts[""]  # No rate: a scene that cannot be read.
    if not counts:
        return ""
    changed = sum(counts.values())
    if len(counts) == 1:
        mean, comma, _ = next(iter(counts)).partition(",")
        if comma:
            what = f"have uneven time stamps ({mean} on average) and are resampled to an even {TEN_HERTZ}"
        else:
            what = f"were recorded at {mean} and are resampled to {TEN_HERTZ}"
        return f"{changed} of {total} scenes {what}"
    parts = [f"{count} at {rate.replace(', uneven', ' on average (uneven)')}" for rate, count in counts.most_common()]
    return f"{changed} of {total} scenes are resampled to {TEN_HERTZ}: recorded were {', '.join(parts)}"


def implied_step(scenario: Scenario) -> float | None:
    """Time between samples by which the agents' velocities lead from position to position, s; None if few move.

    The median over all pairs of valid samples of moving agents.
    """
    pairs = scenario.valid[:, 1:] & scenario.valid[:, :-1]
    with np.errstate(invalid="ignore", over="ignore"):
        way = np.hypot(*np.moveaxis(np.diff(scenario.position[..., :2], axis=1), -1, 0))
        speed = np.hypot(*np.moveaxis(scenario.velocity, -1, 0))
        mean = (speed[:, 1:] + speed[:, :-1]) / 2
        pairs = pairs & (mean > _MOVING) & np.isfinite(way) & np.isfinite(mean)
    return float(np.median(way[pairs] / mean[pairs])) if pairs.sum() >= _ENOUGH else None


def misfit_step(scenario: Scenario, step: float | None = None) -> float | None:
    """`implied_step` where it is far from the scene's own step (or `step`, s); else None."""
    implied = implied_step(scenario)
    fits = implied is None or _FITS[0] <= implied / (step or scenario.dt) <= _FITS[1]
    return None if fits else implied


def _refuse_contradiction(scenario: Scenario, stamps: Floats) -> None:
    """Raise where positions and velocities say that the steps are far shorter or longer than the stamps do."""
    if len(stamps) < 2:
        return
    stamped = not (scenario.metadata.get("ts") is None and scenario.metadata.get("sample_rate") is None)
    step = time_step(stamps)
    implied = misfit_step(scenario, step)
    if implied is not None:
        says = "its time stamps say" if stamped else "without time stamps it counts as"
        raise ScenarioError(
            f"{scenario.source or scenario.id}: metadata: ts: {says} {step:g} s between samples, but the recorded "
            f"velocities lead from position to position in {implied:.2g} s. Expected time stamps in seconds in "
            "metadata['ts'], one per step."
        )


def _tracks(scenario: Scenario, grid: Grid) -> Scenario:
    """The scene with its tracks at the steps of the grid, some agents at a time: intermediate results stay small."""
    agents, steps = scenario.num_agents, len(grid.times)
    made = {
        name: np.empty((agents, steps, *getattr(scenario, name).shape[2:]))
        for name in ("position", "heading", "velocity", "size")
    }
    valid = np.empty((agents, steps), dtype=np.bool_)
    at_once = max(1, _ROWS_AT_ONCE // steps)
    with np.errstate(invalid="ignore", over="ignore"):  # Rows that are not valid hold anything.
        for first in range(0, agents, at_once):
            part = slice(first, first + at_once)
            valid[part] = _part(scenario, part, grid, made)
    agent, sample, row = _glimpses(scenario.valid, valid, grid)
    valid[agent, row] = True
    for name, values in made.items():
        values[agent, row] = getattr(scenario, name)[agent, sample]
    return replace(
        scenario,
        dt=DT,
        valid=valid,
        position=made["position"],
        heading=made["heading"],
        velocity=made["velocity"],
        size=made["size"],
    )


def _part(scenario: Scenario, part: slice, grid: Grid, made: Mapping[str, Floats]) -> Bools:
    """Fill in some agents' rows of the arrays `made` [A, N, …]; return which are valid [a, N]."""
    between, take_left, take_right = grid.validity(scenario.valid[part])
    weight, gap = grid.weight[:, None], np.diff(grid.stamps)[grid.left][:, None]
    low, high = grid.left, grid.left + 1

    def choose(values: Floats, inner: Floats) -> Floats:
        tail = (1,) * (values.ndim - 2)
        right, mid = (mask.reshape(*mask.shape, *tail) for mask in (take_right, between))
        return np.where(mid, inner, np.where(right, values[:, high], values[:, low]))

    def straight(values: Floats) -> Floats:
        return values[:, low] + weight * (values[:, high] - values[:, low])

    position, velocity, heading = scenario.position[part], scenario.velocity[part], scenario.heading[part]
    inner = straight(position)
    inner[..., :2] = _path(position[..., :2], velocity, low, weight, gap, inner[..., :2])
    turn = wrap_angle(heading[:, high] - heading[:, low])
    made["position"][part] = choose(position, inner)
    made["heading"][part] = choose(heading, wrap_angle(heading[:, low] + weight[:, 0] * turn))
    made["velocity"][part] = choose(velocity, straight(velocity))
    made["size"][part] = choose(scenario.size[part], straight(scenario.size[part]))
    return between | take_left | take_right


def _path(place: Floats, velocity: Floats, low: NDArray[np.intp], weight: Floats, gap: Floats, line: Floats) -> Floats:
    """Positions [a, N, 2] on the Hermite curves, m; on the straight `line` where the velocities do not fit it."""
    start, end = place[:, low], place[:, low + 1]
    before, after = velocity[:, low], velocity[:, low + 1]
    w = weight
    curve = (
        (1 + 2 * w) * (1 - w) ** 2 * start
        + w * (1 - w) ** 2 * gap * before
        + w**2 * (3 - 2 * w) * end
        + w**2 * (w - 1) * gap * after
    )
    travelled = (end - start) / gap
    misfit = np.hypot(*np.moveaxis((before + after) / 2 - travelled, -1, 0))
    fits = misfit <= _MISFIT[0] + _MISFIT[1] * np.hypot(*np.moveaxis(travelled, -1, 0))
    return np.where(fits[..., None], curve, line)


def _glimpses(valid: Bools, made: Bools, grid: Grid) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Agent, first sample and nearest step of every stretch of valid samples that no step lies in, each [n]."""
    edges = np.diff(valid.astype(np.int8), axis=1, prepend=0, append=0)
    agent, first = np.nonzero(edges == 1)
    begin, end = grid.stamps[first], grid.stamps[np.nonzero(edges == -1)[1] - 1]
    short = end - begin <= DT + 2 * _EDGE  # A longer one has a step in it.
    agent, first, begin, end = agent[short], first[short], begin[short], end[short]
    last = len(grid.times) - 1
    one, two = (np.clip(row, 0, last).astype(np.intp) for row in (np.ceil((begin - _EDGE) / DT), (end + _EDGE) // DT))
    row = np.clip(np.rint(begin / DT), 0, last).astype(np.intp)
    lost = ~(made[agent, row] | ((one <= two) & (made[agent, one] | made[agent, two])))
    return agent[lost], first[lost], row[lost]


def _rate_text(stamps: Floats) -> str:
    typical = time_step(stamps)
    uneven = bool((np.abs(np.diff(stamps) / typical - 1) > _UNEVEN).any())
    return f"{1 / typical:.3g} Hz" + (", uneven" if uneven else "")
