"""A picture of one attack: road, ego, candidates (faint), the plan (bold) and the boxes at the first contact."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from harness.drawing.axes import explain, scene_figure
from harness.drawing.canvas import Extent, colour_of, draw_box, pieces
from harness.drawing.figure import save_figure
from harness.drawing.palette import LIGHT
from harness.errors import AdversaryError
from harness.interfaces import AttackPlan, Trajectory
from scenarios.scenario import CURRENT_STEP, Scenario

REACH: Final = 30.0
"""What is driven further from the place of the contact need not be in the picture, m."""
AFTER: Final = 10
"""Steps after the contact that are in the picture."""


def draw_attack(
    scenario: Scenario,
    plan: AttackPlan | None,
    ego: Trajectory,
    path: Path,
    *,
    contact_step: int = -1,
    title: str = "",
) -> Path:
    """Draw one attack around its contact, or where the two come nearest, to a PNG file (written beside, then renamed).

    Args:
        scenario: The scene; its opponent is drawn.
        plan: The attack, or None for the logged opponent.
        ego: What the ego does.
        path: Where to write.
        contact_step: Step whose boxes are drawn, or -1 for the step at which ego and opponent come nearest.
        title: Heading of the picture.

    Raises:
        AdversaryError: The scene has no opponent.
        RunError: The picture cannot be written.
    """
    if scenario.opponent is None:
        raise AdversaryError(f"scenario {scenario.id}: no opponent, so there is no attack to draw.")
    own = Trajectory(scenario.states(scenario.opponent), scenario.valid[scenario.opponent])
    attack = own if plan is None else Trajectory(plan.states, plan.valid)
    step = contact_step if contact_step >= 0 else _nearest(ego, attack)
    when = f"contact at step {step}" if contact_step >= 0 else f"no contact, nearest at step {step}"
    window = _window(ego, attack, step)
    figure, canvas = scene_figure(scenario, window, f"{title or scenario.id}: {when}")
    candidates = plan is not None and plan.candidates is not None
    if plan is not None and plan.candidates is not None:
        last = int(np.flatnonzero(plan.valid)[-1])
        canvas.lines(list(plan.candidates[:, CURRENT_STEP : last + 1, :2]), LIGHT.candidate, 0.12, alpha=0.35)
    canvas.lines(pieces(ego.states, ego.valid), LIGHT.ego, 0.4)
    canvas.lines(pieces(attack.states, attack.valid), LIGHT.opponent, 0.4)
    # Over the attack, with which it shares its first second and often more.
    canvas.lines(pieces(own.states, own.valid), LIGHT.log, 0.2, style=":")
    present = np.flatnonzero(scenario.valid[:, step]).tolist() if step < scenario.num_steps else []
    others = [agent for agent in present if agent not in (scenario.ego, scenario.opponent)]
    for agent in others:
        draw_box(canvas, scenario.states(agent)[step], scenario.box(agent), colour_of(scenario, agent), 0.7)
    draw_box(canvas, ego.states[step], scenario.box(scenario.ego), LIGHT.ego, 0.85)
    draw_box(canvas, attack.states[step], scenario.box(scenario.opponent), LIGHT.opponent, 0.85)
    entries = [("ego", LIGHT.ego, "-"), ("opponent, attack", LIGHT.opponent, "-")]
    entries += [("opponent, recorded", LIGHT.log, ":")]
    entries += [("candidates", LIGHT.candidate, "-")] if candidates else []
    explain(canvas, entries, scenario, others, step)
    return save_figure(figure, path)


def _nearest(ego: Trajectory, attack: Trajectory) -> int:
    """Step since the attack at which the centres are nearest, or the last one at which both are there."""
    both = np.flatnonzero(ego.valid & attack.valid)
    rows = both[both >= CURRENT_STEP] if (both >= CURRENT_STEP).any() else both[-1:]
    return int(rows[np.hypot(*(ego.states[rows, :2] - attack.states[rows, :2]).T).argmin()])


def _window(ego: Trajectory, attack: Trajectory, step: int) -> Extent:
    """What each drives near its place at a step, from the current step to a second later: cars are large enough."""
    rows = slice(min(CURRENT_STEP, step), step + AFTER + 1)
    shown = []
    for track in (ego, attack):
        driven = track.states[rows][track.valid[rows], :2]
        shown.append(driven[np.hypot(*(driven - track.states[step, :2]).T) <= REACH])
    return Extent.around(np.concatenate(shown))
