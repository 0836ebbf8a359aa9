"""Every registered sequence model keeps its contract, and every way of breaking it is caught."""

import pytest
import torch

from harness import registry
from harness.checks.sequence_model import check_sequence_model
from harness.errors import ConfigError, ConformanceError, UnknownNameError
from harness.traffic.rosetta.config import LanguageOptions
from harness.traffic.rosetta.sequence_model import CausalTransformer, Past, SequenceModel, make_sequence_model
from tests.unit.traffic.language import language_folder


@pytest.mark.parametrize("name", registry.names("sequence_model"))
def test_registered_sequence_models(name, tmp_path):
    torch.manual_seed(0)
    language = LanguageOptions(initial="random", base=language_folder(tmp_path))
    check_sequence_model(make_sequence_model(name, width=16, layers=2, heads=2, dropout=0.0, language=language).eval())


class Sums(SequenceModel):
    """The sum of the tokens before, spoilt in some way."""

    def __init__(self, spoilt: str) -> None:
        super().__init__()
        self.width, self.spoilt = 8, spoilt

    def forward(self, embeddings, present, past=None):
        tokens = embeddings if self.spoilt == "sees padding" else embeddings * present[..., None]
        if self.spoilt == "counts padding":
            tokens = tokens * torch.arange(1, tokens.shape[1] + 1)[:, None]
        found = tokens.flip(1).cumsum(1).flip(1) if self.spoilt == "looks ahead" else tokens.cumsum(1)
        known = present
        if past is not None:
            known = torch.cat([past.present, present], 1)
            if self.spoilt != "forgets":
                found = found + past.layers[0][0][:, -1:]
        return found, Past(known, ((found, found),))


def test_a_sum_keeps_the_contract():
    check_sequence_model(Sums("in no way"))


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ("looks ahead", "causal"),
        ("sees padding", "what stands where no token is"),
        ("counts padding", "where it stands"),
        ("forgets", "given in parts"),
    ],
)
def test_broken_ones_are_caught(spoilt, message):
    with pytest.raises(ConformanceError, match=message):
        check_sequence_model(Sums(spoilt))


def test_names_and_sizes_are_checked():
    with pytest.raises(UnknownNameError, match="Known: language, smollm2, transformer"):
        make_sequence_model("os:system", width=16, layers=1, heads=2, dropout=0.0)
    with pytest.raises(ConfigError, match="multiple of heads"):
        CausalTransformer(width=10, heads=4)
