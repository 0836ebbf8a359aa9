"""The prior learns; runs resume, repeat and refuse."""

import json

import numpy as np
import pytest

from adversaries.prior.config import PriorTraining
from adversaries.prior.prior import MotionPrior
from adversaries.prior.samples import PLAIN, _kept, build_samples, scene_rows
from adversaries.prior.training import train_prior
from harness.errors import ConfigError, RunError
from harness.fitting.events import Advanced, Epoch, Event
from tests.scenes import straight_road
from tests.unit.adversaries.prior.worlds import SMALL, Listed, bend

SHORT = {"batch_size": 16, "samples_per_epoch": 64, "warmup": 5, "average": 0.9, "stationary": 1.0, "model": SMALL}


def bends(count: int, seed: int) -> Listed:
    rng = np.random.default_rng(seed)
    draws = rng.uniform((10.0, 6.0, -0.3), (60.0, 10.0, 0.4), (count, 3))
    scenes = [bend(*draw, rng.choice([-1.0, 1.0]), f"bend{seed}_{k}") for k, draw in enumerate(draws)]
    return Listed(scenes)


def test_it_learns_to_follow_a_bend(tmp_path) -> None:
    config = PriorTraining(epochs=14, patience=14, learning_rate=3e-3, **SHORT)
    results = train_prior(config, bends(16, 0), bends(6, 1), tmp_path).results["val"]["moving"]
    prior, straight = results["prior"], results["constant velocity"]
    assert prior["minADE_6"] < 0.4 * straight["minADE_6"]
    assert prior["miss_32"] < 0.5
    rows = json.loads((tmp_path / "history.json").read_text())
    assert rows[-1]["goal"] < rows[0]["goal"] - 0.5
    assert MotionPrior.load(tmp_path / "prior.safetensors").info["train_samples"] > 16


def test_resumed_is_the_same_as_uninterrupted(tmp_path) -> None:
    config = PriorTraining(epochs=3, **SHORT)
    source, held_out = bends(4, 0), bends(2, 1)

    class KilledError(Exception):
        pass

    seen = []

    def kill(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Advanced) and any(isinstance(earlier, Epoch) for earlier in seen):
            raise KilledError

    whole = train_prior(config, source, held_out, tmp_path / "whole")
    with pytest.raises(KilledError):
        train_prior(config, source, held_out, tmp_path / "cut", report=kill)
    with pytest.raises(RunError, match="--resume"):
        train_prior(config, source, held_out, tmp_path / "cut")
    resumed = train_prior(config, source, held_out, tmp_path / "cut", resume=True)
    for name, value in whole.prior.network.state_dict().items():
        again = resumed.prior.network.state_dict()[name]
        np.testing.assert_array_equal(value.numpy(), again.numpy(), err_msg=name)
    assert len(whole.history) == len(resumed.history) == 3
    with pytest.raises(RunError, match="other settings"):
        train_prior(
            PriorTraining(epochs=3, **{**SHORT, "batch_size": 8}), source, held_out, tmp_path / "cut", resume=True
        )
    with pytest.raises(RunError, match="scenes was"):
        train_prior(config, bends(4, 7), held_out, tmp_path / "cut", resume=True)


def test_samples_are_kept_and_made_again_when_the_scenes_change(tmp_path) -> None:
    calls = []

    def build(source: Listed):
        return build_samples(
            source, tmp_path / "s", SMALL, varied=True, stationary=1.0, seed=0, progress=lambda *a: calls.append(a)
        )

    first = build(bends(2, 0))
    assert len(calls) == 2
    build(bends(2, 0))
    assert len(calls) == 2
    build(bends(3, 5))
    assert len(calls) == 5
    assert first.arrays["future_valid"].any(1).all()
    assert not list(tmp_path.glob(".s.*"))


def test_damaged_samples_are_none(tmp_path) -> None:
    build_samples(bends(1, 0), tmp_path / "s", SMALL, varied=False, stationary=1.0, seed=0)
    index = json.loads((tmp_path / "s" / "index.json").read_text())
    for name, content in (
        *(("index.json", content) for content in ("[]", "{", "[" * 100_000)),
        *(("index.json", json.dumps(index | {"count": count})) for count in (-1, 10**15, "9", 0)),
        *(("goals.bin", ""), ("goals.bin", None), ("goal_mask.bin", 0), ("map_count.bin", 255)),
    ):
        file = tmp_path / "s" / name
        whole = file.read_bytes()
        assert _kept(tmp_path / "s", index["spec"], SMALL) is not None
        file.unlink()
        if content is not None:
            file.write_bytes(content.encode() if isinstance(content, str) else bytes([content]) * len(whole))
        if name != "index.json" or content is not None:
            assert _kept(tmp_path / "s", index["spec"], SMALL) is None, f"{name} of {content!r:.20}"
        file.write_bytes(whole)


def test_targets_are_the_future_in_the_agents_frame() -> None:
    scene = straight_road(opponent_speed=7.0, rotation=1.0, origin=(4e4, -2e4))
    rows = {row["agent"]: row for row in scene_rows(scene, 0, PLAIN, 1.0, 0, SMALL)}
    assert set(rows) == {0, 1}
    np.testing.assert_allclose(rows[1]["future"][:, 0], 0.7 * np.arange(1, 81), atol=1e-6)
    np.testing.assert_allclose(rows[1]["future"][:, 1:], 0.0, atol=1e-6)
    np.testing.assert_allclose(rows[1]["end"], [56.0, 0.0], atol=1e-6)
    assert rows[1]["interest"]
    assert not rows[0]["interest"]


def test_scenes_without_suitable_vehicles_are_refused(tmp_path) -> None:
    scene = straight_road(with_opponent=False, steps=40)
    with pytest.raises(RunError, match="none of the 1 scenes"):
        train_prior(PriorTraining(epochs=1, **SHORT), Listed([scene]), Listed([scene]), tmp_path / "run")
    assert not list((tmp_path / "run" / "samples").iterdir())


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"average": 1.0}, {"learning_rate": 0.0}, {"stationary": 2.0}])
def test_impossible_options_are_refused(bad: dict) -> None:
    with pytest.raises(ConfigError):
        PriorTraining(**bad)
