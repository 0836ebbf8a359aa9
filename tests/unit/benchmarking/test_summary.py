"""From hand-made records to numbers and tables."""

import csv
import io
import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from harness.benchmarking import summary as summarising
from harness.benchmarking.columns import COLUMNS, SAGE_COLUMNS
from harness.benchmarking.comparison import compare
from harness.benchmarking.config import MAY_DIFFER, BenchmarkConfig
from harness.benchmarking.jobs import episode_seed, seed_store, units
from harness.benchmarking.lineup import Lineup, SystemInfo
from harness.benchmarking.published import SAGE_TABLES, published_row
from harness.benchmarking.runner import anchored, give_up, prepare
from harness.benchmarking.scores import shield_scores
from harness.benchmarking.summary import Cell, summarise
from harness.commands.configs import differences, rebuild
from harness.episodes.records import CellKey
from harness.errors import ConfigError, RunError
from harness.metrics.intervals import wilson
from harness.report.benchmark_tables import (
    csv_table,
    latex,
    markdown,
    summary,
    terminal,
    write_all,
)
from harness.traffic.rollouts import Interventions
from tests.unit.benchmarking.examples import an_episode

SCENES = tuple(f"s{number}" for number in range(6))
SYSTEM = SystemInfo("rule_expert", "rule_expert", True, True, "action")
LINEUP = Lineup(SCENES, (SYSTEM,), ("cat", "sage@0.5"), {})
CONFIG = BenchmarkConfig(sut=("rule_expert",), adversary=("cat", "sage@0.5"))
HITS = {"cat": (True, True, True, True, True, None), "sage@0.5": (False, False, True, False, False, False)}
"""Success per scene; None: that episode failed."""


def fill(folder: Path, config: BenchmarkConfig = CONFIG) -> None:
    for seed in config.seed:
        store = seed_store(folder, seed, seed == config.seed[0])
        for number, scene in enumerate(SCENES):
            met = number == 3
            quiet = an_episode(adversary="none", policy="rule_expert", scenario=scene)
            store.write(
                CellKey(scene, "rule_expert", "none"),
                quiet,
                {"success": met, "success_geometry": met, "completion": 0.5},
            )
            for adversary, hits in HITS.items():
                hit = hits[number]
                error = "adversary: no candidates" if hit is None else ""
                episode = an_episode(adversary=adversary, policy="rule_expert", scenario=scene, error=error)
                scores = {} if hit is None else {
                    "success": hit, "reward": float(number), "impact_speed": 3.0 if hit else None,
                    "hits_objects": number == 0, "fault": "ego" if number < 2 else "opponent",
                    "seconds_episode": 0.25,
                }  # fmt: skip
                speed = np.arange(5.0) + (1.0 if adversary == "cat" else 0.0)
                arrays = {} if hit is None else {
                    **{f"attack_{name}": speed for name in ("acceleration", "speed", "yaw_rate")},
                    **{f"log_{name}": np.arange(5.0) for name in ("acceleration", "speed", "yaw_rate")},
                }  # fmt: skip
                store.write(CellKey(scene, "rule_expert", adversary), episode, scores, arrays)


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    fill(tmp_path)
    return summarise(tmp_path, CONFIG, LINEUP)


def cell(cells: list[Cell], adversary: str) -> Cell:
    return next(item for item in cells if item.adversary == adversary)


def test_failures_are_counted_and_in_no_rate(cells: list[Cell]) -> None:
    cat = cell(cells, "cat")
    assert (cat.scenes, cat.failures, cat.reasons) == (5, 1, {"adversary": 1})
    assert "scene s5" in cat.examples[0]
    assert cat.columns["success"].interval == wilson(5, 5)
    assert cell(cells, "sage@0.5").columns["success"].interval == wilson(1, 6)
    assert (cell(cells, "none").scenes, cell(cells, "sage@0.5").intensity) == (6, 0.5)


