"""The restricted unpickler: equal to pickle on data, deaf to everything else."""

import collections
import os
import pickle

import numpy as np
import pytest

from harness.errors import ScenarioError, UnsafePickleError
from scenarios import safe_pickle
from tests.unit.scenarios.same import same

DATA = {
    "c": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f4"),
    "bool": np.array([True, False]),
    "text": np.array(["a", "bc"]),
    "empty": np.zeros((0, 3), np.float32),
    "zero_dimensional": np.array(3),
    "scalar": np.float32(1.5),
    "flag": np.bool_(True),
    "nested": [({1, 2}, frozenset({3})), {"x": (1, None, "é", b"\x00", 2.5, 3 + 4j)}],
    "ordered": collections.OrderedDict(b=1, a=2),
    "counts": collections.defaultdict(int, {"VEHICLE": 3}),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_data_of_every_protocol_as_pickle_does(protocol):
    blob = pickle.dumps(DATA, protocol)
    same(safe_pickle.loads(blob), pickle.loads(blob))


def test_reads_numpy_1_module_names():
    blob = pickle.dumps(DATA["c"], 2)
    old = blob.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != blob
    same(safe_pickle.loads(old), DATA["c"])


def test_shared_values_stay_shared():
    array, names = np.zeros(3), ["a"]
    found = safe_pickle.loads(pickle.dumps([array, array, names, names]))
    assert found[0] is found[1]
    assert found[2] is found[3]


def test_python_2_numbers_from_1_and_may_number_anew():
    assert safe_pickle.loads(b"(lp1\nVa\np2\nag2\naVb\np2\nag2\na.") == ["a", "a", "b", "b"]


def test_default_dict_keeps_its_factory():
    found = safe_pickle.loads(pickle.dumps(DATA["counts"]))
    assert found["unseen"] == 0


class Run:
    """Unpickles to a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def refused(blob, match):
    with pytest.raises(UnsafePickleError, match=match) as caught:
        safe_pickle.loads(blob, "evil.pkl")
    assert str(caught.value).startswith("evil.pkl: ")


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (Run(os.system, "touch {}"), "system"),
        (Run(eval, "open({!r}, 'w')"), "eval"),
        (Run(__import__, "os"), "__import__"),
        (Run(getattr, "x", "upper"), "getattr"),
    ],
)
def test_calls_are_refused_and_not_made(tmp_path, payload, name):
    mark = tmp_path / "ran"
    function, args = payload.call
    payload.call = function, (args[0].format(str(mark)), *args[1:])
    refused(pickle.dumps({"tracks": payload}), name)
    assert not mark.exists()


def test_objects_and_classes_are_refused():
    refused(pickle.dumps(collections.Counter("aab")), "Counter")
    refused(pickle.dumps(np.random.default_rng(0)), "numpy.random")
    refused(pickle.dumps(np.ma.zeros(3)), "numpy")
    refused(b"cos\nsystem\n.", "os.system|posix.system")


def test_object_arrays_and_structured_arrays_are_refused():
    refused(pickle.dumps(np.array([1, None], dtype=object)), "Python objects")
    refused(pickle.dumps(np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])), "V8|structured|numpy type")


def test_a_data_type_cannot_be_rewritten():
    # BUILD on dtype('f8') with a state that claims to hold objects: with numpy's own __setstate__ this would
    # turn bytes into pointers.
    blob = (
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R(K\x03X\x01\x00\x00\x00|N"
        b"X\x01\x00\x00\x00a}J\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb."
    )
    refused(blob, "redefines a numpy data type")


def test_stand_ins_cannot_be_called_with_surprises_or_overwritten():
    refused(b"cnumpy\nndarray\n(I1000000000000\ntR.", "calls numpy.ndarray")
    refused(b"c__builtin__\nbytes\n(I1000000000000\ntR.", "bytes")
    refused(b"\x80\x02cnumpy\ndtype\n}X\x04\x00\x00\x00callK\x01sb.", "state")
    refused(b"\x80\x02cnumpy\ndtype\nN}X\x04\x00\x00\x00callK\x01s\x86b.", "state")
    refused(b"\x80\x02cnumpy\ndtype\n.", "function as data")
    refused(b"\x80\x02ccollections\ndefaultdict\ncnumpy\ndtype\n\x85R.", "factory")


@pytest.mark.parametrize("blob", [b"]r\xff\xff\xff\x7f.", b"]p2000000000\n.", b"]p-1\n."])
def test_a_small_file_cannot_reserve_gigabytes(blob):
    refused(blob, "exhaust the memory")


@pytest.mark.parametrize("blob", [b"Pthing\n.", b"(ios\nsystem\n.", b"\x82\x01.", b"\x97."])
def test_opcodes_for_objects_are_refused(blob):
    refused(blob, "it holds")


def test_arrays_whose_bytes_do_not_fit_are_errors():
    blob = pickle.dumps(np.zeros(4), 2).replace(b"K\x04\x85", b"K\x05\x85")
    with pytest.raises(ScenarioError, match="32 bytes"):
        safe_pickle.loads(blob)


def test_every_truncation_is_one_clear_error(tmp_path):
    blob = pickle.dumps({"a": np.arange(5), "b": "text"}, 4)
    path = tmp_path / "half.pkl"
    for size in range(1, len(blob), 3):
        path.write_bytes(blob[:size])
        with pytest.raises(ScenarioError, match=r"half\.pkl"):
            safe_pickle.load(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "empty"),
        (b'{"tracks": []}', "JSON"),
        (b"PK\x03\x04 a zip", "zip"),
        (b"\x1f\x8b\x08 gzip", "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x00" * 100, "not a usable pickle"),
        (b"\x80\x04N", "cut or damaged"),
    ],
)
def test_foreign_files_are_named_for_what_they_are(tmp_path, content, match):
    path = tmp_path / "0.pkl"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=match) as caught:
        safe_pickle.load(path)
    assert str(path) in str(caught.value)


def test_random_damage_never_escapes_the_error_family():
    blob = bytearray(pickle.dumps(DATA, 4))
    rng = np.random.default_rng(0)
    for _ in range(1500):
        damaged = bytearray(blob)
        for place in rng.integers(len(blob), size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        try:
            safe_pickle.loads(bytes(damaged))
        except ScenarioError:
            pass


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"N", "cut"),
        (b"I12", "line"),
        (b"\xff.", "0xff"),
        (b"U\x09ab.", "cut"),
        (b".", "cut"),
        (b"0.", "cut"),
        (b"Np1\ng0\n.", "no content"),
        (b"Np0\ng-1\n.", "cut"),
        (b"Np0\nh\x01.", "cut"),
    ],
)
def test_what_is_no_pickle_or_half_of_one_is_an_error(data, why):
    with pytest.raises(ScenarioError, match=why):
        safe_pickle.loads(data)


def test_deep_nesting_is_an_error():
    with pytest.raises(ScenarioError, match="deep"):
        safe_pickle.loads(b"]" * 5000 + b"a" * 4999 + b".")


def test_missing_files_and_folders_are_errors(tmp_path):
    with pytest.raises(ScenarioError, match="No such file"):
        safe_pickle.load(tmp_path / "none.pkl")
    with pytest.raises(ScenarioError, match="directory"):
        safe_pickle.load(tmp_path)
