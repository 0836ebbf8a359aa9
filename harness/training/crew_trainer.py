"""TD3 on MetaDrive with workers: they play episodes while the learner makes the updates of those before.

The run is the same whatever the timing, because nothing depends on who is when ready:

- Episodes are taken in by their numbers. To take one in is to store its steps, to make the updates that are due
  after each (one per step, as without workers), to tell the curriculum how it ended, and to remember the drive.
- With N workers, episode n is played with all that was known when episode n - 2 N had been taken in: weights, count of
  steps (for the warm-up and the curriculum's progress), schedule of attacks, and drives in its scene; the first 2 N
  episodes with what is known at the start. Two per worker, so that one plays while the other waits to be taken in.
- What is random in episode n is drawn from generators derived from (seed, n): one for its play, one for its updates.

So a job (`EpisodeJob`) holds everything that an episode depends on. It may be played anywhere, and again: by a fresh
worker if the first is lost, or after a resumption, for which a checkpoint holds the jobs that are not taken in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.commands.runs import RunDirectory
from harness.envs.attacking import draw_scene
from harness.episodes.ego_buffer import EgoBuffer
from harness.errors import GauntletError
from harness.executors import JobResult, JobStream, WorkerSetup, open_stream
from harness.interfaces import AttackSchedule
from harness.training.actor import Actor
from harness.training.config import TrainConfig
from harness.training.episode_worker import EpisodeJob, PlayedEpisode
from harness.training.loop import EpisodeTold, LostEpisodeError, Parts, Trainer
from harness.training.rounds import Watcher

Arrays = Mapping[str, NDArray[np.generic]]
AHEAD: Final = 2
"""Episodes of each worker that are under way: one is played, one waits."""
RETRIES: Final = 1
"""Further attempts at an episode whose worker was lost."""
TIMEOUT_S: Final = 600.0
"""Longest time for an episode, its plan included: nothing that ends takes so long."""
_UPDATES: Final = 1
"""Tells the generator of an episode's updates from that of its play."""
_LOOK_S: Final = 1.0
"""Time between looks whether the run is to stop, s."""
_LOOK_STEPS: Final = 10
"""Steps that are taken in between looks whether a worker needs a job."""
_PREFIX: Final = "job."


