"""Hand-computed boxes, gaps and foot points."""

import numpy as np
import pytest

from harness.geometry import (
    box_corners,
    box_separation,
    boxes_overlap,
    from_frame,
    interpolate_polyline,
    project_to_polyline,
    segments_cross_boxes,
    to_frame,
    wrap_angle,
)

CAR = np.array([4.0, 2.0])


def poses(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array(rows, dtype=float)


def test_a_turned_box_turns_counter_clockwise() -> None:
    # SAGE's code turned boxes by minus the yaw: its front-left corner would be at (2.2346, -0.0812).
    corners = box_corners(poses((0.0, 0.0, 0.5)), CAR)[0]
    cos, sin = 0.8775825619, 0.4794255386
    expected = [
        (2 * cos - sin, 2 * sin + cos),
        (-2 * cos - sin, -2 * sin + cos),
        (-2 * cos + sin, -2 * sin - cos),
        (2 * cos + sin, 2 * sin - cos),
    ]
    np.testing.assert_allclose(corners, expected, atol=1e-9)
    np.testing.assert_allclose(corners[0], (1.2757, 1.8364), atol=1e-4)


@pytest.mark.parametrize(
    ("other", "gap"),
    [
        pytest.param((6.0, 0.0, 0.0), 2.0, id="two metres behind"),
        pytest.param((4.0, 0.0, 0.0), 0.0, id="bumpers touch"),
        pytest.param((0.0, 3.0, 0.0), 1.0, id="side by side"),
        pytest.param((0.0, 3.0, np.pi / 2), 0.0, id="perpendicular, nose touches the side"),
        pytest.param((0.0, 3.5, np.pi / 2), 0.5, id="perpendicular, half a metre away"),
        pytest.param((3.0, 0.0, 0.0), -1.0, id="overlap by a metre"),
        pytest.param((0.5, 0.0, 0.0), -2.0, id="nearly the same place: side penetration is the least"),
    ],
)
def test_separation_of_axis_aligned_boxes(other: tuple[float, float, float], gap: float) -> None:
    found = box_separation(poses((0, 0, 0)), CAR, poses(other), CAR)
    assert found[0] == pytest.approx(gap, abs=1e-9)
    assert boxes_overlap(poses((0, 0, 0)), CAR, poses(other), CAR)[0] == (found[0] <= 0)


def test_the_direction_of_turn_decides_contact() -> None:
    # A car at (2.4, 2.4) turned by +45 degrees points its rear at the origin; turned by -45 degrees its flank.
    long = np.array([4.0, 1.0])
    base = poses((0.0, 0.0, np.pi / 4))
    assert boxes_overlap(base, long, poses((2.4, 2.4, np.pi / 4)), long)[0]
    assert not boxes_overlap(base, long, poses((2.4, 2.4, -np.pi / 4)), long)[0]


def test_containment_counts_as_overlap() -> None:
    assert boxes_overlap(poses((0, 0, 0)), np.array([10.0, 10.0]), poses((1, 1, 0.7)), np.array([1.0, 1.0]))[0]


def test_overlap_agrees_with_polygons_on_random_boxes() -> None:
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(0)
    a = np.column_stack([rng.uniform(-4, 4, (500, 2)), rng.uniform(-7, 7, 500)])
    b = np.column_stack([rng.uniform(-4, 4, (500, 2)), rng.uniform(-7, 7, 500)])
    sizes = rng.uniform(0.5, 5, (2, 500, 2))
    found = boxes_overlap(a, sizes[0], b, sizes[1])
    expected = shapely.intersects(
        shapely.polygons(box_corners(a, sizes[0])), shapely.polygons(box_corners(b, sizes[1]))
    )
    assert 50 < expected.sum() < 450
    np.testing.assert_array_equal(found, expected)


def test_separation_never_exceeds_the_true_distance() -> None:
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(1)
    a = np.column_stack([rng.uniform(-8, 8, (300, 2)), rng.uniform(-7, 7, 300)])
    b = np.column_stack([rng.uniform(-8, 8, (300, 2)), rng.uniform(-7, 7, 300)])
    found = box_separation(a, CAR, b, CAR)
    true = shapely.distance(shapely.polygons(box_corners(a, CAR)), shapely.polygons(box_corners(b, CAR)))
    assert (np.maximum(found, 0) <= true + 1e-9).all()


def test_frames_are_inverse_and_turn_the_heading_to_x() -> None:
    pose = poses((3.0, 4.0, 0.5))
    ahead = np.array([[3.0 + 2 * np.cos(0.5), 4.0 + 2 * np.sin(0.5)]])
    np.testing.assert_allclose(to_frame(ahead, pose), [[2.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(from_frame(to_frame(ahead, pose), pose), ahead, atol=1e-12)


@pytest.mark.parametrize(("angle", "wrapped"), [(np.pi, -np.pi), (3.5, 3.5 - 2 * np.pi), (-7.0, -7.0 + 2 * np.pi)])
def test_angles_wrap(angle: float, wrapped: float) -> None:
    assert wrap_angle(np.array(angle)) == pytest.approx(wrapped)


@pytest.mark.parametrize(
    ("start", "end", "hit"),
    [
        pytest.param((-5, 0), (5, 0), True, id="through"),
        pytest.param((-1, 0), (1, 0), True, id="inside"),
        pytest.param((-5, 1.1), (5, 1.1), False, id="beside"),
        pytest.param((3, -3), (3, 3), False, id="ahead"),
        pytest.param((5, 0), (9, 0), False, id="in line, short of it"),
        pytest.param((-2, 1), (2, 1), True, id="along the face"),
    ],
)
def test_segments_against_a_box(start: tuple[float, float], end: tuple[float, float], hit: bool) -> None:
    found = segments_cross_boxes(np.array([start], float), np.array([end], float), poses((0, 0, 0)), CAR)
    assert found[0] == hit


def test_projection_on_a_bend() -> None:
    line = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    along, lateral, segment = project_to_polyline(np.array([[4.0, 1.0], [12.0, 5.0], [-3.0, 0.0]]), line)
    np.testing.assert_allclose(along, [4.0, 15.0, 0.0])
    np.testing.assert_allclose(lateral, [1.0, -2.0, 3.0])
    np.testing.assert_array_equal(segment, [0, 1, 0])
    points, headings = interpolate_polyline(line, np.array([4.0, 15.0, 99.0]))
    np.testing.assert_allclose(points, [[4, 0], [10, 5], [10, 10]])
    np.testing.assert_allclose(headings, [0, np.pi / 2, np.pi / 2])
