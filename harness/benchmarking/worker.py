"""One worker of the benchmark: a simulator, the systems and adversaries it has met, and the two-stage protocol."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from harness.attacks.attackers import Attacker
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.jobs import Unit, episode_seed
from harness.benchmarking.scores import Case, measured_by, profiles, score, shield_scores
from harness.engine.config import EngineConfig, ObservationName
from harness.episodes.policies import load_policy
from harness.episodes.protocol import protocol_of
from harness.episodes.records import UNDISTURBED, CellKey, EpisodeStore, Score
from harness.episodes.rollout import Played, failed_episode
from harness.episodes.two_stage import play_stage
from harness.errors import AdversaryError, GauntletError, PolicyError, RunError, ScenarioError
from harness.interfaces import Adversary, EgoPolicy, Episode
from harness.specs import parse
from harness.traffic.slots import as_played

if TYPE_CHECKING:
    from harness.engine.env import GauntletEnv

CACHE_SCENES: Final = 8
"""Scenes that a worker's simulator remembers: units come scene by scene."""
_LOG = logging.getLogger(__name__)
_NOBODY: Final = Attacker(UNDISTURBED, parse(UNDISTURBED), 0.0)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker is built from; plain data, so that it travels.

    Attributes:
        config: The run's configuration.
        folder: The run folder, absolute.
        systems: Policy spec by label.
        until: Time (s since the epoch) from which on no further episode begins, or None.
    """

    config: BenchmarkConfig
    folder: Path
    systems: Mapping[str, str]
    until: float | None = None

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self.until is not None and time.time() >= self.until


def build(spec: WorkerSpec) -> BenchmarkWorker:
    """Target of `harness.executors.crew.WorkerSetup`."""
    return BenchmarkWorker(spec)


class BenchmarkWorker:
    """Takes units; returns the number of episodes it ran for each. Every episode is on disk before the next begins."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Open the scenes; systems, adversaries and the simulator come with the first unit that needs them."""
        # Workers share the processors one by one, and sums over threads would depend on their number.
        import torch

        torch.set_num_threads(1)
        # MetaDrive is loaded where episodes are run, and now: the first episode's time limit is for the episode.
        from harness import engine

        self._simulator = cast("type[GauntletEnv]", engine.GauntletEnv)
        self._spec, self._config = spec, spec.config
        # Units name their scenes: nothing need be filtered again.
        self._source = spec.config.open_all()
        self._places = {name: index for index, name in enumerate(self._source.ids)}
        self._protocol = protocol_of(spec.config.protocol)
        self._policies: dict[str, EgoPolicy] = {}
        self._adversaries: dict[str, Adversary] = {}
        self._env: GauntletEnv | None = None

    def __call__(self, unit: Unit) -> int:
        """Run what a unit lacks.

        Raises:
            RunError: A record cannot be written.
        """
        store, todo = unit.store(self._spec.folder), unit.missing(self._spec.folder)
        if self._spec.over:
            return 0
        first = unit.keys[0]
        # Read back even if it was just driven: a resumed run then sees the very same numbers.
        quiet = None if first in todo else self._recorded(store, first)
        if quiet is None:
            self._run(store, first, unit, None)
            quiet = store.read(first).episode
        done = int(first in todo)
        for key in todo:
            if key != first and not self._spec.over:
                self._run(store, key, unit, quiet)
                done += 1
        return done

    def _recorded(self, store: EpisodeStore, key: CellKey) -> Episode | None:
        """An episode as it is on disk; None where that is damaged, so that it is driven again, to the same end."""
        try:
            return store.read(key).episode
        except RunError as error:
            _LOG.warning("%s", error)
            return None

    def close(self) -> None:
        """Stop the simulator, and policies that are programs of their own."""
        self._stop_simulator()
        for policy in self._policies.values():
            close = getattr(policy, "close", None)
            if callable(close):
                close()

    def _stop_simulator(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def _run(self, store: EpisodeStore, key: CellKey, unit: Unit, quiet: Episode | None) -> None:
        """Play one stage and record it."""
        attacker = next((item for item in self._config.attackers if item.label == key.adversary), _NOBODY)
        seed, began = episode_seed(unit.seed, unit.scenario_id), time.perf_counter()
        try:
            adversary = None if quiet is None else self._adversary(attacker)
            policy = self._policy(unit.system)
            played = play_stage(
                self._environment(policy),
                policy,
                adversary,
                self._places[unit.scenario_id],
                quiet,
                intensity=attacker.intensity,
                seed=seed,
                protocol=self._protocol,
            )
        except RunError:
            raise
        except GauntletError as error:
            nothing = failed_episode(*key, str(error), intensity=attacker.intensity, seed=seed)
            played = Played(nothing, failure=error)
        episode = replace(played.episode, policy=unit.system, adversary=key.adversary)
        if played.failure is not None:
            episode = replace(episode, error=f"{kind_of(played.failure)}: {played.failure}")
        self._write(store, key, replace(played, episode=episode), unit, quiet, time.perf_counter() - began)

    def _write(
        self, store: EpisodeStore, key: CellKey, played: Played, unit: Unit, quiet: Episode | None, seconds: float
    ) -> None:
        """Score and record an episode."""
        episode = played.episode
        if episode.error:
            store.write(key, episode, {})
            return
        began = time.perf_counter()
        policy = self._policy(unit.system)
        scenario = as_played(self._source[self._places[unit.scenario_id]], episode.newcomers)
        case = Case(
            scenario=scenario,
            episode=episode,
            undisturbed=quiet or episode,
            plan=played.attack.planned,
            ego_size=self._environment(policy).options.ego_box_in(scenario, replay=policy.control == "replay"),
            protocol=self._protocol,
            reactive_traffic=self._config.traffic != "log",
        )
        numbers: dict[str, Score] = score(case) | shield_scores(self._environment(policy).interventions)
        numbers |= measured_by(policy)
        timings: dict[str, Score] = {
            "seconds_episode": seconds,
            "seconds_planning": played.attack.seconds,
            "seconds_scoring": time.perf_counter() - began,
        }
        store.write(key, episode, numbers | timings, profiles(case))

    def _policy(self, label: str) -> EgoPolicy:
        if label not in self._policies:
            self._policies[label] = load_policy(self._spec.systems[label])
        return self._policies[label]

    def _adversary(self, attacker: Attacker) -> Adversary:
        if attacker.label not in self._adversaries:
            options = {"protocol": self._config.protocol, "prior": self._config.prior}
            self._adversaries[attacker.label] = attacker.build(**options)
        return self._adversaries[attacker.label]

    def _environment(self, policy: EgoPolicy) -> GauntletEnv:
        """The simulator with the policy's observations; a process has one, so another kind replaces it."""
        wanted = policy.observation
        if self._env is not None and wanted not in ("none", self._env.options.observation):
            self._stop_simulator()
        if self._env is None:
            observation = cast(ObservationName, "cat" if wanted == "none" else wanted)
            config = EngineConfig(
                horizon=self._config.horizon,
                observation=observation,
                traffic=self._config.traffic,
                cache_scenes=CACHE_SCENES,
            )
            self._env = self._simulator(self._source, config)
        return self._env


def kind_of(error: BaseException) -> str:
    """Whose failure it is, in one word, for the table of failures."""
    for kind, word in ((AdversaryError, "adversary"), (PolicyError, "policy"), (ScenarioError, "scene")):
        if isinstance(error, kind):
            return word
    return "simulator"
