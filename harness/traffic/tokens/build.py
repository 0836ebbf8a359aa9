"""Building a vocabulary from scenes and analytic motion, and measuring how well it reconstructs logs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.files import JsonDict
from harness.traffic.tokens.analytic import analytic_motion, analytic_pieces, centred
from harness.traffic.tokens.config import VocabularyConfig
from harness.traffic.tokens.kdisks import fitted_disks
from harness.traffic.tokens.pieces import PIECE_LENGTH, shapes_of
from harness.traffic.tokens.shapes import KIND_NAMES, TOKEN_KINDS, TOKEN_STEPS, contours, token_kinds
from harness.traffic.tokens.tokeniser import reconstruction_errors, relative_poses
from harness.traffic.tokens.tracks import clean_tracks
from harness.traffic.tokens.vocabulary import PIECE_POINTS, Vocabulary
from scenarios.scenario import Scenario, ScenarioSource

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

MIN_VALID: Final = 30
"""Only agents seen for 3 s give segments (CAT-K's clustering)."""
_STEP_LIMIT: Final = np.array([4.5, 1.2, 2.5])
"""Longest move in 0.1 s per kind, m: 45, 12 and 25 m/s. Faster ones are errors of the tracker, which would become
dead tokens (CAT-K's published vocabulary holds a cyclist at 118 m/s)."""
_TURN_LIMIT: Final = 0.5
"""Largest turn in 0.1 s, rad."""


def scene_segments(scenario: Scenario) -> list[Floats]:
    """Half seconds [n, 6, 3] of each token kind in the frame of their start, from every boundary-aligned window."""
    agents = np.flatnonzero(scenario.valid.sum(1) >= MIN_VALID)
    tracks = clean_tracks(scenario, agents)
    kinds = token_kinds(scenario.kinds[agents])
    found: list[list[Floats]] = [[np.zeros((0, TOKEN_STEPS + 1, 3))] for _ in range(TOKEN_KINDS)]
    for start in range(0, tracks.valid.shape[1] - TOKEN_STEPS, TOKEN_STEPS):
        span = slice(start, start + TOKEN_STEPS + 1)
        live = tracks.valid[:, span].all(1)
        local = relative_poses(tracks.poses[live, span], tracks.poses[live, start][:, None])
        step = np.hypot(*np.moveaxis(np.diff(local[..., :2], axis=1), -1, 0)).max(-1)
        turn = np.abs(np.diff(local[..., 2], axis=1)).max(-1)
        for kind in range(TOKEN_KINDS):
            good = (kinds[live] == kind) & (step < _STEP_LIMIT[kind]) & (turn < _TURN_LIMIT)
            found[kind].append(local[good])
    return [np.concatenate(parts) for parts in found]


def _thin_standing(segments: Floats, rng: np.random.Generator, count: int) -> Floats:
    """At most `count` segments, of which at most a tenth stand still."""
    standing = np.hypot(segments[:, -1, 0], segments[:, -1, 1]) < 0.05
    keep = np.flatnonzero(~standing)
    still = np.flatnonzero(standing)
    keep = rng.permutation(keep)[:count]
    still = rng.permutation(still)[: max(len(keep) // 9, 1)]
    return segments[np.concatenate([keep, still])]


def motion_tokens(samples: Floats, kind: int, config: VocabularyConfig) -> tuple[NDArray[np.float32], float]:
    """Tokens [V, 6, 3] of samples [N, 6, 3], the first of which stands still, and the base radius (m)."""
    corners = contours(samples[:, -1], np.full(len(samples), kind))
    moved = np.hypot(samples[:, -1, 0], samples[:, -1, 1])
    scale = 1.0 + moved / config.doubling
    disks, radius = fitted_disks(corners, scale, config.tokens, config.seed, first=0, cover=config.cover)
    count = len(disks.centres)
    sums = np.zeros((count + 1, *samples.shape[1:]))
    np.add.at(sums, disks.owner, samples)
    sizes = np.bincount(disks.owner[disks.owner >= 0], minlength=count)
    tokens = sums[:count] / sizes[:, None, None]
    tokens[0] = 0.0
    if count < config.tokens:
        # Bisection stops a few short of the number: random samples fill up, where samples are dense.
        rest = np.random.default_rng(config.seed).permutation(len(samples))[: config.tokens - count]
        tokens = np.concatenate([tokens, samples[rest]])
    return tokens.astype(np.float32), radius


def piece_tokens(samples: Floats, config: VocabularyConfig) -> tuple[NDArray[np.float32], float]:
    """Shape tokens [P, 3, 2] of map pieces [N, 3, 2] and the radius (m)."""
    disks, radius = fitted_disks(samples, np.ones(len(samples)), config.pieces, config.seed, cover=config.cover)
    chosen = samples[disks.centres]
    if len(chosen) < config.pieces:
        rest = np.random.default_rng(config.seed).permutation(len(samples))[: config.pieces - len(chosen)]
        chosen = np.concatenate([chosen, samples[rest]])
    return chosen.astype(np.float32), radius


def collect(
    source: ScenarioSource, config: VocabularyConfig, progress: Callable[[int, int], None]
) -> tuple[list[Floats], Floats]:
    """Recorded segments per kind and map pieces of all scenes of a source."""
    rng = np.random.default_rng(config.seed)
    segments: list[list[Floats]] = [[] for _ in range(TOKEN_KINDS)]
    pieces = [np.zeros((0, PIECE_POINTS, 2))]
    for index in range(len(source)):
        scenario = source[index]
        for kind, found in enumerate(scene_segments(scenario)):
            segments[kind].append(_thin_standing(found, rng, config.samples) if len(found) else found)
        shapes, _ = shapes_of([f for f in scenario.features if len(f.points) > 1])
        pieces.append(centred(shapes[rng.permutation(len(shapes))[:500]]))
        progress(index + 1, len(source))
    joined = [np.concatenate([np.zeros((0, TOKEN_STEPS + 1, 3)), *parts]) for parts in segments]
    joined = [part[rng.permutation(len(part))[: config.samples]] for part in joined]
    shapes = np.concatenate(pieces)
    return joined, shapes[rng.permutation(len(shapes))[: config.samples]]


def build_vocabulary(
    source: ScenarioSource | None,
    config: VocabularyConfig,
    info: JsonDict | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Vocabulary:
    """Build motion and map tokens.

    Args:
        source: Scenes; None for analytic motion only.
        config: Sizes.
        info: Goes into the file.
        progress: Called with scenes done and their number.

    Raises:
        ConfigError: Nothing to build from.
    """
    recorded = [np.zeros((0, TOKEN_STEPS + 1, 3))] * TOKEN_KINDS
    shapes = np.zeros((0, PIECE_POINTS, 2))
    if source is not None:
        recorded, shapes = collect(source, config, progress)
    tables, radii = [], {}
    for kind, name in enumerate(KIND_NAMES):
        still = np.zeros((1, TOKEN_STEPS + 1, 3))
        samples = [still, analytic_motion(kind, config.analytic, config.seed)] if config.analytic else [still]
        pool = np.concatenate([*samples, recorded[kind]])
        if len(pool) < config.tokens:
            raise ConfigError(
                f"{name}: {len(pool)} half seconds for {config.tokens} tokens. Give more scenes, fewer tokens or "
                "analytic motion."
            )
        tokens, radius = motion_tokens(pool, kind, config)
        tables.append(tokens)
        radii[name] = radius
        log.info("%s: %d samples, radius %.3f m", name, len(pool), radius)
    pool = np.concatenate([analytic_pieces(max(config.analytic, config.pieces), config.seed, PIECE_LENGTH), shapes])
    pieces, radii["map"] = piece_tokens(pool, config)
    counts = {name: len(part) for name, part in zip(KIND_NAMES, recorded, strict=True)}
    return Vocabulary(np.stack(tables), pieces, {"radius": radii, "recorded": counts, **(info or {})})


def measure(source: ScenarioSource, vocabulary: Vocabulary) -> dict[str, dict[str, float]]:
    """Reconstruction error (m, mean over the four corners) per kind over all valid 10 Hz steps of a source.

    Returns:
        Per kind that occurs: `mean`, `p95`, `max` and `steps`.
    """
    parts: list[list[Floats]] = [[] for _ in range(TOKEN_KINDS)]
    for index in range(len(source)):
        scenario = source[index]
        agents = np.flatnonzero(scenario.valid.any(1))
        found = reconstruction_errors(clean_tracks(scenario, agents), token_kinds(scenario.kinds[agents]), vocabulary)
        for kind in range(TOKEN_KINDS):
            parts[kind].append(found[kind])
    table = {}
    for kind, name in enumerate(KIND_NAMES):
        errors = np.concatenate(parts[kind])
        if len(errors):
            table[name] = {
                "mean": float(errors.mean()),
                "p95": float(np.percentile(errors, 95)),
                "max": float(errors.max()),
                "steps": float(len(errors)),
            }
    return table
