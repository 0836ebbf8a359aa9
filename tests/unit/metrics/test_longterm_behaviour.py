"""Behaviour in windows: features where agents come and go, against references, and what is made of them."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.metrics.longterm.behaviour import behaviour_scores, pooled_references
from harness.metrics.longterm.distributions import js_score, likelihood, masses
from harness.metrics.longterm.features import LONG_TERM_FEATURES, TrafficTrack, traffic_features, window_counts
from harness.metrics.longterm.scores import behaviour_buckets, flow_realism, rmm_f1, stability
from harness.metrics.wosac.config import CORRECTED
from harness.metrics.wosac.features import SceneFeatures
from harness.metrics.wosac.road_edges import RoadEdges
from tests.scenes import Agent
from tests.unit.metrics.test_wosac import road

STEPS = 91
START = np.array([11])


def edges() -> RoadEdges:
    x = np.arange(-100.0, 300.1, 10.0)
    right = np.stack([x, np.full_like(x, -3.5), np.zeros_like(x)], -1)
    return RoadEdges([right, right[::-1] * [1, -1, 1]])


def drive(*starts: tuple[float, float, float], steps: int = STEPS) -> TrafficTrack:
    """Cars along +x from (x, y) at a speed."""
    poses = np.zeros((len(starts), steps, 4))
    for row, (x, y, speed) in enumerate(starts):
        poses[row, :, 0] = x + speed * 0.1 * np.arange(steps)
        poses[row, :, 1] = y
    valid = np.ones(poses.shape[:2], bool)
    sizes = np.tile([4.5, 2.0, 1.5], (len(starts), 1))
    return TrafficTrack(poses, valid, sizes, np.ones(len(starts), bool), valid.copy(), edges())


def counts(track: TrafficTrack, starts: np.ndarray = START) -> dict[str, np.ndarray]:
    return window_counts(traffic_features(track), track.counted, starts, 80)


def test_features_are_those_of_the_challenge():
    scene = road(Agent("ahead", 30, 0.2, speed=7.0), Agent("beside", 12, 2.4, speed=11.0))
    official = SceneFeatures(scene, CORRECTED, (0, 1, 2), "cpu").of_log().values
    poses = np.concatenate([scene.position, scene.heading[..., None]], -1)
    valid = scene.valid
    track = TrafficTrack(poses, valid, scene.size[:, 10], np.ones(3, bool), valid, edges())
    found = traffic_features(track)
    assert list(found) == list(LONG_TERM_FEATURES)
    for name in set(official) & set(found):
        inner = official[name][0, :, :-2].numpy()
        assert found[name][:, 11:-2] == pytest.approx(inner, abs=1e-5), name


def test_nothing_is_said_of_the_steps_next_to_a_gap():
    track = drive((0.0, 0.0, 10.0))
    track.valid[0, 40:50] = False
    track.poses[0, 40:50] = np.nan
    found = traffic_features(track)
    known = {name: np.flatnonzero(np.isnan(found[name][0])) for name in found}
    assert known["linear_speed"].tolist() == [0, *range(39, 51), 90]
    assert known["linear_acceleration"].tolist() == [0, 1, *range(38, 52), 89, 90]
    assert known["distance_to_nearest_object"].tolist() == list(range(40, 50))
    assert known["distance_to_road_edge"].tolist() == list(range(40, 50))
    assert np.nanmax(np.abs(found["linear_acceleration"])) < 1e-3


def test_who_is_not_there_is_met_by_nobody():
    track = drive((0.0, 0.0, 10.0), (3.0, 0.0, 10.0))
    assert counts(track)["collision_indication"].tolist() == [[0, 2]]
    # It passes the origin, where rows of zeros lie.
    gone = drive((-40.0, 0.0, 10.0), (3.0, 0.0, 10.0))
    gone.valid[1] = gone.counted[1] = False
    found = counts(gone)
    assert found["collision_indication"].tolist() == [[1, 0]]
    assert found["linear_speed"].sum() == 79  # The last step has no speed.


def test_who_has_just_appeared_has_no_speed_and_leads_nobody():
    track = drive((0.0, 0.0, 10.0), (15.0, 0.0, 10.0), (75.0, 0.0, 0.0))
    track.valid[1, :40] = track.counted[1, :40] = False
    found = traffic_features(track)["time_to_collision"][0]
    # At step 40 it is 40 m on, and the car that stands 35 m ahead of it is 30.5 m away; then the new one leads.
    assert found[39:42] == pytest.approx([3.15, 3.05, 5.0], abs=1e-5)


def test_headings_either_side_of_west_are_alike():
    track = drive((0.0, 0.0, -10.0), (-20.0, 0.0, -5.0))
    track.poses[0, :, 3], track.poses[1, :, 3] = np.pi - 0.01, 0.01 - np.pi
    # 15.5 m between them at first, which shrink by .5 m in each step.
    assert traffic_features(track)["time_to_collision"][0, 10] == pytest.approx((15.5 - 5.0) / 5.0, abs=0.02)


def test_who_is_not_judged_can_be_met():
    track = drive((0.0, 0.0, 10.0), (3.0, 0.0, 10.0))
    track.counted[1] = False
    assert counts(track)["collision_indication"].tolist() == [[0, 1]]


def test_yes_and_no_are_counted_per_agent_and_window():
    track = drive((0.0, 0.0, 1.0), (40.0, 3.0, 0.0), steps=121)
    track.poses[0, 60:63, 1] = 3.0  # Half of its width beyond the edge, for three steps.
    found = window_counts(traffic_features(track), track.counted, np.array([0, 41, 63 - 22]), 20)
    assert found["offroad_indication"].tolist() == [[1, 1], [0, 2], [0, 2]]
    assert found["collision_indication"].tolist() == [[2, 0]] * 3


def test_without_road_edges_the_map_is_not_judged():
    track = drive((0.0, 0.0, 10.0))
    bare = TrafficTrack(track.poses, track.valid, track.sizes, track.vehicle, track.counted, None)
    found = behaviour_buckets(behaviour_scores(counts(bare), counts(bare)))
    assert np.isnan(found["map"]).all()
    assert np.isnan(found["behaviour"]).all()
    assert not np.isnan(found["kinematic"]).any()


def test_scores_by_hand():
    one = {"linear_speed": np.array([[3, 1]]), "time_to_collision": np.array([[3, 1]])}
    two = {"linear_speed": np.array([1, 3]), "time_to_collision": np.array([1, 3])}
    yes = {"collision_indication": np.array([[3, 1]])}
    found = behaviour_scores({**one, **yes}, {**two, "collision_indication": np.array([9, 1])})
    reference = masses(np.array([1, 3]))
    assert found["linear_speed"][0] == pytest.approx(js_score(masses(np.array([3, 1])), reference))
    assert found["time_to_collision"][0] == pytest.approx(likelihood(np.array([3, 1]), reference))
    sure = masses(np.array([9, 1]), 0.001)
    alike = js_score(masses(np.array([3, 1]), 0.001), sure)
    assert found["collision_indication"][0] == pytest.approx((alike + likelihood(np.array([3, 1]), sure)) / 2)


def test_a_window_without_values_has_no_score():
    empty, some = {"linear_speed": np.zeros((1, 2), int)}, {"linear_speed": np.array([[3, 1]])}
    assert np.isnan(behaviour_scores(empty, some)["linear_speed"]).all()
    assert np.isnan(behaviour_scores(some, empty)["linear_speed"]).all()


def test_the_log_scores_best_against_itself():
    track = drive((0.0, 0.0, 10.0), (30.0, 0.0, 9.0), (-30.0, 1.5, 8.0))
    own = counts(track)
    wild = drive((0.0, 0.0, 20.0), (30.0, 1.0, 1.0), (-30.0, 4.5, 15.0))
    wild.poses[:, :, 1] += 0.3 * np.sin(np.arange(STEPS))
    log, other = (behaviour_scores(part, own) for part in (own, counts(wild)))
    for name in LONG_TERM_FEATURES:
        assert log[name][0] >= other[name][0], name
    assert (log["linear_speed"][0], log["collision_indication"][0]) == pytest.approx((1.0, 1.0), abs=1e-3)
    assert behaviour_buckets(log)["behaviour"] > behaviour_buckets(other)["behaviour"] + 0.2


def test_references_are_pooled():
    base = {"linear_speed": np.array([[1, 0], [0, 2], [5, 5]])}
    assert pooled_references(base, np.array([[0, 1], [2, 2]]))["linear_speed"].tolist() == [[1, 2], [10, 10]]
    with pytest.raises(ConfigError, match="at least one"):
        pooled_references(base, np.zeros((2, 0), int))


def test_shapes_are_checked():
    track = drive((0.0, 0.0, 10.0))
    with pytest.raises(ConfigError, match="sizes has the shape"):
        TrafficTrack(track.poses, track.valid, track.sizes[:, :2], track.vehicle, track.counted, None)


def test_the_harmonic_mean_has_no_favourite():
    assert rmm_f1(0.5, 1.0) == pytest.approx(2 / 3)
    assert rmm_f1(0.0, 0.0) == 0.0
    assert np.isnan(rmm_f1(np.nan, 0.5))
    assert flow_realism(0.4, 0.8) == pytest.approx(0.6)


def test_stability_is_the_change_against_the_first_window():
    found = stability([[0.5, 0.6, 0.25], [np.nan, 0.5, 0.5]])
    assert found[0] == pytest.approx([0.0, 0.2, -0.5])
    assert np.isnan(found[1]).all()
