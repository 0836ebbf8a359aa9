"""Reinforcement fine-tuning: MPO, and PPO, GRPO, DPO beside it (SMART-R1); GRBO.

All of them sample whole roll-outs from the current weights, have them judged, and then raise or lower the
log-probabilities of the sampled tokens in one batched pass, held back by a divergence from the starting weights.

Papers: 'Advancing Multi-agent Traffic Simulation via R1-style Reinforcement Fine-tuning' (SMART-R1, Pei et al. 2026);
'Post-Training and Test-Time Scaling of Generative Agent Behavior Models' (GRBO, Seong et al. 2025: abstract only).
What they leave open (roll-outs per reward, groups, critic, preference pairs, all of GRBO's details) is our reading.
"""

from __future__ import annotations

import copy
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.traffic.model.embeddings import mlp
from harness.traffic.model.network import SmartNetwork
from harness.traffic.tokens.scene import CURRENT_TOKEN
from harness.traffic.tokens.shapes import TOKEN_STEPS
from harness.traffic.training.closed_loop import Unrolled, future_targets, unroll
from harness.traffic.training.config import ReinforcementOptions
from harness.traffic.training.imitation import log_targets
from harness.traffic.training.objective import ScoredNodes, StageLoss, Step, Targets, encode, score, taken
from harness.traffic.training.rewards import Judge, RolloutRewards, dense_poses
from scenarios.scenario import FUTURE_STEPS

Method = Literal["mpo", "ppo", "grpo", "dpo", "grbo"]

METHODS: Final[tuple[Method, ...]] = ("mpo", "ppo", "grpo", "dpo", "grbo")
_DECISIONS: Final = 16.0
"""Decisions of an agent in a roll-out of 8 s."""
_MEMORY: Final = 0.95
"""Decay per batch of the running mean reward."""


def k3(log_prob: Tensor, reference: Tensor) -> Tensor:
    """Unbiased, non-negative estimate of KL(π‖π_ref) from samples of π: ratio - log ratio - 1, ratio = π_ref/π.

    SMART-R1 prints eq. 4 with the logarithm's ratio inverted, which is not non-negative; we take that as a misprint.
    """
    gap = reference - log_prob
    return gap.exp() - gap - 1.0


def mpo_loss(log_prob: Tensor, reference: Tensor, advantage: Tensor, beta: float) -> Tensor:
    """Metric-oriented policy optimisation: SMART-R1 eq. 5, mean over tokens [n]."""
    ratio = (log_prob - log_prob.detach()).exp()
    return -(ratio * advantage - beta * k3(log_prob, reference)).mean()


def clipped_loss(
    log_prob: Tensor, old: Tensor, reference: Tensor, advantage: Tensor, clip: float, beta: float
) -> Tensor:
    """Clipped surrogate of PPO and GRPO with a divergence penalty, mean over tokens [n]."""
    ratio = (log_prob - old).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    return -(gain - beta * k3(log_prob, reference)).mean()


def dpo_loss(
    chosen: Tensor, chosen_reference: Tensor, rejected: Tensor, rejected_reference: Tensor, beta: float
) -> Tensor:
    """Direct preference optimisation on log-probabilities of whole sequences, mean over pairs [p]."""
    return -F.logsigmoid(beta * ((chosen - chosen_reference) - (rejected - rejected_reference))).mean()


def group_advantage(reward: Tensor) -> Tensor:
    """Rewards [S, G, …] less their mean over G, divided by their standard deviation; 0 where all agree."""
    centred = reward - reward.mean(1, keepdim=True)
    return centred / (reward.std(1, keepdim=True, unbiased=False) + 1e-4)


class Memory(nn.Module):
    """What a stage has to remember between batches (and over a resumption): running mean reward, and PPO's critic."""

    def __init__(self, hidden: int, critic: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))
        self.mean: Tensor
        self.seen: Tensor
        self.critic = mlp(hidden, hidden, 1) if critic else None

    def expect(self, reward: Tensor) -> float:
        """The mean reward before this batch (its own at the first), then taking it in."""
        now = reward.mean()
        before = self.mean.clone() if self.seen > 0 else now
        self.mean.copy_(before * _MEMORY + now * (1 - _MEMORY))
        self.seen += 1
        return float(before)


