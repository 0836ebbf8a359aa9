"""The log of one scene as tensors: what the realism metrics compare simulations with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from harness.errors import ConfigError, ScenarioError
from harness.metrics.wosac.config import Quirks
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Kind, Scenario

STEP: float = 0.1
"""Time step at which the metrics are defined, s (10 Hz)."""
FEWEST: int = CURRENT_STEP + 4
"""Shortest scene, steps: an acceleration is a central difference of central differences."""
JITTER: float = 0.005
"""Tolerance of a time step, s: WOMD's time stamps wander by a few ms, and the metrics take every step for 0.1 s."""
NEAR: Final = 100.0
"""Distance from the AV within which everybody is scored where `near` is asked for, m (CAT-K trains within as much)."""

Evaluated = Literal["official", "near"]
"""Who is scored: whom the challenge scores, or everybody within 100 m of the AV."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A simulated agents (valid at step 10), E of them evaluated, T logged steps of which S are future.

    Attributes:
        agents: [A] indices in the scenario, ascending.
        evaluated: [E] indices into `agents`.
        poses: [A, T, 4] float64 x, y, z, heading in the frame of `origin`.
        valid: [A, T].
        sizes: [A, 3] at step 10, m.
        vehicle: [E] bool.
        origin: [2] float64, world, m.
    """

    agents: Tensor
    evaluated: Tensor
    poses: Tensor
    valid: Tensor
    sizes: Tensor
    vehicle: Tensor
    origin: np.ndarray


def evaluated_agents(scenario: Scenario, who: Evaluated = "official") -> tuple[tuple[int, ...], str]:
    """Scenario indices of the agents that are scored, and by what rule.

    The challenge scores `tracks_to_predict` and the AV. Where the metadata have no such list, the objects of interest
    and the AV are scored; where they have neither, every vehicle, pedestrian and cyclist that is there at step 10.
    Agents that are absent at step 10 are not simulated and so not scored.

    Args:
        scenario: The scene.
        who: `official` is what the challenge scores. `near` is every vehicle, pedestrian and cyclist within 100 m of
            the AV at step 10, the AV among them: in WOMD some twenty a scene in the place of two.

    Returns:
        Indices in ascending order of the agents' ids (the challenge's order) where these are numbers, and
        `tracks_to_predict`, `objects_of_interest`, `all` or `near`.
    """
    if who == "near":
        place = scenario.position[:, CURRENT_STEP, :2]
        with np.errstate(invalid="ignore"):
            near = np.linalg.norm(place - place[scenario.ego], axis=-1) <= NEAR
        there = near & (scenario.kinds <= Kind.CYCLIST) & scenario.valid[:, CURRENT_STEP]
        return _ordered(scenario, np.flatnonzero(there).tolist()), "near"
    predict = scenario.metadata.get("tracks_to_predict")
    names: Sequence[object] = ()
    if isinstance(predict, Mapping):
        names = list(predict)
    elif isinstance(predict, Sequence) and not isinstance(predict, str):
        names = [scenario.agent_ids[entry["track_index"]] if isinstance(entry, Mapping) else entry for entry in predict]
    rule = "tracks_to_predict"
    if not names:
        names, rule = scenario.objects_of_interest, "objects_of_interest"
    known = {name: index for index, name in enumerate(scenario.agent_ids)}
    chosen = {known[str(name)] for name in names if str(name) in known} | {scenario.ego}
    if not names:
        chosen, rule = set(np.flatnonzero(scenario.kinds <= Kind.CYCLIST).tolist()), "all"
    present = [index for index in chosen if scenario.valid[index, CURRENT_STEP]]
    return _ordered(scenario, present), rule


def _ordered(scenario: Scenario, agents: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(agents, key=lambda index: _id_order(scenario.agent_ids[index])))


def _id_order(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def read_log(
    scenario: Scenario, quirks: Quirks, agents: Sequence[int] | None = None, device: torch.device | str = "cpu"
) -> Logged:
    """Collect the log of a scene, up to 8 s after the current step: what the challenge judges.

    Args:
        scenario: At 10 Hz, with at least three steps after the current one.
        quirks: For `single_precision_world`.
        agents: Scenario indices to evaluate; `evaluated_agents` by default.
        device: Device of the tensors.

    Raises:
        ScenarioError: Another time step, too short, or nobody to evaluate.
        ConfigError: An agent to evaluate is not there at step 10.
    """
    where = scenario.source or scenario.id
    if scenario.num_steps < FEWEST:
        raise ScenarioError(f"{where}: {scenario.num_steps} steps; realism needs at least {FEWEST}. Leave it out.")
    if abs(scenario.dt - STEP) > JITTER:
        raise ScenarioError(f"{where}: steps of {scenario.dt} s; the realism metrics are defined at {STEP} s.")
    rows = slice(CURRENT_STEP + 1 + FUTURE_STEPS)
    simulated = np.flatnonzero(scenario.valid[:, CURRENT_STEP])
    chosen = evaluated_agents(scenario)[0] if agents is None else tuple(agents)
    if not chosen:
        raise ScenarioError(f"{where}: nobody to evaluate is there at step {CURRENT_STEP}. Leave this scene out.")
    missing = set(chosen) - set(simulated.tolist())
    if missing:
        raise ConfigError(f"{where}: agent {min(missing)} is to be evaluated but is not there at step {CURRENT_STEP}.")
    poses = np.concatenate([scenario.position[simulated, rows], scenario.heading[simulated, rows, None]], -1)
    origin = scenario.position[scenario.ego, CURRENT_STEP, :2].astype(np.float64)
    make = lambda values: torch.as_tensor(np.ascontiguousarray(values), device=device)  # noqa: E731
    return Logged(
        agents=make(simulated),
        evaluated=make(np.searchsorted(simulated, chosen)),
        poses=make(to_local(poses, origin, quirks)),
        valid=make(scenario.valid[simulated, rows]),
        sizes=make(scenario.size[simulated, CURRENT_STEP].astype(np.float32)),
        vehicle=make(scenario.kinds[list(chosen)] == Kind.VEHICLE),
        origin=origin,
    )


def to_local(poses: np.ndarray, origin: np.ndarray, quirks: Quirks) -> np.ndarray:
    """Poses or points [..., 2+] shifted to `origin`, float64; rounded to float32 first where the official code does."""
    poses = np.asarray(poses)
    if quirks.single_precision_world:
        poses = poses.astype(np.float32)
    poses = poses.astype(np.float64)  # A copy: the caller's array is not shifted.
    poses[..., :2] -= origin
    return poses
