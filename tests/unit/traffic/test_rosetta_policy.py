"""RosettaSim as the background: who enters and leaves, and each heuristic with its switch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.checks import check_traffic
from harness.errors import ConfigError, WeightsError
from harness.geometry import boxes_overlap
from harness.interfaces import SpawningTraffic
from harness.traffic.make import make_roller, make_traffic
from harness.traffic.model.batch import join_agents, join_maps
from harness.traffic.open.decoding import EXTREME, extreme
from harness.traffic.open.network import UNKNOWN_MOTION
from harness.traffic.open.rollout import OpenRollout
from harness.traffic.rollouts import PolicySimulator
from harness.traffic.rosetta.decoding import RosettaOptions, Spawned
from harness.traffic.rosetta.model import SHIPPED
from harness.traffic.rosetta.policy import RosettaTraffic
from harness.traffic.slots import Slots
from harness.traffic.tokens.layout import grid_cells
from harness.traffic.tokens.scene import tokenise_scene
from scenarios.scenario import Kind
from tests.scenes import Agent, straight_road
from tests.unit.traffic.scenes import OPTIONS, small_rosetta, tiny_vocabulary, traffic

EGO, OPPONENT = 0, 1


def weights_of(model, folder):
    path = folder / "rosetta.safetensors"
    model.save(path)
    return path


@pytest.fixture
def weights(tmp_path):
    return weights_of(small_rosetta(vocabulary=tiny_vocabulary()), tmp_path)


def roll(policy, scene, steps=60, seed=0):
    """States [T, A, 5], validity [T, A] and everybody's stays; ego and opponent follow the log."""
    scene = scene.with_reserve(policy.reserve)
    slots = Slots(scene, policy.reserve)
    logs = np.stack([scene.states(agent) for agent in range(scene.num_agents)])
    states, valid = logs[:, 0].copy(), scene.valid[:, 0].copy()
    policy.reset(scene, np.random.default_rng(seed))
    history, presence = [states], [valid]
    for step in range(steps):
        states, present = policy.step(step, states, valid)
        states[[EGO, OPPONENT]], present[[EGO, OPPONENT]] = logs[[EGO, OPPONENT], step + 1], True
        slots.enter(policy.spawned(), step + 1, present, valid)
        valid = present
        history.append(states)
        presence.append(valid)
    return np.stack(history), np.stack(presence), slots


def entries(policy, scene, **changes):
    return len(roll(policy, scene, **changes)[2].stays)


def test_it_keeps_the_contract(weights):
    policy = RosettaTraffic(weights, reserve=6)
    assert isinstance(policy, SpawningTraffic)
    for scene in (traffic(), traffic(origin=(7000.0, -12000.0), rotation=0.7)):
        check_traffic(policy, scene)


def test_newcomers_enter_at_decisions_and_move_by_tokens(weights):
    policy = RosettaTraffic(weights, reserve=8, overlap_ends=False, boundary=False, extremes=False)
    states, valid, slots = roll(policy, traffic())
    assert slots.stays
    tokens = tiny_vocabulary().motions[0, :, 1:, :2].astype(float)
    for who, step in slots.stays:
        assert step >= 15
        assert step % 5 == 0
        assert who.kind == Kind.VEHICLE
        assert who.size == pytest.approx((4.8, 2.0, 1.6))
        assert not states[step, who.slot, 3:].any()
        if step < 55:
            assert valid[step : step + 6, who.slot].all()
            x, y, heading = states[step, who.slot, :3]
            offset = states[step + 1 : step + 6, who.slot, :2] - (x, y)
            turned = offset @ np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
            assert np.abs(turned[None] - tokens).max((1, 2)).min() < 1e-4