def test_scenes_without_road_edges_are_in_no_rate_of_crossings_and_are_named(tmp_path: Path) -> None:
    fill(tmp_path)
    store = seed_store(tmp_path, 0, True)
    for number, scene in enumerate(SCENES):
        key = CellKey(scene, "rule_expert", "sage@0.5")
        crosses = None if number in (1, 2) else number == 0
        scores = {**store.read(key).scores, "crosses_edge": crosses}
        store.write(key, an_episode(adversary="sage@0.5", policy="rule_expert", scenario=scene), scores)
    cells = summarise(tmp_path, CONFIG, LINEUP)
    found = cell(cells, "sage@0.5")
    assert (found.scenes, found.without_edges, found.columns["crosses_edge"].scenes) == (6, 2, 4)
    assert found.columns["crosses_edge"].interval == found.columns["map_edges"].interval == wilson(1, 4)
    assert cell(cells, "cat").without_edges == 0
    note = "2 of 6 scenes have no road edges: crossings"
    page = markdown(cells, [], CONFIG)
    for text in (page, latex(cells, CONFIG), terminal(cells, CONFIG)[0].caption):
        assert note in text
    assert "25.0 [4.6, 69.9] (n = 4)" in page
    assert "take part" not in page
    chosen = markdown(cells, [], replace(CONFIG, where="type=cut-in and speed>10"))
    assert " Only scenes with `type=cut-in and speed>10` take part." in chosen
    assert [item["without_road_edges"] for item in summary(cells, [], CONFIG)["cells"]] == [0, 0, 2]
    (line,) = [row for row in csv.DictReader(io.StringIO(csv_table(cells, CONFIG))) if row["adversary"] == "sage@0.5"]
    assert line["crosses_edge_n"] == "4"


def test_where_no_scene_has_road_edges_crossings_are_a_dash(tmp_path: Path) -> None:
    fill(tmp_path)
    store = seed_store(tmp_path, 0, True)
    for scene in SCENES:
        key = CellKey(scene, "rule_expert", "sage@0.5")
        record = store.read(key)
        store.write(key, record.episode, {**record.scores, "crosses_edge": None})
    found = cell(summarise(tmp_path, CONFIG, LINEUP), "sage@0.5")
    assert found.without_edges == 6
    for name in ("crosses_edge", "map_edges"):
        column = next(item for item in COLUMNS if item.key == name)
        assert column.show(found.columns[name]) == "–"


def test_what_the_shield_of_the_traffic_did_has_a_table_where_there_was_one(tmp_path: Path) -> None:
    fill(tmp_path)
    assert "shield of the traffic" not in markdown(summarise(tmp_path, CONFIG, LINEUP), [], CONFIG)
    store = seed_store(tmp_path, 0, True)
    for number, scene in enumerate(SCENES):
        key = CellKey(scene, "rule_expert", "sage@0.5")
        record = store.read(key)
        done = Interventions(decisions=100, changed=number, no_way_out=1) if number else Interventions()
        store.write(key, record.episode, {**record.scores, **shield_scores(done)})
    cells = summarise(tmp_path, CONFIG, LINEUP)
    found = cell(cells, "sage@0.5").columns
    assert (found["shield_changed"].scenes, found["shield_changed"].interval.mean) == (5, pytest.approx(0.03))
    assert "shield of the traffic" in markdown(cells, [], CONFIG)
    assert shield_scores(None) == {}


def test_columns_know_where_they_are_defined(cells: list[Cell]) -> None:
    sage = cell(cells, "sage@0.5").columns
    assert (sage["impact_speed"].scenes, sage["impact_speed"].interval.mean) == (1, 3.0)
    assert math.isnan(sage["impact_speed"].interval.low)  # one scene has no interval
    assert sage["reward"].interval.mean == pytest.approx(2.5)
    assert sage["map_objects"].interval.mean == pytest.approx(1 / 6)
    assert cell(cells, "cat").columns["wd_speed"].interval.mean == pytest.approx(1.0)
    assert sage["wd_speed"].interval.mean == 0.0
    assert "reward" not in cell(cells, "none").columns


def test_pairs_are_compared_where_both_are_known(cells: list[Cell]) -> None:
    found = {item.score: item for item in compare(cells)}
    success = found["success"]
    assert (success.first, success.second, success.test, success.scenes) == ("cat", "sage@0.5", "mcnemar", 5)
    # Five pairs: four differ, all in favour of cat: two-sided binomial 2 / 16.
    assert success.p_value == pytest.approx(0.125)
    assert success.difference == pytest.approx(0.8)
    assert found["reward"].difference == 0.0
    assert found["reward"].p_value == 1.0


