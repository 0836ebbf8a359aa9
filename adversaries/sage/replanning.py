"""The controller of `sage_replan`: SAGE's choice made anew every second, from where everybody truly is by then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from adversaries.common.candidates import Drawn
from adversaries.common.forecasts import along_drive, go_on
from adversaries.prior.config import PriorConfig
from adversaries.prior.features import extract
from adversaries.prior.network import GoalNetwork, to_batch
from adversaries.prior.prior import MotionPrior
from adversaries.prior.roads import Roads, RoadsCache, build_roads
from adversaries.sage.goal_scenes import GoalScene, drawn_goals, goal_scene
from adversaries.sage.groups import Draw
from adversaries.sage.objectives import Objectives
from adversaries.sage.steered import Drives, SteeredAdversary
from harness.episodes.tracking import PathTracker
from harness.interfaces import STATE, VX, VY, AttackContext, AttackPlan, ControlContext, Trajectory
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Weights = Mapping[str, NDArray[np.float32]]
Forecast = Literal["drives", "motion"]
"""What the ego is expected to do: go on along its remembered drives, or at its present speed and turn rate."""
FORECASTS: Final[tuple[Forecast, ...]] = get_args(Forecast)

PERIOD: Final = 10
"""Steps from one plan to the next, one second."""
LEFT: Final = 10
"""With fewer steps left of the scene no plan is made anew: what remains is too short to judge."""


@dataclass(frozen=True)
class Choice:
    """How candidates are made and chosen, as plain data.

    Attributes:
        config: Sizes of both networks.
        prior: Weights of the motion prior, which completes goals.
        mixture: Weights of the experts' mixture at λ, which says how likely goals are.
        intensity: μ.
        candidates, spacing, profiles, drives: Options of `sage`.
    """

    config: PriorConfig
    prior: Weights
    mixture: Weights
    intensity: float
    candidates: int
    spacing: float
    profiles: int
    drives: Drives


class Chooser(SteeredAdversary):
    """SAGE's proposals in one scene after another, all on the same map, by networks as they are."""

    name = "sage_replan"

    def __init__(self, choice: Choice, roads: Roads) -> None:
        """Build the networks.

        Args:
            choice: The weights and options.
            roads: The map.
        """
        super().__init__("corrected", choice.candidates, "weights", 1, choice.drives)
        self._prior = MotionPrior(network_of(choice.config, choice.prior))
        self._mixture = network_of(choice.config, choice.mixture)
        self._draws, self._profiles, self._roads = Draw(choice.spacing), choice.profiles, OneMap(roads)
        self._last: tuple[Scenario, GoalScene] | None = None

    def _goal_scene(self, context: AttackContext) -> GoalScene:
        scenario = context.scenario
        if self._last is None or self._last[0] is not scenario:
            case = extract(scenario, context.opponent, context.step, self._prior.config, self._roads)
            self._last = scenario, goal_scene(self._prior, case, scenario, context.opponent, context.step)
        return self._last[1]

    def _draw(self, context: AttackContext, intensity: float) -> Drawn:
        scene = self._goal_scene(context)
        with torch.inference_mode():
            scores = self._mixture(to_batch([scene.case]))[1][0].double().numpy()
        return drawn_goals(self._prior, scene, scores, context, self.num, self._draws, self._profiles)

    def _objectives(self, context: AttackContext) -> Objectives:
        return self._goal_scene(context).objectives


class OneMap(RoadsCache):
    """The same map for every scene: what has happened by now is another scene each time, but on one map."""

    def __init__(self, roads: Roads) -> None:
        """Keep the map."""
        super().__init__(0)
        self._roads = roads

    def get(self, scenario: Scenario) -> Roads:
        """The map."""
        return self._roads


@dataclass(frozen=True)
class Replanned:
    """One plan of an episode, for pictures and tests.

    Attributes:
        step: When it was made.
        states: [T, STATE] what was chosen, by absolute step; rows up to `step` do not count.
        egos: What the ego was expected to do, one trajectory for each drive.
        expects_contact: Whether it meets one of them.
        score: R_μ.
    """

    step: int
    states: Floats
    egos: tuple[Trajectory, ...]
    expects_contact: bool
    score: float


