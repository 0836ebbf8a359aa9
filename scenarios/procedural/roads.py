"""Road networks from MetaDrive's own block generator, without starting its engine.

MetaDrive's blocks compute their lanes in plain Python and only then build physics and meshes. The subclasses made
here skip that second half: no engine, no assets, no window, a network in tens of milliseconds, and as many networks
per process as one likes, also beside a running environment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import GauntletError

if TYPE_CHECKING:
    from metadrive.component.pgblock.pg_block import PGBlock, PGBlockSocket
    from metadrive.component.road_network.node_road_network import NodeRoadNetwork

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

CONNECTED: Final = 0.35
"""A lane leads into another if its end is this near to the other's start, m."""
ALIGNED: Final = np.cos(np.deg2rad(25.0))
"""The headings of two connected lanes agree within 25°: their cosine is larger than this."""
PLUG_TRIALS: Final = 6
"""How often a block that overlaps what is already there is drawn again."""


@dataclass(slots=True)
class Lane:
    """A lane: centre line, borders, and how it joins the others (by index into `RoadMap.lanes`)."""

    centre: Floats
    """[N, 2] centre line, m, about 1 m apart, in driving direction."""
    width: float
    lines: tuple[str, str]
    """MetaDrive line types of its left and right border."""
    yellow: tuple[bool, bool]
    road: int
    """Lanes of one road run side by side, numbered from the left by `rank`."""
    rank: int
    block: str
    """MetaDrive's letter of the block (I first, S straight, C curve, X and T junctions, O roundabout, r/R ramps)."""
    successors: list[int] = field(default_factory=list)
    predecessors: list[int] = field(default_factory=list)
    left: int | None = None
    right: int | None = None
    outline: Floats | None = None
    """[M, 2] paved polygon, where it is not a strip along the centre line (tapers of ramps)."""
    leads_out: bool = False
    """Whether traffic leaves the map at its end (a lane that merely ends must be left before)."""
    leads_in: bool = False
    """Whether traffic enters the map at its start."""

    @property
    def length(self) -> float:
        """Length of the centre line, m."""
        return float(np.hypot(*np.diff(self.centre, axis=0).T).sum())

    @property
    def turn(self) -> float:
        """Change of heading from start to end, rad, left positive."""
        heading = np.unwrap(np.arctan2(*np.diff(self.centre, axis=0).T[::-1]))
        return float(heading[-1] - heading[0])

    def direction(self, index: int) -> Floats:
        """Unit tangent at the first (0) or last (-1) point."""
        delta = self.centre[1] - self.centre[0] if index == 0 else self.centre[-1] - self.centre[-2]
        return delta / np.hypot(*delta)


@dataclass(slots=True)
class RoadMap:
    """A network of lanes, and strips that are paved without being lanes."""

    kind: str
    lanes: list[Lane]
    tapers: list[Lane]
    """Paved, but not for driving: tapers of ramps, surplus turns of junctions."""


PLANS: Final[dict[str, tuple[str, ...]]] = {
    # Letters are MetaDrive's; each alternative is drawn with equal probability.
    # Ramps come before any bend: MetaDrive's tapers always run along +x.
    "intersection": ("X", "SX", "CX"),
    "t_intersection": ("T", "ST", "CT"),
    "roundabout": ("O", "SO"),
    "merge": ("rS", "rC", "rr"),
    "diverge": ("RS", "SR", "rR"),
    "curve": ("CC", "CS", "SC"),
    "straight": ("SS", "SSS"),
    "mixed": ("XT", "TX", "rT", "OS", "XS", "TC", "TT"),
}
ARMS: Final = ("S", "S", "C", "SS", "")
"""What extends a free end of a junction: MetaDrive's own exits are only 35 m long."""


