"""Evaluation on validation scenes in the fast engine: the stages of `harness.episodes.two_stage`, all scenes at once.

It chooses policies; what is reported is measured in MetaDrive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import EngineConfig
from harness.episodes.attacks import Attack, plan_attack
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.protocol import CORRECTED, Protocol
from harness.episodes.rollout import failed_episode, generators_of
from harness.fast.made_for import LOGGED
from harness.fast.plays import Finished, Play
from harness.fast.scenes import PackedScenes
from harness.fast.vector import FastVectorEnv
from harness.interfaces import STATE, Adversary, Episode
from harness.metrics.driving import mean_jerk, mean_speed
from harness.training.evaluation import STAGES, Row
from scenarios.scenario import ScenarioSource

Act = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class FirstOnly:
    """Keeps the first episode that each environment finishes; what follows is the first scene again."""

    def __init__(self) -> None:
        """Nothing has been played."""
        self.found: dict[int, Finished] = {}

    def draw(self, count: int) -> Sequence[Play]:
        """Anything: it does not count."""
        return [Play(0)] * count

    def finished(self, episode: Finished) -> None:
        """Keep it, if it is the first."""
        self.found.setdefault(episode.environment, episode)


class Validator:
    """Plays every scene as recorded, then attacked with that drive as the target; one environment per scene."""

    def __init__(
        self,
        packed: PackedScenes,
        source: ScenarioSource,
        config: EngineConfig,
        adversary: Adversary | None,
        *,
        intensity: float,
        seed: int,
        protocol: Protocol = CORRECTED,
        threads: int = 1,
    ) -> None:
        """Make the environments.

        Args:
            packed: The scenes as the fast engine plays them, in the order of `source`.
            source: The recorded scenes.
            config: Observation, reward and endings of the evaluation.
            adversary: None plays the second stage unattacked.
            intensity: Intensity of the attacks.
            seed: The same at every evaluation, so that a curve shows the policy and not luck.
            protocol: How attacks are played, and how a collision is counted.
            threads: Kernels side by side.
        """
        self._source, self._adversary, self._intensity = source, adversary, intensity
        self._seed, self._protocol = seed, protocol
        # Traffic that draws does so as in MetaDrive's evaluation with this seed.
        draws = config.traffic != LOGGED
        self._traffic_seeds = [
            int(generators_of(seed, source[index])[2].integers(2**31)) if draws else 0 for index in range(len(source))
        ]
        self._once = FirstOnly()
        self._env = FastVectorEnv(packed, len(source), config, episodes=self._once, threads=threads)

    def rows(self, step: int, act: Act) -> list[Row]:
        """Two rows per scene, as `Evaluator.rows` gives them.

        Args:
            step: Training step, for the rows.
            act: Actions [N, 2] for observations [N, D].

        Raises:
            PolicyError: The actions are not finite.
        """
        scenes = range(len(self._source))
        undisturbed = self._play([Play(index, seed=self._traffic_seeds[index]) for index in scenes], act)
        attacks = [self._attack(index, undisturbed[index]) for index in scenes]
        attacked = self._play(
            [
                Play(index, attack.plan, attack.played_intensity, seed=self._traffic_seeds[index])
                for index, attack in enumerate(attacks)
            ],
            act,
        )
        nobody = [Attack()] * len(attacks)
        return [
            Row.of(self._episode(told, attack), step, stage, self._protocol)
            for pair in zip(zip(undisturbed, nobody, strict=True), zip(attacked, attacks, strict=True), strict=True)
            for stage, (told, attack) in zip(STAGES, pair, strict=True)
        ]

    def close(self) -> None:
        """Stop the threads."""
        self._env.close()

    def _play(self, plays: Sequence[Play], act: Act) -> list[Finished]:
        self._once.found = {}
        observation, _ = self._env.reset(options={"episodes": plays})
        while len(self._once.found) < len(plays):
            observation = self._env.step(act(observation))[0]
        return [self._once.found[index] for index in range(len(plays))]

    def _attack(self, index: int, undisturbed: Finished) -> Attack:
        scenario = self._source[index]
        buffer = EgoBuffer(1, prefill="none")
        # A drive too short to attack leaves the log.
        buffer.add(scenario.id, undisturbed.ego)
        logged = self._protocol.attack_logged_ego
        return plan_attack(
            self._adversary,
            scenario,
            generators_of(self._seed, scenario)[1],
            intensity=self._intensity,
            ego=None if logged else buffer.get(scenario),
            ego_size=self._env.options.ego_box,
            protocol=self._protocol,
            on_error="tell",
        )

    def _episode(self, told: Finished, attack: Attack) -> Episode:
        scene, name = self._source.ids[told.play.scene], self._adversary.name if self._adversary else "none"
        if attack.error:
            return failed_episode(scene, "", name, attack.error, intensity=attack.intensity, seed=self._seed)
        states, valid = told.ego
        return Episode(
            scenario_id=scene,
            policy="",
            adversary=name,
            intensity=told.play.intensity,
            seed=self._seed,
            ego=told.ego,
            opponent=None,
            agents=np.zeros((0, len(valid), STATE)),
            agents_valid=np.zeros((0, len(valid)), bool),
            plan=told.play.plan,
            steps=told.steps,
            reward=told.reward,
            cost=told.cost,
            route_completion=told.completion,
            arrived=told.arrived,
            off_road=told.off_road,
            truncated=told.truncated,
            crash_contact=told.crash_contact,
            crash_geometry=told.crash_geometry,
            crash_opponent=told.crash_opponent,
            mean_speed=float(mean_speed(states, valid)),
            mean_jerk=float(mean_jerk(states, valid)),
        )


def driving_score(rows: Sequence[Row]) -> float:
    """Mean completion of episodes without a collision and on the road (others count 0), over both stages; 0 … 1.

    It rises with what is asked of an ego: to arrive, recorded and attacked, and to hurt nobody. An ego that stands
    still scores nothing.
    """
    means = []
    for stage in STAGES:
        found = [row for row in rows if row.stage == stage and not row.error]
        clean = [0.0 if row.collision or row.off_road else row.completion for row in found]
        means.append(float(np.mean(clean)) if clean else 0.0)
    return float(np.mean(means))
