"""What an attack by the goal-conditioned prior needs of a scene, and the candidates that it draws there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from adversaries.common.candidates import Drawn, with_profiles
from adversaries.prior.features import Features
from adversaries.prior.network import Encoding, to_batch
from adversaries.prior.prior import MotionPrior
from adversaries.sage.backbone import complete
from adversaries.sage.groups import Draw, draw_goals
from adversaries.sage.objectives import Objectives
from adversaries.sage.steered import only_seen
from harness.interfaces import AttackContext
from scenarios.scenario import Scenario


class GoalScene(NamedTuple):
    """What an attack needs of a scene, whatever λ and the ego are."""

    case: Features
    encoding: Encoding
    objectives: Objectives


@torch.inference_mode()
def goal_scene(
    prior: MotionPrior, case: Features, scenario: Scenario, opponent: int, step: int, *, published: bool = False
) -> GoalScene:
    """Encode the opponent's features and prepare what judges its futures.

    Args:
        prior: Completes goals.
        case: The opponent's features at `step`.
        scenario: The scene.
        opponent: Index of who attacks.
        step: Last observed step.
        published: See `Objectives`.
    """
    encoding = prior.network.encode(to_batch([case]))
    return GoalScene(case, encoding, Objectives(scenario, opponent, step, published=published))


def drawn_goals(
    prior: MotionPrior,
    scene: GoalScene,
    scores: NDArray[np.float64],
    context: AttackContext,
    num: int,
    draw: Draw,
    profiles: int,
) -> Drawn:
    """The likeliest goals, completed.

    Args:
        prior: Completes them.
        scene: That of the context.
        scores: [G] log-probabilities of the goals.
        context: The attack.
        num: How many goals.
        draw: How they are chosen.
        profiles: Speed profiles for each.
    """
    case = scene.case
    goals = draw_goals(scores, case.goal_points, case.goal_mask, num, draw)
    states, valid = complete(prior, scene.encoding, context.scenario, context.opponent, context.step, case, goals)
    size = context.scenario.box(context.opponent)
    drawn = Drawn(states=only_seen(context, states), valid=valid, log_prob=scores[goals], size=size)
    return with_profiles(context, drawn, profiles)
