"""The shield: tokens that lead into others or off the road are taken out before one is chosen.

It knows what the model knows: where everybody is and has just gone, the road edges, and the tokens at hand; not the
log's future, and not how roll-outs are scored. Boxes, margins and reading of the map are its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from harness.traffic.road_sides import RoadSides
from harness.traffic.rollouts import Interventions
from harness.traffic.tokens.shapes import TOKEN_STEPS, compose, separation

_STEP: Final = 0.1
"""Between two poses of a token, s."""
_TOKEN: Final = TOKEN_STEPS * _STEP
"""Length of a token, s."""
_SLACK: Final = 0.02
"""By how much who is too close already may come closer, m: less than a token's own rounding."""
_FASTER: Final = 5.0
"""How much farther than at their present speed two agents may come in the time looked at, m."""
_SOON: Final = 10.0
"""Weight of a metre within the token against one after it, where all candidates are bad: the next decision can still
mend the latter."""


@dataclass(frozen=True)
class ShieldConfig:
    """How far the shield looks, and what distance it keeps."""

    candidates: int = 64
    """Tokens among which a way out is sought, the ones that would be drawn first, then the most probable others."""
    gap: float = 0.1
    """Clearance kept between boxes, m; ours: twice the mean error of a token's corners (.03–.1 m)."""
    edge: float = 0.1
    """Clearance kept to road edges, m; ours, as `gap`."""
    braking: float = 3.4
    """Deceleration after the token, m/s²: whoever cannot even brake to safety has begun too late. AASHTO's 'Policy on
    Geometric Design' takes 3.4 as what most drivers reach without losing comfort."""
    ahead: float = 2.0
    """How long that braking is followed against others, s (from 7 m/s to a stand at 3.4 m/s²)."""
    spacing: float = 0.5
    """Between the moments looked at after the token, s; within it, every 0.1 s is."""
    road_ahead: float = 0.5
    """How long it is followed against road edges, s: one token more, as later ones follow the road's turns."""
    radius: float = 60.0
    """Agents farther apart than this (centres) are left alone, m: as far as the model sees them (SMART: 60)."""
    rounds: int = 3
    """How often those who still are in somebody's way choose again."""

    @property
    def moments(self) -> Tensor:
        """Times [E] after the token that are looked at, s."""
        return torch.arange(1, round(self.ahead / self.spacing) + 1) * self.spacing

    @property
    def road_moments(self) -> int:
        """How many poses of a path are compared with road edges."""
        return TOKEN_STEPS + round(self.road_ahead / self.spacing)


class Crowd(NamedTuple):
    """Everybody in W worlds of A agents, now.

    Attributes:
        pose: [W, A, 3] x, y (m), heading (rad).
        motion: [W, A, 3] the last half second, in the frame of the pose before.
        slowing: [W, A] deceleration over the last second, m/s², 0 for those who do not slow down.
        half: [W, A, 2] half length and half width, m.
        present: [W, A] who is there.
        decides: [W, A] whose tokens are chosen; the others go on as they do.
        sees: [W, A] who minds others; the others' decisions are made without looking at anybody.
        drives: [W, A] who minds road edges.
    """

    pose: Tensor
    motion: Tensor
    slowing: Tensor
    half: Tensor
    present: Tensor
    decides: Tensor
    sees: Tensor
    drives: Tensor


class _Pairs(NamedTuple):
    """Who (row, of all worlds end to end) has to mind whom, and the gap (m) that must remain."""

    who: Tensor
    whom: Tensor
    floor: Tensor

    def take(self, rows: Tensor) -> _Pairs:
        return _Pairs(*(part[rows] for part in self))


def choose_safely(
    crowd: Crowd, candidates: Tensor, road: RoadSides | None, config: ShieldConfig | None = None
) -> tuple[Tensor, Interventions]:
    """The first candidate of everybody that leads neither into others nor off the road.

    Of two agents, the one that approaches the other faster (by its last motion) minds the other; at equal speeds the
    later one. Who does not decide, or sees nobody, is minded by all. Everybody begins with the first candidate. Those
    that are in somebody's way, followed by braking, choose again, against what the others have chosen, carried on at
    constant speed: first those whose others stay with their choice. Whoever finds no way out leaves it to the other of
    the two. Agents that are too close already, or beyond an edge with a part of their box, must not make it worse; who
    drives with the centre off the road is free of edges.

    Args:
        crowd: Everybody.
        candidates: [W, A, C, TOKEN_STEPS, 3] poses of tokens in each agent's frame, the preferred ones first.
        road: Edges in the frame of the poses; None where there are none to mind.
        config: Distances and times.

    Returns:
        Number [W, A] of everybody's candidate (0 for who does not decide), and counts.
    """
    return _Deciding(crowd, candidates, road, config or ShieldConfig()).run()


