"""Judging attacks on the logged ego, and the command around it."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from harness.attack import main
from harness.attacks.config import AttackConfig
from harness.attacks.export import attacked_scene
from harness.attacks.open_loop import AttackRecord, attack_all, attack_logged, summarise
from harness.attacks.run import run_attacks
from harness.attacks.tables import open_loop_table
from harness.commands.scaffold import Session
from harness.episodes.attacks import attack_context
from harness.episodes.protocol import CORRECTED
from harness.errors import ConfigError, RunError, WeightsError
from harness.interfaces import AttackContext, AttackPlan
from harness.metrics.intervals import wilson
from harness.registry import make
from harness.report.tables import csv_text
from harness.specs import build
from scenarios import ScenarioStore
from scenarios.export import write_folder
from scenarios.scenario import Kind, Scenario
from tests.scenes import Agent, crossing, kerbside, straight_road


class Swerve:
    """Moves the opponent into the ego's lane from step 30 on, at the ego's x when `hit`."""

    name = "swerve"

    def __init__(self, gap: float) -> None:
        self.gap = gap

    def plan(self, context: AttackContext) -> AttackPlan:
        states = context.scenario.states(context.opponent).copy()
        ego = context.ego_trajectories[-1].states
        states[30:, :2] = ego[30:, :2] + [self.gap, 0.0]
        return AttackPlan(states, np.ones(len(states), bool))


def test_a_hit_is_judged_at_its_step() -> None:
    record, plan = attack_logged(Swerve(gap=2.0), straight_road(), CORRECTED)
    assert plan is not None
    assert record.contact_step == 30
    assert record.contact_step_sage == 30
    assert record.closest_m == pytest.approx(2.0)
    assert record.reward == pytest.approx(10 * (1 - 20 / 80))
    assert record.error == ""
    assert np.isfinite([record.kinematic, record.behavioural, record.milliseconds]).all()


def test_a_miss_is_a_miss() -> None:
    record, _ = attack_logged(Swerve(gap=6.0), straight_road(), CORRECTED)
    assert (record.contact_step, record.contact_step_cat, record.contact_step_sage) == (-1, -1, -1)
    assert record.reward == pytest.approx(np.exp(-0.2 * 6.0))


def test_the_map_and_the_traffic_are_watched() -> None:
    scene = straight_road(extra=[Agent("ahead", 30.0, 0.0)])
    into_traffic, _ = attack_logged(Swerve(gap=28.0), scene, CORRECTED)
    assert into_traffic.hits_traffic
    assert not into_traffic.off_road
    clean, _ = attack_logged(Swerve(gap=12.0), scene, CORRECTED)
    assert not clean.hits_traffic

    class OffRoad(Swerve):
        def plan(self, context: AttackContext) -> AttackPlan:
            plan = super().plan(context)
            plan.states[50:, 1] = -2.0
            return plan

    assert attack_logged(OffRoad(12.0), scene, CORRECTED)[0].off_road


def test_a_map_without_road_edges_gives_a_dash_and_says_why() -> None:
    scenes = [straight_road(), straight_road(edges=False), straight_road(edges=False, opponent_offset=5.0)]
    records = attack_all([make("adversary", "none")], scenes, CORRECTED)
    assert [record.off_road for record in records] == [False, None, None]
    (row,) = summarise(records)
    assert (row["off_road"], row["without_edges"]) == (wilson(0, 1), 2)
    assert open_loop_table([row]).caption == "2 of 3 scenes have no road edges: crossings cannot be judged there."
    (blind,) = summarise(records[1:])
    assert "–" in open_loop_table([blind]).cells(blind)
    assert open_loop_table(summarise(records[:1])).caption == ""
    lines = csv.DictReader(csv_text(asdict(record) for record in records).splitlines())
    assert [line["off_road"] for line in lines] == ["False", "", ""]


def test_none_judges_the_logged_opponent() -> None:
    record, plan = attack_logged(make("adversary", "none"), straight_road(), CORRECTED)
    assert plan is None
    assert record.contact_step == -1
    assert record.kinematic == pytest.approx(1.872, abs=1e-3)
    assert record.behavioural == pytest.approx(0.212, abs=1e-3)


def test_a_scene_without_opponent_is_counted_not_dropped() -> None:
    scenes = [straight_road(), straight_road(with_opponent=False), crossing()]
    records = attack_all([make("adversary", "rule")], scenes, CORRECTED)
    (row,) = summarise(records)
    assert (row["scenes"], row["failed"]) == (2, 1)
    assert row["success"].mean == 1.0
    assert "no opponent" in records[1].error
    assert (records[1].off_road, records[1].hits_traffic) == (None, None)


def test_summaries_keep_the_two_readings_apart() -> None:
    hit = AttackRecord("a", "cat", "as-published", contact_step=20, contact_step_cat=-1, contact_step_sage=20)
    (published,) = summarise([hit])
    assert published["success"].mean == 0.0
    assert published["success_sage"] is not None
    assert published["success_sage"].mean == 1.0
    (corrected,) = summarise([replace(hit, protocol="corrected")])
    assert corrected["success"].mean == 1.0
    assert corrected["success_sage"] is None
    heads = [column.heading() for column in open_loop_table([published]).columns]
    assert "success, SAGE's script, %" in heads
    assert "success, SAGE's script, %" not in [column.heading() for column in open_loop_table([corrected]).columns]


class Listed:
    """A scenario source over a list."""

    def __init__(self, scenes: list[Scenario]) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scenario:
        return self.scenes[index]


@pytest.fixture
def three_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [straight_road(scene_id="a/b"), crossing(), straight_road(with_opponent=False)]
    monkeypatch.setattr(AttackConfig, "open", lambda config: Listed(scenes))


@pytest.mark.usefixtures("three_scenes")
def test_the_command_writes_everything(tmp_path: Path) -> None:
    options = ["--adversary", "rule", "none", "--pictures", "1", "--export", "--out", str(tmp_path / "new")]
    main(options)
    with (tmp_path / "new" / "attacks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert [row["adversary"] for row in rows[:2]] == ["rule", "none"]
    assert int(rows[0]["contact_step"]) > 10
    summary = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert [(row["adversary"], row["scenes"], row["failed"]) for row in summary] == [("rule", 2, 1), ("none", 2, 1)]
    pictures = sorted(path.name for path in (tmp_path / "new" / "pictures").iterdir())
    assert [name.partition("~")[0] for name in pictures] == ["none_a_b", "rule_a_b"]
    assert (tmp_path / "new" / "pictures" / pictures[1]).read_bytes()[:4] == b"\x89PNG"
    assert len(ScenarioStore(tmp_path / "new" / "scenes" / "rule")) == 2
    assert not (tmp_path / "new" / "scenes" / "none").exists()
    assert json.loads((tmp_path / "new" / "run.json").read_text())["config"]["protocol"] == "corrected"


def test_a_written_attack_is_a_scene_whose_opponent_follows_the_plan(tmp_path: Path) -> None:
    scene = straight_road(opponent_from=6, opponent_to=60)
    record, plan = attack_logged(make("adversary", "rule"), scene, CORRECTED)
    assert plan is not None
    write_folder([attacked_scene(scene, plan, "attacked")], tmp_path)
    (again,) = ScenarioStore(tmp_path)
    assert again.opponent == scene.opponent
    np.testing.assert_allclose(again.states(1)[plan.valid], plan.states[plan.valid], atol=1e-9)
    np.testing.assert_array_equal(again.valid[1], plan.valid)
    assert again.box(1) == scene.box(1)
    # What was planned is now what is logged: `none` finds the same contact.
    assert attack_logged(make("adversary", "none"), again, CORRECTED)[0].contact_step == record.contact_step
    np.testing.assert_array_equal(again.states(0), scene.states(0))


@pytest.mark.usefixtures("three_scenes")
def test_mistakes_are_one_line_and_exit_code_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--adversary", "rul", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "Did you mean 'rule'" in capsys.readouterr().err
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(RunError, match="another folder"):
        run_attacks(AttackConfig(adversary=("rule",), out=blocked / "folder"), Session("attack"))
    with pytest.raises(ConfigError, match="pictures"):
        AttackConfig(pictures=-1)
    with pytest.raises(ConfigError, match=r"--horizon 50 .*--sut"):
        AttackConfig(horizon=50)
    with pytest.raises(ConfigError, match="--horizon 0: expected at least 1"):
        AttackConfig(horizon=0, sut="idm")


class Stranger:
    """A third party's adversary, which knows none of the options that the command offers."""

    name = "stranger"

    def plan(self, context: AttackContext) -> None:
        """Leave the scene as it was recorded."""


