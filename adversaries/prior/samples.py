"""Training samples: which vehicles and when, and their cache on disk as flat memory-mapped arrays."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.prior.config import AGENT_FEATURES, GOAL_FEATURES, HISTORY, MAP_FEATURES, PriorConfig
from adversaries.prior.features import extract
from adversaries.prior.roads import RoadsCache
from harness.errors import RunError, reading
from harness.files import JsonDict, open_regular, read_json
from harness.geometry import to_frame, wrap_angle
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Kind, Scenario, ScenarioSource

Floats = NDArray[np.float64]

CACHE_VERSION: Final = 2
"""Raise when features change, so that old caches are not read."""
MOVED: Final = 1.0
"""A vehicle that ends within this distance of where it is counts as stationary, m."""
EARLY_END: Final = 10
"""A track may end this many steps early: its end is then extrapolated at its last velocity."""


class Cut(NamedTuple):
    """One way to look at a scene: the current step, and a stretch of time (0.8: 10 % … of speed are lost: slower)."""

    step: float
    stretch: float


PLAIN: Final = (Cut(CURRENT_STEP, 1.0),)
"""For held-out scenes: the scene as it is, at step 10."""
VARIED: Final = (
    *(Cut(s, 1.0) for s in (10, 7, 4)),
    *(Cut(s, 0.85) for s in (9, 15, 21)),
    *(Cut(s, 0.7) for s in (7, 18, 29)),
)
"""For training: other current steps, and slower versions of the scene (time stretched, so that 8 s of prediction fit
into less of the log): the same places and interactions at 85 % and 70 % of the speed."""


def retime(scenario: Scenario, cut: Cut) -> Scenario:
    """The scene as if recorded from another moment and played slower: `cut.step` becomes step 10, 91 steps in all."""
    if cut == PLAIN[0] and scenario.num_steps == CURRENT_STEP + 1 + FUTURE_STEPS:
        return scenario
    steps = CURRENT_STEP + 1 + FUTURE_STEPS
    times = cut.step + cut.stretch * (np.arange(steps) - CURRENT_STEP)
    inside = (times >= 0) & (times <= scenario.num_steps - 1)
    clipped = np.clip(times, 0, scenario.num_steps - 1)
    low = np.floor(clipped + 1e-9).astype(np.intp)
    high = np.minimum(low + (clipped - low > 1e-6), scenario.num_steps - 1)
    ratio = clipped - low

    def blend(values: Floats) -> Floats:
        weight = ratio.reshape((1, -1) + (1,) * (values.ndim - 2))
        return values[:, low] * (1.0 - weight) + values[:, high] * weight

    turn = wrap_angle(scenario.heading[:, high] - scenario.heading[:, low])
    lights = {
        key: {**light, "state": {"object_state": [_at(light, int(k)) for k in low]}}
        for key, light in scenario.lights.items()
    }
    return replace(
        scenario,
        position=blend(scenario.position),
        heading=scenario.heading[:, low] + turn * ratio,
        velocity=blend(scenario.velocity) * cut.stretch,
        size=scenario.size[:, low].copy(),
        valid=scenario.valid[:, low] & scenario.valid[:, high] & inside,
        lights=lights,
    )


def _at(light: Mapping[str, Any], step: int) -> object:
    states = light.get("state", {}).get("object_state", ())
    return states[step] if step < len(states) else None


def suitable(scenario: Scenario, stationary: float, seed: int) -> list[int]:
    """Vehicles to learn from in a retimed scene: present now with most of the history, and at (nearly) 8 s.

    Of the stationary ones only a share `stationary` is kept, drawn from `seed` and the vehicle's index.
    """
    now = CURRENT_STEP
    valid = scenario.valid
    last = valid[:, -1 - EARLY_END :].any(1) & (valid[:, now + 1 :].mean(1) > 0.7)
    known = valid[:, now] & (valid[:, : now + 1].sum(1) >= 5) & last & (scenario.kinds == Kind.VEHICLE)
    chosen = []
    for agent in np.flatnonzero(known):
        rows = np.flatnonzero(valid[agent])
        track = scenario.position[agent, rows, :2]
        if not (np.isfinite(track).all() and np.isfinite(scenario.velocity[agent, rows]).all()):
            continue
        moves = np.hypot(*(track[-1] - scenario.position[agent, now, :2])) > MOVED
        if moves or np.random.default_rng([seed, int(agent)]).random() < stationary:
            chosen.append(int(agent))
    return chosen


def target(scenario: Scenario, agent: int, pose: Floats) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Truth in the agent's frame: future [FUTURE_STEPS, 3] (x, y, heading), valid [FUTURE_STEPS], end point [2], m.

    A track that ends up to `EARLY_END` steps early is prolonged at its last velocity for the end point only.
    """
    window = slice(CURRENT_STEP + 1, CURRENT_STEP + 1 + FUTURE_STEPS)
    valid = scenario.valid[agent, window]
    future = np.zeros((FUTURE_STEPS, 3))
    future[:, :2] = to_frame(scenario.position[agent, window, :2], pose)
    future[:, 2] = wrap_angle(scenario.heading[agent, window] - pose[2])
    future[~valid] = 0.0
    last = int(np.flatnonzero(valid)[-1])
    velocity = to_frame(scenario.velocity[agent, CURRENT_STEP + 1 + last], np.array([0.0, 0.0, pose[2]]))
    end = future[last, :2] + velocity * scenario.dt * (FUTURE_STEPS - 1 - last)
    return future, valid, end


