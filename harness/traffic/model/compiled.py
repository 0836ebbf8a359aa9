"""What a CPU spends most of its time on in SMART, compiled: relative poses, attention along edges, and tokens.

Edges that do not exist cost nothing, and nothing is gathered before it is looked at. All equal what the other modules
do on other devices up to rounding.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.kernels import Ints, Singles, kernel

Reals = NDArray[Any]
"""Numbers of one precision, single or double."""


@kernel
def _write_features(
    source: Reals, row: Ints, pose: Reals, start: Ints, age: Reals, bands: int, constants: Reals, out: Reals
) -> None:
    """Write features [E, 6·bands + 10] of poses [M, 3] at `row` [E] as seen from poses [N, 3], as in `embeddings`."""
    near, scale, oldest = constants[0], constants[1], constants[2]
    plain = 6 * bands
    slowest = 2.0 * math.pi / 2.0 ** (bands - 1)
    for n in range(len(start) - 1):
        cos, sin = math.cos(pose[n, 2]), math.sin(pose[n, 2])
        for e in range(start[n], start[n + 1]):
            r = row[e]
            dx, dy = float(source[r, 0] - pose[n, 0]), float(source[r, 1] - pose[n, 1])
            x, y = cos * dx + sin * dy, cos * dy - sin * dx
            turn = float(source[r, 2] - pose[n, 2])
            squared = x * x + y * y
            distance, soft = math.sqrt(squared + 1e-9), math.sqrt(squared + near * near)
            for coordinate in range(3):
                value = x if coordinate == 0 else (y if coordinate == 1 else distance)
                s, c = math.sin(value * slowest), math.cos(value * slowest)
                first = 2 * bands * coordinate
                # Every wavelength is half of the next: the double of an angle needs no sine of its own.
                for band in range(bands - 1, -1, -1):
                    out[e, first + band], out[e, first + bands + band] = s, c
                    s, c = 2 * s * c, c * c - s * s
            c, s = math.cos(turn), math.sin(turn)
            out[e, plain], out[e, plain + 1] = x / soft, y / soft
            out[e, plain + 2], out[e, plain + 3] = x / scale, y / scale
            out[e, plain + 4] = distance / scale
            out[e, plain + 5], out[e, plain + 6] = c, s
            out[e, plain + 7], out[e, plain + 8] = c * c - s * s, 2 * s * c
            out[e, plain + 9] = age[e] / oldest


def listed_features(
    source: Tensor, row: Tensor, pose: Tensor, start: Tensor, age: Tensor, bands: int, constants: tuple[float, ...]
) -> Tensor:
    """Features [E, 6·bands + 10] of E relative poses; no gradient reaches the poses.

    Args:
        source: [M, 3] poses that are looked at.
        row: [E] which of them.
        pose: [N, 3] poses that look.
        start: [N + 1] first edge of each of them, and E.
        age: [E] tokens since the source.
        bands: Frequencies.
        constants: Distance below which a bearing fades, unit of length (m), and unit of age.
    """
    out = pose.new_empty(len(row), 6 * bands + 10)
    parts = (_array(part) for part in (source, row, pose, start, age))
    _write_features(*parts, bands, np.array(constants), out.numpy())
    return out


@kernel
def _look(
    query: Reals, source: Reals, relation: Reals, row: Ints, start: Ints, found: Reals, share: Reals, scale: float
) -> None:
    """Write what is found [N, D] and the shares of attention [E, H]; see `attend`."""
    hidden, heads = query.shape[1], share.shape[1]
    width = hidden // heads
    for n in range(len(query)):
        first, last = start[n], start[n + 1]
        for d in range(hidden):
            found[n, d] = 0.0
        for head in range(heads):
            low, high = head * width, (head + 1) * width
            top = -np.inf
            for e in range(first, last):
                r = row[e]
                score = query[n, low] * (source[r, low] + relation[e, low])
                for d in range(low + 1, high):
                    score += query[n, d] * (source[r, d] + relation[e, d])
                share[e, head] = score * scale
                top = max(top, share[e, head])
            total = 0.0
            for e in range(first, last):
                share[e, head] = math.exp(share[e, head] - top)
                total += share[e, head]
            for e in range(first, last):
                share[e, head] /= total
                r, part = row[e], share[e, head]
                for d in range(low, high):
                    found[n, d] += part * (source[r, hidden + d] + relation[e, d])


@kernel
def _look_back(
    query: Reals,
    source: Reals,
    relation: Reals,
    row: Ints,
    start: Ints,
    share: Reals,
    asked: Reals,
    scale: float,
    to_query: Reals,
    to_source: Reals,
    to_relation: Reals,
) -> None:
    """Write gradients of the first three arguments, given `asked` [N, D], that of what is found; see `attend`."""
    hidden, heads = query.shape[1], share.shape[1]
    width = hidden // heads
    longest = 0
    for n in range(len(query)):
        longest = max(longest, start[n + 1] - start[n])
    pull = np.empty(longest, query.dtype)
    to_query[:] = 0.0
    to_source[:] = 0.0
    for n in range(len(query)):
        first, last = start[n], start[n + 1]
        for head in range(heads):
            low, high = head * width, (head + 1) * width
            mean = 0.0
            for e in range(first, last):
                r = row[e]
                gain = asked[n, low] * (source[r, hidden + low] + relation[e, low])
                for d in range(low + 1, high):
                    gain += asked[n, d] * (source[r, hidden + d] + relation[e, d])
                pull[e - first] = gain
                mean += share[e, head] * gain
            for e in range(first, last):
                r, part = row[e], share[e, head]
                pull[e - first] = part * (pull[e - first] - mean) * scale
                push = pull[e - first]
                for d in range(low, high):
                    to_query[n, d] += push * (source[r, d] + relation[e, d])
                for d in range(low, high):
                    to_key, to_value = push * query[n, d], part * asked[n, d]
                    to_source[r, d] += to_key
                    to_source[r, hidden + d] += to_value
                    to_relation[e, d] = to_key + to_value


class ListedAttention(torch.autograd.Function):
    """`attend` with its gradient."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, source: Tensor, relation: Tensor, row: Tensor, start: Tensor, heads: int
    ) -> Tensor:
        """See `attend`."""
        found, share = torch.empty_like(query), query.new_empty(len(row), heads)
        ctx.scale = 1.0 / math.sqrt(query.shape[1] // heads)
        parts = [_array(part) for part in (query, source, relation, row, start)]
        _look(*parts, found.numpy(), share.numpy(), parts[0].dtype.type(ctx.scale))
        ctx.save_for_backward(query, source, relation, row, start, share)
        return found

    @staticmethod
    def backward(ctx: Any, asked: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients of query, source and relation."""
        query, source, relation, row, start, share = ctx.saved_tensors
        out = [torch.empty_like(part) for part in (query, source, relation)]
        parts = [_array(part) for part in (query, source, relation, row, start, share, asked)]
        _look_back(*parts, parts[0].dtype.type(ctx.scale), *(part.numpy() for part in out))
        return (*out, None, None, None)


def attend(query: Tensor, source: Tensor, relation: Tensor, row: Tensor, start: Tensor, heads: int) -> Tensor:
    """What each query finds along its edges: softmax(q · (k + r) / √w) over the edges, times (v + r), for each head.

    Args:
        query: [N, D], contiguous, on the CPU as everything else.
        source: [M, 2·D] keys and values.
        relation: [E, D] relation of each edge, added to its key and its value.
        row: [E] row of the source.
        start: [N + 1] first edge of each query, and E.
        heads: Number of heads; w is D / heads.

    Returns:
        [N, D], zero for queries without edges.
    """
    found: Tensor = ListedAttention.apply(
        query.contiguous(), source.contiguous(), relation.contiguous(), row, start, heads
    )
    return found


_LEAST: Final = np.float32(-80.0)
"""What is further below the largest term than this is lost in the sum's rounding; its power of two is a number yet."""
_LOG2_E: Final = np.float32(1.44269504088896341)
_LN2_HIGH: Final = np.float32(0.693359375)
_LN2_LOW: Final = np.float32(-2.12194440e-4)
"""The logarithm of two in two parts, of which the first is exact times any exponent."""
_E2: Final = np.float32(5.0000001201e-1)
_E3: Final = np.float32(1.6666665459e-1)
_E4: Final = np.float32(4.1665795894e-2)
_E5: Final = np.float32(8.3334519073e-3)
_E6: Final = np.float32(1.3981999507e-3)
_E7: Final = np.float32(1.9875691500e-4)
"""Coefficients of the exponential between -ln 2 / 2 and ln 2 / 2, to the last bit (Cephes Math Library, `expf`)."""


@kernel
def _log_sum(factors: Singles, basis: Singles, share: Singles, total: Singles, found: Singles) -> None:
    """Write log Σ_c exp(a_c · b) [n, V]; see `log_sum_of_products`.

    The exponential is written out: without a branch and a call all tokens of a register are done at once.
    """
    size, components = basis.shape[1], factors.shape[1]
    top = np.empty(size, np.float32)
    exponent = np.empty(size, np.int32)
    power = exponent.view(np.float32)
    for n in range(len(factors)):
        own = share[n % len(share)]
        for c in range(components):
            own[c, :] = np.float32(0.0)
            for f in range(factors.shape[2]):
                factor = factors[n, c, f]
                for v in range(size):
                    own[c, v] += factor * basis[f, v]
        top[:] = own[0]
        for c in range(1, components):
            for v in range(size):
                top[v] = max(top[v], own[c, v])
        total[n, :] = np.float32(0.0)
        for c in range(components):
            for v in range(size):
                below = max(own[c, v] - top[v], _LEAST)
                # Rounded to the nearest: numbers are cut off towards zero, and this one is not above zero.
                halvings = np.int32(below * _LOG2_E - np.float32(0.5))
                times = np.float32(halvings)
                rest = below - times * _LN2_HIGH - times * _LN2_LOW
                series = ((((_E7 * rest + _E6) * rest + _E5) * rest + _E4) * rest + _E3) * rest + _E2
                own[c, v] = series * rest * rest + rest + np.float32(1.0)
                # The bits of a power of two.
                exponent[v] = (halvings + np.int32(127)) << np.int32(23)
            for v in range(size):
                own[c, v] *= power[v]
                total[n, v] += own[c, v]
        for v in range(size):
            found[n, v] = math.log(total[n, v]) + top[v]


def log_sum_of_products(factors: Tensor, basis: Tensor, *, shares: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithm of Σ_c exp(a_c · b) [n, V], the sum as a part of its largest term [n, V], and the terms so [n, C, V].

    Args:
        factors: [n, C, F], of single precision, on the CPU as everything else.
        basis: [F, V].
        shares: Whether the terms are asked for; otherwise the last tensor means nothing.
    """
    count, components, _ = factors.shape
    found, total = factors.new_empty(count, basis.shape[1]), factors.new_empty(count, basis.shape[1])
    share = factors.new_empty(count if shares else 1, components, basis.shape[1])
    _log_sum(_array(factors), _array(basis), share.numpy(), total.numpy(), found.numpy())
    return found, total, share


@kernel
def _write_distances(table: Reals, kinds: Ints, goal: Reals, out: Reals) -> None:
    """Write distances [N, V]; see `contour_distances`."""
    for n in range(len(kinds)):
        kind = kinds[n]
        for v in range(table.shape[1]):
            total = goal[n, 0, 0] * 0
            for corner in range(4):
                dx, dy = table[kind, v, corner, 0] - goal[n, corner, 0], table[kind, v, corner, 1] - goal[n, corner, 1]
                total += math.sqrt(dx * dx + dy * dy)
            out[n, v] = total / 4


def contour_distances(table: Tensor, kinds: Tensor, goal: Tensor) -> Tensor:
    """Mean corner distance [N, V] (m) of the contours of all tokens of a kind from one contour.

    Args:
        table: [K, V, 4, 2] corners of tokens by kind, m, on the CPU as everything else.
        kinds: [N].
        goal: [N, 4, 2] corners, m.
    """
    out = goal.new_empty(len(kinds), table.shape[1])
    _write_distances(_array(table), _array(kinds), _array(goal), out.numpy())
    return out


def _array(values: Tensor) -> NDArray[Any]:
    """The numbers of a tensor, without a copy where it is contiguous."""
    return values.detach().contiguous().numpy()
