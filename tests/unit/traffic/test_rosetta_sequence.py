"""The structured sequence of a decision, on scenes and numbers that can be worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from harness.traffic.open.config import DecisionLimits
from harness.traffic.open.decisions import NONE, UNSCORED, choose_pieces, decisions, watched
from harness.traffic.rosetta.sequence import causal_mask, join_sequences, spawn_labels
from harness.traffic.tokens.layout import END, layout_poses, layout_tokens
from harness.traffic.tokens.pieces import PieceKind
from harness.traffic.tokens.population import arrivals, observed_traffic
from harness.traffic.training.config import ExampleOptions
from harness.traffic.training.examples import examples_of
from scenarios.scenario import Kind
from tests.scenes import Agent, make_scene, straight_road
from tests.unit.traffic.scenes import OPTIONS, tiny_vocabulary

STEPS = 31


def scene():
    """An ego at 10 m/s; one ahead of it, one that appears at step 20, one that the ego leaves behind, and a cone."""
    return make_scene(
        [
            Agent("ego", 0, 0, speed=10.0, last=STEPS - 1),
            Agent("ahead", 20.0, 0, speed=10.0, last=STEPS - 1),
            Agent("born", 40.0, 5.0, speed=0.0, first=20, last=STEPS - 1),
            Agent("behind", -60.0, 0, speed=0.0, last=STEPS - 1),
            Agent("cone", 10.0, 3.0, kind=Kind.BARRIER, last=STEPS - 1),
        ],
        straight_road().features,
        steps=STEPS,
        opponent=None,
    )


def tokens(logged=None):
    (made,) = examples_of(logged or scene(), tiny_vocabulary(), OPTIONS, ExampleOptions(phases=1))
    return made


def test_who_is_there_is_told_by_distance_and_kind():
    found = tokens()
    names = [found.agents.tolist().index(number) for number in range(5)]
    assert found.ego[names].tolist() == [True, False, False, False, False]
    assert found.road_user[names].tolist() == [True, True, True, True, False]
    view = watched(found)
    # The ego starts 10 m behind the frame's origin, and moves 5 m from moment to moment.
    assert np.allclose(view.observer[:, 0], np.arange(7) * 5.0 - 10.0)
    there = view.there[names]
    assert there[0].all()
    assert there[1].all()
    assert not there[4].any()
    assert there[2].tolist() == [False] * 4 + [True] * 3
    # 75 m behind at moment 3 (60 + 15 m): not within the radius any more.
    assert there[3].tolist() == [True] * 3 + [False] * 4
    assert view.seen[names][4].all()


def test_decisions_by_hand():
    found = tokens()
    ego, ahead, born, behind = (found.agents.tolist().index(number) for number in range(4))
    made = decisions(found, DecisionLimits())
    assert made.moment.tolist() == [1, 2, 3, 4, 5]
    assert made.agent[0].tolist() == [ego, ahead, behind]
    assert made.agent[2].tolist() == [ego, ahead, NONE]
    assert made.agent[3].tolist() == [ego, ahead, born]
    # 5 m in half a second is the fourth token that goes straight on; nobody knows what comes after the last moment.
    assert made.motion[0].tolist() == [4, 4, 0]
    assert made.motion[2].tolist() == [4, 4, UNSCORED]
    # At moment 2 the one behind is still there, at moment 3 it has left.
    assert (made.grid[1] != NONE).tolist() == [True, True, False]
    centre = layout_tokens(np.zeros(3), np.zeros(3))
    assert made.grid[0, 0] == centre.grid
    assert made.yaw[0, 0] == 0
    # Newcomers: only the one born at step 20, seen from the ego of that moment, 20 m ahead and 5 m to the left.
    assert (made.kind != NONE).sum(1).tolist() == [0, 0, 1, 0, 0]
    assert made.kind[2, 0] == 0
    pose = layout_poses(made.new_grid[2, 0], made.new_yaw[2, 0], np.zeros(3))
    assert np.abs(pose - (20.0, 5.0, 0.0)).max() <= 1.5
    assert made.ends.all()


def test_newcomers_are_those_of_the_log():
    logged = scene()
    labels = arrivals(observed_traffic(logged))
    made = decisions(tokens(logged), DecisionLimits())
    for row, moment in enumerate(made.moment):
        wanted = labels.sequence(int(moment) + 1)[:-1].reshape(-1, 3)
        own = np.stack([made.kind[row], made.new_grid[row], made.new_yaw[row]], -1)[made.kind[row] != NONE]
        assert own.tolist() == wanted.tolist()


def test_long_decisions_lose_their_far_end():
    found = tokens()
    made = decisions(found, DecisionLimits(agents=2, pieces=3, newcomers=0))
    assert made.agent.shape == (5, 2)
    assert made.piece.shape == (5, 3)
    assert made.agent[0].tolist() == decisions(found, DecisionLimits()).agent[0, :2].tolist()
    assert made.kind.shape == (5, 0)
    # Who was cut off is not taken for the end.
    assert made.ends.tolist() == [True, True, False, True, True]
    labels = join_sequences([made]).labels
    assert labels[:, -1].tolist() == [END, END, UNSCORED, END, END]


def test_only_some_decisions():
    found = tokens()
    some, every = decisions(found, DecisionLimits(), [4]), decisions(found, DecisionLimits())
    assert some.moment.tolist() == [4]
    assert some.agent[0].tolist() == every.agent[3].tolist()


def test_pieces_are_spread_over_distances_lanes_first():
    places = np.stack([np.arange(12) * 7.0, np.zeros(12)], -1)
    kinds = np.full(12, PieceKind.STREET)
    kinds[[1, 3]] = PieceKind.BOUNDARY
    # Nine lanes lie within 75 m: of four, every 9 / 4 of them is taken.
    assert choose_pieces(places, kinds, np.zeros(2), 4).tolist() == [0, 4, 6, 8]
    assert choose_pieces(places, kinds, np.zeros(2), 10).tolist() == [0, 2, 4, 5, 6, 7, 8, 9, 10, 1]
    assert choose_pieces(places, kinds, np.array([77.0, 0.0]), 0).tolist() == []
    assert choose_pieces(places, kinds, np.array([500.0, 0.0]), 5).tolist() == []


def test_labels_of_newcomers():
    kind = torch.tensor([[0, 2], [1, NONE], [NONE, NONE]])
    grid, yaw = torch.tensor([[7, 8], [9, NONE], [NONE, NONE]]), torch.tensor([[3, 4], [5, NONE], [NONE, NONE]])
    labels = spawn_labels(kind, grid, yaw, torch.tensor([True, True, True]))
    assert labels.tolist() == [
        [0, 7, 3, 2, 8, 4, END],
        [1, 9, 5, END, UNSCORED, UNSCORED, UNSCORED],
        [END] + [UNSCORED] * 6,
    ]
    assert spawn_labels(kind, grid, yaw, torch.tensor([False] * 3))[0, -1] == UNSCORED


def test_the_mask_is_causal_and_leaves_padding_out():
    present = torch.tensor([[True, False, True]])
    assert causal_mask(present)[0].tolist() == [[True, False, False], [True, True, False], [True, False, True]]


def test_a_batch_of_two_scenes():
    first, second = decisions(tokens(), DecisionLimits(pieces=5)), decisions(tokens(), DecisionLimits(pieces=4), [1])
    batch = join_sequences([first, second])
    assert batch.scene.tolist() == [0] * 5 + [1]
    agents, pieces, newcomers = 3, 5, 1
    length = 3 * agents + pieces + 3 * newcomers + 1
    assert batch.present.shape == batch.labels.shape == (6, length)
    assert {name: (part.start, part.stop) for name, part in batch.parts.items()} == {
        "agents": (0, 3), "motion": (3, 6), "map": (6, 11), "layout": (11, 14), "newcomers": (14, 18),
    }  # fmt: skip
    # Agents, map and layout are never predicted; of the motion what the log knows; then the newcomers.
    assert batch.labels[0].tolist() == [UNSCORED] * 3 + [4, 4, 0] + [UNSCORED] * 8 + [END] + [UNSCORED] * 3
    # In the third decision the one behind has gone: two agents, one newcomer.
    there = batch.present[2]
    assert there[batch.parts["agents"]].tolist() == [True, True, False]
    assert there[batch.parts["newcomers"]].all()
    assert not batch.present[5, batch.parts["map"]][-1]
    assert batch.scored.sum(1).tolist() == [4, 4, 6, 4, 4, 4]


def test_without_an_ego_the_frame_is_the_observer():
    found = tokens()
    alone = dataclasses.replace(found, ego=np.zeros_like(found.ego))
    assert not watched(alone).observer.any()
