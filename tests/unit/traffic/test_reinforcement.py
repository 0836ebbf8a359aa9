"""Reinforcement stages: losses on a toy, baselines and credit by hand, the published reading, whole stages."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from harness.errors import ConfigError
from harness.traffic.sampling import Sampling, draw, top_k
from harness.traffic.training.advantages import Memory, group_mean, leave_one_out, spread
from harness.traffic.training.config import PUBLISHED, ReinforcementOptions
from harness.traffic.training.objective import encode, score
from harness.traffic.training.policy_losses import METHODS, Sample, k3
from harness.traffic.training.reinforcement import Reinforcement
from harness.traffic.training.rewards import Judge, RolloutRewards
from tests.elsewhere import DEVICE, Elsewhere, move
from tests.scenes import crossing, lasting
from tests.unit.traffic.scenes import small_model, tiny_vocabulary, traffic
from tests.unit.traffic.test_training import step_of

HALF = torch.tensor([math.log(0.5)])


# ---- losses on a toy of two tokens


def logit_changes(method, advantage, old=None, reference=None, **options):
    """How gradient descent changes the logits of two arms, from equal ones, each of which was sampled once."""
    logits = torch.zeros(2, requires_grad=True)
    log_prob = logits.log_softmax(-1)
    advantage = torch.tensor(advantage)
    start = HALF.expand(2)
    sample = Sample(
        log_prob,
        start if old is None else torch.tensor(old).log(),
        start if reference is None else torch.tensor(reference).log(),
        advantage,
        torch.ones(2),
        torch.zeros(2, dtype=torch.long),
        advantage.sign(),
    )
    METHODS[method].loss(sample, ReinforcementOptions(**options)).backward()
    return [-float(change) for change in logits.grad]


@pytest.mark.parametrize("method", METHODS)
def test_every_loss_raises_the_better_arm(method):
    up, down = logit_changes(method, [0.2, -0.2])
    assert up > 0 > down
    up, down = logit_changes(method, [-0.2, 0.2])
    assert down > 0 > up


def test_sizes_of_the_gradients():
    # d ratio / d logit = 1 - p = 0.5 of the arm itself, -0.5 of the other; mean over two samples.
    assert logit_changes("mpo", [0.2, 0.0]) == pytest.approx([0.05, -0.05])
    assert logit_changes("ppo", [0.2, 0.0]) == pytest.approx([0.05, -0.05])
    assert logit_changes("grbo", [0.2, 0.0]) == pytest.approx([0.05, -0.05], rel=1e-3)
    # Half of ±16 decisions · β of each side's log-probability.
    assert logit_changes("dpo", [0.2, -0.2]) == pytest.approx([0.8, -0.8])


def test_divergence_pulls_back_to_the_reference():
    up, down = logit_changes("mpo", [0.0, 0.0], reference=[0.9, 0.1])
    assert up > 0 > down
    assert k3(HALF, HALF).item() == 0.0
    for other in (0.1, 0.4, 0.6, 0.99):
        assert k3(HALF, torch.tensor([math.log(other)])).item() > 0


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_clipped_losses_gain_nothing_beyond_their_bound(method):
    assert logit_changes(method, [1.0, 0.0], old=[0.4, 0.5], beta=0.0) == [0.0, 0.0]
    assert logit_changes(method, [-1.0, 0.0], old=[0.4, 0.5], beta=0.0)[0] < 0


@pytest.mark.parametrize("method", METHODS)
def test_nobody_credited_is_no_loss(method):
    none = torch.zeros(0, requires_grad=True)
    sample = Sample(none, none, none, none, none, torch.zeros(0, dtype=torch.long), none)
    assert METHODS[method].loss(sample, ReinforcementOptions()).item() == 0.0


# ---- baselines and credit


def test_baselines_by_hand():
    reward = torch.tensor([[[1.0], [2.0], [6.0]], [[10.0], [10.0], [10.0]]])
    assert leave_one_out(reward)[0, :, 0].tolist() == [4.0, 3.5, 1.5]
    assert (reward - leave_one_out(reward)).sum(1).abs().max() == 0.0
    assert (reward - leave_one_out(reward))[1].abs().max() == 0.0
    assert group_mean(reward)[:, 0, 0].tolist() == [3.0, 10.0]
    assert spread(reward)[:, 0, 0].tolist() == pytest.approx([math.sqrt(14 / 3), 0.0])
    memory = Memory(4, critic=False)
    assert [memory.expect(torch.tensor(value)) for value in (2.0, 4.0, math.nan, 0.0)] == pytest.approx(
        [2.0, 2.0, 2.1, 2.1]
    )


def judged(options, method="mpo"):
    """Advantages and mask [2, A, N] of two roll-outs, in the first of which agent 0 alone collides; and the tokens."""
    model = small_model(vocabulary=tiny_vocabulary())
    step = step_of(model, traffic())
    objective = Reinforcement(method, replace(options, rollouts=2))
    objective.begin(model.network)
    collided = torch.tensor([[True, False], [False, False]])
    quiet = torch.zeros_like(collided)
    outcome = RolloutRewards(torch.tensor([0.5, 0.7]), torch.tensor([[0.4, 0.6], [0.8, 0.6]]), collided, quiet,
                             torch.tensor([0, 1]))  # fmt: skip
    objective._judge = SimpleNamespace(every=lambda judgings: [outcome for _ in judgings])
    with torch.no_grad():
        return objective.prepare(model.network, step)


def test_only_who_collides_is_punished():
    data = judged(ReinforcementOptions(collision=1.0))
    advantage, future = data.extra["advantage"], data.mask[:, 0].any(0)
    # Agent 0: 0.4 - 1 against 0.8; agent 1 does as well in both; nobody else is judged.
    assert advantage[0, 0, future].unique().tolist() == pytest.approx([-1.4])
    assert advantage[1, 0, future].unique().tolist() == pytest.approx([1.4])
    assert advantage[:, 1:].abs().max() == 0.0
    assert data.mask.any(-1).tolist()[0][:3] == [True, True, False]
    assert data.extra["side"][:, :, -1].tolist()[0][:2] == [-1.0, 0.0]
    shared = judged(ReinforcementOptions(collision=1.0, credit="scene"))
    # The scene: 0.5 less half a collision against 0.7, for everyone that is trained.
    assert shared.extra["advantage"][0, :, future].unique().tolist() == pytest.approx([-0.7])
    assert int(shared.mask.any(-1)[0].sum()) > 2


def test_every_trained_agent_is_credited_for_itself():
    model = small_model(vocabulary=tiny_vocabulary())
    scene = traffic()
    step = step_of(model, replace(scene, id="r", metadata={"tracks_to_predict": [scene.agent_ids[1]]}))
    counts = {}
    for agents in ("trained", "official"):
        objective = Reinforcement("mpo", ReinforcementOptions(rollouts=2, agents=agents))
        objective.begin(model.network)
        with torch.no_grad():
            data = objective.prepare(model.network, step)
        counts[agents] = objective.loss(model.network, step, data).numbers["credited"]
        assert data.extra["advantage"].view(2, -1).sum(0).abs().max() < 1e-6
    assert counts["trained"] == int(step.log.trained.sum())
    assert counts["official"] == 2 < counts["trained"]


def test_scenes_of_the_same_name_are_judged_by_their_own_logs():
    model = small_model(vocabulary=tiny_vocabulary())
    one, other = (replace(scene, id="same") for scene in (traffic(), traffic(origin=(40.0, -9.0), rotation=0.4)))
    first, second = (step_of(model, scene).scenes[0] for scene in (one, other))
    poses = model.unroll(second, 2, torch.Generator().manual_seed(0))[0]
    judge = Judge(True)
    judge(one, first, poses, 1)
    assert torch.equal(
        judge(other, second, poses, 1).meta_of_agents, Judge(True)(other, second, poses, 1).meta_of_agents
    )


# ---- sampling


def test_rollouts_are_sampled_as_when_the_model_is_used():
    options = ReinforcementOptions()
    assert (options.top_k, options.temperature) == (Sampling().k, Sampling().temperature)
    model = small_model()
    step = step_of(model, replace(traffic(), id="r"))
    objective = Reinforcement("ppo", replace(options, rollouts=2, top_k=3, temperature=0.5))
    objective.begin(model.network)
    with torch.no_grad():
        data = objective.prepare(model.network, step)
        scored = score(model.network, encode(model.network, step.maps, True), data)
    # The noise of a draw depends on the generator alone: the first decision is that of the deployed model.
    rollout = model.start(step.scenes[0], 2)
    logits = rollout.logits()
    drawn = draw(top_k(logits, 3), 0.5, torch.Generator().manual_seed(0))
    first = data.mask.any(-1).nonzero()[0, 1]
    at = data.mask[0, first].nonzero()[0, 0]
    assert data.token[0, first, at] == drawn[0, first]
    # Log-probabilities are those of the draw: three candidates, tempered, that sum to one.
    token = scored.nodes.take(data.token)[scored.rows]
    kept = top_k(scored.logits, 3) / 0.5
    wanted = kept.log_softmax(-1).gather(1, token[:, None])[:, 0]
    assert torch.allclose(data.extra["old"], wanted, atol=1e-4)
    assert (wanted.exp() > 1 / 2000).all()


# ---- stages


def run(method, options, updates=2):
    """Total, gradient norm and divergence of some updates on two tiny scenes, then the held-out value."""
    model = small_model(vocabulary=tiny_vocabulary())
    step = step_of(model, replace(traffic(), id="g"), replace(crossing(), id="h"))
    objective = Reinforcement(method, options)
    torch.manual_seed(0)
    objective.begin(model.network)
    optimiser = torch.optim.SGD(model.network.parameters(), 0.05)
    rows = []
    for _ in range(updates):
        with torch.no_grad():
            data = objective.prepare(model.network, step)
        loss = objective.loss(model.network, step, data)
        optimiser.zero_grad()
        loss.total.backward()
        gradients = [value.grad.flatten() for value in model.network.parameters() if value.grad is not None]
        optimiser.step()
        rows += [float(loss.total.detach()), float(torch.cat(gradients).norm()), loss.numbers["kl"]]
    return [*rows, objective.validate(model.network, step)]


@pytest.mark.parametrize(
    ("threshold", "wanted"),
    [
        (0.77, [0.3258395, 0.1519264, 0.0, 0.1504609, 0.0673585, 1.585310e-4, -0.6477365]),
        (0.0, [0.0662440, 0.0529909, 0.0, -0.1091405, 0.0948841, 1.086756e-5, -0.6476290]),
    ],
)
def test_the_published_reading_of_mpo(threshold, wanted):
    """The scene's realism less α (or the running mean), all tokens: golden numbers of the stage as it first was."""
    found = run("mpo", replace(PUBLISHED, rollouts=3, threshold=threshold))
    assert found == pytest.approx(wanted, rel=2e-3, abs=1e-7)


