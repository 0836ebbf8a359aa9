"""One worker of the benchmark: a simulator, the systems and adversaries it has met, and the two-stage protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from harness.attacks.attackers import Attacker
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.jobs import Unit, episode_seed
from harness.benchmarking.planning import Planner
from harness.benchmarking.protocols import deviations
from harness.benchmarking.scores import Case, profiles, score
from harness.engine.config import EngineConfig, ObservationName
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.policies import load_policy
from harness.episodes.records import UNDISTURBED, CellKey, EpisodeStore, Score
from harness.episodes.rollout import EpisodeJob, failed_episode, run_episode
from harness.errors import AdversaryError, GauntletError, PolicyError, RunError, ScenarioError
from harness.interfaces import EgoPolicy, Episode
from harness.specs import parse

if TYPE_CHECKING:
    from harness.engine.env import GauntletEnv

CACHE_SCENES: Final = 8
"""Scenes that a worker's simulator remembers: units come scene by scene."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker is built from; plain data, so that it travels.

    Attributes:
        config: The run's configuration.
        folder: The run folder, absolute.
        systems: Policy spec by label.
    """

    config: BenchmarkConfig
    folder: Path
    systems: Mapping[str, str]


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
        self._source = spec.config.open()
        self._deviations = deviations(spec.config.protocol)
        self._policies: dict[str, EgoPolicy] = {}
        self._planners: dict[str, Planner] = {}
        self._env: GauntletEnv | None = None

    def __call__(self, unit: Unit) -> int:
        """Run what a unit lacks.

        Raises:
            RunError: A record cannot be written.
        """
        store, todo = unit.store(self._spec.folder), unit.missing(self._spec.folder)
        first, done = unit.keys[0], 0
        if first in todo:
            began = time.perf_counter()
            episode = self._undisturbed(unit)
            self._write(store, first, episode, unit, None, time.perf_counter() - began)
            done += 1
        # Read back even if it was just driven: a resumed run then sees the very same numbers.
        quiet = store.read(first).episode
        for key in todo:
            if key != first:
                self._attack(store, key, unit, quiet)
                done += 1
        return done

    def close(self) -> None:
        """Stop the simulator."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _undisturbed(self, unit: Unit) -> Episode:
        try:
            policy = self._policy(unit.system)
            episode = run_episode(
                self._environment(policy),
                policy,
                None,
                unit.scene,
                seed=episode_seed(unit.seed, unit.scenario_id),
                protocol=self._config.protocol,
            )
        except RunError:
            raise
        except GauntletError as error:
            return self._failed(unit, UNDISTURBED, error)
        return replace(episode, policy=unit.system)

    def _attack(self, store: EpisodeStore, key: CellKey, unit: Unit, quiet: Episode) -> None:
        attacker = next(item for item in self._config.attackers if item.label == key.adversary)
        if quiet.error:
            episode = failed_episode(unit.scenario_id, self._job(unit, attacker), f"stage 1 failed: {quiet.error}")
            return self._write(store, key, episode, unit, quiet, 0.0)
        began, planner = time.perf_counter(), None
        try:
            planner = self._planner(attacker)
            policy = self._policy(unit.system)
            # Only stage 1 is aimed at: attacks of other adversaries must not change each other.
            buffer = EgoBuffer(1, prefill="none")
            buffer.add(self._source[unit.scene].id, quiet.ego)
            episode = run_episode(
                self._environment(policy),
                policy,
                planner,
                unit.scene,
                intensity=attacker.intensity,
                seed=episode_seed(unit.seed, unit.scenario_id),
                ego_buffer=buffer,
                protocol=self._config.protocol,
            )
            episode = replace(episode, policy=unit.system, adversary=attacker.label)
        except RunError:
            raise
        except GauntletError as error:
            episode = self._failed(unit, attacker.label, error)
        spent = time.perf_counter() - began
        return self._write(store, key, episode, unit, quiet, spent, planner)

    def _write(
        self,
        store: EpisodeStore,
        key: CellKey,
        episode: Episode,
        unit: Unit,
        quiet: Episode | None,
        seconds: float,
        planner: Planner | None = None,
    ) -> None:
        """Score and record an episode."""
        if episode.error:
            store.write(key, episode, {})
            return
        began = time.perf_counter()
        scenario, policy = self._source[unit.scene], self._policy(unit.system)
        case = Case(
            scenario=scenario,
            episode=episode,
            undisturbed=quiet or episode,
            plan=planner.planned if planner is not None else None,
            ego_size=self._environment(policy).options.ego_box_in(scenario, replay=policy.control == "replay"),
            deviations=self._deviations,
            reactive_traffic=self._config.traffic != "log",
        )
        numbers: dict[str, Score] = score(case)
        timings: dict[str, Score] = {
            "seconds_episode": seconds,
            "seconds_planning": planner.seconds if planner is not None else 0.0,
            "seconds_scoring": time.perf_counter() - began,
        }
        store.write(key, episode, numbers | timings, profiles(case))

    def _failed(self, unit: Unit, adversary: str, error: GauntletError) -> Episode:
        attackers = {item.label: item for item in self._config.attackers}
        attacker = attackers.get(adversary, Attacker(adversary, parse(UNDISTURBED), 0.0))
        return failed_episode(unit.scenario_id, self._job(unit, attacker), f"{kind_of(error)}: {error}")

    @staticmethod
    def _job(unit: Unit, attacker: Attacker) -> EpisodeJob:
        seed = episode_seed(unit.seed, unit.scenario_id)
        return EpisodeJob(unit.scene, unit.system, attacker.label, attacker.intensity, seed)

    def _policy(self, label: str) -> EgoPolicy:
        if label not in self._policies:
            self._policies[label] = load_policy(self._spec.systems[label])
        return self._policies[label]

    def _planner(self, attacker: Attacker) -> Planner:
        if attacker.label not in self._planners:
            adversary = attacker.build(protocol=self._config.protocol, prior=self._config.prior)
            self._planners[attacker.label] = Planner(adversary, late=self._deviations.plan_one_step_late)
        return self._planners[attacker.label]

    def _environment(self, policy: EgoPolicy) -> GauntletEnv:
        """The simulator with the policy's observations; a process has one, so another kind replaces it."""
        wanted = policy.observation
        if self._env is not None and wanted not in ("none", self._env.options.observation):
            self.close()
        if self._env is None:
            observation = cast(ObservationName, "cat" if wanted == "none" else wanted)
            config = EngineConfig(observation=observation, traffic=self._config.traffic, cache_scenes=CACHE_SCENES)
            self._env = self._simulator(self._source, config)
        return self._env


def kind_of(error: BaseException) -> str:
    """Whose failure it is, in one word, for the table of failures."""
    for kind, word in ((AdversaryError, "adversary"), (PolicyError, "policy"), (ScenarioError, "scene")):
        if isinstance(error, kind):
            return word
    return "simulator"
