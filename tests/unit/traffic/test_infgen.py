"""The InfGen-like model: its loop of insertion, the traffic that it makes, and its weights on disk."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from harness.checks import check_traffic
from harness.errors import ConfigError, WeightsError
from harness.interfaces import SpawningTraffic
from harness.traffic.infgen import decoding
from harness.traffic.infgen.config import ARCHITECTURE, InfGenConfig, InfGenLossOptions
from harness.traffic.infgen.decoding import InfGenOptions, Insertion
from harness.traffic.infgen.model import InfGenModel
from harness.traffic.infgen.network import Answers, InfGenNetwork
from harness.traffic.infgen.policy import InfGenTraffic
from harness.traffic.infgen.simulator import InfGenSimulator
from harness.traffic.longterm.comparison import compare_long
from harness.traffic.longterm.config import EvaluateLongtermConfig
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.model.config import SIZES
from harness.traffic.open.decisions import NONE
from harness.traffic.open.network import CellScores
from harness.traffic.open.policy import options_of
from harness.traffic.open.weights import read_model
from harness.traffic.rollouts import PolicySimulator
from harness.traffic.rosetta.config import RosettaConfig
from harness.traffic.rosetta.network import RosettaNetwork
from harness.traffic.tokens.layout import LayoutTokens, grid_cells, grid_tokens
from harness.traffic.training.infgen import (
    INFGEN_WEIGHTS,
    LabelOptions,
)
from harness.traffic.training.recipe import run_stages, starting_model
from scenarios.scenario import Kind
from tests.scenes import Agent, lasting, straight_road
from tests.unit.metrics.test_wosac import road
from tests.unit.traffic.scenes import small_infgen, small_model, tiny_vocabulary, traffic
from tests.unit.traffic.test_rosetta_model import busy, plan
from tests.unit.traffic.test_rosetta_policy import roll
from tests.unit.traffic.test_training import Scenes

LABELS = LabelOptions(InfGenLossOptions())


def weights_of(model, folder):
    path = folder / "infgen.safetensors"
    model.save(path)
    return path


@pytest.fixture
def weights(tmp_path):
    return weights_of(small_infgen(vocabulary=tiny_vocabulary()), tmp_path)


# ---- the loop of insertion


def forced(monkeypatch, decision, state, cells=()):
    """Queries that always say the same; `cells` are the most probable ones."""

    def say(features, poses, grid):
        place = torch.zeros(1, 1961)
        place[0, list(cells)] = 50.0
        return Answers(torch.tensor([state]), torch.tensor([[0.0, 0.0, 9.0]]), torch.zeros(1, 3), place)

    monkeypatch.setattr(decision, "_ask", say)


def decision_of(model, grid):
    network = model.network
    with torch.no_grad():
        rollout = model.start(model.tokens(straight_road()))
    count = len(grid)
    made = Insertion(network, network.tables(), rollout.maps, rollout.features[:count])
    poses = np.zeros((count, 3))
    tokens = LayoutTokens(np.array(grid, dtype=int), np.zeros(count, dtype=int), np.ones(count, bool))
    made.look_around(np.arange(4), np.zeros((4, 3)), poses, tokens, np.zeros(3))
    return made


def test_nobody_enters_where_queries_say_so(monkeypatch):
    decision = decision_of(small_infgen(vocabulary=tiny_vocabulary()), [3, NONE])
    forced(monkeypatch, decision, [1.0, 0.0], [7])
    assert decision.newcomers(InfGenOptions(), torch.Generator(), lambda who: True) == []


def test_the_loop_ends_at_its_limit(monkeypatch):
    decision = decision_of(small_infgen(vocabulary=tiny_vocabulary()), [3, NONE])
    forced(monkeypatch, decision, [0.0, 1.0], range(100, 120))
    generator = torch.Generator().manual_seed(0)
    found = decision.newcomers(InfGenOptions(most=4, grid_k=20), generator, lambda who: True)
    assert 1 < len(found) <= 4
    assert len({who.grid for who in found}) == len(found)
    assert {who.kind for who in found} == {2}
    assert all(100 <= who.grid < 120 for who in found)
    # The medians of the type, as the head of shapes adds nothing.
    assert found[0].size.tolist() == pytest.approx(decision.network.newcomer_sizes[2].tolist())
    assert decision.newcomers(InfGenOptions(most=0), generator, lambda who: True) == []


def test_a_taken_cell_costs_a_turn(monkeypatch):
    decision = decision_of(small_infgen(vocabulary=tiny_vocabulary()), [7, 9])
    generator = torch.Generator().manual_seed(0)
    forced(monkeypatch, decision, [0.0, 1.0], [7])
    drawn = []
    real = decoding.draw
    monkeypatch.setattr(decoding, "draw", lambda *given: drawn.append(1) or real(*given))
    assert decision.newcomers(InfGenOptions(grid_k=1), generator, lambda who: True) == []
    # State, type and cell, ten times.
    assert len(drawn) == 30
    # The cell of a newcomer is taken for those after it, and who may not enter ends the loop.
    forced(monkeypatch, decision, [0.0, 1.0], [8])
    assert len(decision.newcomers(InfGenOptions(grid_k=1), generator, lambda who: True)) == 1
    assert decision.newcomers(InfGenOptions(grid_k=1), generator, lambda who: False) == []


def test_the_bias_of_states_dials_density(monkeypatch):
    decision = decision_of(small_infgen(vocabulary=tiny_vocabulary()), [3, NONE])
    forced(monkeypatch, decision, [2.0, 0.0], range(100, 120))
    for bias, some in ((1.9, False), (2.1, True)):
        found = decision.newcomers(InfGenOptions(state_bias=bias), torch.Generator().manual_seed(0), lambda who: True)
        assert bool(found) == some


def test_a_newcomers_pose_by_hand():
    cell = int(grid_tokens(np.array([30.0, -6.0])))
    assert grid_cells()[cell].tolist() == [30.0, -6.0]
    who = decoding.Inserted(0, cell, 10, np.array([1.0, 0.5]), np.ones(3))
    # The observer looks along +y: ahead is +y, left is -x; ten times 3° to the left of it.
    pose = who.pose(np.array([100.0, 50.0, np.pi / 2]))
    assert pose == pytest.approx([105.5, 81.0, np.pi / 2 + np.radians(30)])


def test_with_nobody_and_no_map_a_query_is_answered():
    model = small_infgen(vocabulary=tiny_vocabulary())
    decision = decision_of(model, [])
    none = np.zeros(0, dtype=int)
    decision.look_around(none, np.zeros((0, 3)), np.zeros((0, 3)), LayoutTokens(none, none, none > 0), np.zeros(3))
    found = decision.newcomers(InfGenOptions(state_bias=50.0), torch.Generator().manual_seed(0), lambda who: True)
    assert found
    assert all(np.isfinite(who.pose(np.zeros(3))).all() for who in found)


# ---- the policy


def test_it_keeps_the_contract(weights):
    policy = InfGenTraffic(weights, reserve=6)
    assert isinstance(policy, SpawningTraffic)
    check_traffic(policy, traffic(origin=(7000.0, -12000.0), rotation=0.7))


def test_newcomers_enter_with_sizes_of_their_own_and_move(weights):
    policy = InfGenTraffic(weights, reserve=8, boundary=False, leaving=False)
    states, valid, slots = roll(policy, traffic(), steps=26)
    assert slots.stays
    for who, step in slots.stays:
        assert step in (15, 20, 25)
        assert who.kind == Kind.VEHICLE
        assert min(who.size) >= 0.2
        assert not states[step, who.slot, 3:].any()
    slot, step = slots.stays[0][0].slot, slots.stays[0][1]
    assert valid[step : step + 6, slot].all()


def test_the_same_seed_gives_the_same_traffic(weights):
    first, again, other = (roll(InfGenTraffic(weights), traffic(), seed=seed, steps=22)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_who_leaves_by_its_head_is_removed(tmp_path):
    model = small_infgen(vocabulary=tiny_vocabulary())
    with torch.no_grad():
        model.network.leave_head[-1].weight.zero_()
        model.network.leave_head[-1].bias.copy_(torch.tensor([0.0, 1.0]))
    path = weights_of(model, tmp_path)
    scene = straight_road(extra=[Agent("near", -40.0, 0.0, speed=0.0)])
    for leaving in (True, False):
        gone = roll(InfGenTraffic(path, spawning=False, leaving=leaving), scene, steps=12)[1]
        assert gone[10, 2]
        # Ego and opponent stay whatever the head says.
        assert gone[12].tolist() == [True, True, not leaving]


def test_names_and_options(weights):
    made = make_traffic(f"infgen:{weights}?state_temperature=1&snap=true")
    assert made.options == InfGenOptions(state_temperature=1, snap=True)
    assert (made.path, made.name) == (weights, "infgen")
    with pytest.raises(WeightsError, match="train_traffic --stage infgen"):
        make_traffic("infgen")
    with pytest.raises(ConfigError, match="'type_k' is no option"):
        make_traffic(f"infgen:{weights}?type_k=1")
    with pytest.raises(ConfigError, match="expected counts and temperatures >= 0"):
        make_traffic(f"infgen:{weights}?grid_k=-1")
    with pytest.raises(ConfigError, match="reserve >= 1"):
        options_of("infgen", InfGenOptions, {"reserve": 0})


def test_the_long_evaluation_counts_who_enters(weights):
    scene = lasting(road(Agent("ahead", 20, 0, speed=10.0)), 121)
    open_door, closed = f"infgen:{weights}?reserve=4", f"infgen:{weights}?state_bias=-9"
    config = EvaluateLongtermConfig(traffic=("log", open_door, closed), references=2)
    found = compare_long(config, [scene])["models"]
    assert found[closed]["entries_per_s"] == 0
    assert found[open_door]["entries_per_s"] > 0
    assert found[open_door]["enter_by_ones"] < found["log"]["enter_by_ones"]


def test_eight_seconds_at_once_are_those_of_the_policy(weights):
    scene = straight_road(extra=[Agent("slow", -20.0, 3.5, speed=4.0)])
    at_once = make_simulator(f"infgen:{weights}?temperature=0")
    assert isinstance(at_once, InfGenSimulator)
    found = at_once.simulate(scene, 2, 0)
    policy = InfGenTraffic(weights, temperature=0, spawning=False, boundary=False, leaving=False)
    steps = PolicySimulator(policy).simulate(scene, 1, 0)
    assert found.states.shape == (2, 3, 80, 4)
    assert np.abs(found.states[..., :2] - steps.states[..., :2]).max() < 1e-2
    assert np.ptp(found.states[0, :, :, 0], axis=1).max() > 5


# ---- weights


def test_it_has_as_many_parameters_as_rosetta():
    config = SIZES["nano"]
    networks = (
        InfGenNetwork(config, tiny_vocabulary(), InfGenConfig()),
        RosettaNetwork(config, tiny_vocabulary(), RosettaConfig()),
    )
    own, other = (sum(value.numel() for value in network.parameters()) for network in networks)
    assert abs(own - other) < 0.05 * other


def test_weights_go_round(tmp_path):
    model = small_infgen()
    path = weights_of(model, tmp_path)
    again = InfGenModel.load(path)
    assert again.network.infgen == model.network.infgen
    for name, value in model.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)
    with safe_open(path, "pt") as file:
        assert file.metadata()["architecture"] == ARCHITECTURE
    assert read_model(path, "infgen", ARCHITECTURE).own == model.network.infgen.to_dict()
    with pytest.raises(WeightsError, match="another model"):
        read_model(path, "rosetta", "gauntlet-rosetta-1")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("layers", 300, "0 to 200"),
        ("width", 17, "cannot work"),
        ("width", 32, "do not fit"),
        ("colour", 1, "unknown or missing"),
    ],
)
def test_a_strangers_file_is_checked(tmp_path, field, value, message):
    path = weights_of(small_infgen(), tmp_path)
    with safe_open(path, "pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    header["infgen"] = json.dumps({**json.loads(header["infgen"]), field: value})
    save_file(tensors, path, header)
    with pytest.raises(WeightsError, match=message):
        InfGenModel.load(path)


def test_where_a_plan_starts_and_what_it_leaves(tmp_path):
    base = dataclasses.replace(plan(tmp_path), stages=("infgen",), infgen=InfGenConfig(width=16, layers=1, heads=2))
    encoder = small_model(vocabulary=tiny_vocabulary())
    encoder.save(tmp_path / "smart.safetensors")
    around = starting_model(dataclasses.replace(base, init=tmp_path / "smart.safetensors"))
    assert isinstance(around, InfGenModel)
    assert around.network.infgen.layers == 1
    assert torch.equal(around.network.fuse[0].weight, encoder.network.fuse[0].weight)
    around.save(tmp_path / "own.safetensors")
    own = dataclasses.replace(base, init=tmp_path / "own.safetensors")
    assert torch.equal(starting_model(own).network.query_token, around.network.query_token)
    own = dataclasses.replace(own, loop=dataclasses.replace(own.loop, epochs=1))
    weights, rows = run_stages(own, Scenes(busy()), Scenes(busy()), tmp_path, lambda event: None)
    assert weights == tmp_path / INFGEN_WEIGHTS
    assert InfGenModel.load(weights).info["stages"] == ["infgen"]
    assert len(rows["infgen"]) == 1


def test_scores_of_cells_are_products_with_their_embeddings():
    scores = CellScores(3, 4)
    with torch.no_grad():
        for linear in (scores.key, scores.query[-1]):
            linear.weight.copy_(torch.eye(4))
            linear.bias.zero_()
        scores.query[0].weight.copy_(torch.eye(4))
        scores.query[0].bias.zero_()
        scores.bias.copy_(torch.tensor([0.0, 0.5, 0.0]))
        found = scores(
            torch.tensor([3.0, -1.0, -1.0, -1.0]), torch.tensor([[2.0, 0, 0, 0], [0, 9.0, 0, 0], [1.0, 1, 1, 1]])
        )
    # After the norm the features are √3 and three negative ones, which the ReLU drops; √4 divides.
    assert found.tolist() == pytest.approx([math.sqrt(3), 0.5, math.sqrt(3) / 2], abs=1e-4)
