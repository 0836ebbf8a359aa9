"""Step-by-step roll-outs with cached features: one decision (0.5 s) of all agents in all worlds at a time."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from harness.traffic.model import compiled
from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.drivers import Motorists
from harness.traffic.model.edges import Edges, link
from harness.traffic.model.heads import Mixture
from harness.traffic.model.network import MapFeatures, SmartNetwork
from harness.traffic.tokens.shapes import TOKEN_STEPS, box_corners_torch, compose, half_diagonals, relative


class Rollout:
    """The state of W worlds of A agents that move by tokens.

    The map is encoded once and shared; of the past, each layer's keys and values are kept for as many tokens as
    temporal attention sees. `logits` says what every agent might do next; `advance` moves them; `observe` replaces
    what the model believes by where agents truly are.

    Args:
        network: In evaluation mode.
        maps: Encoded maps.
        start: Agents with at least one token of history; its last pose is the present.
        drivers: How they drive, where not just as the model says.
    """

    def __init__(
        self, network: SmartNetwork, maps: MapFeatures, start: AgentBatch, drivers: Motorists | None = None
    ) -> None:
        self.network, self.maps, self.drivers = network, maps, drivers
        self.scene, self.kinds, self.sizes = start.scene, start.kinds, start.sizes
        self.worlds, self.agents = start.kinds.shape
        past, hidden, count = network.config.past, network.config.hidden, self.worlds * self.agents
        layers = len(network.decoder)
        self._keys = [start.pose.new_zeros(count, past, 2 * hidden) for _ in range(layers)]
        self._poses = start.pose.new_zeros(count, past, 3)
        self._known = torch.zeros(count, past, dtype=torch.bool, device=start.pose.device)
        with torch.no_grad():
            self._table = network.token_head.table(network.motions)
            self._token_keys = network.token_head.key(self._table)
        self._corners = self._end_corners()
        for step in range(start.token.shape[2]):
            self._set(
                start.token[:, :, step], start.motion[:, :, step], start.pose[:, :, step], start.valid[:, :, step]
            )
            self.features = self._encode()

    def _set(self, token: Tensor, motion: Tensor, pose: Tensor, valid: Tensor) -> None:
        self.token, self.motion, self.pose, self.valid = token, motion, pose, valid

    def _end_corners(self) -> Tensor:
        """Final contours [3, V, 4, 2] of all tokens."""
        ends = self.network.motions[:, :, -1]
        kinds = torch.arange(len(ends), device=ends.device)[:, None].expand(ends.shape[:2])
        return box_corners_torch(ends, half_diagonals(kinds))

    @torch.no_grad()
    def _encode(self) -> Tensor:
        """Features [W·A, hidden] of the present moment, zero where nobody is; remembers keys and values."""
        network, count = self.network, self.worlds * self.agents
        valid, pose = self.valid.reshape(count), self.pose.reshape(count, 3)
        rows = valid.nonzero()[:, 0]
        looking = None if self.drivers is None else self.drivers.look().reshape(count)[rows]
        features = pose.new_zeros(count, network.config.hidden)
        keys = [torch.cat([torch.zeros_like(kept[:, :1]), kept[:, :-1]], 1) for kept in self._keys]
        if len(rows):
            here, motion = pose[rows], self.motion.reshape(count, 3)[rows]
            kinds, sizes = self.kinds.reshape(count)[rows], self.sizes.reshape(count, 3)[rows]
            x = network.embed(self.token.reshape(count)[rows], motion, kinds, sizes, self._table)
            past = remembered(self._poses[rows], self._known[rows], here, network)
            place = network.place_edges(here, motion, self.scene.repeat_interleave(self.agents)[rows], self.maps.batch)
            number = (valid.cumsum(0) - 1).clamp(min=0).view(self.worlds, self.agents)
            others = network.agent_edges(self.pose, self.motion, self.valid, number, looking=looking)
            for depth, (layer, pieces) in enumerate(zip(network.decoder, self.maps.keys, strict=True)):
                keys[depth][rows, 0] = layer.past.keys(x)
                x = layer.past(x, self._keys[depth][rows].flatten(0, 1), past)
                x = layer.map(x, pieces, place)
                x = layer.agents(x, layer.agents.keys(x), others)
            features[rows] = x
        self._keys = keys
        self._poses = torch.cat([pose[:, None], self._poses[:, :-1]], 1)
        self._known = torch.cat([valid[:, None], self._known[:, :-1]], 1)
        return features

    @torch.no_grad()
    def logits(self, agents: slice = slice(None)) -> Tensor:
        """Next-token logits [W, A, V] of everybody, or of some; those of absent agents mean nothing."""
        there = self.valid[:, agents]
        features = self.features.view(self.worlds, self.agents, -1)[:, agents][there]
        kinds, motion = self.kinds[:, agents][there], self.motion[:, agents][there]
        ends = self.network.motions[:, :, -1]
        found = self.network.token_head(features, kinds, motion, self._table, ends, keys=self._token_keys)
        logits = found.new_zeros(*there.shape, found.shape[-1])
        logits[there] = found
        return logits

    @torch.no_grad()
    def mixture(self) -> Mixture:
        """Everybody's next pose in its own frame: logits [W, A, K], means [W, A, K, 4]; needs a mixture head."""
        assert self.network.mixture is not None
        found = self.network.mixture(self.features, self.motion.reshape(-1, 3))
        shape = self.worlds, self.agents
        return Mixture(found.logits.unflatten(0, shape), found.means.unflatten(0, shape))

    def log_distance(self, goal: Tensor) -> Tensor:
        """Contour distance [W, A, V] (m) between where each token leads and a goal pose [W, A, 3]."""
        corners = box_corners_torch(relative(goal, self.pose), half_diagonals(self.kinds))
        return token_distance(self._corners, self.kinds, corners)

    def pose_distance(self, motions: Tensor, goal: Tensor) -> Tensor:
        """Contour distance [W, A, K] (m) between where motions [W, A, K, 3] lead and a goal pose [W, A, 3]."""
        half = half_diagonals(self.kinds)
        corners = box_corners_torch(relative(goal, self.pose), half)
        return contour_distance(box_corners_torch(motions, half[:, :, None]), corners)

    def continuity(self) -> Tensor:
        """Contour distance [W, A, V] (m) of each token from the motion before."""
        corners = box_corners_torch(self.motion, half_diagonals(self.kinds))
        return token_distance(self._corners, self.kinds, corners)

    def slowing(self) -> Tensor:
        """How much speed [W, A] (m/s²) agents have lost over the last second; 0 where less of it is known."""
        count, past = self._known.shape
        if past < 3:
            return self.motion.new_zeros(self.worlds, self.agents)
        before = (self._poses[:, 1, :2] - self._poses[:, 2, :2]).square().sum(-1).sqrt()
        now = self.motion.reshape(count, 3)[:, :2].square().sum(-1).sqrt()
        lost = (before - now).clamp(min=0) / (TOKEN_STEPS * 0.1) ** 2
        return (lost * self._known[:, :3].all(-1)).view(self.worlds, self.agents)

    def trajectory(self, token: Tensor) -> Tensor:
        """World poses [W, A, 5, 3] of the next five 0.1 s if agents follow `token` [W, A]."""
        motions = self.network.motions[self.kinds, token, 1:]
        return compose(self.pose[:, :, None], motions)

    def advance(self, token: Tensor, motion: Tensor | None = None) -> None:
        """Move every present agent by a token [W, A], or by a motion [W, A, 3] that the token stands for."""
        if motion is None:
            motion = self.network.motions[self.kinds, token, -1]
        self.follow(token, motion, compose(self.pose, motion), self.valid)

    def observe(self, pose: Tensor, valid: Tensor, previous: Tensor | None = None) -> None:
        """Go on from true poses 0.5 s later: tokens are the nearest ones to what agents have done.

        Args:
            pose: [W, A, 3] in the frame of the scene.
            valid: [W, A] who is there now.
            previous: [W, A, 3] where agents that have just appeared were 0.5 s ago (by their velocity, say); without
                it they have stood still, as far as the model knows.
        """
        seen = (self.valid & valid)[..., None]
        before = torch.where(seen, self.pose, pose if previous is None else previous)
        motion = relative(pose, before) * valid[..., None]
        self.follow(self._nearest(motion, valid), motion, pose, valid)

    def _nearest(self, motion: Tensor, valid: Tensor) -> Tensor:
        """Tokens [W, A] nearest to motions [W, A, 3]; those of who is not there [W, A] mean nothing."""
        kinds, token = self.kinds[valid], torch.zeros_like(self.token)
        corners = box_corners_torch(motion[valid], half_diagonals(kinds))
        token[valid] = token_distance(self._corners, kinds, corners).argmin(-1)
        return token

    def follow(self, token: Tensor, motion: Tensor, pose: Tensor, valid: Tensor) -> None:
        """Go on with everything given: tokens [W, A], motions and poses [W, A, 3], who is there [W, A]."""
        self._set(token, motion, pose, valid)
        self.features = self._encode()

    def batch(self) -> AgentBatch:
        """The present moment as a batch of one token."""
        parts = (self.token, self.motion, self.pose, self.valid)
        token, motion, pose, valid = (part[:, :, None] for part in parts)
        return AgentBatch(self.scene, self.kinds, self.sizes, token, motion, pose, valid)


