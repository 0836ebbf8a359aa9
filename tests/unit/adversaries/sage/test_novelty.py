"""Spreading attacks over kinds of encounter, scene by scene."""

from dataclasses import replace

import numpy as np
import pytest

from adversaries.common.candidates import Drawn
from adversaries.common.plans import distinct_futures
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.experts import Experts
from adversaries.sage.novelty import bonus, kinds_met, liking
from harness.checks import check_adversary
from harness.errors import ConfigError
from harness.interfaces import Trajectory
from harness.metrics.encounter_kinds import KINDS
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.fakes import context, line, log_of
from tests.unit.adversaries.sage.toys import four_ways, small_network, small_prior

LATER = np.arange(91) > 10


def sage(**options) -> SageAdversary:
    return SageAdversary(Experts(small_prior(0), small_network(1), small_network(2), {}), **options)


def test_the_latest_drive_that_is_met_decides() -> None:
    scene = straight_road()
    standing = Trajectory(line(2, 0, 0, 0), np.ones(91, bool))
    # Parked ahead: only the driving ego meets it. From behind: only the standing one is met. Beside: nobody.
    states = np.stack([line(30, 0, 0, 0), line(-30, 0, 0, 4), line(20, 3.5, 0, 10)])
    drawn = Drawn(states=states, valid=LATER, log_prob=np.zeros(3), size=(4.5, 2.0))
    case = context(scene, [standing, log_of(scene, 0)])
    found = kinds_met(case, drawn, distinct_futures(case))
    assert [KINDS[kind] if kind >= 0 else "" for kind in found] == ["same way, front", "same way, rear", ""]
    # Where the parked one meets both, the newer counts: here an ego that stands there and looks back.
    facing = Trajectory(line(30, 0.5, np.pi, 0), np.ones(91, bool))
    for drives, kind in (
        ((facing, log_of(scene, 0)), "same way, front"),
        ((log_of(scene, 0), facing), "opposite way, left"),
    ):
        both = context(scene, drives)
        assert KINDS[kinds_met(both, drawn, distinct_futures(both))[0]] == kind
    liked = bonus(case, found)
    assert liked[2] == 0
    assert liked[0] != liked[1]


def test_every_scene_has_an_order_of_its_own_and_keeps_it() -> None:
    case = context(straight_road())
    first = liking(case)
    np.testing.assert_allclose(np.sort(first), np.arange(16) / 15)
    np.testing.assert_array_equal(liking(context(straight_road())), first)
    assert not np.array_equal(liking(case), first)  # the generator has moved on: another episode
    assert not np.array_equal(liking(context(straight_road(scene_id="other"))), first)


def test_hits_stay_hits_and_the_natural_end_stays_as_it_is(monkeypatch) -> None:
    monkeypatch.setattr(SageAdversary, "_draw", four_ways)
    plain, spread = sage(), sage(novelty=20.0)
    chosen = []
    for number in range(6):
        case = context(straight_road(scene_id=f"scene {number}", edges=False))
        hard, calm = (
            [adversary.plan(replace(case, intensity=intensity)) for adversary in (plain, spread)]
            for intensity in (1.0, 0.0)
        )
        # The first contact pays most. The others are hits, too, and the last meets nobody.
        assert hard[0].chosen == 0
        assert hard[1].info["expects_contact"]
        assert calm[0].chosen == calm[1].chosen
        chosen.append(hard[1].chosen)
    assert set(chosen) <= {0, 1, 2, 3}
    assert len(set(chosen)) > 1


def test_it_keeps_the_contract_and_says_what_cannot_work() -> None:
    check_adversary(sage(novelty=2.0), [straight_road(), crossing()])
    for wrong in ({"novelty": -1.0}, {"novelty": float("nan")}, {"novelty": 1.0, "protocol": "as-published"}):
        with pytest.raises(ConfigError, match="novelty"):
            sage(**wrong)