def test_further_seeds_stay_with_their_scene(tmp_path: Path) -> None:
    config = replace(CONFIG, seed=(0, 4))
    fill(tmp_path, config)
    assert (tmp_path / "seeds" / "4" / "episodes").is_dir()
    cat = cell(summarise(tmp_path, config, LINEUP), "cat")
    assert (cat.scenes, cat.failures) == (5, 2)
    assert cat.outcomes["success"].shape == (6, 2)
    assert cat.columns["reward"].interval.mean == pytest.approx(2.0)


def test_tables_say_everything(cells: list[Cell], tmp_path: Path) -> None:
    comparisons = compare(cells)
    text = markdown(cells, comparisons, CONFIG)
    assert "Against rule_expert (privileged: true states and futures)" in text
    assert "| cat | 5 | 1 | 100.0 [56.6, 100.0] | 2.000" in text
    assert "adversary 1" in text
    assert "| 3.00 (n = 1) |" in text
    assert "plan_one_step_late | no" in text
    rows = list(csv.DictReader(io.StringIO(csv_table(cells, CONFIG))))
    assert [row["adversary"] for row in rows] == ["none", "cat", "sage@0.5"]
    # Nobody's attack has no success, though the ego met the opponent in one scene of six.
    assert (rows[0]["success"], rows[0]["success_n"], rows[0]["success_geometry"]) == ("", "0", str(1 / 6))
    note = (
        "none: nobody attacks, so there is no success. Undisturbed, the ego met the opponent in 17 [3, 56] % of scenes."
    )
    assert "| none | 6 | 0 | – |" in text
    (table,) = terminal(cells, CONFIG)
    assert note in text
    assert note == table.caption
    assert note.replace("%", r"\%") in latex(cells, CONFIG)
    assert table.cells(table.rows[0])[3] == "–"
    assert "success" not in summary(cells, comparisons, CONFIG)["cells"][0]["columns"]
    assert (rows[1]["success"], rows[1]["n"], rows[1]["failures"], rows[1]["impact_speed_n"]) == ("1.0", "5", "1", "5")
    tex = latex(cells, CONFIG)
    assert tex.count(r"\begin{table}") == 1
    assert r"\multicolumn{3}{c}{Dist. Diff. (WD)}" in tex
    assert r"100.0\%" in tex
    assert r"rule\_expert" in tex
    assert len(terminal(cells, CONFIG)) == 1
    # Every head of the terminal is explained below the last table, in the words of the column's own definition.
    legend = table.below().removeprefix(table.caption)
    for column in SAGE_COLUMNS:
        assert f"{column.short}: {column.about}" in legend
    two = [replace(one, system=replace(SYSTEM, label=label)) for label in "ab" for one in cells]
    first, last = terminal(two, CONFIG)
    assert "rew.: adversarial reward" in last.below()
    assert first.below() == first.caption
    write_all(tmp_path, cells, comparisons, CONFIG)
    written = json.loads((tmp_path / "summary.json").read_text())
    assert len(written["cells"]) == 3
    one = written["cells"][1]
    assert (one["adversary"], one["sut"], one["privileged"], one["n"], one["failures"]) == (
        "cat", "rule_expert", True, 5, 1,
    )  # fmt: skip
    assert one["columns"]["success"] == {"value": 1.0, "low": pytest.approx(0.566, abs=1e-3), "high": 1.0, "n": 5}
    assert one["seconds_per_scene"]["episode"] == 0.25
    assert math.isfinite(written["comparisons"][0]["p_holm"])
    assert summary(cells, comparisons, CONFIG)["about"]["protocol"] == "corrected"


