"""`simulate`: roll-outs as files, pictures and episodes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from harness import simulate
from harness.drawing.rollouts import draw_fan
from harness.errors import ConfigError
from harness.files import read_json
from harness.simulate import SimulateConfig, find_scene
from harness.traffic.baselines import ConstantVelocitySimulator
from harness.traffic.recording import as_episode, ego_contact, summary, whole_states
from harness.traffic.rollouts import SimulatedScene
from tests.scenes import Agent, straight_road
from tests.sources import ListSource
from tests.unit.traffic.scenes import small_model, tiny_vocabulary, traffic


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


def test_the_command_writes_files_and_repeats_itself(tmp_path, monkeypatch):
    weights = tmp_path / "small.safetensors"
    small_model(vocabulary=tiny_vocabulary()).save(weights)
    monkeypatch.setattr(simulate, "open_source", lambda *_, **__: ListSource([traffic(), straight_road()]))
    console = Console(file=io.StringIO(), width=150)
    for folder in ("one", "two"):
        config = SimulateConfig(
            model=f"smart:{weights}?temperature=1.0", scene=("straight_road",), rollouts=3, out=tmp_path / folder
        )
        simulate.run(config, console)
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


def test_scenes_by_index_and_id():
    source = ListSource([traffic(), straight_road(scene_id="second")])
    assert find_scene(source, "second") == 1
    assert find_scene(source, "0") == 0
    with pytest.raises(ConfigError, match="below 2"):
        find_scene(source, "2")
    with pytest.raises(ConfigError):
        SimulateConfig(rollouts=0)
