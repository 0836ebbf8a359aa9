"""The rule-based attack on real scenes (their folder is named by GAUNTLET_WOMD)."""

import os

import numpy as np
import pytest

from adversaries.rule import RuleAdversary
from harness.attacks.open_loop import attack_logged
from harness.episodes.attacks import attack_context
from harness.episodes.protocol import protocol_of
from scenarios import ScenarioSource, open_source

pytestmark = [
    pytest.mark.womd,
    pytest.mark.skipif("GAUNTLET_WOMD" not in os.environ, reason="GAUNTLET_WOMD names no folder of WOMD scenes"),
]


@pytest.fixture(scope="module")
def scenes() -> ScenarioSource:
    return open_source(os.environ["GAUNTLET_WOMD"], split="test")


@pytest.mark.parametrize("protocol", ["corrected", "as-published"])
def test_rule_always_succeeds_against_the_log(scenes: ScenarioSource, protocol) -> None:
    # CAT and SAGE report 100 % as well.
    rule, contacts = RuleAdversary(protocol), 0
    for index in range(len(scenes)):
        record, _ = attack_logged(rule, scenes[index], protocol_of(protocol))
        assert record.error == ""
        contacts += record.contact_step > 10
    assert contacts == len(scenes) == 69


def test_late_opponents_are_not_placed_before_they_appear(scenes: ScenarioSource) -> None:
    late = 0
    for index in range(len(scenes)):
        context = attack_context(scenes[index], np.random.default_rng(0))
        logged = scenes[index].valid[context.opponent]
        plan = RuleAdversary().plan(context)
        np.testing.assert_array_equal(plan.valid[:11], logged[:11])
        assert plan.valid[11:].all()
        late += not logged[0]
    assert late >= 3  # scenes 310, 316, 349 and 360 of CAT's folder, as far as the split keeps them
