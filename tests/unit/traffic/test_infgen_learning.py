"""The InfGen-like model: its losses by hand, and what it learns."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch

from harness.errors import ConfigError
from harness.traffic.infgen.config import InfGenLossOptions
from harness.traffic.infgen.losses import (
    kind_loss,
    leave_loss,
    occupancy_loss,
    place_loss,
    shared_entropy,
    squared_loss,
    state_loss,
    taken_cells,
    total_loss,
)
from harness.traffic.open.decisions import NONE, UNSCORED
from harness.traffic.tokens.layout import layout_tokens
from harness.traffic.training import encoded
from harness.traffic.training.config import LoopConfig, StageOptions
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.decided import of_encoder, sizes_of
from harness.traffic.training.hands import Hand, Share
from harness.traffic.training.infgen import (
    INFGEN_WEIGHTS,
    InfGenCloning,
    InfGenTask,
    LabelOptions,
    asked,
    infgen_losses,
    learnt_from,
)
from harness.traffic.training.loop import train_stage
from harness.traffic.training.recipe import starting_model
from harness.traffic.training.stages import make_objective
from tests.unit.traffic.scenes import OPTIONS, small_infgen, tiny_vocabulary
from tests.unit.traffic.test_rosetta_model import EXAMPLES, busy, plan, step_of
from tests.unit.traffic.test_training import Scenes

LABELS = LabelOptions(InfGenLossOptions())


# ---- losses


def test_classes_have_shares():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    # -log of 1/2 and of 1/4, with the weights .2 and .8.
    wanted = (0.2 * math.log(2) + 0.8 * math.log(4)) / (0.2 + 0.8)
    assert float(shared_entropy(logits, torch.tensor([0, 1]), (0.2, 0.8))) == pytest.approx(wanted)
    assert float(shared_entropy(logits[:0], torch.tensor([], dtype=torch.long), (0.2, 0.8))) == 0


def test_queries_that_are_equal_count_as_often_as_there_are():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    enters, queries = torch.tensor([True, False]), torch.tensor([1, 9])
    # Somebody: .9 · log 2; nobody, nine times: .1 · -log(3/4).
    wanted = (0.9 * math.log(2) + 9 * 0.1 * math.log(4 / 3)) / (0.9 + 0.9)
    assert float(state_loss(logits, enters, queries, InfGenLossOptions())) == pytest.approx(wanted)


def test_losses_of_leaving_types_and_places():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    wanted = (0.8 * math.log(4 / 3) + 0.1 * math.log(2)) / 0.9
    assert float(leave_loss(logits, torch.tensor([1, 0]), InfGenLossOptions())) == pytest.approx(wanted)
    types = torch.zeros(2, 3)
    types[1, 1] = math.log(2.0)
    wanted = (0.8 * math.log(3) + 0.1 * math.log(2)) / 0.9
    assert float(kind_loss(types, torch.tensor([0, 1]), InfGenLossOptions())) == pytest.approx(wanted)
    places = torch.tensor([[math.log(2.0), 0.0, 0.0]])
    wanted = 0.7 * math.log(2) + 0.3 * (math.log(2) + 2 * math.log(4)) / 3
    assert float(place_loss(places, torch.tensor([0]), 0.3)) == pytest.approx(wanted)
    assert float(place_loss(places[:0], torch.tensor([], dtype=torch.long), 0.3)) == 0
    assert float(squared_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]))) == pytest.approx(2.5)
    assert float(squared_loss(torch.zeros(0, 2), torch.zeros(0, 2))) == 0


def test_loss_of_taken_cells():
    grid, known = torch.tensor([[2, 0, 1], [3, 3, NONE]]), torch.tensor([[True, True, False], [True, True, False]])
    taken = taken_cells(grid, known, 4)
    assert taken.tolist() == [[True, False, True, False], [False, False, False, True]]
    # At logit 0 each cell costs log 2, a taken one five times as much: 12 and 8 times over four cells.
    found = occupancy_loss(torch.zeros(2, 4), taken, 5.0, torch.tensor([1, 3]))
    assert float(found) == pytest.approx(math.log(2) * (12 / 4 + 3 * 8 / 4) / 4)


def test_the_total_is_weighted_as_infgens():
    names = ("motion", "leave", "state", "kind", "shape", "place", "taken", "mapped", "heading", "offset")
    parts = {name: torch.tensor(10.0**power) for power, name in enumerate(names)}
    weights = (1, 10, 10, 5, 0.2, 1, 10, 10, 1, 5)
    wanted = sum(weight * 10.0**power for power, weight in enumerate(weights))
    assert float(total_loss(parts, InfGenLossOptions())) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ConfigError, match="spread below 1"):
        InfGenLossOptions(enters=1.0)


def test_queries_of_decisions():
    kind = torch.tensor([[0, 2, NONE], [NONE, NONE, NONE], [1, 1, 1]])
    found = asked(kind, torch.tensor([True, True, False]), 10)
    assert found.decision.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert found.after.tolist() == [0, 1, 2, 0, 0, 1, 2]
    assert found.enters.tolist() == [True, True, False, False, True, True, True]
    assert found.queries.tolist() == [1, 1, 8, 10, 1, 1, 1]
    # As many newcomers as there are queries: none is left to say that nobody enters.
    assert asked(kind[2:], torch.tensor([True]), 3).enters.tolist() == [True] * 3


# ---- what is learnt from


def lesson_of(model, **options):
    step = step_of(model)
    return step, InfGenCloning(**options).prepare(model.network, step)


def test_what_a_scene_teaches():
    model = small_infgen(vocabulary=tiny_vocabulary())
    step, lesson = lesson_of(model)
    batch = lesson.batch
    (row,) = (batch.kind != NONE).any(1).nonzero()[:, 0].tolist()
    names = step.scenes[0].agents
    born = names[batch.newcomer[row].numpy()].tolist()
    assert sorted(born) == [2, 3]
    assert batch.moment[row] == 3
    # At step 20 the first is 30 m ahead and 3.5 m to the left of the road's origin, where the frame's lies 10 m on.
    scene = busy()
    for place, agent in enumerate(born):
        world = np.array([*scene.position[agent, 20, :2], scene.heading[agent, 20]])
        own = layout_tokens(world, np.array([*scene.position[scene.ego, 20, :2], scene.heading[scene.ego, 20]]))
        assert batch.new_grid[row, place] == own.grid
        assert lesson.sizes[row, place].tolist() == pytest.approx(scene.size[agent, 20].tolist())
    entering, decision, pose, others = learnt_from(lesson)
    assert decision[:2].tolist() == [row, row]
    assert entering.grid[:2].tolist() == batch.new_grid[row].tolist()
    # Those who are taken for new stay, are no observers, and do not see themselves.
    companions = lesson.companions
    assert companions.any()
    assert not companions[batch.leaves == UNSCORED].any()
    where = companions.nonzero()
    assert not others[torch.arange(2, len(decision)), where[:, 1]].any()
    assert others[0].tolist() == (batch.grid[row] != NONE).tolist()
    # Everybody's place is within half a cell of its token.
    centres = model.network.cell_poses(entering.grid, entering.observer)
    assert float((centres[:, :2] - pose[:, :2]).abs().max()) < 2.2


def test_losses_of_a_tiny_scene_by_hand():
    """A model that says the same always: everything but motion is known beforehand."""
    model = small_infgen(vocabulary=tiny_vocabulary())
    network = model.network
    with torch.no_grad():
        for head in (network.state_head, network.type_head, network.shape_head, network.leave_head):
            head[-1].weight.zero_()
            head[-1].bias.zero_()
        network.offset_head[-1].weight.zero_()
        network.offset_head[-1].bias.zero_()
        network.type_head[-1].bias.copy_(torch.tensor([math.log(2.0), 0.0, 0.0]))
        for scores in (network.grid, network.yaw, network.agent_cells, network.map_cells):
            scores.query[-1].weight.zero_()
            scores.query[-1].bias.zero_()
    step, lesson = lesson_of(model)
    with torch.no_grad():
        found = {name: float(value) for name, value in infgen_losses(network, step.maps, lesson, LABELS).items()}
    assert found["state"] == pytest.approx(math.log(2))
    assert found["leave"] == pytest.approx(math.log(2))
    # Both newcomers are vehicles.
    assert found["kind"] == pytest.approx(math.log(2))
    assert found["place"] == pytest.approx(math.log(1961), rel=1e-5)
    assert found["heading"] == pytest.approx(math.log(120), rel=1e-5)
    sizes = lesson.sizes[lesson.batch.kind != NONE] - network.newcomer_sizes[0]
    assert found["shape"] == pytest.approx(float(sizes.square().mean()), rel=1e-5)
    entering, _, pose, _ = learnt_from(lesson)
    aside = pose[:, :2] - network.cell_poses(entering.grid, entering.observer)[:, :2]
    assert found["offset"] == pytest.approx(float(aside.square().mean()), rel=1e-4)
    # Every empty cell costs log 2, one with an agent a hundred times that, one on the map five times.
    assert math.log(2) < found["taken"] < 1.3 * math.log(2)
    assert math.log(2) < found["mapped"] < 1.1 * math.log(2)
    assert set(found) == {
        *("motion", "leave", "state", "kind", "shape", "place", "taken", "mapped", "heading", "offset"),
    }


def test_a_query_knows_of_those_before_it_only():
    model = small_infgen(vocabulary=tiny_vocabulary())
    step, lesson = lesson_of(model)
    network, seen = model.network, []
    real = network.ask
    network.ask = lambda around, others, decision, sees: seen.append(sees) or real(around, others, decision, sees)
    with torch.no_grad():
        infgen_losses(network, step.maps, lesson, LABELS)
    (row,) = (lesson.batch.kind != NONE).any(1).nonzero()[:, 0].tolist()
    query = asked(lesson.batch.kind, lesson.batch.ends, 10)
    rows = (query.decision == row).nonzero()[:, 0]
    agents = lesson.batch.grid.shape[1]
    assert seen[0][rows][:, agents:].tolist() == [[False, False], [True, False], [True, True]]
    assert seen[0][rows][:, :agents].tolist() == [(lesson.batch.grid[row] != NONE).tolist()] * 3


def task_of(model, folder, epochs, rate=1e-2, encoder="tuned"):
    scenes = TokenisedScenes(
        Scenes(busy()), model.vocabulary, OPTIONS, folder.parent / "tokens", examples=EXAMPLES, workers=1
    )
    loop = LoopConfig(epochs=epochs, batch=1, learning_rate=rate, warmup=0, average=0.0, patience=epochs)
    folder.mkdir(exist_ok=True)
    objective = InfGenCloning(smoothing=0.0, encoder=encoder)
    return InfGenTask(loop, objective, model.network, OPTIONS, scenes, scenes, folder)


def test_a_tiny_training_lowers_every_part(tmp_path):
    model = small_infgen(vocabulary=tiny_vocabulary())
    task = task_of(model, tmp_path / "run", 25)
    step, lesson = lesson_of(model)
    with torch.no_grad():
        before = infgen_losses(model.network.eval(), step.maps, lesson, LABELS)
    best, rows = train_stage(task, {}, part="infgen")
    assert (tmp_path / "run" / INFGEN_WEIGHTS).is_file()
    assert set(before) < set(rows[-1])
    with torch.no_grad():
        after = infgen_losses(best.network.eval(), step.maps, lesson, LABELS)
    assert [name for name in before if not float(after[name]) < float(before[name])] == []
    # Sizes of newcomers are what the scenes have.
    assert best.network.newcomer_sizes[0].tolist() == pytest.approx(sizes_of(task.train_scenes)[0].tolist())


def test_a_frozen_encoder_gives_the_same_losses(monkeypatch):
    model = small_infgen(vocabulary=tiny_vocabulary())
    with torch.no_grad():
        for value in model.network.parameters():
            value.add_(0.05 * torch.randn_like(value))
    model.network.set_dropout(0.5)
    step, wanted = lesson_of(model)
    objective, seen = InfGenCloning(smoothing=0.0, encoder="frozen"), []
    usual = encoded.encode
    monkeypatch.setattr(encoded, "encode", lambda *about: seen.append(1) or usual(*about))
    with torch.no_grad():
        wanted = infgen_losses(model.network, step.maps, wanted, LABELS)
        for _ in range(2):
            lesson = objective.prepare(model.network.eval(), step)
            found = infgen_losses(model.network, step.maps, lesson, LABELS)
            for name, value in wanted.items():
                assert float(found[name]) == pytest.approx(float(value), rel=1e-4), name
            # In training, too, what is frozen drops nothing: places are asked of layers that drop.
            learnt = objective.loss(model.network.train(), step, lesson).numbers
            for name in ("motion", "leave", "heading", "offset"):
                assert float(learnt[name]) == pytest.approx(float(wanted[name]), rel=1e-4), name
    assert len(seen) == 1


def test_a_frozen_encoder_stays_and_the_rest_learns(tmp_path):
    task = task_of(small_infgen(vocabulary=tiny_vocabulary()), tmp_path / "run", 3, encoder="frozen")
    before = {name: value.clone() for name, value in task.network.named_parameters()}
    _, rows = train_stage(task, {}, part="infgen")
    assert rows[-1]["loss"] < rows[0]["loss"]
    moved = {name for name, value in task.network.named_parameters() if not torch.equal(value, before[name])}
    assert not {name for name in moved if of_encoder(name)}
    assert {
        "newcomer_out.0.weight",
        "cell_in.weight",
        "query_token",
        "token_head.bias",
        "queries.0.map.query.weight",
    } <= moved


def test_a_frozen_encoder_is_asked_for_by_name(tmp_path):
    assert make_objective("infgen", StageOptions(encoder="frozen")).encoder == "frozen"
    frozen = dataclasses.replace(plan(tmp_path), stages=("infgen",), options=StageOptions(encoder="frozen"))
    with pytest.raises(ConfigError, match=r"--options.encoder frozen .*of --stage bc or infgen"):
        starting_model(frozen)


def test_a_worker_takes_a_share(tmp_path):
    task = task_of(small_infgen(vocabulary=tiny_vocabulary()), tmp_path / "run", 1)
    size = sum(value.numel() for value in task.parameters())
    weights = torch.cat([value.detach().flatten() for value in task.network.parameters()])
    gradients = torch.zeros(1, size)
    hand = Hand(pickle.dumps(task), weights, gradients)
    taught = hand(Share(0, (0,), (0, 0, 0)))
    # Its weight is how many motion tokens it learns from; which past tokens are hidden is drawn anew.
    batch = task.taught([0], (0, 0, 0, 0))
    assert taught.decisions == (batch[1].batch.motion != UNSCORED).sum() > 0
    assert taught.numbers["loss"] == pytest.approx(float(task.differentiate(batch).total), rel=0.05)
    assert gradients.isfinite().all()
    assert gradients.any()
