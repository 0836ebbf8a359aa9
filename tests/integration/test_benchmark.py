"""The benchmark end to end on small scenes: equal on any executor, resumable after SIGKILL, honest about failures."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import benchmark, compare
from harness.attacks.frozen import AttackSet
from harness.benchmarking.freezing import freeze
from harness.benchmarking.lineup import assemble
from harness.benchmarking.run import run_benchmark
from harness.benchmarking.versus.run import FILES
from harness.commands.scaffold import Session
from harness.episodes.records import CellKey, EpisodeStore
from harness.interfaces import Trajectory
from harness.metrics.collision import first_overlap
from scenarios.export import write_folder
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road
from tests.unit.benchmarking.saboteurs import PAUSE

ROOT = Path(__file__).resolve().parents[2]
SABOTEURS = "tests.unit.benchmarking.saboteurs"
JITTER, HIT = f"jitter={SABOTEURS}:Jitter", f"hit={SABOTEURS}:Hit"
NOBODY, CROSSING = "sd_nobody", "sd_crossing"
"""Scenes as their files are called; in the first one there is nobody who could attack."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    aside = Agent("aside", -15.0, LANE_WIDTH, 0.0, 10.0)
    write_folder(
        [
            crossing(interest=("ego", "opponent")),
            straight_road(extra=[aside], interest=("ego", "opponent")),
            straight_road(with_opponent=False, scene_id="nobody"),
        ],
        folder,
    )
    return folder


def options(scenes: Path, out: Path, *more: str) -> list[str]:
    return ["--data", str(scenes), "--split", "all", "--out", str(out), *more]


