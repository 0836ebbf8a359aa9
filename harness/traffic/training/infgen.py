"""The stage infgen: the InfGen-like model learns states, types, shapes, places and headings from logged decisions.

Everything is trained at once, the scene encoder too unless it is frozen, on the same decisions as in the stage rosetta.
Newcomers look around through layers of the scene encoder: where it is frozen these stay as they are, and what leads
into them and out of them learns. Newcomers beyond the queries of a decision are not learnt from. With several workers
each share of a batch takes means of its own, which are weighted by their motion tokens, as data-parallel training of
InfGen's code does by scenes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.fitting.task import Numbers
from harness.traffic.infgen.config import InfGenLossOptions
from harness.traffic.infgen.losses import (
    kind_loss,
    leave_loss,
    occupancy_loss,
    place_loss,
    squared_loss,
    state_loss,
    taken_cells,
    total_loss,
)
from harness.traffic.infgen.model import InfGenModel, build_infgen
from harness.traffic.infgen.network import Bystanders, Entering, InfGenNetwork, InfGenTables
from harness.traffic.model.batch import AgentBatch, MapBatch
from harness.traffic.model.network import SmartNetwork
from harness.traffic.observers import Observer
from harness.traffic.open.decisions import NONE, UNSCORED, DecisionBatch, join_decisions
from harness.traffic.open.network import UNKNOWN_MOTION
from harness.traffic.sampling import drawn
from harness.traffic.tokens.shapes import relative
from harness.traffic.training.config import Encoder
from harness.traffic.training.decided import NewcomerTask, TrunkFeatures, decided, trunk_features
from harness.traffic.training.encoded import KeptFeatures
from harness.traffic.training.imitation import label_table
from harness.traffic.training.objective import StageLoss, Step

INFGEN_WEIGHTS: Final = "infgen.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class InfGenLesson:
    """What an update learns from. B decisions, N agents, J newcomers.

    Attributes:
        agents: Everybody as the model sees them in use.
        batch: The decisions.
        poses: [B, N, 3] where agents are after them, in the frame of the scene; anything for who is gone.
        born: [B, J, 3] where newcomers are.
        sizes: [B, J, 3] their sizes, m.
        map_pose: [M, 3] poses of all map pieces; pieces_from: [B] the first piece of each decision's scene.
        companions: [B, N] whose headings and offsets are learnt from as if they were new.
        encoded: What a frozen scene encoder knows of all this; None where the encoder learns.
    """

    agents: AgentBatch
    batch: DecisionBatch
    poses: Tensor
    born: Tensor
    sizes: Tensor
    map_pose: Tensor
    pieces_from: Tensor
    companions: Tensor
    encoded: TrunkFeatures | None = None

    @property
    def mask(self) -> Tensor:
        """[B, N] whose motion is learnt from."""
        return self.batch.motion != UNSCORED


class LabelOptions(NamedTuple):
    """Shares of classes; which share of labels of cells is spread; motion labels [3, V, V] by token, or None."""

    options: InfGenLossOptions
    spread: float = 0.0
    motion: Tensor | None = None


class AskedQueries(NamedTuple):
    """Queries of all decisions: n rows.

    Attributes:
        decision: [n] of which decision.
        after: [n] after how many newcomers.
        enters: [n] whether somebody does.
        queries: [n] for how many equal ones each stands.
    """

    decision: Tensor
    after: Tensor
    enters: Tensor
    queries: Tensor


def asked(kind: Tensor, ends: Tensor, queries: int) -> AskedQueries:
    """The queries of decisions, equal ones taken together.

    Args:
        kind: [B, J] types of newcomers, `NONE` after the last.
        ends: [B] whether nobody follows after them.
        queries: How many each decision has.
    """
    count = (kind != NONE).sum(1)
    place = torch.arange(min(kind.shape[1] + 1, queries), device=kind.device)
    kept = (place < count[:, None]) | ((place == count[:, None]) & ends[:, None])
    decision, after = kept.nonzero(as_tuple=True)
    enters = after < count[decision]
    return AskedQueries(decision, after, enters, torch.where(enters, 1, queries - count[decision]))


def learnt_from(lesson: InfGenLesson) -> tuple[Entering, Tensor, Tensor, Tensor]:
    """Who is new or taken for it: newcomers, then companions.

    Returns:
        Them; their decisions [n] and poses [n, 3]; and which agents of it are others than themselves [n, N].
    """
    agents, batch = lesson.agents, lesson.batch
    new, old = (batch.kind != NONE).nonzero(as_tuple=True), lesson.companions.nonzero(as_tuple=True)
    decision = torch.cat([new[0], old[0]])
    scene, who = batch.scene[old[0]], batch.agent[old]
    entering = Entering(
        kinds=torch.cat([batch.kind[new], agents.kinds[scene, who]]),
        sizes=torch.cat([lesson.sizes[new], agents.sizes[scene, who]]),
        grid=torch.cat([batch.new_grid[new], batch.grid[old]]),
        observer=batch.observer[decision],
        scene=batch.scene[decision],
    )
    others = (batch.grid != NONE)[decision]
    others[torch.arange(len(new[0]), len(decision), device=decision.device), old[1]] = False
    return entering, decision, torch.cat([lesson.born[new], lesson.poses[old]]), others


def infgen_losses(
    network: InfGenNetwork, maps: MapBatch, lesson: InfGenLesson, labels: LabelOptions
) -> dict[str, Tensor]:
    """Every part of the loss, without its weight; see `total_loss`.

    Args:
        network: The network.
        maps: Maps of the scenes.
        lesson: Their agents and decisions.
        labels: Shares of classes, and how labels are smoothed.
    """
    entering, decision, pose, apart = learnt_from(lesson)
    trunk = lesson.encoded
    if trunk is None:
        listed = network.listed_from(entering, maps)
        trunk = trunk_features(network, maps, lesson.agents, lesson.batch, also=listed)
    tables = network.tables()
    found = _of_agents(network, lesson, trunk, labels) | _of_queries(network, lesson, trunk, tables, labels)
    others = Bystanders(trunk.agents[decision], lesson.poses[decision], apart)
    headings, offsets = network.refine(trunk.maps, entering, others, tables)
    yaws = torch.cat([lesson.batch.new_yaw[lesson.batch.kind != NONE], lesson.batch.yaw[lesson.companions]])
    found["heading"] = place_loss(headings, yaws, 0.0)
    place = relative(pose, entering.observer)[:, :2]
    found["offset"] = squared_loss(offsets, place - network.cells[entering.grid])
    return found


def _of_agents(
    network: InfGenNetwork, lesson: InfGenLesson, trunk: TrunkFeatures, labels: LabelOptions
) -> dict[str, Tensor]:
    """Losses of those who are there: their motion, and whether they leave."""
    agents, batch, kept = lesson.agents, lesson.batch, lesson.mask
    scene, moment, who = batch.scene[:, None], batch.moment[:, None] - 1, batch.agent.clamp(min=0)
    kinds, before = agents.kinds[scene, who][kept], agents.motion[scene, who, moment][kept]
    known = agents.token[scene, who, moment][kept] != UNKNOWN_MOTION
    logits = network.logits(trunk.agents[kept], kinds, before, trunk.maps.table, known)
    token = batch.motion[kept]
    target = token if labels.motion is None else labels.motion[kinds, token]
    motion = F.cross_entropy(logits, target, reduction="sum") / max(len(token), 1)
    stated = batch.leaves != UNSCORED
    leave = leave_loss(network.leave_head(trunk.agents[stated]), batch.leaves[stated], labels.options)
    return {"motion": motion, "leave": leave}


def _of_queries(
    network: InfGenNetwork, lesson: InfGenLesson, trunk: TrunkFeatures, tables: InfGenTables, labels: LabelOptions
) -> dict[str, Tensor]:
    """Losses of queries: whether somebody enters, what, of which shape and where, and which cells are taken."""
    batch, options = lesson.batch, labels.options
    query = asked(batch.kind, batch.ends, network.infgen.queries)
    kinds, grid = batch.kind.clamp(min=0), torch.cat([batch.grid, batch.new_grid], 1)
    table, shape = trunk.maps.table, (*kinds.shape, network.config.hidden)
    assert table is not None
    new, still = kinds.flatten(), lesson.born.new_zeros(kinds.numel(), 3)
    newcomers = network.embed(torch.full_like(new, UNKNOWN_MOTION), still, new, lesson.sizes.flatten(0, 1), table)
    features = torch.cat([trunk.agents, newcomers.view(shape)], 1)
    poses = torch.cat([lesson.poses, lesson.born], 1)
    others = network.seen("agents", features, poses, grid, batch.observer, tables)
    # Indices of absent pieces have to point somewhere: a scene without a map has no first one.
    piece = torch.where(batch.piece == NONE, 0, batch.piece + lesson.pieces_from[:, None])
    around = network.seen("map", trunk.pieces, lesson.map_pose[piece], batch.piece_grid, batch.observer, tables)
    column = torch.arange(others.present.shape[1], device=grid.device)
    sees = others.present[query.decision] & (column < batch.grid.shape[1] + query.after[:, None])
    x = network.ask(around, others, query.decision, sees)
    says = network.answers(x, tables)
    right = query.decision[query.enters], query.after[query.enters]
    cells = len(network.cells)
    agents_on = taken_cells(grid[query.decision], sees[:, : grid.shape[1]], cells)
    on_map = taken_cells(batch.piece_grid, batch.piece_grid != NONE, cells)[query.decision]
    sizes = lesson.sizes[right] - network.newcomer_sizes[kinds[right]]
    return {
        "state": state_loss(says.state, query.enters, query.queries, options),
        "kind": kind_loss(says.kind[query.enters], kinds[right], options),
        "shape": squared_loss(says.shape[query.enters], sizes),
        "place": place_loss(says.place[query.enters], batch.new_grid[right], labels.spread),
        "taken": occupancy_loss(network.agent_cells(x, tables.grid), agents_on, options.taken, query.queries),
        "mapped": occupancy_loss(network.map_cells(x, tables.grid), on_map, options.mapped, query.queries),
    }


@dataclass
class InfGenCloning:
    """The InfGen-like model's losses on logged decisions, as an objective of the traffic trainer."""

    decisions: int = 0
    """Decisions of each scene, drawn at random, that an update learns from; 0 for all."""
    observer: Observer = "ego"
    """Around whom."""
    options: InfGenLossOptions = field(default_factory=InfGenLossOptions)
    """Weights of the parts, and shares of classes."""
    smoothing: float = 0.1
    """Label smoothing of motion tokens, as in behaviour cloning."""
    width: float = 0.1
    """Smoothing is spread over motions within about this contour distance, m; 0 for evenly."""
    encoder: Encoder = "tuned"
    """Whether the scene encoder learns too; a frozen one sees each scene once."""
    encoded: KeptFeatures = field(default_factory=KeptFeatures)
    """What a frozen one has seen."""
    name: str = "infgen"
    updates: int = 1
    frozen: bool = False
    module: nn.Module | None = None
    labels: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    """[3, V, V] distributions of motion labels, which depend on the vocabulary alone; None before they are needed."""

    def begin(self, network: SmartNetwork) -> None:
        """Nothing to remember."""

    def prepare(self, network: SmartNetwork, step: Step) -> InfGenLesson:
        """The decisions of the logs."""
        return self._lesson(network, step, self.decisions)

    def loss(self, network: SmartNetwork, step: Step, data: InfGenLesson) -> StageLoss:
        """The weighted sum of all parts."""
        if self.smoothing and self.labels is None:
            self.labels = label_table(network, self.smoothing, self.width)
        labels = LabelOptions(self.options, self.options.spread, self.labels)
        if self.encoder == "frozen":
            # Newcomers look around through these layers, which are to be as they are in use, without dropout.
            for layer in network.decoder:
                layer.eval()
        found = infgen_losses(cast(InfGenNetwork, network), step.maps, data, labels)
        numbers: Numbers = {name: value.detach() for name, value in found.items()}
        return StageLoss(total_loss(found, self.options), numbers)

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """The same of all decisions of held-out scenes, with labels as they are."""
        lesson = self._lesson(network, step, 0)
        found = infgen_losses(cast(InfGenNetwork, network), step.maps, lesson, LabelOptions(self.options))
        return float(total_loss(found, self.options).detach())

    def _lesson(self, network: SmartNetwork, step: Step, count: int) -> InfGenLesson:
        known = cast(InfGenNetwork, network)
        agents, parts = decided(step, known.infgen.limits, count, self.observer)
        batch, encoded = join_decisions(parts).to(step.agents.pose.device), None
        if self.encoder == "frozen":
            maps = self.encoded.maps(known, step.scenes, step.maps, self.observer)
            features = self.encoded.features(known, step.scenes, batch, step.maps.lanes, self.observer)
            encoded = TrunkFeatures(maps, *features)
        scene, moment = batch.scene[:, None], batch.moment[:, None]
        who, new = batch.agent.clamp(min=0), batch.newcomer.clamp(min=0)
        # The decision's end is one moment later; the first token, and pose, leads to moment 1.
        poses, goal = step.agents.pose[scene, who, moment], step.log.goal[scene, new, moment + 1]
        return InfGenLesson(
            agents=agents,
            batch=batch,
            poses=poses,
            born=goal,
            sizes=step.agents.sizes[scene, new],
            map_pose=step.maps.pose,
            pieces_from=step.maps.start[batch.scene],
            companions=self._companions(batch, step.generator),
            encoded=encoded,
        )

    def _companions(self, batch: DecisionBatch, generator: torch.Generator) -> Tensor:
        """Some of the agents [B, N] that stay, the observer apart."""
        able = (batch.leaves != UNSCORED) & (batch.grid != NONE)
        chance = drawn(able.shape, generator, able.device).masked_fill(~able, -1.0)
        least = chance.sort(1, descending=True).values[:, : self.options.companions]
        bound = least[:, -1:] if least.shape[1] else chance.new_full((len(able), 1), torch.inf)
        return able & (chance >= bound)


class InfGenTask(NewcomerTask):
    """An InfGen-like model that learns; arguments as of `TrafficTask`."""

    weights = INFGEN_WEIGHTS

    def model(self, weights: dict[str, Tensor], epoch: int, value: float) -> InfGenModel:
        """A model with weights of an epoch."""
        network = cast(InfGenNetwork, self.network)
        on_cpu = {name: tensor.cpu() for name, tensor in weights.items()}
        info = {**self.info, "stage": self.objective.name, "epoch": epoch, "validation": value}
        rebuilt = build_infgen(network.config, network.infgen, on_cpu, str(self.folder))
        model = InfGenModel(rebuilt, self.options, info)
        model.observer = cast(InfGenCloning, self.objective).observer
        return model
