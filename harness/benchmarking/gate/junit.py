"""A benchmark as JUnit XML, which services that run tests show: one test case per episode, one per condition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from harness.benchmarking.gate.conditions import ConditionFound
from harness.benchmarking.gate.outcomes import Change, EpisodePlace, JudgedEpisode
from harness.errors import ConfigError, shown
from harness.files import write_atomically

GATE: Final = "gate"
"""Name of the test suite of the conditions."""


def library() -> Any:
    """The library that writes the format.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import junitparser
    except ImportError as error:
        raise ConfigError(
            f"--junit needs junitparser ({error}). Install it: pip install 'gauntlet-drive[gate]'."
        ) from error
    return junitparser


def write_junit(
    file: Path,
    found: Mapping[EpisodePlace, JudgedEpisode],
    changed: Mapping[EpisodePlace, Change],
    findings: Sequence[ConditionFound],
    *,
    compared: bool,
) -> None:
    """Write the file.

    An episode that breaks down is an error. One that fails is a failure, unless it was expected to fail: then it is
    skipped, and a service does not call the run bad for it.

    Args:
        file: Where.
        found: Every episode; those of one system and adversary follow one another.
        changed: What is otherwise than expected.
        findings: Conditions; those that close the gate are failures.
        compared: Whether there were expected results.

    Raises:
        ConfigError: The library is not installed.
        RunError: The file cannot be written.
    """
    junit = library()
    every = junit.JUnitXml("gauntlet benchmark")
    for (system, adversary), group in groupby(found.items(), key=lambda item: item[0][:2]):
        suite = junit.TestSuite(shown(f"{system} against {adversary}"))
        for place, judged in group:
            known = compared and changed.get(place) not in ("newly failing", "new")
            suite.add_testcase(_case(junit, place, judged, known))
        every.add_testsuite(suite)
    suite = junit.TestSuite(GATE)
    for number, finding in enumerate(findings):
        case = junit.TestCase(shown(f"{finding.condition} {finding.place}".strip()), GATE)
        if finding.closes:
            case.result = [junit.Failure(shown(finding.said), "closed")]
        case.id = str(number)
        suite.add_testcase(case)
    every.add_testsuite(suite)
    write_atomically(file, lambda beside: every.write(str(beside), pretty=True))


def _case(junit: Any, place: EpisodePlace, judged: JudgedEpisode, known: bool) -> Any:
    name = f"{place.scene}, seed {place.seed}"
    spent = judged.seconds if math.isfinite(judged.seconds) else None
    case = junit.TestCase(shown(name), shown(f"{place.system}.{place.adversary}"), spent)
    if judged.outcome == "error":
        case.result = [junit.Error(shown(judged.why), "error")]
    elif judged.outcome == "fail" and known:
        case.result = [junit.Skipped(f"expected to fail: {judged.why}")]
    elif judged.outcome == "fail":
        case.result = [junit.Failure(judged.why, "failure")]
    return case
