"""What tests of the landscape and of the theory share."""

import pytest

from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import build_bank
from adversaries.sage.experts import Experts
from adversaries.sage.landscape import Probe
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.sage.toys import small_network, small_prior


@pytest.fixture(scope="module")
def probe() -> Probe:
    """Three untrained networks as prior and experts, over three scenes."""
    experts = Experts(small_prior(0), small_network(1), small_network(2), {})
    scenes = [straight_road(scene_id="a"), crossing(scene_id="b"), crossing(opponent_delay=0.5, scene_id="c")]
    return Probe(experts, build_bank(scenes, GoalBackbone(experts.prior)))
