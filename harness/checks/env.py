"""Whether an environment of the suite keeps Gymnasium's contract and Gauntlet's."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from harness.checks.base import Checker
from harness.errors import GauntletError, PolicyError


def check_env(env: gym.Env[Any, Any], *, steps: int = 20, seed: int = 7) -> None:
    """Check spaces, seeding, determinism, time, information and bad actions. The caller closes the environment.

    `gymnasium.utils.env_checker.check_env` covers the interface; this covers behaviour.

    Args:
        env: The environment.
        steps: Steps to drive.
        seed: Seed of reset and actions.

    Raises:
        ConformanceError: With the broken rule.
    """
    checker = Checker(f"environment {env.spec.id if env.spec else type(env.unwrapped).__name__!r}")
    require_spaces(checker, env.observation_space, env.action_space)
    first = _roll(checker, env, steps, seed)
    second = _roll(checker, env, steps, seed)
    checker.require(len(first) == len(second), "equal seeds must give episodes of equal length")
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        checker.where = f"step {index}"
        checker.require(
            np.array_equal(one[0], other[0]) and one[1:] == other[1:],
            "equal seeds and actions must give equal observations, rewards and ends",
        )
    checker.where = ""
    _check_bad_input(checker, env, seed)


def require_spaces(checker: Checker, observation: gym.Space[Any], action: gym.Space[Any]) -> None:
    """Check the spaces of one environment: a float32 box, and steering and throttle."""
    checker.require(isinstance(observation, gym.spaces.Box), "the observation space must be a Box", str(observation))
    checker.require(observation.dtype == np.float32, "observations must be float32", str(observation.dtype))
    checker.require(
        isinstance(action, gym.spaces.Box) and action.shape == (2,) and action.dtype == np.float32,
        "the action space must be Box(-1, 1, (2,), float32)",
        str(action),
    )


def _observation(checker: Checker, env: gym.Env[Any, Any], value: Any) -> NDArray[np.float32]:
    space = env.observation_space
    checker.require(isinstance(value, np.ndarray), "observations must be plain numpy arrays", type(value).__name__)
    checker.require(value.dtype == np.float32, "observations must be float32", str(value.dtype))
    checker.require(np.isfinite(value).all(), "observations must be finite")
    checker.require(
        space.contains(value),
        f"observations must lie in {space}",
        f"shape {value.shape}, values {value.min(initial=0.0):.4g} … {value.max(initial=0.0):.4g}",
    )
    return value


def _roll(checker: Checker, env: gym.Env[Any, Any], steps: int, seed: int) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(seed)
    if callable(restart := getattr(env.unwrapped, "restart", None)):
        restart()  # What a curriculum has learnt outlives seeds.
    value, info = env.reset(seed=seed)
    checker.where = "reset"
    value = _observation(checker, env, value)
    checker.require(isinstance(info, dict), "`reset` must return (observation, info)")
    rows: list[tuple[Any, ...]] = [(value.copy(),)]
    for step in range(1, steps + 1):
        checker.where = f"step {step}"
        kept, before = value, value.copy()
        result = env.step(rng.uniform(-1.0, 1.0, 2).astype(np.float32))
        checker.require(len(result) == 5, "`step` must return five values", str(len(result)))
        value, reward, terminated, truncated, info = result
        value = _observation(checker, env, value)
        checker.require(np.array_equal(kept, before), "`step` must not change the observation it returned before")
        checker.require(np.isfinite(float(reward)), "the reward must be finite", str(reward))
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            checker.require(isinstance(flag, (bool, np.bool_)), f"{name} must be a bool", type(flag).__name__)
        rows.append((value.copy(), float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            break
    checker.where = ""
    return rows


def _check_bad_input(checker: Checker, env: gym.Env[Any, Any], seed: int) -> None:
    env.reset(seed=seed)
    for bad in (np.array([np.nan, 0.0], np.float32), np.zeros(3, np.float32), np.zeros((1, 2), np.float32)):
        try:
            env.step(bad)
        except PolicyError:
            continue
        checker.fail("a bad action must raise PolicyError", f"{bad.tolist()} accepted")
    try:
        env.reset(seed=seed, options={"no such option": 1})
    except GauntletError:
        return
    checker.fail("unknown reset options must be refused", "'no such option' accepted")
