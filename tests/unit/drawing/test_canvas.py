"""What is drawn where: the window, the two canvases, the road, boxes and tracks."""

from __future__ import annotations

import numpy as np
import pytest

from harness.drawing.axes import AxesCanvas
from harness.drawing.canvas import (
    MARGIN,
    SMALLEST,
    Extent,
    PixelCanvas,
    colour_of,
    draw_box,
    draw_map,
    layer_of,
    pieces,
)
from harness.drawing.figure import new_figure
from harness.drawing.live import draw_view
from harness.drawing.palette import LIGHT, blend, rgb
from harness.interfaces import AttackPlan, EgoView
from scenarios.scenario import MapFeature
from tests.scenes import straight_road


def window(half: float = 25.0) -> Extent:
    return Extent(np.array([10.0, 0.0]), np.array([half, half]))


def test_the_window_is_square_and_never_small():
    found = Extent.around(np.array([[0.0, 0.0], [200.0, 40.0], [np.nan, np.nan]]))
    assert found.centre.tolist() == [100.0, 20.0]
    assert found.half.tolist() == [100.0 + MARGIN] * 2
    assert Extent.around(np.zeros((1, 2))).half.tolist() == [SMALLEST / 2] * 2


def test_a_pixel_is_where_the_world_has_it():
    canvas = PixelCanvas(window(), 4.0)
    assert canvas.image.size == (200, 200)
    assert canvas.pixels(np.array([[10.0, 0.0], [-15.0, 25.0]])) == [(100.0, 100.0), (0.0, 0.0)]
    canvas.lines([np.array([[0.0, 0.0], [20.0, 0.0]])], LIGHT.ego, 1.0)
    assert canvas.image.getpixel((100, 100)) == rgb(LIGHT.ego)
    canvas.lines([np.array([[0.0, 0.0], [20.0, 0.0]])], LIGHT.ego, 1.0, alpha=0.5)
    assert canvas.image.getpixel((100, 100)) == blend(LIGHT.ego, LIGHT.lane, 0.5)
    part = canvas.part(Extent(np.array([10.0, 0.0]), np.array([5.0, 5.0])))
    assert part.image.size == (40, 40)
    assert part.image.getpixel((20, 20)) == canvas.image.getpixel((100, 100))


def test_the_front_of_a_box_has_a_notch():
    canvas = PixelCanvas(window(), 8.0)
    draw_box(canvas, np.array([10.0, 0.0, np.pi / 2]), (8.0, 4.0), LIGHT.opponent)

    def at(x: float, y: float) -> tuple[int, ...]:
        return canvas.image.getpixel(tuple(round(value) for value in canvas.pixels(np.array([[x, y]]))[0]))

    assert at(10.0, 0.0) == at(10.0, -2.5) == rgb(LIGHT.opponent)
    assert at(10.0, 2.2) == blend(LIGHT.halo, LIGHT.lane, 0.8)


def test_the_road_lies_under_everything():
    scene = straight_road()
    canvas = PixelCanvas(window(), 8.0)
    draw_map(canvas, scene)
    colours = {colour for _, colour in canvas.image.getcolors(1 << 20)}
    assert {rgb(LIGHT.lane), rgb(LIGHT.edge), rgb(LIGHT.ground)} <= colours
    assert rgb(LIGHT.lane_centre) not in colours
    draw_map(canvas, scene, centres=True)
    assert rgb(LIGHT.lane_centre) in {colour for _, colour in canvas.image.getcolors(1 << 20)}


@pytest.mark.parametrize(
    ("kind", "closed", "layer"),
    [
        ("ROAD_EDGE_BOUNDARY", True, "edge"),
        ("ROAD_EDGE_MEDIAN", False, "median"),
        ("CROSSWALK", True, "area"),
        ("LANE_SURFACE_STREET", False, "lane"),
        ("LANE_BIKE_LANE", False, "bike"),
        ("ROAD_LINE_BROKEN_SINGLE_WHITE", False, "line"),
        ("STOP_SIGN", False, None),
    ],
)
def test_features_belong_to_layers(kind: str, closed: bool, layer: str | None):
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert layer_of(MapFeature(id="1", type=kind, points=square, closed=closed)) == layer


def test_no_line_bridges_a_gap():
    track = np.stack([np.arange(7.0), np.zeros(7)], 1)
    valid = np.array([True, True, False, True, False, True, True])
    assert [part[:, 0].tolist() for part in pieces(track, valid)] == [[0.0, 1.0], [5.0, 6.0]]
    assert pieces(track, np.zeros(7, bool)) == []


def test_axes_are_to_scale_and_later_strokes_lie_higher():
    figure = new_figure(4.0, 4.0)
    canvas = AxesCanvas(figure, window(), np.array([10.0, -5.0]))
    assert canvas.axis.get_xlim() == (-25.0, 25.0)
    assert canvas.axis.get_ylim() == (-20.0, 30.0)
    assert canvas.axis.get_xlabel() == "east of (10, -5) (m)"
    line = np.array([[10.0, 0.0], [20.0, 0.0]])
    canvas.lines([line], LIGHT.ego, 1.0)
    canvas.areas([line], LIGHT.ego)
    low, high = canvas.axis.collections
    assert low.get_zorder() < high.get_zorder()
    assert low.get_segments()[0].tolist() == [[0.0, 5.0], [10.0, 5.0]]


def test_everybody_has_their_colour():
    scene = straight_road()
    assert colour_of(scene, scene.ego) == LIGHT.ego
    assert scene.opponent is not None
    assert colour_of(scene, scene.opponent) == LIGHT.opponent


def test_the_present_moment_shows_ego_opponent_and_plan():
    scene = straight_road()
    assert scene.opponent is not None
    states = np.stack([scene.states(agent)[0] for agent in (scene.ego, scene.opponent)])
    view = EgoView(
        **{
            **dict.fromkeys(EgoView.__dataclass_fields__),
            "ego": states[0],
            "ego_size": (4.5, 2.0),
            "agents": states[1:],
            "agent_sizes": np.array([[4.5, 2.0]]),
            "route": scene.states(scene.ego)[:, :2],
        }
    )
    plan = AttackPlan(scene.states(scene.opponent), np.ones(91, bool))
    picture = draw_view(scene, view, plan, states[1], size=(300, 400), metres=60.0)
    assert picture.shape == (300, 400, 3)
    assert tuple(picture[150, 200]) == rgb(LIGHT.ego)
    colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert rgb(LIGHT.opponent) in colours
    assert blend(LIGHT.opponent, LIGHT.lane, 0.75) in colours
    assert rgb(LIGHT.vehicle) not in {tuple(c) for c in draw_view(scene, view, plan, states[1]).reshape(-1, 3).tolist()}
