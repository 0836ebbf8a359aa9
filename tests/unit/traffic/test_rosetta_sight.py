"""Whom RosettaSim sees, in use and in training: around the ego, or around an observer who stands."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harness.errors import ConfigError, WeightsError
from harness.traffic.analysis.config import AttentionConfig
from harness.traffic.analysis.results import attention_result
from harness.traffic.longterm.comparison import compare_long
from harness.traffic.longterm.config import EvaluateLongtermConfig
from harness.traffic.longterm.scene import LongScene
from harness.traffic.make import make_traffic
from harness.traffic.model.batch import join_agents, join_maps
from harness.traffic.observers import WatchedTraffic
from harness.traffic.open.config import DecisionLimits
from harness.traffic.open.decisions import NONE, decisions, watched
from harness.traffic.open.network import UNKNOWN_MOTION, as_they_came
from harness.traffic.open.policy import OpenTraffic
from harness.traffic.open.rollout import OpenRollout
from harness.traffic.papers.config import TrafficTablesConfig
from harness.traffic.rosetta.decoding import RosettaOptions, SequenceDecision, Spawned
from harness.traffic.rosetta.policy import RosettaTraffic
from harness.traffic.tokens.layout import GRID_CELLS, grid_cells, layout_tokens
from harness.traffic.tokens.tokeniser import relative_poses
from harness.traffic.training.config import ExampleOptions, StageOptions
from harness.traffic.training.examples import examples_of
from harness.traffic.training.infgen import InfGenCloning
from harness.traffic.training.sequences import SequenceCloning
from harness.traffic.training.stages import make_objective
from tests.scenes import Agent, lasting, make_scene, straight_road
from tests.unit.traffic.scenes import OPTIONS, small_infgen, small_rosetta, tiny_vocabulary
from tests.unit.traffic.test_infgen_learning import task_of as infgen_task
from tests.unit.traffic.test_rosetta_model import task_of

FAR = Agent("far", -80.0, 0.0, speed=0.0)
"""90 m behind the ego at step 10."""


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "rosetta.safetensors"
    small_rosetta(vocabulary=tiny_vocabulary()).save(path)
    return path


def tokens(scene):
    (made,) = examples_of(scene, tiny_vocabulary(), OPTIONS, ExampleOptions(phases=1))
    return made


def cell_at(x, y):
    return int(np.hypot(*(grid_cells() - (x, y)).T).argmin())


def looked(policy, scene):
    """A policy that has made its first decision."""
    scene = scene.with_reserve(policy.reserve)
    policy.reset(scene, np.random.default_rng(0))
    for step in range(11):
        states = np.stack([scene.states(agent)[step] for agent in range(scene.num_agents)])
        policy.step(step, states, scene.valid[:, step])
    return policy


# ---- the ego


def test_who_is_out_of_sight_is_not_there_for_the_others_either(weights):
    near = Agent("near", -60.0, 0.0, speed=0.0)
    alone, seen = (
        looked(RosettaTraffic(weights), straight_road(extra=[near, *more]))._rollout for more in ((), (FAR,))
    )
    assert not seen.valid[0, 3]
    assert torch.allclose(alone.features[2], seen.features[2])
    everybody = looked(RosettaTraffic(weights, boundary=False), straight_road(extra=[near, FAR]))._rollout
    assert everybody.valid[0, 3]
    assert not torch.allclose(alone.features[2], everybody.features[2])


def test_who_comes_back_in_training_has_no_past_as_in_use():
    network = small_rosetta(vocabulary=tiny_vocabulary()).network
    made = tokens(straight_road(with_opponent=False))
    agents, _ = join_agents([made])
    maps = network.encode_map(join_maps([made], OPTIONS.lanes))
    seen = torch.ones(1, 1, agents.valid.shape[2] + 1, dtype=torch.bool)
    seen[..., 3] = False

    def features(before):
        seen[..., :3] = before
        found, nodes = network(maps, as_they_came(agents, seen))
        return found[nodes.row[0, 3:6, 0]]

    with torch.no_grad():
        assert torch.equal(features(True), features(False))


def test_who_comes_back_in_use_remembers_nothing(weights):
    rollout = looked(RosettaTraffic(weights, reserve=1), straight_road(with_opponent=False))._rollout
    assert isinstance(rollout, OpenRollout)
    pose, here = rollout.pose.clone(), rollout.valid.clone()
    assert rollout._known[0, :2].all()
    rollout.observe(pose, torch.zeros_like(here))
    rollout.observe(pose, here)
    assert rollout._known[0].nonzero()[:, 0].tolist() == [0]


@pytest.mark.parametrize("late", [False, True])
def test_who_comes_into_sight_is_known_as_in_training(weights, late):
    """Motions are those of the vocabulary, so that both have the same ones; the ego drives 5 m in half a second."""
    comers = [
        Agent("always", -60.0, 0.0),
        # 77 m ahead at step 5, 72 m at step 10; 77 m ahead at step 0, 72 m at step 5.
        Agent("comes", 82.0, 0.0, speed=0.0),
        Agent("comes early", 77.0, 0.0, speed=0.0),
        *(Agent(f"from {first}", 5.0 * first, -3.5, speed=0.0, first=first) for first in (3, 5)),
    ]
    if late:
        comers += [Agent(f"from {first}", 5.0 * first, -3.5, speed=0.0, first=first) for first in (8, 10)]
        # At step 8 it is in sight; at step 5 it would have been 76 m ahead.
        comers.append(Agent("from afar", 87.0, 3.5, np.pi, speed=12.0, first=8))
    scene = straight_road(with_opponent=False, extra=comers)
    made = tokens(scene)
    order = [made.agents.tolist().index(agent) for agent in range(scene.num_agents)]
    agents = as_they_came(join_agents([made])[0], torch.as_tensor(watched(made).seen)[None])
    rollout = looked(RosettaTraffic(weights, reserve=1), scene)._rollout
    names, token = np.array(scene.agent_ids), rollout.token[0, : scene.num_agents]
    assert rollout.valid[0, : scene.num_agents].all()
    assert names[token.numpy() == UNKNOWN_MOTION].tolist() == ["comes", *(["from afar"] if late else [])]
    assert torch.equal(token, agents.token[0, order, 1])
    # Tracks that begin later are continued back in training, where others see them before they can in use.
    if not late:
        network = small_rosetta(vocabulary=tiny_vocabulary()).network
        with torch.no_grad():
            features, nodes = network(network.encode_map(join_maps([made], OPTIONS.lanes)), agents)
        assert torch.allclose(rollout.features[: scene.num_agents], features[nodes.row[0, 1, order]], atol=1e-2)


def test_who_is_there_when_an_episode_begins_later_has_come_by_a_motion(weights):
    scene, policy = straight_road(), RosettaTraffic(weights, reserve=1)
    scene = scene.with_reserve(1)
    policy.reset(scene, np.random.default_rng(0))
    policy.step(25, np.stack([scene.states(agent)[25] for agent in range(3)]), scene.valid[:, 25])
    # 5 m in half a second is the fifth token.
    assert policy._rollout.token[0, 0] == 4


def test_who_enters_at_the_border_is_within_sight(weights):
    """Cells that are 75 m away are labels of whoever is seen first a little nearer."""
    scene = straight_road(with_opponent=False)
    policy = looked(RosettaTraffic(weights, snap=False), scene)
    assert policy._cells().all()
    x, y, heading = policy._observer
    assert heading == 0.0
    edge = np.array(policy._placed(Spawned(0, cell_at(-45.0, 60.0), 30)))
    assert edge == pytest.approx([x - 0.6 * 74.8, y + 0.8 * 74.8, np.pi / 2], abs=0.02)
    assert policy._enterable(edge[None])[0]
    inside = policy._placed(Spawned(0, cell_at(72.0, 0.0), 0))
    assert inside == pytest.approx([x + 72.0, y, 0.0])


def test_cells_that_reach_into_an_area_are_open(weights):
    policy = RosettaTraffic(weights, snap=False)
    policy.watch(np.array([0.0, 0.0, 0.0]), np.array([(-10.0, -10.0), (10.0, -10.0), (10.0, 10.0), (-10.0, 10.0)]))
    policy.reset(straight_road().with_reserve(policy.reserve), np.random.default_rng(0))
    allowed = policy._cells()
    # Rows of cells are 3 m apart: 12 m is 2 m beyond the border, and 2.2 m beyond what is surely seen.
    assert allowed[cell_at(9.0, 9.0)]
    assert not allowed[cell_at(12.0, 0.0)]
    policy.watch(np.array([0.0, 0.0, 0.0]), np.array([(-11.0, -11.0), (11.0, -11.0), (11.0, 11.0), (-11.0, 11.0)]))
    policy.reset(straight_road().with_reserve(policy.reserve), np.random.default_rng(0))
    allowed = policy._cells()
    assert allowed[cell_at(12.0, 3.0)]
    assert policy._placed(Spawned(0, cell_at(12.0, 3.0), 0)) == pytest.approx([10.8, 3.0, 0.0])
    assert allowed[cell_at(12.0, 12.0)]
    assert not allowed[cell_at(15.0, 0.0)]


def test_a_lane_out_of_sight_catches_nobody(weights):
    policy = looked(RosettaTraffic(weights), straight_road(with_opponent=False))
    aside = cell_at(0.0, 72.0)
    # The nearest lane is at 0 m: 74.5 m from the first observer; 74.95 m from the second, nearer to 75 m than a step's
    # error.
    for y, entered in ((-74.5, 0.0), (-74.95, -2.95)):
        policy._observer = np.array([0.0, y, 0.0])
        assert policy._placed(Spawned(0, aside, 0)) == pytest.approx([0.0, entered, 0.0])


def test_newcomers_are_drawn_from_some_cells_only():
    network = small_rosetta(vocabulary=tiny_vocabulary()).network
    with torch.no_grad():
        network.type_head[-1].bias.copy_(torch.tensor([9.0, -9.0, -9.0, -9.0]))
        decision = SequenceDecision(network, network.tables(), torch.zeros(0, 16))
    nothing = layout_tokens(np.zeros((0, 3)), np.zeros(3))
    decision.look_around(torch.zeros(0, 16), nothing, nothing)
    cells = torch.zeros(GRID_CELLS, dtype=torch.bool)
    for k in (0, 1, 5):
        options, generator = RosettaOptions(grid_k=k, most=3), torch.Generator().manual_seed(0)
        assert decision.newcomers(options, generator, lambda who: True, cells) == []
        cells[[7, 70]] = True
        found = decision.newcomers(options, generator, lambda who: True, cells)
        assert {who.grid for who in found} <= {7, 70}
        assert len(found) == 3
        cells[[7, 70]] = False


@pytest.mark.parametrize(
    ("option", "says"),
    [("spawning=no", "true or false"), ("top_k=2.5", "whole number"), ("temperature=hot", "a number")],
)
def test_options_are_of_their_type(weights, option, says):
    with pytest.raises(ConfigError, match=says):
        make_traffic(f"rosetta:{weights}?{option}")


# ---- an observer who stands


def stood(policy, observer, area, scene, steps=60):
    """Everybody's places [T, A, 2] and presence [T, A] around a fixed observer, and the policy."""
    policy.watch(np.asarray(observer, dtype=float), np.asarray(area, dtype=float))
    scene = scene.with_reserve(policy.reserve)
    states = np.stack([scene.states(agent)[0] for agent in range(scene.num_agents)])
    valid = scene.valid[:, 0].copy()
    policy.reset(scene, np.random.default_rng(0))
    places, there = [states[:, :2]], [valid]
    for step in range(steps):
        states, valid = policy.step(step, states, valid)
        valid[scene.ego] = False
        places.append(states[:, :2])
        there.append(valid)
    return np.stack(places), np.stack(there)


