"""What truly happened in an episode, by absolute step, in the scenario's own frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import STATE, Newcomer, Trajectory

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Recording:
    """Everyone's true motion and every crash flag. S = rows (the longer of the scene and the horizon, plus one).

    Attributes:
        scenario_id: Scene.
        steps: Last simulated step; rows `start` … `steps` are filled.
        ego: Trajectory of the ego, [S, STATE].
        opponent: Trajectory of the opponent, or None where the scene has none.
        agents: [A, S, STATE] of everybody (the ego included, at its index).
        agents_valid: [A, S].
        contact: [S] whether the engine reported a contact between the ego and a vehicle, or an opponent of another
            kind, in this step.
        geometry: [S] whether the ego's box met a vehicle's box, or such an opponent's, after this step.
        geometry_opponent: [S] whether it met the opponent's.
        engine_force, brake_force: Forces of the ego's car, N per wheel at action 1 and -1.
        start: Step at which the episode began.
        newcomers: Who entered: the last of the A agents.
        route: [N, 2] the ego's route where it goes on beyond the log, m; else None.
    """

    scenario_id: str
    steps: int
    ego: Trajectory
    opponent: Trajectory | None
    agents: Floats
    agents_valid: Bools
    contact: Bools
    geometry: Bools
    geometry_opponent: Bools
    engine_force: float = float("nan")
    brake_force: float = float("nan")
    start: int = 0
    newcomers: tuple[Newcomer, ...] = ()
    route: Floats | None = None

    @staticmethod
    def first(flags: Bools) -> int | None:
        """First step at which a flag is set, or None."""
        steps = np.flatnonzero(flags)
        return int(steps[0]) if len(steps) else None

    @property
    def crash_contact(self) -> int | None:
        """First step with a reported contact that counts, or None."""
        return self.first(self.contact)

    @property
    def crash_geometry(self) -> int | None:
        """First step with overlapping boxes, or None."""
        return self.first(self.geometry)

    @property
    def crash_opponent(self) -> int | None:
        """First step at which the ego's and the opponent's boxes overlap, or None."""
        return self.first(self.geometry_opponent)


class Recorder:
    """Collects an episode step by step, cheaply; `finish` assembles the arrays."""

    def begin(self, rows: int, forces: tuple[float, float], start: int) -> None:
        """Forget the last episode.

        Args:
            rows: Steps that there may be, and one.
            forces: Engine and brake force of the ego, N per wheel.
            start: Step at which the episode begins.
        """
        self.forces, self.start = forces, start
        self.ego = np.zeros((rows, STATE))
        self.contact = np.zeros(rows, bool)
        self.geometry = np.zeros(rows, bool)
        self.geometry_opponent = np.zeros(rows, bool)
        self.steps = start
        self._planned: list[tuple[int, int, Floats]] = []

    def note_plan(self, step: int, opponent: int, state: Floats) -> None:
        """The opponent was off its log: at `state` [STATE]."""
        self._planned.append((step, opponent, state))

    def finish(
        self,
        scenario_id: str,
        ego_index: int,
        opponent: int | None,
        logged: Floats,
        present: Bools,
        off_log: Floats | None,
    ) -> Recording:
        """Assemble the record.

        Args:
            scenario_id: Scene.
            ego_index, opponent: Indices.
            logged: [A, T, STATE] the log.
            present: [A, S] who was there.
            off_log: [A, S, STATE] true states where a traffic policy drove, or None.
        """
        agents_count, rows = present.shape
        agents = np.zeros((agents_count, rows, STATE)) if off_log is None else off_log.copy()
        if off_log is None:
            common = min(rows, logged.shape[1])
            agents[:, :common] = logged[:, :common]
            agents[:, common:] = logged[:, -1:]
        for step, agent, state in self._planned:
            agents[agent, step] = state
        valid = present.copy()
        valid[:, self.steps + 1 :] = False
        valid[ego_index, self.start : self.steps + 1] = True
        agents[ego_index] = self.ego
        agents[~valid] = 0.0
        ego = Trajectory(agents[ego_index], valid[ego_index])
        other = None if opponent is None else Trajectory(agents[opponent], valid[opponent])
        return Recording(
            scenario_id,
            self.steps,
            ego,
            other,
            agents,
            valid,
            self.contact.copy(),
            self.geometry.copy(),
            self.geometry_opponent.copy(),
            *self.forces,
            self.start,
        )