INDEX: Final = "index.json"
_LOG = logging.getLogger(__name__)
_FIELDS: Final[dict[str, tuple[str, Callable[[PriorConfig], tuple[int, ...]]]]] = {
    "agents": ("float16", lambda c: (c.max_agents, AGENT_FEATURES)),
    "agent_count": ("uint8", lambda c: ()),
    "map": ("float16", lambda c: (c.max_map, MAP_FEATURES)),
    "map_count": ("uint16", lambda c: ()),
    "goals": ("float16", lambda c: (c.max_goals, GOAL_FEATURES)),
    "goal_points": ("float32", lambda c: (c.max_goals, 2)),
    "goal_mask": ("bool", lambda c: (c.max_goals,)),
    "speed": ("float32", lambda c: ()),
    "future": ("float32", lambda c: (FUTURE_STEPS, 3)),
    "future_valid": ("bool", lambda c: (FUTURE_STEPS,)),
    "end": ("float32", lambda c: (2,)),
    "scene": ("int32", lambda c: ()),
    "agent": ("int32", lambda c: ()),
    "interest": ("bool", lambda c: ()),
    "moves": ("bool", lambda c: ()),
}


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """What a cache was made of; a cache with another spec is made again.

    Attributes:
        scenes: Names of the scenes.
        varied: Whether `VARIED` cuts were taken, or the plain one.
        stationary: Share of stationary vehicles kept.
        seed: Seed of that share.
        sizes: The model sizes that shape the arrays.
    """

    scenes: tuple[str, ...]
    varied: bool
    stationary: float
    seed: int
    sizes: tuple[int, ...]


def _sizes(config: PriorConfig) -> tuple[int, ...]:
    return (config.max_lanes, config.max_edges, config.max_agents, config.lane_goals, config.fan_goals)


def scene_rows(
    scenario: Scenario, scene: int, cuts: tuple[Cut, ...], stationary: float, seed: int, config: PriorConfig
) -> Iterator[dict[str, Any]]:
    """Samples of one scene."""
    cache = RoadsCache(2)
    for cut in cuts:
        if cut.step > scenario.num_steps - 1:
            continue
        view = retime(scenario, cut)
        for agent in suitable(view, stationary, seed + 1000 * scene):
            features = extract(view, agent, CURRENT_STEP, config, cache)
            future, valid, end = target(view, agent, features.pose)
            yield {
                "agents": features.agents,
                "agent_count": features.agent_mask.sum(),
                "map": features.map,
                "map_count": features.map_mask.sum(),
                "goals": features.goals,
                "goal_points": features.goal_points,
                "goal_mask": features.goal_mask,
                "speed": features.speed,
                "future": future,
                "future_valid": valid,
                "end": end,
                "scene": scene,
                "agent": agent,
                "interest": agent != view.ego
                and (agent == view.opponent or view.agent_ids[agent] in view.objects_of_interest),
                "moves": bool(np.hypot(*end) > MOVED),
            }


