"""Tokenised scenes, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness.errors import RunError, ScenarioError
from harness.fitting.identity import digest
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.scene import CURRENT_TOKEN, SceneTokens, tokenise_scene
from harness.traffic.tokens.vocabulary import Vocabulary
from scenarios.scenario import CURRENT_STEP, MapFeature, Scenario, ScenarioSource

log = logging.getLogger(__name__)

LAYOUT = 2
"""Raise when `tokenise_scene` changes what it makes."""


_FLIP: Final = np.array([1.0, -1.0, 1.0])


def mirrored(scenario: Scenario) -> Scenario:
    """The scene seen in a mirror (y → -y): twice the data, with left and right exchanged.

    A lane runs the way it did. A road edge has the road on its left and a polygon its inside: their points come in
    reverse order, or the mirror would put the road on the other side.
    """
    features = tuple(_mirrored_feature(feature) for feature in scenario.features)
    return replace(
        scenario,
        id=f"{scenario.id}-mirrored",
        position=scenario.position * _FLIP,
        heading=-scenario.heading,
        velocity=scenario.velocity * _FLIP[:2],
        features=features,
        lights={name: _mirrored_light(light) for name, light in scenario.lights.items()},
    )


def _mirrored_feature(feature: MapFeature) -> MapFeature:
    points = feature.points * _FLIP[: feature.points.shape[-1]].astype(feature.points.dtype)
    if feature.is_road_edge or feature.closed:
        points = points[::-1].copy()
    return replace(feature, points=points, left=feature.right, right=feature.left)


def _mirrored_light(light: Mapping[str, Any]) -> dict[str, Any]:
    flipped = dict(light)
    for name in ("stop_point", "position"):
        if light.get(name) is not None:
            point = np.asarray(light[name], dtype=np.float64)
            flipped[name] = point * _FLIP[: point.shape[-1]]
    return flipped


def usable(scenario: Scenario) -> str | None:
    """Why a scene cannot be trained on, or None."""
    if scenario.num_steps <= CURRENT_STEP + 5:
        return f"only {scenario.num_steps} steps"
    if not scenario.valid[scenario.ego, CURRENT_STEP]:
        return "the ego is absent at the current step"
    if abs(scenario.dt - 0.1) > 5e-3:
        return f"dt is {scenario.dt} s; tokens need 0.1 s"
    return None


def teaches(scene: SceneTokens) -> bool:
    """Whether any trained agent has a token after the current step: the mean loss of a scene without is undefined."""
    return bool(scene.token_valid[scene.trained, CURRENT_TOKEN:].any())


def fingerprint(vocabulary: Vocabulary, options: SceneOptions) -> str:
    """Names the cache folder: tokens of one vocabulary mean nothing in another."""
    digest = hashlib.sha256(vocabulary.motions.tobytes() + vocabulary.pieces.tobytes())
    digest.update(json.dumps([LAYOUT, asdict(options)]).encode())
    return digest.hexdigest()[:12]


class TokenisedScenes:
    """Training scenes: tokenised once into `folder`, read into memory when first used.

    Args:
        source: Scenes.
        vocabulary: Tokens.
        options: Sizes.
        folder: Cache; one file per scene, shared by runs with equal vocabulary and options.
        mirror: Whether every scene comes a second time, mirrored.
        progress: Called with scenes done and their number.

    Raises:
        RunError: No usable scene.
    """

    def __init__(
        self,
        source: ScenarioSource,
        vocabulary: Vocabulary,
        options: SceneOptions,
        folder: Path,
        *,
        mirror: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.source, self.vocabulary = source, vocabulary
        self.folder = folder / fingerprint(vocabulary, options)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.entries: list[tuple[int, bool]] = []
        self.rejected: list[tuple[str, str]] = []
        self._memory: dict[int, SceneTokens] = {}
        for index in range(len(source)):
            self._add(index, vocabulary, options, mirror)
            progress(index + 1, len(source))
        if not self.entries:
            raise RunError(f"none of the {len(source)} scenes can be trained on: {self.rejected[:3]}.")

    def __getstate__(self) -> dict[str, Any]:
        """Without what is in memory: a worker reads the scenes that it needs."""
        return {**self.__dict__, "_memory": {}}

    def _path(self, index: int, mirror: bool) -> Path:
        name = hashlib.sha256(self.source.ids[index].encode()).hexdigest()[:20]
        return self.folder / f"{name}{'-m' if mirror else ''}.safetensors"

    def _add(self, index: int, vocabulary: Vocabulary, options: SceneOptions, mirror: bool) -> None:
        wanted = [False, True] if mirror else [False]
        missing = [flag for flag in wanted if not self._path(index, flag).exists()]
        if missing:
            try:
                scenario = self.source[index]
            except ScenarioError as error:
                self.rejected.append((self.source.ids[index], str(error)))
                return
            reason = usable(scenario)
            if reason is None:
                seen = [mirrored(scenario) if flag else scenario for flag in missing]
                tokens = [tokenise_scene(scene, vocabulary, options, training=True) for scene in seen]
                reason = None if all(map(teaches, tokens)) else "nobody to learn from is there after the current step"
            if reason is not None:
                self.rejected.append((scenario.id, reason))
                log.warning("scene %s is left out: %s", scenario.id, reason)
                return
            for flag, made in zip(missing, tokens, strict=True):
                made.save(self._path(index, flag))
        self.entries += [(index, flag) for flag in wanted]

    def digest(self) -> str:
        """Identifies the entries, in their order."""
        return digest(self._path(*entry).name for entry in self.entries)

    def __len__(self) -> int:
        """Number of entries, mirrored ones included."""
        return len(self.entries)

    def __getitem__(self, entry: int) -> SceneTokens:
        """Tokens of an entry."""
        if entry not in self._memory:
            self._memory[entry] = SceneTokens.load(self._path(*self.entries[entry]), self.vocabulary)
        return self._memory[entry]

    def scenario(self, entry: int) -> Scenario:
        """The scene behind an entry, mirrored if the entry is."""
        index, flag = self.entries[entry]
        return mirrored(self.source[index]) if flag else self.source[index]

    def batches(self, order: np.ndarray, size: int) -> Iterator[list[int]]:
        """Entries in groups of `size`."""
        for begin in range(0, len(order), size):
            yield [int(k) for k in order[begin : begin + size]]