class Reinforcement:
    """One of the methods.

    Args:
        method: Which.
        options: Constants.
    """

    frozen = True

    def __init__(self, method: Method, options: ReinforcementOptions) -> None:
        self.name: str = method
        self.method, self.options = method, options
        self.updates = options.updates if method in ("ppo", "grpo") else 1
        self.module: nn.Module | None = None
        self._judge = Judge(everyone=method == "grbo")
        # Held-out scenes are judged as the official metric does, whatever the reward.
        self._official = Judge(everyone=False)

    def begin(self, network: SmartNetwork) -> None:
        """Keep the starting weights as the reference."""
        self.reference = copy.deepcopy(network).eval().requires_grad_(False)
        self.memory = Memory(network.config.hidden, self.method == "ppo")
        self.module = self.memory

    # ---- sampling

    def _sample(
        self, network: SmartNetwork, step: Step, pooled: bool, judge: Judge
    ) -> tuple[Unrolled, list[RolloutRewards]]:
        """`rollouts` roll-outs of every scene, world after world, and what the judge says of each scene's."""
        count = self.options.rollouts
        maps = encode(network, step.maps, True)
        # 8 s, however long the log is: the realism metric compares with as much of the log as there is.
        agents, log = step.agents.repeat(count), step.log.repeat(count)
        unrolled = unroll(network, maps, agents, log, None, step.generator, FUTURE_STEPS // TOKEN_STEPS)
        poses = dense_poses(network, unrolled.agents)
        outcomes = []
        for position, scene in enumerate(step.scenes):
            own = poses[position * count : (position + 1) * count, : len(scene.agents)]
            outcomes.append(judge(step.scenario(position), scene, own, 1 if pooled else count))
        return unrolled, outcomes

    def _advantage(self, network: SmartNetwork, step: Step, outcomes: list[RolloutRewards]) -> tuple[Tensor, Tensor]:
        """Advantages [S, G, A] (A may be 1) and rewards [S, ·] of S scenes with G roll-outs."""
        count = self.options.rollouts
        if self.method == "grbo":
            agents = step.agents.kinds.shape[1]
            reward = torch.zeros(len(outcomes), count, agents)
            for row, outcome in enumerate(outcomes):
                cost = self.options.collision * outcome.collided + self.options.offroad * outcome.off_road
                reward[row][:, outcome.evaluated] = -cost.float().cpu()
            return group_advantage(reward), reward.mean((1, 2))[:, None]
        reward = torch.stack([outcome.meta for outcome in outcomes]).float().cpu()
        if self.method == "mpo":
            expected = self.options.threshold or self.memory.expect(reward)
            return (reward - expected)[..., None].expand(-1, count, 1), reward
        if self.method == "ppo":
            return (reward - self._values(network, step).cpu())[..., None], reward
        return group_advantage(reward)[..., None], reward

    def _values(self, network: SmartNetwork, step: Step) -> Tensor:
        """The critic's expectation [S, 1] of each scene, from what agents see at the current step."""
        assert self.memory.critic is not None
        with torch.no_grad():
            present = step.agents.first(CURRENT_TOKEN)
            features, nodes = network(encode(network, step.maps, True), present)
            rows = nodes.row[:, -1]
            known = (rows >= 0)[..., None]
            pooled = (features[rows.clamp(min=0)] * known).sum(1) / known.sum(1).clamp(min=1)
        return self.memory.critic(pooled)

    def prepare(self, network: SmartNetwork, step: Step) -> Targets:
        """Sample, judge, and note the log-probabilities before the update."""
        unrolled, outcomes = self._sample(network, step, self.method == "mpo", self._judge)
        advantage, reward = self._advantage(network, step, outcomes)
        future = slice(CURRENT_TOKEN, None)
        token, valid = unrolled.agents.token[:, :, future], unrolled.agents.valid[:, :, future]
        worlds, agents, steps = token.shape
        mask = valid & step.log.trained.repeat_interleave(self.options.rollouts, 0)[..., None]
        spread = advantage.flatten(0, 1).to(token.device)[..., None].expand(worlds, agents, steps)
        world = torch.arange(worlds, device=token.device)[:, None, None].expand(worlds, agents, steps)
        data = future_targets(unrolled, token, mask, advantage=spread, world=world)
        scored = score(self.reference, encode(self.reference, step.maps, True), data)
        kept = {"reference": _log_prob(scored, data), "reward": reward.to(token.device)}
        if self.method in ("ppo", "grpo"):
            kept["old"] = _log_prob(score(network, encode(network, step.maps, True), data), data)
        data.extra.update(kept)
        return data

    # ---- learning

    def loss(self, network: SmartNetwork, step: Step, data: Targets) -> StageLoss:
        """The method's loss on sampled tokens; dropout is off, so that ratios and divergences start at 1 and 0."""
        network.eval()
        maps = encode(network, step.maps, self.frozen)
        scored = score(network, maps, data)
        log_prob, reference = _log_prob(scored, data), data.extra["reference"]
        advantage, options = taken(scored, data.extra["advantage"]), self.options
        numbers = {"reward": float(data.extra["reward"].mean()), "kl": float(k3(log_prob, reference).detach().mean())}
        if self.method in ("ppo", "grpo"):
            total = clipped_loss(log_prob, data.extra["old"], reference, advantage, options.clip, options.beta)
        elif self.method == "dpo":
            total = self._preference(log_prob, reference, taken(scored, data.extra["world"]), data.extra["reward"])
        else:
            total = mpo_loss(log_prob, reference, advantage, options.beta)
        if self.method == "ppo":
            total = total + 0.5 * (self._values(network, step) - data.extra["reward"]).square().mean()
        if self.method == "grbo" and options.human > 0:
            logged = log_targets(step)
            human = score(network, maps, logged)
            nll = F.cross_entropy(human.logits, taken(human, logged.token))
            total = total + options.human * nll
            numbers["human_nll"] = float(nll.detach())
        return StageLoss(total, numbers)

    def _preference(self, log_prob: Tensor, reference: Tensor, world: Tensor, reward: Tensor) -> Tensor:
        """DPO on each scene's best and worst roll-out.

        A roll-out's score is the mean over tokens times the number of decisions, so that scenes with many agents do
        not outweigh others.
        """
        scenes, count = reward.shape
        sums = log_prob.new_zeros(scenes * count)
        sizes = torch.zeros_like(sums).index_add(0, world, torch.ones_like(log_prob)).clamp(min=1)
        own = sums.index_add(0, world, log_prob) / sizes * _DECISIONS
        theirs = sums.index_add(0, world, reference) / sizes * _DECISIONS
        base = torch.arange(scenes, device=reward.device) * count
        best, worst = base + reward.argmax(1), base + reward.argmin(1)
        return dpo_loss(own[best], theirs[best], own[worst], theirs[worst], self.options.preference)

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """Minus the realism of pooled roll-outs of held-out scenes; GRBO adds collision and off-road rates."""
        _, outcomes = self._sample(network, step, True, self._official)
        value = -float(torch.stack([outcome.meta.mean() for outcome in outcomes]).mean())
        if self.method == "grbo":
            harm = [outcome.collided.float().mean() + outcome.off_road.float().mean() for outcome in outcomes]
            value += float(torch.stack(harm).mean())
        return value


def _log_prob(scored: ScoredNodes, data: Targets) -> Tensor:
    """Log-probability [n] of the sampled tokens."""
    return scored.logits.log_softmax(-1).gather(1, taken(scored, data.token)[:, None])[:, 0]
