"""Messages are one line, whatever a stranger's file calls its parts, and what reading raises becomes one error."""

import pickle

import pytest
import torch

from harness.errors import (
    MAX_MESSAGE,
    ConfigError,
    PolicyError,
    ScenarioError,
    UnknownNameError,
    WeightsError,
    foreign,
    one_line,
    reading,
)


def test_a_message_is_one_line_that_can_be_written():
    text = str(ScenarioError("a\nb\r\x1b[2J\u2028\ud800c: " + "x" * 10**6))
    assert text.startswith(r"a\nb\r\x1b[2J\u2028\ud800c: xx")
    assert "…" in text
    assert len(text) < MAX_MESSAGE + 50
    assert text.encode("utf-8")


def test_the_end_of_a_long_message_stays_because_it_says_what_to_do():
    assert one_line("a" * 5000 + "Copy it again.").endswith("aaaCopy it again.")


def test_an_unknown_name_keeps_its_message_across_processes():
    error = pickle.loads(pickle.dumps(UnknownNameError("policy", "a\nb", ["c"])))
    assert str(error).startswith("unknown policy")
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "raised",
    [ValueError("v"), KeyError(10**5000), OverflowError(), RecursionError("deep"), MemoryError(), OSError(5, "disk")],
)
def test_what_reading_raises_becomes_one_error_that_names_the_file(raised):
    with (
        pytest.raises(WeightsError, match=r"^a\.bin: cannot be read \(\w+.*Expected weights\.$"),
        reading("a.bin", "weights", WeightsError),
    ):
        raise raised


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("raised", [ValueError("v"), SystemExit(0), GeneratorExit(), StopIteration(), MuteError()])
def test_what_a_users_code_raises_becomes_one_error_that_says_whose_it_was(raised):
    with pytest.raises(PolicyError, match=rf"^mine: {type(raised).__name__}"), foreign("mine", PolicyError):
        raise raised


def test_ctrl_c_and_what_shall_pass_pass_a_users_code():
    for error in (KeyboardInterrupt(), ConfigError("clear")):
        with pytest.raises(type(error)) as found, foreign("mine", PolicyError, (ConfigError,)):
            raise error
        assert found.value is error


def test_torchs_defaults_end_with_the_code_that_set_them():
    with foreign("mine", PolicyError):
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        assert torch.zeros(1).dtype == torch.float64
    assert (torch.zeros(1).dtype, torch.zeros(1).device.type) == (torch.float32, "cpu")
    assert torch.is_grad_enabled()


def test_a_clear_error_passes():
    with pytest.raises(ConfigError, match=r"^clear$"), reading("a.bin", "weights"):
        raise ConfigError("clear")
