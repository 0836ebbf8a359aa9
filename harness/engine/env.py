"""`GauntletEnv`: recorded scenes, driven by a policy or replayed, with at most one planned opponent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import gymnasium as gym
import numpy as np
from metadrive.engine.engine_utils import close_engine
from metadrive.envs.scenario_env import ScenarioEnv
from numpy.typing import ArrayLike, NDArray

from harness.caching import Lru
from harness.drawing.live import draw_view
from harness.engine import rewards
from harness.engine.config import REWARDS, SENSORS, SUBSTEPS, TICK, EngineConfig
from harness.engine.ego import EgoVehicle
from harness.engine.headless import ensure_free, start_engine, stock_config
from harness.engine.lines import LINE_FLAGS
from harness.engine.recording import Recorder, Recording
from harness.engine.requests import RequestReader, check_request
from harness.engine.scene import Scene, parse_scene, with_long_route
from harness.engine.sensing import make_sensors
from harness.engine.settling import Settler
from harness.engine.traffic import TrafficManager
from harness.errors import ConfigError, EngineError, PolicyError
from harness.geometry import boxes_overlap
from harness.interfaces import EgoView, TrafficPolicy
from harness.traffic.make import make_background
from harness.traffic.rollouts import Interventions
from harness.traffic.slots import reserve_of
from scenarios.scenario import DT, Scenario, ScenarioSource

Floats = NDArray[np.float64]

_PEEK: Final = 1e-4
"""Length of the physics step that only looks for contacts of a replayed ego, s."""


class GauntletEnv(ScenarioEnv):
    """One engine, any number of scenes.

    `reset(seed=None, options=None)` takes the options

    - `scenario`: index or id of the scene (without it one is drawn, reproducibly from the last `seed`),
    - `plan`: an `AttackPlan` for the scene's opponent, or None,
    - `ego`: `"policy"` (driven by `step`'s action) or `"replay"` (follows its log; the action is ignored),
    - `start`: logged step at which the episode begins (0 if not given): the ego with the log's pose and velocity,
      everybody else where log and plan have them; steps, and so the horizon, stay absolute,
    - `until`: step at which the episode is cut off, if the horizon does not cut it off before.

    Actions: [steering, throttle/brake] in [-1, 1], left and accelerate positive. Observations: see `Sensors`.
    One environment step is 0.1 s.

    Where agents enter and leave (`SpawningTraffic`) and the horizon is beyond the log, the ego's route goes on along
    the lanes: it then never arrives, and where the map ends the episode is truncated with `end_of_map` in its info. A
    replayed ego stands where its log ends.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    render_mode: str | None = "rgb_array"

    def __init__(self, source: ScenarioSource, config: EngineConfig | None = None) -> None:
        """Prepare; the engine itself starts with the first reset.

        Raises:
            EngineError: This process has a live engine already.
            ConfigError: The source is empty.
        """
        if len(source) == 0:
            raise ConfigError("the scenario source is empty; give a folder or split with at least one scene")
        ensure_free()
        self.options = config or EngineConfig()
        self.source = source
        super().__init__(stock_config(self.options))
        preset = SENSORS[self.options.observation]
        self._observation_space = gym.spaces.Box(preset.low, 1.0, (preset.size,), np.float32)
        self._action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._sensors = make_sensors(preset)
        self._rewards = REWARDS[self.options.reward]
        self._cache: Lru[int, Scene] = Lru(self.options.cache_scenes, dropped=Scene.close)
        self._settler = Settler() if self.options.settle else None
        self._recorder = Recorder()
        self._rng = np.random.default_rng(self.options.seed)
        self._requests = RequestReader(source)
        self._policy: TrafficPolicy | None = None
        self._ego: EgoVehicle | None = None
        self._scene: Scene | None = None
        self._live = False

    @property
    def observation_space(self) -> gym.Space[NDArray[np.float32]]:
        """[size] float32 in [0, 1]."""
        return self._observation_space

    @property
    def action_space(self) -> gym.Space[NDArray[np.float32]]:
        """[2] float32 in [-1, 1]."""
        return self._action_space

    @property
    def scenario(self) -> Scenario:
        """The scene being simulated.

        Raises:
            EngineError: Before the first reset.
        """
        return self._need_scene().scenario

    @property
    def scenario_index(self) -> int:
        """Index of the scene being simulated."""
        return self._index

    def _need_scene(self) -> Scene:
        if self._scene is None:
            raise EngineError("the environment has not been reset yet; call reset() first")
        return self._scene

    def reset(  # type: ignore[override]
        self, seed: int | None = None, options: Mapping[str, object] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; see the class for the options.

        Raises:
            ConfigError: An unknown option or scene, a plan that does not fit, or no episode can begin at that step.
            ScenarioError: The scene cannot be simulated.
            EngineError: Another environment of this process holds the engine.
        """
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        request = self._requests.read(options or {})
        index, plan, replay = request.scenario, request.plan, request.replay
        if index is None:
            index = int(self._rng.integers(len(self.source)))
        chosen = index
        # Before the engine: a name or a weights file that cannot be used leaves no engine behind.
        self._policy = self._policy or make_background(self.options.traffic)
        scene = self._cache.get(chosen, lambda: self._parse(chosen))
        check_request(scene, request, self.options)
        self._start()
        self._scene, self._index, self._plan, self._replay = scene, chosen, plan, replay
        self._ego_box = self.options.ego_box_in(scene.scenario, replay=replay)
        self._first = self._step = request.start
        self._episode_reward = 0.0
        whole = self.options.horizon_in(scene.scenario)
        self._horizon = whole if request.until is None else min(whole, request.until)
        seed = int(self._rng.integers(2**31))
        if scene.reserve and self._horizon >= scene.steps:
            scene = self._scene = with_long_route(scene, self._horizon, np.random.default_rng([seed, 1]))
        ego = self._place_ego(scene)
        rows = max(scene.steps, self._horizon + 1)
        self._recorder.begin(rows, ego.forces, self._first)
        self._traffic.reset(
            scene, ego, plan, replay=replay, ego_box=self._ego_box, seed=seed, first=self._first, steps=rows - 1
        )
        ego.navigation.update(ego.x, ego.y)
        ego.navigation.update(ego.x, ego.y)
        self._check_contacts(ego)
        self._live = True
        verdict = rewards.judge(ego, self.options, self._rewards, (self._horizon - self._step) * DT)
        info = {**verdict.info, **self._facts(ego)}
        self._sensors.begin(scene, self._horizon)
        return self._sensors.observe(ego, self._traffic, self._step), info

    def _parse(self, index: int) -> Scene:
        reserve = reserve_of(self._policy)
        scene = parse_scene(self.source[index], static_vehicles=self.options.static_vehicles, reserve=reserve)
        if self._settler is not None:
            self._settler.settle_scene(scene)
        return scene

    def _start(self) -> None:
        """Start the engine, once."""
        if self._ego is not None:
            return
        options = self.options
        engine = start_engine(self.config, self)
        engine.terrain.reset([0, 0])
        self._traffic = TrafficManager(
            engine.physics_world.dynamic_world,
            sight=SENSORS[options.observation].distance,
            policy=self._policy,
            filter_overlapping=options.filter_overlapping,
            settler=self._settler,
        )
        ego = EgoVehicle(vehicle_config={"navigation_module": None}, random_seed=0, _calling_reset=False)
        ego.prepare()
        engine.watch_contacts(ego)
        self._ego = ego

    def _place_ego(self, scene: Scene) -> EgoVehicle:
        assert self._ego is not None, "_start() makes the ego"
        ego, scenario = self._ego, scene.scenario
        self.engine.physics_world.static_world = scene.lines.world
        self.engine.episode_step = self._step
        ego.draw_forces(scenario.id)
        row = scenario.ego, self._step
        velocity = scenario.velocity[row].tolist()
        ego.place(scene.xy[row].tolist(), float(scene.node_heading[row]), velocity, scene.route)
        if self._replay:
            self._follow_log(ego, self._step)
        return ego

    def _follow_log(self, ego: EgoVehicle, step: int) -> None:
        scene, agent = self._need_scene(), self.scenario.ego
        row = min(step, scene.steps - 1)
        x, y = scene.xy[agent, row].tolist()
        ego.follow(x, y, float(scene.node_heading[agent, row]), scene.velocity[agent, row].tolist())
        ego.read_state()

    def step(  # type: ignore[override]
        self, actions: NDArray[np.floating] | None
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Advance 0.1 s.

        Raises:
            PolicyError: The action is not two finite numbers.
            EngineError: Before the first reset.
        """
        self._need_scene()
        ego = self._ego
        assert ego is not None, "a scene implies an ego"
        self._step += 1
        self.engine.episode_step = self._step
        if self._replay:
            self._simulate_replay(ego)
        else:
            ego.drive(*_read_action(actions))
            self._traffic.touchable()
            world = self.engine.physics_world.dynamic_world
            for _ in range(SUBSTEPS):
                world.doPhysics(TICK, 1, TICK)
            ego.read_state()
            ego.navigation.update(ego.x, ego.y)
            self._check_contacts(ego)
            self._traffic.advance(min(self._step, self._last_row), ego)
        verdict = rewards.judge(ego, self.options, self._rewards, (self._horizon - self._step) * DT)
        self._episode_reward += verdict.reward
        info = {**verdict.info, **self._facts(ego)}
        info["max_step"] = self._step >= self._horizon
        truncated = bool(info["max_step"] or info["end_of_map"])
        observation = self._sensors.observe(ego, self._traffic, self._step)
        return observation, verdict.reward, verdict.terminated, truncated, info

    def _simulate_replay(self, ego: EgoVehicle) -> None:
        """Everybody jumps to the next logged row; a tiny physics step finds the contacts there."""
        ego.init_state_info()
        ego.last_action_taken = ego.action
        self._follow_log(ego, self._step)
        ego.navigation.update(ego.x, ego.y)
        self._traffic.advance(min(self._step, self._last_row), ego)
        self._traffic.touchable()
        self.engine.physics_world.dynamic_world.doPhysics(_PEEK, 1, _PEEK)
        self._check_contacts(ego)
        self._follow_log_pose_only(ego)

    def _follow_log_pose_only(self, ego: EgoVehicle) -> None:
        """Undo what the peek moved, keeping the heading of the last step for the yaw rate."""
        last = ego.last_heading
        self._follow_log(ego, self._step)
        ego.last_heading = last

    @property
    def _last_row(self) -> int:
        return self._traffic.present_log.shape[1] - 1

    def _check_contacts(self, ego: EgoVehicle) -> None:
        """Lines under the ego and bodies against it (`BaseVehicle._state_check`, without what never applies)."""
        chassis, worlds = ego.chassis.node(), self.engine.physics_world
        for contact in worlds.static_world.contactTest(chassis, True).getContacts():
            first = contact.getNode0()
            name = (contact.getNode1() if first == chassis else first).getName()
            flag = LINE_FLAGS.get(name)
            if flag is not None:
                setattr(ego, flag, True)
        if not self._traffic.any_touchable():
            return
        for contact in worlds.dynamic_world.contactTest(chassis, True).getContacts():
            self.engine.flag_contact(ego, contact)

    def _facts(self, ego: EgoVehicle) -> dict[str, Any]:
        """Record the step, judge the boxes, and tell what is Gauntlet's own in the info."""
        scene, traffic, recorder, step = self._need_scene(), self._traffic, self._recorder, self._step
        hit, hit_opponent = self._boxes_met(ego)
        row = min(step, len(recorder.ego) - 1)
        recorder.steps = row
        recorder.ego[row] = ego.world_state(scene.origin)
        contact = bool(ego.crash_vehicle) or scene.scenario.opponent in ego.touched
        recorder.contact[row], recorder.geometry[row] = contact, hit
        recorder.geometry_opponent[row] = hit_opponent
        planned = traffic.planned_state()
        if planned is not None:
            recorder.note_plan(row, *planned)
        done = traffic.interventions
        return {
            **({f"shield_{name}": count for name, count in done._asdict().items()} if done is not None else {}),
            # A replayed ego stays where its log ends, wherever the map does.
            **({"end_of_map": False} if self._replay else {}),
            "crash_contact": contact,
            "crash_geometry": hit,
            "crash_opponent": hit_opponent,
            "scenario_id": scene.scenario.id,
            "scenario_index": self._index,
            "attacked": self._plan is not None,
            "ego_control": "replay" if self._replay else "policy",
            "spawn_blocked": traffic.spawn_blocked,
            "episode_reward": self._episode_reward,
            "episode_length": step - self._first,
        }

    def _boxes_met(self, ego: EgoVehicle) -> tuple[bool, bool]:
        traffic, scene = self._traffic, self._need_scene()
        rows = traffic.close_vehicles(math.hypot(*self._ego_box) / 2)
        if not len(rows):
            return False, False
        present = traffic.present
        poses = np.column_stack([present.xy[rows], present.theta[rows]])
        met = boxes_overlap(
            np.array([ego.x, ego.y, ego.theta]),
            np.array(self._ego_box),
            poses,
            self._traffic.sizes[present.agents[rows]],
        )
        return bool(met.any()), bool(met[present.agents[rows] == scene.scenario.opponent].any())

    def view(self, *, futures: bool = False) -> EgoView:
        """What a privileged policy may see right now; with `futures`, also where everybody else will be."""
        scene, ego = self._need_scene(), self._ego
        assert ego is not None, "a scene implies an ego"
        present = self._traffic.present
        coming = self._traffic.futures(self._step) if futures else None
        return EgoView(
            step=self._step,
            dt=scene.scenario.dt,
            ego=np.array(ego.world_state(scene.origin)),
            ego_size=self._ego_box if self._replay else (float(ego.LENGTH), float(ego.WIDTH)),
            route=scene.route.points + scene.origin,
            agents=np.column_stack([present.xy + scene.origin, present.theta, present.velocity]),
            agent_sizes=self._traffic.sizes[present.agents],
            futures=None if coming is None else coming.states,
            foreseen=None if coming is None else coming.known,
        )

    @property
    def interventions(self) -> Interventions | None:
        """What the shield of learned traffic has done so far in the episode; None without one."""
        return self._traffic.interventions

    def recording(self) -> Recording:
        """The episode so far (or the finished one, until the next reset)."""
        scene, traffic = self._need_scene(), self._traffic
        scenario = scene.scenario
        logged = np.concatenate([scenario.position[..., :2], scenario.heading[..., None], scenario.velocity], axis=-1)
        present, off_log, newcomers = traffic.recorded()
        record = self._recorder.finish(scenario.id, scenario.ego, scenario.opponent, logged, present, off_log)
        route = scene.route.points + scene.origin if scene.route.goes_on else None
        return replace(record, newcomers=newcomers, route=route)

    def render(self, *args: object, **kwargs: Any) -> NDArray[np.uint8]:  # type: ignore[override]
        """The present moment from above, RGB [H, W, 3] uint8; needs no 3D assets."""
        return draw_view(self.scenario, self.view(), self._plan, self._opponent_state(), **kwargs)

    def _opponent_state(self) -> Floats | None:
        present, opponent = self._traffic.present, self.scenario.opponent
        rows = np.flatnonzero(present.agents == opponent)
        if not len(rows):
            return None
        row, origin = int(rows[0]), self._need_scene().origin
        return np.array([*(present.xy[row] + origin), present.theta[row], *present.velocity[row]])

    def close(self) -> None:
        """Stop the engine; another environment may then start in this process."""
        if self._ego is None:
            return
        self._traffic.close()
        self._ego.detach_from_world(self.engine.physics_world)
        self._ego.destroy()
        self._ego = self._scene = None
        self._cache.clear()
        close_engine()


def _read_action(actions: ArrayLike | None) -> tuple[float, float]:
    values = np.asarray(actions, dtype=np.float64)
    if values.shape != (2,) or not (math.isfinite(values[0]) and math.isfinite(values[1])):
        raise PolicyError(
            f"an action is two finite numbers in [-1, 1] (steering, throttle); found shape {values.shape}: {actions!r}"
        )
    return min(max(float(values[0]), -1.0), 1.0), min(max(float(values[1]), -1.0), 1.0)
