"""The final evaluation of a matrix: every trained policy in the same scenes against the same adversaries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final, NamedTuple

from harness.episodes.policies import load_policy
from harness.episodes.protocol import protocol_of
from harness.errors import PolicyError, RunError
from harness.executors import WorkerSetup, run_jobs
from harness.files import file_name, read_json, write_json
from harness.interfaces import EgoPolicy
from harness.training.config import TrainConfig
from harness.training.evaluation import Evaluator, Row, Undisturbed, rows_of
from harness.training.matrix import POLICY_FILES, MatrixAttack, MatrixConfig, TrainedCell, attacks_of, policy_file
from harness.training.matrix_worker import not_shared, stand_in
from harness.training.setup import evaluation_env, make_adversary, train_and_test

logger = logging.getLogger(__name__)

EVALUATIONS: Final = "evaluations"
"""Folder of evaluations in the matrix's folder."""
EVALUATION_SEED: Final = 0
"""One for all egos, so that they meet the same attacks on the same terms."""


class EgoJob(NamedTuple):
    """An ego and what it is to meet, in every test scene."""

    cell: TrainedCell
    attacks: tuple[MatrixAttack, ...]

    def __str__(self) -> str:
        return f"the evaluation of {self.cell}"


def evaluate(
    cells: Sequence[TrainedCell],
    config: MatrixConfig,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[tuple[str, str], list[Row]]:
    """Play every finished ego as recorded and against each adversary of the evaluation, on the matrix's workers.

    Args:
        cells: Finished runs, which share their test scenes.
        config: The matrix; its adversaries and workers count.
        out: Where each evaluation is kept (`evaluations/EGO-ATTACK.json`): none is made twice.
        progress: Called with the numbers of evaluated and of all egos.

    Returns:
        By run and label of the attack: two rows per test scene and horizon. A run whose policy cannot be used has none.

    Raises:
        GauntletError: An adversary or the scenes cannot be used, or the workers do not share the folder.
    """
    attacks = attacks_of(config)
    jobs = [EgoJob(cell, tuple(one for one in attacks if _kept(out, cell, one) is None)) for cell in cells]
    missing = [job for job in jobs if job.attacks]
    if missing:
        (out / EVALUATIONS).mkdir(exist_ok=True)
        names = tuple(dict.fromkeys(attack.adversary for job in missing for attack in job.attacks))
        shared = {"place": Path.cwd(), "config": missing[0].cell.config, "adversaries": names, "out": out}
        setup = WorkerSetup("harness.training.matrix_evaluation:build", shared)
        results = run_jobs(missing, setup, config.executor, config.workers)
        for done, result in enumerate(results, 1):
            if result.error:
                logger.warning("%s is left out of the tables: %s", result.job.cell, result.error)
            elif any(_kept(out, result.job.cell, attack) is None for attack in result.job.attacks):
                raise RunError(f"a worker ended {result.job}, but there is no result. {not_shared(out)}")
            if progress is not None:
                progress(done, len(missing))
    found = {(cell.name, attack.label): _kept(out, cell, attack) for cell in cells for attack in attacks}
    return {key: rows for key, rows in found.items() if rows is not None}


def build(place: Path, config: TrainConfig, adversaries: Sequence[str], out: Path) -> MatrixEvaluator:
    """Target of `harness.executors.crew.WorkerSetup`.

    Raises:
        RunError: A folder does not exist on the worker's machine.
        GauntletError: An adversary or the scenes cannot be used.
    """
    stand_in(place)
    if not (out / EVALUATIONS).is_dir():
        raise RunError(not_shared(out))
    return MatrixEvaluator(config, adversaries, out)


class MatrixEvaluator:
    """A worker that plays egos against adversaries, in one simulator, and writes down what happened."""

    def __init__(self, config: TrainConfig, adversaries: Sequence[str], out: Path) -> None:
        """Open the test scenes, build the adversaries, and start the simulator.

        Args:
            config: The configuration of any run: they differ in nothing that matters here.
            adversaries: Registry names.
            out: Folder of the matrix.

        Raises:
            GauntletError: An adversary or the scenes cannot be used.
        """
        self._out = out
        self._adversaries = {name: make_adversary(name, config) for name in adversaries}
        _, test = train_and_test(config)
        self._scenes = len(test)
        self._env = evaluation_env(config, test, EVALUATION_SEED)

    def __call__(self, job: EgoJob) -> None:
        """Evaluate.

        Raises:
            PolicyError: The policy cannot be used.
        """
        cell, policy = job.cell, ego_of(job.cell)
        protocol = protocol_of(cell.config.protocol)
        undisturbed: Undisturbed = {}
        for attack in job.attacks:
            evaluator = Evaluator(
                self._env,
                policy,
                self._adversaries[attack.adversary],
                range(self._scenes),
                intensity=cell.config.eval_intensity,
                seed=EVALUATION_SEED,
                protocol=replace(protocol, attack_logged_ego=protocol.attack_logged_ego or attack.logged),
                also_at=cell.config.eval_also_at,
                undisturbed=undisturbed,
            )
            rows = [asdict(row) for row in evaluator.rows(cell.config.steps)]
            write_json(_file(self._out, cell, attack), rows)

    def close(self) -> None:
        """Stop the simulator."""
        self._env.close()


def ego_of(cell: TrainedCell) -> EgoPolicy:
    """The ego policy that a finished run has left, whatever engine and algorithm trained it.

    Raises:
        PolicyError: There is none, or its file cannot be used.
    """
    file = policy_file(cell)
    if file is None:
        raise PolicyError(f"{cell.folder} holds no policy ({' or '.join(POLICY_FILES)}): its training has not ended.")
    return load_policy(str(file), observation=cell.config.observation)


def _file(out: Path, cell: TrainedCell, attack: MatrixAttack) -> Path:
    name = attack.adversary + ("-log" if attack.logged else "")
    return out / EVALUATIONS / f"{cell.name}-{file_name(name, '-_@.')}.json"


def _kept(out: Path, cell: TrainedCell, attack: MatrixAttack) -> list[Row] | None:
    path = _file(out, cell, attack)
    if not path.exists():
        return None
    try:
        return rows_of(read_json(path), path) or None
    except RunError as error:
        logger.warning("%s The evaluation is made again.", error)
        return None
