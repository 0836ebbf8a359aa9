"""Kinds of encounter and their entropy, by hand."""

import numpy as np
import pytest

from harness.metrics.encounter_kinds import KINDS, coverage, encounter_kinds

CAR = (4.5, 2.0)


@pytest.mark.parametrize(
    ("x", "y", "heading", "kind"),
    [
        (4.4, 0.5, 0.0, "same way, front"),
        (-4.4, 0.5, 0.1, "same way, rear"),
        (0.5, 1.9, -0.2, "same way, left"),
        (4.4, -0.5, np.pi, "opposite way, front"),
        (1.0, -1.9, 3.0, "opposite way, right"),
        # Heading to the ego's left, so from the right, and into its right flank; or across its bow.
        (0.5, -3.1, np.pi / 2, "from the right, right"),
        (3.2, -0.5, np.pi / 2, "from the right, front"),
        (-0.5, 3.1, -np.pi / 2, "from the left, left"),
        (-3.2, 0.5, -np.pi / 2, "from the left, rear"),
    ],
)
def test_whence_and_which_side(x, y, heading, kind) -> None:
    poses = np.array([[x, y, heading]])
    assert KINDS[encounter_kinds(poses, CAR, np.zeros((1, 3)), CAR)[0]] == kind
    # The same pair elsewhere, turned by 2 rad.
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]])
    moved = np.array([[*(turn @ [x, y] + [7.0, -3.0]), heading + 2.0]])
    assert KINDS[encounter_kinds(moved, CAR, np.array([[7.0, -3.0, 2.0]]), CAR)[0]] == kind


def test_entropy_of_what_was_met() -> None:
    assert coverage([3, 3, -1, 3])[0] == 0.0
    assert coverage([0, 1, 2, 3, -1, -1])[0] == pytest.approx(2.0)
    # ¾ and ¼.
    assert coverage([5, 5, 5, 6])[0] == pytest.approx(0.75 * np.log2(4 / 3) + 0.25 * 2)
    assert coverage(list(range(16))).mean == pytest.approx(4.0)
    value, low, high = coverage([0, 0, 0, 1] * 10)
    assert low < value < high
    assert np.isnan(coverage([-1, -1])).all()
    assert encounter_kinds(np.zeros((0, 3)), CAR, np.zeros((0, 3)), CAR).shape == (0,)