def build_map(kind: str, rng: np.random.Generator) -> RoadMap:
    """Draw a road network.

    Args:
        kind: A key of `PLANS`.
        rng: The only source of randomness.

    Raises:
        GauntletError: MetaDrive could not fit the blocks together (draw again).
    """
    from metadrive.component.road_network.node_road_network import NodeRoadNetwork

    network = NodeRoadNetwork()
    lane_num = int(rng.choice([1, 2, 3], p=_lane_odds(kind)))
    width = float(rng.uniform(3.3, 3.75))
    blocks = [_block("I")(network, width, lane_num, None, None, length=float(rng.uniform(55.0, 100.0)))]
    for letter in str(rng.choice(PLANS[kind])):
        sockets = list(blocks[-1].get_socket_indices())
        socket = blocks[-1].get_socket(sockets[int(rng.integers(len(sockets)))])
        block = _plug(letter, len(blocks), socket, network, rng)
        if block is None:
            raise GauntletError(f"procedural roads: block {letter} of a {kind} map did not fit")
        blocks.append(block)
    _extend_free_ends(blocks, network, rng)
    return _collect(kind, network, rng)


def _lane_odds(kind: str) -> list[float]:
    if kind == "roundabout":
        return [0.55, 0.45, 0.0]  # MetaDrive's three-lane roundabouts are 100 m wide
    if kind in ("merge", "diverge"):
        return [0.3, 0.5, 0.2]
    return [0.35, 0.45, 0.2]


def _block(letter: str) -> Callable[..., PGBlock]:
    """MetaDrive's block class of that letter, without physics or meshes."""
    from metadrive.component.pgblock import curve, first_block, ramp, roundabout, straight
    from metadrive.component.pgblock import std_intersection as cross
    from metadrive.component.pgblock import std_t_intersection as tee

    classes = {
        "I": first_block.FirstPGBlock,
        "S": straight.Straight,
        "C": curve.Curve,
        "X": cross.StdInterSection,
        "T": tee.StdTInterSection,
        "O": roundabout.Roundabout,
        "r": ramp.InRampOnStraight,
        "R": ramp.OutRampOnStraight,
    }
    base = classes[letter]

    def nothing(self: object, *args: object, **kwargs: object) -> None:
        """Stand-in for everything that needs the engine."""

    body = {"_create_in_world": nothing, "attach_to_world": nothing, "detach_from_world": nothing}
    return type(base.__name__, (base,), body)


def _plug(
    letter: str, index: int, socket: PGBlockSocket, network: NodeRoadNetwork, rng: np.random.Generator
) -> PGBlock | None:
    """Attach a block to a free end, drawing its parameters again while it overlaps; None if it never fits."""
    for _ in range(PLUG_TRIALS):
        block = _block(letter)(index, socket, network, int(rng.integers(10_000)))
        if letter in "XT":
            # MetaDrive fixes 10 m: real corners vary.
            block.radius = float(rng.uniform(8.0, 14.0))
        if block.construct_block(None, None):
            return block
        block._clear_topology()
    return None


def _extend_free_ends(blocks: list[PGBlock], network: NodeRoadNetwork, rng: np.random.Generator) -> None:
    """Prolong every open exit, so that approaching traffic has room to gather speed."""
    used = {block.pre_block_socket_index for block in blocks}
    free = [(block, index) for block in blocks for index in block.get_socket_indices() if index not in used]
    for block, index in free:
        socket = block.get_socket(index)
        for letter in str(rng.choice(ARMS)):
            arm = _plug(letter, len(blocks), socket, network, rng)
            if arm is None:
                break
            blocks.append(arm)
            socket = arm.get_socket(0)


