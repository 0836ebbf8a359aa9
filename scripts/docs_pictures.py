"""The pictures of the documentation that are made by playing: one procedural scene, recorded and attacked.

    python -m scripts.docs_pictures docs/pictures

It writes `wall.gif`, the scene recorded and under five attacks, `gallery/NAME.gif`, the scene recorded and under an
attack of each adversary, `adversary/NAME.png`, a still picture of that attack, and `dial.html`, a page on which the
intensity of `sage` is dialled.
Every scene is generated, so that the pictures are free of the licences of recorded data.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from PIL import Image

from harness import registry
from harness.attacks.attackers import Attacker, Dialled
from harness.drawing.attacks import draw_attack
from harness.drawing.playback import View, frames, save_wall
from harness.engine.config import EGO_LENGTH, EGO_WIDTH, EngineConfig
from harness.episodes.policies import load_policy
from harness.episodes.two_stage import two_stages
from harness.interfaces import Adversary, AttackPlan, Episode
from harness.report.html import FILE as REPORT
from scenarios.scenario import Scenario, ScenarioSource
from scenarios.sources import open_source

SCENE: Final = 2
"""Index of the scene among the procedural test scenes: a roundabout."""
DIALLED: Final = "1:4"
"""Scenes of the page with the dial, of the same test scenes."""
EGO: Final = "idm"
"""Who drives: it reacts, by braking."""
WALL: Final = {
    "rule": "rule: a cut-in",
    "cat": "cat: the likeliest hit",
    "sage@0": "sage, intensity 0",
    "sage@0.5": "sage, intensity 0.5",
    "sage@1": "sage, intensity 1",
}
"""Attacks on the wall, and what stands above each."""
UNSEEN: Final = ("none", "vulnerable", "sage_replan")
"""Adversaries without a picture: nobody attacks, generated scenes have neither pedestrians nor cyclists, and a picture
of one plan would not show that it is made anew."""
GALLERY: Final = "gallery"
"""Folder of the moving pictures, one for each adversary: recorded on the left, attacked on the right."""
VIEW: Final = View(pixels=300, metres=60.0, fps=10, named=False, letters=16)
SHOWN: Final = slice(8, 70)
"""Steps that the wall shows."""


def write_pictures(folder: Path) -> None:
    """Play the scene and write the pictures.

    Args:
        folder: Where to; it is made.

    Raises:
        GauntletError: The scene cannot be played, or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = open_source("procedural", "test", test=SCENE + 1)
    names = [name for name in registry.BUILTIN["adversary"] if name not in UNSEEN]
    attackers = [Attacker.parse(text, 1.0) for text in (*WALL, *names)]
    adversaries = [Dialled(attacker.build(), attacker.label, attacker.intensity) for attacker in attackers]
    scenario, recorded, attacked = played(source, adversaries)
    size = (EGO_LENGTH, EGO_WIDTH)
    captions = ["as recorded", *WALL.values()]
    walls = [
        islice(frames(scenario, episode, size, view(scenario, caption)), SHOWN.start, SHOWN.stop)
        for episode, caption in zip([recorded, *attacked], [*captions, *names], strict=True)
    ]
    shown = [list(pictures) for pictures in walls]
    save_wall(shown[: len(captions)], folder / "wall.gif", columns=3, fps=VIEW.fps)
    (folder / GALLERY).mkdir(exist_ok=True)
    for name, pictures, episode in zip(names, shown[len(captions) :], attacked[len(WALL) :], strict=True):
        save_wall([shown[0], pictures], folder / GALLERY / f"{name}.gif", columns=2, fps=VIEW.fps)
        draw_card(scenario, episode, folder / "adversary" / f"{name}.png", name)


def view(scenario: Scenario, caption: str) -> View:
    """A square that stays where the ego was recorded half-way."""
    east, north = scenario.position[scenario.ego, SHOWN.stop // 2, :2].tolist()
    return replace(VIEW, place=(east, north), caption=caption)


def played(source: ScenarioSource, adversaries: Sequence[Adversary]) -> tuple[Scenario, Episode, list[Episode]]:
    """The scene with the ego's undisturbed drive and its drive under each attack."""
    # Imported here, with the simulator: what is drawn can be tested without it.
    from harness.engine.env import GauntletEnv

    env = GauntletEnv(source, EngineConfig(observation="none"))
    try:
        first, *rest = (step.episode for step in two_stages(env, load_policy(EGO), adversaries, SCENE))
        return source[SCENE], first, rest
    finally:
        env.close()


def draw_card(scenario: Scenario, episode: Episode, path: Path, name: str) -> None:
    """Draw one attack: the opponent as it was driven, with the candidates of its plan."""
    driven = None
    if episode.plan is not None and episode.opponent is not None:
        driven = AttackPlan(episode.opponent.states, episode.opponent.valid, episode.plan.candidates)
    contact = -1 if episode.crash_opponent is None else episode.crash_opponent
    draw_attack(scenario, driven, episode.ego, path, contact_step=contact, title=f"{name} against {episode.policy}")
    with Image.open(path) as picture:
        small = picture.convert("RGB").resize(
            (picture.width * 2 // 3, picture.height * 2 // 3), Image.Resampling.LANCZOS
        )
    small.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def write_dial(path: Path) -> None:
    """Write the page of a benchmark of a few scenes, in which `sage` attacks at eleven intensities.

    Raises:
        GauntletError: A scene cannot be played, or the file cannot be written.
    """
    from harness import benchmark

    levels = [f"sage@{level / 10:g}" for level in range(11)]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        benchmark.main(["--sut", EGO, "--adversary", *levels, "--scenes", DIALLED, "--out", str(run)])
        shutil.copyfile(run / REPORT, path)


def main() -> None:
    """Write the pictures into the folder that the first argument names."""
    write_pictures(Path(sys.argv[1]))
    write_dial(Path(sys.argv[1], "dial.html"))


if __name__ == "__main__":
    main()
