"""What environments play next: scenes, chances and plans that follow from a seed, and drives that attacks aim at."""

import numpy as np
import pytest

from curricula.dual_axis import DualAxisCurriculum
from curricula.regret import RegretCurriculum
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.schedules import CurriculumSchedule, FixedSchedule
from harness.errors import AdversaryError, ConfigError
from harness.fast.episodes import AttackedEpisodes
from harness.fast.plays import Finished, Play, UniformEpisodes
from harness.interfaces import AttackPlan, Trajectory
from scenarios.scenario import CURRENT_STEP
from tests.scenes import straight_road
from tests.sources import ListSource


class Noting:
    """Leaves the opponent on its log, and remembers what it was told."""

    name = "noting"

    def __init__(self, fails=False):
        self.contexts, self.fails = [], fails

    def plan(self, context):
        self.contexts.append(context)
        if self.fails:
            raise AdversaryError("no way")
        states = context.scenario.states(context.opponent)
        return AttackPlan(states, np.ones(len(states), bool))


def source():
    return ListSource([straight_road(scene_id=name) for name in ("a", "b", "c")])


def finished(play, steps=30, **more):
    states = np.full((91, 5), 7.0)
    facts = {"reward": 1.0, "cost": 0.0, "completion": 0.4, "arrived": False, "off_road": False, "truncated": True}
    contacts = {"crash_contact": None, "crash_geometry": None, "crash_opponent": None}
    ego = Trajectory(states, np.arange(91) <= steps)
    return Finished(environment=0, play=play, steps=steps, ego=ego, **{**contacts, **facts, **more})


def test_a_seed_decides_scenes_and_attacks():
    def drawn(seed):
        episodes = AttackedEpisodes(source(), adversary=Noting(), scheduler=FixedSchedule(0.5, 0.8), seed=seed)
        return [(play.scene, play.intensity, play.plan is not None) for play in episodes.draw(200)], episodes

    plays, episodes = drawn(0)
    assert plays == drawn(0)[0]
    assert plays != drawn(1)[0]
    assert {scene for scene, _, _ in plays} == {0, 1, 2}
    assert {intensity for _, intensity, attacked in plays if attacked} == {0.8}
    assert {intensity for _, intensity, attacked in plays if not attacked} == {0.0}
    assert 70 < episodes.attacked < 130
    assert episodes.drawn == 200


def test_episodes_begin_at_one_of_the_steps_of_their_scene():
    starts = [np.array([0]), np.array([0, 7]), np.array([0, 3, 9])]
    episodes = AttackedEpisodes(source(), adversary=Noting(), scheduler=FixedSchedule(0.5, 0.8), starts=starts)
    plays = episodes.draw(200)
    assert {(play.scene, play.start) for play in plays} == {(0, 0), (1, 0), (1, 7), (2, 0), (2, 3), (2, 9)}
    assert {play.start > 0 for play in plays if play.plan is None} == {True, False}
    without = AttackedEpisodes(source(), adversary=Noting(), scheduler=FixedSchedule(0.5, 0.8)).draw(200)
    assert [play[0:3:2] for play in plays] == [play[0:3:2] for play in without]


def test_attacks_aim_at_the_last_drives_in_their_scene():
    adversary = Noting()
    episodes = AttackedEpisodes(source(), adversary=adversary)
    first = episodes.draw(1)[0]
    assert adversary.contexts[0].ego_trajectories[-1].states[CURRENT_STEP, 0] != 7.0
    assert adversary.contexts[0].ego_size == (4.515, 1.852)
    episodes.finished(finished(first))
    for play in episodes.draw(20):
        own = adversary.contexts.pop(1).ego_trajectories[-1].states[20, 0] == 7.0
        assert own == (play.scene == first.scene)


