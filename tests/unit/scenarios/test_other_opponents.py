"""Pedestrians and cyclists as opponents: who is chosen, what is left out, and what is known of it."""

from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ConfigError
from scenarios.filters import reject_reason
from scenarios.indexing.facts import scene_facts
from scenarios.opponents import TOP_SPEED, effort, select_opponent
from scenarios.other_opponents import WithOpponents
from scenarios.scenario import Kind
from scenarios.selection import fit_scenes, left_out
from tests.scenes import Agent, kerbside, straight_road
from tests.sources import ListSource

WALKS = TOP_SPEED[Kind.PEDESTRIAN]


def person(name, x, y, kind=Kind.PEDESTRIAN, **more):
    return Agent(name, x, y, np.pi / 2, 0.0, kind, (0.8, 0.8, 1.75), **more)


def test_effort_is_the_share_of_the_top_speed_that_is_needed():
    # The ego drives along y = 0 at 10 m/s, 8 s more from x = 10 on: it is at x = 90 at the end. From (90, -10.5), 8 m
    # lead to within 2.5 m of it in 8 s.
    scene = straight_road(with_opponent=False, extra=[person("late", 90.0, -10.5), person("far", 50.0, -100.0)])
    needed = effort(scene, np.array([1, 2]))
    assert needed[0] == pytest.approx(1.0 / WALKS, rel=0.02)
    assert needed[1] > 1
    assert effort(scene, np.array([1]))[0] <= 1.0 / WALKS
    gone = replace(scene, valid=np.where(np.arange(91) > 10, False, scene.valid) & scene.valid)
    assert np.isinf(effort(gone, np.array([1]))[0])


def test_who_needs_the_least_of_its_own_speed_is_chosen():
    near, cyclist = person("near", 50.0, -6.0), person("cyclist", 50.0, -9.0, Kind.CYCLIST)
    scene = straight_road(extra=[near, cyclist, person("far", 50.0, -300.0)])
    # 3.5 m at 2.5 m/s take longer than 6.5 m at 8.3 m/s.
    assert scene.agent_ids[select_opponent(scene, "vulnerable")] == "cyclist"
    assert scene.agent_ids[select_opponent(scene, "pedestrian")] == "near"
    assert scene.agent_ids[select_opponent(scene, "cyclist")] == "cyclist"
    assert scene.agent_ids[select_opponent(scene, "vehicle")] == "opponent"


@pytest.mark.parametrize(
    "who",
    [
        person("brief", 50.0, -6.0, last=39),
        person("late", 50.0, -6.0, first=11),
        person("far", 50.0, -60.0),
        person("cyclist", 50.0, -6.0, Kind.CYCLIST),
    ],
)
def test_nobody_is_chosen_who_is_not_there_or_cannot_come(who):
    assert select_opponent(straight_road(extra=[who]), "pedestrian") is None
    assert (
        select_opponent(
            straight_road(extra=[replace(who, kind=Kind.PEDESTRIAN, last=40, first=10, y=-6.0)]), "pedestrian"
        )
        == 2
    )


def test_a_source_with_other_opponents():
    marked = straight_road(extra=[person("walker", 50.0, -6.0)])
    scenes = [marked, straight_road(scene_id="cars only"), kerbside(y=-60.0, scene_id="too far")]
    source = WithOpponents(ListSource(scenes), "vulnerable")
    assert source.ids == ("straight_road", "cars only", "too far")
    assert [scene.opponent for scene in source] == [2, None, None]
    facts = list(scene_facts(source))
    assert [known.opponent for known in facts] == ["walker", None, None]
    fit = fit_scenes(source)
    assert fit.ids == ("straight_road",)
    assert fit[0].opponent == 2
    reasons = {item.scene: item.reason for item in left_out(fit)}
    assert reasons == {"cars only": "no opponent: nobody here is a cyclist or pedestrian", "too far": "no opponent"}
    with pytest.raises(ConfigError, match="expected one of vehicle, pedestrian, cyclist, vulnerable"):
        WithOpponents(ListSource(scenes), "bus")


def test_road_edges_do_not_bind_people():
    assert reject_reason(kerbside(y=-2.0)) is None
    car = kerbside(y=-2.0)
    assert "road boundary" in reject_reason(replace(car, kinds=np.zeros(2, np.int8)))
