"""The gate of a benchmark: conditions, expected outcomes, and JUnit XML."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.benchmarking.budget import Completeness
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.gate.conditions import Condition, ConditionFound, judged
from harness.benchmarking.gate.junit import write_junit
from harness.benchmarking.gate.outcomes import (
    EpisodePlace,
    Expected,
    JudgedEpisode,
    changes,
    check_expected,
    judge,
    settings_of,
)
from harness.benchmarking.gate.run import FILE, Gate, pass_through
from harness.benchmarking.jobs import seed_store
from harness.benchmarking.lineup import Lineup, SystemInfo
from harness.benchmarking.summary import Cell, summarise
from harness.episodes.records import CellKey, Scored
from harness.errors import ConfigError, GauntletError, UnknownNameError
from tests.unit.benchmarking.examples import an_episode

SCENES = ("a", "b", "c", "d")
SYSTEM = SystemInfo("idm", "idm", False, False, "action")
LINEUP = Lineup(SCENES, (SYSTEM,), ("sage@0.5",), {})
CONFIG = BenchmarkConfig(sut=("idm",), adversary=("sage@0.5",), data="some/where")
CRASHED = {"none": (), "sage@0.5": ("b", "c")}
"""Scenes in which the ego touches somebody; in d the attack breaks down."""


def filled(folder: Path, crashed: dict[str, tuple[str, ...]] = CRASHED, broken: tuple[str, ...] = ("d",)) -> list[Cell]:
    store = seed_store(folder, 0, True)
    for adversary, hit in crashed.items():
        for scene in SCENES:
            error = "adversary: no <candidates> \x00" if scene in broken and adversary != "none" else ""
            episode = an_episode(adversary=adversary, policy="idm", scenario=scene, error=error)
            scores = {"crashed": scene in hit, "off_road_ego": scene == "c" and scene in hit, "seconds_episode": 1.5}
            store.write(CellKey(scene, "idm", adversary), episode, {} if error else scores)
    return summarise(folder, CONFIG, LINEUP)


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    return filled(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sage@0.5.crashed > .2", ("crashed", ">", 0.2, "sage@0.5", "mean")),
        ("idm/sage?levels=4@0.5.success.low>=1e-1", ("success", ">=", 0.1, "idm/sage?levels=4@0.5", "low")),
        ("none.completion.high < 0.9", ("completion", "<", 0.9, "none", "high")),
        ("  regressions > 0 ", ("regressions", ">", 0.0, "", "mean")),
    ],
)
def test_conditions_as_they_are_written(text: str, expected: tuple[object, ...]) -> None:
    found = Condition.parse(text)
    assert (found.quantity, found.sign, found.limit, found.where, found.edge) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sage.crashed", "expected ADVERSARY.COLUMN > NUMBER"),
        ("sage.crashed > many", "expected ADVERSARY.COLUMN > NUMBER"),
        ("sage.crashed > 1.2.3", "1.2.3 is no number"),
        ("sage.crashes > .2", "unknown column of a gate 'crashes'"),
        ("regresions > 0", "unknown count of a gate 'regresions'.*regressions"),
    ],
)
def test_conditions_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Condition.parse(text)


def test_whoever_is_named_has_to_take_part() -> None:
    Condition.parse("idm/none.crashed > 0").check(["idm"], ["none", "cat"])
    with pytest.raises(UnknownNameError, match=r"'rule'.*Known: .*idm/cat"):
        Condition.parse("rule.crashed > 0").check(["idm"], ["none", "cat"])


def test_nobodys_attack_has_no_success() -> None:
    for text in ("none.success > 0", "idm/none.success_cat > 0"):
        with pytest.raises(ConfigError, match=r"nobody attacks in 'none'.*none\.crashed"):
            Condition.parse(text).check(["idm"], ["none", "cat"])
    Condition.parse("none.success_geometry > 0").check(["idm"], ["none", "cat"])


def test_conditions_are_judged_in_every_place_that_they_name(cells: list[Cell]) -> None:
    # Two of the three attacked scenes that did not break down.
    texts = ("sage@0.5.crashed > .66", "idm/sage@0.5.crashed > .67", "none.crashed >= 0", "errors > 1")
    conditions = [Condition.parse(text) for text in texts]
    found = judged(conditions, cells, {"errors": 1})
    assert [(item.place, round(item.value, 3), item.closes) for item in found] == [
        ("idm/sage@0.5", 0.667, True),
        ("idm/sage@0.5", 0.667, False),
        ("idm/none", 0.0, True),
        ("", 1.0, False),
    ]
    assert found[0].said == "FAIL: sage@0.5.crashed > .66: 0.6667 (idm/sage@0.5)"


def test_intervals_can_be_asked_for_and_what_is_not_known_closes(cells: list[Cell]) -> None:
    low, high, missing = judged(
        [Condition.parse(f"sage@0.5.{text}") for text in ("crashed.low > .5", "crashed.high > .5", "jerk > 1e9")],
        cells,
        {},
    )
    assert low.value < 2 / 3 < high.value
    assert (low.closes, high.closes, missing.closes) == (False, True, True)
    assert "not known" in missing.said


@pytest.mark.parametrize(
    ("scores", "error", "outcome", "why"),
    [
        ({"crashed": False, "off_road_ego": False}, "", "pass", ""),
        ({"crashed": True, "off_road_ego": False}, "", "fail", "the ego touched a vehicle"),
        ({"crashed": True, "off_road_ego": True}, "", "fail", "the ego touched a vehicle and the ego left the road"),
        ({}, "engine: gone", "error", "engine: gone"),
    ],
)
def test_what_passes(scores: dict[str, bool], error: str, outcome: str, why: str) -> None:
    found = judge(Scored(error, scores, {}))
    assert (found.outcome, found.why) == (outcome, why)


def test_what_has_changed() -> None:
    def at(scene: str) -> EpisodePlace:
        return EpisodePlace("idm", "cat", scene, 0)

    before = {at("a"): "pass", at("b"): "fail", at("c"): "fail", at("d"): "pass", at("e"): "error", at("f"): "pass"}
    now = {"a": "fail", "b": "pass", "c": "error", "d": "error", "e": "fail", "g": "fail"}
    assert changes(before, {at(scene): JudgedEpisode(outcome) for scene, outcome in now.items()}) == {
        at("a"): "newly failing",
        at("b"): "newly passing",
        at("d"): "newly failing",
        at("f"): "gone",
        at("g"): "new",
    }


def test_expected_results_come_back_and_other_options_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    outcomes = {EpisodePlace("idm", "none", "a", 0): "pass", EpisodePlace("idm", "cat", "a", 3): "fail"}
    Expected({"protocol": "corrected", "traffic": "log"}, outcomes).save(file)
    found = Expected.load(file)
    assert found.outcomes == outcomes
    found.check({"protocol": "corrected", "traffic": "log"}, file)
    with pytest.raises(ConfigError, match="traffic 'log', not 'smart'"):
        found.check({"protocol": "corrected", "traffic": "smart"}, file)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"expected_results": 2}',
        '{"expected_results": 1, "settings": {}, "episodes": {"idm": []}}',
        '{"expected_results": 1, "settings": {}, "episodes": {"idm": {"cat": {"a": {"x": "pass"}}}}}',
        '{"expected_results": 1, "settings": {}, "episodes": {"idm": {"cat": {"a": {"0": "perhaps"}}}}}',
        '{"expected_results": 1, "settings": {}, "episodes": {"idm": {"cat": {"a": {"0": ["pass"]}}}}}',
    ],
)
def test_other_files_are_no_expected_results(tmp_path: Path, content: str) -> None:
    file = tmp_path / "e.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match="holds no expected results of format 1"):
        Expected.load(file)


def test_junit_has_a_case_per_episode_and_condition(tmp_path: Path) -> None:
    places = [EpisodePlace("idm", adversary, scene, 0) for adversary in ("none", "cat") for scene in ("a", "b")]
    outcomes = (
        JudgedEpisode("pass", seconds=2.0),
        JudgedEpisode("fail", "left"),
        JudgedEpisode("error", "bad <\x00>"),
        JudgedEpisode("fail", "hit"),
    )
    found = dict(zip(places, outcomes, strict=True))
    findings = [ConditionFound("cat.crashed > .2", "idm/cat", 0.5, True), ConditionFound("errors > 9", "", 1.0, False)]
    file = tmp_path / "j.xml"
    write_junit(file, found, {places[1]: "new"}, findings, compared=True)
    assert [
        case.get("name") for case in ElementTree.parse(file).iter("testcase") if case.find("skipped") is not None
    ] == ["b, seed 0"], "a new scene that fails was not expected to"
    write_junit(file, found, {places[3]: "newly failing"}, findings, compared=True)
    suites = ElementTree.parse(file).getroot()
    told = {suite.get("name"): [(case.get("name"), *(part.tag for part in case)) for case in suite] for suite in suites}
    assert told == {
        "idm against none": [("a, seed 0",), ("b, seed 0", "skipped")],
        "idm against cat": [("a, seed 0", "error"), ("b, seed 0", "failure")],
        "gate": [("cat.crashed > .2 idm/cat", "failure"), ("errors > 9",)],
    }
    assert suites.find("testsuite/testcase").get("time") == "2.0"
    write_junit(file, found, {}, findings, compared=False)
    failures = [
        case.get("name") for case in ElementTree.parse(file).iter("testcase") if case.find("failure") is not None
    ]
    assert failures == ["b, seed 0", "b, seed 0", "cat.crashed > .2 idm/cat"]


def gated(folder: Path, **options: object) -> tuple[Gate, BenchmarkConfig]:
    config = replace(CONFIG, **options)
    return Gate.of(config, LINEUP), config


def test_a_run_is_compared_with_what_was_expected(tmp_path: Path) -> None:
    first, second, file = tmp_path / "1", tmp_path / "2", tmp_path / "expected.json"
    gate, config = gated(first, expected=file, update_expected=True, fail_if=("regressions > 0",))
    verdict = pass_through(gate, config, LINEUP, first, filled(first))
    assert not verdict.closed
    assert not verdict.changed
    # b passes now, a does not, and d no longer breaks down.
    cells = filled(second, {"none": (), "sage@0.5": ("a", "c")}, ())
    gate, config = gated(second, expected=file, fail_if=("regressions > 0",), junit=tmp_path / "j.xml")
    verdict = pass_through(gate, config, LINEUP, second, cells)
    assert verdict.closed
    assert {place.scene: change for place, change in verdict.changed.items()} == {
        "a": "newly failing", "b": "newly passing", "d": "newly passing"
    }  # fmt: skip
    lines = list(verdict.lines())
    assert "newly failing: 1 of 8 episodes" in lines
    assert "  idm against sage@0.5 in scene a, seed 0" in lines
    assert lines[-1] == "gate: closed (exit code 1)"
    assert lines[0] == "episodes: 6 pass, 2 fail, 0 error"
    stored = json.loads((second / FILE).read_text())
    assert stored["closed"] is True
    assert stored["outcomes"] == {"pass": 6, "fail": 2}
    assert (tmp_path / "j.xml").exists()
    # A part of a run opens no gate, whatever there is of it.
    gate, config = gated(first, fail_if=("errors > 99",))
    assert not pass_through(gate, config, LINEUP, first, filled(first), Completeness(4, 4, 8, 8)).closed
    part = pass_through(gate, config, LINEUP, first, filled(first), Completeness(4, 5, 8, 10))
    assert part.closed
    assert list(part.lines())[-2:] == [
        f"{Completeness(4, 5, 8, 10).line} A part of a run opens no gate: go on with it.",
        "gate: closed (exit code 1)",
    ]
    # Accepting it opens the gate, also for the next run.
    gate, config = gated(second, expected=file, update_expected=True, fail_if=("regressions > 0",))
    verdict = pass_through(gate, config, LINEUP, second, cells)
    assert not verdict.closed
    assert len(verdict.changed) == 3
    gate, config = gated(second, expected=file, fail_if=("regressions > 0", "gone > 0"), data="else/where")
    assert not pass_through(gate, config, LINEUP, second, cells).closed, "where the data lie does not matter"
    fewer = replace(LINEUP, scenes=SCENES[:3])
    closed = [item for item in pass_through(gate, config, fewer, second, cells).findings if item.closes]
    assert [(item.condition, item.value) for item in closed] == [("gone > 0", 2.0)]


def test_results_of_which_nothing_is_run_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "expected.json"
    Expected(settings_of(CONFIG), {EpisodePlace("renamed", "none", "a", 0): "pass"}).save(file)
    with pytest.raises(ConfigError, match=r"has no episode of this run\. It has systems renamed; this run has idm"):
        gated(tmp_path, expected=file)
    Expected(settings_of(CONFIG), {EpisodePlace("idm", "none", "a", 7): "pass"}).save(file)
    gated(tmp_path, expected=file)
    check_expected(replace(CONFIG, expected=file))
    with pytest.raises(ConfigError, match="traffic"):
        check_expected(replace(CONFIG, expected=file, traffic="idm-lane"))
    with pytest.raises(ConfigError, match="no such file"):
        check_expected(replace(CONFIG, expected=tmp_path / "none.json"))


def test_nothing_is_written_where_no_gate_is_asked_for(tmp_path: Path) -> None:
    gate, config = gated(tmp_path)
    assert not pass_through(gate, config, LINEUP, tmp_path, filled(tmp_path)).found
    assert not (tmp_path / FILE).exists()


def test_what_is_wrong_is_said_before_the_first_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no such file\. Make it with --update-expected"):
        gated(tmp_path, expected=tmp_path / "none.json")
    with pytest.raises(GauntletError, match=r"adversary .or system/adversary. of a gate"):
        gated(tmp_path, fail_if=("cat.crashed > 0",))
    with pytest.raises(ConfigError, match="--update-expected: name the file"):
        BenchmarkConfig(update_expected=True)
    monkeypatch.setitem(__import__("sys").modules, "junitparser", None)
    with pytest.raises(ConfigError, match=r"gauntlet-drive\[gate\]"):
        gated(tmp_path, junit=tmp_path / "j.xml")
