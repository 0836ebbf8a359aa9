"""The same sequences in MetaDrive and in the fast engine: the same scenes, plans and actions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import EngineConfig
from harness.engine.env import GauntletEnv
from harness.engine.scene import parse_scene
from harness.engine.stock import FLAGS
from harness.episodes.actions import check_action
from harness.fast.fleet import CRASH_HUMAN, CRASH_OBJECT, CRASH_VEHICLE, POSE_X, POSE_Y
from harness.fast.lane_traffic import places
from harness.fast.packing import packed_agents
from harness.fast.plays import Play
from harness.fast.scenes import AT_X, AT_Y, OPPONENT, PackedScenes
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
        seed: Decides what is random about the driver and the traffic.
    """

    scene: int
    driver: str
    plan: AttackPlan | None
    seed: tuple[int, ...]

    @property
    def traffic_seed(self) -> int:
        """What is given to the reset of either engine."""
        return int(np.random.SeedSequence(self.seed).generate_state(1)[0])


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
        others: [T + 1, A, 2] everybody but the opponent, in traffic that does not follow the log: where they are, m, or
            NaN where they are absent.
    """

    actions: NDArray[np.float32]
    xy: NDArray[np.float64]
    observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    contacts: NDArray[np.bool_]
    ended: NDArray[np.bool_]
    others: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0, 2)))


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
    observation, _ = env.reset(seed=task.traffic_seed, options={"scenario": task.scene, "plan": task.plan})
    choose = _chooser(env.scenario, task, policy)
    rows: list[tuple[Any, ...]] = []
    observations = [observation]
    for step in range(steps):
        action = choose(step, env.view(), observation)
        observation, reward, ended, _, info = env.step(action)
        observations.append(observation)
        rows.append((action, reward, [bool(info[name]) for name in FLAGS], ended))
    actions, rewards, contacts, ends = zip(*rows, strict=True)
    recording = env.recording()
    sequence = DrivenSequence(
        np.array(actions, np.float32),
        recording.ego.states[: steps + 1, :2].copy(),
        np.array(observations),
        np.array(rewards),
        np.array(contacts),
        np.array(ends),
    )
    if env.options.traffic == "log":
        return sequence
    scene = parse_scene(env.scenario, static_vehicles=env.options.static_vehicles)
    agents = packed_agents(scene)
    scene.close()
    there = recording.agents_valid[agents, : steps + 1] & (agents != env.scenario.opponent)[:, None]
    places = np.where(there[..., None], recording.agents[agents, : steps + 1, :2], np.nan)
    return replace(sequence, others=places.swapaxes(0, 1))


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
    env.reset(options={"episodes": [_play(task) for task in tasks]})
    fleet, origins = env.fleet, packed.origins[[task.scene for task in tasks]]
    actions = np.stack([one.actions for one in driven], axis=1).astype(np.float64)
    observations, places = [fleet.observation.copy()], [fleet.drive[:, [POSE_X, POSE_Y]] + origins]
    rewards, contacts, ended, others = [], [], [], [_others(env)]
    for now in actions:
        # Not `env.step`: sequences go on after their end, as MetaDrive's do.
        env.advance(now)
        others.append(_others(env))
        observations.append(fleet.observation.copy())
        places.append(fleet.drive[:, [POSE_X, POSE_Y]] + origins)
        rewards.append(fleet.reward.copy())
        contacts.append(fleet.flags[:, [CRASH_VEHICLE, CRASH_HUMAN, CRASH_OBJECT]])
        ended.append(fleet.terminated.copy())
    env.close()
    seen, xy, reward, contact, ends = map(np.array, (observations, places, rewards, contacts, ended))
    agents, around = np.diff(packed.scenes.agent_of)[[task.scene for task in tasks]], np.array(others)
    return [
        DrivenSequence(
            one.actions,
            xy[:, e],
            seen[:, e],
            reward[:, e],
            contact[:, e],
            ends[:, e],
            around[:, e, : agents[e]] if env.lanes is not None else one.others,
        )
        for e, one in enumerate(driven)
    ]


def _play(task: SequenceTask) -> Play:
    return Play(task.scene, task.plan, seed=task.traffic_seed)


def _others(env: FastVectorEnv) -> NDArray[np.float64]:
    """Where everybody but the opponent is [N, A, 2], m; NaN for who is absent."""
    if env.lanes is None:
        return np.zeros((env.num_envs, 0, 2))
    fleet, scenes, driving = env.fleet, env.scenes, places(env.lanes)
    found = np.full(driving.shape, np.nan)
    for e, (scene, step) in enumerate(zip(fleet.scene.tolist(), fleet.step.tolist(), strict=True)):
        agents = int(scenes.agent_of[scene + 1] - scenes.agent_of[scene])
        row = scenes.track_of[scene] + min(step, int(env.packed.steps[scene]) - 1) * agents
        found[e, :agents] = scenes.tracks[row : row + agents, [AT_X, AT_Y]]
        found[e, scenes.facts[scene, [OPPONENT]].astype(int)[scenes.facts[scene, [OPPONENT]] >= 0]] = np.nan
    found = np.where(np.isfinite(driving), driving, found)
    found[fleet.seen != fleet.step[:, None] + 1] = np.nan
    return found + env.packed.origins[fleet.scene][:, None]


def outcome_in_metadrive(env: GauntletEnv, task: SequenceTask, policy: EgoPolicy) -> PolicyOutcome:
    """How the policy's own drive ends in MetaDrive."""
    observation, _ = env.reset(seed=task.traffic_seed, options={"scenario": task.scene, "plan": task.plan})
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
    observations, _ = env.reset(options={"episodes": [_play(task)]})
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