@pytest.mark.usefixtures("three_scenes")
def test_an_adversary_gets_only_the_options_that_it_knows(tmp_path: Path) -> None:
    main(["--adversary", f"{__name__}:Stranger", "--prior", "weights.safetensors", "--out", str(tmp_path / "new")])
    (row,) = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert (row["scenes"], row["failed"]) == (2, 1)
    assert build("adversary", "sage", protocol="as-published", prior=None, other=3).protocol.name == "as-published"


def test_experts_belong_to_the_adversary_that_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match="no expert at"):
        run_attacks(AttackConfig(adversary=(f"sage:{tmp_path}", "cat"), out=tmp_path / "new"), Session("attack"))
    with pytest.raises(SystemExit):
        main(["--adversary", "sage", "--experts", str(tmp_path)])
    assert "--adversary sage:DIR" in capsys.readouterr().err


def test_the_context_of_the_log() -> None:
    scene = crossing()
    context = attack_context(scene, np.random.default_rng(3))
    assert context.step == 10
    assert context.ego_size == (4.5, 2.0)
    np.testing.assert_array_equal(context.ego_trajectories[0].states, scene.states(0))


def test_the_recorded_history_is_not_held_against_the_adversary() -> None:
    scene = straight_road()
    heading = scene.heading.copy()
    heading[1, :9] += np.arange(9) % 2  # a recording that jitters by a radian
    jittery = replace(scene, heading=heading)
    assert attack_logged(make("adversary", "none"), jittery, CORRECTED)[0].kinematic == pytest.approx(1.872, abs=1e-3)


