"""The rule-based expert of SAGE's evaluation (appendix B.1 and its published code), and a variant without hindsight.

Two PID controllers follow the route at a target speed. Above them a safety layer rolls the ego out with a kinematic
bicycle, 2 s ahead (4 s in bends), places everybody else where they will be, and checks oriented boxes at every step.
If the target speed leads to a collision it takes the highest lower speed that does not; if none helps, a higher one
(somebody is closing in from behind). Our readings, where the published code cannot be followed on recorded maps or
fails there, are marked in `RuleExpertConfig`.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ego_policies.routes import SampledRoute, curve_speed, prepare_route
from ego_policies.rule_expert.config import RuleExpertConfig
from ego_policies.rule_expert.forecast import Controllers, TurnRates, forecast_ego, other_poses
from ego_policies.rule_expert.safety import BARE, Margin, choose, first_contact
from ego_policies.vehicle import GRIP
from harness.interfaces import HEADING, VX, VY, EgoView
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

MOVING: Final = 1.0
"""Traffic flows from this speed on, m/s: slower is waiting, or noise of the recording."""
SAME_WAY: Final = 0.7
"""Cosine of the angle (45°) to the route within which traffic counts as going the ego's way."""


class RuleExpertPolicy:
    """Knows what everybody, the adversary included, is going to do: privileged, and labelled so."""

    name = "rule_expert"
    control: ClassVar[Literal["action", "replay"]] = "action"
    observation = "none"
    privileged = True
    sees_futures = True

    def __init__(self, config: RuleExpertConfig | None = None) -> None:
        """Set the driver's constants."""
        self.config = config or RuleExpertConfig()
        self._log_speed = self.config.target_speed
        self._begin()

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode with controllers at rest."""
        speeds = np.hypot(*scenario.velocity[scenario.ego].T)[scenario.valid[scenario.ego]]
        self._log_speed = max(float(speeds.max(initial=0.0)), self.config.flow_limits[0])
        self._begin()

    def _begin(self) -> None:
        self._controllers = Controllers(self.config)
        self._turns = TurnRates()
        self._route: tuple[Floats, SampledRoute] | None = None
        self._along: float | None = None

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Steering and throttle [2] from the view; the observation is ignored."""
        config, route = self.config, self._sampled(view)
        along = self._along = route.locate(view.ego[:2], self._along)
        turn = self._turns.update(view)
        in_bend = turn_ahead(route, along) > config.bend
        steps = round((config.intersection_horizon if in_bend else config.horizon) / view.dt)
        target = self._target(view, route, along, in_bend=in_bend)
        others = other_poses(view, turn, steps, knows=self.sees_futures)
        target = self._safe(view, route, along, target, others, steps)
        x, y, heading, vx, vy = view.ego
        steering, pedal = self._controllers.act(
            np.asarray(x + 1j * y),
            np.exp(np.asarray(1j * heading)),
            np.asarray(np.hypot(vx, vy)),
            np.asarray(target),
            route,
            np.asarray(along),
        )
        return np.array([steering, pedal], dtype=np.float32)

    def _sampled(self, view: EgoView) -> SampledRoute:
        """The route of this episode, prepared once."""
        if self._route is None or not np.array_equal(self._route[0], view.route):
            line = prepare_route(view.route, float(view.ego[HEADING]), view.ego[:2])
            self._route, self._along = (view.route.copy(), SampledRoute(line)), None
        return self._route[1]

    def _target(self, view: EgoView, route: SampledRoute, along: float, *, in_bend: bool) -> float:
        """Speed (m/s) that road and traffic ask for, before anybody is in the way."""
        config = self.config
        if config.cruise == "flow":
            flow = flow_speed(view, route, along, config)
            target = config.free_speed if flow is None else flow
            bend_speed = config.intersection_speed if flow is None else target
        else:
            target = config.target_speed if config.cruise == "constant" else self._log_speed
            bend_speed = config.intersection_speed
        if in_bend:
            target = min(target, bend_speed)
        speed = float(np.hypot(view.ego[VX], view.ego[VY]))
        braking_distance = speed**2 / GRIP + config.min_lookahead  # at half of what the tyres hold
        return min(target, curve_speed(route.line, along, braking_distance, config.cornering))

    def _safe(
        self, view: EgoView, route: SampledRoute, along: float, target: float, others: Floats, steps: int
    ) -> float:
        """The target speed, or the first other one without a collision within the forecast."""
        config = self.config
        margin = Margin(config.margin_ahead, config.margin_beside)

        def look_ahead(targets: Floats, room: Margin) -> tuple[NDArray[np.intp], Floats]:
            poses, speeds = forecast_ego(view.ego, targets, self._controllers, route, along, steps, view.dt)
            contact = first_contact(poses, view.ego_size, others, view.agent_sizes, room).step
            return contact, speeds[np.arange(len(targets)), np.minimum(contact, steps - 1)]

        if look_ahead(np.array([target]), margin)[0][0] >= steps:
            return target
        escape = np.asarray(config.faster) * max(target, config.min_escape)
        targets = np.concatenate([[target], np.asarray(config.slower) * target, escape])
        careful, _ = look_ahead(targets, margin)
        bare, speeds = look_ahead(targets, BARE) if (careful < steps).all() else (careful, targets)
        return float(targets[choose(careful, bare, speeds, steps)])


class BlindRuleExpertPolicy(RuleExpertPolicy):
    """The same driver without hindsight: others keep their speed and turn rate in its forecasts."""

    name = "rule_expert_blind"
    sees_futures = False


def turn_ahead(route: SampledRoute, along: float) -> float:
    """Angle (rad) between the next two 2 m chords of the route: the published code's sign of an intersection."""
    chords = np.diff(route.points(along + np.array([0.0, 2.0, 4.0])), axis=0)
    angle = np.arctan2(chords[:, 1], chords[:, 0])
    return float(abs((angle[1] - angle[0] + np.pi) % (2 * np.pi) - np.pi))


def flow_speed(view: EgoView, route: SampledRoute, along: float, config: RuleExpertConfig) -> float | None:
    """Speed of the traffic around the ego (m/s), or None where nobody moves along with it.

    The 75th percentile of the speeds of moving agents near the ego and the route, bounded (published code, which also
    counts oncoming traffic and anybody whose measured speed is not exactly 0: a row of waiting cars slows it down).
    """
    if len(view.agents) == 0:
        return None
    tangent = route.tangents(np.asarray(along))
    speeds = np.hypot(view.agents[:, VX], view.agents[:, VY])
    near = np.hypot(*(view.agents[:, :2] - view.ego[:2]).T) <= config.flow_radius
    near &= (view.agents[:, [VX, VY]] @ tangent > SAME_WAY * speeds) & (speeds > MOVING)
    if not near.any():
        return None
    place = along + (view.agents[near, :2] - view.ego[:2]) @ tangent
    beside = np.abs(route.offsets(view.agents[near, :2], place)) < config.flow_width
    if not beside.any():
        return None
    return float(np.clip(np.percentile(speeds[near][beside], 75), *config.flow_limits))
