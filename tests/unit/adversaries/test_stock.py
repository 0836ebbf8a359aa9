"""Candidates from memory and from disk make the plans that fresh ones make, and nothing stale is ever taken."""

import copy
import pickle
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.cat import CatAdversary
from adversaries.common import stock
from adversaries.common.plans import distinct_futures, ego_futures
from adversaries.prior.prior import MotionPrior
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.experts import Experts
from harness.errors import AdversaryError, ConfigError
from harness.interfaces import AttackPlan, Trajectory
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.fakes import context, log_of
from tests.unit.adversaries.sage.toys import small_network, small_prior


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(stock, "cache_folder", lambda part: tmp_path / part)
    return tmp_path / "candidates"


def cat(**options):
    return CatAdversary(small_prior(), **options)


def sage(**options):
    return SageAdversary(Experts(small_prior(0), small_network(1), small_network(2), {}), **options)


def drives(scene, seed=0):
    """Two other drives, each between copies of the log; one too short to count."""
    rng, log = np.random.default_rng(seed), log_of(scene, 0)
    wild = log.states.copy()
    wild[11:, :2] += rng.normal(0, 0.2, (80, 2)).cumsum(0)
    return log, log, Trajectory(wild, log.valid), log_of(scene, 0, until=15), log


def same(one: AttackPlan, other: AttackPlan) -> bool:
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("states", "valid", "candidates"))
        and one.scores.keys() == other.scores.keys()
        and all(np.array_equal(one.scores[name], other.scores[name]) for name in one.scores)
        and (one.chosen, one.info) == (other.chosen, other.info)
    )


def never(*args, **kwargs):
    raise AssertionError("made anew")


MAKERS = {
    "cat": cat,
    "cat as published": lambda **options: cat(protocol="as-published", **options),
    "sage": sage,
    "sage as published": lambda **options: sage(protocol="as-published", **options),
    "sage, logits": lambda **options: sage(mixing="logits", **options),
    "cat, three profiles": lambda **options: cat(profiles=3, **options),
    "sage, three profiles": lambda **options: sage(profiles=3, **options),
    "sage, trajectories": lambda **options: sage(mixing="trajectories", **options),
}


@pytest.mark.parametrize("name", MAKERS)
def test_plans_from_memory_and_from_disk_equal_fresh_ones(name, monkeypatch, folder) -> None:
    scenes = [crossing(), straight_road(opponent_from=6)]
    cases = [context(scene, drives(scene, seed)) for seed, scene in enumerate((*scenes, scenes[0]))]
    fresh = [MAKERS[name]().plan(case) for case in cases]
    kept = MAKERS[name](on_disk=True)
    assert all(same(kept.plan(case), plan) for case, plan in zip(cases, fresh, strict=True))
    assert len(list(folder.iterdir())) == len(scenes) * (2 if "trajectories" in name else 1)
    for source in (kept, MAKERS[name](on_disk=True)):
        with monkeypatch.context() as patch:
            patch.setattr(MotionPrior, "candidates", never)
            patch.setattr(SageAdversary, "_log_probs", never)
            # Scenes read again have other arrays, and the same content.
            again = (
                cases if source is kept else [replace(case, scenario=copy.deepcopy(case.scenario)) for case in cases]
            )
            assert all(same(source.plan(case), plan) for case, plan in zip(again, fresh, strict=True))
    assert "trajectories" in name or not plan_of(kept, cases[0]).candidates.flags.writeable


def plan_of(adversary, case) -> AttackPlan:
    plan = adversary.plan(case)
    assert plan is not None
    return plan


def test_whatever_differs_misses(folder) -> None:
    scene, count = crossing(), 0
    moved, lanes = scene.position.copy(), scene.features
    moved[0, 5, 0] += 0.01
    limited = replace(lanes[0], extras={**lanes[0].extras, "speed_limit_mph": 11.0})
    others = [
        scene,
        replace(scene, position=moved),
        replace(scene, size=scene.size * 1.01),
        replace(scene, lights={"1": {"lane": "1", "state": {"object_state": np.array(["RED"] * 91)}}}),
        replace(scene, features=lanes[1:]),
        replace(scene, features=(limited, *lanes[1:])),
    ]
    makers = [cat(on_disk=True), cat(on_disk=True, candidates=8), cat(on_disk=True, decode="topk")]
    makers += [sage(on_disk=True), sage(on_disk=True, spacing=1.0), sage(on_disk=True, extrapolation="direct")]
    makers.append(CatAdversary(small_prior(7), on_disk=True))
    for adversary in makers:
        for other in others if adversary is makers[0] or adversary is makers[3] else others[:1]:
            fresh = adversary.plan(replace(context(other), intensity=0.25))
            assert same(fresh, adversary.plan(replace(context(other), intensity=0.25)))
            count += 1
            assert len(list(folder.iterdir())) == count
    # In memory no file is asked for: copies with other lights or sizes must not be taken for one another either.
    assert len({stock.contents(other) for other in others}) == len(others)
    plans = [plan_of(makers[3], replace(context(scene), intensity=at)) for at in (0.25, 0.5)]
    assert not np.array_equal(plans[0].scores["log_prob"], plans[1].scores["log_prob"])


