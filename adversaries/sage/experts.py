"""A folder of experts: `adv.safetensors` and `real.safetensors`, aligned from one prior."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final

from torch import nn

from adversaries.prior.network import GoalNetwork
from adversaries.prior.prior import MotionPrior
from adversaries.sage.backbone import Backbone
from adversaries.sage.config import EXTREME, RECIPES, Recipe
from adversaries.sage.merging import Merge, Merger, split
from adversaries.sage.merging_config import DENSITY
from adversaries.sage.steering import PreferenceVectors, flatten, preference_vectors
from harness.errors import ConfigError, WeightsError
from harness.files import read_json
from harness.fitting.identity import fingerprint

SHIPPED: Final = Path(__file__).parent / "weights"
"""Experts aligned on procedural scenes, part of the package; their prior is the shipped one."""
NAMES: Final = ("adv", "real", "third")
"""Experts in the order of a merger, as files of coefficients name them."""
PRIOR_FILE: Final = "prior.safetensors"
"""The prior, in folders of experts that do not come from the shipped one."""


@dataclass(frozen=True)
class Experts:
    """Two experts and the prior they come from.

    Attributes:
        prior: Reference; completes every expert's goals.
        adv, real: Aligned networks.
        info: What the experts' files say of their making, by expert.
    """

    prior: MotionPrior
    adv: GoalNetwork
    real: GoalNetwork
    info: dict[str, dict[str, object]]

    @property
    def vectors(self) -> PreferenceVectors:
        """Reference and preference vectors (eq. 14)."""
        return preference_vectors(self.prior.network, self.adv, self.real)

    @property
    def weight(self) -> float:
        """Weight w* of R_adv (eq. 5) with which the adversarial expert was aligned; the usual one if untold."""
        recipe = self.info.get("adv", {}).get("recipe")
        return float(recipe["w_adv"]) if isinstance(recipe, Mapping) and "w_adv" in recipe else EXTREME


def save_expert(folder: Path, name: str, policy: Backbone, reference: Backbone, info: dict[str, object]) -> Path:
    """Write `<name>.safetensors`, all or nothing."""
    file = folder / f"{name}.safetensors"
    policy.save(file, {**info, "expert": name, "prior": fingerprint(reference.module)})
    return file


def check_origin(file: Path, info: Mapping[str, object], reference: nn.Module) -> None:
    """Refuse an expert that was aligned from another reference than the one at hand.

    Raises:
        WeightsError: It was.
    """
    wanted = fingerprint(reference)
    if info.get("prior") != wanted:
        raise WeightsError(
            f"{file}: aligned from prior {info.get('prior')!r}, but the prior at hand is {wanted!r}. "
            "Give the prior that `train_experts` was run with, or align the experts again."
        )


def expert_file(folder: Path, name: str) -> Path:
    """The weights of an expert.

    Raises:
        WeightsError: There are none.
    """
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        raise WeightsError(
            f"no expert at {file}. Make it with `python -m harness.train_experts`, "
            "or leave the folder out to use the experts that ship with Gauntlet."
        )
    return file


def load_network(folder: Path, name: str, prior: MotionPrior) -> tuple[GoalNetwork, dict[str, object]]:
    """One aligned network and what its file says of its making.

    Raises:
        WeightsError: The file is missing or unreadable, or was aligned from another prior.
    """
    return load_aligned(expert_file(folder, name), prior)


def load_aligned(file: Path, prior: MotionPrior) -> tuple[GoalNetwork, dict[str, object]]:
    """The aligned network of a file and what it says of its making.

    Raises:
        WeightsError: The file is missing or unreadable, or was aligned from another prior: task vectors of different
            priors cannot be added (see `merging`).
    """
    loaded = MotionPrior.load(file)
    check_origin(file, loaded.info, prior.network)
    return loaded.network, loaded.info


def merger_of(
    experts: Experts,
    third: GoalNetwork | None = None,
    merge: Merge = "linear",
    density: float = DENSITY,
    coefficients: Sequence[Mapping[str, float]] = (),
) -> Merger:
    """How experts, and perhaps a third one, are merged; arguments as of `merging.Merger`.

    Raises:
        WeightsError: The networks are not of one architecture.
        ConfigError: An option cannot work.
    """
    vectors, network = experts.vectors, experts.prior.network
    tasks = [vectors.adv, vectors.real]
    if third is not None:
        tasks.append(preference_vectors(network, third, third).adv)
    split_tasks = tuple(split(network, task) for task in tasks)
    return Merger(split(network, flatten(network)), split_tasks, merge, density, tuple(coefficients))


def read_coefficients(file: Path, experts: int) -> tuple[Mapping[str, float], ...]:
    """Coefficients of task arithmetic from a file that `sage_analysis` wrote: by expert, and by layer.

    Args:
        file: A JSON object with `adv`, `real` and, for three experts, `third`.
        experts: Number of experts that are merged.

    Raises:
        ConfigError: The file is missing, unreadable or something else.
    """
    found = read_json(file, error=ConfigError)
    names = NAMES[:experts]
    if not isinstance(found, Mapping) or not all(_numbers(found.get(name)) for name in names):
        raise ConfigError(
            f"{file}: expected coefficients by layer of {', '.join(names)}. `sage_analysis` writes such a file."
        )
    return tuple({layer: float(value) for layer, value in found[name].items()} for name in names)


def _numbers(found: object) -> bool:
    """Whether something is a dictionary of finite numbers."""
    if not isinstance(found, Mapping):
        return False
    plain = (isinstance(value, int | float) and not isinstance(value, bool) for value in found.values())
    return all(plain) and all(math.isfinite(value) for value in found.values())


def load_experts(
    folder: str | PathLike[str] | None = None,
    prior: MotionPrior | str | PathLike[str] | None = None,
    cache_scenes: int = 64,
) -> Experts:
    """Experts of a folder with their prior.

    Args:
        folder: As written by `train_experts`. By default the folder of the prior's file, where experts lie beside it,
            or else the shipped ones.
        prior: The prior or its file; by default `prior.safetensors` of the folder, or else the shipped prior.
        cache_scenes: Scenes that the prior remembers, where it is loaded here.

    Raises:
        WeightsError: A file is missing or unreadable, or the experts come from another prior.
    """
    place = SHIPPED if folder is None else Path(folder)
    if folder is None and isinstance(prior, (str, PathLike)) and (Path(prior).parent / "adv.safetensors").is_file():
        place = Path(prior).parent
    if not isinstance(prior, MotionPrior):
        own = place / PRIOR_FILE
        prior = MotionPrior.load(prior if prior is not None else own if own.is_file() else None, cache_scenes)
    adv, adv_info = load_network(place, "adv", prior)
    real, real_info = load_network(place, "real", prior)
    return Experts(prior, adv, real, {"adv": adv_info, "real": real_info})


def load_separate(folder: Path, prior: MotionPrior) -> dict[str, tuple[Recipe, GoalNetwork]]:
    """Networks of a folder that were aligned on one weighting of the two rewards between those of the experts.

    They stand for the optimum that theorems 1 and 2 speak of, and for table 9's rows of separately trained models.

    Returns:
        By name, those of `config.RECIPES` that `train_experts --make.experts` left there; the experts are not among
        them.

    Raises:
        WeightsError: A file is unreadable, or was aligned from another prior.
    """
    found, own = {}, RECIPES["adv"]
    for name, recipe in RECIPES.items():
        plain = (recipe.map_rule, recipe.pairs) == (own.map_rule, own.pairs)
        whole = abs(recipe.w_adv + recipe.w_real - 1.0) < 1e-9
        if plain and whole and name not in ("adv", "real") and (folder / f"{name}.safetensors").is_file():
            found[name] = recipe, load_network(folder, name, prior)[0]
    return found
