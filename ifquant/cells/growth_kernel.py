"""Compiled part of the cell model: growth of labels by integer cost, all fronts at once (Dial's
bucket queue).

Every pixel goes to the offer with the smallest (cost, label). All steps cost at least 1, so when a
bucket is emptied every offer for its pixels has been made: the result does not depend on the order
inside a bucket, nor on the window (given the reach stated in `cells`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]

STRAIGHT = 10
"""Cost of a step to one of the 4 nearest pixels; 10/14 never falls below 10 x the straight distance
in px by more than 1.01 %."""
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


Tables = tuple[Ints, Ints, Ints, Bytes]
"""Straight and diagonal steps, limits and edge switches of `grow_window`."""


def ring_media(nuclei: Ints, medium: Bytes, ring: int, n: int) -> NDArray[np.int64]:
    """Count pixels (n + 1, 6): per label the media of its ring, grown evenly up to the cost `ring`
    (columns 0-2), and of its nucleus.
    """
    counts = np.zeros((n + 1, 6), np.int64)
    straight, diagonal, limit = (
        np.full((1, 4), cost, np.int32) for cost in (STRAIGHT, DIAGONAL, ring)
    )
    even = straight, diagonal, limit, np.zeros((1, 4), np.uint8)
    nothing, kind = np.zeros((1, 1), np.uint8), np.zeros(n + 1, np.uint8)
    for core, around, state, ground in _blocks(nuclei.shape, even):
        fill(state, ground, nuclei, nothing, nothing, around.start_y, around.start_x)
        grow_window(state, ground, kind, *even)
        count_media(
            state,
            nuclei,
            medium,
            core.start_y,
            core.start_x,
            core.stop_y,
            core.stop_x,
            around.start_y,
            around.start_x,
            counts,
        )
    return counts


def grow(
    nuclei: Ints, medium: Bytes, edge: Bytes, kind: Bytes, tables: Tables
) -> tuple[Ints, Ints]:
    """Grow all nuclei, block by block: fronts all over a large image would not fit into the cache.

    Returns
    -------
    Labels and costs, int32 (Y, X); 0 where nobody came.
    """
    labels, costs = np.zeros(nuclei.shape, np.int32), np.zeros(nuclei.shape, np.int32)
    for core, around, state, ground in _blocks(nuclei.shape, tables):
        fill(state, ground, nuclei, medium, edge, around.start_y, around.start_x)
        grow_window(state, ground, kind, *tables)
        keep(
            state,
            labels,
            costs,
            core.start_y,
            core.start_x,
            core.stop_y,
            core.stop_x,
            around.start_y,
            around.start_x,
        )
    return labels, costs


class _Block(NamedTuple):
    start_y: int
    start_x: int
    stop_y: int
    stop_x: int


def _blocks(
    shape: tuple[int, ...], tables: Tables
) -> Iterator[tuple[_Block, _Block, NDArray[np.int64], Bytes]]:
    """Blocks that partition an image, each with what surrounds it within reach, and memory for
    state and ground of that with a wall.
    """
    height, width = shape
    reach = int(max(tables[2].max(), 0)) // STRAIGHT + 2
    side = max(BLOCK_PX, BLOCK_REACHES * reach)
    most = (min(side + 2 * reach, height) + 2) * (min(side + 2 * reach, width) + 2)
    state, ground = np.empty(most, np.int64), np.empty(most, np.uint8)
    for y in range(0, height, side):
        for x in range(0, width, side):
            core = _Block(y, x, min(y + side, height), min(x + side, width))
            around = _Block(
                max(y - reach, 0),
                max(x - reach, 0),
                min(core.stop_y + reach, height),
                min(core.stop_x + reach, width),
            )
            inner = around.stop_y - around.start_y + 2, around.stop_x - around.start_x + 2
            size = inner[0] * inner[1]
            yield core, around, state[:size].reshape(inner), ground[:size].reshape(inner)


@njit(cache=True)  # type: ignore[untyped-decorator]
def grow_window(  # pragma: no cover
    state: NDArray[np.int64],
    ground: Bytes,
    kind: Bytes,
    straight: Ints,
    diagonal: Ints,
    limit: Ints,
    edged: Bytes,
) -> None:
    """Grow labels over free ground, in place.

    Parameters
    ----------
    state
        int64 (Y, X): ``cost << 32 | label`` of owned pixels, `FREE` elsewhere; the smallest offer
        wins, so this one number orders all.
    ground
        uint8 (Y, X): bits 0-1 the medium (column of the tables; `WALL`: never entered), bits 2-7
        the cost of edges. The outermost rows and columns must be `WALL`.
    kind
        uint8 (n + 1,): class of each label (row of the tables).
    straight, diagonal, limit
        int32 (classes, 4): cost of the two steps onto a medium, and the cost above which it is not
        entered (-1: never).
    edged
        uint8 (classes, 4): whether the cost of edges counts.
    """
    width = state.shape[1]
    states, grounds = state.ravel(), ground.ravel()
    around = np.array(
        [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1], np.int64
    )
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
def fill(
    state: NDArray[np.int64],
    ground: Bytes,
    nuclei: Ints,
    medium: Bytes,
    edge: Bytes,
    top: int,
    left: int,
) -> None:  # pragma: no cover
    """Write state and ground of the part of an image that starts at (`top`, `left`), with one pixel
    of wall around.

    Nuclei are walls at cost 0. `medium` and `edge` of one pixel stand for no stain anywhere.
    """
    height, width = state.shape
    stained = medium.size > 1 or nuclei.size == 1
    for y in range(height):
        if y == 0 or y == height - 1:
            state[y] = FREE
            ground[y] = WALL
            continue
        state[y, 0] = state[y, width - 1] = FREE
        ground[y, 0] = ground[y, width - 1] = WALL
        v = top + y - 1
        for x in range(1, width - 1):
            u = left + x - 1
            if nuclei[v, u] != 0:
                state[y, x] = nuclei[v, u]
                ground[y, x] = WALL
            else:
                state[y, x] = FREE
                ground[y, x] = medium[v, u] | edge[v, u] << 2 if stained else 0


@njit(cache=True)  # type: ignore[untyped-decorator]
def keep(  # pragma: no cover
    state: NDArray[np.int64],
    labels: Ints,
    costs: Ints,
    y0: int,
    x0: int,
    y1: int,
    x1: int,
    top: int,
    left: int,
) -> None:
    """Copy labels and costs of the pixels y0..y1, x0..x1 from the state of a block whose
    surroundings start at (`top`, `left`).
    """
    for y in range(y0, y1):
        for x in range(x0, x1):
            value = state[y - top + 1, x - left + 1]
            if value != FREE:
                labels[y, x] = value & 0xFFFFFFFF
                costs[y, x] = value >> 32


@njit(cache=True)  # type: ignore[untyped-decorator]
def take_leftovers(  # pragma: no cover
    labels: Ints,
    costs: Ints,
    medium: Bytes,
    edge: Bytes,
    kind: Bytes,
    opened: int,
    straight: Ints,
    diagonal: Ints,
    limit: Ints,
    edged: Bytes,
) -> None:
    """Let labels grow on, in place, over pixels nobody has, now that the medium `opened` is open to
    them; what is owned stays.

    All else was as open before as it is now, so that fronts start only beside free pixels of that
    medium. Same rules as `grow_window`.
    """
    height, width = labels.shape
    top = np.int64(max(limit.max(), 0))
    head = np.full(top + 1, -1, np.int32)
    pixel = np.empty(1024, np.int32)
    following = np.empty_like(pixel)
    free, used = np.int32(-1), np.int32(0)
    ours = np.zeros(labels.shape, np.bool_)  # pixels that nobody had
    for y in range(height):
        for x in range(width):
            if labels[y, x] != 0:
                continue
            ours[y, x] = True
            if medium[y, x] != opened:
                continue
            for v in range(max(y - 1, 0), min(y + 2, height)):
                for u in range(max(x - 1, 0), min(x + 2, width)):
                    if labels[v, u] != 0 and costs[v, u] <= top:
                        if used == pixel.size:
                            pixel, following = _doubled(pixel), _doubled(following)
                        pixel[used] = v * width + u
                        following[used] = head[costs[v, u]]
                        head[costs[v, u]] = used
                        used += 1
    for now in range(top + 1):
        while head[now] >= 0:
            node = head[now]
            head[now] = following[node]
            following[node] = free
            free = node
            y, x = pixel[node] // width, pixel[node] % width
            if costs[y, x] != now:
                continue
            label = labels[y, x]
            group = kind[label]
            for v in range(max(y - 1, 0), min(y + 2, height)):
                for u in range(max(x - 1, 0), min(x + 2, width)):
                    if not ours[v, u]:
                        continue
                    ground = medium[v, u]
                    cost = now + (
                        diagonal[group, ground] if v != y and u != x else straight[group, ground]
                    )
                    if edged[group, ground]:
                        cost += edge[v, u]
                    if cost > limit[group, ground]:
                        continue
                    if labels[v, u] != 0 and (
                        costs[v, u] < cost or (costs[v, u] == cost and labels[v, u] <= label)
                    ):
                        continue
                    known = labels[v, u] != 0 and costs[v, u] == cost
                    labels[v, u] = label
                    costs[v, u] = cost
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
                    pixel[place] = v * width + u
                    following[place] = head[cost]
                    head[cost] = place


@njit(cache=True)  # type: ignore[untyped-decorator]
def count_media(  # pragma: no cover
    state: NDArray[np.int64],
    nuclei: Ints,
    medium: Bytes,
    y0: int,
    x0: int,
    y1: int,
    x1: int,
    top: int,
    left: int,
    counts: NDArray[np.int64],
) -> None:
    """Count the pixels y0..y1, x0..x1 by label and medium, those of nuclei three columns on; see
    `keep`.
    """
    for y in range(y0, y1):
        for x in range(x0, x1):
            value = state[y - top + 1, x - left + 1]
            if value != FREE:
                counts[value & 0xFFFFFFFF, medium[y, x] + (3 if nuclei[y, x] != 0 else 0)] += 1
