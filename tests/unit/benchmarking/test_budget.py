"""Runs that end with their budget, and what a run will cost, from hand-made records."""

import time
from dataclasses import replace

import pytest

from harness.benchmarking.budget import Completeness, completed, work_of
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.estimate import Cost, _spread, _told, measured
from harness.benchmarking.summary import summarise
from harness.benchmarking.worker import WorkerSpec
from harness.commands.configs import seconds_of
from harness.commands.options import RunOptions
from harness.commands.runs import RunDirectory
from harness.commands.scaffold import Command, command
from harness.episodes.records import CellKey, EpisodeStore
from harness.errors import ConfigError
from harness.report.benchmark_tables import latex, markdown, summary, terminal
from tests.unit.benchmarking.examples import an_episode
from tests.unit.benchmarking.test_summary import CONFIG, LINEUP, SCENES, fill

PART = Completeness(2, 6, 9, 18)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0)])
def test_spans_of_time(text, seconds):
    assert seconds_of("budget", text) == seconds


@pytest.mark.parametrize("text", ["10", "0m", "-1m", "ten minutes", "1d", ""])
def test_what_is_no_span(text):
    with pytest.raises(ConfigError, match=r"--budget .* such as 90s, 10m or 2h"):
        BenchmarkConfig(budget=text)


@pytest.mark.parametrize("options", [{"certify": True, "traffic": "idm-lane"}, {"update_expected": True}])
def test_what_needs_a_whole_run_takes_no_budget(options, tmp_path):
    with pytest.raises(ConfigError, match="ends early makes no certificate"):
        BenchmarkConfig(budget="1m", expected=tmp_path / "x.json", **options)


def test_only_complete_scenes_count(tmp_path):
    fill(tmp_path)
    whole, lineup = completed(LINEUP, (0,), tmp_path)
    assert (whole.complete, whole.line, whole.title, lineup) == (True, "", "", LINEUP)
    store = EpisodeStore(tmp_path)
    store.remove(CellKey(SCENES[4], "rule_expert", "cat"))
    for adversary in ("none", "cat", "sage@0.5"):
        store.remove(CellKey(SCENES[5], "rule_expert", adversary))
    part, lineup = completed(LINEUP, (0,), tmp_path)
    assert part.as_object() == {
        "scenes": 4, "of_scenes": 6, "episodes": 14, "of_episodes": 18, "complete": False
    }  # fmt: skip
    assert lineup.scenes == SCENES[:4]
    # The missing scene was the one at which an attack fails: no cell has it.
    assert [(cell.scenes, cell.failures) for cell in summarise(tmp_path, CONFIG, lineup)] == [(4, 0)] * 3


def test_tables_say_what_is_missing(tmp_path):
    fill(tmp_path)
    cells = summarise(tmp_path, CONFIG, replace(LINEUP, scenes=SCENES[:2]))
    assert "9 of 18 episodes" in PART.line
    assert PART.line in markdown(cells, [], CONFIG, None, PART)
    assert "2 of 6 scenes" in terminal(cells, CONFIG, PART)[0].title
    assert "scenes of 6 planned" in latex(cells, CONFIG, PART)
    assert summary(cells, [], CONFIG, None, PART)["about"]["completeness"]["of_episodes"] == 18
    whole = Completeness(2, 2, 6, 6)
    assert markdown(cells, [], CONFIG, None, whole) == markdown(cells, [], CONFIG)
    assert latex(cells, CONFIG, whole) == latex(cells, CONFIG)


def test_workers_know_when_the_time_is_over(tmp_path):
    now = time.time()
    assert [WorkerSpec(CONFIG, tmp_path, {}, until).over for until in (None, now + 60, now - 1)] == [False, False, True]


def test_a_run_that_is_gone_on_with_has_no_budget_of_before(tmp_path):
    seen = []

    @command(BenchmarkConfig, "A command.")
    def main(config, session):
        seen.append(config)

    assert isinstance(main, Command)
    assert issubclass(BenchmarkConfig, RunOptions)
    RunDirectory.create(tmp_path / "run", main.verb, {"budget": "1m", "dry_run": True, "intensity": 0.5}).close()
    main(["--resume", str(tmp_path / "run")])
    main(["--resume", str(tmp_path / "run"), "--budget", "2h"])
    assert [(config.budget, config.dry_run, config.intensity) for config in seen] == [
        (None, False, 0.5),
        ("2h", False, 0.5),
    ]


def test_costs_are_means_of_warm_scenes(tmp_path):
    lineup = replace(LINEUP, scenes=SCENES[:3])
    store = EpisodeStore(tmp_path)
    for number, scene in enumerate(SCENES[:3]):
        for adversary in ("none", "cat", "sage@0.5"):
            failed = adversary == "sage@0.5"
            episode = an_episode(
                adversary=adversary, policy="rule_expert", scenario=scene, error="adversary: none" if failed else ""
            )
            spent = {} if failed else {"seconds_episode": [60.0, 1.0, 3.0][number], "seconds_scoring": 0.5}
            store.write(CellKey(scene, "rule_expert", adversary), episode, spent)
    seconds, sizes = measured(lineup, (0,), tmp_path)
    assert seconds == {("rule_expert", name): 2.5 for name in ("none", "cat", "sage@0.5")}
    assert min(sizes.values()) > 500
    alone, _ = measured(replace(lineup, scenes=SCENES[:1]), (0,), tmp_path)
    assert alone["rule_expert", "none"] == 60.5
    assert measured(replace(lineup, scenes=("gone",)), (0,), tmp_path)[0]["rule_expert", "cat"] == 0.0


def test_what_is_said_of_a_cost():
    cost = Cost(episodes=36, missing=30, seconds=600.0, size=2.5e6, workers=2, scenes=3)
    config = replace(CONFIG, seed=(0, 1), budget="2m")
    first, second, third, fourth = cost.lines(config, LINEUP)
    assert first == (
        "dry run: 36 episodes (6 scenes, 1 system, the undisturbed scene and 2 attacked, 2 seeds), 30 still to be run"
    )
    assert "about 10 min with 2 workers, and 2.5 MB of records" in second
    assert "measured on 3 scenes" in third
    assert fourth == "the budget of 2m ends it after about 6 of them"
    assert len(work_of(LINEUP, config.seed)) == 12
    assert [_told(seconds) for seconds in (40, 120, 9000)] == ["40 s", "2 min", "2.5 h"]
    assert [_spread(SCENES), _spread(SCENES[:2]), _spread(SCENES[:1])] == [
        ("s0", "s2", "s5"), ("s0", "s1"), ("s0",)
    ]  # fmt: skip
