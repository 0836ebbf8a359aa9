"""The matrix of runs: which runs, what is kept, what is refused, and the tables' numbers by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from harness.commands.runs import in_use
from harness.commands.scaffold import Session
from harness.drawing.curves import draw_methods
from harness.errors import ConfigError, PolicyError, RunError
from harness.executors import JobResult
from harness.metrics.paired import crossed_difference
from harness.report.matrix_tables import crossplay_grid, crossplay_table, markdown
from harness.training import matrix_evaluation, matrix_run, matrix_worker
from harness.training.config import TrainConfig
from harness.training.evaluation import Row, rows_of
from harness.training.matrix import (
    MatrixAttack,
    MatrixConfig,
    TrainedCell,
    attacks_of,
    cells,
    finished,
    held_out,
    prepare,
    steps_done,
)
from harness.training.matrix_curves import learning_curves
from harness.training.matrix_evaluation import ego_of, evaluate
from harness.training.matrix_scores import Scores, as_json, compare_rows, equally_fast, horizons_of, scores
from harness.training.matrix_worker import train_one
from tests.unit.training.runs import ENDLESS, KEPT, STARTED, command_beside, interrupt_when


def matrix(out: Path, **changes) -> list[TrainedCell]:
    return cells(replace(MatrixConfig(train=TrainConfig(steps=100)), **changes), out)


def test_a_matrix_has_a_run_per_adversary_ablated_axis_and_seed(tmp_path) -> None:
    found = matrix(tmp_path, seed=(0, 1))
    first = [(cell.row, cell.config.adversary, cell.config.curriculum) for cell in found[:6]]
    assert first == [
        ("none", "none", "dual_axis"),
        ("rule", "rule", "dual_axis"),
        ("cat", "cat", "dual_axis"),
        ("sage", "sage", "dual_axis"),
        ("sage, frequency_axis", "sage", "frequency_axis"),
        ("sage, intensity_axis", "sage", "intensity_axis"),
    ]
    assert [cell.config.seed for cell in found] == [0] * 6 + [1] * 6
    assert len({cell.folder for cell in found}) == 12
    assert found[-1].folder == tmp_path / "sage-intensity_axis-seed1"


def test_what_cannot_work_is_refused() -> None:
    for changes, words in (
        ({"ablate": ("king",)}, "--ablate king"),
        ({"evaluate_against": ("none",)}, "never attacks"),
        ({"workers": 0}, "--workers 0"),
        ({"timeout": 0.5}, "--timeout 0.5"),
        ({"seed": ()}, "at least one"),
    ):
        with pytest.raises(ConfigError, match=words):
            MatrixConfig(**changes)


def finish(cell: TrainedCell) -> None:
    (cell.folder / "policy.zip").write_bytes(b"zip")
    (cell.folder / "checkpoint").mkdir()
    manifest = {"step": cell.config.steps, "evaluated": cell.config.steps}
    (cell.folder / "checkpoint" / "manifest.json").write_text(json.dumps(manifest))


def test_finished_runs_are_kept_and_foreign_ones_refused(tmp_path) -> None:
    cell = matrix(tmp_path)[0]
    prepare(cell)
    assert not finished(cell)
    assert steps_done(cell) == 0
    finish(cell)
    prepare(cell)
    assert finished(cell)
    assert matrix_run._train([cell], MatrixConfig(), Session("train_matrix")) == [], "nothing is left to train"
    other = TrainedCell(cell.row, replace(cell.config, steps=200))
    with pytest.raises(ConfigError, match=r"--steps: 200 \(the run has 100\)"):
        prepare(other)


@pytest.fixture
def stub(tmp_path, monkeypatch) -> Path:
    """File of a training command of the test's own, which runs find first: in the working directory."""
    monkeypatch.chdir(tmp_path)
    return command_beside(tmp_path)


def test_a_run_that_fails_is_tried_again_and_costs_itself_alone(tmp_path, stub, capsys) -> None:
    stub.write_text(
        "import pathlib, sys\nfolder = pathlib.Path(sys.argv[2])\nprint('no such folder: nowhere')\n"
        "if folder.name.startswith('none'): sys.exit(2)\n"
        "(folder / 'policy.zip').touch()\n(folder / 'checkpoint').mkdir()\n"
        "(folder / 'checkpoint' / 'manifest.json').write_text('{\"step\": 100, \"evaluated\": 100}')\n"
    )
    found = matrix(tmp_path, adversary=("none", "rule"), ablate=())
    for cell in found:
        prepare(cell)
    config = MatrixConfig(executor="serial")
    [failure] = matrix_run._train(found, config, Session("train_matrix"))
    assert failure.startswith("none-seed0 ended with exit code 2 at step 0: no such folder: nowhere (all of it: ")
    assert (found[0].folder / "output.log").read_text().count("nowhere") == 2, "tried twice"
    assert "rule-seed0: trained" in capsys.readouterr().out
    assert [finished(cell) for cell in found] == [False, True]


