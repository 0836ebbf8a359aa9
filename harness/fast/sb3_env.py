"""The fast engine as Stable-Baselines3 sees environments, so that its algorithms train on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import Wrapper
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from harness.engine.config import SENSORS
from harness.errors import ConfigError
from harness.fast.vector import FastVectorEnv


class FastVecEnv(VecEnv):
    """A `FastVectorEnv` by Stable-Baselines3's conventions.

    What its vectors of single environments do holds here too: an ended episode's last observation is
    `info["terminal_observation"]`, `info["TimeLimit.truncated"]` says that only its time was up, and the next episode
    has begun. `info["is_success"]` says of an ended one whether the ego arrived. The other entries are those of
    `FastVectorEnv`.

    With an observation that knows how much time is left, nothing can follow when it is up (`SensorPreset.knows_time`),
    and `TimeLimit.truncated` is never true: algorithms would value states that they never learn from.

    All environments are one object: attributes are read from and written to it for all of them at once, and its methods
    are called once, not N times. Nothing is rendered.
    """

    def __init__(self, env: FastVectorEnv) -> None:
        """Adapt `env`, such as `gymnasium.make_vec("harness.envs:Gauntlet/Fast-v0", 64)` gives it.

        Raises:
            ConfigError: It is no `FastVectorEnv`.
        """
        if not isinstance(env, FastVectorEnv):
            raise ConfigError(
                f"expected a FastVectorEnv, got {type(env).__name__}. For other environments Stable-Baselines3 has "
                "vectors of its own: DummyVecEnv and SubprocVecEnv."
            )
        self.env = env
        self._actions: NDArray[np.float32] | None = None
        self._followed = not SENSORS[env.options.observation].knows_time
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> NDArray[np.float32]:
        """First observations [N, D], with what `seed` and `set_options` asked for.

        Raises:
            ConfigError: The options are not the same for all environments, or unknown.
        """
        if any(options != self._options[0] for options in self._options[1:]):
            raise ConfigError("reset options: the environments are begun together, so give all of them the same.")
        observations, info = self.env.reset(seed=self._seeds[0], options=self._options[0] or None)
        self.reset_infos = _rows(info)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Take the actions [N, 2] of the next step."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step with them.

        Returns:
            Observations [N, D], rewards [N], ends [N], and a dictionary for each environment.

        Raises:
            PolicyError: The actions are not [N, 2] finite numbers.
            EngineError: Before the first reset.
        """
        assert self._actions is not None, "step_async comes first"
        observations, rewards, terminated, truncated, info = self.env.step(self._actions)
        final = info.pop("final_obs")
        info["TimeLimit.truncated"] = truncated & ~terminated & self._followed
        infos = _rows({name: values for name, values in info.items() if name not in ("final", "_final_obs")})
        ended = terminated | truncated
        for environment in np.flatnonzero(ended).tolist():
            row = infos[environment]
            row["terminal_observation"] = final[environment]
            row["is_success"] = row["arrive_dest"]
        return observations, rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Stop the threads."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of the shared object, once for each environment.

        Raises:
            AttributeError: It has none of that name.
        """
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the shared object.

        Raises:
            ConfigError: Only some of the environments are meant.
            AttributeError: It has none of that name.
        """
        self._all(attr_name, indices)
        getattr(self.env, attr_name)
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the shared object once; its answer, once for each environment.

        Raises:
            ConfigError: Only some of the environments are meant.
            AttributeError: It has none of that name.
        """
        chosen = self._all(method_name, indices)
        answer = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [answer for _ in chosen]

    def env_is_wrapped(
        self, wrapper_class: type[Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """False for each: there are no single environments that could be wrapped."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """None for each: nothing is rendered."""
        return [None] * self.num_envs

    def _all(self, name: str, indices: VecEnvIndices) -> list[int]:
        chosen = list(self._get_indices(indices))
        if set(chosen) != set(range(self.num_envs)):
            raise ConfigError(f"{name}: the environments share one object, so it cannot be had for some of them only.")
        return chosen


def _rows(info: dict[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """From arrays by name to plain values by name, for each environment."""
    columns = [values.tolist() for values in info.values()]
    return [dict(zip(info, row, strict=True)) for row in zip(*columns, strict=True)]
