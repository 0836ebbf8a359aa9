"""Every algorithm's own `predict` is the reference; a malicious checkpoint must not run."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3

from ego_policies import sb3
from ego_policies.ppo import PPOPolicy
from ego_policies.sac import SACPolicy
from ego_policies.sb3 import SB3Policy
from ego_policies.td3 import TD3Policy
from harness.episodes.policies import load_policy
from harness.errors import ConfigError, PolicyError
from harness.fitting.policy_files import PolicyFile, layers_of
from harness.training.ppo import ActorCritic

MODELS = {
    "td3": (TD3, {}),
    "td3_small": (TD3, {"net_arch": [16], "activation_fn": torch.nn.Tanh}),
    "ddpg": (DDPG, {}),
    "sac": (SAC, {"activation_fn": torch.nn.ELU}),
    "ppo": (PPO, {}),
    "ppo_relu": (PPO, {"activation_fn": torch.nn.ReLU, "net_arch": [8, 8, 8]}),
    "a2c": (A2C, {}),
}


def build(kind, env, **kwargs):
    algorithm, policy = MODELS[kind]
    extra = {"buffer_size": 10} if kind.startswith(("td3", "ddpg", "sac")) else {}
    return algorithm("MlpPolicy", env, policy_kwargs=policy, seed=3, device="cpu", **extra, **kwargs)


@pytest.mark.parametrize("kind", MODELS)
def test_actions_equal_those_of_sb3(kind, plain_env, tmp_path):
    model = build(kind, plain_env())
    model.save(tmp_path / "model")
    policy = SB3Policy(tmp_path / "model.zip")
    assert policy.observation_size == 7
    for seed in range(20):
        observation = np.random.default_rng(seed).random(7, dtype=np.float32) * 4
        expected, _ = model.predict(observation, deterministic=True)
        assert policy.act(observation, None) == pytest.approx(expected, abs=2e-6)


def rewrite(path, **members):
    """The zip at `path` with some members replaced (None removes)."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content.update(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)


class Bomb:
    """Unpickling it would set a flag."""

    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


@pytest.fixture
def checkpoint(plain_env, tmp_path):
    build("td3_small", plain_env()).save(tmp_path / "model")
    return tmp_path / "model.zip"


def test_code_in_the_data_member_is_not_run(checkpoint):
    import base64

    with zipfile.ZipFile(checkpoint) as archive:
        data = json.loads(archive.read("data"))
    data["learning_rate"] = {":type:": "Bomb", ":serialized:": base64.b64encode(pickle.dumps(Bomb())).decode()}
    rewrite(checkpoint, data=json.dumps(data))
    TD3Policy(checkpoint)
    assert not Bomb.exploded


def test_code_in_the_parameters_is_not_run(checkpoint):
    buffer = io.BytesIO()
    torch.save({"actor.mu.0.weight": Bomb()}, buffer)
    rewrite(checkpoint, **{"policy.pth": buffer.getvalue()})
    with pytest.raises(PolicyError, match="more than tensors"):
        TD3Policy(checkpoint)
    assert not Bomb.exploded


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nonsense", b"not a zip at all"])
def test_a_damaged_file_is_one_clear_error(tmp_path, content):
    path = tmp_path / "broken.zip"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"broken\.zip"):
        TD3Policy(path)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_truncated_checkpoint_is_one_clear_error(checkpoint, share):
    # The members are zips themselves, so that half a file may still look like a zip: of something else.
    checkpoint.write_bytes(checkpoint.read_bytes()[: int(checkpoint.stat().st_size * share)])
    with pytest.raises(PolicyError, match=r"not a readable|truncated"):
        TD3Policy(checkpoint)


