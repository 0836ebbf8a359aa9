"""A picture of one attack: road, ego, candidates (faint), the plan (bold) and the boxes at the first contact."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.drawing.axes import explain, scene_figure
from harness.drawing.canvas import Extent, colour_of, draw_box, pieces
from harness.drawing.figure import save_figure
from harness.drawing.palette import LIGHT
from harness.errors import AdversaryError
from harness.interfaces import AttackPlan, Trajectory
from scenarios.scenario import CURRENT_STEP, Scenario


def draw_attack(
    scenario: Scenario,
    plan: AttackPlan | None,
    ego: Trajectory,
    path: Path,
    *,
    contact_step: int = -1,
    title: str = "",
) -> Path:
    """Draw one attack to a PNG file (written beside, then renamed).

    Args:
        scenario: The scene; its opponent is drawn.
        plan: The attack, or None for the logged opponent.
        ego: What the ego does.
        path: Where to write.
        contact_step: Step whose boxes are drawn, or -1 for the last common step.
        title: Heading of the picture.

    Raises:
        AdversaryError: The scene has no opponent.
        RunError: The picture cannot be written.
    """
    if scenario.opponent is None:
        raise AdversaryError(f"scenario {scenario.id}: no opponent, so there is no attack to draw.")
    own = Trajectory(scenario.states(scenario.opponent), scenario.valid[scenario.opponent])
    attack = own if plan is None else Trajectory(plan.states, plan.valid)
    window = Extent.around(np.concatenate([track.states[track.valid, :2] for track in (ego, attack)]))
    when = f"contact at step {contact_step}" if contact_step >= 0 else "no contact"
    figure, canvas = scene_figure(scenario, window, f"{title or scenario.id}: {when}")
    candidates = plan is not None and plan.candidates is not None
    if plan is not None and plan.candidates is not None:
        last = int(np.flatnonzero(plan.valid)[-1])
        canvas.lines(list(plan.candidates[:, CURRENT_STEP : last + 1, :2]), LIGHT.candidate, 0.12, alpha=0.35)
    canvas.lines(pieces(own.states, own.valid), LIGHT.opponent, 0.25, style=":")
    canvas.lines(pieces(ego.states, ego.valid), LIGHT.ego, 0.4)
    canvas.lines(pieces(attack.states, attack.valid), LIGHT.opponent, 0.4)
    step = contact_step if contact_step >= 0 else int(np.flatnonzero(ego.valid & attack.valid)[-1])
    for agent in np.flatnonzero(scenario.valid[:, step]).tolist():
        if agent not in (scenario.ego, scenario.opponent):
            draw_box(canvas, scenario.states(agent)[step], scenario.box(agent), colour_of(scenario, agent), 0.7)
    draw_box(canvas, ego.states[step], scenario.box(scenario.ego), LIGHT.ego, 0.85)
    draw_box(canvas, attack.states[step], scenario.box(scenario.opponent), LIGHT.opponent, 0.85)
    entries = [("ego", LIGHT.ego, "-"), ("opponent, attack", LIGHT.opponent, "-")]
    entries += [("opponent, logged", LIGHT.opponent, ":")]
    entries += [("candidates", LIGHT.candidate, "-")] if candidates else []
    explain(canvas, entries)
    return save_figure(figure, path)
