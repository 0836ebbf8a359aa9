"""Which scenes the page plays back."""

import numpy as np

from harness.benchmarking.lineup import SystemInfo
from harness.benchmarking.summary import Cell
from harness.report.html.choice import Shown, choose

SCENES = [f"s{number}" for number in range(40)]


def cell(outcomes, control="action", adversary="rule"):
    system = SystemInfo("mine", "mine", False, False, control)
    columns = {name: np.array(values, dtype=float)[:, None] for name, values in outcomes.items()}
    return Cell(system, adversary, 1.0, 40, 0, 0, {}, (), {}, {}, columns)


def numbers(values):
    return [values.get(name, 0.0) for name in SCENES]


def test_few_scenes_are_all_shown():
    assert choose([], SCENES, 100) == Shown((), tuple(SCENES))
    assert choose([], SCENES, 40, on_page=40) == Shown((), tuple(SCENES))


def test_avoidable_hits_come_first_then_hits_then_hard_impacts():
    hits = {"s3": 1, "s5": 1, "s7": 1, "s9": 1}
    own = cell({
        "success": numbers(hits),
        "avoidable": numbers({"s5": 1, "s11": 1}),
        "impact_speed": numbers({"s3": 2.0, "s7": 9.0, "s9": 4.0, "s20": 30.0}),
    })  # fmt: skip
    again = cell({"success": numbers({"s9": 1})}, adversary="cat")
    # A scene that was not hit is not telling, whatever else happened in it, and neither is what hits the log.
    others = [cell({"success": numbers(dict.fromkeys(SCENES, 1))}, "replay"), cell({"success": numbers({})}, "none")]
    found = choose([own, again, *others], SCENES, 6, on_page=6)
    assert found.telling == ("s5", "s7", "s9")
    assert len(found.sample) == 3
    assert not found.others
    assert choose([own], SCENES, 20, on_page=20).telling == ("s3", "s5", "s7", "s9")
    # Where every system follows its log, these count.
    assert len(choose(others[:1], SCENES, 10, on_page=10).telling) == 5


def test_undefined_scores_and_the_undisturbed_drive_tell_nothing():
    blind = cell({"success": [np.nan] * 40, "avoidable": [np.nan] * 40})
    quiet = cell({"success": [1.0] * 40}, adversary="none")
    assert choose([blind, quiet], SCENES, 10).telling == ()


def test_every_scene_lies_on_some_page_and_more_scenes_keep_the_sample():
    own = cell({"success": numbers({"s1": 1})})
    found = choose([own], SCENES, 1000, on_page=8)
    assert (len(found.telling), len(found.sample), len(found.others)) == (1, 7, 32)
    assert sorted([*found.telling, *found.sample, *found.others]) == sorted(SCENES)
    assert list(found.others) == [name for name in SCENES if name in set(found.others)]
    fewer = choose([own], SCENES, 20, on_page=8)
    assert (fewer.sample, len(fewer.others)) == (found.sample, 12)
