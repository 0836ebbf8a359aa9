"""Attacks played in the engine: what geometry foretells against a replayed ego is what happens."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from harness import attack
from harness.attacks.closed_loop import rates, simulate
from harness.attacks.open_loop import attack_logged
from harness.episodes.policies import load_policy
from harness.episodes.protocol import CORRECTED
from harness.registry import make
from tests.sources import tiny_source


def test_open_loop_and_engine_agree_on_a_replayed_ego() -> None:
    source, rule = tiny_source(), make("adversary", "rule")
    # Aimed at the logged ego, as `attack_logged` does; `corrected` aims at what the engine recorded, which ends where
    # the ego arrives.
    logged = replace(CORRECTED, attack_logged_ego=True)
    episodes = simulate(source, len(source), load_policy("replay"), [rule, make("adversary", "none")], logged)
    assert [episode.adversary for episode in episodes] == ["rule", "none"] * 3
    for index in (0, 1):
        planned, _ = attack_logged(rule, source[index], CORRECTED)
        attacked, quiet = episodes[2 * index], episodes[2 * index + 1]
        # A replayed ego is judged in its logged size, as the open loop does.
        assert attacked.opponent == planned.contact_step
        assert attacked.geometry == attacked.opponent
        assert attacked.contact >= 0
        assert attacked.normal_geometry == -1
        assert (quiet.contact, quiet.geometry) == (-1, -1)
    assert "no opponent" in episodes[4].error
    found = rates([episode for episode in episodes if episode.adversary == "rule"])
    assert found["opponent"].mean == 1.0
    assert found["normal_geometry"].mean == 0.0


def test_the_command_simulates_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scenarios.selection.open_source", lambda *data, **options: tiny_source())
    out = tmp_path / "run"
    attack.main(["--adversary", "rule", "--sut", "replay", "--scenes", "1", "--out", str(out)])
    with (out / "simulated.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["policy"], row["adversary"]) == ("replay", "rule")
    assert int(row["opponent"]) > 10
    assert "in the engine against replay" in capsys.readouterr().out


def test_a_system_that_does_not_exist_is_said_before_anything_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scenarios.selection.open_source", lambda *data, **options: tiny_source())
    with pytest.raises(SystemExit):
        attack.main(["--adversary", "rule", "--sut", "idmm", "--out", str(tmp_path / "run")])
    assert "idmm" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