def test_a_worker_without_the_run_folder_ends_the_matrix(tmp_path) -> None:
    cell = matrix(tmp_path)[0]
    with pytest.raises(RunError, match="none-seed0 does not exist on a worker's machine"):
        train_one(cell)
    with pytest.raises(RunError, match="elsewhere does not exist"):
        matrix_worker.build(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="shared file system"):
        matrix_evaluation.build(tmp_path, cell.config, ["cat"], tmp_path)


def test_the_policy_of_a_run_is_whatever_it_left(tmp_path, monkeypatch) -> None:
    cell = matrix(tmp_path)[0]
    prepare(cell)
    with pytest.raises(PolicyError, match="its training has not ended"):
        ego_of(cell)
    loaded = []
    monkeypatch.setattr(matrix_evaluation, "load_policy", lambda path, observation: loaded.append((path, observation)))
    for name in ("policy.zip", "policy.safetensors"):
        (cell.folder / name).touch()
        ego_of(cell)
    assert loaded == [(str(cell.folder / name), "cat") for name in ("policy.zip", "policy.safetensors")]


def test_a_stopped_matrix_waits_for_the_checkpoint_of_its_runs(tmp_path, stub) -> None:
    stub.write_text(ENDLESS)
    (cell,) = matrix(tmp_path, adversary=("none",), ablate=())
    prepare(cell)

    interrupt_when(cell.folder / STARTED)
    with pytest.raises(KeyboardInterrupt):
        matrix_run._train([cell], MatrixConfig(executor="process", workers=1), Session("train_matrix"))
    assert (cell.folder / KEPT).exists()
    assert not in_use(cell.folder)


@pytest.mark.parametrize("line", ["{}", '{"step": null}', '{"step": 1e999}', '{"ste\\n{}', "3"])
def test_one_damaged_run_costs_one_run(tmp_path, line) -> None:
    first, *others = matrix(tmp_path)
    prepare(first)
    (first.folder / "metrics.jsonl").write_text(line + "\n")
    assert steps_done(first) == 0
    finish(first)
    (first.folder / "checkpoint" / "manifest.json").write_text("{")
    usable, failures = matrix_run._prepared([first, *others])
    assert usable == others
    assert [reason.partition(":")[0] for reason in failures] == [first.name]


def rows(collisions: list[float], speed: float = 8.0) -> list[Row]:
    """A row per scene, stage and horizon; cut off after 50 steps, nothing has happened yet."""
    found = []
    for number, collision in enumerate(collisions):
        for stage in ("normal", "adversarial"):
            numbers = dict.fromkeys(("reward", "cost", "completion", "jerk"), float(number))
            row = Row(100, stage, f"s{number}", collision=collision, speed=speed + number, steps=70, **numbers)
            row = replace(row, unavoidable=collision * (number == 0))
            found += [row, replace(row, horizon=50, collision=0.0, unavoidable=0.0)]
    return found


OUTCOMES = {
    "none-seed0": [1, 1, 0, 1],
    "none-seed1": [1, 1, 0, 0],
    "sage-seed0": [0, 1, 0, 0],
    "sage-seed1": [0, 0, 0, 0],
}


def tables_of(tmp_path: Path, outcomes: dict, speeds: dict | None = None, adversary="cat") -> dict[str, list[Scores]]:
    """The rows `none` and `sage` of a matrix with two seeds, by stage."""
    found = [cell for cell in matrix(tmp_path, seed=(0, 1)) if cell.row in ("none", "sage")]
    speeds = speeds or dict.fromkeys(outcomes, 8.0)
    evaluated = {(name, adversary): rows(values, speeds[name]) for name, values in outcomes.items()}
    return {stage: scores(found, evaluated, adversary, stage) for stage in ("normal", "adversarial")}


