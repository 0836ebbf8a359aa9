"""`SceneVae`: weights on disk, moments and windows in, latents out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from harness.errors import ConfigError
from harness.files import JsonDict, write_bytes
from harness.fitting.identity import fingerprint
from harness.fitting.weights import check_layers, fill, read_tensors
from harness.metrics.longterm.retrieval import WindowLatents, average_latents
from harness.metrics.longterm.windows import STRIDE, WINDOW, Starts
from harness.traffic.scene_vae.config import ARCHITECTURE, SceneVaeConfig
from harness.traffic.scene_vae.moments import LaneTable, Moment, MovingTraffic, join_moments, moments_of
from harness.traffic.scene_vae.network import Gaussians, SceneVaeNetwork

Floats = NDArray[np.float64]

_AT_ONCE: Final = 32
"""Moments that are encoded together, at most."""
_SCORES: Final = 1 << 25
"""Scores of lanes for lanes that are computed together, at most: 134 MB. The usual sizes have 1.3 million."""


class SceneVae:
    """A trained scene autoencoder.

    Paper: RosettaSim, section 5.2; Rowe et al., "Scenario Dreamer" (2025).

    Args:
        network: The model; put into evaluation mode.
        info: What the weights file says of its making.
    """

    def __init__(self, network: SceneVaeNetwork, info: JsonDict | None = None) -> None:
        self.network = network.eval()
        self.config = network.config
        self.info = info or {}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SceneVae:
        """Read weights.

        Raises:
            WeightsError: Missing file, not safetensors, another architecture, or tensors that do not fit.
        """
        file = Path(path)
        missing = "no scene autoencoder at {file}. Train one with `python -m harness.train_traffic vae`."
        tensors, header = read_tensors(file, ("architecture", ARCHITECTURE), missing)
        config = SceneVaeConfig.from_dict(header.get("config", {}), str(file))
        check_layers(str(file), tensors, layers=config.layers)
        network = fill(lambda: SceneVaeNetwork(config), tensors, str(file))
        return cls(cast(SceneVaeNetwork, network), header.get("info"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and configuration to a safetensors file, all or nothing."""
        header = {
            "architecture": ARCHITECTURE,
            "config": json.dumps(self.config.to_dict()),
            "info": json.dumps(self.info),
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        write_bytes(Path(path), save(tensors, header))

    def identity(self) -> str:
        """Sixteen digits that tell these weights from others."""
        return fingerprint(self.network)

    @torch.no_grad()
    def encode(self, moments: Sequence[Moment]) -> WindowLatents:
        """Latents of single moments: means over their objects, and over their lanes.

        Equation 9 has one latent of all objects and one of the map, and does not say how those of single elements
        become one; it is their mean here, as over time. Where there is no element it is the standard normal.

        Args:
            moments: T of them.

        Returns:
            [T, D] and [T, E].
        """
        config = self.config
        parts = [
            [np.zeros((0, size)) for size in (*[config.object_latent] * 2, *[config.map_latent] * 2)],
        ]
        together = min(_AT_ONCE, max(1, _SCORES // (config.heads * max(config.lanes, config.objects) ** 2)))
        for begin in range(0, len(moments), together):
            batch = join_moments(moments[begin : begin + together], config.points)
            latents = self.network.encoder(batch)
            found = (*_pooled(latents.objects, batch.there), *_pooled(latents.lanes, batch.lane_there))
            parts.append([value.double().numpy() for value in found])
        return WindowLatents(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def windows(
        self, lanes: LaneTable, traffic: MovingTraffic, observer: Floats, starts: Starts, length: int = WINDOW
    ) -> WindowLatents:
        """Latents of windows (equation 9): means over their moments, of which every half second has one.

        Neighbouring steps are nearly the same, and encoding them all would take five times as long.

        Args:
            lanes: The map.
            traffic: Who moves.
            observer: [T, 3] x, y (m), heading (rad) of whoever watches.
            starts: [W] first steps, `STRIDE` times a whole number apart; a window is the `length` steps after its.
            length: Steps of a window, a multiple of `STRIDE`.

        Raises:
            ConfigError: Windows do not begin and end at half seconds.
        """
        if length % STRIDE or ((starts - starts.min()) % STRIDE).any():
            raise ConfigError(
                f"scene autoencoder: windows of {length} steps that begin at {starts.tolist()[:5]}; expected multiples "
                f"of {STRIDE} steps, at which moments are encoded."
            )
        steps = np.arange(starts.min() + STRIDE, starts.max() + length + 1, STRIDE)
        found = self.encode(moments_of(lanes, traffic, observer, steps.tolist()))
        rows, count = (starts - starts.min()) // STRIDE, length // STRIDE
        objects = average_latents(found.object_mean, found.object_std, rows, count)
        return WindowLatents(*objects, *average_latents(found.map_mean, found.map_std, rows, count))


def _pooled(latents: Gaussians, there: Tensor) -> tuple[Tensor, Tensor]:
    """Means [B, D] of means and standard deviations over elements [B, N, D] that exist; 0 and 1 where none does."""
    count = there.sum(1)[:, None]

    def mean(values: Tensor, otherwise: float) -> Tensor:
        total = (values * there[..., None]).sum(1) / count.clamp(min=1)
        return torch.where(count > 0, total, torch.full_like(total, otherwise))

    return mean(latents.mean, 0.0), mean(latents.std, 1.0)
