"""Clone and fine-tune a traffic model on a lent GPU: small files go there, small files come back.

Where the recordings are, scenes are tokenised and packed, without what follows from the rest:

    python scripts/train_traffic_on_gpu.py pack --data DIR --split train --out train.tar.xz
    python scripts/train_traffic_on_gpu.py pack --data DIR --split val --no-mirror --phases 1 --out val.tar.xz

Where the GPU is (12 minutes with the defaults; the package must be installed, or its root be in PYTHONPATH):

    python scripts/train_traffic_on_gpu.py train --train train.tar.xz --val val.tar.xz --out result

`result` then holds the weights of both stages in float16 (`bc.safetensors`, `catk.safetensors`) and `result.json`:
scenes per second and the share of the time that the device waits, for nano and the trained size, and the numbers of
every epoch. A packed scene holds what was recorded in it: the licence of the recordings is that of the file.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from harness.performance.traffic_training import BATCH, loop_of, rates
from harness.traffic.model.config import SIZES
from harness.traffic.model.network import SmartNetwork
from harness.traffic.model.smart import SmartModel
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.vocabulary import Vocabulary
from harness.traffic.training.config import ExampleOptions, LoopConfig, StageOptions
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.loop import TrafficTask, device_of, train_stage
from harness.traffic.training.packed import UnpackedScenes, pack
from harness.traffic.training.stages import make_objective
from scenarios.selection import open_scenes


@dataclass(frozen=True)
class Pack:
    """Tokenise scenes and pack them."""

    data: str
    """Folder of scenes."""
    out: Path
    """File to write."""
    split: str = "train"
    """Split of the data."""
    scenes: str | None = None
    """Scenes of the split, written as for `train_traffic`; all by default."""
    mirror: bool = True
    """Pack every scene mirrored too."""
    phases: Literal[1, 2, 3, 4, 5] = 5
    """Number of offsets of the token grid; one is enough to validate on."""


@dataclass(frozen=True)
class Train:
    """Train on packed scenes: cloning, then CAT-K."""

    train: Path
    """Packed scenes to train on."""
    val: Path
    """Packed scenes to validate on."""
    out: Path
    """Folder for the results."""
    size: Literal["nano", "mini", "tiny"] = "tiny"
    """Size of the model."""
    cloning: float = 6.0
    """Minutes of cloning."""
    tuning: float = 3.0
    """Minutes of fine-tuning."""
    updates: int = 30
    """Updates of each rate; 0 skips the rates."""
    batch: int = 0
    """Scenes per update; 0 for 64 on a GPU and 8 on a CPU."""
    seed: int = 0
    """Seed of everything random."""
    workers: int | None = None
    """Processes that prepare the scenes; one per processor by default, 0 for none but this one."""


def packed(config: Pack) -> None:
    """Pack, and say how much it is."""
    source = open_scenes(config.data, config.split, config.scenes)
    examples, mirror = ExampleOptions(phases=config.phases), config.mirror
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, options = Vocabulary.load(None), SceneOptions()
        scenes = TokenisedScenes(source, vocabulary, options, Path(folder), examples=examples, mirror=mirror)
        pack(scenes, config.out)
    each = config.out.stat().st_size / len(scenes) / 1000
    sys.stdout.write(f"{config.out}: {len(scenes)} scenes, {each:.1f} KB each\n")


def trained(config: Train) -> dict[str, Any]:
    """Train both stages; weights and `result.json` are written as soon as there is something to write."""
    began, options, vocabulary = time.monotonic(), SceneOptions(), Vocabulary.load(None)
    config.out.mkdir(parents=True, exist_ok=True)
    device = device_of("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    result: dict[str, Any] = {"device": name, "torch": torch.__version__, "size": config.size, "rates": {}}

    def note(**more: object) -> None:
        result.update(more, seconds=time.monotonic() - began)
        (config.out / "result.json").write_text(json.dumps(result, indent=1))

    with tempfile.TemporaryDirectory() as folder:
        train, val = (
            UnpackedScenes(file, vocabulary, options, Path(folder) / part, config.workers)
            for part, file in (("train", config.train), ("val", config.val))
        )
        note(scenes=len(train), held_out=len(val), unpacked_s=time.monotonic() - began)
        measure = replace(loop_of(max(config.updates, 1), config.seed, train.per_epoch), workers=1)
        for size in dict.fromkeys(("nano", config.size)) if config.updates else ():
            for stage, scenes in (("bc", train), ("catk", train.of_those_there())):
                result["rates"][f"{size} {stage}"] = rates(size, stage, scenes, options, measure)
                note()
        torch.manual_seed(config.seed)
        model = SmartModel(SmartNetwork(SIZES[config.size], vocabulary), options)
        for stage, minutes in (("bc", config.cloning), ("catk", config.tuning)):
            known = result["rates"].get(f"{config.size} {stage}", {"scenes_per_s": 1.0})
            epochs = max(1, int(60.0 * minutes * known["scenes_per_s"] / train.per_epoch))
            loop = LoopConfig(
                epochs=epochs,
                batch=config.batch or BATCH.get(device.type, 8),
                learning_rate=2e-3 if stage == "bc" else 2e-4,
                patience=epochs,
                minutes=minutes,
                seed=config.seed,
                amp=device.type == "cuda",
                device=str(device),
            )
            part = Path(folder) / stage
            part.mkdir()
            if stage == "catk":
                train, val = train.of_those_there(), val.of_those_there()
            task = TrafficTask(loop, make_objective(stage, StageOptions()), model.network, options, train, val, part)
            model, rows = train_stage(task, {}, part=stage)
            model.save(config.out / f"{stage}.safetensors", half=True)
            note(**{stage: rows})
    return result


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"pack": packed, "train": trained}, config=(tyro.conf.OmitArgPrefixes,))
