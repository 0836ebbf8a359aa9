"""A tiny language model in a folder, as models are published."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

HIDDEN, FEED, LAYERS, HEADS, KEYS, SIZE, WORDS = 8, 12, 3, 4, 2, 2, 11
CONFIG = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": FEED,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEYS,
    "rope_theta": 100.0,
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.3,
    "bos_token_id": 4,
    "vocab_size": WORDS,
}


def language_tensors(bias: bool = False) -> dict[str, Tensor]:
    """Random weights under the names of published files."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return 0.4 * torch.randn(*shape, generator=generator)

    tensors = {"embed_tokens.weight": drawn(WORDS, HIDDEN), "norm.weight": 1 + drawn(HIDDEN)}
    for layer in range(LAYERS):
        place = f"layers.{layer}."
        for name, rows in (("q", HEADS * SIZE), ("k", KEYS * SIZE), ("v", KEYS * SIZE)):
            tensors[f"{place}self_attn.{name}_proj.weight"] = drawn(rows, HIDDEN)
            if bias:
                tensors[f"{place}self_attn.{name}_proj.bias"] = drawn(rows)
        tensors[f"{place}self_attn.o_proj.weight"] = drawn(HIDDEN, HEADS * SIZE)
        for name in ("gate", "up"):
            tensors[f"{place}mlp.{name}_proj.weight"] = drawn(FEED, HIDDEN)
        tensors[f"{place}mlp.down_proj.weight"] = drawn(HIDDEN, FEED)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{place}{name}.weight"] = 1 + drawn(HIDDEN)
    return tensors


def language_folder(folder: Path, *, bias: bool = False, **changes: object) -> Path:
    """A folder with the tiny model; `changes` are of its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = {"model_type": "qwen2"} if bias else {}
    (folder / "config.json").write_text(json.dumps({**CONFIG, **kind, **changes}))
    tensors = {f"model.{name}": tensor for name, tensor in language_tensors(bias).items()}
    names = sorted(tensors)
    # In two files, as large models come.
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, folder / f"model-{number}.safetensors")
    return folder
