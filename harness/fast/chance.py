"""NumPy's random numbers within kernels: the streams of `numpy.random.default_rng`, number for number.

The bits are PCG XSL RR 128/64 (O'Neill, 2014: `numpy.random.PCG64`), normal numbers follow from them by the ziggurat of
256 layers (Marsaglia and Tsang, 2000; Doornik, 2005), as NumPy 1.17 and later do it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.kernels import inner, kernel

Words = NDArray[np.uint64]

HIGH, LOW, STEP_HIGH, STEP_LOW = range(4)
WORDS: Final = 4
"""Words of a generator's state: what it is at, and its increment, each of 128 bits."""

_EDGE: Final = 3.6541528853610087963519472518
"""Where the tail begins."""
_ALL: Final = 2**64 - 1
_MULTIPLIER: Final = 0x2360ED051FC65DA44385DF649FCCF645
_MULTIPLIER_HIGH: Final = np.uint64(_MULTIPLIER >> 64)
_MULTIPLIER_LOW: Final = np.uint64(_MULTIPLIER & _ALL)
_HALF: Final = np.uint64(2**32 - 1)
_MANTISSA: Final = np.uint64(2**52 - 1)
_LAYER: Final = np.uint64(255)
_ONE, _8, _9, _11, _32, _58, _63, _64 = (np.uint64(bits) for bits in (1, 8, 9, 11, 32, 58, 63, 64))
_UNIT: Final = 2.0**-53


def _layers() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Width of each layer, the share of it that surely lies below the curve, and the curve's height there."""

    def height(x: float) -> float:
        return math.exp(-0.5 * x * x)

    area = _EDGE * height(_EDGE) + math.sqrt(math.pi / 2) * math.erfc(_EDGE / math.sqrt(2))
    width = np.empty(256)
    width[0], width[255] = area / height(_EDGE), _EDGE
    for layer in range(254, 0, -1):
        wider = width[layer + 1]
        width[layer] = math.sqrt(-2.0 * math.log(area / wider + height(wider)))
    inside = np.concatenate([[_EDGE / width[0], 0.0], width[1:255] / width[2:]])
    curve = np.array([1.0, *(height(x) for x in width[1:])])
    return width, inside, curve


_WIDTH, _INSIDE, _CURVE = _layers()
_SCALE: Final = 2.0**-52


def generator_words(seed: int) -> list[int]:
    """State [WORDS] from which kernels go on as `numpy.random.default_rng(seed)` would."""
    state = np.random.PCG64(seed).state["state"]
    at, step = int(state["state"]), int(state["inc"])
    return [at >> 64, at & _ALL, step >> 64, step & _ALL]


@inner
def _product_high(a: np.uint64, b: np.uint64) -> np.uint64:
    """Upper half of a product of 128 bits."""
    low = (a & _HALF) * (b & _HALF)
    first = (a >> _32) * (b & _HALF) + (low >> _32)
    second = (a & _HALF) * (b >> _32) + (first & _HALF)
    return (a >> _32) * (b >> _32) + (first >> _32) + (second >> _32)


@inner
def _bits(words: Words) -> np.uint64:
    """The next 64 bits."""
    high, low = words[HIGH], words[LOW]
    high = _product_high(low, _MULTIPLIER_LOW) + high * _MULTIPLIER_LOW + low * _MULTIPLIER_HIGH
    low = low * _MULTIPLIER_LOW
    total = low + words[STEP_LOW]
    high = high + words[STEP_HIGH] + (_ONE if total < low else _ONE - _ONE)
    words[HIGH], words[LOW] = high, total
    mixed, turn = high ^ total, high >> _58
    return (mixed >> turn) | (mixed << ((_64 - turn) & _63))


@kernel
def uniform(words: Words) -> float:
    """A number in [0, 1), as of `Generator.random`.

    Args:
        words: [WORDS], see `generator_words`; it goes on.
    """
    return float(_bits(words) >> _11) * _UNIT


@kernel
def normal(words: Words) -> float:
    """A number as of `Generator.standard_normal`; see `uniform`."""
    while True:
        bits = _bits(words)
        layer = int(bits & _LAYER)
        share = float((bits >> _9) & _MANTISSA) * _SCALE
        negative = (bits >> _8) & _ONE > np.uint64(0)
        x = -share * _WIDTH[layer] if negative else share * _WIDTH[layer]
        if share < _INSIDE[layer]:
            return x
        if layer == 0:
            return _tail(words, bits)
        if (_CURVE[layer - 1] - _CURVE[layer]) * uniform(words) + _CURVE[layer] < math.exp(-0.5 * x * x):
            return x


@inner
def _tail(words: Words, bits: np.uint64) -> float:
    """A number beyond the edge; its sign is in `bits`."""
    while True:
        beyond, depth = -math.log1p(-uniform(words)) / _EDGE, -math.log1p(-uniform(words))
        if depth + depth > beyond * beyond:
            negative = ((bits >> _9) & _MANTISSA) >> _8 & _ONE > np.uint64(0)
            return -(_EDGE + beyond) if negative else _EDGE + beyond
