"""The scene autoencoder: what it sees of a moment, what it minimises, its training, weights and latents."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harness import train_traffic
from harness.errors import ConfigError, RunError, WeightsError
from harness.fitting.events import Epoch
from harness.traffic.scene_vae.config import SceneVaeConfig, VaeTraining
from harness.traffic.scene_vae.elbo import elbo_terms, standard_divergence
from harness.traffic.scene_vae.model import SceneVae
from harness.traffic.scene_vae.moments import (
    LaneRelation,
    LaneTable,
    MomentBatch,
    MovingTraffic,
    join_moments,
    moments_of,
)
from harness.traffic.scene_vae.network import DecodedMoments, Gaussians, SceneLatents, SceneVaeNetwork
from harness.traffic.scene_vae.options import TrainVaeCommand
from harness.traffic.scene_vae.run import train_vae
from harness.traffic.scene_vae.training import (
    WEIGHTS,
    SceneVaeTask,
    collect_moments,
    logged_moments,
    logged_traffic,
    train_scene_vae,
)
from scenarios.scenario import Kind, MapFeature
from tests.scenes import Agent, make_scene
from tests.sessions import quiet
from tests.unit.traffic.test_training import Scenes, two_scenes

SMALL = SceneVaeConfig(hidden=16, heads=2, layers=1, pair=4, objects=6, lanes=8, points=5)
QUICK = VaeTraining(epochs=2, batch=4, average=0.5, warmup=1)


def line(name, *points, **links):
    return MapFeature(name, "LANE_SURFACE_STREET", np.array([(x, y, 0.0) for x, y in points], float), **links)


def two_lanes():
    """Two lanes side by side along +x, the left one followed by another; the ego at (10, 0), looking along +x."""
    features = [
        line("right", (-100, 0), (100, 0), left=("left",)),
        line("left", (-100, 3.5), (20, 3.5), exit=("on",)),
        line("on", (20, 3.5), (100, 3.5)),
        line("far", (0, 50), (10, 50)),
    ]
    agents = [
        Agent("ego", 0, 0),
        Agent("walker", 5, -6.0, np.pi / 2, 1.0, Kind.PEDESTRIAN, (0.8, 0.8, 1.8)),
        Agent("away", 200, 0),
        Agent("late", 20, 3.5, speed=5.0, first=10),
        Agent("cone", 3, 1.0, 0.0, 0.0, Kind.CONE, (0.3, 0.3, 0.5)),
    ]
    return make_scene(agents, features, opponent=None)


def moment(**changes):
    scene = two_lanes()
    config = dataclasses.replace(SMALL, **changes)
    traffic = MovingTraffic(
        np.concatenate([scene.position[..., :2], scene.heading[..., None]], -1),
        scene.valid,
        np.array([scene.box(agent) for agent in range(scene.num_agents)]),
        scene.kinds,
    )
    observer = traffic.poses[0]
    return moments_of(LaneTable(scene, config), traffic, observer, [10])[0]


def test_objects_are_those_in_the_square_the_nearest_first():
    found = moment()
    assert found.kinds.tolist() == [Kind.VEHICLE, Kind.PEDESTRIAN, Kind.VEHICLE]
    # The ego at 10 m/s; the walker 5 m behind it; "late", who came now, by its way to the next step.
    expected = [
        [0, 0, 1, 0, 10 / 20, 4.5 / 10, 2 / 5],
        [-5 / 32, -5 / 32, 0, 1, 1 / 20, 0.8 / 10, 0.8 / 5],
        [15 / 32, 3.5 / 32, 1, 0, 5 / 20, 4.5 / 10, 2 / 5],
    ]
    assert found.objects == pytest.approx(np.array(expected), abs=1e-6)
    assert len(moment(objects=2).objects) == 2
    assert len(moment(side=8.0).objects) == 1


def test_lanes_are_cut_at_the_square_and_know_one_another():
    found = moment()
    assert found.lanes.shape == (3, 5, 2)
    right, left, on = found.lanes
    assert right[:, 0] == pytest.approx(np.linspace(-32, 32, 5) / 32, abs=1e-6)
    assert right[:, 1] == pytest.approx(np.zeros(5), abs=1e-6)
    assert left[:, 0] == pytest.approx(np.linspace(-32, 10, 5) / 32, abs=1e-6)
    assert on[:, 0] == pytest.approx(np.linspace(10, 32, 5) / 32, abs=1e-6)
    kind = LaneRelation
    assert found.relation.tolist() == [
        [kind.SELF, kind.RIGHT, kind.NONE],
        [kind.LEFT, kind.SELF, kind.PREVIOUS],
        [kind.NONE, kind.NEXT, kind.SELF],
    ]
    assert len(moment(lanes=1).lanes) == 1


def test_of_a_lane_that_comes_back_the_longest_part_is_seen():
    loop = line("loop", (-10, 0), (100, 0), (100, 5), (0, 5), (0, 20), (100, 20))
    lanes, _ = LaneTable(make_scene([Agent("ego", 0, 0)], [loop], opponent=None), SMALL).seen(np.zeros(3))
    assert len(lanes) == 1
    # 42 m on the way out, 32 + 15 + 32 m on the way back.
    assert lanes[0, 0] == pytest.approx([1.0, 5 / 32], abs=1e-6)
    assert lanes[0, -1] == pytest.approx([1.0, 20 / 32], abs=1e-6)
    # Without any lane there are none.
    empty, relation = LaneTable(make_scene([Agent("ego", 0, 0)], [], opponent=None), SMALL).seen(np.zeros(3))
    assert empty.shape == (0, 5, 2)
    assert relation.shape == (0, 0)


def test_the_mirror_exchanges_left_and_right():
    batch = join_moments([moment()], 5)
    seen = batch.mirrored()
    assert torch.equal(seen.objects[0, :, 1], -batch.objects[0, :, 1])
    assert torch.equal(seen.objects[0, :, 3], -batch.objects[0, :, 3])
    assert torch.equal(seen.lanes[..., 0], batch.lanes[..., 0])
    assert torch.equal(seen.lanes[..., 1], -batch.lanes[..., 1])
    assert (seen.relation[0, 0, 1], batch.relation[0, 0, 1]) == (LaneRelation.LEFT, LaneRelation.RIGHT)
    again = seen.mirrored()
    assert all(torch.equal(one, two) for one, two in zip(again, batch, strict=True))


def test_padding_changes_nothing_and_maps_do_not_see_objects():
    network = SceneVaeNetwork(SMALL).eval()
    one = moment()
    fuller = one._replace(
        objects=np.concatenate([one.objects, one.objects[:1]]), kinds=np.concatenate([one.kinds, one.kinds[:1]])
    )
    alone = network.encoder(join_moments([one], 5))
    beside = network.encoder(
        join_moments([one._replace(lanes=one.lanes[:1], relation=one.relation[:1, :1]), fuller], 5)
    )
    assert torch.allclose(alone.lanes.mean[0], beside.lanes.mean[1], atol=1e-5)
    assert not torch.allclose(alone.objects.mean[0], beside.objects.mean[1, :3], atol=1e-5)
    padded = network.encoder(join_moments([one, fuller], 5))
    assert torch.allclose(alone.objects.mean[0], padded.objects.mean[0, :3], atol=1e-5)


def test_the_terms_of_the_bound_by_hand():
    batch = join_moments([moment()], 5)
    zero = Gaussians(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2))
    shifted = Gaussians(torch.full((1, 3, 2), 2.0), torch.zeros(1, 3, 2))
    assert standard_divergence(shifted).tolist() == [[4.0] * 3]
    wide = Gaussians(torch.zeros(1), torch.full((1,), float(np.log(4.0))))
    assert float(standard_divergence(wide)) == pytest.approx(0.5 * (4 - 1 - np.log(4)))
    decoded = DecodedMoments(batch.objects + 0.5, torch.zeros(1, 3, 3), batch.lanes - 0.25, torch.zeros(1, 3, 3, 6))
    terms = elbo_terms(batch, SceneLatents(zero, shifted), decoded)
    assert [float(value) for value in terms] == pytest.approx([0.5, np.log(3), 0.25, np.log(6), 4.0], abs=1e-5)
    weights = VaeTraining(lanes=10.0, relations=2.0, divergence=0.01)
    assert float(terms.total(weights)) == pytest.approx(0.5 + np.log(3) + 2.5 + 2 * np.log(6) + 0.04, abs=1e-4)


def test_a_moment_without_objects_has_no_such_terms():
    one = moment()
    bare = one._replace(objects=one.objects[:0], kinds=one.kinds[:0])
    batch = join_moments([bare, one], 5)
    network = SceneVaeNetwork(SMALL)
    terms = elbo_terms(batch, *network(batch))
    assert terms.objects[0].item() == terms.kinds[0].item() == 0.0
    assert terms.lanes[0].item() > 0
    total = terms.total(QUICK).mean()
    total.backward()
    assert all(torch.isfinite(value.grad).all() for value in network.parameters() if value.grad is not None)


def test_it_learns_to_tell_moments_apart(tmp_path):
    scenes = two_scenes()
    long = dataclasses.replace(QUICK, epochs=30, learning_rate=1e-2, final_rate=0.1, warmup=5, average=0.0)
    vae, rows = train_scene_vae(long, SMALL, scenes, scenes, tmp_path)
    assert rows[-1]["val"] < 0.6 * rows[0]["val"]
    found = vae.encode(logged_moments(scenes[0], SMALL, 2) + logged_moments(scenes[1], SMALL, 2))
    gaps = np.linalg.norm(found.map_mean[:, None] - found.map_mean[None], axis=-1)
    assert max(gaps[0, 1], gaps[2, 3]) < gaps[0, 2]


def test_a_run_that_is_stopped_goes_on_to_the_same_weights(tmp_path):
    scenes = two_scenes()
    whole, _ = train_scene_vae(QUICK, SMALL, scenes, scenes, _folder(tmp_path / "a"))

    class HaltError(Exception):
        pass

    def stop(event):
        if isinstance(event, Epoch):
            raise HaltError

    with pytest.raises(HaltError):
        train_scene_vae(QUICK, SMALL, scenes, scenes, _folder(tmp_path / "b"), report=stop)
    again, rows = train_scene_vae(QUICK, SMALL, scenes, scenes, tmp_path / "b")
    assert [row["epoch"] for row in rows] == [0, 1]
    assert again.identity() == whole.identity()
    with pytest.raises(RunError, match="seed was 0 and is 1"):
        train_scene_vae(dataclasses.replace(QUICK, seed=1), SMALL, scenes, scenes, tmp_path / "b")


def _folder(path):
    path.mkdir()
    return path


def test_weights_come_back_and_others_are_refused(tmp_path):
    torch.manual_seed(0)
    vae, file = SceneVae(SceneVaeNetwork(SMALL), {"data": "own"}), tmp_path / "v.safetensors"
    vae.save(file)
    again = SceneVae.load(file)
    assert (again.identity(), again.config, again.info) == (vae.identity(), SMALL, {"data": "own"})
    vae.config = dataclasses.replace(SMALL, map_latent=25)
    vae.save(file)
    with pytest.raises(WeightsError, match="lane_latent"):
        SceneVae.load(file)
    vae.config = dataclasses.replace(SMALL, layers=2)
    vae.save(file)
    with pytest.raises(WeightsError, match="is missing"):
        SceneVae.load(file)
    with pytest.raises(WeightsError, match="train_traffic vae"):
        SceneVae.load(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="cannot work"):
        SceneVaeConfig.from_dict({**SMALL.to_dict(), "heads": 3}, "file")
    with pytest.raises(WeightsError, match="missing"):
        SceneVaeConfig.from_dict({"hidden": 16}, "file")
    with pytest.raises(WeightsError, match="'heads' must be an integer from 0 to 64"):
        SceneVaeConfig.from_dict({**SMALL.to_dict(), "hidden": 128, "heads": 128}, "file")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("moments", 0),
        ("seed", -1),
        ("learning_rate", 0.0),
        ("clip", 0.0),
        ("average", 1.0),
        ("final_rate", 1.5),
        ("divergence", float("nan")),
        ("lanes", float("inf")),
        ("warmup", -1),
    ],
)
def test_options_that_cannot_be_are_named_as_they_are_typed(name, value):
    with pytest.raises(ConfigError, match=f"^--training.{name.replace('_', '-')} {value}: expected"):
        VaeTraining(**{name: value})


def test_the_map_of_a_stranger_takes_no_memory_for_all_pairs_of_lanes():
    count = 50
    lanes = [line(str(row), (0, 4 * row), (9, 4 * row), left=(str(row + 1),)) for row in range(count)]
    table = LaneTable(make_scene([Agent("ego", 0, 0)], lanes, opponent=None), SMALL)
    # Each lane and itself, and every two neighbours both ways: what is kept grows with the links of the map.
    assert table._relation.nnz == count + 2 * (count - 1)
    _, relation = table.seen(np.zeros(3))
    assert relation[0, :2].tolist() == [LaneRelation.SELF, LaneRelation.RIGHT]


@pytest.mark.parametrize(("lanes", "batches"), [(8, [3]), (4096, [1, 1, 1])])
def test_the_largest_sizes_are_encoded_one_moment_at_a_time(lanes, batches):
    torch.manual_seed(0)
    vae = SceneVae(SceneVaeNetwork(dataclasses.replace(SMALL, lanes=lanes)))
    seen = []
    vae.network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0].there)))
    found = vae.encode([moment()] * 3)
    assert seen == batches
    assert found.map_mean.shape == (3, 24)


def test_road_users_see_the_map():
    torch.manual_seed(0)
    network, one = SceneVaeNetwork(SMALL).eval(), join_moments([moment()], 5)
    other = network.encoder(one._replace(lanes=one.lanes + 0.5)).objects.mean
    assert not torch.allclose(network.encoder(one).objects.mean, other, atol=1e-4)


def test_how_lanes_are_connected_matters():
    torch.manual_seed(0)
    network, one = SceneVaeNetwork(SMALL).eval(), join_moments([moment()], 5)
    other = one._replace(relation=torch.full_like(one.relation, LaneRelation.NONE))
    assert not torch.allclose(network.encoder(one).lanes.mean, network.encoder(other).lanes.mean, atol=1e-4)
    latents = network.encoder(one)
    whole = network.decoder(latents.objects.mean, latents.lanes.mean, one)
    for bias in network.decoder.biases:
        torch.nn.init.zeros_(bias.weight)
    without = network.decoder(latents.objects.mean, latents.lanes.mean, one)
    assert not torch.allclose(whole.lanes, without.lanes, atol=1e-5)


def test_what_a_lane_is_to_itself_need_not_be_learnt():
    batch = join_moments([moment()], 5)
    none = Gaussians(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2))
    logits = torch.zeros(1, 3, 3, 6)
    # Sure of something wrong on the diagonal, undecided elsewhere.
    logits[0, range(3), range(3), LaneRelation.NEXT] = 50.0
    decoded = DecodedMoments(batch.objects, torch.zeros(1, 3, 3), batch.lanes, logits)
    terms = elbo_terms(batch, SceneLatents(none, none), decoded)
    assert float(terms.relations) == pytest.approx(np.log(6), abs=1e-5)


def test_samples_and_deviations_by_hand():
    latents = Gaussians(torch.full((20_000,), 3.0), torch.full((20_000,), float(np.log(4.0))))
    assert latents.std[0].item() == pytest.approx(2.0)
    sample = latents.sample(torch.Generator().manual_seed(0))
    assert (sample.mean().item(), sample.std().item()) == (pytest.approx(3.0, abs=0.05), pytest.approx(2.0, abs=0.05))


def test_a_moment_is_the_mean_of_means_and_of_deviations():
    torch.manual_seed(0)
    vae, one = SceneVae(SceneVaeNetwork(SMALL)), moment()
    latents = vae.network.encoder(join_moments([one], 5))
    found = vae.encode([one, one._replace(objects=one.objects[:1], kinds=one.kinds[:1])])
    for name, part in (("object", latents.objects), ("map", latents.lanes)):
        assert getattr(found, f"{name}_mean")[0] == pytest.approx(part.mean[0].mean(0).detach().numpy(), abs=1e-6)
        deviations = (0.5 * part.log_variance[0]).exp().mean(0)
        assert getattr(found, f"{name}_std")[0] == pytest.approx(deviations.detach().numpy(), abs=1e-6)


def test_half_of_the_batches_are_seen_in_a_mirror(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(MomentBatch, "mirrored", lambda self: seen.append(True) or self)
    one, training = moment(), dataclasses.replace(QUICK, batch=1)
    task = SceneVaeTask(training, SMALL, [one] * 40, [one], tmp_path, {})
    for batch in task.batches(0):
        task.loss(batch)
    assert 10 <= len(seen) <= 30
    before = len(seen)
    with torch.no_grad():
        held_out = [task.evaluate(epoch)["val"] for epoch in (0, 1)]
    assert (held_out[0], len(seen)) == (held_out[1], before)


def test_seed_and_epoch_say_the_order_of_moments(tmp_path):
    def order(seed, epoch):
        training = dataclasses.replace(QUICK, batch=50, seed=seed)
        (batch,) = SceneVaeTask(training, SMALL, [moment()] * 50, [moment()], tmp_path, {}).batches(epoch)
        return batch

    assert order(0, 0) == order(0, 0)
    assert sorted(order(0, 0)) == list(range(50))
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_every_option_of_the_loop_is_passed_on(tmp_path, monkeypatch):
    seen = {}

    class StoppedError(Exception):
        pass

    def fit(task, settings, **options):
        seen.update(dataclasses.asdict(settings))
        raise StoppedError

    monkeypatch.setattr("harness.traffic.scene_vae.training.Fit", fit)
    training = VaeTraining(
        epochs=3, learning_rate=2e-3, warmup=7, final_rate=0.3, clip=2.0, average=0.5, patience=4, minutes=9.0
    )
    with pytest.raises(StoppedError):
        train_scene_vae(training, SMALL, two_scenes(), two_scenes(), tmp_path)
    wanted = {"rate" if name == "learning_rate" else name: value for name, value in vars(training).items()}
    names = ("epochs", "rate", "warmup", "final_rate", "clip", "average", "patience", "minutes")
    assert {name: seen[name] for name in names} == {name: wanted[name] for name in names}


def test_windows_begin_and_end_at_half_seconds():
    scene, vae = two_lanes(), SceneVae(SceneVaeNetwork(SMALL))
    poses = np.zeros((1, 91, 3))
    traffic = MovingTraffic(poses, np.ones((1, 91), bool), np.ones((1, 2)), np.zeros(1, int))
    for starts, length in (([10, 13], 40), ([10], 42)):
        with pytest.raises(ConfigError, match="expected multiples of 5 steps"):
            vae.windows(LaneTable(scene, SMALL), traffic, poses[0], np.array(starts), length)


def test_latents_of_windows_are_means_over_their_half_seconds():
    scene = two_lanes()
    torch.manual_seed(0)
    vae = SceneVae(SceneVaeNetwork(SMALL))
    traffic = MovingTraffic(
        np.concatenate([scene.position[..., :2], scene.heading[..., None]], -1),
        scene.valid,
        np.ones((scene.num_agents, 2)),
        scene.kinds,
    )
    lanes, observer = LaneTable(scene, SMALL), traffic.poses[0]
    found = vae.windows(lanes, traffic, observer, np.array([10, 20]), 40)
    second = vae.encode(moments_of(lanes, traffic, observer, [25, 30, 35, 40, 45, 50, 55, 60]))
    for name, width in (("object_mean", 8), ("object_std", 8), ("map_mean", 24), ("map_std", 24)):
        assert getattr(found, name).shape == (2, width)
        assert getattr(found, name)[1] == pytest.approx(getattr(second, name).mean(0), abs=1e-5)
    assert (found.object_std > 0).all()
    # Nobody and nothing is the standard normal.
    bare = make_scene([Agent("ego", 0, 0)], [], opponent=None)
    nobody = traffic._replace(valid=np.zeros_like(traffic.valid))
    empty = vae.windows(LaneTable(bare, SMALL), nobody, observer, np.array([10]), 40)
    assert [np.unique(values).tolist() for values in empty] == [[0.0], [1.0], [0.0], [1.0]]


def test_moments_are_spread_evenly_over_the_egos_time():
    scene = two_lanes()
    valid = scene.valid.copy()
    valid[0, 81:] = False
    short = dataclasses.replace(scene, valid=valid)
    found = logged_moments(short, SMALL, 3)
    # Of 81 steps those at a quarter, a half and three quarters.
    expected = moments_of(LaneTable(scene, SMALL), logged_traffic(short), scene.states(0)[:, :3], [20, 40, 60])
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        assert one.objects == pytest.approx(other.objects, abs=1e-6)
        assert one.lanes == pytest.approx(other.lanes, abs=1e-6)


def test_scenes_without_lanes_teach_nothing():
    with pytest.raises(RunError, match=r"near a lane.*Give scenes whose maps have lanes \(`--data`\)"):
        collect_moments(Scenes(make_scene([Agent("ego", 0, 0)], [], opponent=None)), SMALL, 2)


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: two_scenes())
    session = quiet(train_traffic.vae)
    config = TrainVaeCommand(out=tmp_path / "run", training=QUICK, model=SMALL)
    folder = train_vae(config, session)
    said = session.console.file.getvalue()
    assert "scene vae: 8 moments, 8 held out" in said
    assert "val_relations" in said
    assert f"--retrieval vae:{(folder / WEIGHTS).resolve()}" in said.replace("\n", "")
    assert SceneVae.load(folder / WEIGHTS).info["data"] == "procedural"
    assert (folder / "curve.png").stat().st_size > 1000
    more = dataclasses.replace(config, out=None, resume=folder, training=dataclasses.replace(QUICK, epochs=3))
    train_vae(more, quiet(train_traffic.vae))
    assert SceneVae.load(folder / WEIGHTS).info["moments"] == 8
