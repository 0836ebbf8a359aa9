"""What a folder holds that Gauntlet can use, and the options that use it; told by the files, not by what they claim."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from harness.commands.runs import RUN_FILE, read_run
from harness.errors import ConfigError
from harness.fitting.weights import written_by
from harness.registry import names
from harness.sharing.contents import WEIGHTS

ShareKind = Literal["policy", "experts", "traffic", "prior", "skills", "attacks", "run"]

TITLES: Final[dict[ShareKind, str]] = {
    "policy": "Driving policy",
    "experts": "Experts of the adversary SAGE",
    "traffic": "Traffic model",
    "prior": "Motion prior",
    "skills": "Scorer and skills of the adversary SEAL",
    "attacks": "Attacked scenes",
    "run": "Run",
}
"""What a thing is called, in the order in which it names a folder that holds several."""
MODELS: Final = ("policy", "experts", "traffic", "prior", "skills")
"""What the hub calls a model; everything else is a data set there."""
SCENES: Final = "scenes"
"""Folder of attacked scenes in a run folder; one folder in it for each adversary."""
PAGE: Final = "report.html"
_PRIOR: Final = "gauntlet.goal_prior.v1"
_TRAFFIC: Final = {"gauntlet-smart-1": "smart", "gauntlet-rosetta-1": "rosetta", "gauntlet-infgen-1": "infgen"}
_EXPERTS: Final = {_PRIOR: "sage", "gauntlet-smart-1": "sage_smart"}
"""Name of the adversary by the architecture of its experts."""


class Use(NamedTuple):
    """One thing that a folder is good for.

    Attributes:
        kind: What it is.
        option: What to type.
    """

    kind: ShareKind
    option: str


def recognise(folder: Path) -> list[Use]:
    """What a folder holds, the most telling first; its files are looked at, never run.

    Args:
        folder: A run folder, a folder of weights, or a pulled folder.

    Raises:
        ConfigError: It holds nothing that Gauntlet can use.
        WeightsError: A weights file in it is none.
    """
    found = [*_experts(folder), *_weights(folder), *_scenes(folder), *_run(folder)]
    if not found:
        raise ConfigError(
            f"{folder} holds nothing that Gauntlet knows: expected weights ({WEIGHTS}) of a policy, of experts, of a "
            f"prior or of a traffic model, attacked scenes in {SCENES}/, or a run folder with {RUN_FILE}."
        )
    return sorted(found, key=lambda use: list(TITLES).index(use.kind))


def told(file: Path) -> str:
    """The option that uses a single weights file; empty where none is known."""
    return next((use.option for use in _of_file(file)), "")


def _experts(folder: Path) -> Iterator[Use]:
    adv, real = (folder / f"{name}{WEIGHTS}" for name in ("adv", "real"))
    adversary = _EXPERTS.get(written_by(adv, "architecture") or "")
    if adversary and real.is_file():
        yield Use("experts", f"--adversary {adversary}:{folder}")


def _weights(folder: Path) -> Iterator[Use]:
    grouped = {"adv", "real", "third"} if any(_experts(folder)) else set()
    for file in sorted(folder.glob(f"*{WEIGHTS}")):
        if file.stem not in grouped:
            yield from _of_file(file)


def _of_file(file: Path) -> Iterator[Use]:
    architecture = written_by(file, "architecture") or ""
    if architecture in _TRAFFIC:
        yield Use("traffic", f"--traffic {_TRAFFIC[architecture]}:{file}")
    elif architecture == _PRIOR:
        yield Use("prior", f"--prior {file}")
    elif architecture == "gauntlet-seal-1":
        yield Use("skills", f'--adversary "seal?weights={file}"')
    elif architecture == "gauntlet-actor-1":
        yield Use("policy", f"--sut {_algorithm(file)}:{file}")


def _algorithm(file: Path) -> str:
    try:
        algorithm = json.loads(written_by(file, "config") or "{}")["algorithm"]
    except (ValueError, KeyError, TypeError, RecursionError):
        algorithm = None
    if algorithm not in names("policy"):
        raise ConfigError(f"{file}: its header names no algorithm of {', '.join(names('policy'))}. Train it again.")
    return str(algorithm)


def _scenes(folder: Path) -> Iterator[Use]:
    place = folder / SCENES
    for label in sorted(place.iterdir()) if place.is_dir() else ():
        if label.is_dir() and any(label.iterdir()):
            yield Use("attacks", f"--data {label} --split all")


def _run(folder: Path) -> Iterator[Use]:
    if (folder / RUN_FILE).is_file():
        read_run(folder)
        page = folder / PAGE
        yield Use("run", f"open {page} in a browser" if page.is_file() else f"read {folder / RUN_FILE} and its tables")
