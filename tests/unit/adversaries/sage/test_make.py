"""`train_experts`: a folder of experts that `sage` can use, resumable, with curves; every ablation runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.sage import make
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.alignment import listed_feasibility
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import Bank, build_bank
from adversaries.sage.config import RECIPES, ExpertsConfig, HgpoConfig
from adversaries.sage.groups import Draw
from adversaries.sage.make import make_experts
from harness import registry, train_experts
from harness.errors import ConfigError, UnknownNameError
from harness.train_experts import TrainExpertsConfig, run
from tests.scenes import crossing, straight_road
from tests.sessions import quiet
from tests.unit.adversaries.fakes import context
from tests.unit.adversaries.sage.toys import ToyBackbone, small_prior

QUIET = quiet(train_experts.main)


class Scenes(list):
    """Scenes in memory."""

    ids = ("a", "b", "c")


def scenes() -> Scenes:
    return Scenes([straight_road(scene_id="a"), crossing(scene_id="b"), crossing(opponent_delay=0.5, scene_id="c")])


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Options of a run on three tiny scenes."""
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: scenes())
    small_prior().save(tmp_path / "prior.safetensors")

    def options(epochs=4, **more):
        config = HgpoConfig(epochs=epochs, learning_rate=1e-3, held_out_every=2)
        return TrainExpertsConfig(
            prior=tmp_path / "prior.safetensors", make=ExpertsConfig(alignment=config, filtered=False), **more
        )

    return options


def test_command_makes_a_folder_that_sage_can_use(command, tmp_path) -> None:
    folder = run(command(out=tmp_path / "run"), QUIET)
    names = {path.name for path in folder.iterdir()}
    assert {"adv.safetensors", "real.safetensors", "prior.safetensors", "curves.png", "curves.json"} <= names
    curves = json.loads((folder / "curves.json").read_text())
    assert [row["epoch"] for row in curves["adv"]] == [0, 1, 2, 3, 4]
    assert [row["epoch"] for row in curves["adv"] if "held_out" in row] == [0, 2, 4]
    assert set(curves["real"][-1]["train"]) >= {
        "feasible",
        "adversarial",
        "realism",
        "reward",
        "success",
        "chosen_reward",
    }
    assert list((folder / "tensorboard").iterdir())
    for row in curves["adv"]:
        due = row["epoch"] % 2 == 0
        for key in ("top_feasible", "expected_feasible"):
            assert (key in row["train"]) == due
            assert not due or 0.0 <= row["held_out"][key] <= 1.0
    sage = SageAdversary(folder)
    assert sage.experts.info["adv"]["recipe"]["w_adv"] == RECIPES["adv"].w_adv
    plan = sage.plan(context(crossing()))
    assert np.isfinite(plan.states[plan.valid]).all()


def test_command_aligns_the_traffic_model_too(command, tmp_path) -> None:
    options = command(epochs=1, out=tmp_path / "run", backbone="smart?agents=3&k=8")
    with pytest.raises(ConfigError, match="goal-conditioned prior; others are named by --backbone"):
        run(options, QUIET)
    alignment = replace(options.make.alignment, group=8)
    make = replace(options.make, experts=("adv", "real"), alignment=alignment)
    folder = run(replace(options, prior=None, make=make), QUIET)
    sage = registry.make("adversary", "sage_smart", experts=folder, candidates=4)
    assert sage.experts.info["adv"]["recipe"]["w_adv"] == RECIPES["adv"].w_adv
    plan = sage.plan(context(crossing()))
    assert np.isfinite(plan.states[plan.valid]).all()
    with pytest.raises(UnknownNameError, match="smrt"):
        run(replace(options, prior=None, backbone="smrt"), QUIET)
    with pytest.raises(ConfigError, match="agnts"):
        run(replace(options, prior=None, backbone="smart?agnts=3"), QUIET)


def test_resumption_reaches_the_same_experts(command, tmp_path) -> None:
    whole = run(command(epochs=10, out=tmp_path / "whole"), QUIET)
    part = run(command(epochs=5, out=tmp_path / "part"), QUIET)
    run(command(epochs=10, resume=part), QUIET)
    for name in ("adv", "real"):
        assert (whole / f"{name}.safetensors").read_bytes()[-4096:] == (part / f"{name}.safetensors").read_bytes()[
            -4096:
        ]


