"""SEAL's training data: an ego policy in the engine against every candidate of every scene, one file per scene."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from harness.engine.config import EngineConfig, ObservationName
from harness.episodes.attacks import attack_context
from harness.episodes.rollout import run_episode
from harness.errors import AdversaryError
from harness.files import file_name
from harness.interfaces import AttackContext, AttackPlan, EgoPolicy, Episode, Trajectory
from harness.metrics.collision import near_contact
from scenarios.scenario import ScenarioSource

if TYPE_CHECKING:
    from harness.engine.env import GauntletEnv

log = logging.getLogger(__name__)

Play = Callable[[AttackPlan], tuple[Trajectory, int]]
"""Plays a plan in the engine: what the ego did, and the first step of contact with the opponent (-1 for none)."""


class Saved(Protocol):
    """What comes of a scene."""

    def save(self, path: Path) -> None:
        """Write it."""
        ...


@dataclass
class FixedPlan:
    """An adversary that always attacks as it was told."""

    given: AttackPlan
    name: str = "fixed"

    def plan(self, context: AttackContext) -> AttackPlan:
        """The given plan."""
        return self.given


def collect(
    source: ScenarioSource,
    policy: EgoPolicy,
    roll_out: Callable[[AttackContext, Play], Saved],
    folder: Path,
    *,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Roll out every scene that has no file yet.

    Args:
        source: Scenes.
        policy: The ego; `idm` in SEAL.
        roll_out: Plays every candidate against the drive in the context, by the function that it is given.
        folder: Where the files go; exists.
        seed: Seed of every episode.
        report: Told after each scene.

    Returns:
        Names of the scenes that have a file.

    Raises:
        EngineError: This process has a live engine already.
        PolicyError: The policy failed.
    """
    from harness.engine.env import GauntletEnv

    observation = cast(ObservationName, policy.observation)
    # Scenes are visited once, so nothing is gained by keeping them.
    env = GauntletEnv(source, EngineConfig(observation=observation, crash_vehicle_done=True, cache_scenes=1))
    total = len(source)
    done = []
    try:
        for index in range(total):
            name = file_name(source.ids[index])
            file = folder / f"{name}.npz"
            if not file.is_file():
                try:
                    _one(env, policy, index, seed, roll_out).save(file)
                except AdversaryError as error:
                    log.warning("left out: %s", error)
                    continue
            done.append(name)
            report(index + 1, total)
    finally:
        env.close()
    return done


def _one(
    env: GauntletEnv, policy: EgoPolicy, index: int, seed: int, roll_out: Callable[[AttackContext, Play], Saved]
) -> Saved:
    scenario = env.source[index]
    undisturbed = run_episode(env, policy, None, index, seed=seed).ego
    size = env.options.ego_box_in(scenario, replay=policy.control == "replay")
    context = attack_context(scenario, np.random.default_rng(seed), ego=(undisturbed,), ego_size=size)

    def play(plan: AttackPlan) -> tuple[Trajectory, int]:
        episode = run_episode(env, policy, FixedPlan(plan), index, seed=seed)
        return episode.ego, _contact(episode, size, scenario.box(context.opponent))

    return roll_out(context, play)


def _contact(episode: Episode, ego_size: tuple[float, float], opponent_size: tuple[float, float]) -> int:
    """First step of contact with the opponent, -1 for none: boxes met, or a reported contact with a box that near."""
    steps = [] if episode.crash_opponent is None else [episode.crash_opponent]
    step = episode.crash_contact
    if step is not None and step > 0 and episode.opponent is not None:
        if near_contact(step, *episode.ego, ego_size, *episode.opponent, opponent_size):
            steps.append(step)
    return min(steps, default=-1)
