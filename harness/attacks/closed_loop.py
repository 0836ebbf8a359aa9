"""The same attacks played in the engine: drive undisturbed, attack what was driven, count contacts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from harness.engine.config import EngineConfig, ObservationName
from harness.episodes.protocol import Protocol
from harness.episodes.two_stage import two_stages
from harness.errors import AdversaryError
from harness.interfaces import Adversary, EgoPolicy, Episode
from harness.metrics.intervals import Interval, wilson
from scenarios.scenario import ScenarioSource

JUDGES: Final = {
    "contact": "contact reported by the engine",
    "geometry": "boxes overlap, any vehicle",
    "opponent": "boxes overlap, the opponent",
    "normal_geometry": "undisturbed: boxes overlap",
}
"""Who says that there was contact: fields of `SimulatedAttack`, and what tables call them."""


@dataclass(frozen=True, slots=True)
class SimulatedAttack:
    """One attacked episode. Steps are absolute, -1 for never.

    Attributes:
        scenario, policy, adversary: Names.
        error: Why the scene could not be attacked; then no other number counts.
        contact: First step with a vehicle contact reported by the engine.
        geometry: First step at which the ego's box met any vehicle's.
        opponent: First step at which it met the opponent's.
        normal_geometry: The same as `geometry`, undisturbed.
        route_completion: Share of the logged path that was driven in the attacked episode, 0 … 1.
    """

    scenario: str
    policy: str
    adversary: str
    error: str = ""
    contact: int = -1
    geometry: int = -1
    opponent: int = -1
    normal_geometry: int = -1
    route_completion: float = 0.0


def simulate(
    source: ScenarioSource,
    count: int,
    policy: EgoPolicy,
    adversaries: Sequence[Adversary],
    protocol: Protocol,
    *,
    intensity: float = 1.0,
    seed: int = 0,
    horizon: int | None = None,
    progress: Callable[[range], Iterable[int]] | None = None,
) -> list[SimulatedAttack]:
    """Two-stage evaluation of `policy` in the first `count` scenes of `source`.

    Args:
        source: Scenes.
        count: How many.
        policy: The system under test.
        adversaries: Who attacks.
        protocol: Whether attacks aim at what the policy drove undisturbed, and when their rows are played.
        intensity: Intensity of every attack.
        seed: Seed of every episode.
        horizon: Steps after which an episode is truncated; None: where its scene ends.
        progress: Wraps the range of scene indices (a progress bar).

    Raises:
        EngineError: This process has a live engine already.
        PolicyError: The policy failed.
    """
    # MetaDrive is imported only here: most uses of the command never start the engine.
    from harness.engine.env import GauntletEnv

    episodes: list[SimulatedAttack] = []
    # The names are checked by EngineConfig itself.
    config = EngineConfig(horizon=horizon, observation=cast(ObservationName, policy.observation))
    env = GauntletEnv(source, config)
    try:
        for index in progress(range(count)) if progress is not None else range(count):
            normal, *attacked = two_stages(
                env, policy, adversaries, index, intensity=intensity, seed=seed, protocol=protocol
            )
            for adversary, played in zip(adversaries, attacked, strict=True):
                failure = normal.failure or played.failure
                if failure is not None and not isinstance(failure, AdversaryError):
                    raise failure
                episodes.append(_simulated(adversary.name, normal.episode, played.episode))
    finally:
        env.close()
    return episodes


def _simulated(adversary: str, normal: Episode, attacked: Episode) -> SimulatedAttack:
    names = (attacked.scenario_id, attacked.policy, adversary)
    if attacked.error:
        return SimulatedAttack(*names, error=attacked.error)
    return SimulatedAttack(
        *names,
        contact=_step(attacked.crash_contact),
        geometry=_step(attacked.crash_geometry),
        opponent=_step(attacked.crash_opponent),
        normal_geometry=_step(normal.crash_geometry),
        route_completion=attacked.route_completion,
    )


def rates(episodes: Sequence[SimulatedAttack]) -> dict[str, Interval]:
    """Shares of attacked episodes with contact, by every judge, each with Wilson's interval."""
    good = [episode for episode in episodes if not episode.error]
    return {name: wilson(sum(getattr(episode, name) >= 0 for episode in good), len(good)) for name in JUDGES}


def _step(step: int | None) -> int:
    return -1 if step is None else step
