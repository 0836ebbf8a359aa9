"""Red-light violations. Torch; what depends on the map and the lights alone is prepared once per scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from scenarios.scenario import Scenario

STOP_STATES: Final = ("LANE_STATE_STOP", "LANE_STATE_ARROW_STOP")
LANE_TYPE: Final = "LANE_SURFACE_STREET"


class RedLights:
    """The lights of one scene over its steps, and the lanes that decide whose light it is."""

    def __init__(
        self,
        scenario: Scenario,
        origin: np.ndarray,
        steps: int,
        *,
        lane_offset_added: bool = False,
        lane_padding: bool = False,
        missing_light_at_origin: bool = False,
        single_precision_world: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        """Prepare lanes and stop lines.

        Args:
            scenario: Map and lights.
            origin: [2] of the frame of the queries, m.
            steps: Absolute steps 0 … steps - 1 are prepared.
            lane_offset_added, lane_padding, missing_light_at_origin, single_precision_world: See `Quirks`.
            device: Device of the queries.
        """
        self._added, self._device = lane_offset_added, device
        lanes = [
            (feature.id, _local(feature.points, origin, single_precision_world))
            for feature in scenario.features
            if feature.type == LANE_TYPE and len(feature.points) > 1
        ]
        ids = {name: row for row, (name, _) in enumerate(lanes)}
        longest = max((len(line) for _, line in lanes), default=0)
        if lane_padding:
            # In the frame of the queries, the world's origin is at -origin.
            end = -np.asarray(origin, dtype=np.float64)[None]
            lanes = [(name, np.concatenate([line, end]) if len(line) < longest else line) for name, line in lanes]
        self._lines = [torch.as_tensor(line, device=device).float() for _, line in lanes]
        signals = _signals(scenario.lights, ids, origin, steps, single_precision_world)
        self.count = len(signals)
        if self.count == 0:
            return
        starts = torch.cat([line[:-1] for line in self._lines])
        self._segments = starts, torch.cat([line[1:] for line in self._lines]) - starts
        self._lane_of = torch.repeat_interleave(
            torch.arange(len(lanes), device=device),
            torch.tensor([len(line) - 1 for line in self._lines], device=device),
        )
        self._lane = torch.tensor([lane for lane, _, _, _ in signals], device=device)
        red = np.stack([stop for _, stop, _, _ in signals], 1)
        present = np.stack([there for _, _, there, _ in signals], 1)
        points = np.repeat(np.stack([point for _, _, _, point in signals])[None], steps, 0)
        if missing_light_at_origin:
            points = np.where(present[..., None], points, -np.asarray(origin))
        self._red = torch.as_tensor(red, device=device)
        self._stop_lines(torch.as_tensor(points, device=device).float())

    def _stop_lines(self, points: Tensor) -> None:
        """Where each stop point [T, L, 2] lies on its lane: segment start, direction, ratio along it, per step."""
        start, delta = torch.zeros_like(points), torch.zeros_like(points)
        for signal, lane in enumerate(self._lane.tolist()):
            line = self._lines[lane]
            begin, along = line[:-1], line[1:] - line[:-1]
            nearest = self._distance(points[:, signal, None], begin, along).argmin(-1)
            start[:, signal], delta[:, signal] = begin[nearest], along[nearest]
        self._start, self._delta = start, delta
        self._ratio = _ratio(points - start, delta)

    def _distance(self, points: Tensor, start: Tensor, delta: Tensor) -> Tensor:
        offset = points - start
        shift = delta * _ratio(offset, delta).clamp(0, 1)[..., None]
        return (offset + shift if self._added else offset - shift).square().sum(-1).sqrt()

    def violations(self, points: Tensor, first: int) -> Tensor:
        """Whether each object drives over the stop line of its own lane at red.

        Args:
            points: [R, E, S + 1, 2] centres from step `first - 1` on, m.
            first: Absolute step of the first result.

        Returns:
            [R, E, S] bool, for steps `first` on.
        """
        rollouts, agents, steps = points.shape[0], points.shape[1], points.shape[2] - 1
        result = torch.zeros((rollouts, agents, steps), dtype=torch.bool, device=points.device)
        if self.count == 0:
            return result
        now = slice(first, first + steps)
        before = slice(first - 1, first + steps - 1)
        if not self._red[now].any():
            return result
        behind = self._relative(points[:, :, :-1], before) < 0
        ahead = self._relative(points[:, :, 1:], now) > 0
        rollout, agent, step, signal = (behind & ahead & self._red[now]).nonzero(as_tuple=True)
        if len(rollout) == 0:
            return result
        place = points[rollout, agent, step + 1]
        own = torch.cat(
            [
                self._lane_of[self._distance(part[:, None], *self._segments).argmin(-1)]
                for part in place.split(max(1, 2_000_000 // len(self._lane_of)))
            ]
        )
        matched = own == self._lane[signal]
        result[rollout[matched], agent[matched], step[matched]] = True
        return result

    def _relative(self, points: Tensor, steps: slice) -> Tensor:
        """How far points [R, E, S, 2] are past each stop line, as a ratio along its segment: [R, E, S, L]."""
        offset = points[..., None, :] - self._start[steps]
        return _ratio(offset, self._delta[steps].expand(offset.shape)) - self._ratio[steps]


def _ratio(offset: Tensor, delta: Tensor) -> Tensor:
    squared = delta.square().sum(-1)
    return torch.where(squared > 0, (offset * delta).sum(-1) / squared, 0.0)


def _local(points: np.ndarray, origin: np.ndarray, single: bool) -> np.ndarray:
    xy = np.asarray(points, dtype=np.float32 if single else np.float64)[:, :2]
    return xy.astype(np.float64) - origin


def _signals(
    lights: Mapping[str, Mapping[str, Any]], lanes: Mapping[str, int], origin: np.ndarray, steps: int, single: bool
) -> Sequence[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Per light on a known lane: lane, whether it is red [T], whether the log has it [T], stop point [2]."""
    signals = []
    for name, light in lights.items():
        lane = lanes.get(str(light.get("lane", name)))
        point = light.get("stop_point", light.get("position"))
        states = light.get("state", {})
        states = states.get("object_state", ()) if isinstance(states, Mapping) else ()
        if lane is None or point is None or len(states) == 0:
            continue
        states = [*states[:steps], *[None] * (steps - len(states))]
        present = np.array([state is not None for state in states])
        place = np.asarray(point, dtype=np.float32 if single else np.float64).reshape(-1)[:2].astype(np.float64)
        signals.append((lane, np.array([state in STOP_STATES for state in states]), present, place - origin))
    return signals
