"""Compiled part of the cell model: growth of labels by integer cost, all fronts at once.

Dial's bucket queue: every pixel goes to the offer with the smallest (cost, label). All steps cost
at least 1, so when a bucket is emptied every offer for its pixels has been made: the result does
not depend on the order inside a bucket, nor on the window (given the reach stated in `growth`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]

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


class Rules(NamedTuple):
    """What growth costs: tables (classes, 4) by class of the label and medium of the pixel entered.

    Attributes
    ----------
    straight, diagonal
        Costs of the two steps.
    limit
        Cost above which a pixel is not entered (-1: never).
    edged
        Whether the cost of edges counts.
    """

    straight: Ints
    diagonal: Ints
    limit: Ints
    edged: Bytes


class _Block(NamedTuple):
    start_y: int
    start_x: int
    stop_y: int
    stop_x: int


def ring_media(nuclei: Ints, medium: Bytes, ring: int, n: int) -> Longs:
    """Count the media of each label's ring (columns 0-2) and nucleus (3-5): int64 (n + 1, 6).

    Rings grow evenly, up to the cost `ring`.
    """
    straight, diagonal, limit = (
        np.full((1, 4), cost, np.int32) for cost in (STRAIGHT, DIAGONAL, ring)
    )
    even = Rules(straight, diagonal, limit, np.zeros((1, 4), np.uint8))
    labels, costs, plain = nuclei.copy(), np.zeros_like(nuclei), np.zeros_like(medium)
    grow(labels, costs, plain, plain, np.zeros(n + 1, np.uint8), even)
    return count_media(labels, nuclei, medium, n)  # type: ignore[no-any-return]


def grow(
    labels: Ints,
    costs: Ints,
    medium: Bytes,
    edge: Bytes,
    kind: Bytes,
    rules: Rules,
    opened: int = -1,
) -> None:
    """Let labels grow over free pixels (label 0), in place; what is owned stays.

    Goes block by block, because fronts all over a large image would not fit into the cache. With
    `opened` there are few fronts, and one block: a front that has left the opened medium in one
    block would not be begun again in the next.

    Parameters
    ----------
    labels, costs
        int32 (Y, X): owners, and at which cost they came.
    medium, edge
        uint8 (Y, X): column of the rules, and cost of edges (below 64).
    kind
        uint8 (n + 1,): class of each label, row of the rules.
    opened
        The only medium that these rules open and those before did not, so that fronts start beside
        its free pixels only; -1: any.
    """
    for core, around, state, ground in _blocks(labels.shape, rules, whole=opened >= 0):
        fill(state, ground, labels, costs, medium, edge, around)
        grow_window(state, ground, kind, rules, opened)
        keep(state, labels, costs, core, around)


def _blocks(
    shape: tuple[int, ...], rules: Rules, *, whole: bool
) -> Iterator[tuple[_Block, _Block, Longs, Bytes]]:
    """Blocks that partition an image, their surroundings within reach, and memory for these.

    The memory, for state and ground, has room for a wall around.
    """
    height, width = shape
    reach = int(max(rules.limit.max(), 0)) // STRAIGHT + 2
    side = max(shape) if whole else max(BLOCK_PX, BLOCK_REACHES * reach)
    most = (min(side + 2 * reach, height) + 2) * (min(side + 2 * reach, width) + 2)
    state, ground = np.empty(most, np.int64), np.empty(most, np.uint8)
    for y in range(0, height, side):
        for x in range(0, width, side):
            core = _Block(y, x, min(y + side, height), min(x + side, width))
            stop = min(core.stop_y + reach, height), min(core.stop_x + reach, width)
            around = _Block(max(y - reach, 0), max(x - reach, 0), *stop)
            inner = around.stop_y - around.start_y + 2, around.stop_x - around.start_x + 2
            size = inner[0] * inner[1]
            yield core, around, state[:size].reshape(inner), ground[:size].reshape(inner)


@njit(cache=True)  # type: ignore[untyped-decorator]
def grow_window(
    state: Longs, ground: Bytes, kind: Bytes, rules: Rules, opened: int
) -> None:  # pragma: no cover
    """Grow labels over free ground, in place.

    Nodes of the lists are int32 throughout: with int64 mixed in it takes 1.6 times as long.

    Parameters
    ----------
    state
        int64 (Y, X): ``cost << 32 | label`` of owned pixels, `FREE` elsewhere; the smallest offer
        wins, so this one number orders all.
    ground
        uint8 (Y, X): bits 0-1 the medium (`WALL`: never entered), bits 2-7 the cost of edges. The
        outermost rows and columns must be `WALL`.
    opened
        See `grow`.
    """
    states, grounds = state.ravel(), ground.ravel()
    straight, diagonal, limit, edged = rules
    width = state.shape[1]
    around = np.array(
        [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1], np.int64
    )
    oblique = np.array([1, 0, 1, 0, 0, 1, 0, 1], np.uint8)
    pixel, used = _fronts(states, grounds, around, opened)
    following = np.empty_like(pixel)
    top = np.int64(max(limit.max(), 0))
    head = np.full(top + 1, -1, np.int32)
    for first in range(used):
        cost = states[pixel[first]] >> 32
        if cost <= top:
            following[first] = head[cost]
            head[cost] = first
    free = np.int32(-1)
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
                offer = cost << 32 | label
                if cost > limit[group, medium] or offer >= states[q]:
                    continue
                known = states[q] >> 32 == cost
                states[q] = offer
                if known:
                    continue
                place = free
                if free >= 0:
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
def _fronts(
    states: Longs, grounds: Bytes, around: Longs, opened: int
) -> tuple[Ints, np.int32]:  # pragma: no cover
    """Owned pixels beside ground (of the medium `opened`, unless -1), and how many there are."""
    pixel = np.empty(max(1024, states.size // 8), np.int32)
    used = np.int32(0)
    for p in range(around[7], states.size - around[7]):
        if opened < 0:
            if states[p] != FREE and _beside_ground(grounds, around, p):
                if used == pixel.size:
                    pixel = _doubled(pixel)
                pixel[used] = p
                used += 1
            continue
        if grounds[p] & 3 != opened:
            continue
        for d in around:
            if states[p + d] != FREE:
                if used == pixel.size:
                    pixel = _doubled(pixel)
                pixel[used] = p + d
                used += 1
    return pixel, used


@njit(cache=True)  # type: ignore[untyped-decorator]
def _beside_ground(grounds: Bytes, around: Longs, p: int) -> bool:  # pragma: no cover
    for d in around:  # noqa: SIM110 (compiled code has no any())
        if grounds[p + d] & 3 != WALL:
            return True
    return False


@njit(cache=True)  # type: ignore[untyped-decorator]
def _doubled(values: Ints) -> Ints:  # pragma: no cover
    larger = np.empty(2 * values.size, np.int32)
    larger[: values.size] = values
    return larger


@njit(cache=True)  # type: ignore[untyped-decorator]
def fill(
    state: Longs,
    ground: Bytes,
    labels: Ints,
    costs: Ints,
    medium: Bytes,
    edge: Bytes,
    around: _Block,
) -> None:  # pragma: no cover
    """Write state and ground of a part of an image, with one pixel of wall around it.

    What is owned is a wall, too.
    """
    height, width = state.shape
    state[0], state[height - 1] = FREE, FREE
    ground[0], ground[height - 1] = WALL, WALL
    for y in range(1, height - 1):
        state[y, 0] = state[y, width - 1] = FREE
        ground[y, 0] = ground[y, width - 1] = WALL
        v = around.start_y + y - 1
        for x in range(1, width - 1):
            u = around.start_x + x - 1
            if labels[v, u] != 0:
                state[y, x] = np.int64(costs[v, u]) << 32 | labels[v, u]
                ground[y, x] = WALL
            else:
                state[y, x] = FREE
                ground[y, x] = medium[v, u] | edge[v, u] << 2


@njit(cache=True)  # type: ignore[untyped-decorator]
def keep(
    state: Longs, labels: Ints, costs: Ints, core: _Block, around: _Block
) -> None:  # pragma: no cover
    """Copy labels and costs of the block `core` from the state of its surroundings."""
    for y in range(core.start_y, core.stop_y):
        for x in range(core.start_x, core.stop_x):
            value = state[y - around.start_y + 1, x - around.start_x + 1]
            if value != FREE:
                labels[y, x] = value & 0xFFFFFFFF
                costs[y, x] = value >> 32


@njit(cache=True)  # type: ignore[untyped-decorator]
def count_media(labels: Ints, nuclei: Ints, medium: Bytes, n: int) -> Longs:  # pragma: no cover
    """Count pixels by label and medium, those of nuclei three columns on: int64 (n + 1, 6)."""
    counts = np.zeros((n + 1, 6), np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] != 0:
                counts[labels[y, x], medium[y, x] + (3 if nuclei[y, x] != 0 else 0)] += 1
    return counts
