"""`simulate`: roll-outs as files, pictures and episodes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from harness.drawing.rollouts import draw_fan
from harness.drawing.simulated import draw_simulated
from harness.errors import ConfigError
from harness.files import file_name, read_json, write_json
from harness.simulate import main
from harness.traffic.baselines import ConstantVelocitySimulator
from harness.traffic.config import SimulateConfig
from harness.traffic.recording import as_episode, ego_contact, summary, whole_states
from harness.traffic.rollouts import SimulatedScene
from harness.traffic.simulation import _done, simulate
from tests.scenes import Agent, straight_road
from tests.sources import ListSource
from tests.unit.traffic.scenes import small_model, tiny_vocabulary


def meeting() -> tuple:
    """The ego at 10 m/s behind a car at 5 m/s, 20 m ahead at step 10, in one of two roll-outs; and a late agent."""
    scene = straight_road(
        opponent_gap=25.0, opponent_speed=5.0, opponent_offset=0.0, extra=[Agent("late", -40.0, 3.5, first=30)]
    )
    simulated = ConstantVelocitySimulator().simulate(scene, 2, 0)
    states = simulated.states.copy()
    states[1, 1, :, 1] += 50.0
    return scene, SimulatedScene(states, simulated.agents)


def test_roll_outs_become_episodes():
    scene, simulated = meeting()
    states, valid = whole_states(scene, simulated, 0)
    assert states.shape == (3, 91, 5)
    assert valid[:2].all()
    assert not valid[2].any()
    assert np.allclose(states[0, :, 0], np.arange(91))
    assert np.allclose(states[0, :, 3:], (10.0, 0.0))
    episode = as_episode(scene, simulated, 0, "constant_velocity", 3)
    # Centres 20 m apart at step 10, closing 0.5 m a step; the cars of 4.5 m touch at 4.5 m.
    length = scene.box(0)[0]
    touch = 10 + int(np.ceil((20.0 - length) / 0.5))
    assert episode.crash_geometry in (touch, touch + 1)
    assert episode.mean_speed == pytest.approx(10.0)
    assert ego_contact(scene, *whole_states(scene, simulated, 1)) is None
    rows = summary(scene, simulated)
    assert [row["agents_in_contact"] for row in rows] == [2, 0]
    assert rows[0]["ego_distance_m"] == pytest.approx(80.0)
    assert rows[0]["ego_contact_step"] == episode.crash_geometry


def test_the_fan_shows_every_roll_out(tmp_path):
    scene, simulated = meeting()
    draw_fan(scene, simulated, tmp_path / "fan.png")
    picture = np.asarray(Image.open(tmp_path / "fan.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 140) & (picture[..., 2] < 140)
    rows = np.flatnonzero(red.any(1))
    assert np.ptp(rows) > 200, "the opponent's second roll-out lies 50 m beside the first"


def test_there_are_no_more_moving_pictures_than_roll_outs(tmp_path):
    scene, simulated = meeting()
    draw_simulated(scene, simulated, tmp_path, model="m", seed=0, gifs=5)
    assert {path.name for path in tmp_path.iterdir()} == {"fan.png", "rollout_0.gif", "rollout_1.gif"}


def test_the_command_writes_files_and_repeats_itself(tmp_path, monkeypatch, capsys):
    weights = tmp_path / "small.safetensors"
    small_model(vocabulary=tiny_vocabulary()).save(weights)
    monkeypatch.setattr(SimulateConfig, "open", lambda *_, **__: ListSource([straight_road()]))
    for folder in ("one", "two"):
        spec = f"smart:{weights}?temperature=1.0"
        main(["--traffic", spec, "--rollouts", "3", "--out", str(tmp_path / folder)])
    assert "straight_road" in capsys.readouterr().out
    scene = tmp_path / "one" / "straight_road"
    assert {path.name for path in scene.iterdir()} == {"rollouts.npz", "fan.png", "rollout_0.gif", "summary.json"}
    found = read_json(scene / "summary.json")
    assert len(found["rollouts"]) == 3
    assert found["settings"]["seed"] == 0
    with np.load(scene / "rollouts.npz", allow_pickle=False) as one:
        with np.load(tmp_path / "two" / "straight_road" / "rollouts.npz", allow_pickle=False) as two:
            assert one["states"].shape[0] == 3
            assert np.array_equal(one["states"], two["states"])
        assert one["agent_ids"][0] == "ego"
        assert one["steps"][0] == 11
    assert Image.open(scene / "rollout_0.gif").n_frames == 91


def test_a_resumed_run_simulates_what_is_missing(tmp_path, monkeypatch, capsys):
    scenes = [straight_road(scene_id="first"), straight_road(scene_id="second")]
    monkeypatch.setattr(SimulateConfig, "open", lambda *_, **__: ListSource(scenes))
    run = tmp_path / "run"
    main(["--traffic", "log", "--rollouts", "1", "--gifs", "0", "--out", str(run)])
    before = (run / "first" / "rollouts.npz").stat().st_mtime_ns
    (run / "second" / "summary.json").unlink()
    main(["--resume", str(run)])
    assert (run / "second" / "summary.json").exists()
    assert (run / "first" / "rollouts.npz").stat().st_mtime_ns == before
    with pytest.raises(SystemExit):
        main(["--resume", str(run), "--rollouts", "2"])
    assert "--rollouts: 2 (the run has 1)" in capsys.readouterr().err


def test_names_of_strangers_stay_in_the_folder(tmp_path):
    scene = straight_road(scene_id="../a b")
    config = SimulateConfig(traffic="log", rollouts=1, gifs=0)
    list(simulate(config, [scene], tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [file_name("../a b", "-_.")]


def test_bad_options_are_refused_as_they_are_typed(capsys):
    with pytest.raises(ConfigError, match="--rollouts 0: expected at least 1"):
        SimulateConfig(rollouts=0)
    with pytest.raises(SystemExit):
        main(["--scene", "0", "3"])
    assert '--scenes "#0,#3"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"rollouts": []},
        {"rollouts": [{"a": 1}]},
        {"rollouts": 3},
        {"agents": "x"},
        {"seconds": 10**400},
        {"scene": [3]},
    ],
)
def test_numbers_that_are_none_are_no_finished_scene(tmp_path, change):
    file = tmp_path / "summary.json"
    assert _done(file) is None
    whole = {"scene": "a", "agents": 2, "seconds": 1.5, "rollouts": summary(*meeting())}
    write_json(file, whole)
    assert _done(file) == read_json(file)
    file.write_text(json.dumps(whole | change))
    assert _done(file) is None
    file.write_text("[]")
    assert _done(file) is None
