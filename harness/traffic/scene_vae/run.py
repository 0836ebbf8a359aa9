"""The scene autoencoder from options to files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.commands.progress import SECONDS, FitDisplay, ShownNumber, epochs_of
from harness.commands.scaffold import Session
from harness.drawing.curves import draw_traffic_training
from harness.files import write_json
from harness.traffic.scene_vae.options import TrainVaeCommand
from harness.traffic.scene_vae.training import WEIGHTS, train_scene_vae

COLUMNS: Final = (
    ShownNumber("loss"),
    ShownNumber("val"),
    *(ShownNumber(f"val_{name}") for name in ("objects", "kinds", "lanes", "relations", "divergence")),
    SECONDS,
)
"""What is shown of an epoch; all but the first are numbers of held-out moments."""


def train_vae(config: TrainVaeCommand, session: Session) -> Path:
    """Train; write weights, history and curve; return the run folder.

    Raises:
        GauntletError: Unusable data, options or folder.
    """
    train, val = config.open_train(), config.open_val()
    with session.open_run(config, train, val) as record:
        with FitDisplay(session.console, COLUMNS, board=record.path) as display:
            _, rows = train_scene_vae(
                config.training,
                config.model,
                train,
                val,
                record.path,
                info={"data": config.origin, "seed": config.training.seed},
                report=display,
            )
        write_json(record.path / "history.json", rows)
        with epochs_of(record.path):
            draw_traffic_training({"scene autoencoder": rows}, record.path / "curve.png")
    weights = (record.path / WEIGHTS).resolve()
    session.say(f"weights: {weights}")
    session.say(f"use them as: evaluate_longterm --retrieval vae:{weights}")
    return record.path
