"""The training loop: episodes under a curriculum, updates beside them, evaluations and checkpoints between them.

Paper: SAGE, algorithm 2 (closed-loop adversarial training with a curriculum). The episodes are
those of the suite's own environment; everything random in episode n is drawn from a generator derived from (seed, n),
so a run that is resumed at the end of an episode goes on exactly.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.commands.runs import RunDirectory
from harness.envs.attacking import AttackingEnv
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.escapes import precondition_of
from harness.episodes.protocol import protocol_of
from harness.episodes.rules import EndRules, RuledEnv
from harness.episodes.schedules import CurriculumSchedule
from harness.errors import EngineError, GauntletError, RunError, ScenarioError, WorkerError
from harness.interfaces import Adversary, AttackSchedule, Curriculum, Episode, EpisodeOutcome
from harness.training import checkpoint
from harness.training.config import TrainConfig
from harness.training.evaluation import Evaluator, Row, Stage, rows_of
from harness.training.learner import Learner
from harness.training.rounds import EPISODES, EVALUATION, METRICS, TrainingLoop, Watcher
from scenarios.scenario import Scenario

logger = logging.getLogger(__name__)

METRICS_EVERY: Final = 1000
"""Steps between two records of losses and speed."""
MAX_FAILURES: Final = 20
"""Consecutive training episodes that may fail before the run stops: something is wrong with all of them."""


@dataclass(frozen=True)
class Parts:
    """What a run is made of.

    Attributes:
        engine: Engine environment over train and test scenes, in training rules or in those of the evaluation.
        learner: Networks and memory.
        evaluator: Two-stage evaluation.
        adversary: Attacker in training, or None.
        curriculum: When and how hard.
        train: Indices of training scenes in the engine's source.
    """

    engine: RuledEnv
    learner: Learner
    evaluator: Evaluator
    adversary: Adversary | None
    curriculum: Curriculum
    train: Sequence[int]


class LostEpisodeError(WorkerError):
    """An episode could not be played because its workers were lost, whatever its scene."""


class EpisodeTold(NamedTuple):
    """What `episodes.jsonl` says of an episode, besides its number.

    Attributes:
        scene: Index in the engine's source.
        steps: Simulated.
        reward, cost: Sums.
        outcome: What the curriculum learns.
        schedule: What the curriculum wanted.
        attack_seconds: Time to plan, s.
        attack_error: Why the scene could not be attacked, or empty.
        attack_refused: Whether the attack failed the precondition.
        drive_kept: Whether the drive is remembered.
    """

    scene: int
    steps: int
    reward: float
    cost: float
    outcome: EpisodeOutcome
    schedule: AttackSchedule
    attack_seconds: float
    attack_error: str
    attack_refused: bool
    drive_kept: bool


class Trainer(TrainingLoop):
    """One training run with TD3 on MetaDrive; a round is an episode."""

    def __init__(self, config: TrainConfig, run: RunDirectory, parts: Parts, watcher: Watcher | None = None) -> None:
        """Put the run together; `resume` or `run` comes next."""
        super().__init__(config, run, watcher)
        self.parts = parts
        self.scheduler = CurriculumSchedule(parts.curriculum, config.steps)
        self.env = AttackingEnv(
            parts.engine,
            parts.engine.source,
            scenes=parts.train,
            adversary=parts.adversary,
            scheduler=self.scheduler,
            buffer=EgoBuffer(config.ego_drives, remember=config.remember),
            protocol=protocol_of(config.protocol),
            start_steps=config.start_steps,
            precondition=precondition_of(config.attacks),
            # Everything random in episode n follows from (seed, n): a resumed run goes on exactly.
            generators=lambda: np.random.default_rng([config.seed, self.progress.episode]),
        )
        self._train_rules = EndRules(config.train_horizon, crash_ends=False)
        self._eval_rules = EndRules(config.eval_horizon, crash_ends=config.eval_crash_ends)
        self._failures_in_a_row = 0

    def resume(self) -> None:
        """Restore the last checkpoint, and drop the records of what will happen again.

        Raises:
            RunError: The checkpoint is damaged.
        """
        if not checkpoint.exists(self.directory.path):
            # Killed before the first checkpoint: the same run from its start.
            for name in (EPISODES, EVALUATION, METRICS):
                self.directory.keep_records(name, lambda _: False)
            return
        self.progress, ego = checkpoint.load(self.directory.path, self.parts.learner)
        step = self.progress.step
        with checkpoint.restoring(self.directory.path):
            self.restore(ego)
            self.scheduler.load_state_dict({"steps": step, "curriculum": self.progress.curriculum})
        for name in (EPISODES, METRICS):
            self.directory.keep_records(name, lambda record: record["step"] <= step)
        # What was stopped in the midst of an evaluation has rows that come again.
        last = self.progress.evaluated
        kept = self.directory.keep_records(EVALUATION, lambda record: record["step"] <= last)
        rows_of(kept, self.directory.path / f"{EVALUATION}.jsonl")

    def checkpoint(self) -> None:
        """Save everything that a resumed run needs."""
        self.progress.curriculum = self.parts.curriculum.state_dict()
        checkpoint.save(self.directory.path, self.progress, self.parts.learner, self.arrays())

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What a checkpoint holds of episodes: remembered trajectories of the ego."""
        return self.env.buffer.state_dict()

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Put back what `arrays` returned; `progress` is back already."""
        self.env.buffer.load_state_dict(arrays)

    def evaluate(self) -> list[Row]:
        """Evaluate now; rows go to `evaluation.jsonl`. Empty where `stop_requested` came before the last row."""
        evaluator, step = self.parts.evaluator, self.progress.step
        self.parts.engine.rules = self._eval_rules
        rows: list[Row] = []
        for row in evaluator.rows(step):
            if self.stop_requested:
                return []
            rows.append(row)
            self.directory.append(EVALUATION, asdict(row))
            self.watcher.evaluating(step, len(rows), evaluator.count)
        self.progress.evaluated = step
        self.watcher.evaluated(step, rows)
        return rows

    def replay(self, scene: str) -> dict[Stage, Episode]:
        """The two evaluation episodes of one test scene with the present policy, for pictures."""
        self.parts.engine.rules = self._eval_rules
        return self.parts.evaluator.episodes(self.env.source.ids.index(scene))

    def scene(self, name: str) -> Scenario:
        """A scene of training or test."""
        return self.env.source[self.env.source.ids.index(name)]

    @property
    def ego_size(self) -> tuple[float, float]:
        """Length and width of the ego, m."""
        size: tuple[float, float] = self.parts.engine.options.ego_box
        return size

    def close(self) -> None:
        """Stop the simulator."""
        self.parts.engine.close()

    def advance(self) -> None:
        """Play one training episode.

        A scene that cannot be simulated is counted and recorded if the user asked to skip such scenes.
        """
        progress = self.progress
        self.parts.engine.rules = self._train_rules
        try:
            self._play()
            self._failures_in_a_row = 0
        except (ScenarioError, EngineError, LostEpisodeError) as error:
            if self.config.on_error == "raise" and not isinstance(error, LostEpisodeError):
                raise
            self._failed(error)
        progress.episode += 1
        self.watcher.step(progress)

    @property
    def scene_index(self) -> int:
        """Index of the scene of the present episode in the engine's source."""
        return self.env.scenario_index

    def _failed(self, error: GauntletError) -> None:
        progress = self.progress
        name = self.env.source.ids[self.scene_index]
        logger.warning("training episode %d, scene %s: %s", progress.episode, name, error)
        progress.failed_episodes += 1
        self._failures_in_a_row += 1
        self.directory.append(
            EPISODES, {"step": progress.step, "episode": progress.episode, "scene": name, "error": str(error)}
        )
        if self._failures_in_a_row >= MAX_FAILURES:
            raise RunError(
                f"{MAX_FAILURES} training episodes in a row could not be simulated; the last: {error} "
                "Check the data with: python -m harness.scenarios validate DIR."
            ) from error

    def _play(self) -> None:
        env, progress, learner = self.env, self.progress, self.parts.learner
        observation, info = env.reset()
        rng, attack = env.rng, env.attack
        learner.memory.begin(observation)
        first, reward, cost = progress.step, 0.0, 0.0
        terminated = truncated = False
        while not (terminated or truncated):
            action = learner.explore(observation, progress.step, rng)
            if progress.step > self.config.td3.warmup:
                learner.update(rng)
            observation, step_reward, terminated, truncated, info = env.step(action)
            ended = terminated or (truncated and self.config.timeouts_end)
            learner.memory.add(action, step_reward, ended, observation)
            self._count()
            reward += step_reward
            cost += float(info["cost"])
        # At the end of an episode nothing is pending: a checkpoint may follow.
        learner.flush(rng)
        learner.memory.end()
        planning = attack.seconds, attack.error, attack.refused
        told = (progress.step - first, reward, cost, info["outcome"], env.schedule, *planning, info["drive_kept"])
        self._tell(EpisodeTold(env.scenario_index, *told))

    def _count(self) -> None:
        """One more step."""
        self.progress.step += 1
        if self.progress.step % METRICS_EVERY == 0:
            self._metrics()

    def _tell(self, told: EpisodeTold) -> None:
        """Record an episode that was played."""
        self.progress.refused_attacks += told.attack_refused
        record = {
            "step": self.progress.step,
            "episode": self.progress.episode,
            "steps": told.steps,
            "reward": told.reward,
            "cost": told.cost,
            **asdict(told.outcome),
            "scene": self.env.source.ids[told.scene],
            "probability": told.schedule.probability,
            "scheduled_intensity": told.schedule.intensity,
            "attack_ms": told.attack_seconds * 1000,
            "attack_error": told.attack_error,
            "attack_refused": told.attack_refused,
            "drive_kept": told.drive_kept,
            "error": "",
        }
        self.directory.append(EPISODES, record)

    def _metrics(self) -> None:
        """Record losses and speed."""
        step = self.progress.step
        critic, actor = self.parts.learner.losses()
        schedule = self.scheduler.current()
        record = {
            "step": step,
            "critic_loss": critic,
            "actor_loss": actor,
            "updates": self.parts.learner.updates,
            "steps_per_second": self.speed(),
            "attack_probability": schedule.probability,
            "attack_intensity": schedule.intensity,
            "replay_transitions": len(self.parts.learner.memory),
        }
        self.directory.append(METRICS, record)
        self.watcher.metrics(record)
