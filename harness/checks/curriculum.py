"""Whether a curriculum keeps its contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.checks.base import Checker, require_name
from harness.episodes.schedules import ChoosingCurriculum
from harness.interfaces import AttackSchedule, Curriculum, EpisodeOutcome

GRID = np.linspace(0.0, 1.0, 21)


def check_curriculum(factory: Callable[[], Curriculum], *, episodes: int = 400, seed: int = 0) -> None:
    """Check a curriculum.

    Args:
        factory: Builds a fresh one, as the registry's class does.
        episodes: Finished episodes to feed it: random, then a long run of successes, then of crashes.
        seed: Seed of the random outcomes.

    Raises:
        ConformanceError: With the broken rule.
    """
    curriculum = factory()
    checker = Checker(f"curriculum {getattr(curriculum, 'name', type(curriculum).__name__)!r}")
    require_name(checker, curriculum)
    checker.require(
        isinstance(curriculum, Curriculum),
        "it must have `name`, `schedule`, `record`, `state_dict` and `load_state_dict`",
    )
    outcomes = make_outcomes(episodes, seed)
    with checker.only_own_randomness():
        reference = _follow(checker, curriculum, outcomes)
        again = _follow(checker, factory(), outcomes)
    checker.require(reference == again, "equal outcomes must give equal schedules")
    cuts = sorted({0, 1, episodes // 4, episodes // 2, episodes - episodes // 8})
    for cut in cuts:
        checker.where = f"resumed after {cut} episodes"
        resumed = _resume(checker, factory, outcomes[:cut])
        rest = _follow(checker, resumed, outcomes[cut:])
        checker.require(rest == reference[cut:], "a state-dict round trip must go on exactly", "another schedule")
    checker.where = ""
    if isinstance(curriculum, ChoosingCurriculum):
        _check_choices(checker, factory, outcomes, seed)


def make_outcomes(count: int, seed: int) -> list[EpisodeOutcome]:
    """Outcomes that make an adaptive curriculum move up and down: random, all successes, all crashes."""
    rng = np.random.default_rng(seed)
    outcomes = []
    for index in range(count):
        phase = 3 * index // max(count, 1)
        crashed = bool(rng.random() < (0.5, 0.0, 1.0)[phase])
        attacked = bool(rng.random() < 0.5)
        outcomes.append(
            EpisodeOutcome(
                attacked=attacked,
                intensity=float(rng.random()) if attacked else 0.0,
                crashed=crashed,
                route_completion=float(rng.random()) if crashed else 1.0,
                arrived=not crashed,
            )
        )
    return outcomes


def _follow(
    checker: Checker, curriculum: Curriculum, outcomes: list[EpisodeOutcome]
) -> list[tuple[tuple[float, float], ...]]:
    """The whole schedule before each outcome is recorded, checked."""
    followed = []
    for outcome in outcomes:
        followed.append(_schedules(checker, curriculum))
        curriculum.record(outcome)
    followed.append(_schedules(checker, curriculum))
    return followed


def _schedules(checker: Checker, curriculum: Curriculum) -> tuple[tuple[float, float], ...]:
    found = []
    for progress in GRID:
        schedule = curriculum.schedule(float(progress))
        at = f"at progress {progress:.2f}"
        checker.require(
            isinstance(schedule, AttackSchedule), f"schedule {at} must be an AttackSchedule", type(schedule).__name__
        )
        checker.require(
            0.0 <= schedule.probability <= 1.0, f"the probability {at} must lie in [0, 1]", f"{schedule.probability}"
        )
        checker.require(np.isfinite(schedule.intensity), f"the intensity {at} must be finite", f"{schedule.intensity}")
        found.append((float(schedule.probability), float(schedule.intensity)))
    asked_twice = tuple(tuple(curriculum.schedule(float(progress))) for progress in GRID)
    checker.require(asked_twice == tuple(found), "asking for the schedule must not change it")
    return tuple(found)


def _resume(checker: Checker, factory: Callable[[], Curriculum], outcomes: list[EpisodeOutcome]) -> Curriculum:
    """A fresh curriculum that got the state of one which has seen `outcomes`, through JSON as checkpoints do."""
    seen = factory()
    for outcome in outcomes:
        seen.record(outcome)
    state = seen.state_dict()
    try:
        text = json.dumps(state)
    except (TypeError, ValueError) as error:
        checker.fail(f"state_dict must be JSON-able ({error})")
    for outcome in make_outcomes(60, 1):
        seen.record(outcome)
    checker.require(json.dumps(state) == text, "a state dict must not change when the curriculum goes on")
    resumed = factory()
    # Some history of its own first: loading must replace all of it.
    for outcome in make_outcomes(37, 2):
        resumed.record(outcome)
    resumed.load_state_dict(json.loads(text))
    checker.require(
        json.dumps(resumed.state_dict()) == text, "state_dict must return what load_state_dict was given", "another"
    )
    return resumed


def _check_choices(
    checker: Checker, factory: Callable[[], Curriculum], outcomes: list[EpisodeOutcome], seed: int
) -> None:
    """A curriculum that chooses scenes: sound choices, the same again, also when it is resumed half-way."""
    half = len(outcomes) // 2
    with checker.only_own_randomness():
        reference = _choices(checker, factory(), outcomes, seed)
        again = _choices(checker, factory(), outcomes, seed)
        first, resumed = factory(), factory()
        _choices(checker, first, outcomes[:half], seed)
        resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
        rest = _choices(checker, resumed, outcomes[half:], seed, begin=half)
    checker.require(reference == again, "equal outcomes and generators must give equal choices")
    checker.require(rest == reference[half:], "a state-dict round trip must go on exactly", "other choices")


def _choices(
    checker: Checker, curriculum: Curriculum, outcomes: list[EpisodeOutcome], seed: int, begin: int = 0
) -> list[tuple[int, float, float]]:
    """What is chosen before each outcome, which is then that of the chosen level; every seventh cannot be attacked."""
    assert isinstance(curriculum, ChoosingCurriculum)
    scenes, found = tuple(f"scene-{number}" for number in range(5)), []
    for number, outcome in enumerate(outcomes, begin):
        place, schedule = curriculum.choose(scenes, (number % 100) / 100, np.random.default_rng([seed, number]))
        checker.require(0 <= place < len(scenes), "choose must give the place of a scene", f"{place}")
        checker.require(isinstance(schedule, AttackSchedule), "choose must give an AttackSchedule")
        checker.require(schedule.probability in (0.0, 1.0), "a chosen probability must be 0 or 1", f"{schedule}")
        checker.require(np.isfinite(schedule.intensity), "a chosen intensity must be finite", f"{schedule}")
        found.append((int(place), float(schedule.probability), float(schedule.intensity)))
        if schedule.probability and number % 7 == 0:
            curriculum.unattackable(scenes[place], schedule.intensity)
        elif schedule.probability:
            regret = 1.0 if outcome.crashed else 1.0 - outcome.route_completion
            played = replace(outcome, attacked=True, intensity=schedule.intensity, scene=scenes[place], regret=regret)
            curriculum.record(played)
        else:
            curriculum.record(replace(outcome, attacked=False, intensity=0.0))
    return found
