"""Scenes on their way into training: resident on the device where they fit, and always made ahead of their turn."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from typing import Final, NamedTuple

import numpy as np
import torch

from harness.fitting.ahead import ahead
from harness.traffic.model.batch import AgentBatch, LogBatch, MapBatch, join_agents, join_maps
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.training.dataset import TokenisedScenes

_AHEAD: Final = 2
"""Batches that wait for their turn."""
_SHARE: Final = 0.5
"""Share of a device's free memory that resident scenes may take; the rest is for learning."""


class SceneBatch(NamedTuple):
    """Some scenes: their maps, agents and logs on the device, their tokens on the host."""

    maps: MapBatch
    agents: AgentBatch
    log: LogBatch
    scenes: list[SceneTokens]


class ResidentScenes:
    """Scenes as tensors on one device, end to end; a batch is gathered there from a few indices.

    Args:
        scenes: Tokens.
        lanes: As in `SceneOptions`.
        device: Where.
    """

    def __init__(self, scenes: Sequence[SceneTokens], lanes: int, device: torch.device) -> None:
        self.scenes, self.device = scenes, device
        self._begin = np.cumsum([0, *(len(scene.map_pose) for scene in scenes)])
        self._agents = np.array([len(scene.agents) for scene in scenes])
        self._tokens = np.array([scene.token.shape[1] for scene in scenes])
        self._maps = join_maps(scenes, lanes).to(device)
        agents, log = join_agents(scenes)
        self._rows, self._log = agents.to(device), log.to(device)

    def batch(self, entries: Sequence[int]) -> SceneBatch:
        """Scenes by number: the same tensors as if they were joined on the host."""
        chosen = np.asarray(entries, dtype=np.int64)
        rows = torch.as_tensor(chosen, device=self.device)
        most, longest = max(1, int(self._agents[chosen].max())), int(self._tokens[chosen].max())
        found, log = self._rows, self._log
        agents = AgentBatch(
            torch.arange(len(chosen), device=self.device),
            found.kinds[rows, :most],
            found.sizes[rows, :most],
            *(getattr(found, name)[rows, :most, :longest] for name in ("token", "motion", "pose", "valid")),
        )
        goal, known = log.goal[rows, :most, : longest + 1], log.goal_valid[rows, :most, : longest + 1]
        logged = LogBatch(goal, known, log.trained[rows, :most])
        return SceneBatch(self._maps.select(chosen, self._begin), agents, logged, [self.scenes[k] for k in entries])


def joined(scenes: Sequence[SceneTokens], lanes: int, device: torch.device) -> SceneBatch:
    """Scenes joined on the host and sent to a device."""
    agents, log = join_agents(scenes)
    return SceneBatch(join_maps(scenes, lanes).to(device), agents.to(device), log.to(device), list(scenes))


class SceneFeed:
    """Batches of tokenised scenes on a device.

    On an accelerator all scenes are put there at first use, where they fit; else every batch is joined on the host.
    The host's memory is the CPU's own: there is nothing to put anywhere.

    Args:
        scenes: Scenes.
        lanes: As in `SceneOptions`.
        device: Where batches are wanted.
        resident: Whether the scenes are to lie on the device; None decides as above.

    Attributes:
        waited: Time in which a batch was asked for and not ready, s.
    """

    def __init__(self, scenes: TokenisedScenes, lanes: int, device: torch.device, resident: bool | None = None) -> None:
        self.scenes, self._lanes, self.device, self._wanted = scenes, lanes, device, resident
        self._resident: ResidentScenes | None = None
        self.waited = 0.0

    def __getstate__(self) -> dict[str, object]:
        """Without what lies on the device."""
        return {**self.__dict__, "_resident": None}

    def _settle(self) -> None:
        """Put the scenes on the device, or decide against it."""
        if self._wanted is None:
            self._wanted = self.device.type == "cuda" and size_of(self.scenes) < _SHARE * _free(self.device)
        if self._wanted and self._resident is None:
            every = [self.scenes[entry] for entry in range(len(self.scenes))]
            self._resident = ResidentScenes(every, self._lanes, self.device)

    def batch(self, entries: Sequence[int]) -> SceneBatch:
        """Scenes by number."""
        self._settle()
        if self._resident is not None:
            return self._resident.batch(entries)
        return joined([self.scenes[entry] for entry in entries], self._lanes, self.device)

    def batches(self, groups: Iterable[list[int]]) -> Iterator[tuple[list[int], SceneBatch]]:
        """Groups of scenes one after another, each made while the one before is learnt from."""
        with closing(ahead(((entries, self.batch(entries)) for entries in groups), _AHEAD)) as made:
            while True:
                began = time.perf_counter()
                found = next(made, None)
                self.waited += time.perf_counter() - began
                if found is None:
                    return
                yield found


def size_of(scenes: TokenisedScenes) -> int:
    """Bytes that scenes take, by the first few of them."""
    some = [scenes[entry] for entry in range(min(len(scenes), 32))]
    taken = sum(getattr(scene, item.name).nbytes for scene in some for item in fields(scene))
    return taken * len(scenes) // max(len(some), 1)


def _free(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0])
