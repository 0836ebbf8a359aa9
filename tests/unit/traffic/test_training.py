"""Objectives, the loop, resumption."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harness.errors import RunError, UnknownNameError
from harness.fitting.checkpoint import read_state, write_state
from harness.traffic.model.batch import join_agents, join_maps
from harness.traffic.tokens.scene import tokenise_scene
from harness.traffic.training.closed_loop import STRATEGIES, ClosedLoop, Strategy, pick_tokens
from harness.traffic.training.config import LoopConfig, StageOptions
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.imitation import BehaviourCloning, label_table
from harness.traffic.training.loop import TrafficTask, settings_of, train_stage
from harness.traffic.training.objective import Step
from harness.traffic.training.stages import STAGES, make_objective, stages_of
from scenarios.scenario import Scenario
from tests.scenes import crossing, lasting
from tests.unit.traffic.scenes import OPTIONS, small_model, tiny_vocabulary, traffic


class Scenes:
    def __init__(self, *scenes: Scenario) -> None:
        self.scenes = scenes
        self.ids = tuple(s.id for s in scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scenario:
        return self.scenes[index]


def two_scenes() -> Scenes:
    return Scenes(dataclasses.replace(traffic(), id="a"), dataclasses.replace(crossing(), id="b"))


def step_of(model, *scenes: Scenario) -> Step:
    tokens = [tokenise_scene(s, model.vocabulary, OPTIONS, training=True) for s in scenes]
    agents, log = join_agents(tokens)
    return Step(
        join_maps(tokens, OPTIONS.lanes), agents, log, tokens, lambda k: scenes[k], torch.Generator().manual_seed(0)
    )


def test_cross_entropy_raises_the_label():
    model = small_model()
    step = step_of(model, traffic())
    objective = BehaviourCloning(smoothing=0.0)
    before = objective.loss(model.network, step, objective.prepare(model.network, step))
    before.total.backward()
    with torch.no_grad():
        for value in model.network.parameters():
            if value.grad is not None:
                value -= 0.02 * value.grad
    after = objective.loss(model.network, step, objective.prepare(model.network, step))
    assert after.total < before.total


def test_soft_labels_go_to_similar_motions():
    model = small_model()
    token, kinds = torch.tensor([0, 5]), torch.tensor([0, 1])
    labels = label_table(model.network, 0.1, 0.1)[kinds, token]
    assert torch.allclose(labels.sum(-1), torch.ones(2), atol=1e-5)
    assert (labels.argmax(-1) == token).all()
    ends = model.network.motions[0, :, -1]
    near = (ends[:, :2].norm(dim=-1) < 0.15) & (ends[:, 2].abs() < 0.05)
    assert labels[0][near].sum() > 0.95
    assert labels[0].max() == pytest.approx(0.9, abs=0.06)
    even = label_table(model.network, 0.1, 0.0)[kinds, token]
    assert even[0, 7].item() == pytest.approx(0.1 / 1024)


# ---- closed loop


def test_strategies_pick_as_they_say():
    logits = torch.tensor([[9.0, 8.0, 7.0, 0.0, 0.0, 0.0]])
    distance = torch.tensor([[3.0, 2.0, 4.0, 0.1, 0.2, 9.0]])
    known, generator = torch.tensor([True]), torch.Generator().manual_seed(0)

    def seen(strategy: Strategy) -> set[int]:
        return {int(pick_tokens(strategy, logits, distance, known, generator)) for _ in range(200)}

    assert seen(Strategy(k=3)) == {1}
    assert seen(Strategy(k=2, criterion="distance", pick="uniform")) == {3, 4}
    assert seen(Strategy(k=3, pick="uniform")) == {0, 1, 2}
    assert seen(Strategy(k=3, pick="uniform", reach=2.5)) == {1}
    assert seen(Strategy(k=3, pick="uniform", reach=0.01)) == {1}
    assert 0 in seen(Strategy(k=3, pick="prob"))
    assert seen(Strategy(k=6, pick="distance", softness=0.01)) == {3}


def test_cat_k_with_all_tokens_follows_the_log():
    model = small_model()
    step = step_of(model, traffic())
    data = ClosedLoop("catk", Strategy(k=1024)).prepare(model.network, step)
    gap = data.agents.pose[..., :2] - step.log.goal[:, :, 1:-1, :2]
    live = data.agents.valid & step.log.goal_valid[:, :, 1:-1]
    assert gap.norm(dim=-1)[live].max() < 0.4
    assert data.mask[:, :, 0].sum() == 0
    assert data.mask[:, :, 1].all()
    # What is learnt is what was followed, when every token is a candidate.
    assert torch.equal(
        data.agents.token[:, :, 2:][data.mask[:, :, 1:-1]], data.token[:, :, 1:-1][data.mask[:, :, 1:-1]]
    )


def test_cat_k_targets_lead_back_to_the_log():
    model = small_model()
    step = step_of(model, traffic())
    data = ClosedLoop("catk", Strategy(k=1)).prepare(model.network, step)
    followed, target = data.agents.token[:, :, 2:], data.token[:, :, 1:-1]
    mask = data.mask[:, :, 1:-1]
    assert (followed != target)[mask].any()
    rolled = ClosedLoop("x", Strategy(k=1, target="rollout")).prepare(model.network, step)
    assert torch.equal(rolled.agents.token[:, :, 2:], rolled.token[:, :, 1:-1])


def test_scenes_of_any_length_share_a_batch():
    model = small_model()
    scenes = [lasting(traffic(), 21), crossing(), lasting(crossing(), 199)]
    objective = BehaviourCloning(smoothing=0.0)

    def nll(*scenes: Scenario) -> tuple[float, int]:
        step = step_of(model, *scenes)
        with torch.no_grad():
            data = objective.prepare(model.network, step)
            return float(objective.loss(model.network, step, data).total), int(data.mask.sum())

    alone = [nll(scene) for scene in scenes]
    loss, count = nll(*scenes)
    assert [tokens for _, tokens in alone] == sorted(tokens for _, tokens in alone)
    assert count == sum(tokens for _, tokens in alone)
    assert loss == pytest.approx(sum(mean * tokens for mean, tokens in alone) / count, rel=1e-5)


@pytest.mark.parametrize("name", [*STRATEGIES])
def test_every_closed_loop_stage_gives_gradients(name):
    model = small_model()
    step = step_of(model, lasting(traffic(), 41), crossing())
    objective = ClosedLoop(name, STRATEGIES[name])
    data = objective.prepare(model.network, step)
    objective.loss(model.network, step, data).total.backward()
    assert model.network.layers[0].past.query.weight.grad.abs().sum() > 0
    assert model.network.piece_kind.weight.grad is None


# ---- the loop


def task_in(folder, epochs, stage="bc", model=None, of_stage=None, **options):
    source = two_scenes()
    model = model or small_model(vocabulary=tiny_vocabulary())
    scenes = TokenisedScenes(source, model.vocabulary, OPTIONS, folder / "tokens")
    config = LoopConfig(epochs=epochs, batch=1, learning_rate=5e-3, warmup=2, device="cpu", **options)
    folder.mkdir(exist_ok=True)
    objective = make_objective(stage, of_stage or StageOptions())
    return TrafficTask(config, objective, model.network, OPTIONS, scenes, scenes, folder)


@pytest.mark.parametrize("stage", ["bc", "mpo", "distil"])
def test_resuming_equals_going_on(tmp_path, stage):
    straight, rows = train_stage(task_in(tmp_path / "a", 2, stage), {}, part=stage)
    _, first = train_stage(task_in(tmp_path / "b", 2, stage, minutes=1e-9), {}, part=stage)
    assert len(first) == 1
    resumed, again = train_stage(task_in(tmp_path / "b", 2, stage), {}, part=stage)
    for name, value in straight.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert [row["val"] for row in rows] == [row["val"] for row in again]
    assert [row["loss"] for row in rows] == [row["loss"] for row in again]


def test_other_settings_weights_and_scenes_are_refused(tmp_path):
    train_stage(task_in(tmp_path / "a", 1), {"smoothing": 0.1}, part="bc")
    with pytest.raises(RunError, match="seed was 0 and is 3"):
        train_stage(task_in(tmp_path / "a", 1, seed=3), {"smoothing": 0.1}, part="bc")
    with pytest.raises(RunError, match=r"options\.smoothing was 0\.1"):
        train_stage(task_in(tmp_path / "a", 1), {"smoothing": 0.2}, part="bc")
    stranger = small_model(vocabulary=tiny_vocabulary())
    with torch.no_grad():
        next(stranger.network.parameters()).add_(1.0)
    with pytest.raises(RunError, match="start was"):
        train_stage(task_in(tmp_path / "a", 1, model=stranger), {"smoothing": 0.1}, part="bc")
    other = task_in(tmp_path / "a", 1)
    other.train_scenes.entries.pop()
    with pytest.raises(RunError, match=r"held_out was.*scenes was"):
        train_stage(other, {"smoothing": 0.1}, part="bc")


def test_options_that_a_checkpoint_does_not_know_are_not_compared(tmp_path):
    train_stage(task_in(tmp_path / "a", 1), {}, part="bc")
    file = tmp_path / "a" / "checkpoint.safetensors"
    state = read_state(file, torch.device("cpu"))
    state["config"] = dataclasses.asdict(task_in(tmp_path / "a", 1).config)
    write_state(file, state)
    assert len(train_stage(task_in(tmp_path / "a", 2), {}, part="bc")[1]) == 2
    with pytest.raises(RunError, match="weight_decay"):
        train_stage(task_in(tmp_path / "a", 3, weight_decay=0.5), {}, part="bc")


def test_a_tiny_model_learns_two_scenes(tmp_path):
    """Cloning must bring the negative log-likelihood of two scenes far below chance (log 8 = 2.1)."""
    task = task_in(tmp_path / "a", 16, average=0.5)
    start = task.evaluate(0)["val"]
    _, rows = train_stage(task, {}, part="bc")
    assert start > 1.0
    assert rows[-1]["best"] < 0.4 * start


def test_stages_have_learning_rates_of_their_own():
    rates = {name: settings_of(LoopConfig(), make_objective(name, StageOptions())).rate for name in ("bc", "catk")}
    assert rates == {"bc": 1e-3, "catk": 1e-4}
    assert settings_of(LoopConfig(learning_rate=0.5), make_objective("catk", StageOptions())).rate == 0.5


def test_scenes_are_tokenised_once(tmp_path):
    model = small_model()
    scenes = TokenisedScenes(two_scenes(), model.vocabulary, OPTIONS, tmp_path, mirror=True)
    assert len(scenes) == 20
    assert scenes.per_epoch == 4
    files = sorted(path.name for path in scenes.folder.iterdir())
    assert len(files) == 4
    again = TokenisedScenes(two_scenes(), model.vocabulary, OPTIONS, tmp_path, mirror=True)
    assert np.array_equal(again[1].poses, scenes[1].poses)
    assert again.scenario(5).id.endswith("-mirrored")
    slow = dataclasses.replace(traffic(), id="slow", dt=0.5)
    mixed = TokenisedScenes(Scenes(slow, traffic()), model.vocabulary, OPTIONS, tmp_path)
    assert mixed.rejected[0][0] == "slow"
    valid = traffic().valid & (np.arange(91) <= 10)
    gone = dataclasses.replace(traffic(), id="gone", valid=valid)
    for _ in range(2):  # Nothing of it is kept, so that it is refused again.
        mixed = TokenisedScenes(Scenes(gone, traffic()), model.vocabulary, OPTIONS, tmp_path, mirror=True)
        assert mixed.rejected == [("gone", "nobody to learn from is there after the current step")]
        assert mixed.per_epoch == 2
    with pytest.raises(RunError, match="none of"):
        TokenisedScenes(Scenes(slow), model.vocabulary, OPTIONS, tmp_path)


def test_stage_names():
    assert stages_of("sft-rft-sft") == ("catk", "mpo", "catk")
    assert stages_of("bc") == ("bc",)
    with pytest.raises(UnknownNameError, match="catk"):
        stages_of("catkk")
    for name in STAGES:
        assert make_objective(name, StageOptions()).name == name
