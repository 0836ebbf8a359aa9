"""The published evaluation: drive a scene undisturbed, then again under attacks that are tailored to that drive."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from harness.episodes.attacks import NO_ADVERSARY
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.protocol import CORRECTED, Protocol
from harness.episodes.rollout import Played, failed_episode, play
from harness.errors import GauntletError, NoAnswerError, RunError
from harness.interfaces import Adversary, EgoPolicy, Episode

if TYPE_CHECKING:
    from harness.engine.env import GauntletEnv

TRIES: Final = 2
"""How often an episode is played whose policy gives no answer."""
_LOG = logging.getLogger(__name__)


def play_stage(
    env: GauntletEnv,
    policy: EgoPolicy,
    adversary: Adversary | None,
    scenario_index: int,
    undisturbed: Episode | None = None,
    *,
    intensity: float = 1.0,
    seed: int = 0,
    protocol: Protocol = CORRECTED,
) -> Played:
    """Play one stage. An episode that fails is a record with its reason, never lost.

    Where a policy that is a program of its own gives no answer, the episode is tried once more: programs and networks
    have bad moments. Everything else would fail in the same way again.

    Args:
        env: Engine environment; its observation preset must be the policy's.
        policy: The system under test.
        adversary: Who attacks; None for stage 1.
        scenario_index: Scene in the environment's source.
        undisturbed: Stage 1 of the same policy in this scene, which an attack aims at. Each attack sees that drive
            only: attacks of other adversaries do not change each other.
        intensity: Intensity of the attack.
        seed: Seed of the episode.
        protocol: `as-published` aims at the logged ego instead.

    Raises:
        RunError: A run folder cannot be used.
    """
    name = env.source.ids[scenario_index]
    label = adversary.name if adversary is not None else NO_ADVERSARY

    def failed(reason: str) -> Episode:
        return failed_episode(name, policy.name, label, reason, intensity=intensity, seed=seed)

    if undisturbed is not None and undisturbed.error:
        return Played(failed(f"stage 1 failed: {undisturbed.error}"))
    drives = None
    if undisturbed is not None:
        buffer = EgoBuffer(1, prefill="none")
        # A drive too short to attack leaves the log.
        buffer.add(name, undisturbed.ego)
        drives = buffer.get(env.source[scenario_index])
    for tries_left in reversed(range(TRIES)):
        try:
            return play(
                env, policy, adversary, scenario_index, intensity=intensity, seed=seed, drives=drives, protocol=protocol
            )
        except RunError:
            raise
        except GauntletError as error:
            if tries_left and isinstance(error.__cause__, NoAnswerError):
                _LOG.warning("%s The episode is tried again.", error)
                continue
            return Played(failed(str(error) or type(error).__name__), failure=error)
    raise AssertionError("the last try returns")


def two_stages(
    env: GauntletEnv,
    policy: EgoPolicy,
    adversaries: Sequence[Adversary | None],
    scenario_index: int,
    *,
    intensity: float = 1.0,
    seed: int = 0,
    protocol: Protocol = CORRECTED,
    first: Played | None = None,
) -> Iterator[Played]:
    """Stage 1, then stage 2 with each adversary (None drives undisturbed again).

    Arguments: see `play_stage`; `first` is stage 1 where it has been played already.
    """
    if first is None:
        first = play_stage(env, policy, None, scenario_index, intensity=0.0, seed=seed, protocol=protocol)
    yield first
    for adversary in adversaries:
        yield play_stage(
            env, policy, adversary, scenario_index, first.episode, intensity=intensity, seed=seed, protocol=protocol
        )