def test_equal_seeds_give_equal_samples():
    first, again = (judged(ReinforcementOptions(collision=1.0)) for _ in range(2))
    assert torch.equal(first.token, again.token)
    assert torch.equal(first.agents.pose, again.agents.pose)
    assert all(torch.equal(value.nan_to_num(), again.extra[name].nan_to_num()) for name, value in first.extra.items())


@pytest.mark.parametrize("method", METHODS)
def test_stages_learn_from_8_s_of_scenes_of_any_length(method):
    model = small_model()
    scenes = [replace(lasting(traffic(), steps), id=str(steps)) for steps in (21, 199)]
    step = step_of(model, *scenes)
    objective = Reinforcement(
        method, ReinforcementOptions(rollouts=2, baseline="critic" if method == "ppo" else "others")
    )
    objective.begin(model.network)
    with torch.no_grad():
        data = objective.prepare(model.network, step)
    assert data.token.shape == (4, len(step.scenes[0].agents), 17)
    loss = objective.loss(model.network, step, data)
    assert loss.numbers["kl"] == pytest.approx(0.0, abs=1e-6)
    loss.total.backward()
    assert objective.reference.layers[0].past.query.weight.grad is None
    gradient = model.network.token_head.query[-1].weight.grad
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    assert math.isfinite(objective.validate(model.network, step))