class ReplanningController:
    """Plans anew every so many steps and follows its path in between; a `harness.episodes.watching.WatchingController`.

    A plan is SAGE's: candidates by the mixture at λ, chosen by R_μ. It is made in the scene as it has become, by
    everybody's true motion so far. Nothing that is yet to come in the log is looked at.

    The ego is expected to go on along each of its remembered drives from where it is now (`along_drive`): it knows its
    way, and what it did there is the best guess of what it will do. Where it is on none of them, and with the forecast
    `motion`, it keeps its present speed and turn rate. So does everybody else (`go_on`), for a candidate's feasibility.
    """

    def __init__(
        self, choice: Choice, drives: tuple[Trajectory, ...], period: int = PERIOD, forecast: Forecast = "drives"
    ) -> None:
        """Keep what a plan takes.

        Args:
            choice: How candidates are made and chosen.
            drives: What the ego did in earlier episodes, newest last.
            period: Steps from one plan to the next; 0 never plans anew.
            forecast: What the ego is expected to do.
        """
        self.choice, self.drives, self.period, self.forecast = choice, drives, period, forecast
        self.decisions: list[Replanned] = []

    def __getstate__(self) -> dict[str, object]:
        """Nothing of a running episode."""
        kept = {name: getattr(self, name) for name in ("choice", "drives", "period", "forecast")}
        return {**kept, "decisions": []}

    def reset(self, plan: AttackPlan, context: ControlContext) -> None:
        """Begin an episode: nobody seen yet, the plan's own path ahead."""
        assert plan.takeover_step is not None, "the engine resets controllers of plans that have a takeover"
        scene = context.scenario
        self._scene, self._context, self._start = scene, context, plan.takeover_step - 1
        self._states = np.zeros((scene.num_agents, scene.num_steps, STATE))
        self._seen = np.zeros((scene.num_agents, scene.num_steps), dtype=np.bool_)
        self._sizes = np.zeros((scene.num_agents, 2))
        self._chooser: Chooser | None = None
        self.decisions = []
        self._follow(plan.states, int(np.flatnonzero(plan.valid)[-1]))

    def watch(self, step: int, states: Floats, valid: Bools, sizes: Floats) -> None:
        """Remember where everybody is."""
        if step < self._scene.num_steps:
            self._states[:, step], self._seen[:, step], self._sizes = states, valid, sizes

    def act(self, step: int, opponent: Floats, ego: Floats) -> Floats:
        """Follow the path at hand, or make a new one first."""
        elapsed, left = step - self._start, self._scene.num_steps - 1 - step
        if self.period and elapsed > 0 and elapsed % self.period == 0 and left >= LEFT:
            self._plan(step, ego)
        return self._tracker.act(step, opponent)

    def _follow(self, states: Floats, last: int) -> None:
        self._tracker = PathTracker(states, last, self._context.vehicle, self._scene.dt)

    def _plan(self, step: int, ego: Floats) -> None:
        if self._chooser is None:
            self._chooser = Chooser(self.choice, build_roads(self._scene.features))
        egos = self._expected(step, ego)
        context = AttackContext(
            self._so_far(step, egos[-1]),
            self._context.opponent,
            egos,
            self.choice.intensity,
            np.random.default_rng(0),
            self._context.ego_size,
            step,
        )
        proposal = self._chooser.propose(context)
        best = int(proposal.score.argmax())
        path = proposal.states[best]
        hit, score = bool(proposal.values.hits[best]), float(proposal.score[best])
        self.decisions.append(Replanned(step, path, egos, hit, score))
        self._follow(path, int(np.flatnonzero(proposal.drawn(context).valid)[-1]))

    def _expected(self, step: int, ego: Floats) -> tuple[Trajectory, ...]:
        """What the ego is expected to do, for each of its drives; equal drives are one and the same object."""
        scene, own = self._scene, [self._scene.ego]
        steps = scene.num_steps - 1 - step
        onward = _from_now(step, ego, go_on(self._states[own], self._seen[own], step, steps, scene.dt)[0])
        if self.forecast == "motion" or not self.drives:
            return (onward,)
        found: dict[int, Trajectory] = {}
        for drive in self.drives:
            if id(drive) not in found:
                ahead = along_drive(drive, ego, step, steps, scene.dt)
                found[id(drive)] = onward if ahead is None else _from_now(step, ego, ahead)
        return tuple(found[id(drive)] for drive in self.drives)

    def _so_far(self, step: int, ego: Trajectory) -> Scenario:
        """The scene as it has become, and as it is expected to go on."""
        scene, now = self._scene, step + 1
        states, valid = self._states.copy(), self._seen.copy()
        states[:, now:] = go_on(states, valid, step, scene.num_steps - now, scene.dt)
        valid[:, now:] = valid[:, step, None]
        states[scene.ego, now:] = ego.states[now:]
        states[~valid] = 0.0
        position, size = scene.position.copy(), scene.size.copy()
        position[..., :2], size[..., :2] = states[..., :2], self._sizes[:, None]
        heading, velocity = states[..., 2].copy(), states[..., VX : VY + 1].copy()
        return replace(scene, position=position, heading=heading, velocity=velocity, size=size, valid=valid)


def _from_now(step: int, now: Floats, ahead: Floats) -> Trajectory:
    """States [n, STATE] from `step + 1` on as a trajectory by absolute step, which begins at `step`."""
    states, valid = np.zeros((step + 1 + len(ahead), STATE)), np.zeros(step + 1 + len(ahead), dtype=np.bool_)
    states[step], states[step + 1 :], valid[step:] = now, ahead, True
    return Trajectory(states, valid)


def arrays_of(network: torch.nn.Module) -> Weights:
    """Copies of a network's weights by name."""
    return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}


def network_of(config: PriorConfig, weights: Weights) -> GoalNetwork:
    """A network with these weights."""
    # Built without numbers: drawing initial weights would use up randomness that belongs to somebody else.
    with torch.device("meta"):
        network = GoalNetwork(config)
    network.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()}, assign=True)
    return network.eval()
