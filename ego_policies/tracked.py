"""Planners that give a trajectory in the place of an action, driven by the tracker that attackers have as well."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ego_policies.vehicle import MODEL
from harness.episodes.tracking import PathTracker
from harness.errors import PolicyError
from harness.interfaces import STATE, VX, EgoView, Floats
from scenarios.scenario import Scenario

POSE: Final = 3
"""Columns of a pose: x, y (m), heading (rad)."""


class TrackedPolicy:
    """Drives where a planner wants to be: at every step its trajectory, as the tracker follows it.

    The error of tracking is the distance of the ego from the first row of the trajectory, one step later: what the
    planner wanted, and what the car made of it.
    """

    control: ClassVar[Literal["action", "replay"]] = "action"

    def __init__(self, planner: Any, *, name: str | None = None) -> None:
        """Wrap a planner.

        Args:
            planner: Like an `EgoPolicy` with `control = "trajectory"`. Its `act` gives [H, 3] poses (x, y, heading) or
                [H, STATE] states, in the world frame, at the H steps that follow the view's.
            name: Label in tables; the planner's own by default.
        """
        self._planner = planner
        self.name = name or planner.name
        self.observation, self.privileged = planner.observation, planner.privileged
        self.sees_futures = bool(getattr(planner, "sees_futures", False))
        self._wanted: Floats | None = None
        self._errors: list[float] = []

    def __getattr__(self, name: str) -> Any:
        """What else the planner has, such as `observation_size` and `files`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._planner, name)

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode."""
        self._wanted, self._errors = None, []
        self._planner.reset(scenario, rng)

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Steering and throttle [2] towards the planner's trajectory.

        Raises:
            PolicyError: The planner gives no trajectory.
        """
        self._note(view)
        own = view.ego.copy()
        planned = self._planner.act(observation, view)
        # A planner that sees the past plans from there: rows up to now are over.
        seen = int(getattr(self._planner, "seen_step", view.step))
        path = states_of(planned, view.dt, self.name, view.step)[view.step - seen :]
        if len(path) == 0:
            raise PolicyError(
                f"policy {self.name!r} at step {view.step}: its trajectory ends before now, because what it sees is "
                f"{view.step - seen} steps old. Plan further ahead."
            )
        self._wanted = path[0, :2]
        # Row 0 is the present by the plan: who is behind it hurries.
        before = path[:1].copy()
        before[:, :2] -= path[:1, VX:] * view.dt
        tracker = PathTracker(np.concatenate([before, path]), len(path), MODEL, view.dt)
        return tracker.act(0, own).astype(np.float32)

    def measured(self) -> dict[str, float]:
        """Mean and largest error of tracking in the episode, m, and what the planner itself measured."""
        inner: dict[str, float] = dict(getattr(self._planner, "measured", dict)())
        if not self._errors:
            return inner
        return {**inner, "tracking_mean": float(np.mean(self._errors)), "tracking_max": max(self._errors)}

    def _note(self, view: EgoView) -> None:
        """The distance from where the last trajectory wanted the ego to be by now."""
        if self._wanted is not None:
            self._errors.append(float(np.hypot(*(view.ego[:2] - self._wanted))))


def states_of(planned: ArrayLike, dt: float, policy: str, step: int) -> Floats:
    """States [H, STATE] of a trajectory of poses [H, 3] or states [H, STATE]; velocities of poses are differences.

    Args:
        planned: What the planner gave.
        dt: Time between rows, s.
        policy, step: For the message.

    Raises:
        PolicyError: It has another shape, or a number that is not finite.
    """
    try:
        rows = np.asarray(planned, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PolicyError(
            f"policy {policy!r} at step {step}: its trajectory is no table of numbers ({error})."
        ) from error
    if rows.ndim != 2 or rows.shape[1] not in (POSE, STATE) or len(rows) < 2:
        raise PolicyError(
            f"policy {policy!r} at step {step}: expected a trajectory of two or more rows [x, y, heading] or [x, y, "
            f"heading, vx, vy], one for each coming step of {dt:g} s, got shape {rows.shape}."
        )
    if not np.isfinite(rows).all():
        raise PolicyError(f"policy {policy!r} at step {step}: its trajectory has a number that is not finite.")
    if rows.shape[1] == STATE:
        return rows
    return np.concatenate([rows, np.gradient(rows[:, :2], dt, axis=0)], -1)
