"""Who is who in an episode that agents enter and leave: kinds and sizes by row, and everybody's stay in a slot.

A slot is used by one agent after another. While an episode goes on rows are slots, so that memory is bounded; in its
record every agent has a row of its own (`Slots.apart`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConformanceError
from harness.interfaces import STATE, Bools, Floats, Newcomer, SpawningTraffic
from scenarios.scenario import Kind, Scenario

ENTERING: Final = (Kind.VEHICLE, Kind.PEDESTRIAN, Kind.CYCLIST)
"""What may enter."""


class Stay(NamedTuple):
    """One agent's time in a slot: it came with absolute step `step`."""

    who: Newcomer
    step: int


def reserve_of(traffic: object) -> int:
    """Slots that a traffic policy needs; 0 where nobody enters."""
    return traffic.reserve if isinstance(traffic, SpawningTraffic) else 0


class Slots:
    """Kinds and sizes of everybody in one episode.

    Attributes:
        first: First row that is a slot; all later ones are.
        kinds: [A] `Kind` of who is in each row, or was there last.
        sizes: [A, 2] length and width, m.
        stays: Who has entered, in order.
    """

    def __init__(self, scenario: Scenario, reserve: int) -> None:
        """Begin an episode.

        Args:
            scenario: The scene with its slots.
            reserve: Their number.
        """
        self.first = scenario.num_agents - reserve
        self.kinds: NDArray[np.int8] = scenario.kinds.copy()
        self.sizes: Floats = np.array([scenario.box(agent) for agent in range(scenario.num_agents)]).reshape(-1, 2)
        self.stays: list[Stay] = []

    @property
    def is_slot(self) -> Bools:
        """[A] which rows are slots."""
        return np.arange(len(self.kinds)) >= self.first

    def enter(self, newcomers: Sequence[Newcomer], step: int, present: Bools, here: Bools) -> None:
        """Take note of who enters with absolute step `step`.

        Args:
            newcomers: As `SpawningTraffic.spawned` names them.
            step: The step.
            present: [A] who is there after it, as the policy says.
            here: [A] who was there before.

        Raises:
            ConformanceError: The policy breaks its contract.
        """
        named = [int(who.slot) for who in newcomers]
        for who in newcomers:
            slot, size = int(who.slot), np.asarray(who.size, np.float64)
            if not self.first <= slot < len(here) or here[slot] or not present[slot] or named.count(slot) > 1:
                raise ConformanceError(
                    f"step {step}: agent {slot} cannot enter. Expected a slot ({self.first} … {len(here) - 1}) that "
                    "was empty in the last step, named once, and valid in the states returned with it."
                )
            if who.kind not in ENTERING or size.shape != (3,) or not (np.isfinite(size).all() and (size > 0).all()):
                raise ConformanceError(
                    f"step {step}: who enters slot {slot} is {who.kind!r} of {who.size}; expected a vehicle, "
                    "pedestrian or cyclist with positive length, width and height in metres."
                )
            length, width, height = size.tolist()
            self.kinds[slot], self.sizes[slot] = who.kind, (length, width)
            self.stays.append(Stay(Newcomer(slot, Kind(who.kind), (length, width, height)), step))
        unknown = np.flatnonzero(present & ~here & self.is_slot)
        if strangers := set(unknown.tolist()) - set(named):
            raise ConformanceError(
                f"step {step}: agents {sorted(strangers)} are valid, but spawned() does not name them."
            )

    def refuse(self, slots: NDArray[np.intp], step: int) -> None:
        """Some of those who were to enter with `step` have not."""
        self.stays = [stay for stay in self.stays if stay.step != step or stay.who.slot not in slots]

    def apart(self, present: Bools, states: Floats) -> tuple[Bools, Floats, tuple[Newcomer, ...]]:
        """Everybody in a row of its own: the scene's agents, then all who entered, in order.

        Args:
            present: [A, S] who was there, by row and absolute step.
            states: [A, S, STATE].

        Returns:
            The same for [A - slots + N] agents, and the N newcomers with their new rows.
        """
        first, steps = self.first, present.shape[1]
        valid = np.zeros((first + len(self.stays), steps), bool)
        motion = np.zeros((len(valid), steps, STATE))
        valid[:first], motion[:first] = present[:first], states[:first]
        for row, (who, step) in enumerate(self.stays, first):
            left = np.flatnonzero(~present[who.slot, step:])
            stay = slice(step, step + int(left[0]) if len(left) else steps)
            valid[row, stay], motion[row, stay] = True, states[who.slot, stay]
        return valid, motion, tuple(who._replace(slot=row) for row, (who, _) in enumerate(self.stays, first))


def as_played(scenario: Scenario, newcomers: Sequence[Newcomer]) -> Scenario:
    """The scene with those who entered an episode as its last agents, for whoever asks for kinds and sizes."""
    if not newcomers:
        return scenario
    return scenario.with_agents([who.kind for who in newcomers], [who.size for who in newcomers])
