"""A stranger's weights file is one clear error before anything of the size that it claims is made."""

import json
import resource
import struct
import time
from dataclasses import asdict, dataclass
from typing import Literal

import pytest
import torch
from safetensors.torch import save
from torch import nn

from adversaries.prior.config import ARCHITECTURE as PRIOR
from adversaries.prior.config import PriorConfig
from adversaries.prior.prior import SHIPPED, MotionPrior
from adversaries.seal.weights import ARCHITECTURE as SEAL
from adversaries.seal.weights import SealModel
from harness.errors import WeightsError
from harness.fitting.stored import settings_from_json
from harness.fitting.weights import check_layers, fill, read_tensors
from harness.traffic.model.config import ARCHITECTURE as SMART
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.smart import SmartModel
from harness.traffic.tokens.vocabulary import FORMAT, Vocabulary


@dataclass(frozen=True)
class Sizes:
    width: int
    share: float = 0.5
    wide: bool = False
    head: Literal["a", "b"] = "a"


@pytest.fixture(autouse=True)
def little_memory_and_time():
    """Whatever a file claims: within a second and 200 MB."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert time.process_time() - began < 5.0


def write(folder, header, tensors=None):
    """A safetensors file with this free header."""
    file = folder / "weights.safetensors"
    file.write_bytes(save(tensors or {"x": torch.zeros(2)}, metadata=header))
    return file


def raw(folder, header, body=b""):
    file = folder / "weights.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + body)
    return file


def read(file):
    return read_tensors(file, ("architecture", "mine"), "no weights at {file}")


HEADERS = {
    "claims a terabyte": (10**12).to_bytes(8, "little") + b"{}",
    "claims nine exabytes": b"\xff" * 8 + b"{}",
    "empty": b"",
    "half a length": b"\x02\x00",
    "no JSON": struct.pack("<Q", 4) + b"{,,}",
    "deep": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "deep metadata": struct.pack("<Q", 200_018) + b'{"__metadata__":{"' + b"[" * 200_000,
    "a list": struct.pack("<Q", 2) + b"[]",
    "null": struct.pack("<Q", 4) + b"null",
    "metadata null": struct.pack("<Q", 21) + b'{"__metadata__": 1.5}',
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_hostile_header(tmp_path, case):
    (tmp_path / "weights.safetensors").write_bytes(HEADERS[case])
    with pytest.raises(WeightsError, match=r"weights\.safetensors is not a readable safetensors file"):
        read(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("shape", [[10**9, 10**9], [2**63], [-1], [10**30], "ab", None, [1.5]])
@pytest.mark.parametrize("dtype", ["F32", "F99", 7])
def test_a_hostile_tensor(tmp_path, shape, dtype):
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, 8]}
    header = json.dumps({"x": entry, "__metadata__": {"architecture": "mine"}}).encode()
    with pytest.raises(WeightsError, match="not a readable"):
        read(raw(tmp_path, header, b"\0" * 8))


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "nothing", "NaN", '{"a": Infinity}', "9" * 5000])
def test_a_hostile_configuration(tmp_path, text):
    with pytest.raises(WeightsError, match="no readable configuration"):
        read(write(tmp_path, {"architecture": "mine", "config": text}))


@pytest.mark.parametrize("name", ["config", "info", "scene"])
@pytest.mark.parametrize("text", ["null", "[]", "3", '"text"'])
def test_a_part_of_the_header_that_is_no_object(tmp_path, name, text):
    with pytest.raises(WeightsError, match=f"{name} in its header is .*expected a JSON object"):
        read(write(tmp_path, {"architecture": "mine", name: text}))


def test_pipes_and_folders_are_no_weights(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "a named pipe"), (tmp_path, "a directory")):
        with pytest.raises(WeightsError, match=what):
            read(path)
    with pytest.raises(WeightsError, match="no weights at"):
        read(tmp_path / "missing")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers(tmp_path, value, dtype):
    file = write(tmp_path, {"architecture": "mine"}, {"x": torch.tensor([1.0, value], dtype=dtype)})
    with pytest.raises(WeightsError, match="'x' holds NaN or infinite"):
        read(file)


def test_settings():
    assert settings_from_json(Sizes, {"width": 3, "share": 1}, "f") == Sizes(3, 1)
    bad = [
        {},
        {"width": 1, "depth": 1},
        *({"width": value} for value in (10**9, 10**400, -1, 1.0, True, None, "3", [], {})),
        *({"width": 1, "share": value} for value in (-0.1, 1e9, None, True, "x")),
        *({"width": 1, "wide": value} for value in (1, 0, None, "true")),
        *({"width": 1, "head": value} for value in ("c", 0, None, [])),
    ]
    for values in bad:
        with pytest.raises(WeightsError, match="f: configuration field '"):
            settings_from_json(Sizes, values, "f")


def test_a_network_is_compared_before_it_has_memory():
    right = nn.Linear(2, 3)
    again = fill(lambda: nn.Linear(2, 3), right.state_dict(), "f")
    assert torch.equal(again.weight, right.weight)
    wrong = [
        lambda: nn.Linear(2, 10**9),
        lambda: nn.Linear(10**9, 10**9),
        lambda: nn.Linear(10**18, 10**18),
        lambda: nn.Linear(2, 3, bias=False),
        lambda: nn.Sequential(nn.Linear(2, 3)),
    ]
    for make in wrong:
        with pytest.raises(WeightsError, match=r"f: .*(do not fit|no network)"):
            fill(make, right.state_dict(), "f")
    with pytest.raises(WeightsError, match="int64"):
        fill(lambda: nn.Linear(2, 3), {**right.state_dict(), "bias": torch.zeros(3, dtype=torch.int64)}, "f")


def test_layers_are_counted_before_they_are_made():
    check_layers("f", {"a": torch.zeros(1)}, layers=1)
    with pytest.raises(WeightsError, match="'layers' is 1000000000"):
        check_layers("f", {"a": torch.zeros(1)}, layers=10**9)


def variants(config):
    """Each number of a configuration as something that it cannot be."""
    for name, value in config.items():
        bad = [10**9, 10**30, -1, None, "text", [], True] + [1.5] * isinstance(value, int)
        yield from ({**config, name: other} for other in bad if not (name == "head" and isinstance(other, bool)))
    yield {}


@pytest.mark.parametrize(
    ("load", "architecture", "config", "key"),
    [(MotionPrior, PRIOR, PriorConfig(), "config"), (SmartModel, SMART, SmartConfig(), "config")],
)
def test_every_field_of_a_configuration(tmp_path, load, architecture, config, key):
    for values in variants(asdict(config)):
        file = write(tmp_path, {"architecture": architecture, key: json.dumps(values)})
        with pytest.raises(WeightsError, match=r"weights\.safetensors"):
            load.load(file)


def test_numbers_that_no_tensor_shows(tmp_path):
    tensors, header = read_tensors(SHIPPED, ("architecture", PRIOR), "")
    for change in ({"heads": 0}, {"heads": 7}, {"max_lanes": 10**6}, {"max_agents": 0}, {"layers": 4000}, {"knots": 1}):
        config = json.dumps({**header["config"], **change})
        with pytest.raises(WeightsError):
            MotionPrior.load(write(tmp_path, {"architecture": PRIOR, "config": config}, tensors))


def test_the_other_kinds_of_weights(tmp_path):
    with pytest.raises(WeightsError, match="do not fit"):
        SealModel.load(write(tmp_path, {"architecture": SEAL, "info": "{}"}))
    model = {name: tensor.long() for name, tensor in SealModel.load().tensors().items()}
    with pytest.raises(WeightsError, match="int64"):
        SealModel.load(write(tmp_path, {"architecture": SEAL}, model))
    for motions in (torch.zeros(3, 0, 6, 3), torch.zeros(3, 4, 6, 3).long(), torch.zeros(())):
        with pytest.raises(WeightsError, match="tokens: expected"):
            Vocabulary.load(write(tmp_path, {"format": FORMAT}, {"motions": motions, "pieces": torch.zeros(2, 3, 2)}))
