"""The verbs of training: old spellings lead to options that exist; TensorBoard gets finite numbers by stage."""

import re
import sys
from types import SimpleNamespace

import pytest

from harness import train_ego, train_matrix
from harness.errors import ConfigError
from harness.exports.library import library
from harness.training.tensorboard import TensorBoardWatcher


@pytest.mark.parametrize("verb", [train_ego, train_matrix])
def test_old_spellings_lead_to_options_that_exist(verb, capsys):
    with pytest.raises(SystemExit):
        verb.main(["quick", "--help"])
    options = set(re.findall(r"--[a-z0-9.-]+", capsys.readouterr().out))
    assert set(verb.RENAMED.values()) <= options
    assert not set(verb.RENAMED) & options


class Written:
    """A writer that keeps what it is given."""

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.scalars = folder, purge_step, []

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))


@pytest.mark.parametrize(("resumed_at", "hidden"), [(0, None), (500, 500)])
def test_tensorboard_gets_finite_numbers_and_hides_what_a_killed_run_wrote_later(
    monkeypatch, tmp_path, resumed_at, hidden
):
    made = []
    writer = SimpleNamespace(SummaryWriter=lambda *args, **kwargs: made.append(Written(*args, **kwargs)) or made[-1])
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", writer)
    watcher = TensorBoardWatcher(tmp_path, resumed_at)
    watcher.metrics({"step": 7, "loss": 0.5, "bad": float("nan"), "none": None})
    assert made[0].scalars == [("train/loss", 0.5, 7)]
    assert made[0].purge_step == hidden


def test_a_missing_export_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scenariogeneration", None)
    monkeypatch.setitem(sys.modules, "scenariogeneration.xosc", None)
    with pytest.raises(ConfigError, match=r"pip install 'gauntlet-drive\[openscenario\]'"):
        library()
