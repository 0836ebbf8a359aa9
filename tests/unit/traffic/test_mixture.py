"""The ego policy's mixture: its stages, its weights in every command, and what fine-tuning leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.errors import ConfigError
from harness.traffic.model.heads import Mixture
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.shapes import compose
from harness.traffic.training.config import ExampleOptions, LoopConfig, StageOptions
from harness.traffic.training.mixture import HARD, MIXTURE_STRATEGIES
from harness.traffic.training.recipe import StagePlan, starting_model
from harness.traffic.training.stages import STAGES, check_head, make_objective
from tests.elsewhere import DEVICE, Elsewhere, move
from tests.scenes import crossing, lasting
from tests.unit.traffic.scenes import small_model, tiny_vocabulary, traffic
from tests.unit.traffic.test_training import step_of, task_in


@pytest.mark.parametrize("name", ["gmm", HARD, *MIXTURE_STRATEGIES])
def test_mixture_stages_learn_scenes_of_any_length(name):
    model = small_model(head="gmm", vocabulary=tiny_vocabulary())
    step = step_of(model, lasting(traffic(), 41), crossing())
    objective = make_objective(name, StageOptions())
    optimizer = torch.optim.Adam(model.network.parameters(), 1e-4)
    data, values = objective.prepare(model.network, step), []
    for _ in range(4):
        optimizer.zero_grad()
        loss = objective.loss(model.network, step, data)
        loss.total.backward()
        optimizer.step()
        values.append(loss.numbers["nll"])
    assert values[-1] < values[0]
    with torch.no_grad():
        assert math.isfinite(objective.validate(model.network, step))
    assert model.network.piece_kind.weight.grad is None or name == "gmm"


def test_hard_assignment_trains_the_nearest_component_alone():
    """CAT-K §10.3; the others' means learn nothing, and all probabilities do."""
    means = torch.tensor([[[0.0, 0.0, 1.0, 0.0], [2.0, 0.0, 1.0, 0.0]]], requires_grad=True)
    logits = torch.zeros(1, 2, requires_grad=True)
    motion = torch.tensor([[1.5, 0.0, 0.0]])
    Mixture(logits, means).negative_log_likelihood(motion, hard=True).sum().backward()
    # (2 - 1.5) / scale² with a scale of 1 m.
    assert means.grad[0].tolist() == [[0.0] * 4, [0.5, 0.0, 0.0, 0.0]]
    assert logits.grad[0].tolist() == [0.5, -0.5]
    whole, one = (Mixture(logits, means).negative_log_likelihood(motion, hard=hard) for hard in (False, True))
    assert (one - whole).item() == pytest.approx(math.log(1 + math.exp((0.5**2 - 1.5**2) / 2)), abs=1e-5)


def test_mixture_targets_lead_back_to_the_log():
    """CAT-K: components are followed by their distance from the log; what is learnt leads from there to the log."""
    model = small_model(head="gmm", vocabulary=tiny_vocabulary())
    step = step_of(model, lasting(traffic(), 41), crossing())
    nearest, most_probable = (
        make_objective("gmm_catk", StageOptions(k=k)).prepare(model.network, step) for k in (16, 1)
    )
    goal, known = step.log.goal[:, :, 3:], step.log.goal_valid[:, :, 3:]
    errors = []
    for data in (nearest, most_probable):
        mask = data.mask[:, :, 1:]
        assert torch.equal(mask, known & data.agents.valid[:, :, 1:] & step.log.trained[..., None])
        led = compose(data.agents.pose[:, :, 1:], data.extra["motion"][:, :, 1:])
        assert (led - goal)[mask][:, :2].abs().max() < 1e-3
        behind = (data.agents.pose[:, :, 2:] - goal[:, :, :-1])[..., :2].norm(dim=-1)
        errors.append(float(behind[mask[:, :, :-1]].mean()))
    assert errors[0] < errors[1]
    rolled = make_objective("gmm_perturbation", StageOptions()).prepare(model.network, step)
    taken = rolled.agents.motion[:, :, 2:]
    assert torch.allclose(taken[mask[:, :, :-1]], rolled.extra["motion"][:, :, 1:-1][mask[:, :, :-1]], atol=1e-4)