class CrewTrainer(Trainer):
    """One training run with TD3 on MetaDrive whose episodes are played by workers; a round is an episode."""

    _stream: JobStream[EpisodeJob]

    def __init__(
        self,
        config: TrainConfig,
        run: RunDirectory,
        parts: Parts,
        setup: WorkerSetup,
        watcher: Watcher | None = None,
    ) -> None:
        """Put the run together; `setup` says how a worker is built (see `harness.training.episode_worker`)."""
        super().__init__(config, run, parts, watcher)
        self._setup = setup
        self._jobs: deque[EpisodeJob] = deque()
        self._given: set[int] = set()
        self._arrived: dict[int, JobResult[EpisodeJob]] = {}

    def run(self, after_evaluation: Callable[[], None] | None = None) -> None:
        """As `TrainingLoop.run`, with workers from the first episode to the last.

        Raises:
            WorkerError: Workers cannot be started.
        """
        self._given.clear()
        self._arrived.clear()
        config = self.config
        with open_stream(self._setup, config.executor, config.workers, TIMEOUT_S, RETRIES) as self._stream:
            super().run(after_evaluation)

    def advance(self) -> None:
        """Take in the next episode; it may be that `stop_requested` comes first, and then none is."""
        self._give_jobs()
        while self.progress.episode not in self._arrived:
            if self.stop_requested:
                return
            self._collect(_LOOK_S)
        super().advance()
        self._jobs.popleft()

    @property
    def scene_index(self) -> int:
        """Index of the scene of the episode that is taken in."""
        return self._scene_of(self.progress.episode)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Remembered trajectories, and the jobs that are not taken in."""
        jobs = arrays_of(self._jobs) if self._jobs else {}
        return {**super().arrays(), **{_PREFIX + name: array for name, array in jobs.items()}}

    def restore(self, arrays: Arrays) -> None:
        """Put back what `arrays` returned.

        Raises:
            ValueError: The jobs are not those of this run.
        """
        super().restore(arrays)
        own = {name.removeprefix(_PREFIX): array for name, array in arrays.items() if name.startswith(_PREFIX)}
        first, most = self.progress.episode, AHEAD * self.config.workers
        scenes = [self.env.source.ids[self._scene_of(first + place)] for place in range(most)]
        self._jobs = deque(jobs_of(own, scenes, self.parts.learner.actor)) if own else deque()
        episodes = [job.episode for job in self._jobs]
        if episodes != list(range(first, first + len(episodes))) or (first and len(episodes) < most - 1):
            raise ValueError(f"it has jobs for episodes {episodes[:8]} after {first} episodes and {most} under way")

    def _scene_of(self, episode: int) -> int:
        return draw_scene(self.parts.train, np.random.default_rng([self.config.seed, episode]))

    def _give_jobs(self) -> None:
        """Make as many jobs as may be under way, and give those to the workers that they do not have."""
        progress, buffer = self.progress, self.env.buffer
        while len(self._jobs) < AHEAD * self.config.workers:
            episode = progress.episode + len(self._jobs)
            scene = self.env.source.ids[self._scene_of(episode)]
            probability, intensity = self.scheduler.current()
            schedule = AttackSchedule(min(max(probability, 0.0), 1.0), intensity)  # Rounded, it may lie outside.
            actor = self.parts.learner.actor.snapshot()
            self._jobs.append(EpisodeJob(episode, scene, progress.step, schedule, buffer.drives(scene), actor))
        for job in self._jobs:
            if job.episode not in self._given:
                self._given.add(job.episode)
                self._stream.give(job)

    def _collect(self, timeout: float) -> None:
        for result in self._stream.results(timeout):
            self._arrived[result.job.episode] = result

    def _play(self) -> None:
        """Take in an episode that has arrived."""
        config, progress, learner = self.config, self.progress, self.parts.learner
        result, job = self._arrived.pop(progress.episode), self._jobs[0]
        if result.error:
            raise LostEpisodeError(f"its worker was lost {result.attempts} times; the last: {result.error}")
        played = result.value
        if isinstance(played, GauntletError):
            raise played
        assert isinstance(played, PlayedEpisode)
        rng = np.random.default_rng([config.seed, progress.episode, _UPDATES])
        steps = len(played.actions)
        learner.memory.begin(played.observations[0])
        for step in range(steps):
            if progress.step > config.td3.warmup:
                learner.update(rng)
            ended = step == steps - 1 and (played.terminated or config.timeouts_end)
            learner.memory.add(played.actions[step], played.rewards[step], ended, played.observations[step + 1])
            self.scheduler.advance(1)
            self._count()
            if step % _LOOK_STEPS == 0:
                self._collect(0.0)
        # At the end of an episode nothing is pending: a checkpoint may follow.
        learner.flush(rng)
        learner.memory.end()
        self.scheduler.record(played.outcome)
        kept = self.env.buffer.add(job.scene, played.drive, attacked=played.outcome.attacked)
        sums = steps, sum(played.rewards), played.cost
        planning = played.attack_seconds, played.attack_error, played.attack_refused
        self._tell(EpisodeTold(self.scene_index, *sums, played.outcome, job.schedule, *planning, kept))


def arrays_of(jobs: deque[EpisodeJob]) -> dict[str, NDArray[np.generic]]:
    """Jobs [J] as plain arrays: episodes, steps and updates [J], schedules [J, 2], layers [J, …], drives by episode."""
    drives = EgoBuffer(max(1, *(len(job.drives) for job in jobs)))
    for job in jobs:
        for drive in job.drives:
            drives.add(str(job.episode), drive)
    layers = zip(*(job.actor.layers for job in jobs), strict=True)
    arrays: dict[str, NDArray[np.generic]] = {
        "episode": np.array([job.episode for job in jobs]),
        "step": np.array([job.step for job in jobs]),
        "updates": np.array([job.actor.updates for job in jobs]),
        "schedule": np.array([tuple(job.schedule) for job in jobs], np.float64),
    }
    for place, layer in enumerate(layers):
        arrays[f"weight{place}"] = np.stack([weight for weight, _ in layer])
        arrays[f"bias{place}"] = np.stack([bias for _, bias in layer])
    return arrays | {f"drives.{name}": array for name, array in drives.state_dict().items()}


def jobs_of(arrays: Arrays, scenes: list[str], actor: Actor) -> list[EpisodeJob]:
    """The jobs that `arrays_of` wrote, of at most as many as there are `scenes` (their ids, in order).

    Raises:
        ValueError: They are no jobs for an actor with the layers of `actor`.
        ConfigError: The drives do not fit together.
        LookupError: An array is missing.
    """
    episodes, steps, updates = (arrays[name].tolist() for name in ("episode", "step", "updates"))
    if not all(type(number) is int and number >= 0 for number in (*episodes, *steps, *updates)):
        raise ValueError("a number of a job is none")
    stacks = [(arrays[f"weight{place}"], arrays[f"bias{place}"]) for place in range(len(actor.layers))]
    for stack, layer in zip(stacks, actor.layers, strict=True):
        for found, own in zip(stack, layer, strict=True):
            if found.shape != (len(episodes), *own.shape) or found.dtype != own.dtype:
                raise ValueError(f"the weights of a job have shape {found.shape[1:]}, expected {own.shape}")
    drives = EgoBuffer()
    drives.load_state_dict({name.removeprefix("drives."): array for name, array in arrays.items()})
    jobs = []
    for place, (episode, schedule) in enumerate(zip(episodes, arrays["schedule"].tolist(), strict=True)):
        layers = [(weight[place], bias[place]) for weight, bias in stacks]
        copy = Actor(layers, actor.warmup, actor.exploration, updates[place])
        known = AttackSchedule(*schedule)
        if not 0.0 <= known.probability <= 1.0:
            raise ValueError(f"a job attacks with probability {known.probability}")
        jobs.append(EpisodeJob(episode, scenes[place], steps[place], known, drives.drives(str(episode)), copy))
    return jobs
