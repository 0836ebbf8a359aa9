"""The contract between environments and who decides what they play."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from harness.interfaces import AttackPlan, EpisodeOutcome, Trajectory


class Play(NamedTuple):
    """What one environment plays next.

    Attributes:
        scene: Index of the scene.
        plan: Plan of its opponent, or None to leave it as recorded.
        intensity: Intensity of the attack, for the record.
        start: Logged step at which the episode begins, as the option `start` of `GauntletEnv`.
        seed: What traffic draws from, as the seed of `GauntletEnv.reset`; logged traffic draws nothing.
    """

    scene: int
    plan: AttackPlan | None = None
    intensity: float = 0.0
    start: int = 0
    seed: int | tuple[int, ...] = 0


class Finished(NamedTuple):
    """An episode that has ended.

    Attributes:
        environment: Which environment played it.
        play: What was played.
        steps: Steps that were driven.
        ego: What the ego did, by absolute step in the scene's world frame, as of `Recording.ego`; valid from the step
            on at which the episode began.
        crash_contact, crash_geometry, crash_opponent: First step at which the engine reported a contact with a vehicle
            or the opponent, the ego's box met a vehicle's or the opponent's, and the opponent's; or None.
        reward, cost: Sums over the episode.
        completion: Share of the route, 0 … 1.
        arrived, off_road, truncated: How it ended.
    """

    environment: int
    play: Play
    steps: int
    ego: Trajectory
    crash_contact: int | None
    crash_geometry: int | None
    crash_opponent: int | None
    reward: float
    cost: float
    completion: float
    arrived: bool
    off_road: bool
    truncated: bool

    @property
    def outcome(self) -> EpisodeOutcome:
        """What a curriculum learns of it."""
        return EpisodeOutcome(
            attacked=self.play.plan is not None,
            intensity=self.play.intensity,
            crashed=self.crash_contact is not None or self.crash_geometry is not None,
            route_completion=self.completion,
            arrived=self.arrived,
            off_road=self.off_road,
        )


class Episodes(Protocol):
    """Decides what is played next, and hears how it went."""

    def draw(self, count: int) -> Sequence[Play]:
        """What the next `count` episodes play."""
        ...

    def finished(self, episode: Finished) -> None:
        """Hear of an episode that has ended; called in the order of the environments, before the next is drawn."""
        ...


class UniformEpisodes:
    """Any scene, each as likely as the others, nobody attacked."""

    def __init__(self, scenes: int, seed: int) -> None:
        """Draw among so many scenes."""
        self._scenes, self._rng, self._seed, self._drawn = scenes, np.random.default_rng(seed), seed, 0

    def draw(self, count: int) -> Sequence[Play]:
        """Scenes, drawn reproducibly."""
        first, self._drawn = self._drawn, self._drawn + count
        scenes = self._rng.integers(self._scenes, size=count).tolist()
        return [Play(scene, seed=(self._seed, number)) for number, scene in enumerate(scenes, first)]

    def finished(self, episode: Finished) -> None:
        """Nothing is learnt."""
