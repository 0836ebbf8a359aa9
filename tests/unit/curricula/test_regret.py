"""Levels by regret: priorities by hand, staleness, and what is not learnt from."""

import json

import numpy as np
import pytest

from curricula.regret import RegretCurriculum
from harness.errors import ConfigError
from harness.interfaces import EpisodeOutcome

SCENES = ("a", "b")
ALWAYS = {"probability_start": 1.0, "probability_end": 1.0}


def made(**options):
    return RegretCurriculum((0.5, 1.0), **{**ALWAYS, "staleness": 0.0, **options})


def told(scene, intensity, regret, attacked=True):
    return EpisodeOutcome(attacked, intensity, False, 1.0, True, scene=scene, regret=regret)


def drawn(curriculum, count, seed=0):
    rng = np.random.default_rng(seed)
    found = [curriculum.choose(SCENES, 0.5, rng) for _ in range(count)]
    return [(SCENES[place], schedule.intensity) for place, schedule in found]


def shares(levels):
    return {level: levels.count(level) / len(levels) for level in set(levels)}


def test_attacks_follow_regret():
    curriculum = made()
    for scene, intensity, regret in (("a", 0.5, 0.0), ("a", 1.0, 0.5), ("b", 0.5, 1.0), ("b", 1.0, 0.5)):
        curriculum.record(told(scene, intensity, regret))
    # Scores 0, ½, 1 and ½ of 2; binomial(2000, ¼) has a standard deviation of .0097.
    found = shares(drawn(curriculum, 2000))
    assert found == pytest.approx({("a", 1.0): 0.25, ("b", 0.5): 0.5, ("b", 1.0): 0.25}, abs=0.05)
    # Both intensities hold a half of all scores.
    assert curriculum.schedule(0.5) == (1.0, pytest.approx(0.75))
    # Squared: ¼, 1 and ¼.
    sharp = made(temperature=0.5)
    sharp.load_state_dict(curriculum.state_dict())
    assert shares(drawn(sharp, 2000))[("b", 0.5)] == pytest.approx(2 / 3, abs=0.05)


def test_a_score_is_a_moving_average_that_begins_with_the_first_regret():
    curriculum = made(memory=0.75)
    for regret in (0.8, 0.4):
        curriculum.record(told("a", 0.5, regret))
    assert curriculum.state_dict()["scenes"]["a"][0] == pytest.approx([0.7, 1.0])


def test_levels_that_were_never_played_come_first():
    curriculum = made()
    for level in (0.5, 1.0):
        curriculum.record(told("a", level, 0.0))
    curriculum.record(told("b", 0.5, 0.0))
    assert set(drawn(curriculum, 50)) == {("b", 1.0)}


def test_nothing_is_learnt_where_no_attack_can_be_made_or_none_was_played():
    curriculum = made()
    for level in (0.5, 1.0):
        curriculum.unattackable("a", level)
    assert {scene for scene, _ in drawn(curriculum, 50)} == {"b"}
    before = json.dumps(curriculum.state_dict())
    curriculum.record(told("b", 0.0, None, attacked=False))
    curriculum.record(told("b", 0.7, 1.0))
    curriculum.unattackable("b", 0.7)
    assert json.dumps(curriculum.state_dict()) == before


def test_by_staleness_alone_levels_take_turns():
    curriculum, rng = made(staleness=1.0), np.random.default_rng(0)
    levels = [curriculum.choose(("a",), 0.5, rng)[1].intensity for _ in range(20)]
    assert levels == levels[:2] * 10
    assert len(set(levels)) == 2


def test_other_episodes_take_any_scene_as_recorded():
    curriculum, rng = made(probability_start=0.0, probability_end=0.4, frequency_end=1.0), np.random.default_rng(0)
    curriculum.record(told("a", 0.5, 1.0))
    found = [curriculum.choose(SCENES, 0.5, rng) for _ in range(1000)]
    quiet = [(place, schedule.intensity) for place, schedule in found if schedule.probability == 0.0]
    # Half-way of 0 … 0.4, within five standard deviations.
    assert len(quiet) == pytest.approx(800, abs=64)
    assert shares(quiet) == pytest.approx({(0, 0.0): 0.5, (1, 0.0): 0.5}, abs=0.1)


def test_it_goes_on_exactly():
    first = made(staleness=0.3)
    first.record(told("b", 1.0, 0.2))
    drawn(first, 30)
    second = made(staleness=0.3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert drawn(first, 30, seed=1) == drawn(second, 30, seed=1)
    assert first.state_dict() == second.state_dict()


@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"staleness": 1.5}, {"intensities": ()}, {"intensities": (1.0, 1.0)}]
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        RegretCurriculum(**options)


def test_a_state_of_another_curriculum_is_refused():
    with pytest.raises(ConfigError, match="not saved by 'regret'"):
        made().load_state_dict({"values": {}})
    with pytest.raises(ConfigError, match="intensities"):
        made().load_state_dict(RegretCurriculum().state_dict())
