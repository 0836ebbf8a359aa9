"""Rates of training traffic: scenes per second of cloning and fine-tuning, and how much of it the device waits."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from harness.fitting.loop import Fit
from harness.fitting.task import EpochOutcome
from harness.performance.config import PerfConfig
from harness.traffic.model.config import SIZES
from harness.traffic.model.network import SmartNetwork
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.vocabulary import Vocabulary
from harness.traffic.training.config import LoopConfig, StageOptions
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.hands import helped
from harness.traffic.training.loop import Asked, Made, TrafficTask, device_of
from harness.traffic.training.stages import make_objective
from scenarios.scenario import LoadedScenes, Scenario

MEASURED: Final = ("nano", "tiny")
"""Sizes of the model."""
BATCH: Final = {"cpu": 8, "cuda": 64}
"""Scenes per update by device."""


class TimedTask(TrafficTask):
    """A stage of training that is timed and not evaluated; its second epoch counts.

    Attributes:
        took: Time of the updates, s.
        waited: Time within that in which the next batch was waited for, s.
    """

    took = 0.0
    waited = 0.0

    def batches(self, epoch: int) -> Iterator[Made | Asked]:
        """The same batches; the clock runs while one is waited for and what it holds is not prepared yet."""
        self._feed.waited = 0.0
        yield from super().batches(epoch)

    def evaluate(self, epoch: int) -> dict[str, float]:
        """Nothing."""
        return {"val": 0.0}

    def row(self, outcome: EpochOutcome) -> Mapping[str, Any]:  # type: ignore[override]
        """Note the time."""
        self.took, self.waited = outcome.took, self._feed.waited
        return {}

    def improved(self, weights: dict[str, Tensor], epoch: int, value: float) -> None:
        """Nothing is kept."""


def rates(
    size: str,
    stage: str,
    scenes: TokenisedScenes,
    options: SceneOptions,
    loop: LoopConfig,
) -> dict[str, float]:
    """Scenes per second of a new model, and the share of the time that the device waits.

    On the CPU that is the share in which no batch was ready; on a GPU the share in which it computed nothing.

    Args:
        size: Name of a size.
        stage: Name of a stage that needs no recordings.
        scenes: What is trained on.
        options: How they were tokenised.
        loop: Options; an epoch is measured after one that warms up.
    """
    torch.manual_seed(loop.seed)
    torch.set_num_threads(loop.threads)
    network = SmartNetwork(SIZES[size], scenes.vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        task = TimedTask(loop, make_objective(stage, StageOptions()), network, options, scenes, scenes, Path(folder))
        with helped(task):
            fit: Fit[Made | Asked] = Fit(task, task.settings, part=stage)
            fit.run()
            waiting = task.waited / task.took
            if task.device.type == "cuda":
                waiting = _idle(task)
    return {"scenes_per_s": task.count / task.took, "waiting": waiting}


def _idle(task: TimedTask) -> float:
    """Share of an epoch's time in which a GPU computes nothing; the profiler's own cost counts as waiting."""
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CUDA]) as profile:
        began = time.perf_counter()
        Fit(task, task.settings, part="profile")._run_epoch()
        torch.cuda.synchronize(task.device)
        took = time.perf_counter() - began
    busy = sum(event.self_device_time_total for event in profile.key_averages()) * 1e-6
    return max(0.0, 1.0 - busy / took)


def loop_of(updates: int, seed: int, scenes: int) -> LoopConfig:
    """Options for a measurement of so many updates: all cores of a small machine, or its GPU."""
    device = device_of("auto")
    workers = 1 if device.type == "cuda" else min(2, os.cpu_count() or 1)
    batch = min(BATCH.get(device.type, 8), scenes)
    return LoopConfig(
        epochs=2,
        batch=batch,
        scenes_per_epoch=min(updates * batch, scenes),
        workers=workers,
        amp=device.type == "cuda",
        device=str(device),
        seed=seed,
    )


def measure_traffic_training(scenes: Sequence[Scenario], config: PerfConfig) -> dict[str, float]:
    """Rates of cloning and of CAT-K for nano and tiny.

    Returns:
        `traffic_SIZE_scenes_per_s` and `traffic_SIZE_waiting` of cloning, `traffic_SIZE_catk_scenes_per_s` and
        `traffic_SIZE_catk_waiting` of fine-tuning.
    """
    found: dict[str, float] = {}
    options = SceneOptions()
    with tempfile.TemporaryDirectory() as folder:
        source, vocabulary = LoadedScenes(scenes), Vocabulary.load(None)
        cloned, rolled = (
            TokenisedScenes(source, vocabulary, options, Path(folder), mirror=True, simulated=flag)
            for flag in (False, True)
        )
        loop = loop_of(config.traffic_updates, config.seed, cloned.per_epoch)
        for size in MEASURED:
            for stage, name, tokens in (("bc", size, cloned), ("catk", f"{size}_catk", rolled)):
                measured = rates(size, stage, tokens, options, loop)
                found |= {f"traffic_{name}_{key}": value for key, value in measured.items()}
    return found
