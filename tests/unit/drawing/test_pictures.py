"""Figures: written whole, with every series, and with a legend that covers nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from harness.drawing.attacks import AFTER, REACH, _nearest, _window, draw_attack
from harness.drawing.canvas import MARGIN
from harness.drawing.curves import Panel, Series, draw_experts, draw_panel, draw_panels, draw_traffic_training
from harness.drawing.figure import DPI, legend_below, new_figure, panels, save_figure
from harness.drawing.palette import LIGHT, rgb, series_colour
from harness.drawing.sage import draw_analysis
from harness.drawing.scenes import draw_scenario
from harness.errors import AdversaryError, RunError
from harness.interfaces import AttackPlan, Trajectory
from scenarios.scenario import CURRENT_STEP, Kind
from tests.scenes import Agent, straight_road


def colours(path) -> set[tuple[int, ...]]:
    return {colour for _, colour in Image.open(path).convert("RGB").getcolors(1 << 22)}


def test_a_figure_is_whole_or_not_there(tmp_path, monkeypatch):
    figure = new_figure(2.0, 1.0)
    path = save_figure(figure, tmp_path / "new" / "a.png")
    assert Image.open(path).size == (2 * DPI, DPI)
    before = path.read_bytes()

    def fail(beside, **_):
        beside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(RunError, match="disk is full"):
        save_figure(figure, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError):
        save_figure(figure, tmp_path / "file" / "b.png")


def test_a_panel_shows_series_interval_and_reference():
    figure, (axis,) = panels(1, 1, width=4.0, height=3.0)
    curves = [
        Series([0, 1], [1.0, 2.0], "first", 0, [0.5, 1.5], [1.5, 2.5]),
        Series([0, 1], [2.0, 1.0], "second", 1, style="--", marker=""),
        Series([], [], "empty", 2),
    ]
    draw_panel(axis, Panel("epoch", "loss", curves, title="T", references={1.2: "base"}, limits=(0, None)))
    assert [line.get_label() for line in axis.lines] == ["first", "second", "base"]
    assert [line.get_color() for line in axis.lines[:2]] == [series_colour(0), series_colour(1)]
    assert [line.get_linestyle() for line in axis.lines] == ["-", "--", ":"]
    assert len(axis.collections) == 1
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_title()) == ("epoch", "loss", "T")
    assert axis.get_ylim()[0] == 0
    figure.canvas.draw()
    legend, axes = axis.get_legend().get_window_extent(), axis.get_window_extent()
    assert legend.y1 < axes.y0, "the legend covers the data"
    assert legend.y0 > 0, "the legend is cut"
    assert axis.title.get_window_extent().y1 <= figure.bbox.y1


def test_no_legend_without_labels():
    _, (axis,) = panels(1, 1, width=2.0, height=2.0)
    legend_below(axis)
    assert axis.get_legend() is None


def test_panels_stand_in_rows(tmp_path):
    panel = Panel("x", "y", [Series([0, 1], [0, 1], "a")])
    draw_panels(tmp_path / "p.png", [panel] * 4, width=2.0, height=2.0, title="All")
    assert Image.open(tmp_path / "p.png").size == (6 * DPI, 4 * DPI)


def test_training_curves_are_pictures(tmp_path):
    rows = [{"epoch": epoch, "loss": 1.0 / (1 + epoch), "val": 0.5} for epoch in range(3)]
    draw_traffic_training({"bc": rows, "catk": rows}, tmp_path / "traffic.png")
    draw_traffic_training({}, tmp_path / "none.png")
    keys = ("feasible", "adversarial", "realism", "chosen_reward", "success", "top_feasible", "expected_feasible")
    part = dict.fromkeys(keys, 0.4)
    history = [{"epoch": 0, "loss": None, "train": part, "held_out": part}, {"epoch": 1, "loss": 0.7, "train": part}]
    draw_experts({"adv": history, "real": history}, tmp_path / "experts.png")
    assert {rgb(series_colour(0)), rgb(series_colour(1))} <= colours(tmp_path / "experts.png")


def test_sage_pictures(tmp_path):
    keys = ("adversarial", "realism", "success", "off_road", "contact", "acceleration", "speed", "yaw_rate")
    rows = [{"intensity": place, **{key: [0.5, 0.4, 0.6] for key in keys}} for place in (0.0, 0.5, 1.0)]
    path = [{"intensity": place, "norm": 1.0, "cosine_adv": place} for place in (0.0, 1.0)]
    plane = {"reference": (0, 0), "vector 0": (1, 0), "vector 0.5": (1, 1), "vector 2": (2, 2), "direct 2": (3, 3)}
    straight = {"measured": [0, 1], "line": [0, 1]}
    line = {"intensities": [0, 1], **dict.fromkeys(("adv", "even", "real"), straight)}
    line |= {kind: {"adv": straight, "real": straight} for kind in ("losses", "own_losses")}
    ends = {"equal": 0.1, "matched": 0.0, "best": 0.5}
    point = {"phi_adv": 1.0, "phi_real": 0.0, "adversarial": 2.0, "realism": 1.0}
    front = {"interpolated": [point], "extrapolated": [point, point]}
    by_mixing = {name: rows for name in ("weights", "logits", "trajectories")}
    grid = np.arange(9.0).reshape(3, 3).tolist()
    result = {
        "fronts": by_mixing,
        "candidates": [{"candidates": count, "fronts": by_mixing} for count in (1, 32)],
        "samples": {"weights": rows, "logits": rows},
        "parts": {"whole": rows, "goals": rows},
        "completions": {"goals": rows, "whole": rows},
        "beyond": {"group": front, "choice": front},
        "theory": {
            "coefficients": [{"preference": mu, "matched": mu, "group": ends, "choice": ends} for mu in (0.0, 1.0)],
            "gaps": {"rows": [{"measured": 0.1, "theorem_2": float("nan")}] * 2},
            "proposition": {"0.5": [{"intensity": 0.5, "difference": 1.0, "predicted": 2.0}]},
        },
        "vectors": {"plane": plane, "angle_degrees": 60.0, "path": path},
        "landscape": {"axis": [-0.5, 0.5, 1.5], "adversarial": grid, "realism": [[0.0] * 3] * 3, "loss": grid},
        "linearity": line,
        "extrapolation": {"vector": rows, "direct": rows},
    }
    draw_analysis(result, tmp_path)
    names = {"fronts", "vectors", "landscape", "extrapolation", "theory", "mixing"}
    assert {path.stem for path in tmp_path.iterdir()} == names
    # Reward and loss, one above the other.
    assert Image.open(tmp_path / "landscape.png").size[1] > Image.open(tmp_path / "vectors.png").size[1]


def test_an_attack_shows_ego_attack_and_candidates(tmp_path):
    scene = straight_road()
    assert scene.opponent is not None
    ego = Trajectory(scene.states(scene.ego), scene.valid[scene.ego])
    candidate = scene.states(scene.opponent).copy()
    candidate[:, 1] += 2.0
    plan = AttackPlan(scene.states(scene.opponent), np.ones(91, bool), candidates=candidate[None], chosen=0)
    path = draw_attack(scene, plan, ego, tmp_path / "pictures" / "a.png", contact_step=20)
    assert {rgb(LIGHT.ego), rgb(LIGHT.opponent), rgb(LIGHT.candidate)} <= colours(path)
    alone = draw_attack(scene, None, ego, tmp_path / "b.png")
    assert rgb(LIGHT.candidate) not in colours(alone)
    scene = straight_road()
    object.__setattr__(scene, "opponent", None)
    with pytest.raises(AdversaryError, match="no opponent"):
        draw_attack(scene, None, ego, tmp_path / "c.png")


def test_the_ego_has_one_colour_in_every_picture(tmp_path):
    figure = draw_scenario(straight_road(), tmp_path / "s.png", title="A title")
    assert rgb(LIGHT.ego) in colours(tmp_path / "s.png")
    figure.canvas.draw()
    assert figure.axes[0].title.get_text() == "A title"
    assert figure.axes[0].title.get_window_extent().y1 <= figure.bbox.y1, "the title is cut"


def test_the_legend_names_whatever_is_in_sight():
    """And nothing else: the cyclist at 500 m is not in the picture."""
    others = [Agent("car", 20.0, 0.0), Agent("walks", 5.0, 5.0, kind=Kind.PEDESTRIAN)]
    others += [Agent("far", 500.0, 0.0, kind=Kind.CYCLIST)]
    figure = draw_scenario(straight_road(extra=others), step=0)
    legend = figure.axes[0].get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    assert names[:3] == ["ego (boxes: step 0)", "opponent", "road edge"]
    assert {"lane centre", "other vehicle", "pedestrian"} <= set(names)
    assert not {"cyclist", "median"} & set(names)


def test_an_attack_is_shown_near_its_contact():
    scene = straight_road()
    own = Trajectory(scene.states(scene.ego), scene.valid[scene.ego])  # 1 m per step
    far = Trajectory(own.states + 1000.0, own.valid)
    assert _nearest(own, far) == CURRENT_STEP
    assert _window(own, own, 60).half[0] == pytest.approx((REACH + AFTER) / 2 + MARGIN)
    assert _window(own, far, 60).half[0] > 500.0


@pytest.mark.parametrize("logarithmic", [True, "both"])
def test_logarithmic_axes_have_plain_numbers(tmp_path, logarithmic):
    """Formulas are not drawn, so that matplotlib's own labels would show their source."""
    panel = Panel("x", "y", [Series([1.0, 2000.0], [2e-5, 0.4])], logarithmic=logarithmic)
    figure, (axis,) = panels(1, 1, width=4.0, height=3.0)
    draw_panel(axis, panel)
    save_figure(figure, tmp_path / "log.png")
    labels = [text.get_text() for text in (*axis.get_yticklabels(), *axis.get_xticklabels())]
    assert not any("$" in label for label in labels)
    assert {"0.0001", "0.1"} <= set(labels)
