"""Whether many environments at once keep Gymnasium's contract of a `VectorEnv`, and Gauntlet's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from harness.checks.base import Checker
from harness.checks.env import require_spaces
from harness.errors import GauntletError, PolicyError

Arrays = NDArray[Any]


class _Row(NamedTuple):
    """What one step gave."""

    observation: Arrays
    reward: Arrays
    terminated: Arrays
    truncated: Arrays
    final: Arrays

    def equals(self, other: _Row) -> bool:
        return all(np.array_equal(mine, theirs) for mine, theirs in zip(self, other, strict=True))


def check_vector_env(env: VectorEnv[Any, Any, Any], *, steps: int = 120, seed: int = 7) -> None:
    """Check spaces, types, seeds, endings and what follows them, and bad input. The caller closes the environment.

    Gymnasium and Stable-Baselines3 have no checker for vectors of environments. This one holds for every engine, and
    for a `SyncVectorEnv` of single environments; an `AsyncVectorEnv` does not live on after an error.

    Args:
        env: The environments; some episode must end within `steps`.
        steps: Steps to drive.
        seed: Seed of reset and actions.

    Raises:
        ConformanceError: With the broken rule.
    """
    checker = Checker(f"vector environment {env.spec.id if env.spec else type(env.unwrapped).__name__!r}")
    mode = _check_spaces(checker, env)
    first = _roll(checker, env, mode, steps, seed)
    second = _roll(checker, env, mode, steps, seed)
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        checker.where = f"step {index}"
        checker.require(one.equals(other), "equal seeds and actions must give equal observations, rewards and ends")
    checker.where = ""
    checker.require(
        any((row.terminated | row.truncated).any() for row in first),
        f"an episode must end within {steps} steps, for what follows to be checked: give more, or a shorter horizon",
    )
    _check_bad_input(checker, env, seed, first[0].observation)


def _check_spaces(checker: Checker, env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    observation, action = env.single_observation_space, env.single_action_space
    require_spaces(checker, observation, action)
    for name, single, batch in (
        ("observation", observation, env.observation_space),
        ("action", action, env.action_space),
    ):
        expected = batch_space(single, env.num_envs)
        checker.require(batch == expected, f"the {name} space must be that of one environment, N times", str(batch))
    mode = env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        checker.fail("metadata must name the autoreset mode", repr(mode))
    return mode


def _roll(checker: Checker, env: VectorEnv[Any, Any, Any], mode: AutoresetMode, steps: int, seed: int) -> list[_Row]:
    rng = np.random.default_rng(seed)
    _restart(env)
    checker.where = "reset"
    begun = env.reset(seed=seed)
    checker.require(len(begun) == 2 and isinstance(begun[1], dict), "`reset` must return (observations, info)")
    value, none = _observations(checker, env, begun[0]), np.zeros(env.num_envs, np.bool_)
    rows = [_Row(value.copy(), np.zeros(env.num_envs), none, none, np.zeros(0))]
    ended = none
    for step in range(1, steps + 1):
        checker.where = f"step {step}"
        if mode == AutoresetMode.DISABLED and ended.any():
            value, _ = env.reset(options={"reset_mask": ended})
        kept, before, waiting = value, value.copy(), ended
        result = env.step(rng.uniform(-1.0, 1.0, (env.num_envs, 2)).astype(np.float32))
        checker.require(len(result) == 5, "`step` must return five values", str(len(result)))
        value, reward, terminated, truncated, info = result
        value = _observations(checker, env, value)
        checker.require(np.array_equal(kept, before), "`step` must not change the observations it returned before")
        checker.array(reward, (env.num_envs,), np.floating, "rewards")
        checker.require(np.isfinite(reward).all(), "rewards must be finite")
        for name, flags in (("terminated", terminated), ("truncated", truncated)):
            checker.array(flags, (env.num_envs,), np.bool_, name)
        checker.require(isinstance(info, dict), "info must be a dictionary", type(info).__name__)
        ended = terminated | truncated
        if mode == AutoresetMode.NEXT_STEP:
            checker.require(
                not (waiting & ended).any() and not reward[waiting].any(),
                "the step after an end must begin the next episode: without reward, and without an end",
            )
        final = _final(checker, env, info, ended) if mode == AutoresetMode.SAME_STEP else np.zeros(0)
        rows.append(_Row(value.copy(), reward.copy(), terminated.copy(), truncated.copy(), final))
    checker.where = ""
    return rows


def _observations(checker: Checker, env: VectorEnv[Any, Any, Any], value: Any) -> Arrays:
    checker.array(value, env.observation_space.shape or (), np.floating, "observations")
    checker.require(value.dtype == np.float32, "observations must be float32", str(value.dtype))
    checker.require(np.isfinite(value).all(), "observations must be finite")
    checker.require(
        env.observation_space.contains(value),
        f"observations must lie in {env.single_observation_space}",
        f"{value.min(initial=0.0):.4g} … {value.max(initial=0.0):.4g}",
    )
    return value


def _final(checker: Checker, env: VectorEnv[Any, Any, Any], info: dict[str, Any], ended: Arrays) -> Arrays:
    """The last observations [E, D] of the E episodes that ended in this step."""
    if not ended.any():
        return np.zeros(0)
    names = ("final_obs", "_final_obs")
    checker.require(all(name in info for name in names), f"info must hold {' and '.join(names)} at an end")
    checker.require(np.array_equal(info["_final_obs"], ended), "`_final_obs` must say where an episode ended")
    found = np.array([info["final_obs"][place] for place in np.flatnonzero(ended)])
    space = env.single_observation_space
    checker.require(
        found.dtype == np.float32 and all(space.contains(row) for row in found),
        f"`final_obs` must hold observations, in {space}",
    )
    return found


def _restart(env: VectorEnv[Any, Any, Any]) -> None:
    """Forget what a curriculum has learnt: it outlives seeds."""
    whole = env.unwrapped
    if callable(restart := getattr(whole, "restart", None)):
        restart()
    elif callable(call := getattr(whole, "call", None)):
        try:
            call("restart")
        except AttributeError:  # There is none to forget.
            return


def _check_bad_input(checker: Checker, env: VectorEnv[Any, Any, Any], seed: int, first: Arrays) -> None:
    bad = np.zeros((env.num_envs, 2), np.float32)
    bad[-1, 0] = np.nan
    for actions in (bad, np.zeros((env.num_envs, 3), np.float32)):
        env.reset(seed=seed)
        try:
            env.step(actions)
        except PolicyError:
            continue
        checker.fail("bad actions must raise PolicyError", f"{actions[-1].tolist()} accepted")
    try:
        env.reset(seed=seed, options={"no such option": 1})
    except GauntletError:
        _restart(env)
        again, _ = env.reset(seed=seed)
        checker.require(np.array_equal(again, first), "it must live on after bad input, as if nothing had been")
        return
    checker.fail("unknown reset options must be refused", "'no such option' accepted")
