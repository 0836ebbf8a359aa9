"""What the page needs of an episode: how it ended, its numbers, and the tracks that its scene does not hold already."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.benchmarking.columns import means_something
from harness.episodes.records import UNDISTURBED, Record, Score
from harness.geometry import box_separation
from harness.interfaces import STATE, Episode
from harness.metrics.encounter import contact_place
from harness.report.html.encoding import pack, pack_track
from harness.report.html.scenes import Frame
from harness.traffic.slots import as_played
from scenarios.scenario import CURRENT_STEP, Scenario

Floats = NDArray[np.float64]

OUTCOMES: Final = {
    "success": "attack succeeded",
    "collision": "collision, not counted as a success",
    "quiet": "no collision",
    "failed": "failed to run",
}
"""How an episode ended. `success` follows the protocol of the run; an undisturbed drive has none."""
STRIDE: Final = 4
"""Candidates are drawn with every so manieth step, and their last."""
MOVED: Final = 0.02
"""An agent this far from its log (m) at some step has a track of its own in the episode."""
TIMINGS: Final = "seconds_"


def outcome(episode: Episode, scores: dict[str, Score] | Any, adversary: str) -> str:
    """Key of `OUTCOMES`."""
    if episode.error:
        return "failed"
    if adversary != UNDISTURBED and scores.get("success"):
        return "success"
    return "collision" if episode.crashed else "quiet"


def shown_scores(scores: Any, adversary: str) -> dict[str, Score]:
    """The numbers of an episode of an adversary without its timings, to four decimals."""
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in scores.items()
        if not name.startswith(TIMINGS) and means_something(name, adversary)
    }


def episode_block(scenario: Scenario, record: Record, ego_size: tuple[float, float], frame: Frame) -> dict[str, object]:
    """The tracks of an episode, ready for JSON.

    Returns:
        `end`: last step; `ego`, `opponent`, `plan`: as `pack_track`; `candidates`: `k` lines of `n` points, or None;
        `chosen`: one of them, or None; `takeover`: step or None; `moved`: pairs of agent and track for everybody else
        who left the log; `gone`: agents of the log that are absent; `entered`: kind, size and track of everybody else
        who came; `contact`: as `contact` has it; `size`: the ego's.
    """
    episode = record.episode
    last = int(np.flatnonzero(episode.ego.valid)[-1]) if episode.ego.valid.any() else 0
    own = _track(episode.opponent.states, episode.opponent.valid, frame) if episode.opponent is not None else None
    moved, gone = _others(scenario, episode, frame, last)
    return {
        "end": last,
        "ego": _track(episode.ego.states, episode.ego.valid, frame),
        "opponent": own,
        "plan": None if episode.plan is None else _track(episode.plan.states, episode.plan.valid, frame),
        "candidates": _candidates(episode, frame),
        "chosen": None if episode.plan is None else episode.plan.chosen,
        "takeover": None if episode.plan is None else episode.plan.takeover_step,
        "moved": moved,
        "gone": gone,
        "entered": _entered(episode, frame),
        "contact": contact(scenario, episode, ego_size, record.scores.get("contact_step"), frame),
        "size": [round(value, 2) for value in ego_size],
    }


def contact(
    scenario: Scenario, episode: Episode, ego_size: tuple[float, float], step: Score, frame: Frame
) -> dict[str, object] | None:
    """Where the ego met somebody: the middle of the overlap, or of the gap where an engine contact has none.

    Args:
        scenario, episode: What happened.
        ego_size: Length and width, m.
        step: Step of the contact with the opponent, where the benchmark found one.
        frame: Frame of the page.
    """
    steps = [found for found in (episode.crash_geometry, episode.crash_contact) if found is not None]
    when = int(step) if isinstance(step, int | float) else min(steps, default=-1)
    if not 0 <= when < min(len(episode.ego.valid), episode.agents.shape[1]) or not episode.ego.valid[when]:
        return None
    rows = np.flatnonzero(episode.agents_valid[:, when])
    rows = rows[rows != scenario.ego]
    if isinstance(step, int | float) and scenario.opponent in rows:
        rows = np.array([scenario.opponent])
    if len(rows) == 0:
        return None
    ego = episode.ego.states[when, :3]
    scenario = as_played(scenario, episode.newcomers)
    sizes = np.array([scenario.box(int(row)) for row in rows])
    gaps = box_separation(episode.agents[rows, when, :3], sizes, ego, np.array(ego_size))
    nearest = int(gaps.argmin())
    row = int(rows[nearest])
    x, y = contact_place(ego, ego_size, episode.agents[row, when], sizes[nearest])
    return {
        "step": when,
        "agent": row,
        "x": round(x - float(frame.origin[0]), 2),
        "y": round(y - float(frame.origin[1]), 2),
    }


def places(scenario: Scenario, record: Record) -> Floats:
    """[N, 2] where ego and opponent were or planned to be, m: what the frame of a scene must hold."""
    episode = record.episode
    parts = [episode.ego.states[episode.ego.valid, :2]]
    if episode.opponent is not None:
        parts.append(episode.opponent.states[episode.opponent.valid, :2])
    if episode.plan is not None:
        parts.append(episode.plan.states[episode.plan.valid, :2])
    return np.concatenate(parts)


def _track(states: Floats, valid: NDArray[np.bool_], frame: Frame) -> dict[str, object] | None:
    return pack_track(states, valid, frame.origin)


def _others(
    scenario: Scenario, episode: Episode, frame: Frame, last: int
) -> tuple[list[tuple[int, dict[str, object]]], list[int]]:
    """Those that did not do as logged: their tracks; and those that are missing."""
    steps = min(last + 1, episode.agents.shape[1])
    common = min(steps, scenario.num_steps)
    moved, gone = [], []
    for agent in range(min(scenario.num_agents, len(episode.agents))):
        if agent in (scenario.ego, scenario.opponent):
            continue
        valid, logged = episode.agents_valid[agent, :steps], np.zeros(steps, bool)
        track, log = episode.agents[agent, :steps], np.zeros((steps, STATE))
        logged[:common], log[:common] = scenario.valid[agent, :common], scenario.states(agent)[:common]
        if not valid.any():
            if logged.any():
                gone.append(agent)
            continue
        both = valid & logged
        off = np.hypot(*(track[both, :2] - log[both, :2]).T)
        if (valid != logged).any() or (off.size and off.max() > MOVED):
            packed = pack_track(track, valid & frame.contains(track), frame.origin)
            if packed is None:
                gone.append(agent)
            else:
                moved.append((agent, packed))
    return moved, gone


def _entered(episode: Episode, frame: Frame) -> list[dict[str, object]]:
    """Those who came into the episode, as far as they were in the frame."""
    found: list[dict[str, object]] = []
    for number, (row, kind, size) in enumerate(episode.newcomers):
        track, valid = episode.agents[row], episode.agents_valid[row]
        packed = pack_track(track, valid & frame.contains(track), frame.origin)
        box = [round(size[0], 2), round(size[1], 2)]
        found.append({"id": f"entered {number}", "kind": kind.name.lower(), "size": box, "log": packed})
    return found


def _candidates(episode: Episode, frame: Frame) -> dict[str, object] | None:
    """Every candidate's path from the present on, thinned in time."""
    plan = episode.plan
    if plan is None or plan.candidates is None or len(plan.candidates) == 0:
        return None
    ahead = np.flatnonzero(plan.valid)
    ahead = ahead[ahead >= CURRENT_STEP]
    if len(ahead) < 2:
        return None
    rows = np.unique(np.concatenate([ahead[::STRIDE], ahead[-1:]]))
    rows = rows[rows < plan.candidates.shape[1]]
    lines = plan.candidates[:, rows, :2]
    lines = np.where(lines.any(-1, keepdims=True), lines - frame.origin, np.nan)
    return {"k": len(lines), "n": len(rows), **pack(lines)}