def test_truncated_parameters_are_one_clear_error(checkpoint):
    with zipfile.ZipFile(checkpoint) as archive:
        weights = archive.read("policy.pth")
    rewrite(checkpoint, **{"policy.pth": weights[: len(weights) // 2]})
    with pytest.raises(PolicyError, match="damaged"):
        TD3Policy(checkpoint)


def test_a_zip_without_policy_and_a_missing_file(checkpoint, tmp_path):
    rewrite(checkpoint, **{"policy.pth": None})
    with pytest.raises(PolicyError, match=r"no policy\.pth"):
        TD3Policy(checkpoint)
    with pytest.raises(PolicyError, match="does not exist"):
        TD3Policy(tmp_path / "nowhere.zip")


def test_nan_weights_are_refused_at_load(plain_env, tmp_path):
    model = build("td3_small", plain_env())
    with torch.no_grad():
        model.policy.actor.mu[0].weight[0, 0] = float("nan")
    model.save(tmp_path / "model")
    with pytest.raises(PolicyError, match="diverged"):
        TD3Policy(tmp_path / "model.zip")


def test_foreign_action_bounds_are_refused(plain_env, tmp_path):
    build("td3_small", plain_env(low=-2.0)).save(tmp_path / "model")
    with pytest.raises(PolicyError, match=r"in \[-1, 1\]"):
        TD3Policy(tmp_path / "model.zip")


def test_state_dependent_exploration_is_refused(plain_env, tmp_path):
    PPO("MlpPolicy", plain_env(), use_sde=True, device="cpu").save(tmp_path / "model")
    with pytest.raises(PolicyError, match="use_sde"):
        SB3Policy(tmp_path / "model.zip")


def test_a_network_of_another_kind_is_refused(checkpoint):
    buffer = io.BytesIO()
    torch.save({"cnn.0.weight": torch.zeros(3)}, buffer)
    rewrite(checkpoint, **{"policy.pth": buffer.getvalue()})
    with pytest.raises(PolicyError, match="no actor found"):
        TD3Policy(checkpoint)


def test_an_observation_of_another_length_names_the_preset(checkpoint):
    with pytest.raises(PolicyError, match=r"\(7,\).*\(101,\).*'metadrive'"):
        TD3Policy(checkpoint, observation="metadrive").act(np.zeros(101, np.float32), None)


def test_a_policy_of_discrete_actions_is_no_pair_of_numbers(plain_env, tmp_path):
    build("ppo", plain_env()).save(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        state = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    del state["log_std"]
    packed = io.BytesIO()
    torch.save(state, packed)
    rewrite(tmp_path / "m.zip", **{"policy.pth": packed.getvalue()})
    with pytest.raises(PolicyError, match="chooses among discrete actions"):
        SB3Policy(tmp_path / "m.zip")


@pytest.fixture
def policy_file(tmp_path):
    """A tiny policy file of PPO, and its network."""
    torch.manual_seed(0)
    model = ActorCritic(252, 4)
    torch.nn.init.normal_(model.policy[-1].weight)
    PolicyFile("ppo", "route", "Tanh", True, layers_of(model.policy)).save(tmp_path / "policy.safetensors")
    return tmp_path / "policy.safetensors", model


def test_a_policy_file_says_what_it_is_and_acts_as_its_network(policy_file):
    path, model = policy_file
    by_name, by_suffix = load_policy(f"ppo:{path}"), load_policy(str(path))
    assert (by_name.name, by_name.observation, by_name.observation_size) == ("ppo", "route", 252)
    assert (by_suffix.name, by_suffix.observation) == ("ppo", "route")
    assert load_policy(f"ppo:{path}?observation=route", name="mine").name == "mine"
    seen = np.random.default_rng(0).uniform(-1, 1, 252).astype(np.float32)
    with torch.no_grad():
        expected = model.mean(torch.from_numpy(seen)).numpy()
    assert by_name.act(seen, None) == pytest.approx(expected, abs=1e-6)
    assert np.abs(expected).max() > 0.1


def test_a_policy_file_is_not_taken_for_another(policy_file):
    path, _ = policy_file
    with pytest.raises(PolicyError, match="preset 'route', not 'cat'"):
        PPOPolicy(path, observation="cat")
    with pytest.raises(PolicyError, match="a policy of ppo, not of td3"):
        TD3Policy(path)


@pytest.mark.parametrize("kind", [PPOPolicy, SACPolicy, TD3Policy])
def test_without_a_file_the_one_of_the_package_drives(policy_file, monkeypatch, kind):
    monkeypatch.setattr(sb3, "SHIPPED", policy_file[0].parent)
    with pytest.raises(ConfigError, match=f"policy '{kind.name}' needs a file: write {kind.name}:PATH. None comes"):
        kind()
    model = ActorCritic(252, 4)
    mine = policy_file[0].parent / f"{kind.name}.safetensors"
    PolicyFile(kind.name, "route", "Tanh", True, layers_of(model.policy)).save(mine)
    policy = load_policy(kind.name)
    assert (policy.name, policy.observation, policy.path) == (kind.name, "route", str(mine))


def test_shipped_files_are_small_and_load():
    for file in sb3.SHIPPED.glob("*.safetensors"):
        assert load_policy(file.stem).name == file.stem
        assert file.stat().st_size <= 2_000_000