def test_attacked_drives_may_be_forgotten():
    episodes = AttackedEpisodes(source(), adversary=Noting(), buffer=EgoBuffer(1, remember="undisturbed"))
    episodes.finished(finished(episodes.draw(1)[0]))
    assert len(episodes.buffer) == 0
    episodes.finished(finished(Play(1)))
    assert len(episodes.buffer) == 1


def test_what_cannot_be_attacked_is_played_as_recorded():
    episodes = AttackedEpisodes(source(), adversary=Noting(fails=True))
    assert all(play.plan is None and play.intensity == 0.0 for play in episodes.draw(5))
    assert (episodes.attacked, episodes.unplanned) == (0, 5)
    with pytest.raises(ConfigError, match="empty"):
        AttackedEpisodes(ListSource([]))


def test_refused_attacks_are_played_as_recorded_and_counted():
    episodes = AttackedEpisodes(source(), adversary=Noting(), precondition=lambda scene, *_: scene.id == "a")
    plays = episodes.draw(60)
    assert {play.scene for play in plays if play.plan is not None} == {0}
    assert episodes.refused == sum(play.scene != 0 for play in plays) > 0
    assert (episodes.unplanned, episodes.attacked + episodes.refused) == (0, 60)
    again = AttackedEpisodes(source(), adversary=Noting())
    again.load_state_dict(episodes.state_dict())
    assert again.refused == episodes.refused


def test_it_goes_on_exactly():
    def made():
        schedule = CurriculumSchedule(DualAxisCurriculum(), 1000)
        return AttackedEpisodes(source(), adversary=Noting(), scheduler=schedule, seed=4)

    episodes = made()
    for play in episodes.draw(10):
        episodes.finished(finished(play, crash_contact=12))
    assert episodes.scheduler.progress == 0.3
    again = made()
    again.load_state_dict(episodes.state_dict())
    assert [play[::2] for play in again.draw(30)] == [play[::2] for play in episodes.draw(30)]
    told = again.adversary.contexts[-1].ego_trajectories[-1].states
    assert np.array_equal(told, episodes.adversary.contexts[-1].ego_trajectories[-1].states)


def by_regret(adversary, **options):
    curriculum = RegretCurriculum((0.5,), probability_start=1.0, staleness=0.0, **options)
    return AttackedEpisodes(source(), adversary=adversary, scheduler=CurriculumSchedule(curriculum, 1000), seed=1)


def test_a_curriculum_may_choose_scenes_by_regret():
    episodes = by_regret(Noting())
    for scene in (0, 1, 2):
        play = Play(scene, AttackPlan(episodes.source[scene].states(1), np.ones(91, bool)), 0.5)
        # The road is left in "b" alone; elsewhere the ego arrives.
        episodes.finished(finished(play, off_road=scene == 1, arrived=scene != 1))
    plays = episodes.draw(20)
    assert {(play.scene, play.intensity, play.plan is not None) for play in plays} == {(1, 0.5, True)}
    assert episodes.attacked == 20
    again = by_regret(Noting())
    again.load_state_dict(episodes.state_dict())
    assert [play[0:3:2] for play in again.draw(20)] == [play[0:3:2] for play in episodes.draw(20)]


def test_a_curriculum_that_chooses_hears_of_attacks_that_cannot_be_made():
    episodes = by_regret(Noting(fails=True))
    episodes.draw(50)
    levels = episodes.state_dict()["scheduler"]["curriculum"]["scenes"]
    assert {name: values[0] for name, values in levels.items()} == {"a": [0.0], "b": [0.0], "c": [0.0]}


def test_outcomes_count_both_kinds_of_contact():
    attacked = Play(0, AttackPlan(np.zeros((91, 5)), np.ones(91, bool)), 0.5)
    outcome = finished(attacked, crash_geometry=3, off_road=True).outcome
    assert (outcome.attacked, outcome.intensity, outcome.crashed, outcome.off_road) == (True, 0.5, True, True)
    quiet = UniformEpisodes(2, 0)
    assert not finished(quiet.draw(1)[0]).outcome.crashed
    quiet.finished(finished(attacked))
