"""One decision of the InfGen-like model: who moves how and who leaves, then newcomers one after another.

InfGen's insertion loop: at most ten times a query says whether anybody enters, and ends the loop where nobody does;
then of what type and shape, and in which cell, drawn from the ten most probable ones. Where the cell is taken the loop
goes on to the next time; else the newcomer looks around from it, and is there for the queries after it. Not followed:
its headings are the lower edges of 120 intervals, ours the middle of them, as those of RosettaSim. Its agents stay for
one more half second when they are said to leave, because their last token is labelled; ours go at once, because who is
gone at the next decision is labelled. It asks whether a cell is taken before it asks whether anybody enters at all, so
that a turn may be lost which would have ended the loop; the newcomers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ConfigError
from harness.geometry import from_frame
from harness.traffic.infgen.network import (
    ENTERS,
    LEAVES,
    Answers,
    Bystanders,
    Entering,
    InfGenNetwork,
    InfGenTables,
)
from harness.traffic.model.network import MapFeatures
from harness.traffic.open.decisions import NONE
from harness.traffic.open.decoding import OpenOptions
from harness.traffic.open.network import UNKNOWN_MOTION
from harness.traffic.sampling import draw, top_k
from harness.traffic.tokens.layout import LayoutTokens, grid_cells, layout_poses, layout_tokens

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class InfGenOptions(OpenOptions):
    """How `infgen` traffic is sampled.

    Of RosettaSim's heuristics (appendix D.3) only the removal at the boundary, which that paper also gives SMART and
    CAT-K, is on: InfGen has a head for offsets instead of snapping to lanes, taken cells instead of overlap, and a head
    for who leaves.
    """

    snap: bool = False
    """Whether vehicles enter on the centre line of a lane that is within 3 m of the place."""
    overlap_ends: bool = False
    """Whether nobody else enters, in this half second, once a newcomer would overlap with somebody."""
    extremes: bool = False
    """Whether who makes an impossible motion is removed."""
    leaving: bool = True
    """Whether who most probably leaves, says its head, is removed."""
    state_temperature: float = 0.0
    """Temperature of whether anybody enters; 0 for the more probable of both."""
    state_bias: float = 0.0
    """Added to the logit of somebody entering: the dial of density."""
    type_temperature: float = 0.0
    """Temperature of types; 0 for the most probable one."""
    grid_k: int = 10
    """Most probable places that are drawn from."""
    yaw_k: int = 1
    """Most probable headings that are drawn from."""
    most: int = 10
    """How often the loop is gone through in half a second at most, and so the largest number of newcomers in it."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        super().__post_init__()
        if min(self.state_temperature, self.type_temperature, self.grid_k, self.yaw_k) < 0:
            raise ConfigError(f"traffic: {self}: expected counts and temperatures >= 0.")


class Inserted(NamedTuple):
    """A newcomer: type, cell and yaw token, offset [2] from the middle of the cell and size [3], m."""

    kind: int
    grid: int
    yaw: int
    offset: Floats
    size: Floats

    def pose(self, observer: Floats) -> Floats:
        """Its pose [3] around an observer [3], in the frame that the observer's is in."""
        pose = layout_poses(np.array(self.grid), np.array(self.yaw), observer)
        pose[:2] = from_frame(grid_cells()[self.grid] + self.offset, observer)
        return pose


