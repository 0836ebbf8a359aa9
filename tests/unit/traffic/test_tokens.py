"""Vocabularies, k-disks, tokenisation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save

from harness.errors import WeightsError
from harness.traffic.tokens.analytic import analytic_motion, centred
from harness.traffic.tokens.build import build_vocabulary
from harness.traffic.tokens.config import SceneOptions, VocabularyConfig
from harness.traffic.tokens.kdisks import fitted_disks, k_disks
from harness.traffic.tokens.pieces import Light, PieceKind, cut, map_pieces, thin
from harness.traffic.tokens.scene import CELL, SceneTokens, tokenise_scene
from harness.traffic.tokens.stored import load_phases, save_phases
from harness.traffic.tokens.tokeniser import apply, reconstruction_errors, relative_poses, tokenise
from harness.traffic.tokens.tracks import Tracks, clean_tracks
from harness.traffic.tokens.vocabulary import Vocabulary, shipped
from tests.scenes import straight_road
from tests.unit.traffic.scenes import tiny_vocabulary, traffic


def detokenise(start, index, kinds, vocabulary):
    """Poses [A, 5N+1, 3] every 0.1 s of agents that start at `start` [A, 3] and follow tokens `index` [A, N]."""
    poses = [np.asarray(start, dtype=np.float64)[:, None]]
    for step in range(index.shape[1]):
        motion = vocabulary.motions[kinds, index[:, step], 1:].astype(np.float64)
        poses.append(apply(poses[-1][:, -1:], motion))
    return np.concatenate(poses, 1)


def dots(xs):
    return np.stack([np.array(xs, dtype=float), np.zeros(len(xs))], -1)[:, None]


def test_k_disks_cover_hand_made_clusters():
    points = dots([0.0, 0.05, -0.05, 1.0, 1.04, 5.0])
    disks = k_disks(points, np.full(6, 0.1), 10, seed=0, first=0)
    assert disks.centres[0] == 0
    assert len(disks.centres) == 3
    assert disks.owner[[0, 1, 2]].tolist() == [0, 0, 0]
    assert disks.owner[3] == disks.owner[4] != disks.owner[5]
    assert disks.covered == 1.0


def test_k_disks_stop_at_the_count():
    disks = k_disks(dots([0.0, 1.0, 2.0, 3.0]), np.full(4, 0.1), 2, seed=0)
    assert len(disks.centres) == 2
    assert disks.covered == 0.5


def test_fitted_disks_use_the_finest_radius():
    points = dots(np.linspace(0.0, 10.0, 401))
    disks, radius = fitted_disks(points, np.ones(401), 20, seed=1, cover=1.0)
    assert disks.covered == 1.0
    assert len(disks.centres) <= 20
    # 20 disks of diameter 2r have to cover 10 m; random centres waste less than half of that.
    assert 0.25 <= radius <= 0.6


def test_motions_of_the_vocabulary_are_reproduced_exactly():
    vocabulary = shipped()
    rng = np.random.default_rng(0)
    kinds = np.array([0, 0, 1, 2])
    index = rng.integers(0, vocabulary.size, (4, 6))
    start = rng.normal(0.0, 50.0, (4, 3))
    poses = detokenise(start, index, kinds, vocabulary)
    found = tokenise(Tracks(poses, np.ones(poses.shape[:2], dtype=bool)), kinds, vocabulary)
    ends = vocabulary.ends[kinds[:, None], found.token]
    # Two tokens may be near twins; the motion is what has to come back.
    assert np.abs(ends - vocabulary.ends[kinds[:, None], index]).max() < 0.02
    assert np.abs(found.poses - poses[:, ::5]).max() < 0.15
    same = found.token == index
    assert same.mean() > 0.9


def test_tiny_vocabulary_is_reproduced_to_the_last_bit():
    vocabulary = tiny_vocabulary()
    index = np.array([[0, 3, 6, 7, 1]])
    kinds = np.zeros(1, dtype=int)
    poses = detokenise(np.array([[3.0, -2.0, 0.7]]), index, kinds, vocabulary)
    found = tokenise(Tracks(poses, np.ones((1, 26), dtype=bool)), kinds, vocabulary)
    assert found.token.tolist() == index.tolist()
    assert np.abs(found.poses - poses[:, ::5]).max() < 1e-9
    assert reconstruction_errors(Tracks(poses, np.ones((1, 26), dtype=bool)), kinds, vocabulary)[0].max() < 1e-9


def test_errors_do_not_add_up():
    """5.1 m per token with tokens of 5 and 6 m: one 6 m token every ten steps keeps the error below half a metre."""
    vocabulary = tiny_vocabulary()
    x = np.arange(91) * 1.02
    poses = np.stack([x, 0 * x, 0 * x], -1)[None]
    found = tokenise(Tracks(poses, np.ones((1, 91), dtype=bool)), np.zeros(1, dtype=int), vocabulary)
    assert np.abs(found.poses[0, :, 0] - x[::5]).max() <= 0.51
    assert (found.token == 5).sum() >= 1


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_shipped_vocabulary_covers_analytic_motion(kind):
    motion = analytic_motion(kind, 2000, seed=99)
    ends = shipped().ends[kind]
    gap = np.hypot(*np.moveaxis(motion[:, None, -1, :2] - ends[None, :, :2], -1, 0)).min(1)
    assert np.percentile(gap, 95) < 0.25
    assert np.abs(shipped().motions[kind, 0]).max() == 0.0


def test_analytic_vehicles_never_reverse_by_braking():
    motion = analytic_motion(0, 3000, seed=1)
    forward = motion[:, 1, 0] > 0.05
    assert (np.diff(motion[forward, :, 0], axis=1) > -0.02).all()


def test_tracks_are_filled_mended_and_extended():
    scene = traffic()
    late = scene.agent_ids.index("late")
    heading = scene.heading.copy()
    heading[1, 20] += np.pi
    valid = scene.valid.copy()
    valid[1, 30:33] = False
    import dataclasses

    scene = dataclasses.replace(scene, heading=heading, valid=valid)
    tracks = clean_tracks(scene, np.arange(scene.num_agents))
    assert np.allclose(tracks.poses[1, 20, 2], 0.0)
    assert tracks.valid[1].all()
    assert np.allclose(tracks.poses[1, 31, 0], scene.position[1, 29, 0] + 2.0)
    assert tracks.valid[late, 5]
    assert not tracks.valid[late, 4]
    assert np.allclose(tracks.poses[late, 8, 0] - tracks.poses[late, 5, 0], 3 * 0.8)


def test_simulation_reads_no_future():
    scene = traffic()
    import dataclasses

    position = scene.position.copy()
    position[:, 11:] = 1e6
    changed = dataclasses.replace(scene, position=position)
    a, b = (tokenise_scene(s, shipped()) for s in (scene, changed))
    assert np.array_equal(a.token, b.token)
    assert np.array_equal(a.map_pose, b.map_pose)
    assert a.token.shape[1] == 2


def test_pieces_of_a_line():
    pieces = cut(np.array([[0.0, 0.0], [12.0, 0.0]]), closed=False)
    assert pieces.shape == (3, 3, 2)
    assert np.allclose(pieces[:, 0, 0], [0, 4, 8])
    assert np.allclose(pieces[:, 2, 0], [4, 8, 12])
    assert cut(np.array([[0.0, 0.0], [0.0, 0.0]]), closed=False).shape == (0, 3, 2)
    assert len(cut(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]), closed=True)) == 4


def test_centred_pieces_forget_where_they_were():
    line = np.array([[[0.0, 0.0], [2.0, 0.5], [4.0, 0.0]]])
    cos, sin = np.cos(1.1), np.sin(1.1)
    turned = line @ np.array([[cos, sin], [-sin, cos]]) + 7.0
    assert np.allclose(centred(line), centred(turned))


def test_map_pieces_know_kind_and_light():
    import dataclasses

    scene = straight_road()
    lights = {"1": {"lane": "left", "state": {"object_state": ["LANE_STATE_GO"] * 10 + ["LANE_STATE_STOP"] * 81}}}
    scene = dataclasses.replace(scene, lights=lights)
    lane = next(f.id for f in scene.features if f.is_lane and np.allclose(f.points[:, 1], 3.5))
    lights["1"]["lane"] = lane
    pieces = map_pieces(scene, shipped(), 10)
    left = (pieces.kind == PieceKind.STREET) & np.isclose(pieces.pose[:, 1], 3.5)
    assert left.any()
    assert (pieces.light[left] == Light.STOP).all()
    assert (pieces.light[~left] == Light.NONE).all()
    assert (pieces.kind == PieceKind.BOUNDARY).any()
    assert len(thin(pieces).pose) <= len(pieces.pose)


def test_grid_lists_the_nearest_pieces():
    scene = tokenise_scene(straight_road(), shipped(), SceneOptions(lanes=3, edges=2))
    x, y, _, ny = scene.grid
    cell = int((0.0 - x) // CELL) * int(ny) + int((0.0 - y) // CELL)
    listed = scene.table[cell]
    lanes = listed[:3]
    gap = np.hypot(*scene.map_pose[lanes[lanes >= 0], :2].T)
    assert (lanes >= 0).all()
    assert gap.min() < 4.5
    assert (scene.table[-1] == -1).all()


def test_a_place_sees_the_same_pieces_whatever_is_cropped():
    """Training keeps less of the map than simulation; where both have it, they have to look the same."""
    options = SceneOptions(map_margin=25.0)
    scene = traffic(rotation=0.4)
    less, more = (tokenise_scene(scene, shipped(), options, training=training) for training in (True, False))
    assert len(less.map_pose) < len(more.map_pose)

    def listed(tokens, place):
        cell = np.floor((place - tokens.grid[:2]) / CELL).astype(int)
        row = tokens.table[cell[0] * int(tokens.grid[3]) + cell[1]]
        return tokens.map_pose[row[row >= 0]]

    for place in less.poses[:, 2, :2]:
        assert np.array_equal(listed(less, place), listed(more, place))


def test_build_from_analytic_motion_only():
    config = VocabularyConfig(tokens=64, pieces=32, analytic=1500)
    vocabulary = build_vocabulary(None, config)
    assert vocabulary.motions.shape == (3, 64, 6, 3)
    assert vocabulary.pieces.shape == (32, 3, 2)
    assert len(np.unique(vocabulary.ends[0].round(4), axis=0)) >= 60


def test_vocabulary_files(tmp_path):
    vocabulary = tiny_vocabulary()
    vocabulary.save(tmp_path / "v.safetensors")
    again = Vocabulary.load(tmp_path / "v.safetensors")
    assert np.array_equal(again.motions, vocabulary.motions)
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="not a readable"):
        Vocabulary.load(tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError, match="no vocabulary"):
        Vocabulary.load(tmp_path / "missing.safetensors")


def test_relative_poses_undo_apply():
    rng = np.random.default_rng(3)
    from harness.traffic.tokens.tokeniser import apply

    base, motion = rng.normal(size=(5, 3)), rng.normal(0, 0.5, size=(5, 3))
    assert np.allclose(relative_poses(apply(base, motion), base), motion)


def test_tokens_that_are_damaged_are_one_clear_error(tmp_path):
    flat = save({item.name: np.zeros(3) for item in dataclasses.fields(SceneTokens)})
    for content in (b"", b"nonsense", b"\x02\0\0\0\0\0\0\0{}", flat, b"\xff" * 7 + b"\0{}"):
        (tmp_path / "t.safetensors").write_bytes(content)
        with pytest.raises(WeightsError, match="Delete it"):
            load_phases(tmp_path / "t.safetensors", shipped())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("token", 10**6), ("map_token", -1), ("map_kind", 99), ("map_light", 5), ("map_around", 10**6), ("kinds", 3)),
        *(("table", -2), ("agents", -1), ("grid", 1e300), ("poses", np.nan), ("goal", np.inf)),
    ],
)
def test_tokens_that_name_what_there_is_not_are_refused(tmp_path, name, value):
    whole = tokenise_scene(straight_road(steps=91), shipped(), training=True)
    save_phases(tmp_path / "t.safetensors", [whole])
    load_phases(tmp_path / "t.safetensors", shipped())
    spoilt = getattr(whole, name).copy()
    spoilt.flat[-1] = value
    save_phases(tmp_path / "t.safetensors", [dataclasses.replace(whole, **{name: spoilt})])
    with pytest.raises(WeightsError, match="Delete it"):
        load_phases(tmp_path / "t.safetensors", shipped())
