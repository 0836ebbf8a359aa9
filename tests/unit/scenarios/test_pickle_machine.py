"""Small pickles stay small: what they may make, nest, hash and repeat is bounded by the size of the file."""

import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from harness.errors import ScenarioError, UnsafePickleError
from scenarios import pickle_machine, safe_pickle
from scenarios.pickle_instructions import INSTRUCTIONS
from scenarios.pickle_machine import FLOOR, GROWTH, MAX_ODD_KEYS, Machine
from scenarios.pickle_values import whole_number
from scenarios.values import MAX_BITS

MODULUS = 2**61 - 1
"""Whole numbers that differ by it have the same hash."""
TYPE = b"cnumpy\ndtype\nU\x02f8\x89\x88\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"


def number(value, width=4):
    return {4: b"J", 8: b"\x8a\x08", 11: b"\x8a\x0b"}[width] + value.to_bytes(width, "little", signed=True)


def text(size):
    return b"X" + struct.pack("<I", size) + b"a" * size


def called(name, args):
    module, _, name = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n" + args + b"\x85R"


def doubling(count):
    code = b"K\x01\x85q\x000"
    for k in range(count):
        code += b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) + b"0"
    return code + b"h" + bytes([count])


def doubling_lists(count):
    code = b"]q\x000"
    for k in range(count):
        code += b"]q" + bytes([k + 1]) + b"(h" + bytes([k]) + b"h" + bytes([k]) + b"e0"
    return code + b"h" + bytes([count])


def bomb(name, before, times=4000):
    """A big value in memory, and a call that copies it, many times."""
    return b"(" + before + b"q\x01" + called(name, b"h\x01") * times + b"l."