def test_a_fixed_observer_sees_its_area_and_newcomers_enter_nowhere_else(weights):
    scene = lasting(straight_road(extra=[Agent("aside", 40.0, -3.5, speed=0.0)]), 61)
    policy = RosettaTraffic(weights, reserve=8, overlap_ends=False, extremes=False, grid_k=0, type_temperature=5.0)
    area = [(0.0, -20.0), (30.0, -20.0), (30.0, 20.0), (0.0, 20.0)]
    places, there = stood(policy, (20.0, 0.0, np.pi / 2), area, scene)
    assert isinstance(policy, WatchedTraffic)
    assert isinstance(policy, OpenTraffic)
    born = there[1:] & ~there[:-1]
    born[:, : policy._first] = False
    assert born.any()
    x, y = places[1:][born].T
    assert (x > 0).all()
    assert (x < 30).all()
    assert (np.abs(y) < 20).all()
    # At 40 m, outside of the area: near enough for the ego, but not seen here.
    assert there[10, 2]
    assert not there[12, 2]
    assert np.array_equal(policy._observer, (20.0, 0.0, np.pi / 2))
    # The layout is that of its frame: what lies 10 m north of it lies ahead.
    ahead = layout_tokens(np.array([20.0, 10.0, np.pi / 2]), policy._observer)
    assert grid_cells()[ahead.grid].tolist() == [9.0, 0.0]
    assert ahead.yaw == 0
    policy.watch(None, None)
    looked(policy, scene)
    assert policy._observer[0] == pytest.approx(scene.states(scene.ego)[10, 0])