def remembered(poses: Tensor, known: Tensor, pose: Tensor, network: SmartNetwork) -> Edges:
    """Edges to one's own past.

    Args:
        poses: [N, K, 3] where agents were, the latest first.
        known: [N, K] whether they were there.
        pose: [N, 3] where they are.
        network: Knows what that means.

    Returns:
        Edges whose sources are the rows of `poses`, agent by agent.
    """
    rows = torch.arange(known.numel(), device=pose.device).view(known.shape)
    return link(rows, known, poses.flatten(0, 1), pose, network.past_relation, aged=True)


def contour_distance(tokens: Tensor, goal: Tensor) -> Tensor:
    """Mean corner distance [..., V] between contours [..., V, 4, 2] and one contour [..., 4, 2], m."""
    return (tokens - goal[..., None, :, :]).square().sum(-1).sqrt().mean(-1)


def token_distance(table: Tensor, kinds: Tensor, goal: Tensor) -> Tensor:
    """Mean corner distance [..., V] (m) between contours of all tokens of a kind and one contour; it learns nothing.

    Args:
        table: [K, V, 4, 2] by kind, m.
        kinds: [...].
        goal: [..., 4, 2], m.
    """
    if goal.device.type != "cpu":
        return contour_distance(table[kinds], goal)
    found = compiled.contour_distances(table, kinds.flatten(), goal.flatten(0, -3))
    return found.view(*kinds.shape, table.shape[1])


def append(batch: AgentBatch, step: AgentBatch) -> AgentBatch:
    """A batch with one more token."""
    return replace(
        batch,
        token=torch.cat([batch.token, step.token], 2),
        motion=torch.cat([batch.motion, step.motion], 2),
        pose=torch.cat([batch.pose, step.pose], 2),
        valid=torch.cat([batch.valid, step.valid], 2),
    )
