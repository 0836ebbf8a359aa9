"""One episode of one policy in one scene, attacked or not: everything that is measured comes from here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import SENSORS
from harness.episodes.actions import check_action
from harness.episodes.ego_buffer import EgoBuffer, log_trajectory
from harness.errors import AdversaryError, ConfigError, GauntletError, PolicyError
from harness.interfaces import (
    STATE,
    Adversary,
    AttackContext,
    AttackPlan,
    EgoPolicy,
    EgoView,
    Episode,
    Trajectory,
)
from harness.metrics.driving import mean_jerk, mean_speed
from scenarios.scenario import CURRENT_STEP, Scenario

if TYPE_CHECKING:
    from harness.engine import Recording
    from harness.engine.env import GauntletEnv

logger = logging.getLogger(__name__)

Protocol = Literal["corrected", "as-published"]
NO_ADVERSARY: Final = "none"
_REPLAY_ACTION: Final = np.zeros(2, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class EpisodeJob:
    """One episode to run, as data: it travels to a worker and into a run directory.

    Attributes:
        scenario: Index in the environment's source.
        policy: Key in the policies given to `run_many`.
        adversary: Key in the adversaries given to `run_many`, or `none`.
        intensity: Of the attack.
        seed: Of the episode.
    """

    scenario: int
    policy: str
    adversary: str = NO_ADVERSARY
    intensity: float = 1.0
    seed: int = 0


def run_episode(
    env: GauntletEnv,
    policy: EgoPolicy,
    adversary: Adversary | None,
    scenario_index: int,
    *,
    intensity: float = 1.0,
    seed: int = 0,
    ego_buffer: EgoBuffer | None = None,
    protocol: Protocol = "corrected",
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
        intensity: Of the attack.
        seed: Of the episode.
        ego_buffer: What this policy did in this scene before, to be attacked; None: the log. The episode is added.
        protocol: `as-published` attacks the logged ego whatever the policy did (as CAT's and SAGE's evaluation).
        on_step: Called with the step and the view after every step, for pictures and progress.

    Returns:
        The record.

    Raises:
        PolicyError: The policy failed or returned no action; names policy, step and scene.
        AdversaryError: The scene cannot be attacked.
        ConfigError: The policy expects another observation.
    """
    check_observation(env, policy)
    scenario = env.source[scenario_index]
    streams = np.random.SeedSequence([seed, len(scenario.id)]).spawn(3)
    rng_policy, rng_adversary, rng_env = (np.random.default_rng(stream) for stream in streams)
    buffer = None if protocol == "as-published" else ego_buffer
    size = env.options.ego_box_in(scenario, replay=policy.control == "replay")
    plan = plan_attack(scenario, adversary, intensity, rng_adversary, size, buffer)
    ego = "policy" if policy.control == "action" else "replay"
    observation, _ = env.reset(
        seed=int(rng_env.integers(2**31)), options={"scenario": scenario_index, "plan": plan, "ego": ego}
    )
    _guard(policy, scenario, 0, lambda: policy.reset(scenario, rng_policy))
    driven = _drive(env, policy, scenario, observation, on_step)
    if ego_buffer is not None:
        ego_buffer.add(scenario.id, driven["ego"])
    return Episode(
        scenario_id=scenario.id,
        policy=policy.name,
        adversary=adversary.name if adversary is not None else NO_ADVERSARY,
        intensity=intensity if plan is not None else 0.0,
        seed=seed,
        plan=plan,
        **driven,
    )


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
        "mean_speed": float(mean_speed(states, valid)),
        "mean_jerk": float(mean_jerk(states, valid, dt)),
    }


def run_two_stage(
    env: GauntletEnv,
    policy: EgoPolicy,
    adversary: Adversary,
    scenario_index: int,
    *,
    intensity: float = 1.0,
    seed: int = 0,
    protocol: Protocol = "corrected",
) -> tuple[Episode, Episode]:
    """The published evaluation: drive undisturbed, then again under an attack tailored to that drive.

    Returns:
        The undisturbed and the attacked episode.
    """
    buffer = EgoBuffer(1, prefill="none")
    normal = run_episode(env, policy, None, scenario_index, seed=seed, ego_buffer=buffer, protocol=protocol)
    attacked = run_episode(
        env, policy, adversary, scenario_index, intensity=intensity, seed=seed, ego_buffer=buffer, protocol=protocol
    )
    return normal, attacked


