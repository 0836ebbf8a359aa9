"""Every format that Gauntlet reads: a sound sample, what reads it, and how its structure is damaged.

A new format is one entry of `FORMATS`.
"""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from scenarios.importers import tfrecord
from scenarios.importers.womd_schema import message
from scenarios.scenario import Scenario
from tests.fuzz import mutators, samples
from tests.fuzz.mutators import Mutator


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        file: Path of the file that is damaged, below the folder of the sample.
        make: Writes the sound sample into an empty folder.
        read: Reads what lies in the folder, and uses it as commands do.
        damage: Damages the structure of the file.
        share: How often it is drawn, against 1 of the others.
        needs: Packages without which it is left out.
    """

    file: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    damage: Mutator
    share: float = 1.0
    needs: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        """Whether its packages are installed."""
        return all(importlib.util.find_spec(name) is not None for name in self.needs)

    def mutant(self, data: bytes, rng: random.Random) -> bytes:
        """A damaged file from the bytes of the sound one."""
        kind = rng.random()
        if kind < 0.02:
            return mutators.blank(data, rng)
        return mutators.flip(data, rng) if kind < 0.3 else self.damage(data, rng)


def use(scene: Scenario) -> None:
    """What commands do with a scene that was read, without the engine: look at the map, list, attack, write."""
    from adversaries.prior.features import extract
    from adversaries.prior.roads import build_roads, light_states
    from harness.traffic.lane_paths import red_stops
    from harness.traffic.tokens.pieces import lane_lights, shapes_of
    from scenarios.description import from_description, to_description
    from scenarios.filters import reject_reason
    from scenarios.map_index import MapIndex
    from scenarios.map_sketch import map_sketch

    reject_reason(scene)
    map_sketch(scene)
    MapIndex.of(scene).locate(scene.position[:, 0, :2], scene.heading[:, 0])
    light_states(scene, build_roads(scene.features), 10)
    lane_lights(scene, 10)
    red_stops(scene)
    shapes_of(scene.features)
    if scene.opponent is not None and scene.num_steps > 11:
        extract(scene, scene.opponent)
    from_description(pickle.loads(pickle.dumps(to_description(scene))))


def read_scene(name: str) -> Callable[[Path], None]:
    """Read every scene of a file as `validate` and the other commands do."""

    def read(folder: Path) -> None:
        from scenarios import open_source
        from scenarios.importers.files import examine

        examine(folder / name)
        source = open_source(folder / name, cache_scenes=0)
        for index in range(len(source)):
            use(source[index])

    return read


def read_folder(folder: Path) -> None:
    """Open a folder by its summary and mapping."""
    from scenarios import open_source

    source = open_source(folder, cache_scenes=0)
    for index in range(len(source)):
        _ = source[index]


def read_split(folder: Path) -> None:
    """Open the training scenes of a folder."""
    from scenarios import open_source

    _ = open_source(folder, "train", cache_scenes=0).ids


def read_run(folder: Path) -> None:
    """Look into a run folder, and make its configuration anew."""
    from harness.benchmarking.config import BenchmarkConfig
    from harness.commands.code_names import check_resumed
    from harness.commands.runs import read_records
    from harness.commands.scaffold import stored_config

    read_records(folder / "scores.jsonl")
    check_resumed(stored_config(BenchmarkConfig, folder, "benchmark"), ["--sut", "idm"], folder)


def read_record(folder: Path) -> None:
    """Read an episode back, and its scores."""
    from harness.episodes.records import EpisodeStore

    store = EpisodeStore(folder)
    store.read_scores(samples.KEY)
    store.read(samples.KEY)


def read_prior(folder: Path) -> None:
    """Load weights of the motion prior."""
    from adversaries.prior.prior import MotionPrior

    MotionPrior.load(folder / "prior.safetensors")


def read_vocabulary(folder: Path) -> None:
    """Load a vocabulary."""
    from harness.traffic.tokens.vocabulary import Vocabulary

    Vocabulary.load(folder / "vocabulary.safetensors")


def read_seal(folder: Path) -> None:
    """Load SEAL's weights."""
    from adversaries.seal.weights import SealModel

    SealModel.load(folder / "seal.safetensors")


def read_candidates(folder: Path) -> None:
    """Take what an adversary keeps, or say that it must be made anew."""
    from adversaries.common.stock import fits
    from harness.caching import MAX_FILE
    from harness.errors import RunError
    from harness.files import read_arrays

    arrays = read_arrays(folder / "candidates.npz", MAX_FILE)
    if not fits(arrays, 20):
        raise RunError("candidates.npz does not hold candidates.")
    assert arrays["states"].dtype == np.float64


def read_checkpoint(folder: Path) -> None:
    """Go on with a training."""
    from harness.training import checkpoint

    checkpoint.complete(folder, 100)
    checkpoint.load(folder, samples.learner())


def read_normalised(folder: Path) -> None:
    """Load a policy with the statistics of its observations."""
    from harness.episodes.policies import load_policy

    load_policy(f"sb3:{folder / 'policy.zip'}?normalize={folder / 'normalise.pkl'}")


