"""Reactions to an ego that brakes hard."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.evaluate_traffic import main
from harness.files import read_json
from harness.traffic.comparison import compare
from harness.traffic.config import EvaluateTrafficConfig
from harness.traffic.log_policies import LogTraffic, PathIDMTraffic
from harness.traffic.reactivity import braking, find_case, react, summarise
from tests.scenes import Agent, straight_road
from tests.sources import ListSource


def road(gap=15.0, aside=0.0, speed=10.0, **options):
    return straight_road(extra=[Agent("behind", -gap, aside, 0.0, speed)], with_opponent=False, **options)


def test_the_ego_brakes_evenly_in_its_lane():
    scene = road(rotation=0.6, origin=(3000.0, 500.0))
    case = braking(scene, 5.0)
    log = scene.states(0)
    assert np.array_equal(case.states[:11], log[:11])
    gone = np.hypot(*(case.states[:, :2] - log[10, :2]).T)
    # 10 m/s at 5 m/s²: 2 s, 10 m.
    assert gone[20] == pytest.approx(10.0 - 2.5)
    assert np.allclose(gone[30:], 10.0)
    assert np.hypot(*case.states[20, 3:]) == pytest.approx(5.0)
    assert np.allclose(case.states[:, 2], log[:, 2])
    assert case.followers.tolist() == [1]


def test_who_counts_as_a_follower():
    assert braking(road(gap=50.0), 5.0) is None
    assert braking(road(aside=3.5), 5.0) is None
    assert braking(road(speed=1.0), 5.0) is None
    assert braking(road(ego_speed=2.0), 5.0) is None
    slow = road(ego_speed=4.0, gap=6.5, speed=3.5)
    assert braking(slow, 5.0) is not None
    assert braking(slow, 0.2) is None, "it would drive on beyond its log"


def test_another_vehicle_takes_the_part_of_an_ego_that_nobody_follows():
    pair = [Agent("front", 60.0, 3.5, 0.0, 10.0), Agent("back", 45.0, 3.5, 0.0, 10.0)]
    scene = straight_road(extra=pair, with_opponent=False)
    assert braking(scene, 6.0) is None
    case = find_case(scene, 6.0)
    assert case.scenario.agent_ids[case.scenario.ego] == "front"
    assert [case.scenario.agent_ids[agent] for agent in case.followers] == ["back"]
    assert find_case(straight_road(with_opponent=False), 6.0) is None


def test_replayed_followers_hit_and_reacting_ones_do_not():
    case = find_case(road(), 6.0)
    logged = react(case, LogTraffic(), 0)
    assert logged.hit
    # It closes 15 m less a car's length on the ego, which stops after 8.3 m: about 19 m at 10 m/s, from step 10.
    length = case.scenario.box(0)[0]
    assert logged.step == 10 + int(np.ceil((15.0 - length + 100 / 12) / 1.0 - 1e-9))
    assert logged.closing == pytest.approx(10.0)
    assert logged.slowed == pytest.approx(0.0, abs=1e-9)
    careful = react(case, PathIDMTraffic(), 0)
    assert not careful.hit
    assert careful.slowed > 8.0
    rows = summarise({"log": [logged] * 6, "idm-path": [careful] * 6})
    assert rows["log"]["rate"] == 1.0
    assert rows["idm-path"]["hits"] == 0
    assert rows["idm-path"]["interval"][1] < 0.5
    assert rows["idm-path"]["p_against_first"] == pytest.approx(2 / 2**6)
    with pytest.raises(ConfigError, match="in none"):
        summarise({"log": []})


def test_the_command(tmp_path, monkeypatch, capsys):
    scenes = [road(scene_id="a"), road(gap=50.0, scene_id="b"), road(gap=20.0, scene_id="c")]
    monkeypatch.setattr(EvaluateTrafficConfig, "open", lambda *_, **__: ListSource(scenes))
    main(["--reactivity", "--traffic", "log", "idm-path", "--json", str(tmp_path / "r.json")])
    assert "2 of 3 scenes" in capsys.readouterr().out
    found = read_json(tmp_path / "r.json")
    assert found["traffic"]["log"]["hits"] == 2
    assert found["traffic"]["idm-path"]["hits"] == 0
    assert [scene for scene, _ in found["scenes"]] == ["a", "c"]
    with pytest.raises(ConfigError, match="--deceleration"):
        EvaluateTrafficConfig(deceleration=0.0)
    with pytest.raises(ConfigError, match="each only once"):
        EvaluateTrafficConfig(traffic=("log", "log"))


def test_values_of_what_is_a_flag_now_are_refused_with_the_new_spelling(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--reactivity", "log", "idm-path"])
    assert stop.value.code == 2
    assert "write --reactivity --traffic log" in capsys.readouterr().err


def test_scenes_without_a_case_are_no_comparison():
    with pytest.raises(ConfigError, match="in none"):
        compare(EvaluateTrafficConfig(traffic=("log",), reactivity=True), [road(gap=80.0)])