def test_tables_average_scenes_and_seeds_and_test_differences_over_both(tmp_path) -> None:
    tables = tables_of(tmp_path, OUTCOMES)
    none, sage = tables["adversarial"]
    assert none.values["collision"].shape == (2, 4)
    assert none.interval("collision").mean == pytest.approx(5 / 8)
    assert none.spread("collision") == pytest.approx(np.std([0.75, 0.5], ddof=1))
    assert none.interval("unavoidable").mean == pytest.approx(2 / 8)
    assert none.interval("collision").low < 5 / 8 < none.interval("collision").high
    (pair,) = compare_rows(tables["adversarial"], tables["normal"])
    assert (pair.first, pair.second, pair.equally_fast, pair.speeds) == ("sage", "none", True, (9.5, 9.5))
    # By scene, means over seeds: none 1, 1, 0, .5 and sage 0, .5, 0, 0.
    gap = pair.differences["collision"]
    expected = crossed_difference([OUTCOMES["sage-seed0"], OUTCOMES["sage-seed1"]], none.values["collision"])
    assert (gap, gap.difference.mean) == (expected, pytest.approx(-0.5))
    # Four columns in one family: completion and leaving the road do not differ, so p is 1; either is collision here.
    assert gap.p_value < 0.25
    assert pair.holm["collision"] == pytest.approx(4 * gap.p_value) == pair.holm["collision_or_off_road"]
    assert pair.holm["off_road"] == 1.0
    text = markdown(tables["adversarial"], [pair])
    assert "attacked by cat (SAGE table 3)" in text
    assert "| sage − none | 9.5 = 9.5 | 4 | 0.00" in text
    assert as_json([sage])[0]["columns"]["collision"]["mean"] == pytest.approx(1 / 8)


def test_rows_are_compared_at_matched_speed(tmp_path) -> None:
    # Speeds of scenes as recorded: none 10, 11, 12, 13; sage 8.8, 9.8, 10.8, 11.8: apart by .12, .109, .1, .092.
    tables = tables_of(tmp_path, OUTCOMES, dict(zip(OUTCOMES, (10.5, 9.5, 8.8, 8.8), strict=True)))
    none, sage = tables["normal"]
    assert equally_fast(sage, none).tolist() == [False, False, True, True]
    (pair,) = compare_rows(tables["adversarial"], tables["normal"])
    assert not pair.equally_fast, "10.3 and 11.5 m/s differ by more than a tenth of 11.5"
    assert pair.matched["collision"].scenes == 2
    assert pair.matched["collision"].difference.mean == pytest.approx(0 - 1 / 4)
    assert "| sage − none | 10.3 ≠ 11.5 | 2 | " in markdown(tables["adversarial"], [pair])


def test_cross_play_shows_speed_and_steps_and_marks_who_is_held_out(tmp_path) -> None:
    config = MatrixConfig(adversary=("none", "sage?spacing=4"), ablate=(), evaluate_against=("sage", "king"))
    assert held_out(config) == ["king"]
    tables = tables_of(tmp_path, OUTCOMES, adversary="king")
    conditions = [tables["normal"], tables["adversarial"]]
    text = "\n".join(crossplay_table(conditions, held_out(config)).markdown())
    assert "| Either ↓ | Unavoidable | Arrived ↑ | Speed m/s | Steps | Completion ↑ |" in text
    assert "| none | – (as recorded) | 0.62 [" in text
    assert "| sage | king (held out) | 0.12 [" in text
    grid = "\n".join(crossplay_grid(conditions, ["king"]).markdown())
    assert "| trained against | – (as recorded) | king (held out) |" in grid
    assert "at 9.5 m/s, 70 steps |" in grid


def test_attacks_on_the_log_stand_beside_those_on_the_own_drive() -> None:
    config = MatrixConfig(evaluate_against=("sage", "king"), against_log=True)
    labels = ["sage", "sage against the log", "king", "king against the log"]
    assert [attack.label for attack in attacks_of(config)] == labels
    assert held_out(config) == labels[2:]
    published = replace(config, train=replace(config.train, protocol="as-published"))
    assert [attack.label for attack in attacks_of(published)] == ["sage", "king"], "all of them attack the log"


def test_every_horizon_that_all_evaluations_have_is_shown(tmp_path) -> None:
    found = matrix(tmp_path, adversary=("none",), ablate=())
    evaluated = {("none-seed0", name): rows([1.0, 0.0]) for name in ("cat", "sage")}
    assert horizons_of(evaluated) == [0, 50]
    (none,) = scores(found, evaluated, "cat", "adversarial", 50)
    assert none.interval("collision").mean == 0
    assert "attacked by cat, 50 steps (SAGE table 3)" in markdown([none], [])
    assert "cat, 50 steps |" in crossplay_grid([[none]], []).markdown()[0]
    evaluated["none-seed0", "sage"] = [row for row in evaluated["none-seed0", "sage"] if not row.horizon]
    assert horizons_of(evaluated) == [0]