def run_many(
    env: GauntletEnv,
    jobs: Sequence[EpisodeJob] | Iterable[EpisodeJob],
    policies: dict[str, EgoPolicy],
    adversaries: dict[str, Adversary] | None = None,
    *,
    ego_buffers: dict[str, EgoBuffer] | None = None,
    protocol: Protocol = "corrected",
    on_error: Literal["raise", "record"] = "raise",
    progress: Callable[[int, Episode], None] | None = None,
) -> Iterator[Episode]:
    """Run episodes one after the other, yielding each as it ends.

    Args:
        env: Engine environment.
        jobs: What to run, in order.
        policies: By the jobs' names.
        adversaries: By the jobs' names.
        ego_buffers: Per policy, what it did; made where missing. Undisturbed jobs that come first are what later
            attacks on the same policy and scene aim at.
        protocol: See `run_episode`.
        on_error: `raise`, or `record` the failed episode with its reason and go on; it is never dropped.
        progress: Called with the number of finished episodes and the last one.

    Raises:
        ConfigError: A job names an unknown policy or adversary.
        GauntletError: An episode failed and `on_error` is `raise`.
    """
    adversaries = adversaries or {}
    buffers = ego_buffers if ego_buffers is not None else {}
    for done, job in enumerate(jobs, start=1):
        policy, adversary = _named(job, policies, adversaries)
        buffer = buffers.setdefault(job.policy, EgoBuffer(1, prefill="none"))
        try:
            episode = run_episode(
                env,
                policy,
                adversary,
                job.scenario,
                intensity=job.intensity,
                seed=job.seed,
                ego_buffer=buffer,
                protocol=protocol,
            )
        except GauntletError as error:
            if on_error == "raise":
                raise
            logger.warning("episode %d failed: %s", done, error)
            episode = failed_episode(env.source.ids[job.scenario], job, str(error))
        if progress is not None:
            progress(done, episode)
        yield episode


def failed_episode(scenario_id: str, job: EpisodeJob, reason: str) -> Episode:
    """The record of an episode that could not be finished: its numbers mean nothing, its `error` says why."""
    nothing = Trajectory(np.zeros((0, STATE)), np.zeros(0, dtype=np.bool_))
    nan = float("nan")
    return Episode(
        scenario_id=scenario_id,
        policy=job.policy,
        adversary=job.adversary,
        intensity=job.intensity,
        seed=job.seed,
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


def plan_attack(
    scenario: Scenario,
    adversary: Adversary | None,
    intensity: float,
    rng: np.random.Generator,
    ego_size: tuple[float, float],
    buffer: EgoBuffer | None = None,
) -> AttackPlan | None:
    """Ask an adversary for its plan.

    Args:
        scenario: The scene.
        adversary: None for nobody.
        intensity: Of the attack.
        rng: For the adversary.
        ego_size: Length and width, m.
        buffer: What the ego did before; None: the log.

    Raises:
        AdversaryError: No opponent, or the adversary cannot plan here.
    """
    if adversary is None or adversary.name == NO_ADVERSARY:
        return None
    if scenario.opponent is None:
        raise AdversaryError(f"scene {scenario.id} has no opponent, so {adversary.name!r} cannot attack in it.")
    trajectories = buffer.get(scenario) if buffer is not None else (log_trajectory(scenario),)
    return adversary.plan(
        AttackContext(
            scenario=scenario,
            opponent=scenario.opponent,
            ego_trajectories=trajectories,
            intensity=intensity,
            rng=rng,
            ego_size=ego_size,
            step=CURRENT_STEP,
        )
    )


def _named(
    job: EpisodeJob, policies: dict[str, EgoPolicy], adversaries: dict[str, Adversary]
) -> tuple[EgoPolicy, Adversary | None]:
    if job.policy not in policies:
        raise ConfigError(f"no policy {job.policy!r} among {', '.join(policies) or 'none'}.")
    if job.adversary == NO_ADVERSARY:
        return policies[job.policy], None
    if job.adversary not in adversaries:
        raise ConfigError(f"no adversary {job.adversary!r} among {', '.join(adversaries) or 'none'}.")
    return policies[job.policy], adversaries[job.adversary]


def _guard(policy: EgoPolicy, scenario: Scenario, step: int, call: Callable[[], Any]) -> Any:
    """Call into the policy: whatever a user's code raises becomes one PolicyError that says where."""
    try:
        return call()
    except Exception as error:  # a policy is foreign code: it may raise anything
        raise PolicyError(
            f"policy {policy.name!r} failed at step {step} of scene {scenario.id}: {type(error).__name__}: {error}"
        ) from error


def _act(
    policy: EgoPolicy, scenario: Scenario, env: GauntletEnv, observation: NDArray[np.float32], step: int
) -> NDArray[np.float32]:
    if policy.control == "replay":
        return _REPLAY_ACTION
    # Policies that do not ask for the future neither see it nor pay for it.
    futures = {"futures": True} if getattr(policy, "sees_futures", False) else {}
    action = _guard(policy, scenario, step, lambda: policy.act(observation, env.view(**futures)))
    return check_action(action, policy=policy.name, step=step, scene=scenario.id)
