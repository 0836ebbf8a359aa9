"""Simple traffic simulators to compare learned ones with: the log itself, and constant velocity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.traffic.rollouts import SimulatedScene, simulated_agents
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Scenario


class LogSimulator:
    """Every roll-out is the log: the reference that a perfect model of this very scene would reach."""

    name = "log"

    def __init__(self, *, as_recorded: bool = False) -> None:
        """Choose what happens where the log has no valid row.

        Args:
            as_recorded: Replay the invalid rows as the file holds them (zeros, usually), as the official log
                baseline does. False: between valid rows move evenly, after the last keep the last velocity; so does
                everybody after the end of a log that is shorter than 8 s.
        """
        self._as_recorded = as_recorded

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Replay; see `SceneSimulator`."""
        agents = simulated_agents(scenario)
        end = CURRENT_STEP + 1 + FUTURE_STEPS
        states = np.concatenate([scenario.position[agents], scenario.heading[agents, :, None]], -1)[:, :end]
        beyond = end - states.shape[1]
        states = np.pad(states, ((0, 0), (0, beyond), (0, 0)), "edge")
        valid = np.pad(scenario.valid[agents, :end], ((0, 0), (0, beyond)))
        if not self._as_recorded:
            velocity = scenario.velocity[agents, :end]
            states = np.stack(
                [
                    _fill(rows, speed, seen, scenario.dt)
                    for rows, speed, seen in zip(states, velocity, valid, strict=True)
                ]
            )
        return SimulatedScene(np.repeat(states[None, :, CURRENT_STEP + 1 :], rollouts, 0), agents)


class ConstantVelocitySimulator:
    """Every agent keeps its velocity, heading and height of step 10; every roll-out is the same."""

    name = "constant_velocity"

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Extrapolate; see `SceneSimulator`."""
        agents = simulated_agents(scenario)
        time = np.arange(1, FUTURE_STEPS + 1) * scenario.dt
        states = np.zeros((len(agents), FUTURE_STEPS, 4))
        states[..., :3] = scenario.position[agents, None, CURRENT_STEP]
        states[..., :2] += time[:, None] * scenario.velocity[agents, None, CURRENT_STEP]
        states[..., 3] = scenario.heading[agents, None, CURRENT_STEP]
        return SimulatedScene(np.repeat(states[None], rollouts, 0), agents)


def _fill(
    states: NDArray[np.float64], velocity: NDArray[np.float64], valid: NDArray[np.bool_], dt: float
) -> NDArray[np.float64]:
    """One agent's states [T, 4] without gaps."""
    rows, steps = np.flatnonzero(valid), np.arange(len(valid))
    filled = np.stack([np.interp(steps, rows, states[rows, column]) for column in range(3)], -1)
    heading = np.interp(steps, rows, np.unwrap(states[rows, 3]))
    after = steps > rows[-1]
    filled[after, :2] += (steps[after, None] - rows[-1]) * dt * velocity[rows[-1]]
    return np.concatenate([filled, heading[:, None]], -1)
