"""Every WOSAC feature of the log and of simulations of one scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.errors import ScenarioError
from harness.metrics.wosac.config import Quirks
from harness.metrics.wosac.interaction import nearest_distance, time_to_collision
from harness.metrics.wosac.kinematics import central_and, kinematics, speeds
from harness.metrics.wosac.lights import RedLights
from harness.metrics.wosac.logged import STEP, read_log, to_local
from harness.metrics.wosac.road_edges import RoadEdges, distance_off_road
from scenarios.map_index import has_road_edges
from scenarios.scenario import CURRENT_STEP, Scenario

FIRST = CURRENT_STEP + 1
"""First simulated step."""


@dataclass(frozen=True, slots=True, eq=False)
class RealismFeatures:
    """Features of R roll-outs, E evaluated agents, S steps.

    Attributes:
        values: Per histogram feature [R, E, S].
        use: Per histogram feature, which values count [R, E, S] (or broadcastable); every value where it is missing.
        happened: Per yes/no feature [R, E]: whether it happened at a step at which the agent is valid in the log.
        displacement: [R, E] mean distance to the log, m.
    """

    values: dict[str, Tensor]
    use: dict[str, Tensor]
    happened: dict[str, Tensor]
    displacement: Tensor


class SceneFeatures:
    """Computes features of one scene; map tables and the log are kept.

    Attributes:
        logged: The log.
        steps, future: Steps of the scene, and those after the current one.
        has_edges: Whether on and off the road can be told apart.
    """

    def __init__(
        self,
        scenario: Scenario,
        quirks: Quirks,
        agents: Sequence[int] | None,
        device: torch.device | str,
        *,
        partial: bool = False,
    ) -> None:
        """Read log and map.

        Args:
            scenario: The recorded scene.
            quirks: Which departures of the official code are repeated.
            agents: Scenario indices to evaluate instead of `evaluated_agents(scenario)`.
            device: Where to compute.
            partial: Accept a map without road edges; distances to them are NaN then, and nobody is off the road.

        Raises:
            ScenarioError: The scene has no road edges (unless `partial`), or its log cannot be used.
        """
        self.logged = log = read_log(scenario, quirks, agents, device)
        self._quirks, self._device = quirks, device
        self.steps = log.valid.shape[1]
        self.future = self.steps - FIRST
        edges = [to_local(feature.points, log.origin, quirks) for feature in scenario.features if feature.is_road_edge]
        edges = [line if line.shape[1] == 3 else np.pad(line, ((0, 0), (0, 1))) for line in edges]
        self._edges = RoadEdges(
            edges,
            cyclic_only_longest=quirks.cyclic_only_longest,
            degenerate_segments=quirks.degenerate_segments,
            device=device,
        )
        self.has_edges = has_road_edges(scenario) and len(self._edges) > 0
        if not self.has_edges and not partial:
            raise ScenarioError(
                f"{scenario.source or scenario.id}: the map has no road edges, so on and off the road cannot be told "
                "apart. Realism needs maps with road edges (WOMD, procedural scenes); leave this scene out."
            )
        self._lights = RedLights(
            scenario,
            log.origin,
            self.steps,
            lane_offset_added=quirks.lane_offset_added,
            lane_padding=quirks.lane_padding,
            missing_light_at_origin=quirks.missing_light_at_origin,
            single_precision_world=quirks.single_precision_world,
            device=device,
        )
        self._future_valid = log.valid[log.evaluated, FIRST:]

    def to_local(self, states: Tensor) -> Tensor:
        """Simulated world poses [R, A, S, 4] in the metrics' frame, float64."""
        states = states.to(self._device)
        if self._quirks.single_precision_world:
            states = states.float()
        shift = torch.tensor([*self.logged.origin, 0.0, 0.0], dtype=torch.float64, device=self._device)
        return states.double() - shift

    @torch.no_grad()
    def of_log(self) -> RealismFeatures:
        """The log as one roll-out."""
        log, quirks = self.logged, self._quirks
        path, valid = log.poses[None], log.valid[None]
        features = self._of(path, valid)
        own = log.valid[log.evaluated]
        base = own[:, FIRST:] if quirks.validity_from_future_only else own
        speed_valid = central_and(base)
        use = {
            "linear_speed": speed_valid,
            "angular_speed": speed_valid,
            "linear_acceleration": central_and(speed_valid),
            "angular_acceleration": central_and(speed_valid),
        }
        use = {name: rows[:, -self.future :] for name, rows in use.items()}
        ahead = own & log.vehicle[:, None]
        if not quirks.invalid_rows_count:
            ahead = ahead & central_and(own)
        if not quirks.undefined_values_count:
            ahead = ahead & _inner(self.steps, self._device)
        use["time_to_collision"] = ahead[:, FIRST:]
        for name in ("distance_to_nearest_object", "distance_to_road_edge"):
            use[name] = own[:, FIRST:]
        use = {name: rows[None] for name, rows in use.items()}
        return RealismFeatures(features.values, use, features.happened, features.displacement)

    @torch.no_grad()
    def of_simulation(self, states: Tensor) -> RealismFeatures:
        """Roll-outs [R, A, S, 4] in the local frame; the history comes from the log."""
        log = self.logged
        rollouts = len(states)
        history = log.poses[None, :, :FIRST].expand(rollouts, -1, -1, -1)
        valid = torch.cat([log.valid[:, :FIRST], torch.ones_like(log.valid[:, FIRST:])], 1)[None]
        return self._of(torch.cat([history, states], 2), valid)

    def _of(self, path: Tensor, valid: Tensor) -> RealismFeatures:
        """Features of paths [R, A, T, 4] with validity [1, A, T]."""
        log, quirks = self.logged, self._quirks
        own = path[:, log.evaluated]
        motion = {name: value[..., FIRST:] for name, value in kinematics(own, STEP)._asdict().items()}
        future = path[:, :, FIRST:].float()
        there = valid[..., FIRST:]
        nearest = nearest_distance(future, log.sizes, there, log.evaluated)
        edge = self._edge_distance(future[:, log.evaluated])
        values = {
            **motion,
            "distance_to_nearest_object": nearest,
            "time_to_collision": self._time_to_collision(path, valid),
            "distance_to_road_edge": edge,
        }
        counted = self._future_valid
        own_valid = valid[:, log.evaluated]
        happened = {
            "collision_indication": (nearest < 0) & counted,
            "offroad_indication": (edge > 0) & counted & own_valid[..., FIRST:],
            "traffic_light_violation": self._red_light(own, own_valid) & counted,
        }
        return RealismFeatures(
            values,
            {} if quirks.undefined_values_count else self._defined(motion, own_valid),
            {name: flags.any(-1) for name, flags in happened.items()},
            self._displacement(own),
        )

    def _defined(self, motion: dict[str, Tensor], own_valid: Tensor) -> dict[str, Tensor]:
        """Which simulated values exist, and rest on valid rows."""
        use = {name: ~values.isnan() for name, values in motion.items()}
        if not self._quirks.invalid_rows_count:
            speed = central_and(own_valid)
            for name in ("linear_acceleration", "angular_acceleration"):
                use[name] = use[name] & central_and(speed)[..., FIRST:]
        use["time_to_collision"] = _inner(self.steps, self._device)[None, None, FIRST:]
        return use

    def _time_to_collision(self, path: Tensor, valid: Tensor) -> Tensor:
        log = self.logged
        speed = speeds(path[..., :2], STEP)
        there = valid
        if not self._quirks.invalid_rows_count:
            # The speed of an object next to a gap is not known: it leads nobody.
            there = valid & (central_and(valid) | ~_inner(self.steps, self._device))
        return time_to_collision(
            path[:, :, FIRST:].float(),
            log.sizes,
            there[..., FIRST:],
            speed[..., FIRST:].float(),
            log.evaluated,
            unwrapped=self._quirks.unwrapped_yaw,
        )

    def _edge_distance(self, poses: Tensor) -> Tensor:
        """Signed distance [R, E, S] of the corner that is farthest off the road, m; NaN without road edges."""
        if not self.has_edges:
            return torch.full(poses.shape[:-1], torch.nan, dtype=poses.dtype, device=poses.device)
        return distance_off_road(self._edges, poses, self.logged.sizes[self.logged.evaluated])

    def _red_light(self, own: Tensor, own_valid: Tensor) -> Tensor:
        if not self._lights.count:
            return torch.zeros((*own.shape[:2], self.future), dtype=torch.bool, device=own.device)
        ran = self._lights.violations(own[:, :, CURRENT_STEP:, :2].float(), FIRST) & own_valid[..., FIRST:]
        if not self._quirks.invalid_rows_count:
            ran = ran & own_valid[..., CURRENT_STEP:-1]
        return ran

    def _displacement(self, own: Tensor) -> Tensor:
        log = self.logged
        first = 0 if self._quirks.ade_with_history else FIRST
        truth, valid = log.poses[log.evaluated, first:, :3], log.valid[log.evaluated, first:]
        gap = (own[:, :, first:, :3] - truth).square().sum(-1).sqrt()
        return torch.where(valid, gap, 0.0).sum(-1) / valid.sum(-1)


def _inner(steps: int, device: torch.device | str) -> Tensor:
    """[T]: all but the first and the last step."""
    flags = torch.ones(steps, dtype=torch.bool, device=device)
    flags[0] = flags[-1] = False
    return flags
