"""Strict equality of nested data: types, key order, data types, shapes and memory order included."""

import numpy as np


def same(one, two, path=""):
    assert type(one) is type(two), (path, type(one), type(two))
    if isinstance(one, dict):
        assert list(one) == list(two), path
        for key in one:
            same(one[key], two[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), path
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            same(a, b, f"{path}/{index}")
    elif isinstance(one, np.ndarray):
        assert one.dtype == two.dtype, (path, one.dtype, two.dtype)
        assert one.shape == two.shape, (path, one.shape, two.shape)
        assert one.flags.f_contiguous == two.flags.f_contiguous, path
        assert one.flags.writeable, path
        np.testing.assert_array_equal(one, two, err_msg=path)
    else:
        assert one == two or (one != one and two != two), path
