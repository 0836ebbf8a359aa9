"""One episode of one policy in one scene, attacked or not: everything that is measured comes from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import SENSORS
from harness.episodes.actions import check_action
from harness.episodes.attacks import NO_ADVERSARY, Attack, plan_attack
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.protocol import CORRECTED, Protocol, protocol_of
from harness.errors import ConfigError, GauntletError, PolicyError, foreign
from harness.interfaces import STATE, Adversary, EgoPolicy, EgoView, Episode, Trajectory
from harness.metrics.driving import mean_jerk, mean_speed
from scenarios.scenario import Scenario, name_seed

if TYPE_CHECKING:
    from harness.engine import Recording
    from harness.engine.env import GauntletEnv

_REPLAY_ACTION: Final = np.zeros(2, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Played:
    """One episode with what lies behind its record.

    Attributes:
        episode: The record.
        attack: What the adversary answered.
        failure: What stopped the episode, or None.
    """

    episode: Episode
    attack: Attack = field(default_factory=Attack)
    failure: GauntletError | None = None


def run_episode(
    env: GauntletEnv,
    policy: EgoPolicy,
    adversary: Adversary | None,
    scenario_index: int,
    *,
    intensity: float = 1.0,
    seed: int = 0,
    ego_buffer: EgoBuffer | None = None,
    protocol: Protocol | str = CORRECTED,
    on_step: Callable[[int, EgoView], None] | None = None,
) -> Episode:
    """Run one episode.

    The same arguments give the same episode: environment, adversary and policy each draw from their own generator,
    all derived from `seed`.

    Args:
        env: Engine environment; its observation preset must be the policy's.
        policy: The system under test.
        adversary: Who attacks; None plays the scene as recorded.
        scenario_index: Scene in the environment's source.
        intensity: Intensity of the attack.
        seed: Seed of the episode.
        ego_buffer: What this policy did in this scene before, to be attacked; None: the log. The episode is added.
        protocol: `as-published` attacks the logged ego whatever the policy did, and plays plans one step late.
        on_step: Called with the step and the view after every step, for pictures and progress.

    Returns:
        The record.

    Raises:
        PolicyError: The policy failed or returned no action; names policy, step and scene.
        AdversaryError: The scene cannot be attacked.
        ConfigError: The policy expects another observation.
        UnknownNameError: No such protocol.
    """
    drives = None if ego_buffer is None else ego_buffer.get(env.source[scenario_index])
    episode = play(
        env,
        policy,
        adversary,
        scenario_index,
        intensity=intensity,
        seed=seed,
        drives=drives,
        protocol=protocol_of(protocol),
        on_step=on_step,
    ).episode
    if ego_buffer is not None:
        ego_buffer.add(episode.scenario_id, episode.ego, attacked=episode.plan is not None)
    return episode


def play(
    env: GauntletEnv,
    policy: EgoPolicy,
    adversary: Adversary | None,
    scenario_index: int,
    *,
    intensity: float = 1.0,
    seed: int = 0,
    drives: tuple[Trajectory, ...] | None = None,
    protocol: Protocol = CORRECTED,
    on_step: Callable[[int, EgoView], None] | None = None,
) -> Played:
    """`run_episode` with the attack behind the record; `drives` is what the ego did here before, newest last.

    Raises:
        GauntletError: As `run_episode`.
    """
    check_observation(env, policy)
    scenario = env.source[scenario_index]
    rng_policy, rng_adversary, rng_env = generators_of(seed, scenario)
    attack = plan_attack(
        adversary,
        scenario,
        rng_adversary,
        intensity=intensity,
        ego=None if protocol.attack_logged_ego else drives,
        ego_size=env.options.ego_box_in(scenario, replay=policy.control == "replay"),
        protocol=protocol,
    )
    ego = "policy" if policy.control == "action" else "replay"
    observation, _ = env.reset(
        seed=int(rng_env.integers(2**31)), options={"scenario": scenario_index, "plan": attack.plan, "ego": ego}
    )
    _guard(policy, scenario, 0, lambda: policy.reset(scenario, rng_policy))
    driven = _drive(env, policy, scenario, observation, on_step)
    episode = Episode(
        scenario_id=scenario.id,
        policy=policy.name,
        adversary=adversary.name if adversary is not None else NO_ADVERSARY,
        intensity=attack.played_intensity,
        seed=seed,
        plan=attack.plan,
        **driven,
    )
    return Played(episode, attack)


def generators_of(seed: int, scenario: Scenario) -> tuple[np.random.Generator, ...]:
    """Generators of policy, adversary and environment in an episode: each draws from its own."""
    streams = np.random.SeedSequence([seed, name_seed(scenario.id)]).spawn(3)
    return tuple(np.random.default_rng(stream) for stream in streams)


def _drive(
    env: GauntletEnv,
    policy: EgoPolicy,
    scenario: Scenario,
    observation: NDArray[np.float32],
    on_step: Callable[[int, EgoView], None] | None,
) -> dict[str, Any]:
    """Step from a reset to the end; the fields of `Episode` that come of it."""
    reward = cost = 0.0
    steps, terminated, truncated = 0, False, False
    info: Mapping[str, Any] = {}
    while not (terminated or truncated):
        action = _act(policy, scenario, env, observation, steps)
        observation, step_reward, terminated, truncated, info = env.step(action)
        steps += 1
        reward += float(step_reward)
        cost += float(info["cost"])
        if on_step is not None:
            on_step(steps, env.view())
    return {
        "steps": steps,
        "reward": reward,
        "cost": cost,
        "truncated": bool(truncated and not terminated),
        "end_of_map": bool(info.get("end_of_map", False) and not terminated),
        **_observed(env.recording(), info, scenario.dt),
    }


def _observed(recording: Recording, info: Mapping[str, Any], dt: float) -> dict[str, Any]:
    """The fields of `Episode` that the simulator knows."""
    states, valid = recording.ego
    return {
        "ego": recording.ego,
        "opponent": recording.opponent,
        "agents": recording.agents,
        "agents_valid": recording.agents_valid,
        "route_completion": float(np.clip(info["route_completion"], 0.0, 1.0)),
        "arrived": bool(info["arrive_dest"]),
        "off_road": bool(info["out_of_road"]),
        "crash_contact": recording.crash_contact,
        "crash_geometry": recording.crash_geometry,
        "crash_opponent": recording.crash_opponent,
        "newcomers": recording.newcomers,
        "route": recording.route,
        "engine_force": recording.engine_force,
        "brake_force": recording.brake_force,
        "mean_speed": float(mean_speed(states, valid)),
        "mean_jerk": float(mean_jerk(states, valid, dt)),
    }


def failed_episode(
    scenario_id: str, policy: str, adversary: str, reason: str, *, intensity: float = 0.0, seed: int = 0
) -> Episode:
    """The record of an episode that could not be finished: its numbers mean nothing, its `error` says why."""
    nothing = Trajectory(np.zeros((0, STATE)), np.zeros(0, dtype=np.bool_))
    nan = float("nan")
    return Episode(
        scenario_id=scenario_id,
        policy=policy,
        adversary=adversary,
        intensity=intensity,
        seed=seed,
        ego=nothing,
        opponent=None,
        agents=np.zeros((0, 0, STATE)),
        agents_valid=np.zeros((0, 0), dtype=np.bool_),
        plan=None,
        steps=0,
        reward=nan,
        cost=nan,
        route_completion=nan,
        arrived=False,
        off_road=False,
        truncated=False,
        crash_contact=None,
        crash_geometry=None,
        crash_opponent=None,
        mean_speed=nan,
        mean_jerk=nan,
        error=reason or "unknown",
    )


def check_observation(env: GauntletEnv, policy: EgoPolicy) -> None:
    """Refuse a policy that expects other observations than the environment gives.

    Raises:
        ConfigError: Another preset or another length.
    """
    if policy.observation == "none":
        return
    if policy.observation != env.options.observation:
        raise ConfigError(
            f"policy {policy.name!r} expects observation {policy.observation!r}, but the environment gives "
            f"{env.options.observation!r}. Make the environment with observation={policy.observation!r}."
        )
    size = getattr(policy, "observation_size", None)
    given = SENSORS[env.options.observation].size
    if size is not None and size != given:
        raise ConfigError(
            f"policy {policy.name!r} expects {size} observation values, but preset {env.options.observation!r} has "
            f"{given}. Was it trained with another preset or another simulator version?"
        )


def _guard(policy: EgoPolicy, scenario: Scenario, step: int, call: Callable[[], Any]) -> Any:
    """Call into the policy: whatever a user's code raises becomes one PolicyError that says where."""
    with foreign(f"policy {policy.name!r} failed at step {step} of scene {scenario.id}", PolicyError):
        return call()


def _act(
    policy: EgoPolicy, scenario: Scenario, env: GauntletEnv, observation: NDArray[np.float32], step: int
) -> NDArray[np.float32]:
    if policy.control == "replay":
        return _REPLAY_ACTION
    # Policies that do not ask for the future neither see it nor pay for it.
    futures = {"futures": True} if getattr(policy, "sees_futures", False) else {}
    action = _guard(policy, scenario, step, lambda: policy.act(observation, env.view(**futures)))
    return check_action(action, policy=policy.name, step=step, scene=scenario.id)
