"""Attacks of a finished benchmark, written into a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.attacks.frozen import AttackKey, FrozenAttack, frozen
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.jobs import seed_store
from harness.benchmarking.lineup import Lineup
from harness.commands.scaffold import Session
from harness.episodes.records import CellKey


def freeze(file: Path, config: BenchmarkConfig, lineup: Lineup, folder: Path, session: Session) -> None:
    """Write every attack that was made, of the first seed; failed episodes have none.

    Args:
        file: Where.
        config, lineup, folder: The finished run.
        session: Shows progress, and says what cannot be frozen.

    Raises:
        GauntletError: A record is damaged, a scene cannot be read, or the file cannot be written.
    """
    told = {"protocol": config.protocol, "traffic": config.traffic, "seed": config.seed[0]}
    for key in frozen(_attacks(config, lineup, folder, session), file, **told):
        session.warn(f"not frozen, a controller drives it: {key.adversary} on {key.made_on} in scene {key.scene}")
    session.say(f"attacks: {file}")


def _attacks(
    config: BenchmarkConfig, lineup: Lineup, folder: Path, session: Session
) -> Iterator[tuple[AttackKey, FrozenAttack | None]]:
    store = seed_store(folder, config.seed[0], True)
    source = config.open_all(cache_scenes=0)
    indices = {name: index for index, name in enumerate(source.ids)}
    for scene in session.track(lineup.scenes, "freezing", len(lineup.scenes)):
        scenario = source[indices[scene]]
        for system in lineup.systems:
            for attacker in config.attackers:
                episode = store.read(CellKey(scene, system.label, attacker.label)).episode
                if not episode.error:
                    key = AttackKey(attacker.label, system.label, scene)
                    yield key, FrozenAttack.of(scenario, attacker.intensity, episode.plan)
