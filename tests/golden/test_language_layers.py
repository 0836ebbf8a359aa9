"""Layers of language models against the library transformers: by numbers that it has computed, and by itself.

The numbers are those of transformers 5.24 in float32 for the tiny model of `tests.unit.traffic.language`. They are made
anew by `python -m tests.golden.test_language_layers` where the library is installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.traffic.rosetta.config import LanguageOptions
from harness.traffic.rosetta.language_blocks import rates
from harness.traffic.rosetta.language_model import FolderLanguageModel
from harness.traffic.rosetta.sequence import causal_mask
from tests.unit.traffic.language import CONFIG, HIDDEN, LAYERS, WORDS, language_folder, language_tensors

GOLDEN = Path(__file__).with_name("language_layers.json")
STRETCHED = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"rope_theta": 1e6},
    "llama3": {"rope_scaling": STRETCHED},
}
WORDS_READ = [4, 0, 10, 7, 7, 1, 3, 9, 2]
"""A text of the tiny model, the start first."""


def ours(folder: Path, embeddings: Tensor) -> Tensor:
    """What our layers and the final norm of a folder's model make of embeddings [1, L, D]."""
    model = FolderLanguageModel(HIDDEN, LAYERS, 0.0, LanguageOptions(base=folder, tunable="all")).eval()
    model.begin()
    seen, x = torch.ones(embeddings.shape[:2], dtype=torch.bool), embeddings
    angles = torch.arange(x.shape[1])[None, :, None] * rates(model.shape)
    with torch.no_grad():
        for block in model.blocks:
            x = block(x, causal_mask(seen), angles, None)[0]
        return model.norm(x)


def library(kind: str, transformers: Any) -> Any:
    """The tiny model as transformers has it, with a head of its own."""
    qwen = kind == "qwen2"
    made = transformers.Qwen2Config if qwen else transformers.LlamaConfig
    values = {name: value for name, value in {**CONFIG, **KINDS[kind]}.items() if name != "model_type"}
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(made(**values)).float().eval()
    model.model.load_state_dict(language_tensors(qwen))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_layers_give_what_transformers_has_computed(tmp_path: Path, kind: str) -> None:
    golden = json.loads(GOLDEN.read_text())[kind]
    folder = language_folder(tmp_path, bias=kind == "qwen2", **KINDS[kind])
    embeddings = language_tensors(kind == "qwen2")["embed_tokens.weight"][WORDS_READ]
    # Equal numbers begin both: random ones by a seed may differ between versions of PyTorch.
    assert embeddings[0].tolist() == pytest.approx(golden["first"], abs=1e-6)
    assert ours(folder, embeddings[None])[0].flatten().tolist() == pytest.approx(golden["features"], abs=2e-5)


@pytest.mark.language
@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_transformers_has_written_gives_its_logits(tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers", reason="compares with the library transformers")
    model = library(kind, transformers)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        wanted = model(torch.tensor([WORDS_READ])).logits
        found = model.lm_head(ours(tmp_path, model.get_input_embeddings()(torch.tensor([WORDS_READ]))))
    assert wanted.shape == (1, len(WORDS_READ), WORDS)
    assert torch.allclose(found, wanted, atol=2e-5)


def _write() -> None:
    """Compute the golden numbers."""
    import transformers

    found = {}
    for kind in KINDS:
        with torch.no_grad():
            features = library(kind, transformers).model(torch.tensor([WORDS_READ])).last_hidden_state
        first = language_tensors(kind == "qwen2")["embed_tokens.weight"][WORDS_READ[0]]
        found[kind] = {
            "first": [round(value, 7) for value in first.tolist()],
            "features": [round(value, 6) for value in features.flatten().tolist()],
        }
    GOLDEN.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    _write()
