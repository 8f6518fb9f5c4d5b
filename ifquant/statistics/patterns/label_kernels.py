"""Compiled label permutations: each has its own seed, so that any split over workers agrees."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_ULP = 2.0**-53


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
        j = np.int64(math.floor(np.float64(_mixed(state) >> _S11) * (i + 1) * _ULP))
        values[i], values[j] = values[j], values[i]


@njit(cache=True)
def label_pair_counts(labels, kinds, starts, neighbors, seed, first, last):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Pairs of neighbors by kind under permutations first..last-1: (last - first, kinds, kinds)."""
    counts = np.zeros((last - first, kinds, kinds), np.int64)
    shuffled = np.empty_like(labels)
    for number in range(first, last):
        shuffled[:] = labels
        shuffle(shuffled, seed, number)
        own = counts[number - first]
        for i in range(labels.size):
            kind = shuffled[i]
            for e in range(starts[i], starts[i + 1]):
                own[kind, shuffled[neighbors[e]]] += 1
    return counts


@njit(cache=True)
def labeled_pair_histograms(roles, starts, neighbors, bins, weights, n_bins, seed, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Histogram over distance of source-target pairs under each permutation: float64 (n, n_bins).

    `roles`: bit 1 = source, bit 2 = target.
    """
    out = np.zeros((n, n_bins))
    shuffled = np.empty_like(roles)
    for number in range(n):
        shuffled[:] = roles
        shuffle(shuffled, seed, number)
        own = out[number]
        for i in range(roles.size):
            mine = shuffled[i]
            if mine == 0:
                continue
            for e in range(starts[i], starts[i + 1]):
                other = shuffled[neighbors[e]]
                both = ((mine & 1) & (other >> 1)) + ((other & 1) & (mine >> 1))
                if both:
                    own[bins[e]] += both * weights[e]
    return out


@njit(cache=True)
def labeled_nearest(roles, starts, neighbors, distances, seed, number):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Distance to the nearest target under a permutation, (n,): inf without, nan: no source."""
    n = roles.size
    out = np.full(n, np.inf)
    shuffled = roles.copy()
    shuffle(shuffled, seed, number)
    for i in range(n):
        mine = shuffled[i]
        if mine == 0:
            continue
        for e in range(starts[i], starts[i + 1]):
            j = neighbors[e]
            other = shuffled[j]
            if mine & 1 and other & 2:
                out[i] = min(out[i], distances[e])
            if other & 1 and mine & 2:
                out[j] = min(out[j], distances[e])
    for i in range(n):
        if not shuffled[i] & 1:
            out[i] = np.nan
    return out
