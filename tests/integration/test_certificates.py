"""A benchmark that certifies its traffic: made, resumed, carried by other runs, and refused where it is of others."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import benchmark
from harness.benchmarking.certificates.files import FILE, read_certificate
from harness.benchmarking.certificates.making import RUNS
from harness.benchmarking.certificates.measuring import FOLDER
from harness.episodes.records import CellKey, EpisodeStore
from harness.traffic.log_policies import PathIDMTraffic
from scenarios.export import write_folder
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road

DRIVER = f"{__name__}:Fragile"
FALLS = "sd_crossing"


class Fragile(PathIDMTraffic):
    """Follows the logged path, and fails in one scene when whole scenes are rolled out."""

    name = "fragile"

    def reset(self, scenario: Any, rng: np.random.Generator) -> None:
        if scenario.id == FALLS and scenario.opponent is None:
            raise ZeroDivisionError("a bug")
        super().reset(scenario, rng)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    aside, behind = Agent("aside", -15.0, LANE_WIDTH, 0.0, 10.0), Agent("behind", -12.0, 0.0, 0.0, 10.0)
    interest = ("ego", "opponent")
    write_folder([crossing(interest=interest), straight_road(extra=[aside, behind], interest=interest)], folder)
    return folder


def run(scenes: Path, out: Path, *more: str) -> None:
    benchmark.main(
        [
            *("--data", str(scenes), "--split", "all", "--out", str(out), "--executor", "serial"),
            *("--sut", "replay", "idm", "--adversary", "rule", *more),
        ]
    )


@pytest.fixture(scope="module")
def certified(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended before it was asked for a certificate."""
    out = tmp_path_factory.mktemp("runs") / "certified"
    run(scenes, out, "--traffic", DRIVER)
    assert not (out / FILE).exists()
    assert "has no fidelity certificate" in (out / "benchmark.md").read_text()
    assert "has no fidelity certificate" in (out / "report.html").read_text()
    assert json.loads((out / "summary.json").read_text())["certificate"]["checks"] is None
    benchmark.main(["--resume", str(out), "--traffic", DRIVER, "--certify", "--certify-rollouts", "2"])
    return out


def test_what_it_holds(certified: Path) -> None:
    made, findings = read_certificate(certified / FILE)
    assert made.scenes == (FALLS, "sd_straight_road")
    assert made.traffic.name == DRIVER
    meta = {model.model: model.meta for model in made.realism.models}
    assert list(meta) == [DRIVER, "log", "idm-lane"]
    assert all(row[0] is None for row in meta.values()), "the traffic failed there"
    assert None not in (row[1] for row in meta.values())
    hits = {model.model: model.hits[1] for model in made.reaction.models}
    assert hits == {DRIVER: False, "log": True, "idm-lane": False}, "only the replayed follower does not look"
    # What systems are ranked by is what the episodes hold, of every kind of traffic.
    row = next(row for row in made.ranking.rows if (row.traffic, row.score, row.system) == ("log", "success", "idm"))
    store = EpisodeStore(certified / RUNS / "log")
    assert row.values == tuple(
        store.read_scores(CellKey(name, "idm", "rule")).scores["success"] for name in made.scenes
    )
    assert {check.verdict for check in findings.checks} == {"undecided"}, "two scenes decide nothing"


def test_where_it_is_told(certified: Path) -> None:
    line = "has a fidelity certificate: realism undecided; reaction undecided"
    page = (certified / "report.html").read_text()
    assert line in page
    assert len(re.findall(r"Kendall&#39;s tau|Kendall's tau", page)) >= 1
    text = (certified / "benchmark.md").read_text()
    assert line in text
    assert "Measured on 2 scenes of" in text
    assert "### do systems rank the same?" in text
    told = json.loads((certified / "summary.json").read_text())["certificate"]
    assert [check["item"] for check in told["checks"]] == [
        *("realism", "reaction", "ranking against log", "ranking against idm-lane")
    ]


def test_stopped_and_resumed(certified: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, _ = read_certificate(certified / FILE)
    records = certified / RUNS / FOLDER
    kept, lost = records / "sd_crossing.json", records / "sd_straight_road.json"
    before = kept.stat().st_mtime_ns
    lost.write_text(lost.read_text()[:100])
    EpisodeStore(certified / RUNS / "log").path(CellKey(FALLS, "idm", "rule")).unlink()
    (certified / FILE).unlink()
    benchmark.main(["--resume", str(certified), "--traffic", DRIVER, "--certify", "--certify-rollouts", "2"])
    again, _ = read_certificate(certified / FILE)
    assert (again.realism, again.reaction, again.ranking) == (whole.realism, whole.reaction, whole.ranking)
    assert kept.stat().st_mtime_ns == before, "what was measured is not measured again"
    # What lies in the folder is told of without being made anew; other roll-outs are other measurements.
    benchmark.main(["--resume", str(certified), "--traffic", DRIVER])
    assert "has a fidelity certificate" in capsys.readouterr().out


def test_carried_by_another_run(certified: Path, scenes: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "other", tmp_path / "cells.json"
    more = ("--traffic", DRIVER, "--certificate", str(certified / FILE), "--json", str(table))
    run(scenes, out, *more, "--scenes", "#0", "--sut", "replay", "--adversary", "rule", "again=rule")
    text = (out / "benchmark.md").read_text()
    assert "This run has other scenes: 1 of its 1 are among them." in text
    assert "knows nothing of these adversaries: again." in text
    assert (out / FILE).read_text() == (certified / FILE).read_text()
    assert all(cell["certificate"][0]["item"] == "realism" for cell in json.loads(table.read_text()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--traffic", "idm-lane", "--certificate", "FILE"), "certifies other traffic"),
        (("--traffic", DRIVER, "--certificate", "FILE", "--certify"), "Leave one out"),
        (("--certify",), "is the recording"),
        (("--traffic", "log?", "--certify"), "is the recording"),
        (("--traffic", "idm-lane", "--certify", "--adversary", f"{'a' * 201}=rule"), "at most 200"),
        (("--traffic", "idm-lane", "--certificate", "nowhere.json"), "nowhere.json"),
    ],
)
def test_refused_before_the_first_episode(certified, scenes, tmp_path, capsys, options, message) -> None:
    with pytest.raises(SystemExit) as ended:
        run(scenes, tmp_path / "out", *(str(certified / FILE) if word == "FILE" else word for word in options))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
