"""A simulator made of arithmetic: the ego moves at constant speed along its log, others follow theirs."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from harness.checks.policy import log_view
from harness.engine.config import SENSORS, EngineConfig
from harness.engine.recording import Recording
from harness.errors import EngineError
from harness.interfaces import STATE, Trajectory


class FakeCore:
    """Enough of `GauntletEnv` for whoever composes it. Steering moves the ego sideways, 1 m per step at 1."""

    def __init__(self, source, **options):
        self.source = source
        self.options = EngineConfig(**options)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (SENSORS[self.options.observation].size,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.resets = []
        self.closed = False
        self.scenario = None

    def reset(self, *, seed=None, options=None):
        self.resets.append({"seed": seed, **options})
        self.scenario = self.source[options["scenario"]]
        self.replay = options["ego"] == "replay"
        self.rng = np.random.default_rng(seed)
        self.steps, self.shift = 0, 0.0
        self.states = [self.scenario.states(self.scenario.ego)[0]]
        return self._observe(), {"cost": 0.0, "route_completion": 0.0, "arrive_dest": False, "out_of_road": False}

    def _observe(self):
        observation = self.rng.random(self.observation_space.shape, dtype=np.float32)
        observation[0] = self.steps / 100
        return observation

    def step(self, action):
        if self.scenario is None:
            raise EngineError("no reset")
        self.steps += 1
        if not self.replay:
            self.shift += float(action[0])
        state = self.scenario.states(self.scenario.ego)[self.steps].copy()
        state[1] += self.shift
        self.states.append(state)
        off_road = abs(self.shift) > 10.0
        arrived = self.steps >= 87
        truncated = self.steps >= self.options.horizon_in(self.scenario)
        info = {
            "cost": float(off_road),
            "route_completion": self.steps / 90,
            "arrive_dest": arrived,
            "out_of_road": off_road,
        }
        return self._observe(), 1.0, off_road or arrived, truncated, info

    def view(self):
        return log_view(self.scenario, self.steps)

    def recording(self):
        rows = max(self.scenario.num_steps, self.options.horizon_in(self.scenario) + 1)
        states, valid = np.zeros((rows, STATE)), np.arange(rows) <= self.steps
        states[: len(self.states)] = self.states
        agents = np.stack([self.scenario.states(row) for row in range(self.scenario.num_agents)])
        crash = np.zeros(rows, bool)
        if self.shift == 0.0 and not self.replay:
            crash[40 : self.steps + 1] = True
        return Recording(
            self.scenario.id,
            self.steps,
            Trajectory(states, valid),
            None,
            agents,
            np.tile(valid[: agents.shape[1]], (len(agents), 1)),
            np.zeros(rows, bool),
            crash,
            np.zeros(rows, bool),
            engine_force=500.0,
            brake_force=100.0,
        )

    def render(self):
        return np.full((4, 4, 3), self.steps, np.uint8)

    def close(self):
        self.closed = True


class SpyAdversary:
    """Repeats the log and remembers what it was shown."""

    name = "spy"

    def __init__(self):
        self.contexts = []

    def plan(self, context):
        from harness.interfaces import AttackPlan

        self.contexts.append(context)
        states = context.scenario.states(context.opponent)
        states[:, 1] += context.rng.random() * 1e-3
        return AttackPlan(states, context.scenario.valid[context.opponent].copy())


class Straight:
    """Always the same action."""

    name, control, observation, privileged = "straight", "action", "cat", False

    def __init__(self, action=(0.0, 0.0)):
        self.action = np.array(action, np.float32)

    def reset(self, scenario, rng):
        pass

    def act(self, observation, view):
        return self.action
