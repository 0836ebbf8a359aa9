"""Episodes that agents enter and leave: their records, pictures, pages and exports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.drawing.playback import View, frames
from harness.episodes.records import CellKey, EpisodeStore, Record
from harness.errors import ConfigError, RunError, ScenarioError
from harness.exports.openscenario import bodies
from harness.exports.played import later_part, played_scene
from harness.files import read_json
from harness.interfaces import Newcomer
from harness.report.html.episodes import episode_block
from harness.report.html.page import fitting
from harness.report.html.scenes import frame_of
from harness.simulate import main
from harness.traffic.config import SimulateConfig
from harness.traffic.lane_flow import LaneFlowTraffic
from harness.traffic.make import make_roller
from harness.traffic.recording import as_episode, save_rollouts, summary, whole_states
from harness.traffic.rollouts import PolicySimulator, SimulatedScene
from scenarios.description import from_description, to_description
from scenarios.export import write_folder
from scenarios.scenario import Kind
from scenarios.store import ScenarioStore
from tests.scenes import lasting, straight_road
from tests.sources import ListSource

CROSSING = "LANE_STATE_GO"


@pytest.fixture(scope="module")
def scene():
    light = {
        "type": "TRAFFIC_LIGHT",
        "lane": "right",
        "stop_point": np.array([200.0, 0.0, 0.0]),
        "state": {"object_state": [CROSSING] * 40},
        "metadata": {},
    }
    return replace(lasting(straight_road(), 40), lights={"right": light})


@pytest.fixture(scope="module")
def simulated(scene):
    return PolicySimulator(LaneFlowTraffic(inflow=1500.0, speed=22.0), steps=200, comings=True).simulate(scene, 2, 4)


@pytest.fixture(scope="module")
def episode(scene, simulated):
    return replace(as_episode(scene, simulated, 0, "idm-flow", 4), route=np.array([[0.0, 0.0], [300.0, 0.0]]))


def test_whole_states_have_everybody_and_their_own_speed(scene, simulated):
    states, valid = whole_states(scene, simulated, 1)
    assert len(states) == 2 + len(simulated.newcomers_in(1)) > 6
    for row in range(2, len(states)):
        steps = np.flatnonzero(valid[row])
        assert np.array_equal(steps, np.arange(steps[0], steps[-1] + 1))
        # Nobody jumps in from the origin.
        speed = np.hypot(*states[row, steps, 3:].T)
        assert speed.max() < 40.0
        assert len(steps) == 1 or speed[0] == speed[1] > 0.0
    for row in summary(scene, simulated):
        assert row["entered"] == len(simulated.newcomers_in(row["rollout"]))
        assert 0 < row["left"] < row["entered"] + 2


@pytest.fixture
def met():
    """The ego meets a car that entered three steps before; in the other roll-out a cyclist enters far away."""
    scene = straight_road()
    states = np.zeros((2, 3, 6, 4))
    states[:, 0, :, 0], states[:, 1, :, 0] = np.arange(11.0, 17.0), 200.0
    states[0, 2, :, 0], states[1, 2, :, 0] = 14.0 + np.array([0.0, 30.0, 20.0, 10.0, 0.0, 0.0]), 100.0
    valid = np.ones((2, 3, 6), bool)
    valid[0, 2, 0] = valid[0, 1, 4:] = False
    who = Newcomer(2, Kind.VEHICLE, (4.0, 1.9, 1.5)), Newcomer(2, Kind.CYCLIST, (1.8, 0.6, 1.7))
    return scene, SimulatedScene(states, np.arange(3), valid=valid, newcomers=((who[0],), (who[1],)))


def test_contacts_with_those_who_entered(met):
    rows = summary(*met)
    # At the fifth simulated step they are at the same place, in those before 5 m and more apart.
    assert [row["ego_contact_step"] for row in rows] == [15, None]
    assert [row["agents_in_contact"] for row in rows] == [2, 0]
    assert [(row["entered"], row["left"]) for row in rows] == [(1, 1), (1, 0)]
    assert rows[0]["ego_distance_m"] == pytest.approx(6.0)


def test_a_file_of_roll_outs_says_who_entered(tmp_path, met):
    save_rollouts(*met, tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz", allow_pickle=False) as found:
        assert found["kinds"].tolist() == [[Kind.VEHICLE] * 3, [Kind.VEHICLE, Kind.VEHICLE, Kind.CYCLIST]]
        assert found["sizes"].tolist() == [[[4.5, 2.0], [4.5, 2.0], last] for last in ([4.0, 1.9], [1.8, 0.6])]
        assert found["valid"].sum((1, 2)).tolist() == [15, 18]
        assert len(found["agent_ids"]) == 3


def test_a_record_keeps_who_entered_and_the_route(tmp_path, episode):
    store, key = EpisodeStore(tmp_path), CellKey(episode.scenario_id, "idm", "none")
    store.write(key, episode, {})
    found = store.read(key).episode
    assert found.newcomers == episode.newcomers
    assert np.array_equal(found.route, episode.route)
    assert np.array_equal(found.agents, np.where(episode.agents_valid[..., None], episode.agents, 0.0))
    first, *others = episode.newcomers
    for newcomers, message in (
        ((*others, first), "are not the last of"),
        ([who._replace(slot=who.slot - 99) for who in episode.newcomers * 40], "are not the last of"),
        ((first._replace(kind=Kind.CONE), *others), "neither vehicle"),
        ((first._replace(size=(4.5, 0.0, 1.5)), *others), "no length"),
        ((first._replace(size=(np.inf, 2.0, 1.5)), *others), "no length"),
    ):
        store.write(key, replace(episode, newcomers=tuple(newcomers)), {})
        with pytest.raises(RunError, match=message):
            store.read(key)
    for route in (np.zeros((3, 3)), np.full((2, 2), np.nan), np.zeros((2, 2), np.int64)):
        store.write(key, replace(episode, route=route), {})
        with pytest.raises(RunError, match="the route is"):
            store.read(key)


def test_playback_goes_on_after_the_ego_and_shows_who_entered(scene, episode):
    view = View(pixels=60, smooth=1, whole=True)
    shown = list(frames(scene, episode, (4.5, 2.0), view))
    assert len(shown) == 211
    assert len(list(frames(scene, episode, (4.5, 2.0), replace(view, whole=False)))) == episode.ego.valid.sum() < 211
    alone = replace(episode, agents=episode.agents[:2], agents_valid=episode.agents_valid[:2], newcomers=(), route=None)
    # Somebody who entered is in sight of where the ego was at some step.
    without = list(frames(scene, alone, (4.5, 2.0), view))
    assert any(not np.array_equal(one, other) for one, other in zip(shown, without, strict=False))


def test_a_page_has_a_track_for_everybody_who_entered(scene, episode):
    record = Record(CellKey(scene.id, "idm", "none"), episode, {})
    assert not fitting(record, scene).episode.error
    assert fitting(record, straight_road(with_opponent=False)).episode.error
    block = episode_block(scene, record, (4.5, 2.0), frame_of(np.array([[0.0, 0.0], [100.0, 0.0]])))
    assert len(block["entered"]) == len(episode.newcomers)
    first = block["entered"][0]
    assert (first["kind"], first["size"]) == ("vehicle", [4.5, 2.0])
    came = np.flatnonzero(episode.agents_valid[2])[0]
    assert first["log"]["s"] >= came


def test_an_episode_is_a_scene_that_can_be_written(tmp_path, scene, episode):
    played = played_scene(scene, episode, "played")
    assert (played.num_agents, played.num_steps) == (2 + len(episode.newcomers), 211)
    last = len(played.agent_ids) - 1
    steps = np.flatnonzero(episode.agents_valid[last])
    assert np.array_equal(played.position[last, steps, :2], episode.agents[last, steps, :2])
    assert played.size[last, steps[0]].tolist() == [4.5, 2.0, 1.5]
    assert played.lights["right"]["state"]["object_state"] == [CROSSING] * 211
    again = from_description(to_description(played))
    assert np.array_equal(again.valid, played.valid)
    assert again.kinds.tolist() == [Kind.VEHICLE] * played.num_agents
    write_folder([played], tmp_path)
    assert ScenarioStore(tmp_path)[0].num_steps == 211
    assert len(bodies(played)) == played.num_agents


def test_roll_outs_of_any_length():
    scene = straight_road()
    assert make_roller("constant_velocity", 80).simulate(scene, 1, 0).valid is None
    assert make_roller("idm-flow", 80).simulate(scene, 1, 0).valid is not None
    longer = make_roller("idm-lane", 150).simulate(scene, 1, 0)
    assert longer.states.shape == (1, 2, 150, 4)
    assert longer.valid[0, :, :70].all()
    assert not make_roller("log", 100).simulate(scene, 1, 0).valid[0, :, 80:].any()
    with pytest.warns(FutureWarning, match="`idm` is `idm-lane` here"):
        assert make_roller("idm", 150).name == "idm-lane"
    with pytest.raises(ConfigError, match="--seconds 0"):
        SimulateConfig(seconds=0.0)
    with pytest.raises(ConfigError, match=r"--warm-up 7\.5: expected 0 to 7 s"):
        SimulateConfig(warm_up=7.5, export=True)
    with pytest.raises(ConfigError, match="Give --export"):
        SimulateConfig(warm_up=5.0)


def test_the_command_simulates_half_a_minute(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(SimulateConfig, "open", lambda *_, **__: ListSource([straight_road()]))
    run = tmp_path / "run"
    options = ["--traffic", "idm-flow?inflow=600", "--seconds", "31", "--rollouts", "2", "--gifs", "0", "--export"]
    options += ["--warm-up", "21"]
    main([*options, "--out", str(run)])
    assert "roll-outs of 31 s" in capsys.readouterr().out
    row = read_json(run / "straight_road" / "summary.json")["rollouts"][0]
    assert row["entered"] > 0
    with np.load(run / "straight_road" / "rollouts.npz", allow_pickle=False) as found:
        assert found["states"].shape[2] == 310
        assert found["kinds"].shape == found["valid"].shape[:2] == found["sizes"].shape[:2]
    assert len(ScenarioStore(run / "straight_road" / "scenes")) == 2
    assert {later.num_steps for later in ScenarioStore(run / "straight_road" / "scenes")} == {111}


def test_a_roll_out_that_nobody_is_left_of_is_not_exported(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(SimulateConfig, "open", lambda *_, **__: ListSource([straight_road()]))
    run = tmp_path / "run"
    options = ["--traffic", "idm-flow?inflow=0", "--seconds", "61", "--rollouts", "1", "--gifs", "0", "--export"]
    main([*options, "--warm-up", "59", "--out", str(run)])
    assert "roll-out 0 is not exported" in caplog.text
    assert (run / "straight_road" / "summary.json").exists()
    assert not (run / "straight_road" / "scenes").exists()


def test_a_later_part_has_an_ego_of_its_own(scene, episode):
    played = played_scene(scene, episode, "played")
    later = later_part(played, 100)
    assert later.num_steps == 111
    assert later.valid.any(1).all()
    assert later.agent_ids == tuple(np.array(played.agent_ids)[played.valid[:, 100:].any(1)])
    for agent, name in enumerate(later.agent_ids):
        before = played.agent_ids.index(name)
        assert np.array_equal(later.valid[agent], played.valid[before, 100:])
        assert np.array_equal(later.position[agent], played.position[before, 100:])
    assert later.valid[later.ego, :12].all()
    assert later.lights["right"]["state"]["object_state"] == [CROSSING] * 111
    assert later.opponent is None


def test_the_ego_of_a_later_part_stays_longest(scene, episode):
    played = played_scene(scene, episode, "played")
    there = np.zeros_like(played.valid)
    there[1, 100:150], there[-1, 100:180], there[0, :101] = True, True, True
    later = later_part(replace(played, valid=there), 100)
    assert later.agent_ids[later.ego] == played.agent_ids[-1]
    there = there.copy()
    there[0, 100:120] = True
    assert later_part(replace(played, valid=there, ego=0), 100).ego == 0
    there = there.copy()
    there[0, 100] = False  # It has no past in the new scene.
    late = later_part(replace(played, valid=there, ego=0, lights={"a": {"state": np.float64(1.0)}}), 100)
    assert late.agent_ids[late.ego] == played.agent_ids[-1]
    assert late.lights["a"]["state"] == 1.0
    with pytest.raises(ScenarioError, match="none can be the ego"):
        later_part(replace(played, valid=np.zeros_like(there)), 100)
    for beyond in (played.num_steps - 11, played.num_steps, 10_000):
        with pytest.raises(ScenarioError, match="none can be the ego"):
            later_part(played, beyond)