class Samples:
    """Memory-mapped samples. Index with an integer array to get a dict of arrays."""

    def __init__(self, folder: Path, config: PriorConfig) -> None:
        """Open a finished cache.

        Raises:
            RunError: A file is missing, cut or damaged.
        """
        self.count: int = read_json(folder / INDEX)["count"]
        for name, (kind, shape) in _FIELDS.items():
            expected = self.count * math.prod(shape(config)) * np.dtype(kind).itemsize
            with open_regular(folder / f"{name}.bin") as file:
                found = os.fstat(file.fileno()).st_size
            if self.count < 1 or found != expected:
                raise RunError(f"{folder / name}.bin has {found} bytes, {self.count} samples have {expected}.")
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.memmap(folder / f"{name}.bin", dtype=kind, mode="r", shape=(self.count, *shape(config)))
            for name, (kind, shape) in _FIELDS.items()
        }
        for name in ("scene", "agent", "interest", "moves"):
            self.arrays[name] = np.array(self.arrays[name])

    def check(self, config: PriorConfig) -> None:
        """Refuse counts and scenes that a network cannot take, with a ValueError."""
        most = {"agent_count": config.max_agents, "map_count": config.max_map}
        if any(int(self.arrays[name].max()) > limit for name, limit in most.items()):
            raise ValueError("a sample has more agents or pieces of the map than there is place for")
        if not self.arrays["goal_mask"].any(-1).all() or int(self.arrays["scene"].min()) < 0:
            raise ValueError("a sample has no goal, or no scene")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        return {name: np.asarray(values[index]) for name, values in self.arrays.items()}


def build_samples(
    source: ScenarioSource,
    folder: Path,
    config: PriorConfig,
    *,
    varied: bool,
    stationary: float,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Samples:
    """Extract the samples of a source once; a finished cache with the same spec is reused.

    Args:
        source: Scenes.
        folder: Where the arrays lie; written beside and renamed, so a killed run leaves no half cache.
        config: Model sizes.
        varied: Take the `VARIED` cuts (training) or the plain one.
        stationary: Share of stationary vehicles to keep.
        seed: Seed of that share.
        progress: Called with scenes done and scenes in all.

    Raises:
        RunError: No suitable vehicle in any scene, or the folder cannot be written.
    """
    spec = asdict(SampleSpec(source.ids, varied, stationary, seed, _sizes(config)))
    spec = json.loads(json.dumps({**spec, "version": CACHE_VERSION, "history": HISTORY}))
    if (kept := _kept(folder, spec, config)) is not None:
        return kept
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        beside.mkdir(parents=True)
        count = _write(source, beside, spec, config, progress)
        if count == 0:
            raise RunError(
                f"none of the {len(source)} scenes has a vehicle that is present for the second before and the eight "
                "seconds after step 10. The prior needs tracks of at least 8 s; choose other scenes."
            )
        (beside / INDEX).write_text(json.dumps({"count": count, "spec": spec}))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    except OSError as error:
        raise RunError(f"cannot write the sample cache {folder}: {error}. Choose another run folder.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Samples(folder, config)


def _kept(folder: Path, spec: JsonDict, config: PriorConfig) -> Samples | None:
    """The samples of a folder, where they are whole and were made of this."""
    if not (folder / INDEX).is_file():
        return None
    try:
        with reading(folder, "samples of the motion prior", RunError):
            if read_json(folder / INDEX).get("spec") != spec:
                return None
            samples = Samples(folder, config)
            samples.check(config)
            return samples
    except RunError as error:
        _LOG.warning("%s The samples are taken from the scenes again.", error)
        return None


def _write(
    source: ScenarioSource,
    folder: Path,
    spec: dict[str, Any],
    config: PriorConfig,
    progress: Callable[[int, int], None],
) -> int:
    count = 0
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in _FIELDS}
        for scene in range(len(source)):
            cuts = VARIED if spec["varied"] else PLAIN
            for row in scene_rows(source[scene], scene, cuts, spec["stationary"], spec["seed"], config):
                for name, (kind, _) in _FIELDS.items():
                    files[name].write(np.ascontiguousarray(row[name], dtype=kind).tobytes())
                count += 1
            progress(scene + 1, len(source))
    return count
