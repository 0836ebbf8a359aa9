"""Whether an ego policy keeps its contract."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness import registry
from harness.checks.base import Checker, require_name
from harness.episodes.actions import check_action
from harness.errors import PolicyError
from harness.interfaces import STATE, EgoPolicy, EgoView
from scenarios.scenario import CURRENT_STEP, Scenario

OBSERVATIONS: Final = ("cat", "metadrive", "route", "none")
_ARRAYS: Final = ("ego", "route", "agents", "agent_sizes", "futures")


def check_policy(policy: EgoPolicy, scenario: Scenario, *, observation_size: int = 0, seed: int = 0) -> None:
    """Check a policy on the log of a scene, with random observations.

    Args:
        policy: The policy; a planner of trajectories is checked behind the tracker.
        scenario: Gives the views: the ego on its log, the others on theirs.
        observation_size: Length of the observation vector; 0 for policies whose `observation` is `none`.
        seed: Seed of the observations and of the policy's generator.

    Raises:
        ConformanceError: With the broken rule.
    """
    checker = Checker(f"policy {getattr(policy, 'name', type(policy).__name__)!r}")
    require_name(checker, policy)
    checker.require(
        isinstance(policy, EgoPolicy),
        "it must have `name`, `control`, `observation`, `privileged`, `reset` and `act`",
    )
    if policy.control == "trajectory":
        policy = registry.resolve("policy", "tracked")(policy)
    checker.require(
        policy.control in ("action", "replay"), "`control` must be 'action', 'replay' or 'trajectory'", policy.control
    )
    checker.require(policy.observation in OBSERVATIONS, f"`observation` must be in {OBSERVATIONS}", policy.observation)
    checker.require(isinstance(policy.privileged, bool), "`privileged` must be a bool", repr(policy.privileged))
    foresees = getattr(policy, "sees_futures", False)
    checker.require(isinstance(foresees, bool), "`sees_futures` must be a bool", repr(foresees))
    checker.require(policy.privileged or not foresees, "a policy with `sees_futures` must declare `privileged = True`")
    with checker.scene_untouched(scenario):
        policy.reset(scenario, np.random.default_rng(seed))
    if policy.control == "replay":
        checker.require(policy.privileged, "a policy that replays the log is privileged: it knows the future")
        return
    observations = np.random.default_rng(seed).random((scenario.num_steps, observation_size), dtype=np.float32)
    first = _drive(checker, policy, scenario, observations, seed)
    second = _drive(checker, policy, scenario, observations, seed)
    checker.require(
        np.array_equal(first, second),
        "after `reset`, equal inputs and generators must give equal actions (does state survive the reset?)",
    )
    if not policy.privileged:
        blind = _drive(checker, policy, scenario, observations, seed, shifted=True)
        checker.require(np.array_equal(first, blind), "a policy that reads `EgoView` must declare `privileged = True`")
    if foresees:
        _drive(checker, policy, scenario, observations, seed, futures="unknown")
    elif policy.privileged:
        told = _drive(checker, policy, scenario, observations, seed, futures="log")
        checker.require(
            np.array_equal(first, told), "a policy that reads `EgoView.futures` must declare `sees_futures = True`"
        )
    if policy.observation == "none" and observation_size:
        other = _drive(checker, policy, scenario, 1.0 - observations, seed)
        checker.require(np.array_equal(first, other), "a policy that reads observations must declare which preset")


Futures = Literal["none", "log", "unknown"]


def log_view(scenario: Scenario, step: int, *, shifted: bool = False, futures: Futures = "none") -> EgoView:
    """What the ego would see at `step` if everybody followed the log; `shifted` makes a different world of it."""
    others = [row for row in range(scenario.num_agents) if row != scenario.ego and scenario.valid[row, step]]
    states = [scenario.states(row)[step] for row in others]
    ego = scenario.states(scenario.ego)
    route = ego[scenario.valid[scenario.ego], :2]
    if shifted:
        route = route[::-1] + 5.0
        states, others = [], []
    return EgoView(
        step=step,
        dt=scenario.dt,
        ego=ego[step] + (3.0 if shifted else 0.0),
        ego_size=scenario.box(scenario.ego),
        route=route.copy(),
        agents=np.array(states).reshape(-1, ego.shape[-1]),
        agent_sizes=np.array([scenario.box(row) for row in others]).reshape(-1, 2),
        futures=None if futures == "none" else _log_futures(scenario, step, others, known=futures == "log"),
    )


def _log_futures(scenario: Scenario, step: int, agents: list[int], *, known: bool) -> NDArray[np.float64]:
    """`EgoView.futures` [M, H, STATE] if everybody follows the log, or if nobody knows."""
    found = np.full((len(agents), scenario.num_steps - 1 - step, STATE), np.nan)
    for row, agent in enumerate(agents if known else []):
        present = scenario.valid[agent, step + 1 :]
        found[row, present] = scenario.states(agent)[step + 1 :][present]
    return found


def _answer(checker: Checker, policy: EgoPolicy, observation: NDArray[np.float32], view: EgoView) -> object:
    """What the policy answers; what it raises as its own failure breaks the contract."""
    try:
        return policy.act(observation, view)
    except PolicyError as error:
        checker.fail(str(error).rstrip("."))


def _drive(
    checker: Checker,
    policy: EgoPolicy,
    scenario: Scenario,
    observations: NDArray[np.float32],
    seed: int,
    *,
    shifted: bool = False,
    futures: Futures | None = None,
) -> NDArray[np.float32]:
    """Actions [N, 2] over the scene, each checked; `futures` None: what the policy is entitled to."""
    actions = []
    if futures is None:
        futures = "log" if getattr(policy, "sees_futures", False) else "none"
    with checker.scene_untouched(scenario), checker.only_own_randomness():
        policy.reset(scenario, np.random.default_rng(seed))
        for step in range(CURRENT_STEP, scenario.num_steps - 1):
            if not scenario.valid[scenario.ego, step]:
                continue
            checker.where = f"scene {scenario.id}, step {step}"
            view, observation = log_view(scenario, step, shifted=shifted, futures=futures), observations[step].copy()
            arrays = [array for name in _ARRAYS if (array := getattr(view, name)) is not None]
            with (
                checker.untouched("its observation", observation),
                checker.untouched("its view", *arrays),
            ):
                action = _answer(checker, policy, observation, view)
            try:
                clipped = check_action(action, policy=policy.name, step=step)
            except PolicyError as error:
                checker.fail(str(error).rstrip("."))
            checker.require(
                np.array_equal(np.asarray(action, dtype=np.float32), clipped),
                "actions must lie in [-1, 1]",
                str(np.asarray(action).tolist()),
            )
            actions.append(clipped)
    checker.where = ""
    return np.array(actions)
