"""Whom to learn from, and the phases of the token grid."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harness.geometry import box_corners
from harness.traffic.rollouts import simulated_agents
from harness.traffic.tokens.pieces import Light
from harness.traffic.tokens.shapes import KIND_SIZES
from harness.traffic.tokens.tokeniser import TokenFinder
from harness.traffic.tokens.vocabulary import shipped
from harness.traffic.training.config import ExampleOptions
from harness.traffic.training.dataset import TokenisedScenes, fingerprint
from harness.traffic.training.examples import everybody, examples_of, simulated, starting_later
from harness.traffic.training.rewards import Judge
from scenarios.scenario import LoadedScenes, Scenario
from tests.scenes import Agent, straight_road
from tests.unit.traffic.scenes import OPTIONS, traffic

ONE = ExampleOptions(phases=1)


def coming_and_going() -> Scenario:
    """Four agents beside the ego: one leaves before the current step, one comes after it, two are there too briefly."""
    extra = (
        Agent("gone", -30.0, 3.5, 0.0, 8.0),
        Agent("coming", -60.0, 3.5, 0.0, 8.0, first=40),
        Agent("glimpse", -40.0, 3.5, 0.0, 8.0, first=80),
        Agent("blink", 400.0, 3.5, 0.0, 8.0, first=80),
    )
    scene = straight_road(extra=extra)
    valid = scene.valid.copy()
    valid[scene.index_of("gone"), 10:] = False
    valid[scene.index_of("gone"), 9] = False
    valid[scene.index_of("gone"), :6] = True
    valid[scene.index_of("glimpse"), 86:] = False
    valid[scene.index_of("blink"), 83:] = False
    light = {"lane": "x", "state": {"object_state": [f"S{step}" for step in range(91)]}}
    return dataclasses.replace(scene, valid=valid, lights={"x": light})


def test_everybody_with_two_tokens_is_trained():
    scene = coming_and_going()
    kept, trained, tracks = everybody(scene, 256)
    names = {scene.agent_ids[row]: bool(flag) for row, flag in zip(kept, trained, strict=True)}
    assert names["coming"]
    assert names["gone"] is False  # Steps 0 to 8: one token.
    assert names["glimpse"] is False
    assert "blink" not in names
    assert tracks.poses.shape == (len(kept), 91, 3)
    fewer, _, _ = everybody(scene, 2)
    assert len(fewer) == 2
    assert scene.ego in fewer
    # The ego is 10 m on at the current step; "gone" comes as near as 33 m, "coming" passes there.
    assert [scene.agent_ids[row] for row in everybody(scene, 3)[0]][-1] == "coming"


def test_stages_that_roll_out_learn_from_those_who_are_there():
    scene = coming_and_going()
    (tokens,) = examples_of(scene, shipped(), OPTIONS, ONE)
    there = simulated(tokens)
    names = [scene.agent_ids[row] for row in there.agents]
    assert "coming" not in names
    assert "gone" not in names
    assert scene.agent_ids[scene.ego] in names
    assert there.token.shape[0] == len(there.trained) == len(names)
    assert there.map_pose is tokens.map_pose
    (near,) = examples_of(scene, shipped(), OPTIONS, ExampleOptions(trained="near", phases=1))
    assert set(near.agents) <= set(there.agents)


def test_stages_that_roll_out_learn_from_those_who_go_on():
    scene = straight_road(extra=[Agent("leaves", -30.0, 3.5, 0.0, 8.0, last=12)])
    (tokens,) = examples_of(scene, shipped(), OPTIONS, ONE)
    row = scene.index_of("leaves")
    assert (tokens.trained[row], simulated(tokens).trained[row]) == (True, False)


def test_whom_the_log_loses_at_the_current_step_is_learnt_from_and_not_simulated():
    scene = traffic()
    valid = scene.valid.copy()
    valid[[2, 4], 10] = False
    scene = dataclasses.replace(scene, valid=valid)
    (tokens,) = examples_of(scene, shipped(), OPTIONS, ONE)
    assert tokens.agents[tokens.trained].tolist() == [0, 1, 2, 3, 4]
    there = simulated(tokens)
    assert there.agents.tolist() == simulated_agents(scene).tolist() == [0, 1, 3]
    # Whoever judges roll-outs finds everybody.
    found = Judge(True)(scene, there, torch.as_tensor(there.goal[:, -1:]).expand(3, 80, 3)[None], 1)
    assert found.evaluated.tolist() == [0, 1, 2]


def test_a_scene_that_starts_later_is_the_same_scene():
    scene = coming_and_going()
    later = starting_later(scene, 3)
    assert starting_later(scene, 0) is scene
    assert later.num_steps == 88
    assert np.array_equal(later.position[:, 7], scene.position[:, 10])
    assert later.lights["x"]["state"]["object_state"][0] == "S3"
    assert scene.lights["x"]["state"]["object_state"][0] == "S0"
    assert later.id != scene.id


def test_phases_are_the_scene_at_another_offset():
    scene = coming_and_going()
    phases = examples_of(scene, shipped(), OPTIONS, ExampleOptions())
    assert len(phases) == 5
    assert [tokens.token.shape[1] for tokens in phases] == [18, 17, 17, 17, 17]
    for number, tokens in enumerate(phases):
        assert tokens.table is phases[0].table
        assert np.array_equal(tokens.frame, phases[0].frame)
        (alone,) = examples_of(starting_later(scene, number), shipped(), OPTIONS, ONE)
        assert np.array_equal(tokens.agents, alone.agents)
        assert np.array_equal(tokens.token_valid, alone.token_valid)
        assert np.array_equal(tokens.token[tokens.token_valid], alone.token[alone.token_valid])
    ego = int(np.flatnonzero(phases[0].agents == scene.ego)[0])
    speed = np.hypot(*scene.velocity[scene.ego, 0])
    moved = phases[2].goal[ego, 0, 0] - phases[0].goal[ego, 0, 0]
    assert moved == pytest.approx(0.2 * speed, abs=1e-3)


def test_every_phase_has_the_lights_of_its_own_current_step():
    states = ["LANE_STATE_GO"] * 12 + ["LANE_STATE_STOP"] * 79
    scene = dataclasses.replace(traffic(), lights={"1": {"lane": "right", "state": {"object_state": states}}})
    shown = [set(tokens.map_light.tolist()) for tokens in examples_of(scene, shipped(), OPTIONS, ExampleOptions())]
    assert shown == [{Light.NONE, Light.GO}] * 2 + [{Light.NONE, Light.STOP}] * 3


def test_phases_end_with_the_ego():
    scene = coming_and_going()
    valid = scene.valid.copy()
    valid[scene.ego, 12:] = False
    assert len(examples_of(dataclasses.replace(scene, valid=valid), shipped(), OPTIONS, ExampleOptions())) == 2


class Dated(LoadedScenes):
    """Scenes that know when their files were written."""

    when = "monday"

    def states(self, indices):
        return iter([self.when for _ in indices])


def test_every_phase_has_its_turn(tmp_path):
    source = LoadedScenes([dataclasses.replace(traffic(), id=name) for name in "abc"])
    scenes = TokenisedScenes(source, shipped(), OPTIONS, tmp_path, mirror=True)
    epochs = [scenes.order(np.random.default_rng(epoch), epoch) for epoch in range(5)]
    assert sorted(np.concatenate(epochs)) == list(range(len(scenes)))
    for order in epochs:
        assert sorted((scenes.entries[entry].scene, scenes.entries[entry].mirrored) for entry in order) == [
            (scene, flag) for scene in range(3) for flag in (False, True)
        ]
        assert len({scenes.entries[entry].phase for entry in order}) == 5
    chosen = scenes.entries.index((1, True, 2))
    assert scenes.scenario(chosen).id == "b+2-mirrored"
    moved = scenes[chosen].goal[0, 0, 0] - scenes[chosen - 2].goal[0, 0, 0]
    assert moved == pytest.approx(0.2 * source[1].velocity[0, 0, 0], abs=1e-3)


def test_scenes_whose_files_have_changed_are_tokenised_anew(tmp_path):
    source = Dated([traffic()])
    TokenisedScenes(source, shipped(), OPTIONS, tmp_path, examples=ONE)
    scenes = TokenisedScenes(source, shipped(), OPTIONS, tmp_path, examples=ONE)
    assert len(list(scenes.folder.iterdir())) == 1
    source.when = "tuesday"
    # Another run is about to write a scene.
    (scenes.folder / ".0a.1.4711.part.safetensors").touch()
    scenes = TokenisedScenes(source, shipped(), OPTIONS, tmp_path, examples=ONE)
    assert len(list(scenes.folder.iterdir())) == 3


def test_a_models_vocabulary_finds_the_scenes_of_the_file_that_it_came_from():
    tokens = shipped()
    assert (np.signbit(tokens.pieces) & (tokens.pieces == 0)).any()
    # The average of a model's weights, its vocabulary among them, has lost the sign of zeros.
    averaged = dataclasses.replace(tokens, pieces=tokens.pieces + 0)
    assert not (np.signbit(averaged.pieces) & (averaged.pieces == 0)).any()
    found, kept, moved = (
        fingerprint(vocabulary, OPTIONS, ExampleOptions())
        for vocabulary in (averaged, tokens, dataclasses.replace(tokens, pieces=tokens.pieces + 1))
    )
    assert found == kept != moved


@pytest.mark.slow
def test_other_processes_tokenise_the_same(tmp_path):
    source = LoadedScenes([dataclasses.replace(traffic(), id=name) for name in "ab"])
    here, there = (
        TokenisedScenes(source, shipped(), OPTIONS, tmp_path / str(workers), workers=workers) for workers in (1, 2)
    )
    assert here.entries == there.entries
    for path in here.folder.iterdir():
        assert path.read_bytes() == (there.folder / path.name).read_bytes()


def test_the_nearest_token_is_found_among_few():
    vocabulary, rng = shipped(), np.random.default_rng(0)
    find = TokenFinder(vocabulary)
    for spread in (0.0, 0.1, 1.0, 8.0):
        kinds = rng.integers(0, 3, 40)
        tokens = vocabulary.ends[kinds, rng.integers(0, vocabulary.size, 40)].astype(np.float64)
        motions = tokens + rng.normal(0.0, spread, (40, 3)) * (1.0, 1.0, 0.3)
        found = find(motions, kinds)
        for motion, kind, token in zip(motions, kinds, found, strict=True):
            ends = box_corners(vocabulary.ends[kind].astype(np.float64), KIND_SIZES[kind])
            gap = box_corners(motion[None], KIND_SIZES[kind]) - ends
            assert token == np.hypot(gap[..., 0], gap[..., 1]).sum(-1).argmin()
