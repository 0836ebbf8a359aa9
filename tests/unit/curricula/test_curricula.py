"""Schedules at hand-computed points, adaptivity by hand-made outcomes, and exact resumption."""

from __future__ import annotations

import json
import math

import pytest

from harness import registry
from harness.errors import ConfigError
from harness.interfaces import Curriculum, EpisodeOutcome


def outcome(*, attacked: bool, good: bool) -> EpisodeOutcome:
    return EpisodeOutcome(attacked, 1.0, crashed=not good, route_completion=0.8, arrived=False)


@pytest.mark.parametrize("name", registry.names("curriculum"))
def test_every_curriculum_keeps_the_contract_and_resumes_exactly(name: str) -> None:
    first: Curriculum = registry.make("curriculum", name)
    assert isinstance(first, Curriculum)
    assert first.name == name
    for index in range(137):
        first.record(outcome(attacked=index % 3 == 0, good=index % 4 != 0))
    second: Curriculum = registry.make("curriculum", name)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for index in range(200):
        attack, other = first.schedule(index / 200), second.schedule(index / 200)
        assert attack == other
        assert 0.0 <= attack.probability <= 1.0
        for curriculum in (first, second):
            curriculum.record(outcome(attacked=index % 2 == 0, good=index % 5 != 0))
    assert first.state_dict() == second.state_dict()


@pytest.mark.parametrize(
    ("progress", "probability"), [(0.0, 0.0), (0.1, 0.18), (0.25, 0.45), (0.5, 0.9), (0.75, 0.9), (1.0, 0.9)]
)
def test_cat_follows_its_published_ramp(progress: float, probability: float) -> None:
    assert registry.make("curriculum", "cat").schedule(progress) == (pytest.approx(probability), 1.0)


@pytest.mark.parametrize(
    ("progress", "probability", "intensity"),
    [(0.0, 0.1, 0.5), (0.25, 0.5, 0.625), (0.5, 0.9, 0.75), (0.75, 0.9, 0.875), (1.0, 0.9, 1.0), (1.5, 0.9, 1.0)],
)
def test_dual_axis_reaches_its_frequency_half_way(progress: float, probability: float, intensity: float) -> None:
    schedule = registry.make("curriculum", "dual_axis").schedule(progress)
    assert schedule == (pytest.approx(probability), pytest.approx(intensity))


def test_dual_axis_can_follow_the_formula_of_the_paper_instead_of_its_text() -> None:
    schedule = registry.make("curriculum", "dual_axis", frequency_end=1.0).schedule(0.5)
    assert schedule == (pytest.approx(0.5), pytest.approx(0.75))


def test_dual_axis_ablations_hold_one_axis_at_its_final_value() -> None:
    frequency_only = registry.make("curriculum", "dual_axis", anneal_intensity=False).schedule(0.0)
    assert frequency_only == (pytest.approx(0.1), 1.0)
    intensity_only = registry.make("curriculum", "dual_axis", anneal_frequency=False).schedule(0.0)
    assert intensity_only == (pytest.approx(0.9), 0.5)


def test_adaptive_raises_only_the_axis_whose_episodes_succeed() -> None:
    curriculum = registry.make("curriculum", "adaptive", window=4)
    for _ in range(4):
        curriculum.record(outcome(attacked=True, good=True))
    assert curriculum.schedule(0.9) == (0.1, 0.6)
    for _ in range(3):
        curriculum.record(outcome(attacked=False, good=True))
    assert curriculum.schedule(0.9) == (0.1, 0.6), "a window that is not full moves nothing"
    curriculum.record(outcome(attacked=False, good=False))
    assert curriculum.schedule(0.9) == (0.2, 0.6), "3 of 4 is above 0.6"


def test_adaptive_goes_down_on_failure_and_stays_within_bounds() -> None:
    curriculum = registry.make("curriculum", "adaptive", window=4)
    for _ in range(100):
        curriculum.record(outcome(attacked=True, good=True))
        curriculum.record(outcome(attacked=False, good=True))
    assert curriculum.schedule(0.0) == (0.9, 1.0)
    for _ in range(4):
        curriculum.record(outcome(attacked=True, good=False))
    assert curriculum.schedule(0.0) == (0.9, 0.9)
    for _ in range(100):
        curriculum.record(outcome(attacked=True, good=False))
        curriculum.record(outcome(attacked=False, good=False))
    assert curriculum.schedule(0.0) == (0.1, 0.5)


@pytest.mark.parametrize(
    ("completion", "arrived", "good"), [(math.nan, False, True), (0.2, False, False), (0.2, True, True)]
)
def test_adaptive_asks_no_completion_of_an_ego_without_a_way(completion: float, arrived: bool, good: bool) -> None:
    played = EpisodeOutcome(True, 1.0, crashed=False, route_completion=completion, arrived=arrived)
    assert registry.make("curriculum", "adaptive").succeeded(played) is good


def test_adaptive_holds_between_its_thresholds_and_slides() -> None:
    curriculum = registry.make("curriculum", "adaptive", window=4)
    for good in (True, True, False, False):
        curriculum.record(outcome(attacked=True, good=good))
    assert curriculum.schedule(0.0).intensity == 0.5, "half lies between 0.35 and 0.6"
    curriculum.record(outcome(attacked=True, good=True))
    assert curriculum.schedule(0.0).intensity == 0.5, "True False False True is still half"
    curriculum.record(outcome(attacked=True, good=True))
    assert curriculum.schedule(0.0).intensity == 0.5, "False False True True"
    curriculum.record(outcome(attacked=True, good=True))
    assert curriculum.schedule(0.0).intensity == 0.6, "False True True True is above 0.6"


def test_a_crash_or_a_parked_ego_is_no_success() -> None:
    curriculum = registry.make("curriculum", "adaptive")
    assert not curriculum.succeeded(EpisodeOutcome(True, 1.0, True, 0.99, True))
    assert not curriculum.succeeded(EpisodeOutcome(True, 1.0, False, 0.05, False))
    assert curriculum.succeeded(EpisodeOutcome(True, 1.0, False, 0.96, True))
    assert not curriculum.succeeded(EpisodeOutcome(True, 1.0, False, 0.96, True, off_road=True))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("constant", {"probability": 1.2}),
        ("cat", {"ramp_end": 0.0}),
        ("dual_axis", {"frequency_end": 2.0}),
        ("adaptive", {"window": 0}),
        ("adaptive", {"raise_above": 0.2, "lower_below": 0.4}),
        ("adaptive", {"intensity": (1.0, 0.5, 0.1)}),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict) -> None:
    with pytest.raises(ConfigError):
        registry.make("curriculum", name, **options)


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(ConfigError, match="adaptive"):
        registry.make("curriculum", "adaptive").load_state_dict({})