class _Deciding:
    """One decision; agents of all worlds are rows, N = W·A."""

    def __init__(self, crowd: Crowd, candidates: Tensor, road: RoadSides | None, config: ShieldConfig) -> None:
        self.config, self.shape, self.road = config, crowd.pose.shape[:2], road
        self.moments = config.moments.to(crowd.pose.device)
        self.pose, self.motion = crowd.pose.flatten(0, 1), crowd.motion.flatten(0, 1)
        self.half, self.candidates = crowd.half.flatten(0, 1), candidates.flatten(0, 1)
        self.decides = (crowd.decides & crowd.present).flatten()
        self.sees = self.decides & crowd.sees.flatten()
        self.choice = torch.zeros(len(self.pose), dtype=torch.long, device=self.pose.device)
        self.pairs = self._find_pairs(crowd.present)
        first = self.candidates[:, 0]
        self.stop = self._path(self.pose, first, config.braking)
        going = self._even(first, self.stop)
        self.go = torch.where(self.decides[:, None, None], going, self._carried_on(crowd.slowing.flatten()))
        self._look_at_road(crowd.drives.flatten() & self.decides)

    def run(self) -> tuple[Tensor, Interventions]:
        """Choose."""
        self.off = torch.zeros_like(self.decides)
        if len(self.minds):
            self.off[self.minds] = self._off_road(self.minds, self.stop[self.minds]).amax(-1) > 0
        if self.off.any():
            self._choose(self.off.nonzero()[:, 0], self.pairs)
        hit = self._conflicts()
        for _ in range(self.config.rounds):
            if not hit.any():
                break
            found = self.pairs.take(hit)
            busy = torch.zeros_like(self.decides)
            busy[found.who] = True
            free = ~busy
            blocked = torch.zeros_like(busy)
            blocked[found.who[busy[found.whom]]] = True
            free = busy & ~blocked
            self._choose((free if free.any() else busy).nonzero()[:, 0], self.pairs)
            hit = self._conflicts()
        helped = hit & self.sees[self.pairs.whom]
        if helped.any():
            # The other of the two may have a way out.
            left = self.pairs.take(helped)
            turned = _Pairs(left.whom, left.who, left.floor)
            both = _Pairs(*(torch.cat(parts) for parts in zip(self.pairs, turned, strict=True)))
            self._choose(left.whom.unique(), both)
            self._choose(left.who.unique(), self.pairs)
            hit = self._conflicts()
        stuck = self.off.clone()
        stuck[self.pairs.who[hit]] = True
        counts = Interventions(int(self.decides.sum()), int((self.choice > 0).sum()), int(stuck.sum()))
        return self.choice.view(self.shape), counts

    # ---- paths

    def _path(self, pose: Tensor, motions: Tensor, braking: float) -> Tensor:
        """World poses [..., T, 3] of tokens [..., TOKEN_STEPS, 3] from `pose` [..., 3], then braking."""
        token = compose(pose[..., None, :], motions)
        return torch.cat([token, self._after(motions, token, braking)], -2)

    def _even(self, motions: Tensor, path: Tensor) -> Tensor:
        """As `_path`, but at constant speed after the token, from a path of the same tokens."""
        token = path[..., :TOKEN_STEPS, :]
        return torch.cat([token, self._after(motions, token, 0.0)], -2)

    def _after(self, motions: Tensor, token: Tensor, braking: float) -> Tensor:
        """World poses [..., E, 3] after tokens, given in the agent's frame and in the world [..., TOKEN_STEPS, 3]."""
        end, before = motions[..., -1, :], motions[..., -3, :]
        speed = _turned((end - before)[..., :2] / (2 * _STEP), -end[..., 2])
        slowing = torch.full_like(end[..., 2], braking)
        after = _carry(speed, end[..., 2] / _TOKEN, slowing, self.moments)
        return compose(token[..., -1:, :], after)

    def _carried_on(self, slowing: Tensor) -> Tensor:
        """World poses [N, T, 3] of everybody who goes on as in the last half second."""
        speed = _turned(self.motion[:, :2] / _TOKEN, -self.motion[:, 2])
        pace = speed.square().sum(-1, keepdim=True).sqrt()
        # The mean of the half second is what the speed was in its middle.
        now = speed * (1 - slowing[:, None] * _TOKEN / 2 / pace.clamp(min=1e-3)).clamp(min=0)
        within = torch.arange(1, TOKEN_STEPS + 1, device=speed.device) * _STEP
        moments = torch.cat([within, _TOKEN + self.moments])
        return compose(self.pose[:, None], _carry(now, self.motion[:, 2] / _TOKEN, slowing, moments))

    # ---- others

    def _find_pairs(self, present: Tensor) -> _Pairs:
        """Who minds whom."""
        worlds, agents = self.shape
        pose, heading = self.pose.view(worlds, agents, 3), self.pose[:, 2] - self.motion[:, 2]
        speed = (_turned(self.motion[:, :2], heading) / _TOKEN).view(worlds, agents, 2)
        offset = pose[:, None, :, :2] - pose[:, :, None, :2]
        distance = offset.square().sum(-1).sqrt()
        pace, reach = speed.square().sum(-1).sqrt(), self.half.square().sum(-1).sqrt().view(worlds, agents)
        far = (_TOKEN + self.config.ahead) * pace + reach
        near = (distance < self.config.radius) & (distance < far[:, :, None] + far[:, None] + _FASTER)
        mine = (speed[:, :, None] * offset).sum(-1)
        theirs = -(speed[:, None] * offset).sum(-1)
        index = torch.arange(agents, device=pose.device)
        sees = self.sees.view(worlds, agents)
        minds = (mine > theirs) | ((mine == theirs) & (index[:, None] > index)) | ~sees[:, None]
        near &= minds & sees[:, :, None] & present[:, None] & (index[:, None] != index)
        world, one, two = near.nonzero(as_tuple=True)
        who, whom = world * agents + one, world * agents + two
        gap = separation(self.pose[who], self.half[who], self.pose[whom], self.half[whom])
        return _Pairs(who, whom, gap.clamp(max=self.config.gap) - _SLACK)

    def _conflicts(self) -> Tensor:
        """Which pairs [P] come closer than they may if the first of the two brakes after its token."""
        return self._lacking(self.pairs, self.stop[self.pairs.who, None])[:, 0].amax(-1) > 0

    def _lacking(self, pairs: _Pairs, paths: Tensor) -> Tensor:
        """By how much [P, C, T] (m) the gap falls short on each of some paths [P, C, T, 3] of the first."""
        other = self.go[pairs.whom, None]
        size = self.half.square().sum(-1).sqrt()
        within = (size[pairs.who] + size[pairs.whom] + self.config.gap)[:, None, None]
        close = (paths[..., :2] - other[..., :2]).square().sum(-1) < within**2
        pair, _, moment = rows = close.nonzero(as_tuple=True)
        gap = separation(
            paths[rows], self.half[pairs.who[pair]], self.go[pairs.whom[pair], moment], self.half[pairs.whom[pair]]
        )
        lacking = paths.new_zeros(close.shape)
        lacking[rows] = (pairs.floor[pair] - gap).clamp(min=0)
        return lacking

    # ---- the road

    def _look_at_road(self, drives: Tensor) -> None:
        """Find who minds the edges, and how far each may go."""
        self.limit, self.inside = self.pose.new_zeros(len(self.pose)), self.pose.new_zeros(len(self.pose))
        rows = drives.nonzero()[:, 0]
        self.minds = rows[:0]
        if self.road is not None and len(self.road) and len(rows):
            distance = self.road.distance(self.pose[rows, :2])
            # Who is too far from any edge to reach it need not look.
            pace, size = self.motion[rows, :2].square().sum(-1).sqrt() / _TOKEN, self._size(rows)
            way = pace * (_TOKEN + self.config.road_ahead) + size
            self.inside[rows] = -distance - size
            self.limit[rows] = _SLACK - self.config.edge
            near = (distance <= 0) & (distance > -way - _FASTER)
            close = rows[near & (self.inside[rows] < self.config.edge)]
            self.minds = rows[near]
            self.limit[close] += (self.road.beyond(self.pose[close], self.half[close]) + self.config.edge).clamp(min=0)

    def _off_road(self, rows: Tensor, paths: Tensor) -> Tensor:
        """By how much [n, ..., R] (m) paths [n, ..., T, 3] of some rows go beyond what they may."""
        paths = paths[..., : self.config.road_moments, :]
        assert self.road is not None
        shape = (len(rows), *[1] * (paths.ndim - 2))
        start, limit = self.pose[rows, :2].view(*shape, 2), self.limit[rows].view(shape)
        # No corner is farther out than the centre has come since it was inside by so much.
        moved = (paths[..., :2] - start).square().sum(-1).sqrt()
        near = (moved - self.inside[rows].view(shape) > limit).nonzero(as_tuple=True)
        beyond = paths.new_zeros(paths.shape[:-1])
        if len(near[0]):
            out = self.road.beyond(paths[near], self.half[rows[near[0]]])
            beyond[near] = (out - self.limit[rows[near[0]]]).clamp(min=0)
        return beyond

    def _size(self, rows: Tensor) -> Tensor:
        """Half diagonals [n] of some rows, m."""
        return self.half[rows].square().sum(-1).sqrt()

    # ---- choosing

    def _choose(self, rows: Tensor, pairs: _Pairs) -> None:
        """Let some rows [n] choose the first good candidate, or the least bad one, against what the others do."""
        place = torch.full_like(self.choice, -1)
        place[rows] = torch.arange(len(rows), device=rows.device)
        pairs = pairs.take(place[pairs.who] >= 0)
        motions = self.candidates[rows]
        paths = self._path(self.pose[rows, None], motions, self.config.braking)
        cost = self._cost(self._lacking(pairs, paths[place[pairs.who]]))
        mine = place[pairs.who][:, None].expand(cost.shape)
        worst = paths.new_zeros(paths.shape[:2]).scatter_reduce(0, mine, cost, "amax")
        minding = torch.zeros_like(self.decides)
        minding[self.minds] = True
        driving = minding[rows]
        off = torch.zeros_like(worst)
        if driving.any():
            off[driving] = self._cost(self._off_road(rows[driving], paths[driving]))
        worst = torch.maximum(worst, off)
        # The first of the smallest: `argmin` promises no order.
        chosen = (worst == worst.amin(-1, keepdim=True)).long().argmax(-1)
        self.choice[rows] = chosen
        number = torch.arange(len(rows), device=rows.device)
        self.off[rows] = off[number, chosen] > 0
        self.stop[rows] = paths[number, chosen]
        self.go[rows] = self._even(motions[number, chosen], self.stop[rows])

    @staticmethod
    def _cost(lacking: Tensor) -> Tensor:
        """One number [...] for metres that lack at each moment [..., T]: the deeper, sooner and longer the more."""
        return _SOON * lacking[..., :TOKEN_STEPS].sum(-1) + lacking.sum(-1)


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    """Vectors [..., 2] turned by an angle [...], rad."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack(
        [cos * vectors[..., 0] - sin * vectors[..., 1], sin * vectors[..., 0] + cos * vectors[..., 1]], -1
    )


def _carry(speed: Tensor, turning: Tensor, slowing: Tensor, moments: Tensor) -> Tensor:
    """Poses [..., E, 3] after some times [E] (s), in the frame of the beginning.

    Args:
        speed: [..., 2] velocity at the beginning in that frame, m/s.
        turning: [...] rad/s at that speed: the way curves as it does now, however fast it is gone.
        slowing: [...] deceleration down to a stand, m/s².
        moments: Times.
    """
    pace = speed.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-3)
    slowing = slowing[..., None]
    time = torch.minimum(moments, pace / slowing.clamp(min=1e-6))
    # The time in which the same way is gone without slowing down.
    even = time * (1 - slowing * time / (2 * pace))
    turn = turning[..., None] * even
    way = _turned(speed[..., None, :] * even[..., None], turn / 2)
    return torch.cat([way, turn[..., None]], -1)
