"""Ids, names and numbers of a stranger's file: what they are is looked at before anything is made of them."""

import time
import tracemalloc

import numpy as np
import pytest

from scenarios.values import MAX_NAME, brief, identifier, numbers, related_ids


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("山" * 32, "山" * 32), (7, "7"), (np.int64(-7), "-7"), (2**127, str(2**127))],
    ids=range(5),
)
def test_an_id_is_text_or_a_whole_number(value, text):
    found = identifier(value)
    assert found == text
    assert type(found) is str


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.0,
        b"a",
        ["a"],
        ("a",),
        {},
        np.array("a"),
        10**5000,
        -(10**5000),
        "a" * (MAX_NAME + 1),
        "a\x1b[31m",
        "\ud800",
        "a\nb",
    ],
    ids=range(14),
)
def test_anything_else_is_none(value):
    with pytest.raises(ValueError, match="id"):
        identifier(value)


def test_related_lanes_are_ids_or_records():
    records = [{"feature_id": 3, "self_start_index": 0}, {"feature_id": "4"}, {}]
    assert related_ids(records) == ("3", "4", "None")
    assert related_ids(np.array([1, 2])) == ("1", "2")
    assert related_ids(np.array(5)) == ("5",)
    assert related_ids(None) == ()
    assert related_ids("a") == ("a",)
    for wrong in ([["a"]], {"a": 1}, np.zeros((2, 2)), [1.5], b"a"):
        with pytest.raises(ValueError, match="id"):
            related_ids(wrong)


def test_lists_of_numbers_are_arrays_as_numpy_makes_them():
    for value in (
        [1, 2],
        [(1.0, 2.0), (3.0, 4.0)],
        [np.zeros(3), np.ones(3)],
        [[True], [False]],
        [],
        [[]],
        3,
        (1, 2.5),
    ):
        found = numbers(value)
        np.testing.assert_array_equal(found, np.asarray(value))
        assert found.dtype == np.asarray(value).dtype
    array = np.zeros((2, 3), np.float16)
    assert numbers(array) is array


@pytest.mark.parametrize(
    "value",
    [
        "a",
        None,
        {},
        ["a" * 1_000_000, *[0] * 100_000],
        [1, None],
        [1, [2]],
        [[1], [2, 3]],
        [2**70],
        [np.zeros(2), np.zeros(3)],
        [np.array("a"), np.array("b")],
        [np.zeros(2), 1],
        [[[[[[1]]]]]],
        np.array(["a"]),
        np.array([1j]),
        np.array([None]),
        [1j],
    ],
    ids=range(16),
)
def test_what_is_no_array_of_numbers_is_refused_without_making_one(value):
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ValueError, match=r"found|inhomogeneous"):
        numbers(value)
    took, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 1
    assert peak < 10_000_000


def test_what_a_message_says_of_a_value_is_short_and_printable():
    assert brief("a\x1b[31m\u202e\ud800") == r"'a\x1b[31m\u202e\ud800'"
    assert len(brief("a" * 10_000)) < 80
    assert brief([1] * 10_000) == "list"
    assert brief(10**5000) == "int"
    assert brief(1.5) == brief(np.float32(1.5)) == "1.5"