HOSTILE = {
    "a nested tuple as a key": b"}K\x01" + b"\x85" * 5_000 + b"K\x01s.",
    "a doubling tuple as a key": b"}" + doubling(60) + b"K\x01s.",
    "a doubling tuple as a member": b"\x8f(" + doubling(60) + b"\x90.",
    "a doubling tuple in a frozen set": b"(" + doubling(60) + b"\x91.",
    "a doubling tuple in a call of set": called("builtins.set", b"]" + doubling(60) + b"a") + b".",
    "a doubling tuple in pairs": called("collections.OrderedDict", b"]" + doubling(60) + b"N\x86a") + b".",
    "a doubling tuple as a value": doubling(60) + b".",
    "doubling lists": doubling_lists(60) + b".",
    "a doubling shape": ARRAY + b"(K\x01" + doubling(60) + TYPE + b"\x89U\x08aaaaaaaatb.",
    "a doubling data type": b"cnumpy\ndtype\n" + doubling(60) + b"\x85R.",
    "a doubling state": TYPE[:-1] + doubling(60) + b"b.",
    "keys that collide": b"}(" + b"".join(number(k * MODULUS, 11) + b"N" for k in range(3_000)) + b"u.",
    "keys one by one": b"}" + b"".join(number(k, 8) + b"Ns" for k in range(3_000)) + b".",
    "keys of other kinds": b"}(" + b"".join(b"G" + struct.pack(">d", k) + b"N" for k in range(3_000)) + b"u.",
    "tuples of numbers": b"}(" + b"".join(number(k) + b"\x85N" for k in range(3_000)) + b"u.",
    "members that collide": b"\x8f(" + b"".join(number(k * 2**40, 8) for k in range(3_000)) + b"\x90.",
    "many dictionaries of numbers": (b"}(" + b"".join(number(k) + b"N" for k in range(500)) + b"u0") * 20 + b"N.",
    "lists": b"]" * 50_000 + b".",
    "dictionaries": b"}" * 50_000 + b".",
    "sets": b"\x8f" * 50_000 + b".",
    "marks": b"(" * 90_000 + b".",
    "memory entries": b"N" + b"\x94" * 45_000 + b".",
    "nothing, popped": b"N0" * 45_000 + b"N.",
    "copies of text as bytes": bomb("_codecs.encode", text(30_000)),
    "copies of a list": bomb("builtins.list", b"(" + b"N" * 5_000 + b"l"),
    "copies as tuples": bomb("builtins.tuple", b"(" + b"N" * 5_000 + b"l"),
    "copies of a dictionary": bomb("builtins.dict", b"}(" + b"".join(text(1 + k) + b"N" for k in range(99)) + b"u"),
    "copies of bytes as arrays": b"(B" + struct.pack("<I", 8_000) + bytes(8_000) + b"q\x01" + TYPE + b"q\x02"
    + (b"cnumpy.core.numeric\n_frombuffer\n(h\x01h\x02M\xe8\x03\x85U\x01CtR") * 4000 + b"l.",
    "rows without content": b"cnumpy.core.numeric\n_frombuffer\n(C\x00" + TYPE
    + b"J\xff\xff\xff\x7fK\x00\x86U\x01CtR.",
    "a number of a million bits": b"\x8b" + struct.pack("<I", 125_000) + b"\x7f" * 125_000 + b".",
    "a number of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "a call of a long number": called("builtins.int", text(1_000_000)) + b".",
    "a long name": b"c" + b"a" * 1_000_000 + b"\nb\n.",
    "a long data type": b"cnumpy\ndtype\n" + text(1_000_000) + b"\x85R.",
    "a list that holds itself": b"]q\x00h\x00a.",
    "a dictionary that holds itself": b"}q\x00K\x01h\x00s.",
    "deep lists": b"]" * 9000 + b"a" * 8999 + b".",
    "an array in itself before it has content": b"](" + ARRAY + b"q\x01h\x01e.",
    "arguments kept as data": b"](cnumpy\nndarray\n\x85e.",
    "a name as a key": b"}cnumpy\nndarray\nNs.",
    "text of a call": called("builtins.str", b"]") + b".",
    "a state twice": ARRAY + b"2(K\x01K\x01\x85" + TYPE + b"\x89U\x08aaaaaaaatbh\x00.",
}  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE.values(), ids=[name.replace(" ", "-") for name in HOSTILE])
def test_a_small_file_takes_little_time_and_memory_and_is_one_short_error(monkeypatch, data):
    # A tenth of everything, to be fast.
    monkeypatch.setattr(pickle_machine, "FLOOR", FLOOR // 10)
    monkeypatch.setattr(pickle_machine, "MAX_ODD_KEYS", MAX_ODD_KEYS // 100)
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(ScenarioError) as caught:
            safe_pickle.loads(b"\x80\x04" + data, "evil.pkl")
        took, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert took < 2
    assert peak < 1.5 * max(FLOOR // 10, GROWTH * len(data))
    assert len(str(caught.value)) < 600
    assert str(caught.value).startswith("evil.pkl: ")


@pytest.mark.parametrize("protocol", range(6))
def test_data_as_scenes_have_it_is_within_every_bound(protocol):
    lanes = {str(k): {"entry": [str(k + 1)], "exit": [], "next": [{"id": k, "at": 1.5}]} for k in range(1000)}
    data = {"lanes": lanes, "numbered": {k: k for k in range(1000)}, "pairs": {(k, "a"): None for k in range(500)}}
    data |= {"columns": [np.arange(91.0) for _ in range(100)], "flags": [True, False] * 500, "set": set(range(99))}
    blob = pickle.dumps(data, protocol)
    assert spent(blob) < 0.9 * GROWTH * len(blob)
    found = safe_pickle.loads(blob)
    np.testing.assert_equal(found, data)


def spent(blob):
    """Bytes that the machine counts for a pickle."""
    counted = []
    result = Machine.result
    try:
        Machine.result = lambda self: counted.append(self.spent) or result(self)
        safe_pickle.loads(blob)
    finally:
        Machine.result = result
    return counted[0]


def test_numbers_are_read_up_to_their_bound():
    for value in (0, -1, 2**63, -(2**63), 2**MAX_BITS - 1, -(2 ** (MAX_BITS - 1))):
        assert safe_pickle.loads(pickle.dumps(value)) == value
        assert safe_pickle.loads(pickle.dumps(value, 0)) == value
    with pytest.raises(ScenarioError, match="bits"):
        safe_pickle.loads(pickle.dumps(2 ** (MAX_BITS + 16)))
    with pytest.raises(ScenarioError, match="digits"):
        safe_pickle.loads(pickle.dumps(10**43, 0))
    assert whole_number(b"\xff") == -1


def test_every_instruction_is_run_or_refused():
    assert len(INSTRUCTIONS) == 256
    for code in range(256):
        with pytest.raises(ScenarioError):
            safe_pickle.loads(bytes([code]))


def test_a_refusal_of_memory_names_what_was_asked_for():
    with pytest.raises(UnsafePickleError, match=r"more than 32 MB of memory with 500,001 bytes"):
        safe_pickle.loads(b"]" * 500_000 + b".")
