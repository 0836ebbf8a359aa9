"""Many environments as one: the fast engine as a Gymnasium vector environment."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from harness.engine.config import SENSORS, EngineConfig
from harness.engine.scene import Scene
from harness.errors import ConfigError, EngineError, PolicyError
from harness.fast.fleet import ARRIVED, COMPLETION, CRASH_VEHICLE, GEOMETRY, LOST, UNSOUND, make_fleet, rules_of
from harness.fast.packing import pack
from harness.fast.scenes import OPPONENT, STEPS
from harness.fast.stepping import begin, step_range
from harness.interfaces import STATE, AttackPlan

_RECORDED_ONLY: Final = "the fast engine plays recorded traffic and plans; use the MetaDrive engine for"


class Episodes(Protocol):
    """Decides what is played next."""

    def draw(self, count: int) -> Sequence[tuple[int, AttackPlan | None]]:
        """Index of a scene, and the plan of its opponent, for each of the next `count` episodes."""
        ...


class UniformEpisodes:
    """Any scene, each as likely as the others, nobody attacked."""

    def __init__(self, scenes: int, seed: int) -> None:
        """Draw among so many scenes."""
        self._scenes, self._rng = scenes, np.random.default_rng(seed)

    def draw(self, count: int) -> Sequence[tuple[int, AttackPlan | None]]:
        """Scenes, drawn reproducibly."""
        return [(int(index), None) for index in self._rng.integers(self._scenes, size=count)]


class FastVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]):
    """N environments on any number of scenes, stepped by compiled kernels; see `GauntletEnv` for what they play.

    An environment whose episode has ended begins the next one within the same step: `info["final_obs"]` [N, D] holds
    the last observations, and `info["final"]` [N] says where one ended.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        scenes: Iterable[Scene],
        environments: int = 64,
        config: EngineConfig | None = None,
        *,
        episodes: Episodes | None = None,
        threads: int = 1,
    ) -> None:
        """Pack the scenes; nothing is played before `reset`.

        Args:
            scenes: Parsed and, for exact contacts, settled.
            environments: N.
            config: As of `GauntletEnv`; its traffic must be the log's.
            episodes: What is played next; by default every scene is as likely.
            threads: Kernels side by side. The results do not depend on it.

        Raises:
            ConfigError: There are no scenes, or the configuration wants what this engine cannot play.
        """
        self.options = config or EngineConfig()
        if self.options.traffic != "log":
            raise ConfigError(f"{_RECORDED_ONLY} traffic {self.options.traffic!r}.")
        if SENSORS[self.options.observation].blind:
            raise ConfigError(f"{_RECORDED_ONLY} the observation {self.options.observation!r}.")
        if environments < 1 or threads < 1:
            raise ConfigError(f"expected at least one environment and one thread, got {environments} and {threads}.")
        loaded = list(scenes)
        if not loaded:
            raise ConfigError("there are no scenes; give at least one")
        self.ids = tuple(scene.scenario.id for scene in loaded)
        self._origins = np.array([scene.origin for scene in loaded])
        self.scenes = pack(loaded)
        steps = self.scenes.facts[:, STEPS].astype(int)
        self._horizons = steps - 1 if self.options.horizon is None else np.full(len(loaded), self.options.horizon)
        size = SENSORS[self.options.observation].size
        self.fleet = make_fleet(environments, self.scenes, size, int(max(self._horizons.max() + 1, steps.max())))
        self._rules = rules_of(self.options)
        self._given = episodes
        self._episodes: Episodes | None = episodes
        self._threads, self._pool = threads, ThreadPoolExecutor(threads) if threads > 1 else None
        self.num_envs = environments
        self.single_observation_space = gym.spaces.Box(SENSORS[self.options.observation].low, 1.0, (size,), np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, environments)
        self.action_space = batch_space(self.single_action_space, environments)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in every environment.

        Args:
            seed: Decides which scenes are drawn, where no `episodes` were given.
            options: `episodes`: what to play in each environment, a list of (index of a scene, plan or None).

        Raises:
            ConfigError: An unknown option or scene, or a plan that does not fit.
        """
        options = dict(options or {})
        chosen = options.pop("episodes", None)
        if options:
            raise ConfigError(f"unknown reset options {sorted(options)}; known is episodes")
        if self._given is None and (seed is not None or self._episodes is None):
            first = seed if isinstance(seed, int | None) else seed[0]
            self._episodes = UniformEpisodes(len(self.ids), first if first is not None else self.options.seed)
        assert self._episodes is not None, "given or made above"
        self._begin(np.arange(self.num_envs), chosen)
        return self.fleet.observation.copy(), self._info()

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Advance every environment by 0.1 s.

        Raises:
            PolicyError: The actions are not [N, 2] finite numbers.
            EngineError: Before the first reset.
        """
        if self._episodes is None:
            raise EngineError("the environments have not been reset yet; call reset() first")
        values = np.ascontiguousarray(actions, dtype=np.float64)
        if values.shape != (self.num_envs, 2) or not np.isfinite(values).all():
            raise PolicyError(
                f"actions are [{self.num_envs}, 2] finite numbers in [-1, 1] (steering, throttle); found shape "
                f"{values.shape}"
            )
        self._advance(values)
        fleet = self.fleet
        reward, terminated, truncated = fleet.reward.copy(), fleet.terminated.copy(), fleet.truncated.copy()
        info, ended = self._info(), terminated | truncated
        info["final"], info["final_obs"] = ended, fleet.observation.copy()
        if ended.any():
            self._begin(np.flatnonzero(ended))
        return fleet.observation.copy(), reward, terminated, truncated, info

    def _advance(self, actions: NDArray[np.float64]) -> None:
        ends = np.linspace(0, self.num_envs, self._threads + 1).astype(int).tolist()
        if self._pool is None:
            step_range(self.scenes, self.fleet, self._rules, actions, 0, self.num_envs)
            return
        waiting = [
            self._pool.submit(step_range, self.scenes, self.fleet, self._rules, actions, first, last)
            for first, last in itertools.pairwise(ends)
        ]
        for done in waiting:
            done.result()

    def _begin(self, which: NDArray[np.intp], chosen: Sequence[tuple[int, AttackPlan | None]] | None = None) -> None:
        assert self._episodes is not None, "reset makes them"
        drawn = self._episodes.draw(len(which)) if chosen is None else chosen
        if len(drawn) != len(which):
            raise ConfigError(f"expected {len(which)} episodes, got {len(drawn)}")
        for environment, (scene, plan) in zip(which.tolist(), drawn, strict=True):
            self._set(environment, scene, plan)
        begin(self.scenes, self.fleet, self._rules, which)

    def _set(self, environment: int, scene: int, plan: AttackPlan | None) -> None:
        fleet = self.fleet
        if not 0 <= scene < len(self.ids):
            raise ConfigError(f"scene index {scene} is outside 0 … {len(self.ids) - 1}")
        fleet.scene[environment], fleet.horizon[environment] = scene, self._horizons[scene]
        fleet.plan_first[environment] = -1
        if plan is None or not plan.valid.any():
            return
        if self.scenes.facts[scene, OPPONENT] < 0:
            raise ConfigError(f"scene {self.ids[scene]} has no opponent, so a plan has nobody to drive")
        if plan.controller is not None:
            raise ConfigError(f"{_RECORDED_ONLY} plans with a controller.")
        rows = min(len(plan.valid), fleet.plan.shape[1])
        fleet.plan_valid[environment] = False
        fleet.plan_valid[environment, :rows] = plan.valid[:rows]
        states = np.array(plan.states[:rows, :STATE], np.float64)
        states[:, :2] -= self._origins[scene]
        fleet.plan[environment, :rows] = states
        fleet.plan_first[environment] = int(np.argmax(plan.valid))

    def _info(self) -> dict[str, Any]:
        fleet = self.fleet
        return {
            "scene": fleet.scene.copy(),
            "step": fleet.step.copy(),
            "route_completion": fleet.drive[:, COMPLETION].copy(),
            "arrive_dest": fleet.flags[:, ARRIVED].copy(),
            "out_of_road": fleet.flags[:, LOST].copy(),
            "crash_vehicle": fleet.flags[:, CRASH_VEHICLE].copy(),
            "crash_geometry": fleet.flags[:, GEOMETRY].copy(),
            "unsound": fleet.flags[:, UNSOUND].copy(),
            "cost": fleet.cost.copy(),
        }

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()