class Insertion:
    """One decision in one world.

    Args:
        network: In evaluation mode.
        tables: Its embeddings of layout tokens.
        maps: The encoded map.
        features: [N, hidden] the encoder's features of the agents.
    """

    def __init__(self, network: InfGenNetwork, tables: InfGenTables, maps: MapFeatures, features: Tensor) -> None:
        self.network, self.tables, self.maps, self.agents = network, tables, maps, features
        self._only = torch.zeros(1, dtype=torch.long, device=features.device)
        self._table = network.token_head.table(network.motions) if maps.table is None else maps.table

    @torch.no_grad()
    def leaves(self) -> Tensor:
        """Who most probably is gone at the next decision [N]."""
        return self.network.leave_head(self.agents).argmax(-1) == LEAVES

    @torch.no_grad()
    def look_around(
        self, pieces: NDArray[np.int64], lies: Floats, poses: Floats, after: LayoutTokens, observer: Floats
    ) -> None:
        """Look at the map, and at where the agents are after their motion. Poses are in the frame of the scene.

        Args:
            pieces: [M] rows of map pieces.
            lies: [M, 3] their poses.
            poses: [N, 3] poses of the agents.
            after: [N] layout tokens of the agents, `NONE` of who is gone.
            observer: [3] pose of the observer.
        """
        assert self.maps.features is not None
        self._place = observer
        self._observer = self._tensor(observer)[None]
        features = self.maps.features[torch.as_tensor(pieces, device=self.agents.device)][None]
        cells = torch.as_tensor(layout_tokens(lies, observer).grid, device=self.agents.device)[None]
        self._around = self.network.seen("map", features, self._tensor(lies)[None], cells, self._observer, self.tables)
        self._poses = self._tensor(poses)
        self._grid = torch.as_tensor(after.grid, device=self.agents.device)

    def _tensor(self, values: Floats) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.agents.device)

    def _ask(self, features: Tensor, poses: Tensor, grid: Tensor) -> Answers:
        """What a query says that knows of everybody: features [n, hidden], poses [n, 3], cells [n]."""
        network, only = self.network, self._only
        others = network.seen("agents", features[None], poses[None], grid[None], self._observer, self.tables)
        return network.answers(network.ask(self._around, others, only, others.present), self.tables)

    @torch.no_grad()
    def newcomers(
        self,
        options: InfGenOptions,
        generator: torch.Generator,
        admit: Callable[[Inserted], bool],
        cells: Tensor | None = None,
    ) -> list[Inserted]:
        """Go through InfGen's loop, until nobody enters, or somebody is not admitted.

        Args:
            options: How is drawn.
            generator: Source of randomness.
            admit: Says of each whether it enters; the loop ends with the first one that does not.
            cells: [1961] where somebody may enter; None for everywhere.
        """
        network, tables = self.network, self.tables
        found: list[Inserted] = []
        if cells is not None and not bool(cells.any()):
            return found
        features, poses, grid = self.agents, self._poses, self._grid
        bystanders = Bystanders(features[None], poses[None], (grid != NONE)[None])
        bias = features.new_zeros(2)
        bias[ENTERS] = options.state_bias
        says = self._ask(features, poses, grid)
        for _ in range(options.most):
            if int(draw(says.state[0] + bias, options.state_temperature, generator)) != ENTERS:
                break
            kind = draw(says.kind, options.type_temperature, generator)
            place = says.place if cells is None else says.place.masked_fill(~cells, -torch.inf)
            cell = draw(top_k(place, options.grid_k), 1.0, generator)
            if bool((grid == cell).any()):
                continue
            size = network.sizes_of(kind, says.shape)
            who = Entering(kind, size, cell, self._observer, self._only)
            headings, offset = network.refine(self.maps, who, bystanders, tables)
            yaw = draw(top_k(headings, options.yaw_k), 1.0, generator)
            aside, large = (values[0].double().cpu().numpy() for values in (offset, size))
            if not admit(newcomer := Inserted(int(kind), int(cell), int(yaw), aside, large)):
                break
            found.append(newcomer)
            unknown, still = torch.full_like(kind, UNKNOWN_MOTION), features.new_zeros(1, 3)
            features = torch.cat([features, network.embed(unknown, still, kind, size, self._table)])
            poses = torch.cat([poses, self._tensor(newcomer.pose(self._place))[None]])
            grid = torch.cat([grid, cell])
            says = self._ask(features, poses, grid)
        return found