def test_a_mixture_begins_with_the_scene_encoder_of_a_token_model(tmp_path):
    tokens = small_model(seed=3, vocabulary=tiny_vocabulary())
    tokens.save(tmp_path / "tokens.safetensors", {"by": "test"})
    file = tmp_path / "tokens.safetensors"
    parts = (False, ExampleOptions(), SceneOptions(), 0.25, LoopConfig(seed=5), StageOptions(), tmp_path)
    plan = StagePlan(("gmm",), "nano", file, None, *parts)
    begun = starting_model(plan)
    check_head(plan.stages, begun.network, "tokens.safetensors")
    weights = begun.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in tokens.network.state_dict().items())
    assert {name.split(".")[0] for name in weights.keys() - tokens.network.state_dict().keys()} == {"mixture"}
    assert begun.info == {"encoder": {"by": "test"}}
    assert {part.p for part in begun.network.modules() if isinstance(part, torch.nn.Dropout)} <= {0.25}
    again = starting_model(plan)
    assert all(torch.equal(value, weights[name]) for name, value in again.network.state_dict().items())
    begun.save(tmp_path / "gmm.safetensors")
    on = starting_model(replace(plan, init=tmp_path / "gmm.safetensors"))
    assert all(torch.equal(value, weights[name]) for name, value in on.network.state_dict().items())


@pytest.mark.parametrize(("stage", "head"), [("catk", "tokens"), ("gmm_catk", "gmm")])
def test_stages_and_roll_outs_run_on_any_device(stage, head):
    """No tensor is made on the CPU where the network is elsewhere; the results are the same but for rounding."""

    def results(device: torch.device) -> tuple[float, np.ndarray]:
        model = small_model(head=head, vocabulary=tiny_vocabulary())
        if device == DEVICE:
            move(model.network)
        made = step_of(model, lasting(traffic(), 41))
        step = replace(made, maps=made.maps.to(device), agents=made.agents.to(device), log=made.log.to(device))
        objective = make_objective(stage, StageOptions())
        data = objective.prepare(model.network, step)
        loss = objective.loss(model.network, step, data)
        loss.total.backward()
        return loss.numbers["nll"], model.simulate(traffic(), 1, 0).states

    loss, states = results(torch.device("cpu"))
    with Elsewhere():
        other, others = results(DEVICE)
    assert float(other) == pytest.approx(float(loss), rel=1e-5)
    assert np.allclose(others, states, atol=1e-3)


def test_heads_are_not_confused(tmp_path):
    def begin(stage: str, head: str) -> None:
        check_head([stage], small_model(head=head, vocabulary=tiny_vocabulary()).network, "w.safetensors")

    for stage in STAGES:
        begin(stage, "gmm" if stage.startswith("gmm") else "tokens")
    with pytest.raises(ConfigError, match=r"stage gmm trains a mixture head.*leave --init out, or"):
        begin("gmm", "tokens")
    with pytest.raises(ConfigError, match=r"w\.safetensors has a token head: give --init weights of --stage gmm"):
        begin("gmm_catk", "tokens")
    with pytest.raises(ConfigError, match=r"stage catk trains a token head.*gmm_catk"):
        begin("catk", "gmm")


@pytest.mark.parametrize(("stage", "head"), [("catk", "tokens"), ("mpo", "tokens"), ("gmm_catk", "gmm")])
def test_fine_tuning_trains_what_cat_k_trains(tmp_path, stage, head):
    def trained(**options: bool) -> set[str]:
        model = small_model(vocabulary=tiny_vocabulary(), head=head)
        task = task_in(tmp_path, 1, stage, model, StageOptions(**options))
        return {name.rsplit(".", 1)[0] for name, value in task.network.named_parameters() if value.requires_grad}

    parts = {name.split(".")[0] for name in trained()} - {"mixture"}
    assert parts == {"layers", "token_head"}
    # The embedding of tokens is an input as well; the rest of the head only scores.
    assert not any(name.startswith(("token_head.geometry", "token_head.kind")) for name in trained())
    assert any(name.startswith("mixture") for name in trained()) == (head == "gmm")
    assert {"map_layers.0.query", "past_relation.net.0", "fuse.0"} <= trained(frozen=False)
