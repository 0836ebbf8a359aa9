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
from tests.sessions import quiet
from tests.sources import ListSource
from tests.unit.adversaries.fakes import context
from tests.unit.adversaries.sage.toys import small_prior
from tests.unit.adversaries.seal.toys import rollouts

SCENES = [straight_road(opponent_gap=10.0 + k, scene_id=f"scene {k}") for k in range(6)]


def opened(data, split, scenes, **_):
    return ListSource(SCENES[: int(scenes or len(SCENES))])


def test_from_roll_outs_to_an_adversary(tmp_path, monkeypatch) -> None:
    simulated = []

    def collect(source, policy, prior, folder, *, seed, report):
        names = [file_name(name) for name in source.ids]
        for k, name in enumerate(names):
            if not (folder / f"{name}.npz").is_file():
                simulated.append(name)
                rollouts(contact=(40, 50), offset=float(k)).save(folder / f"{name}.npz")
            report(k + 1, len(names))
        return names

    monkeypatch.setattr("harness.attacks.every_candidate.collect", collect)
    monkeypatch.setattr("harness.commands.options.open_scenes", opened)
    small_prior(0).save(tmp_path / "given.safetensors")
    fit = resolve("adversary", "adversaries.seal.config:FitConfig")
    short = fit(scorer_epochs=2, reactive_epochs=1, skill_epochs=1, prior_epochs=1)
    config = train_seal.TrainSealConfig(
        scenes="5", prior=tmp_path / "given.safetensors", out=tmp_path / "run", fit=short
    )
    session = quiet(train_seal.main)
    folder = train_seal.run(config, session)
    assert [name.partition("~")[0] for name in simulated] == [f"scene_{k}" for k in range(5)]
    assert len(json.loads((folder / "history.json").read_text())["scorer"]) == 2
    adversary = SealAdversary(folder / "prior.safetensors")
    assert adversary.model.info["scenes"] == 5
    plan = adversary.plan(context(SCENES[0]))
    assert np.isfinite(plan.scores["score"]).all()
    assert plan.controller is not None

    again = train_seal.TrainSealConfig(prior=tmp_path / "given.safetensors", resume=folder, fit=short)
    train_seal.run(again, session)
    assert [name.partition("~")[0] for name in simulated[5:]] == ["scene_5"], (
        "only the scene that was missing is simulated"
    )

    small_prior(1).save(tmp_path / "other.safetensors")
    changed = train_seal.TrainSealConfig(prior=tmp_path / "other.safetensors", resume=folder, fit=short)
    with pytest.raises(ConfigError, match=r"--prior.*other.* .the run has .*given"):
        train_seal.run(changed, session)
    with pytest.raises(ConfigError, match=r"--seed: 1 .the run has 0"):
        train_seal.run(replace(again, seed=1), session)
    small_prior(1).save(tmp_path / "given.safetensors")
    with pytest.raises(RunError, match="prior was"):
        train_seal.run(again, session)
    elsewhere = replace(again, resume=None, out=tmp_path / "new", rollouts=folder / "rollouts", seed=1)
    with pytest.raises(RunError, match="seed was 0 and is 1"):
        train_seal.run(elsewhere, session)


def test_too_few_scenes_say_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("harness.attacks.every_candidate.collect", lambda *args, **options: [])
    monkeypatch.setattr("harness.commands.options.open_scenes", opened)
    with pytest.raises(ConfigError, match="roll-outs"):
        train_seal.run(train_seal.TrainSealConfig(out=tmp_path / "run"), quiet(train_seal.main))


def test_old_spellings() -> None:
    config = train_seal.main.parse(["--train", "0:280", "--policy", "replay"])
    assert (config.split, config.scenes, config.sut) == ("all", "0:280", "replay")