def test_curves_are_means_over_seeds_of_what_runs_recorded(tmp_path) -> None:
    found = matrix(tmp_path, seed=(0, 1), adversary=("none",), ablate=())
    for cell, offset in zip(found, (0, 2), strict=True):
        prepare(cell)
        records = [
            _plain(row) | {"step": step + offset, "off_road": bool(offset)}
            for step, collisions in ((50, [1.0, 0.0]), (100, [0.0, 0.0]))[: 2 - offset // 2]
            for row in rows(collisions)
        ]
        name = "validation.jsonl" if offset else "evaluation.jsonl"
        (cell.folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    first, attacked = learning_curves(found)
    assert (first.row, first.stage, attacked.stage) == ("none", "normal", "adversarial")
    # The second seed has one evaluation only, and leaves the road throughout.
    assert first.steps.tolist() == [51.0]
    assert first.values["collision"].tolist() == [[0.5], [0.5]]
    mean, low, high = first.band("collision_or_off_road")
    assert mean == pytest.approx([0.75])
    assert (high - mean, mean - low) == (pytest.approx([np.std([0.5, 1.0], ddof=1)]),) * 2
    draw_methods([first, attacked], tmp_path / "curves.png", "2 egos")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_a_policy_that_leaves_the_road_has_failed_too(tmp_path) -> None:
    found = [cell for cell in matrix(tmp_path) if cell.row == "none"]
    numbers = dict.fromkeys(("reward", "cost", "completion", "speed", "jerk"), 0.0)
    episodes = [
        Row(100, "normal", "s0", collision=1.0, **numbers),
        Row(100, "normal", "s1", collision=0.0, off_road=True, **numbers),
        Row(100, "normal", "s2", collision=0.0, arrived=True, **numbers),
        Row(100, "normal", "s3", error="scene 3 cannot be read"),
    ]
    (none,) = scores(found, {("none-seed0", "cat"): episodes}, "cat", "normal")
    assert none.interval("collision_or_off_road").mean == pytest.approx(2 / 3)
    assert none.interval("off_road").mean == pytest.approx(1 / 3)
    assert none.interval("arrived").mean == pytest.approx(1 / 3)
    assert "| Collision ↓ | Left the road ↓ | Either ↓ | Unavoidable | Arrived ↑ | Speed m/s | Steps |" in markdown(
        [none], []
    )


def test_evaluations_are_made_once(tmp_path) -> None:
    cell = matrix(tmp_path)[0]
    (tmp_path / "evaluations").mkdir()
    kept = [row | {"speed": None} for row in json.loads(json.dumps([_plain(row) for row in rows([1.0])]))]
    (tmp_path / "evaluations" / f"{cell.name}-cat.json").write_text(json.dumps(kept))
    found = evaluate([cell], MatrixConfig(evaluate_against=("cat",)), tmp_path)[cell.name, "cat"]
    assert [row.collision for row in found] == [1.0, 0.0, 1.0, 0.0]
    assert np.isnan(found[0].speed)


def test_an_evaluation_is_left_out_where_it_failed_and_nothing_else_passes_for_one(tmp_path, monkeypatch, caplog):
    found = matrix(tmp_path, adversary=("none", "rule"), ablate=())
    config = MatrixConfig(evaluate_against=("cat",))
    errors = {"none-seed0": "PolicyError: too wide", "rule-seed0": ""}

    def fake(jobs, *_):
        for job in jobs:
            if not errors[job.cell.name]:
                kept = [_plain(row) for row in rows([1.0])]
                matrix_evaluation.write_json(matrix_evaluation._file(tmp_path, job.cell, *job.attacks), kept)
            yield JobResult(job, None, errors[job.cell.name], 2)

    monkeypatch.setattr(matrix_evaluation, "run_jobs", fake)
    assert list(evaluate(found, config, tmp_path)) == [("rule-seed0", "cat")]
    assert "none-seed0 is left out of the tables: PolicyError: too wide" in caplog.text
    monkeypatch.setattr(matrix_evaluation, "write_json", lambda *_: None)
    errors["none-seed0"] = ""
    with pytest.raises(RunError, match="a worker ended the evaluation of none-seed0, but there is no result"):
        evaluate(found, config, tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"reward": "x"}, {"collision": [1]}, {"stage": "zz"}, {"scene": {}}, {"x": 1}, {"step": True}, {"cost": 10**400}],
)
def test_an_evaluation_that_holds_something_else_is_made_again(tmp_path, change) -> None:
    from harness.training.matrix_evaluation import _file, _kept

    cell, attack = matrix(tmp_path)[0], MatrixAttack("cat")
    file = _file(tmp_path, cell, attack)
    file.parent.mkdir()
    file.write_text(json.dumps([_plain(row) | change for row in rows([1.0])]))
    with pytest.raises(RunError, match=r"cat\.json: cannot be read"):
        rows_of(json.loads(file.read_text()), file)
    assert _kept(tmp_path, cell, attack) is None
    file.write_text("3")
    assert _kept(tmp_path, cell, attack) is None


def _plain(row: Row) -> dict:
    return asdict(row)