@pytest.mark.parametrize(("method", "baseline"), [("ppo", "critic"), ("dpo", "others"), ("mpo", "expected")])
def test_stages_run_on_any_device(method, baseline):
    """No tensor is made on the CPU where the network is elsewhere; the results are the same but for rounding."""

    def result(device: torch.device) -> tuple[float, float]:
        torch.manual_seed(0)
        model = small_model(vocabulary=tiny_vocabulary())
        objective = Reinforcement(method, ReinforcementOptions(rollouts=2, top_k=3, baseline=baseline))
        if device == DEVICE:
            move(model.network)
        objective.begin(model.network)
        if device == DEVICE:
            move(objective.memory)
        made = step_of(model, lasting(traffic(), 41))
        step = replace(made, maps=made.maps.to(device), agents=made.agents.to(device), log=made.log.to(device))
        with torch.no_grad():
            data = objective.prepare(model.network, step)
        total = objective.loss(model.network, step, data).total
        total.backward()
        return float(total.detach()), objective.validate(model.network, step)

    wanted = result(torch.device("cpu"))
    with Elsewhere():
        assert result(DEVICE) == pytest.approx(wanted, rel=1e-5)


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="rollouts 2 or more"):
        ReinforcementOptions(rollouts=1)
    with pytest.raises(ConfigError, match="temperature > 0"):
        ReinforcementOptions(temperature=0.0)
    with pytest.raises(ConfigError, match=r"stage grpo compares .* give others, group or critic"):
        Reinforcement("grpo", PUBLISHED)