def test_published_numbers_stand_beside_a_run_as_published(tmp_path: Path) -> None:
    fill(tmp_path)
    cells = summarise(tmp_path, CONFIG, LINEUP)
    assert "the paper's numbers" not in markdown(cells, [], CONFIG)
    text = markdown(cells, [], replace(CONFIG, protocol="as-published"))
    assert "SAGE, table 6 (Rule-based/Autopilot)" in text
    assert "| cat | 18.21 | 0.659 |" in text
    assert "| sage@0.5 | 11.14 | 0.466 |" in text
    assert published_row("replay", "sage", 1.0) == SAGE_TABLES["replay"].rows["sage@1.0"]
    assert published_row("mine", "cat", 1.0) is None
    assert all(len(row) == len(SAGE_COLUMNS) for table in SAGE_TABLES.values() for row in table.rows.values())


def test_a_missing_record_is_no_zero(tmp_path: Path) -> None:
    fill(tmp_path)
    seed_store(tmp_path, 0, True).remove(CellKey("s3", "rule_expert", "cat"))
    with pytest.raises(RunError, match="s3"):
        summarise(tmp_path, CONFIG, LINEUP)


def test_workers_get_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.zip").touch()
    assert anchored("model.zip") == str(tmp_path / "model.zip")
    assert anchored("td3:model.zip") == f"td3:{tmp_path / 'model.zip'}"
    assert [anchored(text) for text in ("idm", "module:Class", "td3:none.zip")] == [
        "idm",
        "module:Class",
        "td3:none.zip",
    ]


def test_seeds_come_from_names() -> None:
    first = units(("a", "b"), ("x",), ("cat",), (0,))
    assert [unit.scenario_id for unit in first] == ["a", "b"]
    assert episode_seed(0, "a") == episode_seed(0, "a")
    assert len({episode_seed(seed, name) for seed in (0, 1) for name in ("a", "b", "aa")}) == 6
    assert 0 <= episode_seed(0, "a") < 2**31


def test_a_lost_worker_is_a_failure_of_the_episode_at_hand(tmp_path: Path) -> None:
    (unit,) = units(("s0",), ("rule_expert",), ("cat", "sage@0.5"), (0,))
    store = unit.store(tmp_path)
    store.write(unit.keys[0], an_episode(), {})
    give_up(unit, "the worker process died of SIGSEGV", tmp_path)
    assert store.read_scores(unit.keys[1]).error == "worker: the worker process died of SIGSEGV"
    assert unit.missing(tmp_path) == (unit.keys[2],)
    prepare(tmp_path, retry_failures=False)
    assert unit.missing(tmp_path) == (unit.keys[2],)
    prepare(tmp_path, retry_failures=True)
    assert unit.missing(tmp_path) == unit.keys[1:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adversary": ()}, "at least one"),
        ({"sut": ()}, "at least one"),
        ({"workers": 0}, "workers"),
        ({"timeout": 0.0}, "timeout"),
        ({"intensity": math.nan}, "finite"),
        ({"seed": ()}, "seeds"),
        ({"seed": (1, 1)}, "different seeds"),
        ({"adversary": ("cat", "cat")}, "called the same"),
        ({"adversary": ("none=cat",)}, "another label"),
        ({"adversary": ("sage@much",)}, "number after @"),
    ],
)
def test_options_that_cannot_work(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BenchmarkConfig(**options)


def test_a_configuration_survives_json() -> None:
    config = BenchmarkConfig(prior=Path("a/b"), seed=(1, 2), sut=("x=y.zip", "idm"))
    back = rebuild(BenchmarkConfig, json.loads(json.dumps(asdict(config), default=str)))
    assert back == config
    assert differences(replace(config, workers=3, executor="serial"), config, MAY_DIFFER) == []
    assert "--protocol" in differences(replace(config, protocol="as-published"), config, MAY_DIFFER)[0]


def test_the_samples_of_a_cell_are_resampled_once(tmp_path: Path, monkeypatch) -> None:
    # Three columns come of them; each resampling sorts and weighs every sample of the cell.
    fill(tmp_path)
    calls: list[int] = []
    real = summarising.wasserstein_over_scenes
    monkeypatch.setattr(summarising, "wasserstein_over_scenes", lambda a, b: calls.append(len(a)) or real(a, b))
    seen: list[int] = []
    cells = summarise(tmp_path, CONFIG, LINEUP, lambda rows: (seen.append(len(row)) or row for row in rows))
    assert len(calls) == sum("wd_speed" in item.columns for item in cells) > 0
    assert seen == [1] * len(LINEUP.scenes) * len(cells)
