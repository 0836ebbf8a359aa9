"""The same sequences in MetaDrive and in the fast engine: the same scenes, plans and actions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import EngineConfig
from harness.engine.env import GauntletEnv
from harness.engine.stock import FLAGS
from harness.episodes.actions import check_action
from harness.fast.fleet import CRASH_HUMAN, CRASH_OBJECT, CRASH_VEHICLE, POSE_X, POSE_Y, rules_of
from harness.fast.plays import Play
from harness.fast.scenes import PackedScenes
from harness.fast.stepping import step_range
from harness.fast.vector import FastVectorEnv
from harness.interfaces import AttackPlan, EgoPolicy, EgoView
from harness.performance.drivers import TRAINED, make_driver
from scenarios.scenario import Scenario, ScenarioSource


@dataclass(frozen=True, slots=True)
class SequenceTask:
    """What is driven.

    Attributes:
        scene: Index of the scene.
        driver: One of `drivers.DRIVERS`, or `TRAINED`.
        plan: Plan of the opponent, or None.
        seed: Decides what is random about the driver.
    """

    scene: int
    driver: str
    plan: AttackPlan | None
    seed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DrivenSequence:
    """What happened; row k of `xy` and `observations` is after step k, row k of all else is of step k + 1.

    Attributes:
        actions: [T, 2].
        xy: [T + 1, 2] in the scene's world frame, m.
        observations: [T + 1, D].
        rewards: [T].
        contacts: [T, 3] with a vehicle, a person, an object.
        ended: [T] whether the rules end an episode there; the sequence goes on.
    """

    actions: NDArray[np.float32]
    xy: NDArray[np.float64]
    observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    contacts: NDArray[np.bool_]
    ended: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PolicyOutcome:
    """How a policy's own drive ended."""

    crashed: bool
    off_road: bool
    arrived: bool


def drive_in_metadrive(
    env: GauntletEnv, task: SequenceTask, steps: int, policy: EgoPolicy | None = None
) -> DrivenSequence:
    """Drive a sequence; who drives sees MetaDrive.

    Args:
        env: The engine.
        task: What is driven.
        steps: T.
        policy: Who drives where the task says `TRAINED`.
    """
    observation, _ = env.reset(options={"scenario": task.scene, "plan": task.plan})
    choose = _chooser(env.scenario, task, policy)
    rows: list[tuple[Any, ...]] = []
    observations = [observation]
    for step in range(steps):
        action = choose(step, env.view(), observation)
        observation, reward, ended, _, info = env.step(action)
        observations.append(observation)
        rows.append((action, reward, [bool(info[name]) for name in FLAGS], ended))
    actions, rewards, contacts, ends = zip(*rows, strict=True)
    return DrivenSequence(
        np.array(actions, np.float32),
        env.recording().ego.states[: steps + 1, :2].copy(),
        np.array(observations),
        np.array(rewards),
        np.array(contacts),
        np.array(ends),
    )


def _chooser(
    scenario: Scenario, task: SequenceTask, policy: EgoPolicy | None
) -> Callable[[int, EgoView, NDArray[np.float32]], NDArray[np.float32]]:
    rng = np.random.default_rng(task.seed)
    if task.driver == TRAINED:
        assert policy is not None, "whoever lists this driver has a policy"
        policy.reset(scenario, rng)
        return lambda step, view, seen: check_action(policy.act(seen, view), policy=policy.name, step=step)
    driver = make_driver(task.driver, rng)
    speeds = np.hypot(*scenario.velocity[scenario.ego].T)
    return lambda step, view, seen: driver(step, view, float(speeds[min(step, len(speeds) - 1)]))


def repeat_in_fast(
    packed: PackedScenes, config: EngineConfig, tasks: Sequence[SequenceTask], driven: Sequence[DrivenSequence]
) -> list[DrivenSequence]:
    """Drive sequences again in the fast engine, with the actions that MetaDrive saw.

    Args:
        packed: The scenes, in the tasks' order.
        config: As of MetaDrive's environment.
        tasks, driven: What was driven, and what happened.
    """
    env = FastVectorEnv(packed, len(tasks), config)
    env.reset(options={"episodes": [Play(task.scene, task.plan) for task in tasks]})
    fleet, rules, origins = env.fleet, rules_of(config), packed.origins[[task.scene for task in tasks]]
    actions = np.stack([one.actions for one in driven], axis=1).astype(np.float64)
    observations, places = [fleet.observation.copy()], [fleet.drive[:, [POSE_X, POSE_Y]] + origins]
    rewards, contacts, ended = [], [], []
    for now in actions:
        # Not `env.step`: sequences go on after their end, as MetaDrive's do.
        step_range(env.scenes, fleet, rules, now, 0, len(tasks))
        observations.append(fleet.observation.copy())
        places.append(fleet.drive[:, [POSE_X, POSE_Y]] + origins)
        rewards.append(fleet.reward.copy())
        contacts.append(fleet.flags[:, [CRASH_VEHICLE, CRASH_HUMAN, CRASH_OBJECT]])
        ended.append(fleet.terminated.copy())
    env.close()
    seen, xy, reward, contact, ends = map(np.array, (observations, places, rewards, contacts, ended))
    return [
        DrivenSequence(one.actions, xy[:, e], seen[:, e], reward[:, e], contact[:, e], ends[:, e])
        for e, one in enumerate(driven)
    ]


def outcome_in_metadrive(env: GauntletEnv, task: SequenceTask, policy: EgoPolicy) -> PolicyOutcome:
    """How the policy's own drive ends in MetaDrive."""
    observation, _ = env.reset(options={"scenario": task.scene, "plan": task.plan})
    policy.reset(env.scenario, np.random.default_rng(task.seed))
    crashed = done = False
    step = 0
    info: dict[str, Any] = {}
    while not done:
        action = check_action(policy.act(observation, env.view()), policy=policy.name, step=step)
        observation, _, terminated, truncated, info = env.step(action)
        crashed |= bool(info["crash_vehicle"])
        done, step = terminated or truncated, step + 1
    return PolicyOutcome(crashed, bool(info["out_of_road"]), bool(info["arrive_dest"]))


def outcome_in_fast(env: FastVectorEnv, source: ScenarioSource, task: SequenceTask, policy: EgoPolicy) -> PolicyOutcome:
    """How the policy's own drive ends in the fast engine.

    Args:
        env: One environment.
        source: Its scenes.
        task: What is driven.
        policy: Who drives, by the observation alone.
    """
    observations, _ = env.reset(options={"episodes": [Play(task.scene, task.plan)]})
    policy.reset(source[task.scene], np.random.default_rng(task.seed))
    crashed = done = False
    step = 0
    info: dict[str, Any] = {}
    while not done:
        action = check_action(policy.act(observations[0], _blank(step)), policy=policy.name, step=step)
        observations, _, terminated, truncated, info = env.step(action[None])
        crashed |= bool(info["crash_vehicle"][0])
        done, step = bool(terminated[0] or truncated[0]), step + 1
    return PolicyOutcome(crashed, bool(info["out_of_road"][0]), bool(info["arrive_dest"][0]))


def _blank(step: int) -> EgoView:
    """A view in which nothing is seen: whoever drives looks at the observation."""
    nobody = np.full((0, 5), math.nan)
    return EgoView(step, 0.1, np.full(5, math.nan), (math.nan, math.nan), np.zeros((0, 2)), nobody, nobody[:, :2])
