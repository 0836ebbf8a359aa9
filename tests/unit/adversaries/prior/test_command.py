"""`python -m harness.train_prior` from options to files."""

import csv
import json

import pytest

from adversaries.prior.prior import MotionPrior
from harness import train_prior
from harness.registry import resolve
from tests.sessions import quiet
from tests.unit.adversaries.prior.worlds import SMALL, Listed, bend

SOURCES = {
    "train": Listed([bend(20.0, 7.0, 0.1, 1.0, "a"), bend(40.0, 8.0, -0.1, -1.0, "b")]),
    "val": Listed([bend(30.0, 9.0, 0.0, 1.0, "c")]),
    "test": Listed([bend(35.0, 8.5, 0.0, 1.0, "d")]),
}


def test_a_run_writes_weights_tables_and_curve_and_resumes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda data, split, scenes, **_: SOURCES[split])
    training = resolve("adversary", "adversaries.prior.config:PriorTraining")
    options = {"samples_per_epoch": 16, "batch_size": 8, "stationary": 1.0, "model": SMALL}
    session = quiet(train_prior.main)
    config = train_prior.TrainPriorConfig(out=tmp_path / "run", training=training(epochs=1, **options))
    folder = train_prior.run(config, session)
    assert MotionPrior.load(folder / "prior.safetensors").info["data"] == "procedural"
    assert (folder / "curve.png").read_bytes()[:4] == b"\x89PNG"
    rows = list(csv.DictReader((folder / "table.csv").open()))
    methods = {row["method"] for row in rows if row["split"] == "test" and row["vehicles"] == "moving"}
    assert methods == {"prior", "constant velocity", "lane following"}
    assert float(rows[0]["minADE_32"]) <= float(rows[0]["minADE_6"]) <= float(rows[0]["minADE_1"])
    assert len(json.loads((folder / "history.json").read_text())) == 1

    again = train_prior.TrainPriorConfig(resume=folder, training=training(epochs=2, **options))
    assert train_prior.run(again, session) == folder
    assert len(json.loads((folder / "history.json").read_text())) == 2


def test_errors_are_one_line(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as found:
        train_prior.main(["--data", str(tmp_path / "absent"), "--out", str(tmp_path / "run")])
    assert found.value.code == 2
    assert "absent" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_old_spellings_of_scenes() -> None:
    config = train_prior.main.parse(["--train", "0:9,12", "--val=test", "--test", ""])
    assert (config.train_split, config.train_scenes) == ("all", "0:9,#12")
    assert (config.val_split, config.test_split) == ("test", "none")
    assert config.open_test() is None
