"""Compiled kernels of label permutations: each permutation has its own seed, so that any split over
workers gives the same numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@njit(cache=True, inline="always")
def _mixed(state):  # type: ignore[no-untyped-def]  # pragma: no cover
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a 64-bit number from a counter."""
    z = state
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@njit(cache=True)
def shuffle(values, seed, number):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Shuffle in place (Fisher and Yates) with the stream of permutation `number` of `seed`."""
    state = _mixed(_mixed(np.uint64(seed) + _GAMMA) + np.uint64(number) * _GAMMA)
    for i in range(values.size - 1, 0, -1):
        state += _GAMMA
        j = np.int64(
            math.floor(np.float64(_mixed(state) >> _S11) * (i + 1) * 1.1102230246251565e-16)
        )  # 2 ** -53
        values[i], values[j] = values[j], values[i]


@njit(cache=True)
def label_pair_counts(labels, kinds, starts, neighbours, seed, first, last):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Neighbours of each pair of kinds under permutations first..last-1: int64 (last - first,
    kinds, kinds), each pair counted once.
    """
    counts = np.zeros((last - first, kinds, kinds), np.int64)
    shuffled = np.empty_like(labels)
    for number in range(first, last):
        shuffled[:] = labels
        shuffle(shuffled, seed, number)
        own = counts[number - first]
        for i in range(labels.size):
            kind = shuffled[i]
            for e in range(starts[i], starts[i + 1]):
                own[kind, shuffled[neighbours[e]]] += 1
    return counts


@njit(cache=True)
def neighbour_lists(x, y, starts, columns, rows, cell, reach):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Neighbours j > i within `reach` of points sorted by the cells of a grid: offsets (n + 1) and
    indices.
    """
    n = x.size
    offsets = np.zeros(n + 1, np.int64)
    found = np.zeros(0, np.int32)
    for fill in range(2):
        at = 0
        for i in range(n):
            c0, c1 = (
                max(math.floor((x[i] - reach) / cell), 0),
                min(math.floor((x[i] + reach) / cell), columns - 1),
            )
            r0, r1 = (
                max(math.floor((y[i] - reach) / cell), 0),
                min(math.floor((y[i] + reach) / cell), rows - 1),
            )
            for row in range(r0, r1 + 1):
                for j in range(
                    max(starts[row * columns + c0], i + 1), starts[row * columns + c1 + 1]
                ):
                    if (x[j] - x[i]) ** 2 + (y[j] - y[i]) ** 2 <= reach * reach:
                        if fill:
                            found[at] = j
                        at += 1
            offsets[i + 1] = at
        if fill == 0:
            found = np.empty(at, np.int32)
    return offsets, found


@njit(cache=True)
def labelled_pair_histograms(roles, starts, neighbours, bins, weights, n_bins, seed, first, last):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Histogram over distance bins of source-target pairs when the roles are shuffled: float64
    (last - first, n_bins).

    `roles`: bit 1 = source, bit 2 = target.
    """
    out = np.zeros((last - first, n_bins))
    shuffled = np.empty_like(roles)
    for number in range(first, last):
        shuffled[:] = roles
        shuffle(shuffled, seed, number)
        own = out[number - first]
        for i in range(roles.size):
            mine = shuffled[i]
            if mine == 0:
                continue
            for e in range(starts[i], starts[i + 1]):
                other = shuffled[neighbours[e]]
                both = ((mine & 1) & (other >> 1)) + ((other & 1) & (mine >> 1))
                if both:
                    own[bins[e]] += both * weights[e]
    return out


@njit(cache=True)
def labelled_nearest(roles, starts, neighbours, distances, seed, number):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Distance to the nearest target among the listed pairs under one permutation of roles: (n,);
    inf without one, nan for no source.
    """
    n = roles.size
    out = np.full(n, np.inf)
    shuffled = roles.copy()
    shuffle(shuffled, seed, number)
    for i in range(n):
        mine = shuffled[i]
        if mine == 0:
            continue
        for e in range(starts[i], starts[i + 1]):
            j = neighbours[e]
            other = shuffled[j]
            if mine & 1 and other & 2:
                out[i] = min(out[i], distances[e])
            if other & 1 and mine & 2:
                out[j] = min(out[j], distances[e])
    for i in range(n):
        if not shuffled[i] & 1:
            out[i] = np.nan
    return out
