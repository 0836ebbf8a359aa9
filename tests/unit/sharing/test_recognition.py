"""What folders hold, by the headers of their files."""

import json

import pytest

from harness.errors import ConfigError
from harness.sharing.recognition import Use, recognise, told


@pytest.mark.parametrize(
    ("architecture", "name", "option"),
    [
        ("gauntlet-smart-1", "smart", "--traffic smart:{file}"),
        ("gauntlet-rosetta-1", "rosetta", "--traffic rosetta:{file}"),
        ("gauntlet.goal_prior.v1", "prior", "--prior {file}"),
        ("gauntlet-seal-1", "seal", '--adversary "seal?weights={file}"'),
    ],
)
def test_weights_are_told_by_their_header(weights, tmp_path, architecture, name, option):
    file = weights(tmp_path / f"{name}.safetensors", architecture)
    assert told(file) == recognise(tmp_path)[0].option == option.format(file=file)


def test_a_policy_names_its_algorithm(weights, tmp_path):
    file = weights(tmp_path / "policy.safetensors", "gauntlet-actor-1", config=json.dumps({"algorithm": "td3"}))
    assert recognise(tmp_path) == [Use("policy", f"--sut td3:{file}")]
    weights(file, "gauntlet-actor-1", config=json.dumps({"algorithm": "a b; rm"}))
    with pytest.raises(ConfigError, match="names no algorithm"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "adversary", "beside"),
    [
        ("gauntlet.goal_prior.v1", "sage", Use("prior", "--prior {}/prior.safetensors")),
        ("gauntlet-smart-1", "sage_smart", Use("traffic", "--traffic smart:{}/prior.safetensors")),
    ],
)
def test_experts_are_a_folder(weights, tmp_path, architecture, adversary, beside):
    for name in ("adv", "real", "prior"):
        weights(tmp_path / f"{name}.safetensors", architecture)
    first = Use("experts", f"--adversary {adversary}:{tmp_path}")
    assert recognise(tmp_path) == [first, beside._replace(option=beside.option.format(tmp_path))]


def test_a_run_and_its_scenes(policy_run):
    (policy_run / "scenes" / "cat").mkdir(parents=True)
    (policy_run / "scenes" / "cat" / "a.safetensors").write_text("")
    found = recognise(policy_run)
    assert [use.kind for use in found] == ["policy", "attacks", "run"]
    assert found[1].option == f"--data {policy_run}/scenes/cat --split all"
    assert found[2].option.startswith("read ")
    (policy_run / "report.html").write_text("")
    assert recognise(policy_run)[2].option == f"open {policy_run}/report.html in a browser"


def test_a_folder_of_nothing(tmp_path):
    with pytest.raises(ConfigError, match="nothing that Gauntlet knows"):
        recognise(tmp_path)
