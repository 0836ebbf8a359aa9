"""Hand-made episodes."""

import numpy as np

from harness.interfaces import STATE, AttackPlan, Episode, Trajectory

STEPS = 91


def straight(x: float, y: float, speed: float, last: int = STEPS - 1) -> Trajectory:
    """Constant speed along +x; rows after `last` are invalid and zero."""
    states = np.zeros((STEPS, STATE))
    states[:, 0], states[:, 1], states[:, 3] = x + speed * 0.1 * np.arange(STEPS), y, speed
    valid = np.arange(STEPS) <= last
    states[~valid] = 0.0
    return Trajectory(states, valid)


def an_episode(*, adversary: str = "cat", policy: str = "idm", scenario: str = "scene", error: str = "") -> Episode:
    """An attacked episode with every optional part."""
    rng = np.random.default_rng(7)
    ego, opponent = straight(1e5 / 3, 0.0, 10.0, 60), straight(1e5 / 3 + 20.0, 0.0, 5.0, 60)
    candidates = opponent.states + rng.normal(size=(3, STEPS, STATE))
    candidates[:, ~opponent.valid] = 0.0
    plan = AttackPlan(
        opponent.states,
        opponent.valid,
        candidates,
        {"log_prob": np.array([-1.0, -2.0, -np.inf])},
        chosen=1,
        takeover_step=None,
        info={"protocol": "corrected", "expected_step": 31, "expects_contact": True},
    )
    return Episode(
        scenario_id=scenario,
        policy=policy,
        adversary=adversary,
        intensity=1.0,
        seed=3,
        ego=ego,
        opponent=opponent,
        agents=np.stack([ego.states, opponent.states]),
        agents_valid=np.stack([ego.valid, opponent.valid]),
        plan=plan,
        steps=60,
        reward=1 / 3,
        cost=1.0,
        route_completion=0.1 + 0.2,
        arrived=False,
        off_road=False,
        truncated=True,
        crash_contact=31,
        crash_geometry=31,
        crash_opponent=31,
        mean_speed=10.0,
        mean_jerk=float("nan"),
        error=error,
    )
