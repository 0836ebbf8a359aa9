"""Reinforcement fine-tuning: one loop for MPO, PPO, DPO, GRPO and GRBO, which differ in their loss alone.

Whole roll-outs are sampled from the current weights as they are when the model is used, judged, and compared with other
roll-outs of the same scene; then the log-probabilities of the sampled tokens are raised or lowered in one batched pass,
held back by a divergence from the starting weights. `policy_losses` names the papers. Credit per agent and baselines
per scene are ours; `config.PUBLISHED` is SMART-R1's own reading.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import ConfigError
from harness.fitting.task import Numbers
from harness.traffic.model.network import SmartNetwork
from harness.traffic.model.rollout import Rollout
from harness.traffic.sampling import draw, top_k
from harness.traffic.tokens.scene import CURRENT_TOKEN
from harness.traffic.tokens.shapes import TOKEN_STEPS
from harness.traffic.training.advantages import Memory, group_mean, leave_one_out, spread
from harness.traffic.training.closed_loop import Unrolled, future_targets, unroll
from harness.traffic.training.config import ReinforcementOptions
from harness.traffic.training.imitation import log_targets
from harness.traffic.training.objective import ScoredNodes, StageLoss, Step, Targets, encode, score, taken
from harness.traffic.training.policy_losses import METHODS, MethodName, Sample, k3, mean
from harness.traffic.training.rewards import Judge, Judges, Judging, RolloutRewards, dense_poses
from scenarios.scenario import FUTURE_STEPS


class SampledTokens:
    """Draws tokens as the model does when it is used, and keeps what each was drawn from.

    Args:
        options: Number of candidates, and temperature.
    """

    def __init__(self, options: ReinforcementOptions) -> None:
        self._k, self._temperature = options.top_k, options.temperature
        self.found: list[Tensor] = []

    def __call__(self, rollout: Rollout, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Tokens [W, A] from logits [W, A, V] of a roll-out."""
        if 0 < self._k < logits.shape[-1]:
            self.found.append(logits.topk(self._k, -1).indices)
        return draw(top_k(logits, self._k), self._temperature, generator)

    def table(self) -> Tensor | None:
        """Candidates [W, A, N, k] of every token from the first on (zeros in the history); None for all tokens."""
        if not self.found:
            return None
        found = torch.stack(self.found, 2)
        return torch.cat([torch.zeros_like(found[:, :, :1]).expand(-1, -1, CURRENT_TOKEN - 1, -1), found], 2)


