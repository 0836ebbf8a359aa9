"""Many environments as one: the fast engine as a Gymnasium vector environment."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from harness.engine.config import SENSORS, EngineConfig
from harness.engine.scene import Scene
from harness.errors import ConfigError, EngineError, PolicyError
from harness.fast.chance import generator_words
from harness.fast.fleet import (
    ARRIVED,
    COMPLETION,
    CRASH_VEHICLE,
    GEOMETRY,
    GEOMETRY_OPPONENT,
    LOST,
    POSE_THETA,
    POSE_X,
    POSE_Y,
    TOUCHED_OPPONENT,
    UNSOUND,
    make_fleet,
    rules_of,
)
from harness.fast.lane_traffic import LaneTraffic, driver_arrays, make_lane_traffic
from harness.fast.lanes import drivers_of
from harness.fast.made_for import check_metadrive
from harness.fast.packing import pack
from harness.fast.plays import Episodes, Finished, Play, UniformEpisodes
from harness.fast.resuming import check_state
from harness.fast.scenes import OPPONENT, PackedScenes
from harness.fast.stepping import begin, step_range
from harness.fast.vehicle import VX, VY
from harness.interfaces import STATE, AttackPlan, Trajectory

_RECORDED_ONLY: Final = "the fast engine plays observations and plans only; use the MetaDrive engine for"


class FastVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]):
    """N environments on any number of scenes, stepped by compiled kernels; see `GauntletEnv` for what they play.

    An environment whose episode has ended begins the next one within the same step: `info["final_obs"]` [N, D] holds
    the last observations, and `info["final"]` [N] (as `info["_final_obs"]`, Gymnasium's name) says where one ended.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        scenes: PackedScenes | Iterable[Scene],
        environments: int = 64,
        config: EngineConfig | None = None,
        *,
        episodes: Episodes | None = None,
        threads: int = 1,
    ) -> None:
        """Pack the scenes where they are not; nothing is played before `reset`.

        Args:
            scenes: Packed; or parsed and, for exact contacts, settled.
            environments: N.
            config: As of `GauntletEnv`; its traffic must be `log` or `idm-lane`.
            episodes: What is played next; by default every scene is as likely.
            threads: Kernels side by side. The results do not depend on it.

        Raises:
            ConfigError: There are no scenes, the configuration wants what this engine cannot play, or another
                MetaDrive is installed than the one that it repeats.
        """
        check_metadrive()
        self.options = config or EngineConfig()
        drivers = drivers_of(self.options.traffic)
        if SENSORS[self.options.observation].blind:
            raise ConfigError(f"{_RECORDED_ONLY} the observation {self.options.observation!r}.")
        if environments < 1 or threads < 1:
            raise ConfigError(f"expected at least one environment and one thread, got {environments} and {threads}.")
        self.packed = packed = scenes if isinstance(scenes, PackedScenes) else pack(scenes, drivers)
        if packed.static_vehicles not in (None, self.options.static_vehicles):
            raise ConfigError(
                f"the scenes are packed with static_vehicles={packed.static_vehicles}, and the configuration says "
                f"{self.options.static_vehicles}; pack them with packed_scenes(..., static_vehicles=...) as it says"
            )
        if drivers is not None and packed.drivers != drivers:
            raise ConfigError(
                f"the scenes are not packed for traffic {self.options.traffic!r}; pack them with packed_scenes(..., "
                "traffic=...) as the configuration says"
            )
        self.ids, self._origins, self.scenes, steps = packed.ids, packed.origins, packed.scenes, packed.steps
        self._horizons = steps - 1 if self.options.horizon is None else np.full(len(packed), self.options.horizon)
        size = SENSORS[self.options.observation].size
        self.fleet = make_fleet(environments, self.scenes, size, int(max(self._horizons.max() + 1, steps.max())))
        self.rules = rules_of(self.options)
        agents = self.fleet.seen.shape[1]
        self.lanes: LaneTraffic | None = None
        if drivers is not None and packed.lanes is not None:
            self.lanes = make_lane_traffic(packed.lanes, drivers, environments, agents)
        self._given = episodes
        self._episodes: Episodes | None = episodes
        self._begun = False
        self._threads, self._pool = threads, ThreadPoolExecutor(threads) if threads > 1 else None
        rows = self.fleet.plan.shape[1]
        self._plays = [Play(0)] * environments
        self._drives = np.zeros((environments, rows, STATE))
        self._first = np.full((environments, 3), -1, np.int64)
        self._sums = np.zeros((environments, 2))
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
            options: `episodes`: what to play in each environment, a list of `Play` or (scene, plan).

        Raises:
            ConfigError: An unknown option or scene, a plan that does not fit, or no episode can begin at that step.
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
        self._begun = True
        return self.fleet.observation.copy(), self._info()

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Advance every environment by 0.1 s.

        Raises:
            PolicyError: The actions are not [N, 2] finite numbers.
            EngineError: Before the first reset.
        """
        if not self._begun:
            raise EngineError("the environments have not been reset yet; call reset() first")
        values = np.ascontiguousarray(actions, dtype=np.float64)
        if values.shape != (self.num_envs, 2) or not np.isfinite(values).all():
            raise PolicyError(
                f"actions are [{self.num_envs}, 2] finite numbers in [-1, 1] (steering, throttle); found shape "
                f"{values.shape}"
            )
        self.advance(values)
        fleet = self.fleet
        reward, terminated, truncated = fleet.reward.copy(), fleet.terminated.copy(), fleet.truncated.copy()
        info, ended = self._info(), terminated | truncated
        info["final"] = info["_final_obs"] = ended
        info["final_obs"] = fleet.observation.copy()
        self._note(np.arange(self.num_envs))
        self._sums += np.column_stack([reward, fleet.cost])
        if ended.any():
            assert self._episodes is not None, "reset makes them"
            which = np.flatnonzero(ended)
            for environment in which.tolist():
                self._episodes.finished(self._finished(environment))
            self._begin(which)
        return fleet.observation.copy(), reward, terminated, truncated, info

    def advance(self, actions: NDArray[np.float64]) -> None:
        """Step without looking: `fleet` holds what follows, and episodes go on after their end.

        Args:
            actions: [N, 2], C-contiguous float64.
        """
        ends = np.linspace(0, self.num_envs, self._threads + 1).astype(int).tolist()
        if self._pool is None:
            step_range(self.scenes, self.fleet, self.rules, self.lanes, actions, 0, self.num_envs)
            return
        waiting = [
            self._pool.submit(step_range, self.scenes, self.fleet, self.rules, self.lanes, actions, first, last)
            for first, last in itertools.pairwise(ends)
        ]
        for done in waiting:
            done.result()

    def _note(self, which: NDArray[np.intp]) -> None:
        """Remember where egos are now, and which contacts there are."""
        fleet, step = self.fleet, self.fleet.step[which]
        self._drives[which, step, :3] = fleet.drive[which][:, (POSE_X, POSE_Y, POSE_THETA)]
        self._drives[which, step, 3:] = fleet.body[which][:, (VX, VY)]
        seen, flags = self._first[which], fleet.flags[which][:, (CRASH_VEHICLE, GEOMETRY, GEOMETRY_OPPONENT)]
        # A contact with the opponent counts whatever it is.
        flags[:, 0] |= fleet.flags[which, TOUCHED_OPPONENT]
        self._first[which] = np.where(flags & (seen < 0), step[:, None], seen)

    def _finished(self, environment: int) -> Finished:
        fleet, play = self.fleet, self._plays[environment]
        last = int(fleet.step[environment])
        rows = max(int(fleet.horizon[environment]) + 1, int(self.packed.steps[play.scene]))
        driven = slice(play.start, last + 1)
        states, valid = np.zeros((rows, STATE)), np.zeros(rows, bool)
        states[driven], valid[driven] = self._drives[environment, driven], True
        states[driven, :2] += self._origins[play.scene]
        flags = fleet.flags[environment]
        contact, geometry, opponent = (None if step < 0 else step for step in self._first[environment].tolist())
        return Finished(
            environment,
            play,
            last - play.start,
            Trajectory(states, valid),
            contact,
            geometry,
            opponent,
            float(self._sums[environment, 0]),
            float(self._sums[environment, 1]),
            float(np.clip(fleet.drive[environment, COMPLETION], 0.0, 1.0)),
            bool(flags[ARRIVED]),
            bool(flags[LOST]),
            bool(fleet.truncated[environment] and not fleet.terminated[environment]),
        )

    def _begin(
        self, which: NDArray[np.intp], chosen: Sequence[Play | tuple[int, AttackPlan | None]] | None = None
    ) -> None:
        assert self._episodes is not None, "reset makes them"
        drawn = self._episodes.draw(len(which)) if chosen is None else [Play(*play) for play in chosen]
        if len(drawn) != len(which):
            raise ConfigError(f"expected {len(which)} episodes, got {len(drawn)}")
        for environment, play in zip(which.tolist(), drawn, strict=True):
            self._plays[environment] = play
            self._set(environment, play)
        begin(self.scenes, self.fleet, self.rules, self.lanes, which)
        self._first[which], self._sums[which] = -1, 0.0
        self._note(which)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Everything of the episodes under way as arrays, to go on exactly; not what `episodes` knows."""
        played = {"scene": [play.scene for play in self._plays], "intensity": [play.intensity for play in self._plays]}
        return {
            **{f"fleet.{name}": array.copy() for name, array in self.fleet._asdict().items()},
            **{name: array.copy() for name, array in driver_arrays(self.lanes).items()},
            **{f"play.{name}": np.array(values) for name, values in played.items()},
            **{"drives": self._drives.copy(), "first": self._first.copy(), "sums": self._sums.copy()},
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Go on where `state_dict` was taken, with the same scenes, environments and configuration.

        A plan that is under way comes back as far as it is played: without its candidates and scores.

        Returns:
            The observations [N, D].

        Raises:
            ConfigError: The arrays are not of these environments.
        """
        ways = 0 if self.lanes is None else len(self.lanes.lanes.ways)
        check_state(state, FastVectorEnv.state_dict(self), len(self.ids), ways)
        for name, array in driver_arrays(self.lanes).items():
            array[...] = state[name]
        for name, array in self.fleet._asdict().items():
            array[...] = state[f"fleet.{name}"]
        for name, kept in (("drives", self._drives), ("first", self._first), ("sums", self._sums)):
            kept[...] = state[name]
        for environment in range(self.num_envs):
            planned = self.fleet.plan_first[environment] >= 0
            scene, intensity = int(state["play.scene"][environment]), float(state["play.intensity"][environment])
            plan, start = self._plan_of(environment) if planned else None, int(self.fleet.start[environment])
            self._plays[environment] = Play(scene, plan, intensity, start)
        if self._episodes is None:
            self._episodes = self._given or UniformEpisodes(len(self.ids), self.options.seed)
        self._begun = True
        return self.fleet.observation.copy()

    def _plan_of(self, environment: int) -> AttackPlan:
        states, valid = self.fleet.plan[environment].copy(), self.fleet.plan_valid[environment].copy()
        states[:, :2] += self._origins[self.fleet.scene[environment]]
        return AttackPlan(states, valid)

    def _set(self, environment: int, play: Play) -> None:
        fleet, scene, plan = self.fleet, play.scene, play.plan
        if not 0 <= scene < len(self.ids):
            raise ConfigError(f"scene index {scene} is outside 0 … {len(self.ids) - 1}")
        self.options.check_start(self.ids[scene], play.start, self.packed.ego_there(scene))
        fleet.scene[environment], fleet.horizon[environment] = scene, self._horizons[scene]
        fleet.start[environment] = play.start
        fleet.plan_first[environment] = -1
        if self.lanes is not None:
            # As `GauntletEnv.reset` seeds the traffic of an episode whose scene is given.
            seed = int(np.random.default_rng(play.seed).integers(2**31))
            self.lanes.drivers.chance[environment] = generator_words(seed)
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
