"""Who caused a contact in simulated traffic: the same noise, with one of the two replaced by a careful driver.

A scene is rolled out once. For every contact it is rolled out again, up to shortly after, with either of the two
replaced in turn: the careful driver keeps to the way that the replaced one drove, and brakes for whom it would meet.
Everybody else draws the same random numbers and reacts to what happens. Whose care prevents the contact could have
prevented it; if that holds for one of the two alone, its behaviour made the contact. No simulator is involved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.files import JsonDict
from harness.geometry import arc_lengths, boxes_overlap, to_frame
from harness.interfaces import HEADING, VX, VY, TrafficPolicy
from harness.metrics.collision import first_contact
from harness.traffic.reactivity import play
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BEFORE: Final = 40
"""The careful driver takes over so many steps before the contact, 4 s."""
AFTER: Final = 50
"""A contact that is only put off by less than so many steps, 5 s, has not been prevented: who stops before somebody
that comes on is hit later."""
MOST: Final = 10
"""Contacts of a scene that are looked into, the earliest first: each is two roll-outs."""
_AHEAD: Final = np.arange(1, 31) * 0.1
"""Times at which the careful driver looks for conflicts, s."""
_BRAKING: Final = 6.0
"""Hard, on a dry road, m/s² (the deceleration of `reactivity`)."""
_RECOVERY: Final = 2.0
"""How fast it comes back to the speed of whom it replaces, m/s²."""
_MARGIN: Final = 0.3
"""How much longer and wider than itself it takes itself to be, on every side, m."""
_MOVING: Final = 0.5
"""Slower road users stand, m/s."""
_ROAD_USERS: Final = (Kind.VEHICLE, Kind.PEDESTRIAN, Kind.CYCLIST)

Verdict = Literal["one", "either", "neither"]


@dataclass(frozen=True, slots=True)
class Cause:
    """A contact, and whose care would have prevented it.

    Attributes:
        scene: Id of the scene.
        step: Absolute step at which the contact begins.
        agents: Ids of the two.
        kinds: What they are.
        prevented_by: Ids of those of the two whose care, alone, prevents it.
    """

    scene: str
    step: int
    agents: tuple[str, str]
    kinds: tuple[str, str]
    prevented_by: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """`one` of the two alone made it, `either` could have prevented it, or `neither`, alone, could."""
        verdicts: tuple[Verdict, ...] = ("neither", "one", "either")
        return verdicts[len(self.prevented_by)]


class CarefulDriver:
    """Keeps to a way, no faster than it was driven, and brakes for whom it would meet there; a `Driver` of `play`.

    It expects everybody who is not behind its middle to go on as they do, for 3 s, and brakes with 6 m/s² as long as,
    at its own speed, its box would then touch theirs. It has no reaction time.
    """

    def __init__(self, agent: int, way: Floats, sizes: Floats, since: int, dt: float) -> None:
        """Take somebody's place.

        Args:
            agent: Whose.
            way: [T, STATE] how it was driven, by absolute step; rows from `since` on count.
            sizes: [A, 2] length and width of everybody, m.
            since: Absolute step after which it drives.
            dt: Seconds between steps.
        """
        self.since = since
        self._agent, self._sizes, self._dt = agent, sizes, dt
        self._way = way[since:]
        self._along = arc_lengths(self._way[:, :2])
        self._pace = np.hypot(self._way[:, VX], self._way[:, VY])
        self._gone, self._speed = 0.0, float(self._pace[0])

    def step(self, step: int, states: Floats, valid: Bools) -> Floats:
        """Its state [STATE] at `step + 1`, given everybody's [A, STATE], [A] at `step`."""
        if self._meets(states, valid):
            self._speed = max(self._speed - _BRAKING * self._dt, 0.0)
        else:
            wanted = float(self._at(self._gone, self._pace))
            self._speed = min(self._speed + _RECOVERY * self._dt, max(wanted, 0.0))
        self._gone = min(self._gone + self._speed * self._dt, float(self._along[-1]))
        pose = self._pose(np.array([self._gone]))[0]
        return np.array([*pose, self._speed * np.cos(pose[2]), self._speed * np.sin(pose[2])])

    def _at(self, along: Floats | float, values: Floats) -> Floats:
        return np.asarray(np.interp(along, self._along, values))

    def _pose(self, along: Floats) -> Floats:
        """Poses [N, 3] on its way."""
        heading = self._at(along, np.unwrap(self._way[:, HEADING]))
        return np.stack([self._at(along, self._way[:, 0]), self._at(along, self._way[:, 1]), heading], -1)

    def _meets(self, states: Floats, valid: Bools) -> bool:
        own = states[self._agent, : HEADING + 1]
        others = np.flatnonzero(valid & (to_frame(states[:, :2], own)[:, 0] > 0))
        others = others[others != self._agent]
        mine = self._pose(np.asarray(self._gone + self._speed * _AHEAD))[:, None]
        theirs = np.repeat(states[None, others, : HEADING + 1], len(_AHEAD), 0)
        theirs[..., :2] += states[others, VX : VY + 1] * _AHEAD[:, None, None]
        size = self._sizes[self._agent] + 2 * _MARGIN
        mine, size = np.broadcast_to(mine, theirs.shape), np.broadcast_to(size, (*theirs.shape[:-1], 2))
        return bool(boxes_overlap(mine, size, theirs, np.broadcast_to(self._sizes[others], size.shape)).any())