def test_the_same_seed_gives_the_same_traffic(weights):
    first, again, other = (roll(RosettaTraffic(weights), traffic(), seed=seed, steps=30)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nobody_enters_without_spawning_and_the_log_goes_on(weights):
    late = straight_road(extra=[Agent("late", -20.0, 3.5, 0.0, 8.0, first=22)])
    policy = RosettaTraffic(weights, spawning=False)
    assert policy.reserve == 0
    assert roll(policy, late, steps=30)[1][30, 2]
    closed = RosettaTraffic(weights, most=0)
    assert not roll(closed, late, steps=30)[1][30, 2]


def test_the_temperature_of_types_dials_density(tmp_path):
    model = small_rosetta(vocabulary=tiny_vocabulary())
    with torch.no_grad():
        model.network.type_head[-1].bias.copy_(torch.tensor([0.0, -9.0, -9.0, 2.0]))
    path = weights_of(model, tmp_path)
    scene = traffic()
    counts = [
        sum(
            entries(
                RosettaTraffic(path, type_temperature=heat, overlap_ends=False, boundary=False), scene, steps=40, seed=k
            )
            for k in range(3)
        )
        for heat in (0.0, 1.0, 20.0)
    ]
    assert counts[0] == 0
    assert counts[0] < counts[1] < counts[2]


def test_a_newcomer_begins_without_a_motion_and_without_its_predecessors_past(weights):
    policy = RosettaTraffic(weights, reserve=2)
    scene = traffic().with_reserve(2)
    logs = np.stack([scene.states(agent) for agent in range(scene.num_agents)])
    policy.reset(scene, np.random.default_rng(0))
    rollout = policy._rollout
    rollout._known[:] = True
    rollout.enter(5, 2, torch.tensor([2.0, 0.6, 1.7]))
    assert rollout.kinds[0, 5] == 2
    assert rollout.sizes[0, 5].tolist() == pytest.approx([2.0, 0.6, 1.7])
    assert not rollout._known[5].any()
    pose = torch.as_tensor(logs[:, 10, :3], dtype=torch.float32)[None]
    here = torch.ones(1, scene.num_agents, dtype=torch.bool)
    rollout.observe(pose, here)
    assert (rollout.token[0] == UNKNOWN_MOTION).nonzero()[:, 0].tolist() == [5]
    rollout.observe(pose, here)
    assert (rollout.token >= 0).all()


def test_who_enters_a_row_remembers_nothing_of_who_was_there():
    model = small_rosetta(vocabulary=tiny_vocabulary())
    tokens = tokenise_scene(straight_road(), model.vocabulary, OPTIONS)
    maps = model.network.encode_map(join_maps([tokens], OPTIONS.lanes))

    def seen(way, newcomers):
        rollout = OpenRollout(model.network, maps, join_agents([tokens])[0].first(2))
        where = rollout.pose.clone()
        rollout.advance(torch.full_like(rollout.token, way))
        for row in newcomers:
            rollout.enter(row, 2, torch.tensor([1.8, 0.6, 1.7]))
        rollout.observe(where, rollout.valid)
        assert (rollout.token[0] == UNKNOWN_MOTION).nonzero()[:, 0].tolist() == newcomers
        assert (rollout.kinds[0] == 2).nonzero()[:, 0].tolist() == newcomers
        return rollout.features

    assert torch.equal(seen(1, [0, 1]), seen(2, [0, 1]))
    assert not torch.equal(seen(1, [1])[0], seen(2, [1])[0])


def test_overlap_ends_the_newcomers(weights):
    scene = traffic()
    for ends in (True, False):
        policy = RosettaTraffic(weights, overlap_ends=ends, type_temperature=50.0, boundary=False, extremes=False)
        states, valid, slots = roll(policy, scene, steps=30)
        sizes, hits = slots.sizes, 0
        for who, step in slots.stays:
            there = valid[step].copy()
            there[who.slot] = False
            # The ego has moved on a little since the policy looked.
            there[[EGO, OPPONENT]] = False
            pose = np.broadcast_to(states[step, who.slot, :3], (there.sum(), 3))
            size = np.broadcast_to(sizes[who.slot], (there.sum(), 2))
            hits += boxes_overlap(pose, size, states[step, there, :3], sizes[there]).any()
        # The untrained model has but one place that it likes.
        assert (hits > 0) != ends


def test_vehicles_enter_on_centre_lines(weights):
    cell = int(np.hypot(*(grid_cells() - (30.0, 0.0)).T).argmin())
    scene = straight_road()
    for snap, side in ((True, 0.0), (False, 1.0)):
        policy = RosettaTraffic(weights, snap=snap)
        policy.reset(scene.with_reserve(policy.reserve), np.random.default_rng(0))
        policy._observer = np.array([10.0, 1.0, 0.0])
        assert policy._placed(Spawned(0, cell, 0)) == pytest.approx([40.0, side, 0.0])
        # A pedestrian stays where it is.
        assert policy._placed(Spawned(1, cell, 0)) == pytest.approx([40.0, 1.0, 0.0])


def test_who_is_out_of_the_observers_sight_is_removed(weights):
    scene = straight_road(extra=[Agent("far", -80.0, 0.0, speed=0.0), Agent("near", -40.0, 0.0, speed=0.0)])
    gone = roll(RosettaTraffic(weights, spawning=False, extremes=False), scene, steps=12)[1][12]
    assert gone[2:].tolist() == [False, True]
    kept = roll(RosettaTraffic(weights, spawning=False, extremes=False, boundary=False), scene, steps=12)[1][12]
    assert kept[2:].all()


def test_impossible_motions_by_hand():
    # Half a second at 10 m/s, then at 15.1 (10.2 m/s² more), at 14.9, and backwards from it.
    before = torch.tensor([[5.0, 0.0, 0.0]] * 3)
    motion = torch.tensor([[7.55, 0.0, 0.0], [7.45, 0.0, 0.0], [2.4, 0.0, 0.0]])
    assert EXTREME == 10.0
    assert extreme(motion, before, torch.tensor([True, True, True])).tolist() == [True, False, True]
    assert not extreme(motion, before, torch.tensor([False, False, False])).any()


def test_who_makes_an_impossible_motion_is_removed(weights):
    # Nobody can go on as the one that races does: the fastest token has 12 m/s.
    scene = straight_road(extra=[Agent("racer", -60.0, 3.5, speed=30.0)])
    for extremes in (True, False):
        policy = RosettaTraffic(weights, spawning=False, extremes=extremes)
        assert roll(policy, scene, steps=12)[1][12, 2] != extremes


def test_without_an_ego_somebody_else_is_the_observer(weights):
    scene = traffic()
    found = make_roller(f"rosetta:{weights}?reserve=4", 60).simulate(scene, 2, 0)
    assert found.valid is not None
    assert found.valid.shape[2] == 60
    assert any(found.newcomers)
    simulator = PolicySimulator(RosettaTraffic(weights), steps=20, comings=True)
    simulator.simulate(scene, 1, 0)
    # The row that stands where the ego was is the ego's own.
    assert simulator.policy._watched == scene.ego


def test_everybody_may_leave(weights):
    scene = straight_road(with_opponent=False)
    simulator = PolicySimulator(RosettaTraffic(weights, reserve=3), steps=150, comings=True)
    found = simulator.simulate(scene, 1, 0)
    assert np.isfinite(found.states).all()


def test_names_and_options(weights):
    made = make_traffic(f"rosetta:{weights}?type_temperature=0.5&snap=false")
    assert made.options == RosettaOptions(type_temperature=0.5, snap=False)
    assert made.path == weights
    assert make_traffic("rosetta").path == SHIPPED
    with pytest.raises(WeightsError, match="train_traffic --stage rosetta"):
        make_traffic("rosetta:none.safetensors")
    with pytest.raises(ConfigError, match="'colour' is no option"):
        make_traffic(f"rosetta:{weights}?colour=1")
    with pytest.raises(ConfigError, match="reserve >= 1"):
        make_traffic(f"rosetta:{weights}?reserve=0")
