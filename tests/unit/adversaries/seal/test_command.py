"""`python -m harness.train_seal` from options to weights that `seal` takes, without an engine; it resumes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from adversaries.seal.adversary import SealAdversary
from harness import train_seal
from harness.errors import ConfigError, RunError
from harness.files import file_name
from harness.registry import resolve
from tests.scenes import straight_road
from tests.sources import ListSource
from tests.unit.adversaries.fakes import context
from tests.unit.adversaries.sage.toys import small_prior
from tests.unit.adversaries.seal.toys import rollouts

SCENES = [straight_road(opponent_gap=10.0 + k, scene_id=f"scene {k}") for k in range(6)]


def test_from_roll_outs_to_an_adversary(tmp_path, monkeypatch) -> None:
    simulated = []

    def collect(source, policy, prior, folder, *, limit, seed, report):
        names = [file_name(source.ids[index]) for index in range(limit)]
        for k, name in enumerate(names):
            if not (folder / f"{name}.npz").is_file():
                simulated.append(name)
                rollouts(contact=(40, 50), offset=float(k)).save(folder / f"{name}.npz")
            report(k + 1, limit)
        return names

    monkeypatch.setattr(train_seal, "collect", collect)
    monkeypatch.setattr(train_seal, "open_part", lambda data, part: ListSource(SCENES))
    small_prior(0).save(tmp_path / "given.safetensors")
    fit = resolve("adversary", "adversaries.seal.training:FitConfig")
    short = fit(scorer_epochs=2, reactive_epochs=1, skill_epochs=1, prior_epochs=1)
    config = train_seal.TrainSealConfig(scenes=5, prior=tmp_path / "given.safetensors", out=tmp_path / "run", fit=short)
    console = train_seal.Console(quiet=True)
    folder = train_seal.run(config, console)
    assert simulated == [f"scene_{k}" for k in range(5)]
    assert len(json.loads((folder / "history.json").read_text())["scorer"]) == 2
    adversary = SealAdversary(folder / "prior.safetensors")
    assert adversary.model.info["scenes"] == 5
    plan = adversary.plan(context(SCENES[0]))
    assert np.isfinite(plan.scores["score"]).all()
    assert plan.controller is not None

    again = train_seal.TrainSealConfig(prior=tmp_path / "given.safetensors", resume=folder, fit=short)
    train_seal.run(again, console)
    assert simulated[5:] == ["scene_5"], "only the scene that was missing is simulated"

    small_prior(1).save(tmp_path / "other.safetensors")
    changed = train_seal.TrainSealConfig(prior=tmp_path / "other.safetensors", resume=folder, fit=short)
    with pytest.raises(RunError, match="prior was"):
        train_seal.run(changed, console)
    with pytest.raises(RunError, match="seed was 0 and is 1"):
        train_seal.run(replace(again, seed=1), console)


def test_too_few_scenes_say_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(train_seal, "collect", lambda *args, **options: [])
    monkeypatch.setattr(train_seal, "open_part", lambda data, part: ListSource(SCENES))
    with pytest.raises(ConfigError, match="roll-outs"):
        train_seal.run(train_seal.TrainSealConfig(out=tmp_path / "run"), train_seal.Console(quiet=True))
