"""Gymnasium suite: importing this package registers the ids.

    import gymnasium, harness.envs
    env = gymnasium.make("Gauntlet/LogReplay-v0")

or in one go, as worker processes may prefer: `gymnasium.make("harness.envs:Gauntlet/LogReplay-v0")`. (Gymnasium 1.0
dropped the plugin entry points that made older versions import packages by themselves.) The fast engine's many
environments at once: `gymnasium.make_vec("harness.envs:Gauntlet/Fast-v0", num_envs=64)`.
"""

from __future__ import annotations

from typing import Final

IDS: Final = {
    "Gauntlet/LogReplay-v0": "harness.envs.suite:LogReplayEnv",
    "Gauntlet/Adversary-v0": "harness.envs.suite:AdversaryEnv",
    "Gauntlet/Curriculum-v0": "harness.envs.suite:CurriculumEnv",
    "Gauntlet/Reactive-v0": "harness.envs.suite:ReactiveEnv",
    "Gauntlet/LongTerm-v0": "harness.envs.long_term:LongTermEnv",
}
"""Registered ids and their entry points, imported only when an environment is made."""
VECTOR_IDS: Final = {"Gauntlet/Fast-v0": "harness.envs.fast:FastEnv"}
"""The same of `gymnasium.make_vec`: these are many environments at once, and nothing else."""


def register_envs() -> None:
    """Register the suite with Gymnasium; calling it again changes nothing."""
    from gymnasium.envs.registration import register, registry

    for name, entry_point in IDS.items():
        if name not in registry:
            # Episodes are truncated by the environment itself, whose `horizon` is an argument. The order-enforcing
            # wrapper is left to Gymnasium; its passive checker costs every step and the conformance suite covers it.
            register(id=name, entry_point=entry_point, disable_env_checker=True)
    for name, entry_point in VECTOR_IDS.items():
        if name not in registry:
            register(id=name, vector_entry_point=entry_point)


register_envs()
