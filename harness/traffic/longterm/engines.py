"""By what recorded windows are retrieved: latents of a scene autoencoder, or raw trajectories (RosettaSim, F.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.metrics.longterm.retrieval import WindowLatents, latent_distances, median_scales
from harness.metrics.longterm.trajectories import set_distances
from harness.traffic.longterm.config import TRAJECTORIES, vae_file
from harness.traffic.longterm.scene import WindowRecord
from harness.traffic.scene_vae.model import SceneVae

Floats = NDArray[np.float64]


def load_vae(retrieval: str) -> SceneVae | None:
    """The scene autoencoder that a retrieval needs, or None where it needs none.

    Raises:
        ConfigError: There is no such retrieval.
        WeightsError: The weights cannot be used.
    """
    file = vae_file(retrieval)
    return None if file is None else SceneVae.load(file)


class RetrievalBase(NamedTuple):
    """The recorded windows that can be retrieved. N windows.

    Attributes:
        paths: Everybody's ways in each.
        latents: Latents of each; None where they were not encoded.
        scales: Median distances between them, of objects and of maps.
    """

    paths: list[Floats]
    latents: WindowLatents | None
    scales: tuple[float, float]

    @classmethod
    def of(cls, records: Sequence[WindowRecord], rows: Sequence[NDArray[np.intp]]) -> RetrievalBase:
        """Some windows of some recordings.

        Args:
            records: The recordings.
            rows: Which windows of each.
        """
        paths = [record.paths[row] for record, picked in zip(records, rows, strict=True) for row in picked]
        parts = [record.latents for record in records]
        encoded = [part for part in parts if part is not None]
        if len(encoded) < len(parts) or not encoded:
            return cls(paths, None, (1.0, 1.0))
        picked = [[values[row] for values in part] for part, row in zip(encoded, rows, strict=True)]
        latents = WindowLatents(*(np.concatenate(values) for values in zip(*picked, strict=True)))
        return cls(paths, latents, median_scales(latents))

    def distances(self, record: WindowRecord, retrieval: str, map_weight: float) -> Floats:
        """Distances [W, N] of the windows of a roll-out or recording from those that can be retrieved.

        Args:
            record: The windows that are compared.
            retrieval: By what; see `vae_file`.
            map_weight: Weight λ of the map (equation 10), on distances divided by their medians.

        Raises:
            ConfigError: Windows were not encoded, but latents are asked for.
        """
        if retrieval == TRAJECTORIES:
            return set_distances(record.paths, self.paths)
        if self.latents is None or record.latents is None:
            raise ConfigError(f"--retrieval {retrieval}: the windows have no latents; load the autoencoder first.")
        return latent_distances(record.latents, self.latents, map_weight, self.scales)
