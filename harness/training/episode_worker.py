"""One worker of a training run: it plays episodes with copies of the actor, on an engine of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.envs.attacking import AttackingEnv
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.escapes import precondition_of
from harness.episodes.protocol import protocol_of
from harness.episodes.rules import RuledEnv
from harness.episodes.schedules import FixedSchedule
from harness.errors import GauntletError, RunError, WorkerError, foreign
from harness.interfaces import Adversary, AttackSchedule, EpisodeOutcome, Trajectory
from harness.training.actor import Actor
from harness.training.config import TrainConfig

Floats32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EpisodeJob:
    """An episode to be played: everything that it depends on, besides the run's configuration.

    Attributes:
        episode: Its number, from which everything random follows.
        scene: Id of its scene.
        step: Steps of the run before it, as far as they are counted: they tell whether the policy is warming up.
        schedule: Probability and intensity of an attack.
        drives: What the ego drove in this scene before, newest last.
        actor: The policy.
    """

    episode: int
    scene: str
    step: int
    schedule: AttackSchedule
    drives: tuple[Trajectory, ...]
    actor: Actor

    def __str__(self) -> str:
        """What a log says: not its arrays."""
        return f"{self.episode} (scene {self.scene})"


@dataclass(frozen=True, slots=True)
class PlayedEpisode:
    """What became of it.

    Attributes:
        observations: [T + 1, O].
        actions: [T, 2].
        rewards: [T].
        terminated: Whether it truly ended; a time-out is no end.
        cost: Sum.
        outcome: For the curriculum.
        drive: What the ego drove.
        attack_seconds: Time to plan the attack, s.
        attack_error: Why the scene could not be attacked, or empty.
        attack_refused: Whether the attack failed the precondition.
    """

    observations: Floats32
    actions: Floats32
    rewards: list[float]
    terminated: bool
    cost: float
    outcome: EpisodeOutcome
    drive: Trajectory
    attack_seconds: float
    attack_error: str
    attack_refused: bool


class EpisodeWorker:
    """Plays one `EpisodeJob` after another."""

    def __init__(
        self, engine: RuledEnv, scenes: Sequence[int], adversary: Adversary | None, config: TrainConfig
    ) -> None:
        """Play on `engine`; scenes are drawn from those with the indices `scenes` in its source."""
        self._episode = 0
        self._env = AttackingEnv(
            engine,
            engine.source,
            scenes=scenes,
            adversary=adversary,
            buffer=EgoBuffer(config.ego_drives),
            protocol=protocol_of(config.protocol),
            start_steps=config.start_steps,
            precondition=precondition_of(config.attacks),
            generators=lambda: np.random.default_rng([config.seed, self._episode]),
        )

    def __call__(self, job: EpisodeJob) -> PlayedEpisode | GauntletError:
        """Play an episode; an error that would come again if it were tried again is returned, not raised.

        Raises:
            RunError: The scenes of this worker are others than those of the run.
        """
        try:
            with foreign(f"episode {job} failed", WorkerError, (GauntletError,)):
                return self._play(job)
        except RunError:
            raise
        except GauntletError as error:
            return error

    def close(self) -> None:
        """Stop the engine."""
        self._env.close()

    def _play(self, job: EpisodeJob) -> PlayedEpisode:
        env, self._episode = self._env, job.episode
        env.scheduler = FixedSchedule(*job.schedule)
        env.buffer.clear()
        for drive in job.drives:
            env.buffer.add(job.scene, drive)
        observation, info = env.reset()
        if info["scenario_id"] != job.scene:
            raise RunError(
                f"a worker found scene {info['scenario_id']} where the run has {job.scene}. Workers need the same "
                "scenes: give --data a folder on a shared file system."
            )
        rng, attack = env.rng, env.attack
        actions: list[Floats32] = []
        observations, rewards, cost = [observation], [], 0.0
        terminated = truncated = False
        while not (terminated or truncated):
            actions.append(job.actor.explore(observation, job.step + len(actions), rng))
            observation, reward, terminated, truncated, info = env.step(actions[-1])
            observations.append(observation)
            rewards.append(reward)
            cost += float(info["cost"])
        return PlayedEpisode(
            np.stack(observations),
            np.stack(actions),
            rewards,
            terminated,
            cost,
            info["outcome"],
            env.core.recording().ego,
            attack.seconds,
            attack.error,
            attack.refused,
        )


def build(config: TrainConfig, place: Path) -> EpisodeWorker:
    """Target of `harness.executors.crew.WorkerSetup`: a worker of a training run.

    Args:
        config: The run's.
        place: Working directory of the run, which relative paths of its options start from.

    Raises:
        GauntletError: Data or weights cannot be used on this machine.
    """
    if not place.is_dir():
        raise RunError(f"{place} does not exist on this machine. Workers need the paths of the machine that began.")
    os.chdir(place)
    # Imported here, with torch and the learner: who makes jobs does not need them.
    from harness.training import setup

    scenes = setup.training_scenes(setup.scenes_of(config, config.train_split, config.train_scenes), config)
    adversary = setup.make_adversary(config.adversary, config)
    return EpisodeWorker(setup.engine_over(scenes, config), range(len(scenes)), adversary, config)
