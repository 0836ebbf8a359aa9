"""Checkpoints of training on many environments: as `harness.training.checkpoint`, with the environments' own state."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from harness.errors import ConfigError, RunError, WeightsError, reading
from harness.fast.episodes import AttackedEpisodes
from harness.fast.vector import FastVectorEnv
from harness.files import write_atomically, write_json
from harness.fitting.checkpoint import read_state, write_state
from harness.fitting.weights import read_tensors
from harness.training.checkpoint import (
    FOLDER,
    MANIFEST,
    TrainingProgress,
    adversary_file,
    ego_file,
    env_file,
    finite_arrays,
    make_folder,
    model_file,
    read_progress,
    remove_others,
    save_arrays,
)
from harness.training.co_training import CoTraining
from harness.training.vector_learner import VectorLearner


def save(
    run: Path,
    progress: TrainingProgress,
    learner: VectorLearner,
    env: FastVectorEnv,
    episodes: AttackedEpisodes,
    co_training: CoTraining | None = None,
) -> None:
    """Write a checkpoint, between rounds.

    Args:
        run: Run folder.
        progress: How far the run is; `curriculum` is brought up to date here.
        learner: Networks, optimisers and generators.
        env: Episodes under way.
        episodes: Schedule and remembered drives.
        co_training: What the adversary has learnt, where it does.

    Raises:
        RunError: The disk is full, or the folder cannot be written. The last checkpoint stays intact.
    """
    folder, step = make_folder(run), progress.step
    state = episodes.state_dict()
    drives = state.pop("buffer")
    progress.curriculum = state
    tensors = {name: tensor.contiguous().clone() for name, tensor in learner.state().items()}
    write_atomically(folder / model_file(step), lambda beside: save_file(tensors, beside))
    save_arrays(folder / env_file(step), env.state_dict())
    save_arrays(folder / ego_file(step), drives)
    if co_training is not None:
        write_state(folder / adversary_file(step), co_training.state_dict())
    write_json(folder / MANIFEST, asdict(progress))
    remove_others(folder, progress)


def load(
    run: Path,
    learner: VectorLearner,
    env: FastVectorEnv,
    episodes: AttackedEpisodes,
    co_training: CoTraining | None = None,
) -> TrainingProgress:
    """Put a checkpoint in place.

    Raises:
        RunError: A file is missing or damaged, or belongs to other scenes, environments or networks.
    """
    folder = run / FOLDER
    progress = read_progress(folder)
    step = progress.step
    try:
        with reading(folder, "a checkpoint of this training", RunError):
            tensors, _ = read_tensors(folder / model_file(step), None, "{file} is missing.")
            episodes.load_state_dict({**progress.curriculum, "buffer": finite_arrays(folder / ego_file(step))})
            observations = env.load_state_dict(finite_arrays(folder / env_file(step)))
            learner.load(tensors, observations)
            if co_training is not None:
                co_training.load_state_dict(read_state(folder / adversary_file(step), torch.device("cpu")))
    except (RunError, WeightsError, ConfigError) as error:
        raise RunError(f"the checkpoint in {folder} cannot be read: {error} Start anew in another folder.") from error
    if learner.steps_done != step:
        raise RunError(f"the checkpoint in {folder} is of step {learner.steps_done:,}, its manifest of {step:,}.")
    return progress
