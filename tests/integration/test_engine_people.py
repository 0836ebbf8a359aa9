"""Opponents on foot and on bicycles in both engines: whom the ego hits, and what does not count."""

import numpy as np
import pytest

from adversaries.vulnerable.adversary import VulnerableAdversary
from harness.engine import EngineConfig, GauntletEnv
from harness.episodes.attacks import attack_context
from harness.fast.packing import settled_scenes
from harness.fast.plays import Play
from harness.fast.vector import FastVectorEnv
from scenarios.scenario import Kind
from tests.scenes import Agent, kerbside, straight_road
from tests.sources import ListSource

STEPS = 60
IN_THE_WAY = Agent("bystander", 25.0, 0.0, 0.0, 0.0, Kind.PEDESTRIAN, (0.8, 0.8, 1.75))


def scenes():
    """A walker, a rider, somebody who stands in the ego's lane and is the opponent, and the same as a bystander."""
    return [
        kerbside(y=-4.0),
        kerbside(kind=Kind.CYCLIST, y=-4.0, heading=0.0, speed=4.0, x=30.0, scene_id="rider"),
        kerbside(x=25.0, y=0.0, scene_id="stands"),
        straight_road(opponent_offset=3.5, opponent_gap=60.0, extra=[IN_THE_WAY], scene_id="bystander"),
    ]


def plans():
    made = VulnerableAdversary()
    return [
        *(made.plan(attack_context(scene, np.random.default_rng(0))) for scene in scenes()[:2]),
        None,
        None,
    ]


@pytest.fixture(scope="module")
def env():
    env = GauntletEnv(ListSource(scenes()), EngineConfig(horizon=STEPS))
    yield env
    env.close()


def play(env, scene, plan, ego):
    env.reset(options={"scenario": scene, "plan": plan, "ego": ego})
    infos = [env.step(np.zeros(2))[4] for _ in range(STEPS)]
    record = env.recording()
    return infos, (record.crash_contact, record.crash_geometry, record.crash_opponent)


@pytest.mark.parametrize("scene", [0, 1])
def test_a_hit_counts_by_boxes_and_by_the_engine(env, scene):
    plan = plans()[scene]
    infos, (contact, geometry, opponent) = play(env, scene, plan, "replay")
    assert geometry == opponent == plan.info["expected_step"]
    # MetaDrive's bodies are smaller than the recorded boxes, and its bicycles stand across their way.
    assert opponent - 5 <= contact <= opponent + 10
    assert infos[contact - 1]["crash_contact"] is True
    assert infos[contact - 1]["crash_human"] is True
    assert infos[contact - 1]["crash_vehicle"] is False


def test_an_opponent_that_only_stands_there_counts_and_a_bystander_does_not(env):
    _, (contact, geometry, opponent) = play(env, 2, None, "replay")
    assert geometry == opponent
    # The ego's front is 2.25 m ahead of it, the person's box begins at 24.6 m: 22.35 m at 1 m a step.
    assert geometry == 23
    assert contact in (22, 23, 24)
    infos, met = play(env, 3, None, "replay")
    assert met == (None, None, None)
    assert any(info["crash_human"] for info in infos)


class Told:
    """Plays each scene once, and remembers how it went."""

    def __init__(self):
        self.ended = {}

    def draw(self, count):
        return [Play(3)] * count

    def finished(self, episode):
        self.ended.setdefault(episode.play.scene, episode)


def test_the_fast_engine_counts_alike(env):
    told = Told()
    config = EngineConfig(horizon=STEPS)
    fast = FastVectorEnv(settled_scenes(ListSource(scenes())), 4, config, episodes=told)
    fast.reset(options={"episodes": [Play(scene, plan) for scene, plan in enumerate(plans())]})
    for _ in range(STEPS):
        fast.step(np.zeros((4, 2)))
    fast.close()
    assert len(told.ended) == 4
    for scene, plan in enumerate(plans()):
        _, met = play(env, scene, plan, "policy")
        found = told.ended[scene]
        assert (found.crash_contact, found.crash_geometry, found.crash_opponent) == met
        assert found.outcome.crashed == (scene < 3)
