"""A system under test behind worse sensors: noise, latency, dropped frames; or behind an observation of one's own."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, PolicyError, foreign
from harness.interfaces import HEADING, VX, EgoView, Floats
from scenarios.scenario import Scenario

Singles = NDArray[np.float32]
Observe = Callable[[EgoView], Any]
"""An observation function: what a policy sees of the true states [D]."""
LONGEST_LATENCY_S: Final = 10.0
"""A frame older than this is no sensor's, s."""


class SensorFrame(NamedTuple):
    """What was sensed at one step."""

    observation: Singles
    view: EgoView


class SensedPolicy:
    """Drives by what worse sensors say.

    At every step a frame is measured: the observation, and what others do. Noise is added to it, it is dropped with a
    probability, and it arrives after the latency. The policy sees the newest frame that has arrived, with the step of
    that frame; before any has, it sees the first. The ego's own state in a frame is exact. All draws are from the
    episode's seed.

    Attributes:
        seen_step: Step of the frame that the policy saw last.
    """

    def __init__(
        self,
        policy: Any,
        *,
        noise: float = 0.0,
        position: float = 0.0,
        heading: float = 0.0,
        velocity: float = 0.0,
        latency: float = 0.0,
        drop: float = 0.0,
        observe: Observe | None = None,
    ) -> None:
        """Put a policy behind sensors.

        Args:
            policy: The system under test.
            noise: Standard deviation of the noise on each number of the observation, in its own unit.
            position: Standard deviation of the noise on others' x and y, m.
            heading: Standard deviation of the noise on their heading, rad.
            velocity: Standard deviation of the noise on vx and vy, m/s.
            latency: Age at which a frame arrives, s; it is seen at the next step from then on.
            drop: Probability that a frame never arrives, below 1.
            observe: Makes the observation out of the `EgoView`, in the place of a preset.

        Raises:
            ConfigError: An option cannot work, or would do nothing: the policy follows its log, or sees nothing of it.
        """
        given = {"noise": noise, "position": position, "heading": heading, "velocity": velocity, "latency": latency}
        for label, value in {**given, "drop": drop}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigError(f"policy {policy.name!r}: {label} is {value!r}, expected 0 or more.")
        if not drop < 1 or latency > LONGEST_LATENCY_S:
            raise ConfigError(
                f"policy {policy.name!r}: expected drop below 1 and latency up to {LONGEST_LATENCY_S:g} s, got "
                f"{drop:g} and {latency:g}."
            )
        if policy.control == "replay":
            raise ConfigError(f"policy {policy.name!r} follows its log and senses nothing. Leave its sensors out.")
        if observe is not None and not callable(observe):
            raise ConfigError(
                f"policy {policy.name!r}: observe is {observe!r:.60}, expected a function of the EgoView."
            )
        _check_seen(policy, noise, max(position, heading, velocity), observe)
        self._policy, self._noise, self._latency, self._drop = policy, float(noise), float(latency), float(drop)
        self._others = float(position), float(heading), float(velocity)
        self._observe = observe
        told = [f"{label}{value:g}" for label, value in {**given, "drop": drop}.items() if value]
        self.name: str = "_".join([policy.name, *told])
        self.control = policy.control
        self.observation = policy.observation if observe is None else "none"
        self.privileged = bool(policy.privileged or observe is not None)
        self.sees_futures = bool(getattr(policy, "sees_futures", False))
        self.seen_step = 0

    def __getattr__(self, name: str) -> Any:
        """What else the policy has, such as `observation_size` and `files`."""
        if name.startswith("_") or (name == "observation_size" and self._observe is not None):
            raise AttributeError(name)
        return getattr(self._policy, name)

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode: nothing sensed yet."""
        self._rng = rng.spawn(1)[0]
        self._frames: deque[SensorFrame] = deque()
        self._sensed = self._dropped = 0
        self._ages: list[float] = []
        self._policy.reset(scenario, rng)

    def act(self, observation: Singles, view: EgoView) -> Any:
        """The policy's answer to the newest frame that has arrived.

        Raises:
            PolicyError: The observation function fails.
        """
        frame = self._arrived(observation, view)
        self.seen_step = frame.view.step
        self._ages.append((view.step - frame.view.step) * view.dt)
        return self._policy.act(frame.observation, frame.view)

    def measured(self) -> dict[str, float]:
        """Share of frames that were dropped and mean age of what was seen (s), and what the policy itself measured."""
        inner = dict(getattr(self._policy, "measured", dict)())
        if not self._sensed:
            return inner
        return {**inner, "sensor_dropped": self._dropped / self._sensed, "sensor_age": float(np.mean(self._ages))}

    def _arrived(self, observation: Singles, view: EgoView) -> SensorFrame:
        """Measure a frame; the newest one that is there by now."""
        frame = self._measured_frame(observation, view)
        self._sensed += 1
        # Drawn for every frame, so that one option changes no other's numbers.
        lost = float(self._rng.random()) < self._drop
        if lost and self._frames:
            self._dropped += 1
        else:
            self._frames.append(frame)
        latest = view.step - math.ceil(self._latency / view.dt - 1e-9)
        while len(self._frames) > 1 and self._frames[1].view.step <= latest:
            self._frames.popleft()
        first = self._frames[0]
        return SensorFrame(first.observation.copy(), _copied(first.view))

    def _measured_frame(self, observation: Singles, view: EgoView) -> SensorFrame:
        place, turn, speed = self._others
        count = len(view.agents)
        drawn = self._rng.standard_normal((count, 5)) * np.array([place, place, turn, speed, speed])
        seen = _copied(view)
        seen.agents[:, : HEADING + 1] += drawn[:, : HEADING + 1]
        seen.agents[:, VX : VX + 2] += drawn[:, VX:]
        if seen.futures is not None:
            seen.futures[...] += drawn[:, None]
        if self._observe is not None:
            observation = self._observed(seen)
        elif self.observation == "none":
            # It is nobody's, and its length, which the draws must not depend on, that of whatever simulator there is.
            return SensorFrame(observation, seen)
        noise = self._noise * self._rng.standard_normal(len(observation))
        return SensorFrame((observation + noise).astype(np.float32), seen)

    def _observed(self, view: EgoView) -> Singles:
        where = f"policy {self.name!r}: its observation function failed at step {view.step}"
        with foreign(where, PolicyError):
            found = np.asarray(self._observe(view), dtype=np.float32)  # type: ignore[misc]
        size = getattr(self._policy, "observation_size", None)
        if found.ndim != 1 or not np.isfinite(found).all() or (size is not None and len(found) != size):
            wanted = "a row of finite numbers" if size is None else f"{size} finite numbers"
            raise PolicyError(
                f"policy {self.name!r}: its observation function gave {found.dtype} {found.shape} at step {view.step}, "
                f"expected {wanted}."
            )
        return found


def _check_seen(policy: Any, noise: float, others: float, observe: object) -> None:
    """Refuse noise on what a policy does not see: its name would tell of noise that there is not."""
    if observe is not None:
        return
    if noise and policy.observation == "none":
        raise ConfigError(
            f"policy {policy.name!r} wants no observation, so that noise does nothing. Expected position, heading or "
            "velocity, which are noise on the true states that it reads."
        )
    if others and not policy.privileged:
        raise ConfigError(
            f"policy {policy.name!r} is not privileged and reads no true states, so that position, heading and "
            "velocity do nothing. Expected noise, which is on its observation."
        )


def _copied(view: EgoView) -> EgoView:
    """The view with arrays of its own."""
    names = ("ego", "route", "agents", "agent_sizes", "futures")
    arrays: dict[str, Floats] = {name: found.copy() for name in names if (found := getattr(view, name)) is not None}
    return replace(view, **arrays)  # type: ignore[arg-type]
