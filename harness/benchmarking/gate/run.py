"""The gate of one benchmark: what is checked before the first episode, and what is said after the last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, get_args

from harness.benchmarking.budget import Completeness
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.gate.conditions import Condition, ConditionFound, judged
from harness.benchmarking.gate.junit import library, write_junit
from harness.benchmarking.gate.outcomes import (
    Change,
    EpisodePlace,
    Expected,
    JudgedEpisode,
    Outcome,
    changes,
    episodes,
    settings_of,
)
from harness.benchmarking.lineup import Lineup
from harness.benchmarking.summary import Cell
from harness.episodes.records import UNDISTURBED
from harness.files import write_json

FILE: Final = "gate.json"
_SHOWN: Final = 10
"""Episodes that are named on the screen; the file has all."""


@dataclass(frozen=True)
class Gate:
    """What a gate asks for.

    Attributes:
        conditions: When it closes.
        expected: Results that the run is compared with, or None.
        accepts: Whether what is found becomes what is expected.
        asked: Whether anything of a gate was asked for.
    """

    conditions: tuple[Condition, ...] = ()
    expected: Expected | None = None
    accepts: bool = False
    asked: bool = False

    @classmethod
    def of(cls, config: BenchmarkConfig, lineup: Lineup) -> Gate:
        """Everything that can be wrong is found here, before the first episode.

        Raises:
            ConfigError: A condition cannot be read; there are no expected results, or they are of other options; or
                the library of `--junit` is missing.
            UnknownNameError: A condition names a column, system or adversary that there is none of.
        """
        conditions = tuple(Condition.parse(text) for text in config.fail_if)
        for condition in conditions:
            condition.check([item.label for item in lineup.systems], (UNDISTURBED, *lineup.adversaries))
        if config.junit is not None:
            library()
        file, expected = config.expected, None
        if file is not None and (file.exists() or not config.update_expected):
            expected = Expected.load(file)
            if not config.update_expected:
                expected.check(settings_of(config), file)
                expected.check_met(lineup, file)
        asked = bool(conditions) or file is not None or config.junit is not None
        return cls(conditions, expected, config.update_expected, asked)


@dataclass(frozen=True)
class GateVerdict:
    """What a gate found.

    Attributes:
        findings: What was found of every condition, in every place.
        changed: Episodes that are otherwise than expected.
        found: Every episode.
        unfinished: What is said of a run that is not complete. It closes the gate, which has not seen the rest.
    """

    findings: tuple[ConditionFound, ...] = ()
    changed: Mapping[EpisodePlace, Change] = field(default_factory=dict)
    found: Mapping[EpisodePlace, JudgedEpisode] = field(default_factory=dict)
    unfinished: str = ""

    @property
    def closed(self) -> bool:
        """Whether any condition closes it, or the run is not complete."""
        return bool(self.unfinished) or any(finding.closes for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """What is said of it."""
        if self.found:
            outcomes = Counter(one.outcome for one in self.found.values())
            yield "episodes: " + ", ".join(f"{outcomes[kind]} {kind}" for kind in get_args(Outcome))
        for change, count in Counter(self.changed.values()).items():
            yield f"{change}: {count} of {len(self.found)} episodes"
            places = [place for place, kind in self.changed.items() if kind == change]
            if change.startswith("newly"):
                yield from (f"  {place}" for place in places[:_SHOWN])
                if len(places) > _SHOWN:
                    yield f"  … and {len(places) - _SHOWN} more in {FILE}"
        yield from (finding.said for finding in self.findings)
        if self.unfinished:
            yield f"{self.unfinished} A part of a run opens no gate: go on with it."
        if self.findings or self.unfinished:
            yield "gate: closed (exit code 1)" if self.closed else "gate: open"


def pass_through(
    gate: Gate,
    config: BenchmarkConfig,
    lineup: Lineup,
    folder: Path,
    cells: Sequence[Cell],
    completeness: Completeness | None = None,
) -> GateVerdict:
    """Judge a run, and write what was asked for: `gate.json`, the JUnit file, the expected results.

    Args:
        gate: What is asked for.
        config: How the benchmark was configured.
        lineup: Who took part in the scenes that are complete.
        folder: Run folder.
        cells: Numbers of its tables.
        completeness: How much of the run there is; None for all. A part of a run closes the gate.

    Raises:
        GauntletError: A record is damaged, or a file cannot be written.
    """
    if not gate.asked:
        return GateVerdict()
    found = dict(episodes(folder, config, lineup))
    changed = changes(gate.expected.outcomes, found) if gate.expected is not None else {}
    findings = judged(gate.conditions, cells, _counts(found, {} if gate.accepts else changed))
    verdict = GateVerdict(tuple(findings), changed, found, completeness.line if completeness is not None else "")
    write_json(folder / FILE, _as_object(verdict))
    if config.junit is not None:
        write_junit(config.junit, found, changed, findings, compared=gate.expected is not None)
    if gate.accepts and config.expected is not None:
        outcomes = {place: one.outcome for place, one in found.items()}
        Expected(settings_of(config), outcomes).save(config.expected)
    return verdict


def _counts(found: Mapping[EpisodePlace, JudgedEpisode], changed: Mapping[EpisodePlace, Change]) -> dict[str, int]:
    outcomes, kinds = Counter(one.outcome for one in found.values()), Counter(changed.values())
    return {
        "regressions": kinds["newly failing"],
        "failing": outcomes["fail"],
        "errors": outcomes["error"],
        "gone": kinds["gone"],
    }


def _as_object(verdict: GateVerdict) -> dict[str, object]:
    return {
        "closed": verdict.closed,
        "unfinished": verdict.unfinished,
        "conditions": [asdict(finding) for finding in verdict.findings],
        "changes": [{**place._asdict(), "change": change} for place, change in verdict.changed.items()],
        "outcomes": dict(Counter(one.outcome for one in verdict.found.values())),
    }
