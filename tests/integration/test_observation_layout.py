"""The documented table of an observation: it is the code's, and the engine's numbers are what it says."""

from pathlib import Path

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.engine.config import SENSORS
from harness.engine.layout import layout_table, observation_layout
from tests.scenes import LANE_WIDTH, Agent, straight_road
from tests.sources import ListSource

PAGE = Path(__file__).resolve().parents[2] / "docs" / "test_a_policy.md"


@pytest.fixture(scope="module")
def env():
    """The ego at 0 with 10 m/s; the opponent 20 m ahead in the left lane with 12 m/s; somebody 30 m ahead with 5."""
    scene = straight_road(opponent_speed=12.0, extra=[Agent("ahead", 30.0, 0.0, speed=5.0)])
    made = GauntletEnv(ListSource([scene]), EngineConfig())
    yield made
    made.close()


def test_the_page_has_the_table_of_the_code_and_parts_cover_every_number():
    assert "\n".join(layout_table(SENSORS["cat"])) in PAGE.read_text(), "print layout_table into the page"
    for name in ("cat", "metadrive"):
        parts = observation_layout(SENSORS[name])
        ends = [part.first + part.size for part in parts]
        assert [part.first for part in parts] == [0, *ends[:-1]]
        assert ends[-1] == SENSORS[name].size
    assert observation_layout(SENSORS["route"]) == observation_layout(SENSORS["none"]) == []


def test_numbers_at_the_start_are_those_of_the_table(env):
    seen, _ = env.reset(options={"scenario": 0})
    # The right road edge is 2 m to the right, which is half of the 30 rays after the left; the left one 5.5 m away.
    assert seen[[0, 15]] * 50 == pytest.approx([5.5, 2.0], abs=0.05), "lines have a width"
    assert seen[30:36] == pytest.approx([0.5, 37 / 81, 0.5, 0.5, 0.5, 0.0], abs=1e-3)
    assert seen[48:66:2] == pytest.approx(seen[49:66:2])
    assert (np.diff(seen[48:66:2]) >= 0).all(), "way points lie further and further ahead"
    assert seen[66:70] == pytest.approx([0.5, 0.5, 0.0, 0.0], abs=1e-3)
    # 20 m ahead, a lane to the left, 2 m/s faster; then 30 m ahead, 5 m/s slower; and nobody else.
    first = [(20 / 50 + 1) / 2, (LANE_WIDTH / 50 + 1) / 2, (7.2 / 80 + 1) / 2, 0.5]
    second = [(30 / 50 + 1) / 2, 0.5, (-18 / 80 + 1) / 2, 0.5]
    assert seen[70:82] == pytest.approx([*first, *second, 0, 0, 0, 0], abs=1e-3)
    # Half of a car of 4.5 m away from its centre.
    assert seen[82] * 50 == pytest.approx(30 - 2.25, abs=0.3)


def test_signs_are_those_of_the_table(env):
    env.reset(options={"scenario": 0})
    for _ in range(8):
        seen, *_ = env.step(np.array([0.2, 0.5]))
    assert seen[32:35] == pytest.approx([(0.2 / 60 + 1) / 2, 0.6, 0.75], abs=1e-5)
    turned = env.view().ego[2]
    assert turned > 0.05, "to the left"
    assert seen[30] == pytest.approx((1 - np.sin(turned)) / 2, abs=0.01)
    assert seen[66] == pytest.approx((1 - env.view().ego[1] / 4) / 2, abs=0.01)
    assert seen[67] == pytest.approx((1 - turned / np.pi) / 2, abs=0.01)
    assert 0 < seen[35] <= 1
