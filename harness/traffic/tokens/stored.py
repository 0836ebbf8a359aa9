"""Tokenised scenes on disk: one file holds a scene in one or several phases of the token grid, and its map once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from harness.errors import WeightsError
from harness.files import write_bytes
from harness.fitting.stored import check_layout
from harness.fitting.weights import read_tensors
from harness.traffic.tokens.pieces import Light, PieceKind
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.tokens.shapes import TOKEN_KINDS
from harness.traffic.tokens.vocabulary import Vocabulary

_LAYOUT: Final = {
    "frame": "f8 3", "agents": "i8 A", "kinds": "i8 A", "present": "b1 A", "sizes": "f4 A 3", "token": "i8 A N",
    "token_valid": "b1 A N", "poses": "f4 A S 3", "goal": "f4 A S 3", "goal_valid": "b1 A S", "trained": "b1 A",
    "ego": "b1 A", "road_user": "b1 A", "map_pose": "f4 M 3", "map_token": "i8 M", "map_kind": "i8 M",
    "map_light": "i8 M", "map_around": "i4 M K", "table": "i4 C L", "grid": "f8 4",
}  # fmt: skip
"""Type and shape of every array of a scene; a letter is the same number wherever it stands."""
_SHARED: Final = ("frame", "map_pose", "map_token", "map_kind", "map_around", "table", "grid")
"""Arrays that all phases of a scene have in common; of the others each has its own, such as `0.token`."""
_OWN: Final = re.compile(r"([0-9])\.([a-z_]+)")


def save_phases(path: Path, phases: Sequence[SceneTokens]) -> None:
    """Write a scene in some phases, nine at most, to a safetensors file, all or nothing; see `phases_as_bytes`."""
    write_bytes(path, phases_as_bytes(phases))


def phases_as_bytes(phases: Sequence[SceneTokens]) -> bytes:
    """What `save_phases` writes.

    Args:
        phases: Tokens of the scene; they share their map.
    """
    arrays: dict[str, NDArray[Any]] = {name: getattr(phases[0], name) for name in _SHARED}
    for number, tokens in enumerate(phases):
        own = [item.name for item in fields(tokens) if item.name not in _SHARED]
        arrays |= {f"{number}.{name}": getattr(tokens, name) for name in own}
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def load_phases(path: Path, vocabulary: Vocabulary) -> list[SceneTokens]:
    """Read what `save_phases` has written; the phases share the arrays of their map.

    Args:
        path: Where.
        vocabulary: Whose tokens they are.

    Raises:
        WeightsError: The file is damaged, of another version, or of another vocabulary.
    """
    try:
        arrays, _ = read_tensors(path, None, "there is no {file}", "np")
        shared = {name: arrays[name] for name in _SHARED}
        own: dict[int, dict[str, NDArray[Any]]] = {}
        for name, array in arrays.items():
            if match := _OWN.fullmatch(name):
                own.setdefault(int(match[1]), {})[match[2]] = array
        phases = [SceneTokens(**shared, **own[number]) for number in range(max(1, len(own)))]
        for tokens in phases:
            _check_layout(tokens)
            _check_places(tokens, vocabulary)
        return phases
    except (WeightsError, LookupError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} holds no tokens of a scene ({error}). Delete it: it is made anew.") from error


def _check_layout(tokens: SceneTokens) -> None:
    """Refuse arrays whose types and shapes do not belong together, with a ValueError."""
    sizes = check_layout({name: getattr(tokens, name) for name in _LAYOUT}, _LAYOUT)
    if sizes["S"] != sizes["N"] + 1:
        raise ValueError(f"{sizes['S']} poses of {sizes['N']} tokens")


def _check_places(tokens: SceneTokens, vocabulary: Vocabulary) -> None:
    """Refuse numbers of tokens, kinds, agents and pieces that there are none of, with a ValueError."""
    pieces = len(tokens.map_pose)
    limits = {
        "agents": (0, 2**31), "kinds": (0, TOKEN_KINDS), "token": (0, vocabulary.size),
        "map_token": (0, len(vocabulary.pieces)), "map_kind": (0, len(PieceKind)), "map_light": (0, len(Light)),
        "map_around": (-1, pieces), "table": (-1, pieces),
    }  # fmt: skip
    for name, (least, end) in limits.items():
        values = getattr(tokens, name)
        if values.size and not (least <= values.min() and values.max() < end):
            raise ValueError(f"{name} has numbers from {values.min()} to {values.max()}, expected {least} to {end - 1}")
    if tokens.grid[2] * tokens.grid[3] + 1 != len(tokens.table):
        raise ValueError(f"a grid of {tokens.grid[2]:g} times {tokens.grid[3]:g} cells has {len(tokens.table)} rows")