class Reinforcement:
    """One of the methods.

    Args:
        method: Which.
        options: Constants, and how roll-outs are sampled, judged and compared.

    Raises:
        ConfigError: The method compares roll-outs, and the baseline has them scored together.
    """

    frozen = True

    def __init__(self, method: MethodName, options: ReinforcementOptions) -> None:
        self.name: str = method
        self.method, self.options = METHODS[method], options
        self.updates = options.updates if self.method.repeats else 1
        self.module: nn.Module | None = None
        self._pooled = options.baseline == "expected"
        if self._pooled and self.method.compares:
            raise ConfigError(
                f"stage {method} compares roll-outs of a scene, but --options.rl.baseline expected scores them "
                "together: give others, group or critic."
            )
        self._everyone = options.agents == "trained"
        self._judge = Judge(self._everyone)

    def begin(self, network: SmartNetwork) -> None:
        """Keep the starting weights as the reference."""
        self.reference = copy.deepcopy(network).eval().requires_grad_(False)
        self.memory = Memory(network.config.hidden, self.options.baseline == "critic")
        self.module = self.memory

    @contextlib.contextmanager
    def judges(self, count: int) -> Iterator[None]:
        """Have roll-outs judged by so many processes."""
        alone = self._judge
        with Judges(self._everyone, count) as many:
            self._judge = many
            try:
                yield
            finally:
                self._judge = alone

    # ---- sampling

    def _sample(
        self, network: SmartNetwork, step: Step, pooled: bool
    ) -> tuple[Unrolled, Tensor | None, list[RolloutRewards]]:
        """`rollouts` roll-outs of every scene, world after world, their candidates, and what is said of each scene."""
        count = self.options.rollouts
        maps = encode(network, step.maps, True)
        # 8 s, however long the log is: the realism metric compares with as much of the log as there is.
        agents, log = step.agents.repeat(count), step.log.repeat(count)
        sampler, tokens = SampledTokens(self.options), FUTURE_STEPS // TOKEN_STEPS
        unrolled = unroll(network, maps, agents, log, None, step.generator, tokens, sampler)
        poses = dense_poses(network, unrolled.agents)
        judgings = []
        for position, scene in enumerate(step.scenes):
            own = poses[position * count : (position + 1) * count, : len(scene.agents)]
            judgings.append(Judging(step.scenario(position), scene, own, 1 if pooled else count))
        return unrolled, sampler.table(), self._judge.every(judgings)

    def _rewards(self, step: Step, outcomes: list[RolloutRewards]) -> Tensor:
        """Rewards [S, G, A] of S scenes with G roll-outs, NaN where nobody is judged; see `credit`, `baseline`.

        G is 1 where roll-outs are scored together, A is 1 where the scene has one reward.
        """
        agents = step.agents.kinds.shape[1] if self.options.credit == "agent" else None
        return torch.stack([outcome.reward(self.options, agents) for outcome in outcomes]).float().cpu()

    def _expected(self, network: SmartNetwork, step: Step, reward: Tensor) -> Tensor | float:
        """What rewards [S, G, A] are compared with."""
        if self.options.baseline == "critic":
            return self._values(network, step).cpu()
        if self.options.baseline == "expected":
            return self.options.threshold or self.memory.expect(reward)
        return (leave_one_out if self.options.baseline == "others" else group_mean)(reward)

    def _values(self, network: SmartNetwork, step: Step) -> Tensor:
        """The critic's expectation [S, 1, A], from what agents see at the current step; A is 1 for scenes."""
        assert self.memory.critic is not None
        with torch.no_grad():
            present = step.agents.first(CURRENT_TOKEN)
            features, nodes = network(encode(network, step.maps, True), present)
            rows = nodes.row[:, -1]
            seen = features[rows.clamp(min=0)]
            if self.options.credit == "scene":
                known = (rows >= 0)[..., None]
                seen = (seen * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
        return self.memory.critic(seen)[..., 0][:, None]

    def prepare(self, network: SmartNetwork, step: Step) -> Targets:
        """Sample, judge, compare, and note the log-probabilities before the update."""
        unrolled, candidates, outcomes = self._sample(network, step, self._pooled)
        reward = self._rewards(step, outcomes)
        future, device = slice(CURRENT_TOKEN, None), unrolled.agents.token.device
        token, valid = unrolled.agents.token[:, :, future], unrolled.agents.valid[:, :, future]

        def spread_out(values: Tensor) -> Tensor:
            """Values [S, G or 1, A or 1] at every token [S·G, A, steps]."""
            every = values.expand(-1, self.options.rollouts, -1).flatten(0, 1).to(device)
            return every[..., None].expand(token.shape)

        judged = reward.isfinite().all(1, keepdim=True)
        known = reward.where(judged, torch.zeros(()))
        mask = valid & step.log.trained.repeat_interleave(self.options.rollouts, 0)[..., None] & spread_out(judged)
        data = future_targets(
            unrolled,
            token,
            mask,
            advantage=spread_out((reward - self._expected(network, step, reward)).nan_to_num(0.0)),
            spread=spread_out(spread(known)),
            pair=spread_out(torch.arange(judged.numel()).view(judged.shape)),
            side=spread_out(_sides(known)),
        )
        if candidates is not None:
            data.extra["candidates"] = candidates
        data.extra["reward"] = reward.to(device)
        scored = score(self.reference, encode(self.reference, step.maps, True, data.agents), data)
        data.extra["reference"] = self._log_prob(scored, data)
        if self.method.repeats:
            data.extra["old"] = self._log_prob(
                score(network, encode(network, step.maps, True, data.agents), data), data
            )
        return data

    # ---- learning

    def _log_prob(self, scored: ScoredNodes, data: Targets) -> Tensor:
        """Log-probability [n] of the sampled tokens, among the candidates and at the temperature they were drawn at."""
        logits, token = scored.logits / self.options.temperature, taken(scored, data.token)[:, None]
        if "candidates" in data.extra:
            candidates = taken(scored, data.extra["candidates"])
            logits, token = logits.gather(1, candidates), (candidates == token).int().argmax(1, keepdim=True)
        return logits.log_softmax(-1).gather(1, token)[:, 0]

    def loss(self, network: SmartNetwork, step: Step, data: Targets) -> StageLoss:
        """The method's loss on sampled tokens; dropout is off, so that ratios and divergences start at 1 and 0."""
        network.eval()
        scored = score(network, encode(network, step.maps, self.frozen, data.agents), data)
        log_prob, extra = self._log_prob(scored, data), data.extra
        sample = Sample(
            log_prob,
            extra.get("old", log_prob.detach()),
            extra["reference"],
            *(taken(scored, extra[name]) for name in ("advantage", "spread", "pair", "side")),
        )
        total, reward = self.method.loss(sample, self.options), extra["reward"]
        agents = data.mask.any(-1).sum() / (len(step.scenes) * self.options.rollouts)
        numbers: Numbers = {
            "reward": reward.nanmean(),
            "kl": mean(k3(log_prob, sample.reference)).detach(),
            "credited": agents,
        }
        if self.options.baseline == "critic":
            gap = self._values(network, step) - reward
            total = total + 0.5 * mean(gap[reward.isfinite()].square())
        if self.method.human and self.options.human > 0:
            logged = log_targets(step)
            human = score(network, encode(network, step.maps, self.frozen, logged.agents), logged)
            nll = F.cross_entropy(human.logits, taken(human, logged.token))
            total = total + self.options.human * nll
            numbers["human_nll"] = nll.detach()
        return StageLoss(total, numbers)

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """Minus the reward of held-out scenes, roll-outs pooled and agents together, whatever is credited."""
        _, _, outcomes = self._sample(network, step, True)
        return -float(torch.cat([outcome.reward(self.options, None) for outcome in outcomes]).nanmean())


def _sides(reward: Tensor) -> Tensor:
    """1 at the best roll-out of [S, G, A], -1 at the worst; 0 elsewhere, and where all are equal."""
    sides = torch.zeros_like(reward)
    sides.scatter_(1, reward.argmin(1, keepdim=True), -1.0).scatter_(1, reward.argmax(1, keepdim=True), 1.0)
    return sides * (reward.amax(1, keepdim=True) > reward.amin(1, keepdim=True))