def test_every_ablation_trains(tmp_path) -> None:
    config = ExpertsConfig(
        experts=tuple(RECIPES),
        draw=Draw(at_random=True),
        filtered=False,
        alignment=HgpoConfig(epochs=1, learning_rate=1e-3),
    )
    histories = make_experts(config, GoalBackbone(small_prior(), config.draw), scenes(), None, tmp_path)
    assert set(histories) == set(RECIPES)
    assert all((tmp_path / f"{name}.safetensors").exists() for name in RECIPES)
    assert all(rows[1]["pairs"] > 0 for rows in histories.values())
    # DPO has at most one pair per scene, HGPO up to eight.
    assert histories["dpo"][1]["pairs"] <= 3 < histories["adv"][1]["pairs"] <= 24


def test_expected_feasibility_weighs_every_future_by_its_probability() -> None:
    bank = build_bank(scenes(), GoalBackbone(small_prior()), filtered=False)
    policy = GoalBackbone(small_prior(seed=3))
    by_hand = []
    for entry in bank.entries:
        tokens, feasible = entry.listed()
        judged = np.concatenate([entry.values(tokens[i : i + 1]).feasible for i in range(len(tokens))])
        assert np.array_equal(judged, feasible)
        probability = policy.distribution([entry.case]).log_prob([tokens])[0].detach().double().exp().numpy()
        assert probability.sum() == pytest.approx(1.0, abs=1e-5)
        by_hand.append(sum(p for p, fine in zip(probability, feasible, strict=True) if fine))
    assert 0.0 < np.mean(by_hand) < 1.0
    assert listed_feasibility(policy, bank, 32)["expected_feasible"] == pytest.approx(np.mean(by_hand), abs=1e-6)
    unlisted = build_bank(scenes(), ToyBackbone(), filtered=False)
    assert listed_feasibility(ToyBackbone(), unlisted, 32) == {}


class Listed:
    """A scene whose futures and their feasibility are given."""

    def __init__(self, probability, feasible, edges=True) -> None:
        self.case, self.feasible, self.edges = np.array(probability), np.array(feasible, dtype=bool), edges

    def listed(self):
        return np.arange(len(self.feasible))[:, None], self.feasible


class Given:
    """A policy whose cases are the probabilities of their futures."""

    def distribution(self, cases):
        self.cases = cases
        return self

    def log_prob(self, tokens):
        return [torch.log(torch.as_tensor(case)) for case in self.cases]


def test_feasibility_of_the_likeliest_and_of_one_sample_by_hand() -> None:
    # The last goal is padding: it is never drawn, and is no candidate of a group that is larger than the vocabulary.
    scene = Listed([0.1, 0.4, 0.2, 0.3, 0.0], [1, 1, 1, 0, 0])
    for group, share in ((1, 1.0), (2, 1 / 2), (3, 2 / 3), (8, 3 / 4)):
        found = listed_feasibility(Given(), Bank((scene,), ()), group)
        assert found == pytest.approx({"top_feasible": share, "expected_feasible": 0.7})
    # A mean over scenes; without road edges nothing is judged.
    other, blind = Listed([0.5, 0.5], [1, 1]), Listed([1.0], [0], edges=False)
    found = listed_feasibility(Given(), Bank((scene, other, blind), ()), 2, batch=2)
    assert found == pytest.approx({"top_feasible": 0.75, "expected_feasible": 0.85})
    assert all(np.isnan(list(listed_feasibility(Given(), Bank((blind,), ()), 2).values())))


def test_the_likeliest_are_the_groups_of_the_paper() -> None:
    plain = GoalBackbone(small_prior(seed=3), Draw(spacing=0))
    bank = build_bank(scenes(), plain, filtered=False)
    groups = [plain.distribution([entry.case]).sample(16, np.random.default_rng(0))[0] for entry in bank.entries]
    shares = [entry.values(group).feasible.mean() for entry, group in zip(bank.entries, groups, strict=True)]
    assert 0.0 < np.mean(shares) < 1.0
    assert listed_feasibility(plain, bank, 16)["top_feasible"] == pytest.approx(np.mean(shares))


def test_unknown_experts_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="dpo"):
        ExpertsConfig(experts=("dpoo",))
    with pytest.raises(ConfigError, match="distinct"):
        ExpertsConfig(experts=("adv", "adv"))


def test_threads_are_set_before_the_bank_is_built(monkeypatch, tmp_path) -> None:
    seen = []

    def watched(*arguments, **options):
        seen.append(torch.get_num_threads())
        return build_bank(*arguments, **options)

    monkeypatch.setattr(make, "build_bank", watched)
    config = ExpertsConfig(experts=("adv",), alignment=HgpoConfig(epochs=1, threads=1), filtered=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        make_experts(config, GoalBackbone(small_prior(), config.draw), scenes(), None, tmp_path)
    finally:
        torch.set_num_threads(before)
    assert seen == [1]
