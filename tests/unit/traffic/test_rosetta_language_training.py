"""Training behind a language model, and around a scene encoder that is frozen."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors import safe_open

from harness.errors import ConfigError
from harness.traffic.model.network import SmartNetwork
from harness.traffic.rosetta.config import RosettaConfig
from harness.traffic.rosetta.model import RosettaModel
from harness.traffic.training import encoded
from harness.traffic.training.config import StageOptions
from harness.traffic.training.decided import of_encoder
from harness.traffic.training.loop import train_stage
from harness.traffic.training.recipe import starting_model
from harness.traffic.training.sequences import (
    ROSETTA_WEIGHTS,
    RosettaTask,
    SequenceCloning,
    sequence_losses,
)
from tests.unit.traffic.language import language_folder
from tests.unit.traffic.scenes import small_model, small_rosetta, tiny_vocabulary
from tests.unit.traffic.test_rosetta_model import plan, step_of, task_of


def frozen(task: RosettaTask) -> RosettaTask:
    """The same task around a frozen scene encoder."""
    objective = SequenceCloning(encoder="frozen")
    return RosettaTask(
        task.config, objective, task.network, task.options, task.train_scenes, task.held_out, task.folder
    )


def test_a_frozen_encoder_gives_the_same_losses(monkeypatch):
    model = small_rosetta(vocabulary=tiny_vocabulary())
    with torch.no_grad():
        for value in model.network.parameters():
            value.add_(0.05 * torch.randn_like(value))
    step, objective, seen = step_of(model), SequenceCloning(encoder="frozen"), []
    usual = encoded.encode
    monkeypatch.setattr(encoded, "encode", lambda *about: seen.append(1) or usual(*about))
    with torch.no_grad():
        wanted = sequence_losses(model.network, step.maps, SequenceCloning().prepare(model.network, step))
        for _ in range(2):
            found = sequence_losses(model.network, step.maps, objective.prepare(model.network, step))
            for name, values in wanted.items():
                assert torch.allclose(found[name], values, atol=1e-5), name
    assert len(seen) == 1
    few = SequenceCloning(3, encoder="frozen").prepare(model.network, step)
    assert len(few.encoded[0]) == len(few.encoded[1]) == len(few.batch.moment) == 3


def test_the_encoder_is_what_smart_is_before_its_head():
    network = small_rosetta(vocabulary=tiny_vocabulary()).network
    smart = {name for name, _ in SmartNetwork(network.config, tiny_vocabulary()).named_parameters()}
    head = {name for name in smart if name.startswith(("token_head.query", "token_head.key", "token_head.ker"))}
    frozen = {name for name, _ in network.named_parameters() if of_encoder(name)}
    assert frozen == (smart - head - {"token_head.bias"}) | {"newcomer"}


def test_a_language_model_learns_and_its_frozen_layers_do_not(tmp_path):
    folder = language_folder(tmp_path / "base")
    model = small_rosetta(
        vocabulary=tiny_vocabulary(), sequence_model="language", base=folder, layers=2, tunable="last1", pieces=4
    )
    task = frozen(task_of(model, tmp_path / "run", epochs=8, rate=1e-2))
    before = {name: value.clone() for name, value in task.network.named_parameters()}
    fixed = task.network.sequence.blocks[0].gate.weight.clone()
    _, rows = train_stage(task, {}, part="rosetta")
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    moved = {name for name, value in task.network.named_parameters() if not torch.equal(value, before[name])}
    assert not {name for name in moved if of_encoder(name)}
    assert {"sequence.start", "sequence.norm.weight", "sequence.enter.weight", "sequence.blocks.1.up.weight"} <= moved
    assert torch.equal(task.network.sequence.blocks[0].gate.weight, fixed)
    file = tmp_path / "run" / ROSETTA_WEIGHTS
    with safe_open(file, "pt") as reader:
        assert not [name for name in reader.keys() if name.startswith("sequence.blocks.0.")]
    again = RosettaModel.load(file, base=folder)
    step = step_of(again)
    best = SequenceCloning().validate(again.network, step)
    assert best == pytest.approx(min(row["val"] for row in rows), abs=1e-4)


def test_a_frozen_encoder_has_learnt_something(tmp_path, caplog):
    frozen = dataclasses.replace(plan(tmp_path), options=StageOptions(encoder="frozen"))
    with pytest.raises(ConfigError, match=r"--options.encoder frozen .* give --init FILE"):
        starting_model(frozen)
    small_model(vocabulary=tiny_vocabulary()).save(tmp_path / "smart.safetensors")
    small_rosetta(vocabulary=tiny_vocabulary()).save(tmp_path / "own.safetensors")
    for name, said in (("own", ""), ("smart", "knows no newcomers")):
        starting_model(dataclasses.replace(frozen, init=tmp_path / f"{name}.safetensors"))
        assert said in caplog.text
        assert bool(said) == bool(caplog.records)
    starting_model(dataclasses.replace(frozen, options=StageOptions()))
    assert len(caplog.records) == 1


def test_another_sequence_model_begins_around_a_trained_encoder(tmp_path):
    trained = small_rosetta(vocabulary=tiny_vocabulary())
    with torch.no_grad():
        trained.network.newcomer.fill_(0.5)
    trained.save(tmp_path / "own.safetensors")
    folder = language_folder(tmp_path / "base")
    begun = dataclasses.replace(
        plan(tmp_path),
        init=tmp_path / "own.safetensors",
        rosetta=RosettaConfig(sequence_model="language", base=folder, layers=2, width=8),
    )
    model = starting_model(begun)
    assert model.network.rosetta.sequence_model == "language"
    assert bool((model.network.newcomer == 0.5).all())
    assert torch.equal(model.network.fuse[0].weight, trained.network.fuse[0].weight)
    model.save(tmp_path / "language.safetensors")
    # With the options of before, and without them: the same model goes on.
    for rosetta in (begun.rosetta, RosettaConfig(base=folder)):
        again = starting_model(dataclasses.replace(begun, init=tmp_path / "language.safetensors", rosetta=rosetta))
        assert torch.equal(again.network.start_token, model.network.start_token)
