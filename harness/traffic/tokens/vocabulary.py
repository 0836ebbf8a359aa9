"""Vocabularies: motion tokens per agent kind, and shapes of map pieces; read from and written to safetensors."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from harness.errors import WeightsError
from harness.files import write_bytes
from harness.fitting.weights import read_tensors
from harness.traffic.tokens.shapes import KIND_SIZES, TOKEN_KINDS, TOKEN_STEPS

FORMAT: Final = "gauntlet-motion-vocabulary-1"
SHIPPED: Final = Path(__file__).parent / "weights" / "vocabulary.safetensors"
"""Built from procedural scenes and analytic motion; part of the package."""
PIECE_POINTS: Final = 3
"""Points of a map piece that its token describes."""


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Motion and map tokens.

    Attributes:
        motions: [3, V, 6, 3] float32: x (m), y (m), heading (rad) every 0.1 s from the start pose (all zero), in its
            frame, per kind (vehicle, pedestrian, cyclist). Token 0 stands still.
        pieces: [P, 3, 2] float32: start, middle, end (m) of map pieces in the frame of their middle and direction.
        info: How it was built.
    """

    motions: NDArray[np.float32]
    pieces: NDArray[np.float32]
    info: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes; the arrays become read-only.

        Raises:
            WeightsError: Wrong shapes.
        """
        if self.motions.ndim != 4 or self.motions.shape[::2] != (TOKEN_KINDS, TOKEN_STEPS + 1):
            raise WeightsError(f"motion tokens: expected shape [3, V, 6, 3], found {list(self.motions.shape)}.")
        if min(self.motions.size, self.pieces.size) == 0 or {self.motions.dtype.kind, self.pieces.dtype.kind} != {"f"}:
            raise WeightsError("motion and map tokens: expected at least one of each, as floating-point numbers.")
        if self.pieces.ndim != 3 or self.pieces.shape[1:] != (PIECE_POINTS, 2):
            raise WeightsError(f"map tokens: expected shape [P, 3, 2], found {list(self.pieces.shape)}.")
        self.motions.setflags(write=False)
        self.pieces.setflags(write=False)

    @property
    def size(self) -> int:
        """Motion tokens per kind, V."""
        return int(self.motions.shape[1])

    @property
    def ends(self) -> NDArray[np.float32]:
        """Pose after 0.5 s of every token: [3, V, 3]."""
        return self.motions[:, :, -1]

    def save(self, path: Path) -> None:
        """Write a safetensors file, all or nothing."""
        header = {"format": FORMAT, "info": json.dumps(self.info), "sizes": json.dumps(KIND_SIZES.tolist())}
        data = save(
            {"motions": np.ascontiguousarray(self.motions), "pieces": np.ascontiguousarray(self.pieces)}, header
        )
        write_bytes(path, data)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Vocabulary:
        """Read a vocabulary; None means the shipped one.

        Raises:
            WeightsError: No such file, or not a vocabulary.
        """
        file = SHIPPED if path is None else Path(path)
        missing = (
            "no vocabulary at {file}. Build one with `python -m harness.train_traffic vocabulary`, "
            "or leave the path out to use the shipped one."
        )
        tensors, header = read_tensors(file, ("format", FORMAT), missing, "np")
        if not {"motions", "pieces"} <= tensors.keys():
            raise WeightsError(f"{file} is not a readable vocabulary: its tensors are {sorted(tensors)}.")
        return cls(tensors["motions"], tensors["pieces"], header.get("info", {}))


@cache
def shipped() -> Vocabulary:
    """The shipped vocabulary, read once."""
    return Vocabulary.load()
