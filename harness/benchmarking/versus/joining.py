"""Benchmarks of two systems as one benchmark of both: everything that reads a run folder reads this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.gate.outcomes import settings_of
from harness.benchmarking.jobs import seed_store
from harness.benchmarking.lineup import FILE as LINEUP
from harness.benchmarking.lineup import Lineup, SystemInfo
from harness.commands.configs import rebuild
from harness.commands.runs import read_run
from harness.episodes.records import UNDISTURBED, CellKey, EpisodeStore
from harness.errors import ConfigError, RunError, reading
from harness.files import Json, read_json

PACKAGES: Final = ("gauntlet-drive", "metadrive-simulator")
"""Packages of whose versions the meaning of a number depends."""
SIDES: Final = ("A", "B")
"""What stands before the labels of both systems."""


@dataclass(frozen=True)
class BenchedRun:
    """One system of a finished benchmark.

    Attributes:
        folder: Where it lies.
        config: What was run.
        lineup: Who took part, as `lineup.json` has it.
        versions: Versions of `PACKAGES`, as far as they are known.
        system: The system that is compared.
    """

    folder: Path
    config: BenchmarkConfig
    lineup: Json
    versions: Mapping[str, str]
    system: SystemInfo

    @property
    def stores(self) -> list[EpisodeStore]:
        """Records of every seed."""
        return [seed_store(self.folder, seed, seed == self.config.seed[0]) for seed in self.config.seed]

    @classmethod
    def open(cls, folder: Path, label: str | None) -> BenchedRun:
        """Read what a run folder says of itself; nothing in it is run or written.

        Raises:
            RunError: It is no benchmark, or damaged.
            ConfigError: It has no such system, or several and none is named.
        """
        info = read_run(folder)
        if info["verb"] != "benchmark":
            raise RunError(f"{folder} was made by {info['verb']!r}. Give run folders of gauntlet benchmark.")
        config = rebuild(BenchmarkConfig, info["config"])
        if not (folder / LINEUP).is_file():
            raise RunError(f"{folder} has no {LINEUP}: it is no finished benchmark. Finish it with --resume {folder}.")
        lineup = read_json(folder / LINEUP)
        with reading(folder / LINEUP, "who takes part in a benchmark", RunError):
            systems = [SystemInfo(**item) for item in lineup["systems"]]
            found = {str(name): str(text) for name, text in info["provenance"]["versions"].items() if name in PACKAGES}
            tuple(map(str, (*lineup["scenes"], *lineup["adversaries"], *lineup["digests"].values())))
        return cls(folder, config, lineup, found, _chosen(systems, label, folder))


def _chosen(systems: Sequence[SystemInfo], label: str | None, folder: Path) -> SystemInfo:
    labels = [item.label for item in systems]
    if label is None and len(systems) == 1:
        return systems[0]
    if label is None or label not in labels:
        asked = "several systems" if label is None else f"no system {label!r}"
        raise ConfigError(f"{folder} has {asked}. Name one with --system: {', '.join(labels)}.")
    return next(item for item in systems if item.label == label)


def differences(first: BenchedRun, other: BenchedRun) -> list[str]:
    """Why two runs cannot be compared, in words; nothing where they can."""
    found = [
        f"{name} {value!r} in {first.folder}, {settings_of(other.config)[name]!r} in {other.folder}"
        for name, value in settings_of(first.config).items()
        if value != settings_of(other.config)[name]
    ]
    mine, theirs = first.lineup, other.lineup
    if list(mine["scenes"]) != list(theirs["scenes"]):
        only = len(set(mine["scenes"]) ^ set(theirs["scenes"]))
        found.append(f"scenes: {only} are in one of {first.folder} and {other.folder} alone, or their order differs")
    if list(mine["adversaries"]) != list(theirs["adversaries"]):
        names = (" ".join(map(str, side["adversaries"])) for side in (mine, theirs))
        found.append("adversaries: " + ", and ".join(names))
    if sorted(mine["digests"].values()) != sorted(theirs["digests"].values()):
        found.append("weights of an adversary")
    if mine.get("traffic_digest") != theirs.get("traffic_digest"):
        found.append("weights of the traffic")
    for name in PACKAGES:
        versions = first.versions.get(name), other.versions.get(name)
        if versions[0] != versions[1]:
            found.append(f"version of {name}: {versions[0]} and {versions[1]}, so that a number may mean another thing")
    return found


@dataclass(frozen=True)
class Sides:
    """Two systems that can be compared, each with one or several runs.

    Attributes:
        runs: The first's, and the second's.
    """

    runs: tuple[tuple[BenchedRun, ...], tuple[BenchedRun, ...]]

    @classmethod
    def open(cls, folders: Sequence[Sequence[Path]], labels: Sequence[str]) -> Sides:
        """Open the runs of both sides.

        Raises:
            RunError: A folder is no benchmark, or damaged.
            ConfigError: Two runs cannot be compared: names everything that differs.
        """
        wanted = [labels[min(side, len(labels) - 1)] if labels else None for side in range(2)]
        first, second = (
            tuple(BenchedRun.open(folder, label) for folder in side)
            for side, label in zip(folders, wanted, strict=True)
        )
        every = (*first, *second)
        different = [text for run in every[1:] for text in differences(every[0], run)]
        if different:
            raise ConfigError(f"these runs cannot be compared: {'; '.join(dict.fromkeys(different))}. Run one anew.")
        counts = {sum(len(run.config.seed) for run in side) for side in (first, second)}
        if len(counts) > 1:
            raise ConfigError(
                f"one side has {min(counts)} repeats (runs times seeds) and the other {max(counts)}. Give as many of "
                "both: leave runs out, or benchmark with the same --seed."
            )
        return cls((first, second))

    @property
    def repeats(self) -> int:
        """Runs times seeds of either side."""
        return sum(len(run.config.seed) for run in self.runs[0])

    @property
    def labels(self) -> tuple[str, str]:
        """The labels of both systems, told apart."""
        first, second = (f"{mark} {side[0].system.label}" for mark, side in zip(SIDES, self.runs, strict=True))
        return first, second

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes."""
        return tuple(map(str, self.runs[0][0].lineup["scenes"]))

    @property
    def adversaries(self) -> tuple[str, ...]:
        """Their labels, `none` first."""
        return (UNDISTURBED, *map(str, self.runs[0][0].lineup["adversaries"]))

    def config(self, data: str | None) -> BenchmarkConfig:
        """What a benchmark of both would have been told; every repeat is a seed."""
        first = self.runs[0][0].config
        specs = tuple(f"{label}={side[0].system.spec}" for label, side in zip(self.labels, self.runs, strict=True))
        plain: dict[str, Any] = dict.fromkeys(("json", "expected", "junit", "freeze"))
        found = replace(
            first,
            sut=specs,
            seed=tuple(range(self.repeats)),
            certify=False,
            certificate=None,
            fail_if=(),
            update_expected=False,
            **plain,
        )
        return found if data is None else replace(found, data=data)

    def lineup(self) -> Lineup:
        """Who took part."""
        stored = self.runs[0][0].lineup
        systems = tuple(
            replace(side[0].system, label=label) for label, side in zip(self.labels, self.runs, strict=True)
        )
        digests = {str(name): str(text) for name, text in stored["digests"].items()}
        traffic = str(stored.get("traffic_digest", ""))
        return Lineup(self.scenes, systems, self.adversaries[1:], digests, traffic)

    def copy(self, folder: Path, watch: Callable[[Sequence[CellKey]], Iterator[CellKey]]) -> None:
        """Copy every record into a run folder, under the labels of both sides.

        Args:
            folder: Where.
            watch: Sees the keys go by.

        Raises:
            RunError: A record is missing or damaged, or the folder cannot be written.
        """
        jobs = {}
        for label, side in zip(self.labels, self.runs, strict=True):
            stores = [(run, store) for run in side for store in run.stores]
            for repeat, (run, store) in enumerate(stores):
                for adversary in self.adversaries:
                    for scene in self.scenes:
                        jobs[CellKey(scene, label, adversary), repeat] = (run, store)
        found = iter(watch([key for key, _ in jobs]))
        for (key, repeat), (run, store) in jobs.items():
            record = store.read(CellKey(key.scenario_id, run.system.label, key.adversary))
            target = seed_store(folder, repeat, repeat == 0)
            target.write(next(found), replace(record.episode, policy=key.policy), record.scores, record.arrays)