def test_changed_weights_are_drawn_from_anew() -> None:
    prior, case = small_prior(), context(crossing())
    adversary = CatAdversary(prior, on_disk=True)
    before, was = adversary.plan(case), prior.identity
    with torch.no_grad():
        prior.network.score.weight.mul_(2.0)
    after = adversary.plan(case)
    assert prior.identity != was
    assert not np.array_equal(before.scores["log_prob"], after.scores["log_prob"])
    assert same(after, CatAdversary(prior).plan(case))


@pytest.mark.parametrize("damage", ["cut", "flipped", "other shapes", "no npz"])
def test_a_damaged_file_is_replaced(damage, folder) -> None:
    case = context(crossing())
    plan = cat(on_disk=True).plan(case)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    broken = {"cut": whole[:-900], "flipped": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], "no npz": b"x"}
    if damage in broken:
        file.write_bytes(broken[damage])
    else:
        np.savez(file, states=np.zeros((32, 20, 5)), valid=np.ones(20, bool), size=np.ones(2), log_prob=np.zeros(32))
    assert same(cat(on_disk=True).plan(case), plan)
    assert file.read_bytes() == whole


def test_a_gliding_intensity_is_drawn_at_levels_and_chosen_for_as_it_is(folder) -> None:
    scene, adversary = crossing(), sage(levels=4, on_disk=True)
    for intensity, level in ((0.61, 0.5), (0.63, 0.75), (-0.1, 0.0), (1.13, 1.25)):
        found = adversary.plan(replace(context(scene), intensity=intensity))
        there = sage().plan(replace(context(scene), intensity=level))
        np.testing.assert_array_equal(found.candidates, there.candidates)
        assert found.info["intensity"] == intensity
        mu, scores = min(max(intensity, 0.0), 1.0), found.scores
        total = mu * scores["adversarial"] - (1 - mu) * (scores["kinematic"] + scores["behavioural"])
        feasible = scores["feasible"] > 0
        np.testing.assert_allclose(scores["score"][feasible], total[feasible])
    assert len(list(folder.iterdir())) == 4
    # Without levels, an intensity that will hardly come again is not worth a file.
    sage(on_disk=True).plan(replace(context(scene), intensity=0.123456))
    assert len(list(folder.iterdir())) == 4
    with pytest.raises(ConfigError, match="levels"):
        sage(levels=-1)


def test_threads_may_share_an_adversary(monkeypatch, folder) -> None:
    scene = crossing()
    cases = [replace(context(scene), intensity=at) for at in (0.0, 1.0, 0.5)]
    fresh = [sage().plan(case) for case in cases]
    shared, begun, wrong = sage(on_disk=True), threading.Barrier(len(cases)), []
    # Long enough for another thread to turn the weights in the meantime, were it let.
    turn = shared.dial.turn
    monkeypatch.setattr(shared.dial, "turn", lambda at: (turn(at), time.sleep(0.01))[0])

    def work(first: int) -> None:
        begun.wait()
        for number in (first, *range(len(cases))):
            if not same(shared.plan(cases[number]), fresh[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(list(folder.iterdir())) == len(cases)


def test_copies_of_an_adversary_begin_empty_and_plan_alike() -> None:
    adversary, case = sage(on_disk=True), context(crossing())
    plan = adversary.plan(case)
    twin = pickle.loads(pickle.dumps(adversary))
    assert same(twin.plan(case), plan)
    assert same(copy.deepcopy(adversary).plan(case), plan)


def test_repeated_drives_are_judged_once_and_weighed() -> None:
    scene = straight_road()
    case = context(scene, drives(scene))
    found = distinct_futures(case)
    assert (len(found.states), found.places.tolist()) == (2, [0, 0, 1, 0])
    states, valid = ego_futures(case)
    np.testing.assert_array_equal(states, found.states[found.places])
    assert valid.shape == (4, 91)
    short = distinct_futures(context(scene, [log_of(scene, 0, until=15)] * 3))
    assert short.places.tolist() == [0]
    assert short.valid[0, 90]
    with pytest.raises(AdversaryError, match="no logged ego"):
        distinct_futures(context(replace(scene, valid=scene.valid & (np.arange(91) <= 10))))
