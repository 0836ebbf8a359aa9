"""One system against another: which runs compare, what changed, and what of it is chance."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.gate.outcomes import EpisodePlace, JudgedEpisode, episodes
from harness.benchmarking.jobs import seed_store
from harness.benchmarking.lineup import FILE as LINEUP
from harness.benchmarking.lineup import Lineup, SystemInfo
from harness.benchmarking.summary import summarise
from harness.benchmarking.versus.config import CompareConfig
from harness.benchmarking.versus.joining import Sides
from harness.benchmarking.versus.pairs import FAILING, Turned, Versus, failing, tables_of, turned, versus
from harness.commands.runs import RunDirectory
from harness.episodes.records import CellKey
from harness.errors import ConfigError, RunError
from harness.files import write_json
from harness.metrics.intervals import Interval
from harness.report.versus_tables import scenes_needed, turned_lines, versus_markdown, versus_table
from tests.unit.benchmarking.examples import an_episode

SCENES = ("a", "b", "c", "d")
LABELS = ("A old", "B new")


def a_run(folder: Path, label: str, *, seeds: tuple[int, ...] = (0,), **changes: object) -> Path:
    """A benchmark of one system against `cat` on four scenes: the new one fails in b, the old one in none."""
    config = replace(BenchmarkConfig(sut=(label,), adversary=("cat",), data="scenes", seed=seeds), **changes)
    lineup = Lineup(SCENES, (SystemInfo(label, "idm", False, False, "action"),), ("cat",), {"x": "0" * 64})
    with RunDirectory.create(folder, "benchmark", asdict(config)):
        write_json(folder / LINEUP, lineup.as_dict(config.protocol))
    for seed in seeds:
        store = seed_store(folder, seed, seed == seeds[0])
        for adversary in ("none", "cat"):
            for scene in SCENES:
                episode = an_episode(adversary=adversary, policy=label, scenario=scene)
                crashed = label == "new" and scene == "b" and adversary == "cat"
                scores = {"crashed": crashed, "off_road_ego": False, "success": crashed, "speed": 5.0 + seed}
                store.write(CellKey(scene, label, adversary), episode, scores)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return a_run(tmp_path / "1", "old"), a_run(tmp_path / "2", "new")


def edited(folder: Path, name: str, **changes: object) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_two_runs_are_joined_into_one_that_has_both(runs: tuple[Path, Path], tmp_path: Path) -> None:
    sides = Sides.open([[runs[0]], [runs[1]]], ())
    assert (sides.labels, sides.scenes, sides.adversaries, sides.repeats) == (LABELS, SCENES, ("none", "cat"), 1)
    sides.copy(tmp_path / "both", iter)
    store = seed_store(tmp_path / "both", 0, True)
    assert len(list(store.keys())) == 16
    copied = store.read(CellKey("b", "B new", "cat"))
    own = seed_store(runs[1], 0, True).read(CellKey("b", "new", "cat"))
    assert copied.scores == own.scores
    assert (copied.episode.policy, own.episode.policy) == ("B new", "new")
    assert np.array_equal(copied.episode.ego.states, own.episode.ego.states)
    assert [item.label for item in sides.lineup().systems] == list(LABELS)
    merged = sides.config("elsewhere")
    assert (merged.sut, merged.data, merged.seed) == (("A old=idm", "B new=idm"), "elsewhere", (0,))
    assert (merged.freeze, merged.junit, merged.fail_if) == (None, None, ())


def test_the_success_of_nobodys_attack_is_not_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    sides = Sides.open([[runs[0]], [runs[1]]], ())
    sides.copy(tmp_path / "both", iter)
    config = sides.config("elsewhere")
    cells = summarise(tmp_path / "both", config, sides.lineup())
    found = dict(episodes(tmp_path / "both", config, sides.lineup()))
    compared = tables_of(cells, found, LABELS, SCENES, 1)
    assert set(compared) == {
        ("none", FAILING),
        ("none", "speed"),
        ("cat", FAILING),
        ("cat", "success"),
        ("cat", "speed"),
    }


def test_runs_and_seeds_are_repeats(tmp_path: Path) -> None:
    first = [a_run(tmp_path / "1", "old"), a_run(tmp_path / "2", "old")]
    second = [a_run(tmp_path / "3", "new", seeds=(3, 4))]
    sides = Sides.open([first, second], ())
    assert sides.repeats == 2
    sides.copy(tmp_path / "both", iter)
    speeds = [
        seed_store(tmp_path / "both", repeat, repeat == 0).read_scores(CellKey("a", "B new", "cat")).scores["speed"]
        for repeat in range(2)
    ]
    assert speeds == [8.0, 9.0]
    with pytest.raises(ConfigError, match=r"one side has 1 repeats .* and the other 2"):
        Sides.open([first[:1], second], ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "as-published"}, "protocol 'corrected'.*'as-published'"),
        ({"traffic": "idm-lane"}, "traffic 'log'.*'idm-lane'"),
        ({"data": "other"}, "data 'scenes'.*'other'"),
        ({"horizon": 50}, "horizon None.*50"),
    ],
)
def test_runs_with_other_options_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    first, second = a_run(tmp_path / "1", "old"), a_run(tmp_path / "2", "new", **changes)
    with pytest.raises(ConfigError, match=message):
        Sides.open([[first], [second]], ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": ["a", "b", "c", "e"]}, "scenes: 2 are in one of"),
        ({"scenes": ["b", "a", "c", "d"]}, "their order differs"),
        ({"adversaries": ["rule"]}, "adversaries: cat, and rule"),
        ({"digests": {"y": "1" * 64}}, "weights of an adversary"),
        ({"traffic_digest": "1" * 64}, "weights of the traffic"),
    ],
)
def test_runs_of_something_else_are_refused(runs: tuple[Path, Path], changes: dict[str, object], message: str) -> None:
    edited(runs[1], LINEUP, **changes)
    with pytest.raises(ConfigError, match=message):
        Sides.open([[runs[0]], [runs[1]]], ())


def test_numbers_of_another_version_are_refused(runs: tuple[Path, Path]) -> None:
    info = json.loads((runs[1] / "run.json").read_text())
    info["provenance"]["versions"]["gauntlet-drive"] = "9.9"
    edited(runs[1], "run.json", provenance=info["provenance"])
    with pytest.raises(ConfigError, match=r"version of gauntlet-drive: .* and 9\.9, so that a number may mean another"):
        Sides.open([[runs[0]], [runs[1]]], ())


def test_what_is_no_benchmark_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "ego", "train_ego", {}):
        pass
    with pytest.raises(RunError, match="was made by 'train_ego'"):
        Sides.open([[runs[0]], [tmp_path / "ego"]], ())
    edited(runs[1], LINEUP, systems=[{"label": "x"}])
    with pytest.raises(RunError, match=r"lineup\.json"):
        Sides.open([[runs[0]], [runs[1]]], ())
    (runs[1] / LINEUP).unlink()
    with pytest.raises(RunError, match="no finished benchmark"):
        Sides.open([[runs[0]], [runs[1]]], ())


def test_systems_are_named_where_there_are_several(runs: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match=r"no system .idm.\. Name one with --system: old"):
        Sides.open([[runs[0]], [runs[1]]], ("idm",))
    assert Sides.open([[runs[0]], [runs[1]]], ("old", "new")).labels == LABELS
    twice = json.loads((runs[0] / LINEUP).read_text())["systems"] * 2
    twice[1] = {**twice[1], "label": "other"}
    edited(runs[0], LINEUP, systems=twice)
    with pytest.raises(ConfigError, match=r"has several systems\. Name one with --system: old, other"):
        Sides.open([[runs[0]], [runs[1]]], ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": ()}, "name two run folders"),
        ({"runs": ("a",)}, "found 1"),
        ({"runs": ("a", "b", "c")}, "found 3"),
        ({"runs": ("a", "a")}, "named twice"),
        ({"runs": ("a", "b"), "against": ("c", "./b")}, "named twice"),
        ({"runs": ("a", "b"), "system": ("x", "y", "z")}, "one label, or one for each side"),
        ({"runs": ("a", "b"), "playback": 0}, "--playback 0"),
    ],
)
def test_what_cannot_be_compared_is_said_at_once(options: dict[str, object], message: str) -> None:
    paths = {key: tuple(map(Path, value)) for key, value in options.items() if key in ("runs", "against")}
    with pytest.raises(ConfigError, match=message):
        CompareConfig(**{**options, **paths})


def test_one_run_may_have_both_systems() -> None:
    assert CompareConfig(runs=(Path("a"), Path("a")), system=("x", "y")).sides == ((Path("a"),), (Path("a"),))


def test_episodes_that_broke_down_are_not_known() -> None:
    outcomes = {("a", 0): "pass", ("a", 1): "fail", ("b", 0): "error", ("b", 1): "pass"}
    found = {
        EpisodePlace("x", "cat", scene, seed): JudgedEpisode(outcome) for (scene, seed), outcome in outcomes.items()
    }
    assert np.array_equal(failing(found, "x", "cat", ("a", "b"), 2), [[0, 1], [np.nan, 0]], equal_nan=True)


def test_how_many_scenes_would_tell_more() -> None:
    def row(scenes: int, half: float, score: str = FAILING) -> Versus:
        gap = Interval(0.25, 0.25 - half, 0.25 + half)
        return Versus("cat", score, 0.25, 0.5, gap, "mcnemar", 0.5, 0.5, scenes)

    # 20 scenes give ± 0.3: a third of that takes nine times as many.
    said = scenes_needed([row(20, 0.3), row(20, 0.2), row(20, 5.0, "speed")])
    assert said.startswith(
        "The widest interval of a share that fails is ± 0.30. About 180 scenes would make it ± 0.1: N ·"
    )
    # The widest is told, even if another adversary has more scenes, and so would take more.
    said = scenes_needed([row(100, 0.09), row(20, 0.12)])
    assert said.startswith("The widest interval of a share that fails is ± 0.12. About 29 scenes")
    assert scenes_needed([row(20, 0.1)]) == scenes_needed([]) == scenes_needed([row(20, 0.5, "speed")]) == ""
    assert scenes_needed([row(20, math.nan)]) == ""
    # (1.96 / 0.1)² = 384.16
    few = scenes_needed([row(2, math.nan)])
    assert few.startswith("N = 2 is too small to tell the systems apart, or how many scenes would. 385 scenes always")
    assert few in versus_markdown([row(2, 0.5)], [], LABELS)


def test_scenes_that_turn() -> None:
    nan = np.nan
    first = np.array([[0, 0], [0, 1], [1, 1], [nan, nan], [1, nan]])
    second = np.array([[0, 1], [0, 1], [0, 0], [1, 1], [1, 0]])
    # a from 0 to a half, c from 1 to 0, e from 1 to a half; d is not known of the first.
    assert turned("cat", tuple("abcde"), first, second) == Turned("cat", ("a",), ("c", "e"))


def test_differences_are_second_minus_first_and_adjusted_together() -> None:
    old, new = np.zeros((8, 1)), np.ones((8, 1))
    speed = np.linspace(5, 6, 8)[:, None]
    faster = speed + np.linspace(0.9, 1.1, 8)[:, None]
    rows = versus(["cat"], {("cat", FAILING): (old, new), ("cat", "speed"): (speed, faster)})
    failed, sped = rows
    assert (failed.first, failed.second, failed.difference.mean, failed.test) == (0, 1, 1, "mcnemar")
    # Eight scenes of eight: 2 / 2**8; and as the larger of two it is not made larger.
    assert failed.p_value == pytest.approx(2 / 256)
    assert failed.p_holm == pytest.approx(2 / 256)
    assert sped.difference.mean == pytest.approx(1.0)
    assert (sped.test, sped.scenes) == ("crossed", 8)
    assert sped.p_holm == pytest.approx(2 * sped.p_value)
    repeated = versus(["cat"], {("cat", FAILING): (np.zeros((8, 3)), np.ones((8, 3)))})
    assert repeated[0].test == "crossed"


def test_tables_have_both_systems_and_every_scene_that_turned() -> None:
    rows = versus(["cat"], {("cat", FAILING): (np.zeros((4, 1)), np.array([[0.0], [1], [0], [0]]))})
    (shown,) = versus_table(rows, LABELS).rows
    assert (shown["score"], shown["first"], shown["second"]) == ("failing, %", "0.0", "25.0")
    assert str(shown["difference"]).startswith("+25.0 [")
    many = Turned("cat", tuple(f"s{number}" for number in range(12)), ())
    assert next(turned_lines([many], LABELS)).endswith("s9 and 2 more")
    page = versus_markdown(rows, [many], LABELS)
    assert "B new, cat: 12 newly failing: s0" in page
    assert "s11" in page
    assert "None." in versus_markdown(rows, [], LABELS)