def test_people_are_judged_by_what_binds_them() -> None:
    scene = kerbside(y=-4.0)
    record, plan = attack_logged(make("adversary", "vulnerable"), scene, CORRECTED)
    assert plan is not None
    assert record.opponent == "pedestrian"
    assert record.contact_step > 10
    assert record.off_road is None, "it steps over the road's edge, as people do"
    assert np.isnan(record.behavioural)
    assert 1.0 < record.kinematic < 3.0
    rider, _ = attack_logged(make("adversary", "vulnerable"), kerbside(y=-4.0, kind=Kind.CYCLIST, speed=3.0), CORRECTED)
    assert rider.opponent == "cyclist"
    assert np.isfinite(rider.behavioural)
    rows = summarise([record, rider])
    assert (rows[0]["vulnerable"], rows[0]["without_edges"]) == (2, 0)
    text = "\n".join(open_loop_table(rows).markdown())
    assert "no road edges" not in text
    cars = summarise([attack_logged(Swerve(gap=2.0), straight_road(edges=False), CORRECTED)[0]])
    assert (cars[0]["vulnerable"], cars[0]["without_edges"]) == (0, 1)


def test_the_command_attacks_with_people(tmp_path: Path, capsys) -> None:
    walker = Agent("walker", 40.0, -6.0, np.pi / 2, 0.0, Kind.PEDESTRIAN, (0.8, 0.8, 1.75))
    write_folder([straight_road(extra=[walker]), straight_road(scene_id="cars only")], tmp_path / "data")
    words = ["--data", str(tmp_path / "data"), "--split", "all", "--adversary", "vulnerable", "--out"]
    main([*words, str(tmp_path / "run"), "--opponent", "pedestrian", "--fit-only", "--pictures", "1"])
    said = capsys.readouterr().out
    assert "left out 1 of 2 scenes" in said
    assert "no opponent" in said
    assert "on foot and on bicycles" in " ".join(said.split())
    with (tmp_path / "run" / "attacks.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["scenario"], row["opponent"]) == ("sd_straight_road", "pedestrian")
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 1
    main([*words, str(tmp_path / "cars")])
    heard = capsys.readouterr()
    assert "--opponent vulnerable" in " ".join((heard.out + heard.err).split())
