"""Tables, curves and playback from hand-made records."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from harness.drawing.curves import draw_learning
from harness.drawing.palette import LIGHT, blend, rgb
from harness.drawing.playback import CANDIDATE_ALPHA, GUTTER, View, frames, save_playback, save_wall
from harness.interfaces import AttackPlan, Trajectory
from harness.report.run_report import telling_scene
from harness.report.training_tables import evaluation_table, terminal_table, write_tables
from harness.training.evaluation import Row, summarise
from tests.scenes import straight_road
from tests.unit.training.test_evaluation import episode

EGO, OPPONENT = rgb(LIGHT.ego), rgb(LIGHT.opponent)
CANDIDATE = blend(LIGHT.candidate, LIGHT.lane, CANDIDATE_ALPHA)


def rows() -> list[dict]:
    made = []
    for step in (100, 200):
        for stage in ("normal", "adversarial"):
            for scene in range(4):
                one = Row(
                    step, stage, str(scene), stage == "adversarial", 90, 10.0 + scene, 0.0, 0.25 * scene, 0.0, 5.0, 2.0
                )
                made.append(asdict(one))
    made.append(asdict(Row(200, "adversarial", "4", error="no candidates")))
    return made


def test_tables_show_means_intervals_and_failures(tmp_path) -> None:
    summaries = summarise(rows())
    last = [row for row in summaries if row.step == 200]
    text = "\n".join(evaluation_table(last, "A run").markdown())
    assert "| 200 | as recorded | 4 | 0 | 11.5 [" in text
    assert "| 200 | attacked | 4 | 1 | 11.5 [" in text
    console = Console(width=80, record=True, file=open(tmp_path / "out", "w"))
    console.print(terminal_table(last, "A run").rich(turned=True))
    shown = console.export_text()
    assert "11.5 [" in shown
    assert "1 failed" in shown
    assert "…" not in shown, "80 characters suffice"


def test_files_hold_every_evaluation(tmp_path) -> None:
    write_tables(tmp_path, summarise(rows()), "A run", {"seed": 0})
    with open(tmp_path / "curve.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(line["step"], line["stage"]) for line in table] == [
        ("100", "normal"), ("100", "adversarial"), ("200", "normal"), ("200", "adversarial"),
    ]  # fmt: skip
    assert float(table[0]["completion"]) == pytest.approx(0.375)
    assert float(table[0]["completion_low"]) < 0.375 < float(table[0]["completion_high"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["about"] == {"seed": 0}
    assert len(results["evaluations"]) == 4
    assert "200 | attacked" in (tmp_path / "results.md").read_text()


def test_the_curve_is_a_picture(tmp_path) -> None:
    draw_learning(summarise(rows()), tmp_path / "curve.png", "A run")
    assert Image.open(tmp_path / "curve.png").size[0] > 800


def driven(**changes):
    """The straight road, driven 12 steps at 10 m/s; the opponent 20 m ahead in the left lane."""
    scene = straight_road()
    valid = np.arange(91) <= 12
    agents = np.stack([scene.states(0), scene.states(1)])
    ego = Trajectory(agents[0], valid)
    made = episode(ego=ego, agents=agents, agents_valid=np.stack([valid, valid]), steps=12, **changes)
    return scene, made


def colour_at(picture: Image.Image, view: View, east: float, north: float) -> tuple[int, ...]:
    """Colour at metres from the ego."""
    middle, scale = view.pixels / 2, view.pixels / view.metres
    return picture.getpixel((round(middle + east * scale), round(middle - north * scale)))


def test_every_step_becomes_a_frame_with_everyone_in_their_place() -> None:
    scene, record = driven()
    view = View(pixels=200, metres=50.0)
    pictures = list(frames(scene, record, (4.5, 1.8), view))
    assert len(pictures) == 13
    for picture in (pictures[0], pictures[-1]):
        assert picture.size == (200, 200)
        assert colour_at(picture, view, 0.0, 0.0) == EGO
        assert colour_at(picture, view, 20.0, 3.5) == OPPONENT
        assert colour_at(picture, view, 10.0, 3.5) != OPPONENT


def test_only_the_last_frame_says_how_it_ended() -> None:
    view = View(pixels=300, metres=50.0)

    def drawn(**changes) -> list[bytes]:
        scene, record = driven(**changes)
        return [picture.tobytes() for picture in frames(scene, record, (4.5, 1.8), view)]

    off, arrived, neither = drawn(off_road=True), drawn(arrived=True), drawn()
    assert off[:-1] == arrived[:-1] == neither[:-1]
    assert len({off[-1], arrived[-1], neither[-1]}) == 3


def test_candidates_and_plan_are_drawn() -> None:
    scene, record = driven()
    candidate = scene.states(1).copy()
    candidate[:, 1] = 10.0
    plan = AttackPlan(scene.states(1), np.ones(91, bool), candidates=candidate[None], chosen=0)
    view = View(pixels=400, metres=50.0, smooth=1)
    picture = list(frames(scene, replace(record, plan=plan), (4.5, 1.8), view))[-1]
    # Candidate rows from step 10 on: the ego is at x = 12 now, the candidate runs from x = 30 on at y = 10.
    assert CANDIDATE in {colour_at(picture, view, 20.5, north) for north in np.arange(9.5, 10.6, 0.1)}
    bare = list(frames(scene, record, (4.5, 1.8), view))[-1]
    assert CANDIDATE not in {colour_at(bare, view, 20.5, north) for north in np.arange(9.5, 10.6, 0.1)}


def test_playback_is_an_animated_gif(tmp_path) -> None:
    scene, record = driven(crash_geometry=9)
    save_playback(scene, record, (4.5, 1.8), tmp_path / "play.gif", View(pixels=120))
    image = Image.open(tmp_path / "play.gif")
    assert image.n_frames == 13
    assert list(tmp_path.iterdir()) == [tmp_path / "play.gif"]


def test_a_playback_that_stays_in_one_place() -> None:
    scene, record = driven()
    view = View(pixels=200, metres=50.0, place=(6.0, 0.0))
    pictures = list(frames(scene, record, (4.5, 1.8), view))
    for step in (0, 12):
        east, north = record.ego.states[step, :2] - (6.0, 0.0)
        assert colour_at(pictures[step], view, east, north) == EGO
        assert colour_at(pictures[12 - step], view, east, north) != EGO


def test_words_are_as_large_as_asked_and_name_the_scene_unless_told() -> None:
    scene, record = driven()

    def words(**changes) -> tuple[int, int]:
        """Width and height of what is written, pixels."""
        picture = next(frames(scene, record, (4.5, 1.8), View(pixels=400, metres=50.0, caption="one", **changes)))
        rows, columns = np.nonzero(np.asarray(picture)[:60].max(-1) < 140)
        return int(np.ptp(columns)), int(np.ptp(rows))

    small, large, bare = words(), words(letters=20), words(named=False)
    assert large[1] > 1.5 * small[1]
    assert bare[0] < small[0]


def test_playbacks_beside_each_other_wait_for_the_longest(tmp_path) -> None:
    plain = [Image.new("RGB", (30, 20), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    save_wall([plain, plain[:1], iter(plain[1:])], tmp_path / "wall.gif", columns=2, fps=10)
    image = Image.open(tmp_path / "wall.gif")
    assert (image.size, image.n_frames) == ((60 + GUTTER, 40 + GUTTER), 3)
    shown = []
    for step in range(3):
        image.seek(step)
        picture = image.convert("RGB")
        shown.append([picture.getpixel(place) for place in ((1, 1), (32 + GUTTER, 1), (1, 22 + GUTTER))])
    red, green, blue = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    wanted = [[red, red, green], [green, red, blue], [blue, red, blue]]
    assert np.abs(np.array(shown) - wanted).max() < 10
    with pytest.raises(ValueError, match=r"found \[3, 0\]"):
        save_wall([plain, []], tmp_path / "none.gif", columns=2, fps=10)


def test_the_telling_scene_was_safe_until_attacked() -> None:
    made = rows()
    assert telling_scene(made) == "3", "nobody was hit: the one that came furthest"
    for record in made:
        if record["step"] == 200 and record["stage"] == "adversarial" and record["scene"] in ("0", "1"):
            record["opponent_hit"] = True
        if record["step"] == 200 and record["stage"] == "normal" and record["scene"] == "1":
            record["collision"] = 1.0
    assert telling_scene(made) == "0"
    assert telling_scene([]) is None