def test_long_roll_outs_tell_who_watches(weights, monkeypatch):
    scene = lasting(straight_road(extra=[Agent("ahead", 20.0, 0.0)]), 121)
    policy, told = RosettaTraffic(weights, reserve=4), []
    monkeypatch.setattr(RosettaTraffic, "watch", lambda self, *who: told.append(who) or _watch(self, *who))
    for observer in ("middle", "ego"):
        LongScene.of(scene, 121, observer).roll_out(policy, 0)
    (middle, area), (nobody, everything) = told
    assert middle[2] == 0.0
    assert np.asarray(area).shape[1] == 2
    assert (nobody, everything) == (None, None)


_watch = RosettaTraffic.watch


def test_an_observer_who_stands_teaches_with_the_ego_as_one_of_many():
    scene = make_scene(
        [
            Agent("ego", 0.0, 0.0, speed=30.0, last=60),
            Agent("ahead", 150.0, 0.0, speed=0.0, last=60),
            Agent("behind", 0.0, 3.5, speed=0.0, last=60),
        ],
        straight_road(rotation=0.5).features,
        steps=61,
        opponent=None,
    )
    found = tokens(scene)
    ego, ahead, behind = (found.agents.tolist().index(number) for number in range(3))
    view = watched(found, "middle")
    # From 0 to 180 m and from 0 to 3.5 m: the middle is at 90 m, in the world's frame.
    place = relative_poses(np.array([90.0, 1.75, 0.0]), found.frame)
    assert np.allclose(view.observer, place, atol=1e-4)
    assert not view.own.any()
    # The ego is 75 m away at half a second, the one ahead is 60 m away, the one behind 90 m.
    assert view.there[ego, :8].tolist() == [False, False] + [True] * 6
    assert view.there[ahead].all()
    assert not view.there[behind].any()
    made = decisions(found, DecisionLimits(), observer="middle")
    assert made.kind[0, 0] == 0
    assert (made.kind != NONE).sum() == 1
    born = relative_poses(found.goal[ego, 2].astype(float), place)
    assert np.hypot(*(grid_cells()[made.new_grid[0, 0]] - born[:2])) < 1.5 * np.sqrt(2)
    # Around the ego nobody is new but the one that it comes near to.
    assert decisions(found, DecisionLimits()).kind[0, 0] == NONE
    assert not watched(dataclasses.replace(found, ego=np.zeros_like(found.ego))).own.any()


