"""Everything that draws candidates hands them over in one form, whose fields cannot be swapped."""

import numpy as np
import pytest

from adversaries.common.candidates import Drawn, draw_candidates
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.experts import Experts
from adversaries.sage.sampled import SampledExperts, SampledSageAdversary
from adversaries.sage.steering import preference_vectors
from harness.interfaces import AttackContext
from tests.scenes import straight_road
from tests.unit.adversaries.fakes import FixedPrior, context, line
from tests.unit.adversaries.sage.toys import ToyBackbone, small_network, small_prior

NUM = 3


def from_prior(attack: AttackContext) -> Drawn:
    futures = np.stack([line(20, 3.5, 0.0, speed) for speed in (5.0, 10.0, 15.0)])
    return draw_candidates(FixedPrior(futures, [-1.0, -2.0, -3.0]), attack, NUM, "nms")


def from_goals(attack: AttackContext) -> Drawn:
    experts = Experts(small_prior(0), small_network(1), small_network(2), {})
    return SageAdversary(experts, candidates=NUM)._draw(attack, 0.5)


def from_tokens(attack: AttackContext) -> Drawn:
    backbone = ToyBackbone()
    vectors = preference_vectors(backbone.module, backbone.module, backbone.module)
    return SampledSageAdversary(SampledExperts(backbone, vectors, {}), candidates=NUM)._draw(attack, 0.5)


@pytest.mark.parametrize("draw", [from_prior, from_goals, from_tokens])
def test_every_field_holds_what_it_is_named_after(draw) -> None:
    attack = context(straight_road(opponent_from=5))
    drawn = draw(attack)
    steps = attack.scenario.num_steps
    assert drawn.states.shape == (NUM, steps, 5)
    assert (drawn.valid.shape, drawn.valid.dtype) == ((steps,), np.bool_)
    assert (drawn.log_prob.shape, drawn.log_prob.dtype) == ((NUM,), np.float64)
    assert drawn.valid[attack.step + 1 :].any()
    assert (drawn.log_prob < 0).all()


def test_fields_are_given_and_read_by_name() -> None:
    states, valid, log_prob = np.zeros((NUM, 91, 5)), np.zeros(91, dtype=bool), np.zeros(NUM)
    with pytest.raises(TypeError):
        Drawn(states, log_prob, valid)
    with pytest.raises(TypeError):
        _, _, _ = Drawn(states=states, valid=valid, log_prob=log_prob)