def read_policy(name: str) -> Callable[[Path], None]:
    """Load a policy and let it act once."""

    def read(folder: Path) -> None:
        from harness.episodes.policies import load_policy

        policy = load_policy(str(folder / name))
        size = getattr(policy, "observation_size", None) or 7
        policy.act(np.zeros(size, np.float32), None)  # type: ignore[arg-type]

    return read


def in_pickle(data: bytes, rng: random.Random) -> bytes:
    """A changed tree in a pickle, in any protocol."""
    return pickle.dumps(mutators.tree(pickle.loads(data), rng), protocol=rng.choice((2, 3, 4, 5)))


def in_records(data: bytes, rng: random.Random) -> bytes:
    """A changed `Scenario` proto under right check sums."""
    whole = message("Scenario").FromString(samples.proto())
    for _ in range(rng.choice((1, 1, 2, 3))):
        mutators.in_message(whole, rng)
    return record(whole.SerializePartialToString())


def record(data: bytes) -> bytes:
    """A TFRecord file of one record."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, struct.pack("<I", tfrecord.masked_crc(length)), data, struct.pack("<I", tfrecord.masked_crc(data)))
    )


def in_proto_bytes(data: bytes, rng: random.Random) -> bytes:
    """Changed fields, or changed bytes of the proto under right check sums."""
    return in_records(data, rng) if rng.random() < 0.7 else record(mutators.flip(samples.proto(), rng))


def in_parquet(data: bytes, rng: random.Random) -> bytes:
    """A table with columns of other values, types, lengths or names."""
    import pyarrow
    import pyarrow.parquet

    table = samples.argoverse_table()
    for _ in range(rng.choice((1, 1, 2))):
        name, kind = rng.choice(list(table)), rng.randrange(6)
        rows = len(table[name])
        if kind == 0:
            del table[name]
        elif kind == 1:
            table = {key: values[: rng.choice((0, 1, rows // 2))] for key, values in table.items()}
        elif kind == 2:
            table[name] = [rng.choice(mutators.LEAVES)] * rows
        elif kind == 3:
            table[name] = [str(value) for value in table[name]]
        else:
            value = rng.choice((0, -1, 10**9, 2**62, 1e300, float("nan"), float("inf"), None, "", "x" * 10_000))
            for row in range(rows) if kind == 4 else (rng.randrange(max(rows, 1)),):
                if rows:
                    table[name][row] = value
    try:
        out = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(table), out)
        return out.getvalue()
    except (ValueError, TypeError, OverflowError, UnicodeError, pyarrow.lib.ArrowException):
        return mutators.flip(data, rng)


def in_xml(data: bytes, rng: random.Random) -> bytes:
    """An XML document with elements changed, dropped, repeated, moved or nested; now and then with entities."""
    root = ElementTree.fromstring(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        parent = rng.choice([element for element in root.iter() if len(element)])
        child, kind = rng.choice(list(parent)), rng.randrange(8)
        values = ("", "text", "nan", "inf", "-1", "1e300", "1" * 5000, "9" * 19, "0", "x" * 10_000, "57.3", "1e9")
        if kind == 0:
            parent.remove(child)
        elif kind == 1:
            parent.extend([child] * rng.choice((1, 20)))
        elif kind == 2:
            child.tag = rng.choice(("state", "lanelet", "x", "point", "exact"))
        elif kind == 3 and child.attrib:
            child.attrib[rng.choice(list(child.attrib))] = rng.choice(values)
        elif kind == 4:
            child.attrib.clear()
        elif kind == 5:
            child[:] = []
        else:
            leaf = rng.choice([element for element in child.iter() if not len(element)] or [child])
            leaf.text = rng.choice(values)
    out = ElementTree.tostring(root)
    special = rng.random()
    if special < 0.03:
        return out.replace(b"<location", b"<a>" * 100_000 + b"<location", 1)
    if special < 0.06:
        levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
        return f'<!DOCTYPE c [<!ENTITY e0 "lol">{levels}]><commonRoad>&e11;</commonRoad>'.encode() + out
    if special < 0.08:
        return b'<!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/passwd">]><commonRoad>&x;</commonRoad>'
    return out


def in_safetensors(data: bytes, rng: random.Random) -> bytes:
    """A changed header, sometimes with a wrong length, or tensors of NaN."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    if rng.random() < 0.1:
        return data[: 8 + size] + b"\xff" * len(body)
    inner = header.get("__metadata__", {})
    if inner and rng.random() < 0.5:
        name = rng.choice(list(inner))
        try:
            inner[name] = mutators.json_text(mutators.tree(json.loads(inner[name]), rng)).decode("utf-8", "replace")
        except ValueError:
            inner[name] = rng.choice(("", "null", "[" * 100_000, "NaN", "{}"))
        header = json.dumps(header).encode()
    else:
        header = mutators.json_text(mutators.tree(header, rng))
    length = rng.choice((len(header), len(header), len(header), 10**12, 2**63, len(header) + 8, 0))
    return length.to_bytes(8, "little") + header + body


