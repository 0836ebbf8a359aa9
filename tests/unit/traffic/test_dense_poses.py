"""Poses between tokens, the models that stages start from, and the histories of steered candidates."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adversaries.sage.steered import only_seen
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.scene import CURRENT_TOKEN
from harness.traffic.training.config import ExampleOptions, LoopConfig, StageOptions
from harness.traffic.training.recipe import StagePlan, starting_model
from harness.traffic.training.rewards import dense_poses
from tests.scenes import straight_road
from tests.unit.adversaries.fakes import context


def test_tokens_are_laid_end_to_end():
    # One kind with one token: five steps of one metre ahead, row 0 the pose before.
    motion = torch.zeros(1, 1, 6, 3)
    motion[0, 0, :, 0] = torch.arange(6.0)
    count = CURRENT_TOKEN + 2
    pose = torch.zeros(1, 1, count, 3)
    # The agent looks up, and is at y = 5 after its first token.
    pose[..., 2] = np.pi / 2
    pose[0, 0, CURRENT_TOKEN, 1] = 5.0
    agents = SimpleNamespace(
        token=torch.zeros(1, 1, count, dtype=torch.long), pose=pose, kinds=torch.zeros(1, 1, dtype=torch.long)
    )
    dense = dense_poses(SimpleNamespace(motions=motion), agents)
    assert dense.shape == (1, 1, 10, 3)
    assert dense[0, 0, :, 1].tolist() == pytest.approx(list(range(1, 11)), abs=1e-5)
    assert dense[0, 0, :, 0].tolist() == pytest.approx([0] * 10, abs=1e-5)


def plan(**options) -> StagePlan:
    given = {
        "stages": ("bc",),
        "size": "nano",
        "init": None,
        "vocabulary": None,
        "mirror": False,
        "scene": SceneOptions(),
        "examples": ExampleOptions(),
        "dropout": None,
        "loop": LoopConfig(seed=3),
        "options": StageOptions(),
        "cache": Path("unused"),
    }
    return StagePlan(**(given | options))


def test_a_new_model_follows_seed_dropout_and_first_stage():
    one, same = starting_model(plan()), starting_model(plan())
    other = starting_model(plan(loop=LoopConfig(seed=4), dropout=0.25, stages=("gmm",)))
    weights = [model.network.state_dict() for model in (one, same)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert other.network.config.dropout == 0.25
    assert (one.network.config.head, other.network.config.head) != ("gmm", "gmm")
    assert other.network.config.head == "gmm"


def test_candidates_are_zero_where_the_opponent_was_not_seen():
    states = only_seen(context(straight_road(opponent_from=4)), np.ones((2, 91, 5)))
    assert not states[:, :4].any()
    assert (states[:, 4:] == 1).all()
