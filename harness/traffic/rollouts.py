"""What a traffic simulator returns, and the contract that every traffic simulator fulfils.

The layout is that of the Waymo Open Sim Agents Challenge: every agent that is present at the current step (step 10)
is simulated for the 8 s that follow, many times over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, ScenarioError
from scenarios.scenario import CURRENT_STEP, Scenario

FUTURE_STEPS: Final = 80
"""Simulated steps: 8 s at 10 Hz, absolute steps 11 … 90 (the challenge's submission)."""
POSE: Final = 4
"""Columns of a simulated pose: x, y, z (m), heading (rad)."""


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedScene:
    """Roll-outs of one scene. R roll-outs, A agents, S steps (normally 80).

    Attributes:
        states: [R, A, S, 4] float64: x, y, z (m), heading (rad) in the scene's world frame; row k is absolute step
            `CURRENT_STEP + 1 + k`. Every agent is present throughout.
        agents: [A] indices of the agents in the scenario; all that are valid at step 10, ascending.
    """

    states: NDArray[np.float64]
    agents: NDArray[np.intp]

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ConfigError: They do not belong together.
        """
        shape = self.states.shape
        if len(shape) != 4 or shape[-1] != POSE or shape[1] != len(self.agents) or min(shape) == 0:
            raise ConfigError(
                f"SimulatedScene: states {shape} for {len(self.agents)} agents; expected [rollouts, agents, steps, "
                f"{POSE}]: x, y, z, heading."
            )

    @property
    def rollouts(self) -> int:
        """Number of roll-outs R."""
        return int(self.states.shape[0])

    @property
    def steps(self) -> int:
        """Number of simulated steps S."""
        return int(self.states.shape[2])


@runtime_checkable
class SceneSimulator(Protocol):
    """Simulates whole scenes from their first second."""

    name: str

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Roll the scene out from step 10.

        Args:
            scenario: Only rows 0 … 10 and the map may be used (the log replay baseline aside).
            rollouts: Number of independent roll-outs.
            seed: Same seed, same result.
        """
        ...


def simulated_agents(scenario: Scenario) -> NDArray[np.intp]:
    """Indices of the agents to simulate: those valid at the current step, ascending.

    Raises:
        ScenarioError: The scene ends before the current step.
    """
    if scenario.num_steps <= CURRENT_STEP:
        raise ScenarioError(
            f"{scenario.source or scenario.id}: {scenario.num_steps} steps; traffic is simulated from step "
            f"{CURRENT_STEP} on. Give a scene of at least {CURRENT_STEP + 2} steps."
        )
    return np.flatnonzero(scenario.valid[:, CURRENT_STEP])
