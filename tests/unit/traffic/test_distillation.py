"""Distillation: what the shield makes agents choose is learnt, where it left them alone nothing is forgotten."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from harness.errors import ConfigError
from harness.traffic.model.smart import SmartModel
from harness.traffic.tokens.scene import CURRENT_TOKEN
from harness.traffic.training.config import DistillationOptions, StageOptions
from harness.traffic.training.distillation import Distillation, divergence
from scenarios.scenario import Kind, Scenario
from tests.elsewhere import DEVICE, Elsewhere, move
from tests.scenes import Agent, crossing, lasting, make_scene, straight_road
from tests.unit.traffic.scenes import small_model, tiny_vocabulary, traffic
from tests.unit.traffic.test_training import step_of

STAND, ON = 0, 4
"""Tokens of the tiny vocabulary: stand, and 5 m straight on."""
CAR, CYCLE = 0, 2


def options(rollouts: int = 2, share: float = 1.0) -> StageOptions:
    return StageOptions(distil=DistillationOptions(rollouts=rollouts, share=share))


def blocked() -> Scenario:
    """A cyclist that stands, a car that stands half a metre behind it, and one at 10 m/s whose way is free."""
    gap = 4.5 / 2 + 0.5 + 1.8 / 2
    agents = (
        Agent("cyclist", gap, 0.0, 0.0, 0.0, Kind.CYCLIST, (1.8, 0.6, 1.7)),
        Agent("stopped", 0.0, 0.0, 0.0, 0.0),
        Agent("free", -80.0, 3.5, 0.0, 10.0),
    )
    return make_scene(agents, straight_road().features, opponent=None)


def driving_on() -> SmartModel:
    """Cars drive on at 10 m/s, in all likelihood, and cyclists stand."""
    model = small_model(vocabulary=tiny_vocabulary())
    with torch.no_grad():
        model.network.token_head.bias[CAR, ON] += 8.0
        model.network.token_head.bias[CYCLE, STAND] += 40.0
    return model


def chances(model: SmartModel, step) -> torch.Tensor:
    """Probabilities [A, V] of everybody's first choice."""
    return model.start(step.scenes[0]).logits()[0].softmax(-1)


def test_the_shielded_choice_becomes_the_models_own():
    model = driving_on()
    step = step_of(model, blocked())
    objective = Distillation(options(rollouts=1))
    objective.begin(model.network)
    before = chances(model, step)
    assert before[1, STAND] < 0.05
    with torch.no_grad():
        data = objective.prepare(model.network, step)
    # Whoever would touch the cyclist has to stand, at every moment.
    assert set(data.token[0, 1, CURRENT_TOKEN - 1 :].tolist()) == {STAND}
    optimiser = torch.optim.Adam(model.network.parameters(), 0.01)
    for _ in range(4):
        loss = objective.loss(model.network, step, data)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
    after = chances(model, step)
    assert after[1, STAND] > 0.5
    # Who drives freely is held where it was.
    assert float(after[2, ON]) == pytest.approx(float(before[2, ON]), abs=0.1)
    assert before[2, ON] > 0.9
    assert not any(value.grad is not None for value in objective.reference.parameters())


def test_what_is_learnt_is_the_deployed_roll_out_behind_the_shield():
    model = small_model(vocabulary=tiny_vocabulary())
    scene = traffic()
    step = step_of(model, scene)
    objective = Distillation(options())
    with torch.no_grad():
        data = objective.prepare(model.network, step)
    shield, seeded = objective.shield(step, 0), torch.Generator().manual_seed(0)
    states, _ = model.unroll(step.scenes[0], 2, seeded, shield=shield)
    # The last choice is learnt from, but nothing follows it.
    assert torch.equal(data.agents.pose[:, :, CURRENT_TOKEN:], states[:, :, 4:-1:5])
    assert bool(step.log.trained.all())
    assert int(data.extra["learnt"].sum()) == shield.interventions.changed > 0
    assert int(data.extra["decided"].sum()) == shield.interventions.decisions
    assert torch.equal(data.mask, data.extra["decided"])


def test_shares_of_what_was_left_alone():
    model = small_model(vocabulary=tiny_vocabulary())
    # Scenes of several lengths share a batch.
    step = step_of(model, lasting(traffic(), 21), crossing())
    with torch.no_grad():
        none, some = (Distillation(options(share=share)).prepare(model.network, step) for share in (0.0, 0.4))
    assert torch.equal(none.mask, none.extra["learnt"])
    kept = step.log.trained.repeat_interleave(2, 0)[..., None]
    assert not (some.mask & ~kept).any()
    others = some.extra["decided"] & ~some.extra["learnt"]
    assert float(some.mask[others].float().mean()) == pytest.approx(0.4, abs=0.1)
    assert bool(some.mask[some.extra["learnt"]].all())


def test_equal_seeds_give_equal_roll_outs():
    model = small_model(vocabulary=tiny_vocabulary())
    with torch.no_grad():
        first, again = (
            Distillation(options(rollouts=1)).prepare(model.network, step_of(model, crossing())) for _ in range(2)
        )
    assert torch.equal(first.token, again.token)
    assert torch.equal(first.extra["learnt"], again.extra["learnt"])


def test_divergence():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    assert divergence(logits, logits).tolist() == pytest.approx([0.0, 0.0])
    # ½ ln(½ / ¾) + ½ ln(½ / ¼)
    assert float(divergence(logits[:1], logits[1:])) == pytest.approx(0.5 * math.log(4 / 3), abs=1e-6)


def test_the_stage_runs_on_any_device():
    """No tensor is made on the CPU where the network is elsewhere; the results are the same."""

    def result(device: torch.device) -> tuple[float, float]:
        model = small_model(vocabulary=tiny_vocabulary())
        objective = Distillation(options(rollouts=1))
        if device == DEVICE:
            move(model.network)
        objective.begin(model.network)
        made = step_of(model, lasting(traffic(), 41))
        step = replace(made, maps=made.maps.to(device), agents=made.agents.to(device), log=made.log.to(device))
        with torch.no_grad():
            data = objective.prepare(model.network, step)
        total = objective.loss(model.network, step, data).total
        total.backward()
        return float(total.detach()), float(data.extra["learnt"].sum())

    wanted = result(torch.device("cpu"))
    with Elsewhere():
        assert result(DEVICE) == wanted


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"share in \[0, 1\]"):
        DistillationOptions(share=1.5)
    with pytest.raises(ConfigError, match="rollouts must be >= 1"):
        DistillationOptions(rollouts=0)
