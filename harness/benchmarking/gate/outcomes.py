"""Which episodes pass, and what has changed against the results that were expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.jobs import seed_store
from harness.benchmarking.lineup import Lineup
from harness.episodes.records import UNDISTURBED, CellKey, Scored
from harness.errors import ConfigError
from harness.files import JsonDict, read_json, write_json

Outcome = Literal["pass", "fail", "error"]
"""`fail`: the ego touched a vehicle or left the road. `error`: the episode broke down, so nothing is known of it."""
Change = Literal["newly failing", "newly passing", "new", "gone"]
FORMAT: Final = 1
"""Raise when the file of expected results changes."""
_SETTINGS: Final = ("data", "split", "protocol", "traffic", "horizon", "opponent", "intensity")
"""Options without which outcomes do not compare."""


class EpisodePlace(NamedTuple):
    """Which episode: a system, an adversary (`none`: undisturbed), a scene and a seed."""

    system: str
    adversary: str
    scene: str
    seed: int

    def __str__(self) -> str:
        return f"{self.system} against {self.adversary} in scene {self.scene}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class JudgedEpisode:
    """An episode.

    Attributes:
        outcome: Whether it passes.
        why: What happened, where it does not pass.
        seconds: What it took, NaN where it is not known.
    """

    outcome: Outcome
    why: str = ""
    seconds: float = float("nan")


def judge(record: Scored) -> JudgedEpisode:
    """Whether an episode passes: the ego touched no vehicle, by engine or by boxes, and did not leave the road."""
    spent = record.scores.get("seconds_episode")
    seconds = float(spent) if isinstance(spent, int | float) else float("nan")
    if record.error:
        return JudgedEpisode("error", record.error, seconds)
    told = {"crashed": "the ego touched a vehicle", "off_road_ego": "the ego left the road"}
    happened = [text for name, text in told.items() if record.scores.get(name)]
    return JudgedEpisode("fail" if happened else "pass", " and ".join(happened), seconds)


def episodes(folder: Path, config: BenchmarkConfig, lineup: Lineup) -> Iterator[tuple[EpisodePlace, JudgedEpisode]]:
    """Every episode of a run: systems outermost, then adversaries with the undisturbed scene first, scenes and seeds.

    Raises:
        RunError: A record is missing or damaged.
    """
    stores = {seed: seed_store(folder, seed, seed == config.seed[0]) for seed in config.seed}
    for system in lineup.systems:
        for adversary in (UNDISTURBED, *lineup.adversaries):
            for scene in lineup.scenes:
                for seed, store in stores.items():
                    record = store.read_scores(CellKey(scene, system.label, adversary))
                    yield EpisodePlace(system.label, adversary, scene, seed), judge(record)


def settings_of(config: BenchmarkConfig) -> JsonDict:
    """What must be equal for outcomes to compare. Where data and weights lie does not count, their names do."""
    found = {name: getattr(config, name) for name in _SETTINGS}
    return {**found, "data": Path(config.data).name}


@dataclass(frozen=True)
class Expected:
    """Results that are expected.

    Attributes:
        settings: As `settings_of` gives them.
        outcomes: The outcome of every episode.
    """

    settings: JsonDict
    outcomes: Mapping[EpisodePlace, Outcome]

    def save(self, file: Path) -> None:
        """Write them, in an order and form in which a difference of versions can be read.

        Raises:
            RunError: It cannot be written.
        """
        nested: dict[str, Any] = {}
        for place, outcome in sorted(self.outcomes.items()):
            of_system = nested.setdefault(place.system, {}).setdefault(place.adversary, {})
            of_system.setdefault(place.scene, {})[str(place.seed)] = outcome
        write_json(file, {"expected_results": FORMAT, "settings": self.settings, "episodes": nested})

    @classmethod
    def load(cls, file: Path) -> Expected:
        """Read them.

        Raises:
            ConfigError: There is no such file, or it holds something else.
        """
        if not file.exists():
            raise ConfigError(f"--expected {file}: no such file. Make it with --update-expected.")
        found = read_json(file, error=ConfigError)
        try:
            if found["expected_results"] != FORMAT:
                raise ValueError(f"format {found['expected_results']!r}")
            outcomes = {
                EpisodePlace(system, adversary, scene, int(seed)): outcome
                for system, by_adversary in found["episodes"].items()
                for adversary, by_scene in by_adversary.items()
                for scene, by_seed in by_scene.items()
                for seed, outcome in by_seed.items()
            }
            settings = dict(found["settings"])
            unknown = Counter(outcome for outcome in outcomes.values() if outcome not in get_args(Outcome))
            if unknown:
                raise ValueError(f"outcome {next(iter(unknown))!r}")
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"--expected {file} holds no expected results of format {FORMAT} ({error}). Make it anew with "
                "--update-expected."
            ) from error
        return cls(settings, outcomes)

    def check(self, settings: Mapping[str, object], file: Path) -> None:
        """Refuse results that were made with other options.

        Raises:
            ConfigError: Names each that differs.
        """
        different = [
            f"{name} {self.settings.get(name)!r}, not {value!r}"
            for name, value in settings.items()
            if self.settings.get(name) != value
        ]
        if different:
            raise ConfigError(
                f"--expected {file} was made with {'; '.join(different)}. Give the same options, or another file."
            )


def changes(
    expected: Mapping[EpisodePlace, Outcome], found: Mapping[EpisodePlace, JudgedEpisode]
) -> dict[EpisodePlace, Change]:
    """What is otherwise than expected. An episode that breaks down does not pass.

    An episode that failed and now breaks down, or the other way round, has not changed.
    """
    result: dict[EpisodePlace, Change] = {}
    for place, judged in found.items():
        before = expected.get(place)
        if before is None:
            result[place] = "new"
        elif (before == "pass") != (judged.outcome == "pass"):
            result[place] = "newly failing" if before == "pass" else "newly passing"
    return result | {place: "gone" for place in expected if place not in found}