def in_member(name: str, data: bytes, rng: random.Random) -> bytes:
    """A member of a policy's archive: JSON, code, or bytes."""
    if name == "data" and rng.random() < 0.8:
        return mutators.in_json(data, rng)
    if name.endswith((".pth", ".zip")) and rng.random() < 0.7:
        return mutators.in_zip(in_member)(data, rng)
    if name.endswith(".py") and rng.random() < 0.7:
        word = rng.choice(
            (b'torch.from_file("written", True, 8)', b"ops.aten.save", b"while True:\n      pass\n", b"-1", b"[1, 2]")
        )
        place = rng.randrange(len(data) + 1)
        return data[:place] + word + data[place:]
    return mutators.flip(data, rng)


def in_arrays(data: bytes, rng: random.Random) -> bytes:
    """Changed arrays of an npz, its JSON among them."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = rng.choice(list(arrays))
    if (name == "meta" and rng.random() < 0.8) or rng.random() < 0.3:
        text = mutators.in_json(arrays["meta"].tobytes(), rng)
        arrays["meta"] = np.frombuffer(text, np.uint8)
    elif rng.random() < 0.2:
        del arrays[name]
    else:
        try:
            arrays[name] = np.asarray(mutators.array(arrays[name], rng))
        except (ValueError, TypeError, OverflowError):
            arrays[name] = np.array([object()])
    out = io.BytesIO()
    np.savez(out, allow_pickle=True, **arrays)
    return out.getvalue()


def in_onnx(data: bytes, rng: random.Random) -> bytes:
    """Changed fields of the model's proto."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        mutators.in_message(model, rng)
    return bytes(model.SerializePartialToString())


def in_stranger(data: bytes, rng: random.Random) -> bytes:
    """Changed bytes of a pickle of a stranger's classes, which is not to be unpickled here either."""
    return mutators.flip(data, rng)


def in_plain_arrays(data: bytes, rng: random.Random) -> bytes:
    """Changed arrays of an npz without JSON."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = rng.choice(list(arrays))
    try:
        arrays[name] = np.asarray(mutators.array(arrays[name], rng))
    except (ValueError, TypeError, OverflowError):
        del arrays[name]
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


RECORD = "episodes/idm/cat/scene.npz"
FORMATS: dict[str, Format] = {
    "description": Format("scene.pkl", samples.pickled, read_scene("scene.pkl"), in_pickle, share=4.0),
    "summary": Format("dataset_summary.pkl", samples.summary, read_folder, in_pickle),
    "mapping": Format("dataset_mapping.pkl", samples.summary, read_folder, in_pickle),
    "splits": Format("splits.json", samples.splits, read_split, mutators.in_json),
    "gpudrive": Format("scene.json", samples.gpudrive, read_scene("scene.json"), mutators.in_json, share=2.0),
    "womd": Format("scene.tfrecord", samples.womd, read_scene("scene.tfrecord"), in_proto_bytes, share=2.0),
    "argoverse2": Format(
        "scenario_s1.parquet",
        samples.argoverse,
        read_scene("scenario_s1.parquet"),
        in_parquet,
        share=1.5,
        needs=("pyarrow",),
    ),
    "argoverse2_map": Format(
        "log_map_archive_s1.json",
        samples.argoverse,
        read_scene("scenario_s1.parquet"),
        mutators.in_json,
        share=1.5,
        needs=("pyarrow",),
    ),
    "commonroad": Format("scene.xml", samples.commonroad, read_scene("scene.xml"), in_xml, share=2.0),
    "run": Format("run.json", samples.run, read_run, mutators.in_json),
    "records": Format("scores.jsonl", samples.run, read_run, mutators.in_json, share=0.5),
    "episode": Format(RECORD, samples.record, read_record, in_arrays),
    "prior": Format("prior.safetensors", samples.prior, read_prior, in_safetensors),
    "vocabulary": Format("vocabulary.safetensors", samples.vocabulary, read_vocabulary, in_safetensors),
    "seal": Format("seal.safetensors", samples.seal, read_seal, in_safetensors, share=0.5),
    "manifest": Format("checkpoint/manifest.json", samples.checkpoint, read_checkpoint, mutators.in_json),
    "replay": Format("checkpoint/replay-0-4.npz", samples.checkpoint, read_checkpoint, in_plain_arrays, share=0.5),
    "candidates": Format("candidates.npz", samples.candidates, read_candidates, in_plain_arrays, share=0.5),
    "model": Format("checkpoint/model-3.safetensors", samples.checkpoint, read_checkpoint, in_safetensors, share=0.5),
    "normalise": Format("normalise.pkl", samples.normalised, read_normalised, in_stranger, share=0.5),
    "sb3": Format("policy.zip", samples.stable_baselines, read_policy("policy.zip"), mutators.in_zip(in_member)),
    "policy": Format("policy.safetensors", samples.policy_file, read_policy("policy.safetensors"), in_safetensors),
    "torchscript": Format("policy.pt", samples.torchscript, read_policy("policy.pt"), mutators.in_zip(in_member)),
    "onnx": Format("policy.onnx", samples.onnx, read_policy("policy.onnx"), in_onnx, needs=("onnx", "onnxruntime")),
}
"""Every format by name."""
