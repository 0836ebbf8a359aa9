"""Who is attacked when, against what; with a fake simulator."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest

from curricula.adaptive import AdaptiveCurriculum
from curricula.regret import RegretCurriculum
from harness.envs.attacking import AttackingEnv
from harness.episodes.ego_buffer import EgoBuffer, log_trajectory
from harness.episodes.protocol import CORRECTED, PUBLISHED
from harness.episodes.schedules import CurriculumSchedule, FixedSchedule
from harness.errors import AdversaryError, ConfigError, EngineError
from harness.interfaces import AttackSchedule
from tests.sources import ListSource, tiny_source
from tests.unit.envs.fakes import FakeCore, SpyAdversary

STILL = np.zeros(2, np.float32)
LEFT = np.array([0.05, 0.0], np.float32)


def build(probability=1.0, intensity=1.0, **kwargs):
    source = tiny_source()
    spy = SpyAdversary()
    env = AttackingEnv(
        FakeCore(source), source, adversary=spy, scheduler=FixedSchedule(probability, intensity), **kwargs
    )
    return env, spy


def finish(env, action=STILL):
    done, steps, info = False, 0, {}
    while not done:
        _, _, terminated, truncated, info = env.step(action)
        done, steps = terminated or truncated, steps + 1
    return steps, info


def test_the_first_attack_aims_at_the_log_and_the_second_at_the_first_drive():
    env, spy = build()
    scene = env.source[0]
    env.reset(seed=0, options={"scenario": 0})
    finish(env, LEFT)
    env.reset(options={"scenario": 0})
    first, second = spy.contexts
    log = log_trajectory(scene).states
    assert [np.array_equal(t.states, log) for t in first.ego_trajectories] == [True] * 5
    assert [np.array_equal(t.states, log) for t in second.ego_trajectories] == [True] * 4 + [False]
    # 0.05 m to the left per step.
    assert second.ego_trajectories[-1].states[40, 1] == pytest.approx(log[40, 1] + 2.0)
    assert second.ego_size == (4.515, 1.852)
    env.reset(options={"scenario": 1})
    assert len({id(t) for t in spy.contexts[-1].ego_trajectories}) == 1


@pytest.mark.parametrize(("probability", "remembered"), [(1.0, 0), (0.0, 1)])
def test_attacked_drives_may_be_forgotten(probability, remembered):
    env, _ = build(probability, buffer=EgoBuffer(1, remember="undisturbed"))
    env.reset(seed=0, options={"scenario": 0})
    finish(env)
    assert len(env.buffer) == remembered


def test_the_plan_reaches_the_simulator_and_the_info():
    env, _ = build(intensity=0.4)
    _, info = env.reset(seed=0, options={"scenario": 1})
    assert env.core.resets[-1]["plan"] is not None
    assert env.core.resets[-1]["ego"] == "policy"
    assert (info["attacked"], info["intensity"], info["attack_error"]) == (True, 0.4, "")
    env.reset(options={"scenario": 1, "attack": False})
    assert env.core.resets[-1]["plan"] is None


def test_refused_attacks_are_not_played():
    env, _ = build(precondition=lambda *_: False)
    _, info = env.reset(seed=0, options={"scenario": 1})
    assert env.core.resets[-1]["plan"] is None
    assert (info["attacked"], info["intensity"], info["attack_refused"]) == (False, 0.0, True)


def test_a_curriculum_may_choose_scenes_by_regret():
    env, _ = build()
    env.scheduler = CurriculumSchedule(RegretCurriculum((0.5,), probability_start=1.0, staleness=0.0), 1000)
    env.reset(seed=0, options={"scenario": 0, "intensity": 0.5})
    finish(env, np.array([0.2, 0.0], np.float32))  # Off the road: the only scene with regret, once others are hopeless.
    for name in ("crossing", "no opponent"):
        env.scheduler.unattackable(name, 0.5)
    found = {env.reset()[1]["scenario_id"] for _ in range(10)}
    assert found == {env.source[0].id}
    assert (env.schedule, env.attack.intensity) == ((1.0, 0.5), 0.5)
    env.scheduler.unattackable(env.source[0].id, 0.5)
    assert len({env.reset()[1]["scenario_id"] for _ in range(30)}) == 3


def test_the_outcome_comes_with_the_last_step_only():
    env, _ = build()
    env.reset(seed=0, options={"scenario": 0})
    assert "outcome" not in env.step(STILL)[4]
    steps, info = finish(env)
    outcome = info["outcome"]
    assert steps == 86
    assert outcome.attacked
    assert outcome.crashed
    assert outcome.arrived
    assert outcome.route_completion == pytest.approx(87 / 90)


def test_probability_decides_how_often():
    env, _ = build(probability=0.3)
    attacked = [env.reset(seed=0 if not k else None, options={"scenario": 0})[1]["attacked"] for k in range(400)]
    # Binomial(400, 0.3): five standard deviations are 46.
    assert abs(sum(attacked) - 120) < 46


def test_plans_are_played_late_only_as_published():
    plans = []
    for protocol in (CORRECTED, PUBLISHED):
        env, _ = build(protocol=protocol)
        env.reset(seed=0, options={"scenario": 1})
        plans.append(env.core.resets[-1]["plan"].states)
        assert env.attack.plan is env.core.resets[-1]["plan"]
    assert np.array_equal(plans[1][11:], plans[0][10:-1])


def test_an_episode_draws_everything_from_its_own_generator():
    env, spy = build(probability=0.5, scenes=[1, 2], generators=lambda: np.random.default_rng([7, 3]))
    env.reset()
    rng = np.random.default_rng([7, 3])
    assert env.scenario_index == [1, 2][rng.integers(2)]
    assert (env.attack.plan is not None) == (rng.random() < 0.5)
    if spy.contexts:
        rng.random()  # what the spy draws
    assert env.core.resets[-1]["seed"] == rng.integers(2**31)
    assert env.rng.random() == rng.random()


def test_boxes_that_meet_are_a_crash():
    env, _ = build()
    env.reset(seed=0, options={"scenario": 0})
    assert finish(env)[1]["outcome"].crashed


def test_the_buffer_that_is_given_is_used_even_if_it_is_empty():
    env, spy = build(buffer=EgoBuffer(2))
    env.reset(seed=0, options={"scenario": 0})
    assert len(spy.contexts[0].ego_trajectories) == 2


def test_every_scene_comes_up():
    env, _ = build()
    seen = {env.reset(seed=0 if not k else None)[1]["scenario_index"] for k in range(40)}
    assert seen == {0, 1, 2}


def test_scenes_that_cannot_be_attacked_are_played_and_say_why():
    class Reluctant(SpyAdversary):
        def plan(self, context):
            raise AdversaryError("no way through")

    source = tiny_source()
    env = AttackingEnv(FakeCore(source), source, adversary=Reluctant())
    _, info = env.reset(seed=0, options={"scenario": 0})
    assert (info["attacked"], info["intensity"], info["attack_error"]) == (False, 0.0, "no way through")
    assert not finish(env)[1]["outcome"].attacked
    assert "no opponent" in env.reset(options={"scenario": 2})[1]["attack_error"]


def test_seeding_restarts_everything():
    env, _spy = build(probability=0.5)

    def story():
        events = []
        for episode in range(6):
            observation, info = env.reset(seed=11 if episode == 0 else None)
            finish(env, LEFT)
            plan = env.core.resets[-1]["plan"]
            events.append(
                (info["scenario_id"], info["attacked"], observation.tobytes(), plan and plan.states.tobytes())
            )
        return events

    first = story()
    assert story() == first
    env.reset(seed=12)
    assert len({event[2] for event in first}) == 6


def test_options_do_not_shift_the_random_sequence():
    env, _ = build(probability=0.5)

    def second(options):
        env.reset(seed=3, options=options)
        _, info = env.reset()
        return info["scenario_id"], info["attacked"], env.core.resets[-1]["seed"]

    assert second(None) == second({"scenario": 1}) == second({"attack": False, "intensity": 0.1})


def test_an_episode_begins_at_the_step_that_is_asked_for_or_drawn():
    env, _ = build(probability=0.0)
    env.reset(seed=0, options={"scenario": 1, "start": 12})
    env.reset()
    assert [reset["start"] for reset in env.core.resets] == [12, 0]
    env, _ = build(probability=0.0, start_steps=30)
    for seed in range(40):
        env.reset(seed=seed)
    drawn = [reset["start"] for reset in env.core.resets]
    assert max(drawn) > 20
    assert min(drawn) < 10
    assert len(set(drawn)) > 10


def test_the_seed_argument_holds_until_the_first_reset():
    a, _ = build(seed=5)
    b, _ = build()
    assert np.array_equal(a.reset()[0], b.reset(seed=5)[0])
    assert not np.array_equal(a.reset()[0], b.reset(seed=5)[0])


def test_saved_state_goes_on_exactly():
    source = tiny_source()

    def fresh():
        return AttackingEnv(
            FakeCore(source),
            source,
            adversary=SpyAdversary(),
            scheduler=CurriculumSchedule(AdaptiveCurriculum(window=2), 1000),
        )

    def play(env, episodes):
        rows = []
        for _ in range(episodes):
            observation, info = env.reset()
            finish(env, LEFT)
            rows.append((info["scenario_id"], info["attacked"], info["intensity"], observation.tobytes()))
        return rows

    env = fresh()
    env.reset(seed=1)
    play(env, 5)
    state = copy.deepcopy(env.state_dict())
    expected = play(env, 8)
    other = fresh()
    other.load_state_dict(state)
    assert play(other, 8) == expected


class Ramp:
    name = "ramp"

    def __init__(self):
        self.outcomes = []

    def schedule(self, progress):
        return AttackSchedule(1.0, progress)

    def record(self, outcome):
        self.outcomes.append(outcome.attacked)

    def state_dict(self):
        return {"outcomes": list(self.outcomes)}

    def load_state_dict(self, state):
        self.outcomes = list(state["outcomes"])


def test_a_curriculum_follows_steps_and_outcomes_and_outlives_seeds():
    source = ListSource([tiny_source()[0]])
    schedule = CurriculumSchedule(Ramp(), 200)
    env = AttackingEnv(FakeCore(source), source, adversary=SpyAdversary(), scheduler=schedule)
    assert env.reset(seed=0)[1]["intensity"] == 0.0
    finish(env)
    assert schedule.steps == 87
    assert env.reset()[1]["intensity"] == pytest.approx(87 / 200)
    finish(env)
    finish_two = env.reset()[1]["intensity"]
    finish(env)
    assert finish_two == pytest.approx(174 / 200)
    assert env.reset()[1]["intensity"] == 1.0
    assert schedule.curriculum.outcomes == [True, True, True]
    assert env.reset(seed=0)[1]["intensity"] == 1.0
    assert (schedule.steps, schedule.curriculum.outcomes) == (261, [True, True, True])
    assert len(env.buffer.drives("straight_road")) == 3
    env.restart()
    assert env.reset(seed=0)[1]["intensity"] == 0.0
    assert (schedule.steps, schedule.curriculum.outcomes, len(env.buffer)) == (0, [], 0)


def course(total=1000, seed=None):
    source = ListSource([tiny_source()[0]])
    schedule = CurriculumSchedule(Ramp(), total)
    return AttackingEnv(FakeCore(source), source, adversary=SpyAdversary(), scheduler=schedule, seed=seed), schedule


@pytest.mark.parametrize("seeds", [[None] * 4, [0] * 4, [0, None, 1, None]])
def test_episodes_that_are_cut_off_count_as_far_as_they_were_driven(seeds):
    env, schedule = course()
    for seed in seeds:
        env.reset(seed=seed)
        for _ in range(30):
            assert "outcome" not in env.step(LEFT)[4]
    assert schedule.steps == 120
    assert schedule.curriculum.outcomes == [True] * 3, "the last one is still under way"
    assert len(env.buffer.drives("straight_road")) == 3
    env.reset()
    env.reset()
    assert schedule.curriculum.outcomes == [True] * 4, "an episode without a step is none"
    assert env.reset(seed=3)[1]["intensity"] == pytest.approx(0.12)


def test_a_time_limit_starves_nothing():
    env, schedule = course()
    limited = gym.wrappers.TimeLimit(env, 25)
    for _ in range(4):
        limited.reset()
        while not limited.step(STILL)[3]:
            pass
    assert schedule.steps == 100
    assert len(schedule.curriculum.outcomes) == 3


def test_what_the_simulator_cannot_tell_does_not_count(monkeypatch):
    env, schedule = course()
    env.reset()
    env.step(STILL)
    env.core.reset(seed=0, options={"scenario": 0, "plan": None, "ego": "replay"})
    env.reset()
    env.step(STILL)
    with monkeypatch.context() as patched:
        patched.setattr(env.core, "step", lambda action: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            env.step(STILL)
    env.reset()
    env.step(STILL)

    def dead():
        raise EngineError("its process died")

    monkeypatch.setattr(env.core, "recording", dead)
    env.reset()
    assert schedule.curriculum.outcomes == []


def test_progress_is_set_and_taken_along():
    env, _ = course(seed=4)
    env.set_progress(0.4)
    assert env.reset(seed=1)[1]["intensity"] == pytest.approx(0.4)
    finish(env)
    other, _ = course(seed=4)
    other.load_state_dict(copy.deepcopy(env.state_dict()))
    # As Stable-Baselines3 does: a loaded model seeds its environments again.
    assert other.reset(seed=9)[1]["intensity"] == pytest.approx(0.487)
    assert len(other.buffer.drives("straight_road")) == 1
    for bad in (-0.1, 1.01, float("nan")):
        with pytest.raises(ConfigError, match=r"\[0, 1\]"):
            env.set_progress(bad)
    with pytest.raises(ConfigError, match="follow no curriculum"):
        build()[0].set_progress(0.5)


def test_misuse_is_one_clear_error():
    env, _ = build()
    with pytest.raises(EngineError, match="before reset"):
        env.step(STILL)
    with pytest.raises(ConfigError, match="rgb_array"):
        build(render_mode="human")
    source = ListSource([])
    with pytest.raises(ConfigError, match="no scene"):
        AttackingEnv(FakeCore(tiny_source()), source)
    source = tiny_source()
    calm = AttackingEnv(FakeCore(source), source)
    assert not calm.reset(seed=0)[1]["attacked"]
    with pytest.raises(ConfigError, match="no adversary"):
        calm.reset(options={"attack": True})
    for bad in (-0.1, 1.5):
        with pytest.raises(ConfigError, match=r"\[0, 1\]"):
            FixedSchedule(bad, 1.0)
    for bad in (float("nan"), "hard", None):
        with pytest.raises(ConfigError, match="finite number"):
            FixedSchedule(0.5, bad)
    with pytest.raises(ConfigError, match="total_steps"):
        CurriculumSchedule(Ramp(), 0)


@pytest.mark.parametrize(
    "options", [5, [1], {"scenario": True}, {"attack": "no"}, {"intensity": "x"}, {"intensity": [1]}, {1: 2}]
)
def test_reset_options_of_the_wrong_kind_are_one_clear_error(options):
    env, _ = build()
    with pytest.raises(ConfigError, match="reset option"):
        env.reset(seed=0, options=options)
    env.reset(seed=0, options=dict.fromkeys(("scenario", "attack", "intensity")))


def test_a_copy_begins_with_a_reset():
    env, _ = build()
    env.reset(seed=0)
    for _ in range(3):
        env.step(STILL)
    copies = copy.deepcopy(env), pickle.loads(pickle.dumps(env))
    env.reset()
    for other in copies:
        with pytest.raises(EngineError, match="before reset"):
            other.step(STILL)
        other.reset()
        assert other.rng.bit_generator.state == env.rng.bit_generator.state


def test_render_and_close_reach_the_simulator():
    env, _ = build(render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (4, 4, 3)
    env.close()
    assert env.core.closed
    assert build()[0].render() is None
