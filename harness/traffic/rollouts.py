"""What a traffic simulator returns, and the contract that every traffic simulator fulfils.

The layout is that of the Waymo Open Sim Agents Challenge: every agent that is present at the current step (step 10)
is simulated for the 8 s that follow, many times over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, ScenarioError
from harness.files import JsonDict
from harness.interfaces import HEADING, VX, Bools, Floats, Newcomer, SpawningTraffic, TrafficPolicy
from harness.traffic.heights import follow_ground
from harness.traffic.slots import Slots, reserve_of
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Scenario

POSE: Final = 4
"""Columns of a simulated pose: x, y, z (m), heading (rad)."""


class Interventions(NamedTuple):
    """What a shield (see `harness.traffic.shield`) has done.

    Attributes:
        decisions: Choices made, one per agent and half second.
        changed: Choices among them that are others than without the shield.
        no_way_out: Choices among them that keep clear of others and of road edges no more than any other would.
    """

    decisions: int = 0
    changed: int = 0
    no_way_out: int = 0

    def plus(self, other: Interventions) -> Interventions:
        """Both together."""
        return Interventions(*(mine + more for mine, more in zip(self, other, strict=True)))


def total_interventions(parts: Iterable[Interventions | None]) -> JsonDict | None:
    """Counts of several shields together, by name, as in JSON; None where there was no shield."""
    known = [part for part in parts if part is not None]
    return reduce(Interventions.plus, known)._asdict() if known else None


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedScene:
    """Roll-outs of one scene. R roll-outs, A agents, S steps (normally 80).

    Attributes:
        states: [R, A, S, 4] float64: x, y, z (m), heading (rad) in the scene's world frame; row k is absolute step
            `CURRENT_STEP + 1 + k`. Every agent is present throughout, unless `valid` says
            otherwise.
        agents: [A] indices of the agents in the scenario; all that are valid at step 10, ascending.
        interventions: What the shield has done in all roll-outs, those that were not kept included; None without one.
        valid: [R, A, S] who is there, where agents enter and leave; None: everybody always is. Their rows are all
            agents of the scene, then those who entered; z is 0.
        newcomers: Who entered, per roll-out: the rows behind the scene's own agents.
    """

    states: NDArray[np.float64]
    agents: NDArray[np.intp]
    interventions: Interventions | None = None
    valid: NDArray[np.bool_] | None = None
    newcomers: tuple[tuple[Newcomer, ...], ...] = ()

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

    def newcomers_in(self, rollout: int) -> tuple[Newcomer, ...]:
        """Who entered in one roll-out."""
        return self.newcomers[rollout] if self.newcomers else ()

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


class PolicySimulator:
    """A `TrafficPolicy` as a `SceneSimulator`: it moves everybody in the scene, and no ego is there to react to.

    By default a simulated scene keeps everybody who is there at step 10, and nobody else: whom the policy removes goes
    on at constant velocity, and newcomers are not returned. With `comings` agents enter and leave as the policy says.
    """

    def __init__(self, policy: TrafficPolicy, *, steps: int = FUTURE_STEPS, comings: bool = False) -> None:
        """Take the policy.

        Args:
            policy: Who drives.
            steps: Simulated steps of every roll-out.
            comings: Whether agents enter and leave.
        """
        self.policy, self.name = policy, policy.name
        self._steps, self._comings = steps, comings

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Roll out from step 10; see `SceneSimulator`."""
        agents, alone = simulated_agents(scenario), with_absent_ego(scenario)
        reserve = reserve_of(self.policy)
        scene = alone.with_reserve(reserve)
        known = np.append(np.arange(scenario.num_agents), np.arange(alone.num_agents, scene.num_agents))
        rolls = []
        for number in range(rollouts):
            slots = Slots(scene, reserve)
            states, valid = self._roll(scene, agents, slots, np.random.default_rng([seed, number]))
            # The ego that is never there has no row in what is returned.
            slots.first -= 1
            slots.stays = [stay._replace(who=stay.who._replace(slot=stay.who.slot - 1)) for stay in slots.stays]
            rolls.append(slots.apart(valid[known], states[known]))
        if self._comings:
            return self._with_comings(rolls)
        kept = np.stack([states[agents] for _, states, _ in rolls])[..., : HEADING + 1]
        return SimulatedScene(_with_heights(scenario, agents, kept), agents)

    def _with_comings(self, rolls: list[tuple[Bools, Floats, tuple[Newcomer, ...]]]) -> SimulatedScene:
        """Roll-outs with all agents of the scene and everybody who entered; roll-outs of fewer have empty rows."""
        rows = max(len(valid) for valid, _, _ in rolls)
        poses = np.zeros((len(rolls), rows, self._steps, HEADING + 1))
        present = np.zeros(poses.shape[:-1], bool)
        for number, (valid, states, _) in enumerate(rolls):
            poses[number, : len(states)], present[number, : len(valid)] = states[..., : HEADING + 1], valid
        heights = np.zeros((*poses.shape[:-1], POSE))
        heights[..., [0, 1, 3]] = poses
        return SimulatedScene(heights, np.arange(rows), valid=present, newcomers=tuple(who for _, _, who in rolls))

    def _roll(
        self, scene: Scenario, agents: NDArray[np.intp], slots: Slots, rng: np.random.Generator
    ) -> tuple[Floats, Bools]:
        """States [A, S, STATE] and validity [A, S] of one roll-out; step 11 is the first."""
        log = np.stack([scene.states(agent) for agent in range(scene.num_agents)])
        states, valid = log[:, 0], scene.valid[:, 0]
        rows, there = [], []
        self.policy.reset(scene, rng)
        for step in range(CURRENT_STEP + self._steps):
            following, present = self.policy.step(step, states.copy(), valid.copy())
            if step < CURRENT_STEP:
                following, present = log[:, step + 1], scene.valid[:, step + 1]
            else:
                if isinstance(self.policy, SpawningTraffic):
                    slots.enter(self.policy.spawned(), step - CURRENT_STEP, present, valid)
                if not self._comings:
                    gone = agents[~present[agents]]
                    following[gone] = states[gone]
                    following[gone, :2] += states[gone, VX:] * scene.dt
                rows.append(following)
                there.append(present)
            states, valid = following, present
        return np.stack(rows, axis=1), np.stack(there, axis=1)


def _with_heights(scenario: Scenario, agents: NDArray[np.intp], poses: Floats) -> Floats:
    """Poses [R, A, S, 4] on the ground out of x, y and heading [R, A, S, 3]."""
    states = np.zeros((*poses.shape[:-1], POSE))
    states[..., [0, 1, 3]] = poses
    states[..., 2] = follow_ground(scenario, agents, states)
    return states


def with_absent_ego(scenario: Scenario) -> Scenario:
    """The scene with no opponent and one agent more, never there, as its ego: a policy moves all the others."""

    def again(values: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([values, values[scenario.ego : scenario.ego + 1]])

    valid = again(scenario.valid)
    valid[-1] = False
    return replace(
        scenario,
        agent_ids=(*scenario.agent_ids, "nobody"),
        kinds=again(scenario.kinds),
        position=again(scenario.position),
        heading=again(scenario.heading),
        velocity=again(scenario.velocity),
        size=again(scenario.size),
        valid=valid,
        ego=scenario.num_agents,
        opponent=None,
    )


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
