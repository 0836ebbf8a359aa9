"""What the realism metrics take from a log, and what they refuse."""

import dataclasses

import numpy as np
import pytest

from harness.errors import ConfigError, ScenarioError
from harness.metrics.wosac.config import Quirks
from harness.metrics.wosac.features import SceneFeatures
from harness.metrics.wosac.logged import evaluated_agents, read_log, to_local
from harness.metrics.wosac.scorer import RealismScores
from scenarios.scenario import Kind
from tests.scenes import Agent, straight_road

EXACT = Quirks(**{field.name: False for field in dataclasses.fields(Quirks)})
OTHERS = (Agent("walker", 5.0, 4.0, speed=1.0, kind=Kind.PEDESTRIAN), Agent("late", 50.0, 0.0, first=30))


def scene(metadata=None, **options):
    made = straight_road(extra=OTHERS, **options)
    return dataclasses.replace(made, metadata=metadata or {})


def test_without_a_list_everybody_who_is_there_at_step_ten_is_evaluated():
    assert evaluated_agents(scene()) == ((0, 1, 2), "all")


def test_objects_of_interest_and_the_av_are_evaluated():
    assert evaluated_agents(scene(interest=("walker",))) == ((0, 2), "objects_of_interest")


@pytest.mark.parametrize("predict", [{"opponent": {}}, ["opponent"], [{"track_index": 1}]])
def test_tracks_to_predict_come_first_in_any_of_their_forms(predict):
    chosen, rule = evaluated_agents(scene({"tracks_to_predict": predict}, interest=("walker",)))
    assert (set(chosen), rule) == ({0, 1}, "tracks_to_predict")


def test_near_is_everybody_within_100_m_of_the_av():
    # At step 10 the AV is at x = 10 m; things, and who comes at step 30, are not scored.
    others = (Agent("at", 99.99, 0.0), Agent("beyond", 100.01, 0.0), Agent("box", 8.0, 5.0, kind=Kind.BARRIER))
    made = straight_road(extra=(*OTHERS, *others), interest=("walker",))
    chosen, rule = evaluated_agents(made, "near")
    assert ({made.agent_ids[k] for k in chosen}, rule) == ({"ego", "opponent", "walker", "at"}, "near")


def test_who_comes_late_is_not_simulated():
    log = read_log(scene(), EXACT)
    assert log.agents.tolist() == [0, 1, 2]
    assert log.vehicle.tolist() == [True, True, False]
    assert log.origin.tolist() == pytest.approx([10, 0])
    assert log.poses[1, 10].tolist() == pytest.approx([20, 3.5, 0, 0])


def test_bad_logs_are_refused():
    with pytest.raises(ScenarioError, match="13 steps; realism needs at least 14"):
        read_log(straight_road(steps=13), EXACT)
    with pytest.raises(ScenarioError, match=r"steps of 0\.2 s"):
        read_log(dataclasses.replace(scene(), dt=0.2), EXACT)
    with pytest.raises(ConfigError, match="agent 3 is to be evaluated but is not there"):
        read_log(scene(), EXACT, agents=[0, 3])


def test_shifting_rounds_only_where_the_official_code_does():
    points = np.array([[10_000.000_1, 0.0]])
    origin = np.array([10_000.0, 0.0])
    assert to_local(points, origin, EXACT)[0, 0] == pytest.approx(1e-4, rel=1e-3)
    assert to_local(points, origin, dataclasses.replace(EXACT, single_precision_world=True))[0, 0] == 0
    assert points[0, 0] == 10_000.000_1


def test_the_logs_own_features_are_those_of_a_straight_drive():
    features = SceneFeatures(scene(), EXACT, [0, 1], "cpu").of_log()
    speed, used = features.values["linear_speed"][0], features.use["linear_speed"][0]
    assert speed[used].numpy() == pytest.approx(10.0)
    assert features.displacement.tolist() == [[0, 0]]
    assert not features.happened["collision_indication"].any()


def test_a_map_without_edges_is_refused():
    with pytest.raises(ScenarioError, match="no road edges"):
        SceneFeatures(straight_road(edges=False), EXACT, [0], "cpu")


def test_flat_scores_name_what_is_simulated():
    scores = RealismScores(0.7, 0.1, 0.2, 0.3, {"linear_speed": 0.5}, 2.0, 1.0, 0.01, 0.02, 0.03)
    flat = scores.as_dict()
    assert (flat["linear_speed"], flat["ade"], flat["min_ade"]) == (0.5, 2.0, 1.0)
    assert (flat["simulated_collision_rate"], flat["simulated_offroad_rate"]) == (0.01, 0.02)