@pytest.mark.parametrize(("name", "made"), [("rosetta", small_rosetta), ("infgen", small_infgen)])
def test_weights_say_around_whom_they_were_trained(tmp_path, name, made):
    model, path = made(vocabulary=tiny_vocabulary()), tmp_path / "weights.safetensors"
    spec = f"{name}:{path}"
    for observer, other in (("middle", "ego"), ("ego", "middle")):
        model.observer = observer
        model.save(path, {})
        assert type(model).load(path).observer == observer
        assert make_traffic(spec, observer).trained_observer == observer
        with pytest.raises(
            ConfigError, match=rf"trained around .* \(--options.observer {observer}\), and here .* watches"
        ):
            make_traffic(spec, other)
        assert make_traffic(f"{spec}?elsewhere=true", other).trained_observer is None
    model.observer = None
    model.save(path)
    for observer in ("ego", "middle"):
        assert make_traffic(spec, observer).trained_observer is None
    model.observer = "moon"
    model.save(path)
    with pytest.raises(WeightsError, match="observer in its header is 'moon', expected one of ego, middle"):
        make_traffic(spec)


def test_training_leaves_the_observer_with_the_weights(tmp_path):
    for make, objective in (
        (task_of, SequenceCloning(observer="middle")),
        (infgen_task, InfGenCloning(observer="middle")),
    ):
        made = small_rosetta if make is task_of else small_infgen
        task = make(made(vocabulary=tiny_vocabulary()), tmp_path / made.__name__, epochs=1)
        task.objective = objective
        assert task.model(task.network.state_dict(), 0, 0.0).observer == "middle"


def test_who_judges_looks_from_where_it_was_trained(tmp_path):
    model, path = small_rosetta(vocabulary=tiny_vocabulary()), tmp_path / "rosetta.safetensors"
    model.observer = "middle"
    model.save(path)
    with pytest.raises(ConfigError, match=r"here the ego watches.*elsewhere=true"):
        compare_long(EvaluateLongtermConfig(traffic=(f"rosetta:{path}",)), [])
    with pytest.raises(ConfigError, match=r"give --observer as it was trained"):
        attention_result(AttentionConfig(weights=(path,)), lambda what: [])
    with pytest.raises(ConfigError, match=r"--options\.observer middle and --longterm.observer ego"):
        TrafficTablesConfig(table=("rosetta_long",), options=StageOptions(observer="middle"))
    assert TrafficTablesConfig(table=("rosetta_tunable",), options=StageOptions(observer="middle"))


def test_the_stage_takes_an_observer():
    assert make_objective("rosetta", StageOptions(decisions=3, observer="middle")).observer == "middle"
    assert make_objective("rosetta", StageOptions()).observer == "ego"
