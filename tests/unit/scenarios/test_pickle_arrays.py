"""Arrays that are read at once: the same as by single instructions, whatever the bytes."""

import pickle

import numpy as np
import pytest

from harness.errors import ScenarioError
from scenarios import safe_pickle
from scenarios.pickle_arrays import whole_array
from scenarios.pickle_machine import Machine

ARRAYS = {
    "twice": [np.arange(3.0), np.arange(3.0)],
    "shapes": [np.ones((1, 2), np.float32), np.ones((300, 1), bool), np.ones((2, 1, 70000), np.int8)[:, :, :3]],
    "orders": [np.ones((2, 3), order="F"), np.arange(6.0).reshape(2, 3).T, np.ones((2, 3), ">f8")],
    "empty": [np.zeros((0, 3)), np.zeros(0), np.ones(100, np.uint16)],
    "long": [np.ones(1, np.float32), *[str(k) for k in range(300)], np.ones(40), np.ones(2, np.float32)],
}


def read(data):
    """What a pickle comes to, and the memory that it leaves; the kind of error where it is none."""
    machines = []
    begin = Machine.__init__

    def started(self, blob):
        begin(self, blob)
        machines.append(self)

    Machine.__init__ = started
    try:
        found = safe_pickle.loads(data)
    except ScenarioError as error:
        return type(error), []
    finally:
        Machine.__init__ = begin
    return found, [getattr(value, "made", value) for value in machines[0].memo]


def same(one, two):
    """Whether values are equal, with types, memory order and rights."""
    if isinstance(one, list | tuple):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    if not isinstance(one, np.ndarray):
        return type(one) is type(two) and (one == two or one != one)
    layout = (one.dtype, one.shape, one.strides, one.flags.writeable, one.flags.owndata)
    return layout == (two.dtype, two.shape, two.strides, two.flags.writeable, two.flags.owndata) and (
        one.tobytes() == two.tobytes()
    )


@pytest.mark.parametrize("arrays", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_come_out_as_by_single_instructions(monkeypatch, protocol, arrays):
    # The second time, names and data types are in the memory.
    blob = pickle.dumps([*arrays, *(item.copy() for item in arrays if isinstance(item, np.ndarray))], protocol)
    found = []
    monkeypatch.setattr(safe_pickle, "whole_array", lambda *args: found.append(whole_array(*args)) or found[-1])
    at_once = read(blob)
    assert any(isinstance(value, np.ndarray) for value, _ in found) == (protocol == 4)
    monkeypatch.setattr(safe_pickle, "whole_array", lambda machine, function, place: (function, place))
    assert same(list(at_once), list(read(blob)))


@pytest.mark.parametrize("cut", [False, True])
def test_damage_comes_out_as_by_single_instructions(monkeypatch, cut):
    blob = pickle.dumps([np.arange(2.0), np.ones((2, 1))], 4)
    damaged = [blob[:place] for place in range(len(blob))] if cut else []
    if not cut:
        marks = b"\x00\x01.0CKMh\x86\x94R\xff"
        damaged = [blob[:k] + bytes([mark]) + blob[k + 1 :] for k in range(12, len(blob)) for mark in marks]
    at_once = [read(data) for data in damaged]
    monkeypatch.setattr(safe_pickle, "whole_array", lambda machine, function, place: (function, place))
    assert all(same(list(one), list(read(data))) for one, data in zip(at_once, damaged, strict=True))
    assert any(kind is not ScenarioError for kind, _ in at_once) != cut
