"""Training on the fast engine: a round is what many environments play between two updates.

Paper: SAGE, algorithm 2 (closed-loop adversarial training with a curriculum). Attacks are planned against the ego's
last drives in their scene. Validation scenes, played in the fast engine, choose the policy; at the end the chosen one
is evaluated on test scenes in MetaDrive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from harness import registry
from harness.commands.runs import RunDirectory
from harness.fast.episodes import AttackedEpisodes
from harness.fast.plays import Finished
from harness.fast.vector import FastVectorEnv
from harness.interfaces import EgoPolicy, Episode
from harness.training import checkpoint, vector_checkpoint
from harness.training.co_training import CoTraining
from harness.training.config import TrainConfig
from harness.training.evaluation import Evaluator, Row, Stage, rows_of
from harness.training.rounds import EVALUATION, METRICS, RECORDS, VALIDATION, TrainingLoop, Watcher
from harness.training.validation import Validator, driving_score
from harness.training.vector_learner import VectorLearner
from scenarios.scenario import Scenario, ScenarioSource

_TALLIED: Final = ("completion", "collision", "off_road", "attacked", "episode_steps")


@dataclass(frozen=True)
class VectorParts:
    """What a run is made of.

    Attributes:
        env: Training environments.
        episodes: What they play.
        learner: Networks.
        validator: Evaluation that chooses the policy, or None to keep the last.
        evaluator: Makes the evaluation of a policy on test scenes, which starts MetaDrive.
        test: The test scenes.
        ego_size: Length and width of the ego, m.
        close: Releases everything.
        co_training: Adapts the adversary, or None where it stays as it is.
    """

    env: FastVectorEnv
    episodes: AttackedEpisodes
    learner: VectorLearner
    validator: Validator | None
    evaluator: Callable[[EgoPolicy], Evaluator]
    test: ScenarioSource
    ego_size: tuple[float, float]
    close: Callable[[], None]
    co_training: CoTraining | None = None


class Tally:
    """What the episodes of a round were like."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._rows: list[tuple[float, ...]] = []

    def add(self, episode: Finished) -> None:
        """Count an episode."""
        outcome = episode.outcome
        self._rows.append((episode.completion, outcome.crashed, outcome.off_road, outcome.attacked, episode.steps))

    def take(self) -> dict[str, float]:
        """Means since the last call; empty where no episode has ended."""
        rows, self._rows = self._rows, []
        return dict(zip(_TALLIED, np.mean(rows, 0).tolist(), strict=True)) if rows else {}


class VectorTrainer(TrainingLoop):
    """One training run on the fast engine."""

    def __init__(
        self, config: TrainConfig, run: RunDirectory, parts: VectorParts, watcher: Watcher | None = None
    ) -> None:
        """Put the run together; `resume` or `run` comes next."""
        super().__init__(config, run, watcher)
        self.parts = parts
        self._tally = Tally()
        parts.episodes.watch = self._tally.add

    def resume(self) -> None:
        """Restore the last checkpoint, and drop the records of what will happen again.

        Raises:
            RunError: The checkpoint is damaged.
        """
        folder, parts = self.directory.path, self.parts
        if not checkpoint.exists(folder):
            # Killed before the first checkpoint: the same run from its start.
            for name in RECORDS:
                self.directory.keep_records(name, lambda _: False)
            return
        with checkpoint.restoring(folder):
            self.progress = vector_checkpoint.load(folder, parts.learner, parts.env, parts.episodes, parts.co_training)
        step, last = self.progress.step, self.progress.evaluated
        self.directory.keep_records(METRICS, lambda record: record["step"] <= step)
        kept = self.directory.keep_records(VALIDATION, lambda record: record["step"] <= last)
        rows_of(kept, folder / f"{VALIDATION}.jsonl")
        # Test scenes are played once, at the end.
        tested = self.finished
        rows_of(self.directory.keep_records(EVALUATION, lambda _: tested), folder / f"{EVALUATION}.jsonl")

    def advance(self) -> None:
        """Collect and update once."""
        parts, progress = self.parts, self.progress
        report = parts.learner.round()
        progress.step, progress.episode = parts.learner.steps_done, parts.episodes.drawn - parts.env.num_envs
        progress.updates += 1
        refused = parts.episodes.refused - progress.refused_attacks
        progress.refused_attacks += refused
        schedule = parts.episodes.scheduler.current()
        record = {
            "step": progress.step,
            **{name: value for name, value in report.items() if name != "steps"},
            **self._tally.take(),
            **({} if self.config.attacks == "all" else {"attacks_refused": refused}),
            "steps_per_second": self.speed(),
            "attack_probability": schedule.probability,
            "attack_intensity": schedule.intensity,
            **({} if parts.co_training is None else parts.co_training.after(progress.step)),
        }
        self.directory.append(METRICS, record)
        self.watcher.metrics(record)
        self.watcher.step(progress)

    def evaluate(self) -> None:
        """Validate; at the end of the budget, also evaluate the chosen policy on test scenes in MetaDrive."""
        progress = self.progress
        step, file = progress.step, self.directory.path / self.parts.learner.policy_file
        last = step >= self.config.steps
        if self.parts.validator is not None:
            rows = self.parts.validator.rows(step, self.parts.learner.act)
            score = driving_score(rows)
            # An evaluation that was stopped before its end comes again: it is one of the same step.
            chosen = score > progress.score or progress.chosen == step
            if chosen:
                progress.score, progress.chosen = score, step
                self.parts.learner.save_policy(file)
            self.directory.keep_records(VALIDATION, lambda record: record["step"] < step)
            for row in rows:
                self.directory.append(VALIDATION, asdict(row))
            self.watcher.validated(step, rows, chosen)
        elif last:
            progress.chosen = step
            self.parts.learner.save_policy(file)
        if not last or self._test():
            progress.evaluated = step

    def _test(self) -> bool:
        """Play the chosen policy on test scenes; False where `stop_requested` came first."""
        evaluator = self.parts.evaluator(self.policy())
        rows: list[Row] = []
        for row in evaluator.rows(self.progress.chosen):
            if self.stop_requested:
                return False
            rows.append(row)
            self.directory.append(EVALUATION, asdict(row))
            self.watcher.evaluating(self.progress.chosen, len(rows), evaluator.count)
        self.watcher.evaluated(self.progress.chosen, rows)
        return True

    def checkpoint(self) -> None:
        """Save everything that a resumed run needs."""
        parts = self.parts
        run, progress, co_training = self.directory.path, self.progress, parts.co_training
        vector_checkpoint.save(run, progress, parts.learner, parts.env, parts.episodes, co_training)
        if co_training is not None:
            co_training.save(run)

    def policy(self) -> EgoPolicy:
        """The chosen policy, read from its file as whoever tests it reads it."""
        learner = self.parts.learner
        found: EgoPolicy = registry.make(
            "policy",
            learner.policy_name,
            path=self.directory.path / learner.policy_file,
            observation=self.config.observation,
        )
        return found

    def replay(self, scene: str) -> dict[Stage, Episode]:
        """The two evaluation episodes of one test scene with the chosen policy, for pictures."""
        return self.parts.evaluator(self.policy()).episodes(self.parts.test.ids.index(scene))

    def scene(self, name: str) -> Scenario:
        """A test scene."""
        return self.parts.test[self.parts.test.ids.index(name)]

    @property
    def ego_size(self) -> tuple[float, float]:
        """Length and width of the ego, m."""
        return self.parts.ego_size

    def close(self) -> None:
        """Stop the simulator and the threads."""
        self.parts.close()