def _collect(kind: str, network: NodeRoadNetwork, rng: np.random.Generator) -> RoadMap:
    """Lanes of MetaDrive's graph as arrays, turned by a random angle (generated roads all start eastwards)."""
    from metadrive.constants import Decoration, PGLineColor

    angle = float(rng.uniform(-np.pi, np.pi))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    lanes: list[Lane] = []
    tapers: list[Lane] = []
    road = 0
    for start, exits in network.graph.items():
        for end, group in exits.items():
            decoration = (start, end) == (Decoration.start, Decoration.end)
            for rank, lane in enumerate(group):
                if lane.length < 0.5:
                    continue
                steps = np.linspace(0.0, lane.length, max(2, round(lane.length) + 1))
                centre = np.array([np.asarray(lane.position(s, 0.0), dtype=np.float64)[:2] for s in steps])
                outline = np.asarray(lane.polygon, dtype=np.float64)[:, :2] if decoration else None
                colors = [color == PGLineColor.YELLOW for color in lane.line_colors]
                item = Lane(
                    centre=_turn(centre, rotation),
                    outline=None if outline is None else _turn(outline, rotation),
                    width=float(lane.width_at(0)),
                    lines=(str(lane.line_types[0]), str(lane.line_types[1])),
                    yellow=(colors[0], colors[1]),
                    road=road,
                    rank=rank,
                    block=_letter(str(end) if start.startswith(("-", ">")) else str(start)),
                )
                (tapers if decoration else lanes).append(item)
            road += 1
    _connect(lanes)
    surplus = _surplus_turns(lanes)
    tapers += [lanes[i] for i in surplus]
    lanes = [lane for i, lane in enumerate(lanes) if i not in surplus]
    for lane in lanes:
        lane.successors.clear()
        lane.predecessors.clear()
    _connect(lanes)
    _neighbours(lanes)
    roads = _group(lanes)
    for lane in lanes:
        # A lane of a ramp that ends (or begins) beside lanes that go on joins them sideways.
        lane.leads_out = not any(lanes[i].successors for i in roads[lane.road])
        lane.leads_in = not any(lanes[i].predecessors for i in roads[lane.road])
    return RoadMap(kind, lanes, tapers)


def _group(lanes: list[Lane]) -> dict[int, list[int]]:
    """Indices of the lanes of each road."""
    roads: dict[int, list[int]] = {}
    for i, lane in enumerate(lanes):
        roads.setdefault(lane.road, []).append(i)
    return roads


def _surplus_turns(lanes: list[Lane]) -> set[int]:
    """Turns that real junctions do not have: left turns from right lanes, across the straight lanes beside them.

    MetaDrive lets every lane of an approach turn every way.
    """
    surplus: set[int] = set()
    last: dict[int, int] = {}
    for lane in lanes:
        last[lane.road] = max(last.get(lane.road, 0), lane.rank)
    for lane in lanes:
        if len(lane.successors) < 2:
            continue
        ways = {j: lanes[j].turn for j in lane.successors if lanes[j].block in "XT"}
        straight = any(abs(turn) < np.pi / 4 for turn in ways.values())
        first_left = 0 if straight else max(0, last[lane.road] - 1)
        for j, turn in ways.items():
            wrong_left = turn > np.pi / 4 and lane.rank > first_left
            wrong_right = turn < -np.pi / 4 and lane.rank < last[lane.road]
            if wrong_left or wrong_right:
                surplus.add(j)
    return surplus


def _turn(points: Floats, rotation: Floats) -> Floats:
    # Not a matrix product: its rounding depends on the BLAS at hand.
    return np.stack([(points * row).sum(-1) for row in rotation], -1)


def _letter(node: str) -> str:
    """Block letter of one of MetaDrive's node names (`1X0_1_` and the like)."""
    letters = [c for c in node if c.isalpha()]
    return letters[0] if letters else "I"


def _connect(lanes: list[Lane]) -> None:
    starts = np.array([lane.centre[0] for lane in lanes])
    ends = np.array([lane.centre[-1] for lane in lanes])
    heads = np.array([lane.direction(0) for lane in lanes])
    tails = np.array([lane.direction(-1) for lane in lanes])
    near = np.hypot(*(ends[:, None] - starts[None]).transpose(2, 0, 1)) < CONNECTED
    aligned = (tails[:, None] * heads[None]).sum(-1) > ALIGNED
    for i, j in zip(*np.nonzero(near & aligned), strict=True):
        lanes[i].successors.append(int(j))
        lanes[j].predecessors.append(int(i))


def _neighbours(lanes: list[Lane]) -> None:
    """Left and right lanes of one road, where they truly run side by side."""
    for i, lane in enumerate(lanes):
        for j, other in enumerate(lanes):
            if other.road != lane.road or other.rank != lane.rank + 1:
                continue
            middle = other.centre[len(other.centre) // 2]
            gap = float(np.hypot(*(lane.centre - middle).T).min())
            if gap < 1.3 * (lane.width + other.width) / 2:
                lane.right, other.left = j, i