def cells(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The cells of a run without what differs from run to run."""
    found = json.loads((folder / "summary.json").read_text())["cells"]
    for cell in found:
        del cell["seconds_per_scene"]
    return {(cell["adversary"], cell["sut"]): cell for cell in found}


@pytest.fixture(scope="module")
def serial(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in this process."""
    out = tmp_path_factory.mktemp("runs") / "serial"
    adversaries = ["--adversary", "rule", JITTER]
    table = out.with_suffix(".json")
    benchmark.main(options(scenes, out, *adversaries, "--executor", "serial", "--json", str(table)))
    return out


def test_numbers_are_those_of_the_episodes(serial: Path) -> None:
    found = cells(serial)
    assert set(found) == {(a, s) for a in ("none", "rule", "jitter") for s in ("replay", "idm")}
    rule = found["rule", "replay"]
    # The rule drives into a replayed ego; where nobody can attack, that is a failure and not a safe scene.
    assert (rule["n"], rule["failures"], rule["failure_kinds"]) == (2, 1, {"adversary": 1})
    assert rule["columns"]["success"]["value"] == 1.0
    assert rule["columns"]["success"]["n"] == 2
    quiet = found["none", "replay"]
    assert (quiet["n"], quiet["failures"]) == (3, 0)
    assert "success" not in quiet["columns"], "nobody attacks, so that nothing succeeds"
    store = EpisodeStore(serial)
    episode = store.read(CellKey(CROSSING, "replay", "rule")).episode
    assert episode.opponent is not None
    assert episode.plan is not None
    box = (4.5, 2.0)
    step = int(first_overlap(*episode.opponent, box, *episode.ego, box, 11))  # type: ignore[arg-type]
    scores = store.read_scores(CellKey(CROSSING, "replay", "rule")).scores
    assert scores["contact_step"] == step == episode.crash_opponent
    assert scores["success_contact"] is True
    assert "no opponent" in store.read(CellKey(NOBODY, "idm", "rule")).episode.error


def test_stage_2_aims_at_stage_1(serial: Path) -> None:
    store, label = EpisodeStore(serial), "jitter"
    quiet = store.read(CellKey(CROSSING, "idm", "none")).episode
    attacked = store.read(CellKey(CROSSING, "idm", label)).episode
    assert attacked.plan is not None
    gap = attacked.plan.states[30:60, :2] - quiet.ego.states[30:60, :2]
    # A constant offset from what IDM drove undisturbed; its log is elsewhere by then.
    assert gap.std(0).max() < 1e-9
    assert isinstance(quiet.ego, Trajectory)


def test_one_json_object_per_cell(serial: Path) -> None:
    found = json.loads(serial.with_suffix(".json").read_text())
    assert len(found) == 6
    assert all(
        {"adversary", "sut", "protocol", "split", "seeds", "n", "failures", "columns", "seconds_per_scene"} <= set(cell)
        for cell in found
    )
    with (serial / "benchmark.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6
    assert (serial / "benchmark.tex").read_text().count(r"\begin{table}") == 2
    assert "Against idm" in (serial / "benchmark.md").read_text()


def test_frozen_attacks_are_the_same_to_the_last_step(serial: Path, scenes: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "attacks.safetensors", tmp_path / "again"
    config = benchmark.main.parse(options(scenes, serial, "--adversary", "rule", JITTER))
    freeze(file, config, assemble(config), serial, Session("benchmark"))
    assert ("rule", "idm") in AttackSet.load(file).groups
    benchmark.main(options(scenes, out, "--attacks", str(file), "--executor", "serial"))
    first, second = EpisodeStore(serial), EpisodeStore(out)
    compared = 0
    for system in ("replay", "idm"):
        for adversary in ("rule", "jitter"):
            for scene in (CROSSING, "sd_straight_road"):
                one = first.read(CellKey(scene, system, adversary))
                other = second.read(CellKey(scene, system, f"{adversary} on {system}"))
                assert np.array_equal(one.episode.agents, other.episode.agents)
                assert np.array_equal(one.episode.ego.states, other.episode.ego.states)
                apart = {name for name, value in one.scores.items() if other.scores[name] != value}
                assert all(name.startswith("seconds_") for name in apart)
                compared += 1
    assert compared == 8
    found = cells(out)
    assert {adversary for adversary, _ in found} == {
        "none", "rule on replay", "rule on idm", "jitter on replay", "jitter on idm"
    }  # fmt: skip
    assert found["rule on replay", "idm"]["failure_kinds"] == {"adversary": 1}, "where nobody could attack"


def test_two_systems_of_a_run_are_compared(serial: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared"
    compare.main([str(serial), str(serial), "--system", "replay", "idm", "--out", str(out), "--playback", "2"])
    found = json.loads((out / "compare.json").read_text())
    assert found["systems"] == ["A replay", "B idm"]
    of = {(row["adversary"], row["score"]): row for row in found["rows"]}
    both = cells(serial)
    for label, side in (("replay", "first"), ("idm", "second")):
        assert of["rule", "success"][side] == both["rule", label]["columns"]["success"]["value"]
    assert all((out / name).exists() for name in FILES)
    page = (out / "report.html").read_text()
    assert '"beside":true' in page.replace(" ", "")
    assert CROSSING in page
    assert "B idm against A replay" in (out / "compare.md").read_text()
    with pytest.raises(SystemExit) as stop:
        compare.main([str(serial), str(serial)])
    assert stop.value.code == 2


def test_another_seed_gives_another_table(serial: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "seed"
    adversaries = ["--adversary", JITTER, "--sut", "replay"]
    config = benchmark.main.parse(options(scenes, out, *adversaries, "--executor", "serial", "--seed", "1"))
    found, folder, verdict, _ = run_benchmark(config, Session("benchmark"))
    assert folder == out
    assert not verdict.found, "no gate was asked for"
    assert len(found) == len(cells(out))
    key = ("jitter", "replay")
    assert cells(out)[key]["columns"]["kinematic"] != cells(serial)[key]["columns"]["kinematic"]


def test_processes_that_are_killed_and_resumed_give_the_same_table(serial: Path, scenes: Path, tmp_path: Path) -> None:
    adversaries, killed = ["--adversary", "rule", JITTER], tmp_path / "killed"
    arguments = options(scenes, killed, *adversaries, "--executor", "process", "--workers", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.benchmark", *arguments],
        cwd=ROOT,
        # Leaves time to be killed.
        env={**os.environ, "PYTHONPATH": str(ROOT), PAUSE: "0.5"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    store, end = EpisodeStore(killed), time.monotonic() + 600
    while len(list(store.keys())) < 4 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    before = {key: store.path(key).stat().st_mtime_ns for key in store.keys()}
    assert 4 <= len(before) < 18
    benchmark.main(["--resume", str(killed), *adversaries, "--executor", "process", "--workers", "1"])
    after = {key: store.path(key).stat().st_mtime_ns for key in store.keys()}
    assert len(after) == 18
    assert {key: after[key] for key in before} == before  # nothing was run again
    assert cells(killed) == cells(serial)
    assert (killed / "comparisons.csv").read_text() == (serial / "comparisons.csv").read_text()
    # Another executor may go on, and has nothing to do.
    benchmark.main(["--resume", str(killed), *adversaries, "--executor", "serial"])
    assert {key: store.path(key).stat().st_mtime_ns for key in store.keys()} == after


def test_a_budget_ends_a_run_which_then_goes_on(
    serial: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adversaries, out = ["--adversary", "rule", JITTER], tmp_path / "short"
    arguments = options(scenes, out, *adversaries, "--executor", "serial")
    benchmark.main([*arguments, "--dry-run"])
    said = capsys.readouterr().out
    assert "18 episodes (3 scenes, 2 systems, the undisturbed scene and 2 attacked, 1 seed), 18 still" in said
    assert not out.exists()
    with pytest.raises(SystemExit) as stop:
        benchmark.main([*arguments, "--budget", "0.001s"])
    assert stop.value.code == 2
    assert "0 of 18 episodes have been run. Go on with --resume" in " ".join(capsys.readouterr().err.split())
    # Without a budget of its own, a run that is gone on with has none.
    benchmark.main(["--resume", str(out), *adversaries, "--executor", "serial"])
    assert cells(out) == cells(serial)
    assert json.loads((out / "summary.json").read_text())["about"]["completeness"]["complete"] is True
    one = EpisodeStore(out)
    one.remove(CellKey(CROSSING, "idm", "rule"))
    benchmark.main(["--resume", str(out), *adversaries, "--executor", "serial", "--budget", "0.001s"])
    about = json.loads((out / "summary.json").read_text())["about"]["completeness"]
    assert about == {"scenes": 2, "of_scenes": 3, "episodes": 17, "of_episodes": 18, "complete": False}
    assert cells(out)["none", "idm"]["n"] == 2, "a scene counts for all or for none"
    assert "17 of 18 episodes" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("saboteur", "timeout", "reason"),
    [
        ("Exit", "120", "exit code 7"),
        pytest.param("Segfault", "120", "SIGSEGV", marks=pytest.mark.slow),
        pytest.param("Hang", "20", "no result within", marks=pytest.mark.slow),
    ],
)
def test_lost_workers_are_reported_failures(
    saboteur: str, timeout: str, reason: str, scenes: Path, tmp_path: Path
) -> None:
    out, label = tmp_path / "run", "broken"
    more = [
        "--adversary",
        f"broken={SABOTEURS}:{saboteur}",
        HIT,
        "--sut",
        "replay",
        "--workers",
        "1",
        "--timeout",
        timeout,
    ]
    benchmark.main(options(scenes, out, *more))
    found = cells(out)
    broken, fine = found[label, "replay"], found["hit", "replay"]
    # The crossing is lost to the saboteur, the third scene has no opponent; nothing else suffers.
    assert (broken["n"], broken["failures"], broken["failure_kinds"]) == (1, 2, {"adversary": 1, "worker": 1})
    assert reason in " ".join(broken["failure_examples"])
    assert (fine["n"], fine["failures"], fine["columns"]["success"]["value"]) == (2, 1, 1.0)
    assert f"`{label}`: 2 failed" in (out / "benchmark.md").read_text()


def test_what_raises_is_reported_and_can_be_retried(scenes: Path, tmp_path: Path) -> None:
    out, label = tmp_path / "run", "broken"
    adversary = ["--adversary", f"broken={SABOTEURS}:Broken"]
    benchmark.main(options(scenes, out, *adversary, "--sut", "replay", "--executor", "serial"))
    assert cells(out)[label, "replay"]["failures"] == 3
    assert "ZeroDivisionError: a bug" in cells(out)[label, "replay"]["failure_examples"][0]
    store = EpisodeStore(out)
    quiet = store.path(CellKey(CROSSING, "replay", "none")).stat().st_mtime_ns
    failed = store.path(CellKey(CROSSING, "replay", label)).stat().st_mtime_ns
    benchmark.main(["--resume", str(out), *adversary, "--executor", "serial", "--retry-failures"])
    assert store.path(CellKey(CROSSING, "replay", "none")).stat().st_mtime_ns == quiet
    assert store.path(CellKey(CROSSING, "replay", label)).stat().st_mtime_ns > failed


def test_as_published_aims_at_the_log(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "published"
    more = ["--adversary", HIT, "--sut", "idm", "--executor", "serial", "--protocol", "as-published"]
    benchmark.main(options(scenes, out, *more))
    cell = cells(out)["hit", "idm"]
    assert "plan_one_step_late" in cell["deviations_repeated"]
    episode = EpisodeStore(out).read(CellKey(CROSSING, "idm", "hit")).episode
    assert episode.plan is not None
    log = crossing()
    # Row 31 is played one step late and is where the *logged* ego was at step 30.
    assert episode.plan.states[31, 0] == pytest.approx(log.position[0, 30, 0] + 2.0)
    assert "| attack_logged_ego | yes |" in (out / "benchmark.md").read_text()


def fails(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(arguments)
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--adversary", "kat"], "Did you mean 'cat'"),
        (["--sut", "idmm"], "Did you mean 'idm'"),
        (["--sut", "td3:nowhere.zip"], "nowhere.zip"),
        (["--sut", "idm", "idm"], "two systems are called 'idm'"),
        (["--traffic", "logs"], "Did you mean 'log'"),
        (["--split", "val"], "empty"),
        (["--data", "nowhere"], "no such file or folder"),
        (["--prior", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--json", "/proc/none/x.json"], "cannot write"),
        (["--out", "/proc/none/run"], "cannot make run folder"),
    ],
)
def test_bad_options(more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "scenes"
    write_folder([crossing(interest=("ego", "opponent"))], folder)
    arguments = options(folder, tmp_path / "out", *more)
    fails(arguments, message, capsys)
    assert not (tmp_path / "out").exists()


def test_resumption_refuses_another_run(
    serial: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(["--resume", str(serial), "--adversary", "rule", JITTER], "names a place to write to", capsys)
    again = ["--resume", str(serial), "--json", str(serial.with_suffix(".json"))]
    fails([*again, "--adversary", "rule", JITTER, "--protocol", "as-published"], "--protocol: as-published", capsys)
    fails(again, "names code to be run", capsys)
    fails([*again, "--adversary", "rule"], "another configuration", capsys)
    fails(["--resume", str(tmp_path)], "not a run folder", capsys)
    fails(options(scenes, serial), "is not empty", capsys)
    other = tmp_path / "attack"
    other.mkdir()
    (other / "run.json").write_text(json.dumps({"verb": "attack", "config": {}, "resumed": []}))
    fails(["--resume", str(other)], "was made by 'attack'", capsys)


def test_resumption_notices_other_scenes(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "scenes", tmp_path / "out"
    write_folder([crossing(interest=("ego", "opponent"))], folder)
    benchmark.main(options(folder, out, "--adversary", "rule", "--sut", "replay", "--executor", "serial"))
    write_folder([straight_road(scene_id="new", interest=("ego", "opponent"))], folder)
    fails(["--resume", str(out), "--executor", "serial"], "made with 1 scenes", capsys)