def contacts(states: Floats, valid: Bools, sizes: Floats, kinds: NDArray[np.int8]) -> list[tuple[int, int, int]]:
    """First contacts after step 10 of every two road users: absolute step and the two, the earliest first.

    Somebody who appears in touch with another has not run into it, nor has a box that trembles while both stand:
    contacts count where both were there a step before and one of them moves.

    Args:
        states: [A, T, STATE].
        valid: [A, T].
        sizes: [A, 2] length and width, m.
        kinds: [A] `Kind` of each.
    """
    users = np.flatnonzero(np.isin(kinds, _ROAD_USERS))
    found = []
    for place, agent in enumerate(users[:-1].tolist()):
        rest = users[place + 1 :]
        steps = first_contact(
            states[agent], valid[agent], sizes[agent], states[rest], valid[rest], sizes[rest], CURRENT_STEP + 1
        )
        found += [(int(step), agent, int(other)) for step, other in zip(steps, rest, strict=True) if step >= 0]
    pace = np.hypot(states[..., VX], states[..., VY])
    return sorted(
        (step, *pair)
        for step, *pair in found
        if valid[pair, step - 1].all() and pace[pair, step - 1 : step + 1].max() > _MOVING
    )


def causes(scenario: Scenario, traffic: TrafficPolicy, ego: Floats, seed: int) -> list[Cause]:
    """Roll a scene out and say who caused its contacts.

    Args:
        scenario: The scene.
        traffic: What moves everybody but the ego.
        ego: [T, STATE] what the ego does.
        seed: The traffic's.

    Returns:
        At most `MOST`, the earliest first.
    """
    states, valid = play(scenario, traffic, ego, seed)
    sizes = np.array([scenario.box(agent) for agent in range(scenario.num_agents)])
    found = []
    for step, first, second in contacts(states, valid, sizes, scenario.kinds)[:MOST]:
        able = [
            agent
            for agent in (first, second)
            if _prevents(scenario, traffic, ego, seed, (states, valid, sizes), agent, (step, first, second))
        ]
        names = scenario.agent_ids
        found.append(
            Cause(
                scenario.id,
                step,
                (names[first], names[second]),
                (Kind(scenario.kinds[first]).name.lower(), Kind(scenario.kinds[second]).name.lower()),
                tuple(names[agent] for agent in able),
            )
        )
    return found


def _prevents(
    scenario: Scenario,
    traffic: TrafficPolicy,
    ego: Floats,
    seed: int,
    played: tuple[Floats, Bools, Floats],
    agent: int,
    contact: tuple[int, int, int],
) -> bool:
    """Whether a contact does not happen if one of the two is careful."""
    states, valid, sizes = played
    step, first, second = contact
    here = np.flatnonzero(valid[agent])
    since = max(CURRENT_STEP, step - BEFORE, int(here[0]))
    way = states[agent].copy()
    # Who leaves in the original roll-out stands, from then on, where it was seen last.
    way[here[-1] + 1 :] = way[here[-1]]
    way[here[-1] + 1 :, VX : VY + 1] = 0.0
    driver = CarefulDriver(agent, way, sizes, since, scenario.dt)
    last = min(step + AFTER, scenario.num_steps - 1)
    again, there = play(scenario, traffic, ego, seed, drivers={agent: driver}, last=last)
    begun = first_contact(
        again[first], there[first], sizes[first], again[second], there[second], sizes[second], CURRENT_STEP + 1
    )
    return bool(begun < 0)


def summarise(found: Mapping[str, Sequence[Sequence[Cause]]]) -> JsonDict:
    """By kind of traffic: scenes, contacts, contacts a scene, and how many of each verdict.

    Args:
        found: Causes of each scene, by kind of traffic.

    Raises:
        ConfigError: No scene was looked at.
    """
    if not found or not all(found.values()):
        raise ConfigError("causes: there is no scene to look at; take some.")
    rows: JsonDict = {}
    for name, scenes in found.items():
        verdicts = Counter(cause.verdict for causes in scenes for cause in causes)
        total = verdicts.total()
        rows[name] = {
            "scenes": len(scenes),
            "contacts": total,
            "contacts_per_scene": total / len(scenes),
            **{verdict: verdicts[verdict] for verdict in ("one", "either", "neither")},
            "causes": [asdict(cause) | {"verdict": cause.verdict} for causes in scenes for cause in causes],
        }
    return rows
