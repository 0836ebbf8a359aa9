"""SMART as a backbone of preference alignment: one agent's futures, token by token, in a world that replays its log.

SAGE (Nie et al., section 3.2) asks a motion model for groups of futures and their log-probabilities, whatever the
model. This is its second one here: the traffic model's sampled roll-outs. Everybody but the agent follows the log, as
in the environment that the attack is played in, so that the log-probability of a future is the sum of its tokens',
each given what has happened until then.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import AdversaryError, ConfigError
from harness.files import JsonDict
from harness.traffic.model.batch import AgentBatch, MapBatch, join_agents, join_maps
from harness.traffic.model.network import MapFeatures, SmartNetwork
from harness.traffic.model.rollout import Rollout
from harness.traffic.model.smart import SmartModel, from_frame
from harness.traffic.sampling import Sampling, draw, top_k
from harness.traffic.tokens.scene import CURRENT_TOKEN, SceneTokens, tokenise_scene
from harness.traffic.tokens.shapes import TOKEN_STEPS, compose, relative
from harness.traffic.training.objective import Targets, score
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

AGENTS: Final = 8
"""Agents of a world: the agent, the ego, and the nearest others. With 16 and 32 the groups are the same within noise
(20 WOMD val scenes: feasible .89, .89, .88; R_adv .49, .50, .49; P_real 3.21, 3.13, 3.16) and take two and four times
as long."""
TOP_K: Final = 48
"""Tokens that a future may choose from at every step (CAT-K's submission); log-probabilities are of all tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class SmartCase:
    """One agent in one scene.

    Attributes:
        scene: Tokens of the scene's agents over the whole log, the agent first.
        maps: Their map.
        logged: [1, A, 2 + S] what they did, at true poses; S decisions after the current step. Row 0 is the agent.
    """

    scene: SceneTokens
    maps: MapBatch
    logged: AgentBatch

    @property
    def decisions(self) -> int:
        """Tokens S of a future."""
        return self.logged.token.shape[2] - CURRENT_TOKEN


class SmartDistribution:
    """Futures of several agents under a network's present weights."""

    def __init__(self, network: SmartNetwork, cases: Sequence[SmartCase], sampling: Sampling) -> None:
        self._network, self._cases, self._sampling = network, cases, sampling
        self._drawn: list[dict[bytes, float]] = [{} for _ in cases]

    def sample(self, num: int, rng: np.random.Generator) -> list[Ints]:
        """`num` independent futures of every agent: token rows [num, S]."""
        seeds = rng.integers(2**63 - 1, size=len(self._cases))
        groups = []
        for case, seed, known in zip(self._cases, seeds, self._drawn, strict=True):
            rows, log_probs = self._draw(case, num, int(seed))
            known.update(zip((row.tobytes() for row in rows), log_probs.tolist(), strict=True))
            groups.append(rows)
        return groups

    def log_prob(self, tokens: Sequence[Ints]) -> list[Tensor]:
        """Log π [K] of token rows [K, S] of every agent, in one teacher-forced pass each.

        Without gradients, rows that were drawn here cost nothing: their roll-outs have said it.
        """
        found = []
        for case, rows, known in zip(self._cases, tokens, self._drawn, strict=True):
            keys = [row.tobytes() for row in rows]
            if not torch.is_grad_enabled() and all(key in known for key in keys):
                found.append(torch.tensor([known[key] for key in keys], device=self._network.motions.device))
            else:
                found.append(self._score(case, rows))
        return found

    @torch.no_grad()
    def _draw(self, case: SmartCase, num: int, seed: int) -> tuple[Ints, Tensor]:
        network, generator = self._network, torch.Generator().manual_seed(seed)
        logged = case.logged.repeat(num)
        rollout = Rollout(network, network.encode_map(case.maps), logged.first(CURRENT_TOKEN))
        chosen: list[Tensor] = []
        total = torch.zeros(num, device=network.motions.device)
        for step in range(CURRENT_TOKEN, CURRENT_TOKEN + case.decisions):
            logits = rollout.logits(slice(1))[:, 0]
            token = draw(top_k(logits, self._sampling.k), self._sampling.temperature, generator)
            chosen.append(token)
            total += logits.log_softmax(-1).gather(-1, token[:, None])[:, 0]
            _put(logged, step, token, network.motions)
            if len(chosen) < case.decisions:
                rollout.follow(*(part[:, :, step] for part in (logged.token, logged.motion, logged.pose, logged.valid)))
        return torch.stack(chosen, -1).cpu().numpy(), total

    def _score(self, case: SmartCase, rows: Ints) -> Tensor:
        if len(rows) == 0:
            return torch.zeros(0, device=self._network.motions.device)
        world = _world(case, rows, self._network.motions)
        # What is read is everything but the last token; what is scored is the agent's tokens after the current step.
        following = torch.zeros_like(world.token[:, :, :-1])
        following[:, 0] = world.token[:, 0, 1:]
        mask = torch.zeros_like(world.valid[:, :, :-1])
        mask[:, 0, CURRENT_TOKEN - 1 :] = True
        targets = Targets(world.first(world.token.shape[2] - 1), following, mask)
        scored = score(self._network, self._encode(case), targets)
        picked = scored.logits.log_softmax(-1).gather(1, scored.nodes.take(following)[scored.rows][:, None])[:, 0]
        # Nodes are listed moment by moment within a world.
        return picked.view(len(rows), case.decisions).sum(-1)

    def _encode(self, case: SmartCase) -> MapFeatures:
        """The map encoder keeps its weights (as in CAT-K's fine-tuning); its keys in the agent layers learn."""
        return self._network.encode_map(case.maps, frozen=True)


class SmartBackbone:
    """The traffic model as a policy over one agent's futures; a `Backbone` of `adversaries.sage`.

    Args:
        weights: File of `train_traffic`; None for the shipped model. Or a model.
        agents: Agents of a world at most.
        k: Tokens that a future may choose from at every step; 0 for all.
        temperature: Divides the logits when futures are drawn.
        device: Where weights from a file compute; a model stays where it is.

    Raises:
        WeightsError: The file cannot be used.
        ConfigError: Bad options, or weights whose head makes no tokens.
    """

    name = "smart"

    def __init__(
        self,
        weights: SmartModel | str | os.PathLike[str] | None = None,
        *,
        agents: int = AGENTS,
        k: int = TOP_K,
        temperature: float = 1.0,
        device: str = "cpu",
    ) -> None:
        self.model = weights if isinstance(weights, SmartModel) else SmartModel.load(weights, device=device)
        if self.model.network.mixture is not None:
            raise ConfigError("backbone 'smart': these weights are of an ego policy (GMM head); give a token model.")
        if agents < 2:
            raise ConfigError(f"backbone 'smart': expected agents >= 2 (the agent and the ego), got {agents}.")
        self.agents, self.sampling = agents, Sampling(k=k, temperature=temperature)

    @property
    def module(self) -> SmartNetwork:
        """The network whose weights are trained."""
        return self.model.network

    @property
    def info(self) -> JsonDict:
        """What the weights file says of its making."""
        return self.model.info

    def save(self, path: Path, info: JsonDict | None = None) -> None:
        """Write the weights, all or nothing."""
        self.model.save(path, info)

    def prepare(self, scenario: Scenario, agent: int, step: int) -> SmartCase:
        """The agent's world.

        Raises:
            AdversaryError: The agent or the ego is absent at `step`, or `step` is not the traffic model's.
        """
        where = f"scenario {scenario.id}"
        if step != CURRENT_STEP:
            raise AdversaryError(f"{where}: the traffic model predicts from step {CURRENT_STEP}, not from {step}.")
        if not scenario.valid[[agent, scenario.ego], step].all():
            raise AdversaryError(f"{where}: the opponent or the ego is absent at step {step}: nothing to predict.")
        rows = _nearest(scenario, agent, self.agents)
        scene = tokenise_scene(scenario, self.model.vocabulary, self.model.options, agents=rows, whole=True)
        future = min(FUTURE_STEPS, scenario.num_steps - 1 - CURRENT_STEP)
        return SmartCase(
            scene,
            join_maps([scene], self.model.options.lanes).to(self.model.device),
            _logged(scene, CURRENT_TOKEN - (-future // TOKEN_STEPS)).to(self.model.device),
        )

    def distribution(self, cases: Sequence[SmartCase]) -> SmartDistribution:
        """Futures of several agents under the present weights."""
        return SmartDistribution(self.module, cases, self.sampling)

    def vocabulary(self, case: SmartCase) -> None:
        """None: there are too many futures to list."""

    @torch.no_grad()
    def futures(self, scenario: Scenario, agent: int, step: int, case: SmartCase, tokens: Ints) -> tuple[Floats, Bools]:
        """World states [K, T, 5] of token rows [K, S], and validity [T].

        Poses are those of the tokens at 10 Hz, from the agent's true pose on; velocities are their differences. Log
        rows up to `step`.
        """
        motions = self.module.motions.double()
        world = _world(case, tokens, motions)
        before = world.pose[:, 0, CURRENT_TOKEN - 1 : -1, None]
        parts = motions[case.logged.kinds[0, 0], torch.as_tensor(tokens, device=motions.device), 1:]
        poses = from_frame(compose(before, parts).flatten(1, 2).cpu().numpy(), case.scene.frame)
        states = np.broadcast_to(scenario.states(agent), (len(tokens), scenario.num_steps, 5)).copy()
        valid = scenario.valid[agent].copy()
        until = min(scenario.num_steps, step + 1 + FUTURE_STEPS)
        states[:, step + 1 : until, :3] = poses[:, : until - step - 1]
        states[:, step + 1 : until, 3:] = np.diff(states[:, step:until, :2], axis=1) / scenario.dt
        states[:, until:] = states[:, until - 1 : until]
        valid[step + 1 : until], valid[until:] = True, False
        return states, valid

    def clone(self) -> SmartBackbone:
        """A copy with weights of its own."""
        model = self.model
        twin = SmartModel(copy.deepcopy(model.network), model.options, model.info, model.sampling)
        return SmartBackbone(twin, agents=self.agents, k=self.sampling.k, temperature=self.sampling.temperature)


def _nearest(scenario: Scenario, agent: int, count: int) -> NDArray[np.intp]:
    """The agent, the ego, and the agents nearest to the former at the current step, `count` at most."""
    others = np.flatnonzero(scenario.valid[:, CURRENT_STEP])
    others = others[(others != agent) & (others != scenario.ego)]
    gap = scenario.position[others, CURRENT_STEP, :2] - scenario.position[agent, CURRENT_STEP, :2]
    order = np.argsort(np.hypot(*gap.T), kind="stable")[: count - 2]
    chosen = [agent, scenario.ego, *others[order].tolist()]
    return np.array(chosen if agent != scenario.ego else [agent, *others[order].tolist()], dtype=np.intp)


def _logged(scene: SceneTokens, tokens: int) -> AgentBatch:
    """The log [1, A, tokens] at true poses: absent where it is shorter, cut where it is longer."""
    batch, log = join_agents([scene])
    pose = log.goal[:, :, 1:]
    batch = replace(batch, pose=pose, motion=relative(pose, log.goal[:, :, :-1])).first(tokens)
    missing = tokens - batch.token.shape[2]
    if missing <= 0:
        return batch
    return replace(
        batch,
        **{
            name: torch.cat([part, part.new_zeros(*part.shape[:2], missing, *part.shape[3:])], 2)
            for name in ("token", "motion", "pose", "valid")
            for part in (getattr(batch, name),)
        },
    )


def _put(world: AgentBatch, step: int, token: Tensor, motions: Tensor) -> None:
    """Let the agent (row 0) of every world take `token` [K] as its token number `step`, in place."""
    motion = motions[world.kinds[:, 0], token, -1].to(world.pose.dtype)
    world.token[:, 0, step], world.motion[:, 0, step] = token, motion
    world.pose[:, 0, step] = compose(world.pose[:, 0, step - 1], motion)
    world.valid[:, 0, step] = True


def _world(case: SmartCase, tokens: Ints, motions: Tensor) -> AgentBatch:
    """Worlds [K] in which the agent takes token rows [K, S] and everybody else follows the log; in `motions`' dtype."""
    rows = torch.as_tensor(tokens, device=motions.device)
    world = case.logged.repeat(len(rows))
    world = replace(world, pose=world.pose.to(motions.dtype), motion=world.motion.to(motions.dtype))
    for step in range(case.decisions):
        _put(world, CURRENT_TOKEN + step, rows[:, step], motions)
    return world
