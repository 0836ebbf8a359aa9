"""Checkpoints and statistics of strangers: bounded before they are unpacked, and never unpickled."""

import io
import json
import pickle
import resource
import struct
import time
import zipfile

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from ego_policies.normalisation import Scaling, read_scaling
from ego_policies.sb3 import SB3Policy
from ego_policies.torch_archives import TorchArchive
from ego_policies.torch_pickles import Named, StoredTensor, unpickle
from harness.episodes.policies import load_policy
from harness.errors import PolicyError

STATE = {
    f"{name}.{part}": torch.arange(6.0).view(2, 3) if part == "weight" else torch.zeros(2)
    for name in ("mlp_extractor.policy_net.0",)
    for part in ("weight", "bias")
} | {"action_net.weight": torch.eye(2), "action_net.bias": torch.zeros(2), "log_std": torch.zeros(2)}
SPACE = {"low": "[-1. -1.]", "high": "[1. 1.]"}


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def checkpoint(path, weights=None, data=None, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("policy.pth", saved(STATE) if weights is None else weights)
        archive.writestr("data", json.dumps({"action_space": SPACE}) if data is None else data)
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def little():
    """Within a second and 300 MB, whatever the file."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - began < 3.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_tensors_of_every_kind_are_as_torch_has_them():
    values = {
        "float": torch.randn(3, 4),
        "transposed": torch.randn(3, 4).T,
        "part": torch.arange(10.0)[2:8:3],
        "double": torch.randn(2, 2, 2).double(),
        "half": torch.randn(5).half(),
        "brain": torch.randn(5).bfloat16(),
        "long": torch.arange(3),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    archive = TorchArchive(saved(values))
    found, storages = archive.unpickle("data.pkl", "data", script=False)
    assert found.keys() == values.keys()
    assert len(storages) == len(values)
    for name, tensor in values.items():
        assert isinstance(found[name], StoredTensor)
        np.testing.assert_array_equal(archive.array(found[name], "data"), tensor.detach().float().numpy())


def test_shared_weights_are_read_and_endless_copies_are_not():
    weight = torch.randn(100)
    tied = TorchArchive(saved({"a": weight, "b": weight, "c": weight.view(10, 10)}))
    assert len(tied.unpickle("data.pkl", "data", script=False)[1]) == 1
    copies = TorchArchive(saved({str(n): weight[: 100 - n] for n in range(20)}))
    with pytest.raises(ValueError, match="times the numbers"):
        copies.unpickle("data.pkl", "data", script=False)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    "tensor", [torch.zeros(1).expand(10**9), torch.zeros(1, 1).expand(10**6, 10**6), torch.zeros(3, 1).expand(3, 100)]
)
def test_expanded_tensors_are_refused(tmp_path, tensor):
    path = checkpoint(tmp_path / "m.zip", saved(STATE | {"action_net.weight": tensor}))
    with pytest.raises(PolicyError, match=r"policy\.pth is damaged.*numbers, its storage has"):
        SB3Policy(path)


def zeros(size: int) -> bytes:
    return bytes(size)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("member", ["policy.pth", "data", "other"])
def test_zeros_that_are_packed_well(tmp_path, member):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in {"policy.pth", member}:
            archive.writestr(name, zeros(100_000_000) if name == member else saved(STATE))
    (tmp_path / "m.zip").write_bytes(buffer.getvalue())
    with pytest.raises(PolicyError, match="packed too well"):
        SB3Policy(tmp_path / "m.zip")


@pytest.mark.usefixtures("little")
def test_an_archive_in_an_archive_is_held_to_the_same(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(STATE))) as old, zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, zeros(50_000_000) if name.endswith("data/0") else old.read(name))
    with pytest.raises(PolicyError, match="packed too well"):
        SB3Policy(checkpoint(tmp_path / "m.zip", inner.getvalue()))
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w") as archive:
        archive.writestr("policy.pth", saved(STATE))
    with pytest.raises(PolicyError, match="was not loaded"):
        SB3Policy(checkpoint(tmp_path / "m.zip", nested.getvalue()))


@pytest.mark.usefixtures("little")
def test_many_members_and_other_methods(tmp_path):
    with pytest.raises(PolicyError, match="more than 10,000 members"):
        SB3Policy(checkpoint(tmp_path / "m.zip", **{f"x{n}": "" for n in range(10_001)}))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(PolicyError, match="another method"):
            SB3Policy(checkpoint(tmp_path / "m.zip", compression=method))


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    "data",
    [
        b"[" * 1_000_000,
        json.dumps({"action_space": {"low": "1" * 1_000_000, "high": ""}}),
        json.dumps({"action_space": {"low": "1." * 9_000, "high": ""}}),
        json.dumps({"action_space": {"low": [1], "high": {}}}),
        json.dumps({"action_space": {"low": "[-1. nan]", "high": "[1. 1.]"}}),
        json.dumps({"policy_kwargs": {"activation_fn": "a" * 1_000_000}}),
        json.dumps({"policy_kwargs": {"activation_fn": {"a": [1]}}}),
        b"\xff\xfe",
        b"9" * 5_000,
    ],
)
def test_the_words_of_a_checkpoint(tmp_path, data):
    with pytest.raises(PolicyError, match=r"m\.zip"):
        SB3Policy(checkpoint(tmp_path / "m.zip", data=data))


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    "content", [[], 3, None, torch.zeros(2), {"a": 1}, {("a", "b"): torch.zeros(2)}, {"a": object}]
)
def test_parameters_that_are_no_tensors_by_name(tmp_path, content):
    with pytest.raises(PolicyError, match=r"m\.zip: (policy\.pth is damaged|no actor found)"):
        SB3Policy(checkpoint(tmp_path / "m.zip", saved(content)))


def test_nothing_of_a_pickle_is_called():
    value = unpickle(b"\x80\x02ccollections\nOrderedDict\n)R.", script=False)
    assert value == {}
    for name in (b"builtins\neval", b"torch._utils\n_rebuild_device_tensor_from_numpy", b"torch\nload", b"os\nsystem"):
        with pytest.raises(ValueError, match="which is not data"):
            unpickle(b"\x80\x02c" + name + b"\nX\x01\x00\x00\x001\x85R.", script=False)
    assert str(Named("a", "b")) == "a.b"


COLLIDING = [k * (2**61 - 1) for k in range(50_000)]


class Bomb:
    """Unpickling it would set a flag."""

    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


@pytest.fixture
def normalised(plain_env):
    env = VecNormalize(DummyVecEnv([lambda: plain_env(3)]), clip_obs=2.0, epsilon=1e-4)
    env.reset()
    for _ in range(20):
        env.step(np.zeros((1, 2)))
    return env


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_statistics_of_vec_normalize(tmp_path, normalised, protocol):
    (tmp_path / "scaling.pkl").write_bytes(pickle.dumps(normalised, protocol=protocol))
    scaling = read_scaling(tmp_path / "scaling.pkl")
    seen = np.random.default_rng(0).random((20, 3), dtype=np.float32) * 9
    expected = [normalised.normalize_obs(observation) for observation in seen]
    np.testing.assert_allclose([scaling(observation) for observation in seen], expected, rtol=1e-6)
    assert scaling.clip == 2.0


def test_a_policy_drives_on_scaled_observations(tmp_path, normalised):
    model = PPO("MlpPolicy", normalised, device="cpu", n_steps=8, batch_size=8)
    model.save(tmp_path / "model")
    normalised.save(str(tmp_path / "scaling.pkl"))
    rms = normalised.obs_rms
    np.savez(tmp_path / "s.npz", mean=rms.mean, var=rms.var, epsilon=normalised.epsilon, clip_obs=normalised.clip_obs)
    observation = np.array([0.9, 0.1, 5.0], np.float32)
    expected, _ = model.predict(normalised.normalize_obs(observation), deterministic=True)
    for file in ("scaling.pkl", "s.npz"):
        policy = load_policy(f"sb3:{tmp_path}/model.zip?normalize={tmp_path}/{file}")
        assert policy.act(observation, None) == pytest.approx(np.clip(expected, -1, 1), abs=1e-6)
    assert load_policy(f"sb3:{tmp_path}/model.zip").act(observation, None) != pytest.approx(expected, abs=1e-6)


def test_statistics_that_do_not_fit(tmp_path, normalised, monkeypatch):
    path = checkpoint(tmp_path / "m.zip")
    for change, message in (
        ({"mean": np.zeros(4), "var": np.ones(4)}, r"shape \(4,\).*expects \(3,\)"),
        ({"mean": np.zeros(3), "var": np.ones(4)}, r"its mean has shape \(3,\)"),
        ({"mean": np.zeros(3)}, "var"),
        ({"mean": np.array([0, np.nan, 0]), "var": np.ones(3)}, "NaN"),
        ({"mean": np.zeros(3), "var": -np.ones(3)}, "negative"),
        ({"mean": np.zeros(3), "var": np.ones(3), "epsilon": 0.0}, "epsilon"),
        ({"mean": np.zeros(3), "var": np.ones(3), "clip_obs": np.inf}, "clip_obs"),
        ({"mean": np.array(["a"] * 3), "var": np.ones(3)}, "no statistics"),
    ):
        np.savez(tmp_path / "s.npz", **change)
        with pytest.raises(PolicyError, match=message):
            SB3Policy(path, normalize=tmp_path / "s.npz")
    with pytest.raises(PolicyError, match="cannot be read"):
        SB3Policy(path, normalize=tmp_path / "missing.pkl")
    for name, value, why in (
        ("norm_obs", False, "norm_obs"),
        ("obs_rms", {"a": 1}, "several observations"),
        ("clip_obs", Bomb(), "no arrays"),
    ):
        with monkeypatch.context() as changed:  # One at a time: each would hide the next.
            changed.setattr(normalised, name, value)
            normalised.save(str(tmp_path / "s.pkl"))
        with pytest.raises(PolicyError, match=f"holds no statistics.*{why}"):
            SB3Policy(path, normalize=tmp_path / "s.pkl")


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Bomb()),
        pickle.dumps({"obs_rms": 1}),
        b"",
        b"nothing",
        b"\x80\x04" + b"(" * 500_000 + b".",
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x04K\x01\x85\x94" + b"".join(b"0h%ch%c\x86\x94" % (k, k) for k in range(60)) + b"\x8c\x01a\x93.",
        b"\x80\x04\x8d" + struct.pack("<Q", 10**15) + b"a.",
        b"\x80\x04}("
        + b"".join(b"\x8a\x0b" + (k * (2**61 - 1)).to_bytes(11, "little") + b"N" for k in range(50_000))
        + b"u.",
        b"\x80\x04\x8c\x01(r\xff\xff\xff\x7f.",
    ],
)
def test_statistics_of_strangers(tmp_path, data):
    (tmp_path / "s.pkl").write_bytes(data)
    with pytest.raises(PolicyError, match="holds no statistics"):
        read_scaling(tmp_path / "s.pkl")
    assert not Bomb.exploded


def test_scaling_by_hand():
    scaling = Scaling(np.array([1.0, 0.0]), np.array([4.0, 0.01]), 0.0, 3.0)
    assert scaling(np.array([3.0, 9.0], np.float32)) == pytest.approx([1.0, 3.0])
