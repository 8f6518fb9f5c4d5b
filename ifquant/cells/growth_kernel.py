"""Compiled part of the cell model: growth of labels by integer cost, all fronts at once (Dial's bucket queue).

Every pixel goes to the offer with the smallest (cost, label). All steps cost at least 1, so when a bucket is emptied every offer for its
pixels has been made: the result does not depend on the order inside a bucket, nor on the window (given the reach stated in `cells`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]

STRAIGHT = 10
"""Cost of a step to one of the 4 nearest pixels; 10/14 never falls below 10 x the straight distance in px by more than 1.01 %."""
DIAGONAL = 14
"""Cost of a diagonal step."""
WALL = 3
"""Medium that is never entered."""
BLOCK_PX = 512
"""Smallest side of the blocks of `grow`; no result depends on it."""
BLOCK_REACHES = 8
"""Smallest side in reaches, so that the overlap of blocks stays cheap."""
FREE = 2**62
"""State of a pixel that nobody owns."""


def grow(
    state: NDArray[np.int64], ground: Bytes, kind: Bytes, straight: Ints, diagonal: Ints, limit: Ints, edged: Bytes
) -> NDArray[np.int64]:
    """Do what `grow_window` does, block by block, and return the new state: fronts all over a large image would not fit into the cache."""
    reach = int(max(limit.max(), 0)) // STRAIGHT + 2
    side = max(BLOCK_PX, BLOCK_REACHES * reach)
    grown = state.copy()
    for y in range(0, state.shape[0], side):
        for x in range(0, state.shape[1], side):
            top, left = max(y - reach, 0), max(x - reach, 0)
            around = slice(top, y + side + reach), slice(left, x + side + reach)
            block, walls = state[around].copy(), ground[around].copy()
            walls[[0, -1]], walls[:, [0, -1]] = WALL, WALL
            grow_window(block, walls, kind, straight, diagonal, limit, edged)
            grown[y : y + side, x : x + side] = block[y - top : y - top + side, x - left : x - left + side]
    return grown


@njit(cache=True)  # type: ignore[untyped-decorator]
def grow_window(  # pragma: no cover
    state: NDArray[np.int64], ground: Bytes, kind: Bytes, straight: Ints, diagonal: Ints, limit: Ints, edged: Bytes
) -> None:
    """Grow labels over free ground, in place.

    Parameters
    ----------
    state
        int64 (Y, X): ``cost << 32 | label`` of owned pixels, `FREE` elsewhere; the smallest offer wins, so this one number orders all.
    ground
        uint8 (Y, X): bits 0-1 the medium (column of the tables; `WALL`: never entered), bits 2-7 the cost of edges. The outermost rows and
        columns must be `WALL`.
    kind
        uint8 (n + 1,): class of each label (row of the tables).
    straight, diagonal, limit
        int32 (classes, 4): cost of the two steps onto a medium, and the cost above which it is not entered (-1: never).
    edged
        uint8 (classes, 4): whether the cost of edges counts.
    """
    width = state.shape[1]
    states, grounds = state.ravel(), ground.ravel()
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1], np.int64)
    oblique = np.array([1, 0, 1, 0, 0, 1, 0, 1], np.uint8)
    top = np.int64(max(limit.max(), 0))
    head = np.full(top + 1, -1, np.int32)
    pixel = np.empty(max(1024, state.size // 8), np.int32)
    following = np.empty_like(pixel)
    free, used = np.int32(-1), np.int32(0)
    for p in range(width + 1, states.size - width - 1):
        cost = states[p] >> 32
        if cost > top:
            continue
        for d in around:
            if grounds[p + d] & 3 != WALL:
                if used == pixel.size:
                    pixel, following = _doubled(pixel), _doubled(following)
                pixel[used] = p
                following[used] = head[cost]
                head[cost] = used
                used += 1
                break
    for now in range(top + 1):
        while head[now] >= 0:
            node = head[now]
            head[now] = following[node]
            following[node] = free
            free = node
            here = np.int64(pixel[node])
            if states[here] >> 32 != now:
                continue
            label = states[here] & 0xFFFFFFFF
            group = kind[label]
            for k in range(8):
                q = here + around[k]
                medium = grounds[q] & 3
                if medium == WALL:
                    continue
                cost = now + (diagonal[group, medium] if oblique[k] else straight[group, medium])
                if edged[group, medium]:
                    cost += grounds[q] >> 2
                if cost > limit[group, medium]:
                    continue
                offer = cost << 32 | label
                if offer >= states[q]:
                    continue
                known = states[q] >> 32 == cost
                states[q] = offer
                if known:
                    continue
                if free >= 0:
                    place = free
                    free = following[place]
                else:
                    if used == pixel.size:
                        pixel, following = _doubled(pixel), _doubled(following)
                    place = used
                    used += 1
                pixel[place] = q
                following[place] = head[cost]
                head[cost] = place


@njit(cache=True)  # type: ignore[untyped-decorator]
def _doubled(values: Ints) -> Ints:  # pragma: no cover
    larger = np.empty(2 * values.size, np.int32)
    larger[: values.size] = values
    return larger


@njit(cache=True)  # type: ignore[untyped-decorator]
def prepare(nuclei: Ints, medium: Bytes, edge: Bytes) -> tuple[NDArray[np.int64], Bytes]:  # pragma: no cover
    """State and ground of `grow`, with one pixel of wall around; nuclei are walls at cost 0."""
    height, width = nuclei.shape
    state = np.full((height + 2, width + 2), FREE, np.int64)
    ground = np.full((height + 2, width + 2), WALL, np.uint8)
    for y in range(height):
        for x in range(width):
            if nuclei[y, x] != 0:
                state[y + 1, x + 1] = nuclei[y, x]
            else:
                ground[y + 1, x + 1] = medium[y, x] | edge[y, x] << 2
    return state, ground


@njit(cache=True)  # type: ignore[untyped-decorator]
def settle(state: NDArray[np.int64], ground: Bytes) -> None:  # pragma: no cover
    """Turn all owned ground into wall, so that a further growth takes leftovers only."""
    for y in range(state.shape[0]):
        for x in range(state.shape[1]):
            if state[y, x] != FREE:
                ground[y, x] = WALL


@njit(cache=True)  # type: ignore[untyped-decorator]
def owners(state: NDArray[np.int64]) -> Ints:  # pragma: no cover
    """Labels (Y, X) int32 of a state, without the wall around it."""
    height, width = state.shape[0] - 2, state.shape[1] - 2
    labels = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            if state[y + 1, x + 1] != FREE:
                labels[y, x] = state[y + 1, x + 1] & 0xFFFFFFFF
    return labels


@njit(cache=True)  # type: ignore[untyped-decorator]
def strongest_stain(tumor: NDArray[np.float32], myeloid: NDArray[np.float32]) -> Bytes:  # pragma: no cover
    """Medium of each pixel: 0 unstained, 1 tumor, 2 myeloid; both above 1: the larger ratio to its threshold, ties to tumor."""
    medium = np.zeros(tumor.shape, np.uint8)
    for y in range(tumor.shape[0]):
        for x in range(tumor.shape[1]):
            if tumor[y, x] > 1 and tumor[y, x] >= myeloid[y, x]:
                medium[y, x] = 1
            elif myeloid[y, x] > 1:
                medium[y, x] = 2
    return medium


@njit(cache=True)  # type: ignore[untyped-decorator]
def relative_edges(ratio: NDArray[np.float32], gain: float, largest: int) -> Bytes:  # pragma: no cover
    """Cost of edges: `gain` x (|vertical| + |horizontal| central difference) / max(ratio, 1), rounded down, at most `largest`."""
    height, width = ratio.shape
    edges = np.zeros(ratio.shape, np.uint8)
    for y in range(height):
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            if ratio[y, x] <= 1:
                continue
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            slope = abs(np.float64(ratio[below, x]) - ratio[above, x]) + abs(np.float64(ratio[y, right]) - ratio[y, left])
            edges[y, x] = int(min(gain * slope / ratio[y, x], largest))
    return edges


@njit(cache=True)  # type: ignore[untyped-decorator]
def count_media(labels: Ints, nuclei: Ints, medium: Bytes, n: int) -> NDArray[np.int64]:  # pragma: no cover
    """Count pixels (n + 1, 6): per label the media of its ring (columns 0-2) and of its nucleus (columns 3-5)."""
    counts = np.zeros((n + 1, 6), np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] != 0:
                counts[labels[y, x], medium[y, x] + (3 if nuclei[y, x] != 0 else 0)] += 1
    return counts


@njit(cache=True)  # type: ignore[untyped-decorator]
def number_by_anchor(labels: NDArray[Any], largest: int) -> tuple[Ints, NDArray[np.int64]]:  # pragma: no cover
    """Renumber labels (Y, X) 1..n by their first pixel in raster order; also the old label of each new one (n + 1,)."""
    new = np.zeros(largest + 1, np.int32)
    old = np.zeros(largest + 1, np.int64)
    out = np.zeros(labels.shape, np.int32)
    n = 0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label == 0:
                continue
            if new[label] == 0:
                n += 1
                new[label] = n
                old[n] = label
            out[y, x] = new[label]
    return out, old[: n + 1].copy()
