"""Maps to nuclei: the one decoder of every map-based method, with a stated reach.

A flood over a whole clump (watershed) has no bound: in dense tissue a clump spans the slide, and
what a tile sees of it changes the result. Here every decision looks at a bounded neighbourhood, in
integers, with ties broken by raster order, so that a pixel at least ``DecodeOptions.reach_px`` away
from a window's inner border gets the same nucleus in every window (design, section 4):

1. each foreground pixel climbs to its best 3 x 3 neighbour by (relief, earlier in raster order)
   until it stands on a local maximum, the seed; a climb of more than ``chain_px`` steps leaves the
   pixel unassigned. The pixels of one seed are a *basin*;
2. a basin joins higher ground over its highest saddle (found by a flood from its seed, highest
   ground first, no further than ``merge_px``) when that saddle is nearly as high as its own seed:
   this heals plateaus (the middle line of an elongated nucleus is one) and noise. Joins form a
   forest; a basin follows it to the root only if the whole path stays within ``merge_px`` of its
   own seed;
3. roots below ``min_peak`` are dropped; of each object only the 4-connected component of its seed
   is kept; holes are filled; objects below ``min_area_px`` are dropped; labels are 1..n in raster
   order of each object's first pixel.

Time is linear in pixels: about 0.05 CPU s per megapixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.nuclei.connected_components import fill_holes, relabel_without_small

_PLACE = (1 << 24) - 1
"""Low bits of a packed heap entry: a place in the square of side 2 * merge_px + 1 at the seed."""


class _Terrain(NamedTuple):
    """What the kernels climb and flood: maps (Y, X), the foreground's threshold, basins and seeds.

    `labels` holds basin numbers 1..n, `seeds` the flat index of each basin's seed.
    """

    foreground: NDArray[np.uint8]
    relief: NDArray[Any]
    threshold: np.uint8
    labels: NDArray[np.int32]
    seeds: NDArray[np.int32]


@dataclass(frozen=True)
class DecodeOptions:
    """Thresholds and bounds of the decoder; lengths in px of the maps.

    Parameters
    ----------
    foreground : int
        Pixels of the foreground map with at least this value can belong to nuclei.
    min_peak : int
        Seeds need at least this relief.
    merge_ratio : float
        A basin joins higher ground when the saddle is at least this fraction of its own seed's
        relief. From 1 on only flat ground joins.
    merge_depth : int
        It also joins when its seed is at most this much above the saddle (0: only over flat
        ground).
    chain_px : int
        Largest number of climbing steps from a pixel to its seed: the largest radius of a basin.
    merge_px : int
        Largest distance (per axis) between the seeds of joined basins.
    min_area_px : int
        Smaller objects are dropped, after filling holes.
    """

    foreground: int = 128
    min_peak: int = 1
    merge_ratio: float = 0.9
    merge_depth: int = 0
    chain_px: int = 40
    merge_px: int = 28
    min_area_px: int = 20

    def __post_init__(self) -> None:
        """Refuse bounds that mean nothing."""
        if not (1 <= self.foreground <= 255 and self.merge_ratio > 0 and self.merge_depth >= 0):
            raise RequestError(
                f"decoder thresholds out of range: {self}; expected foreground 1..255, merge_ratio"
                " > 0, merge_depth >= 0"
            )
        if not (1 <= self.chain_px <= 16_000 and 0 <= self.merge_px <= 2_000):
            raise RequestError(
                f"decoder bounds out of range: {self}; expected chain_px 1..16000 and merge_px"
                " 0..2000"
            )

    @property
    def reach_px(self) -> int:
        """Distance (per axis) from a window's inner border beyond which labels are exact.

        A nucleus pixel lies within ``chain_px + merge_px`` of its root, the seed of every basin of
        the object within ``merge_px`` of that, the path that joins it within another ``merge_px``,
        and each step of that path looks ``merge_px + chain_px + 1`` around a seed.
        """
        return 2 * self.chain_px + 4 * self.merge_px + 2

    @property
    def max_extent_px(self) -> int:
        """Largest height or width of a decoded nucleus."""
        return 2 * (self.chain_px + self.merge_px) + 1


def decode(
    foreground: NDArray[np.uint8],
    relief: NDArray[np.uint8] | NDArray[np.int16],
    options: DecodeOptions,
) -> NDArray[np.int32]:
    """Turn a foreground map and a relief into labelled nuclei.

    Parameters
    ----------
    foreground : ndarray (Y, X) uint8
        Nucleus-ness of each pixel (a probability times 255, or a mask with values 0 and 255).
    relief : ndarray (Y, X) uint8 or int16, not negative
        High in nucleus centers, low where nuclei meet. Floats would make ties depend on rounding.

    Returns
    -------
    ndarray (Y, X) int32
        Labels 1..n in raster order of each nucleus' first pixel, 0 background; 4-connected, without
        holes.
    """
    if foreground.ndim != 2 or foreground.shape != relief.shape:
        raise RequestError(
            f"found maps of shape {foreground.shape} and {relief.shape}; foreground and relief must"
            " be one (Y, X) shape"
        )
    if foreground.dtype != np.uint8 or relief.dtype not in (np.uint8, np.int16):
        raise RequestError(
            f"found maps of type {foreground.dtype} and {relief.dtype}; expected uint8 and uint8 or"
            " int16: quantise them first"
        )
    labels = np.zeros(foreground.shape, np.int32)
    if labels.size == 0:
        return labels
    fg = np.ascontiguousarray(foreground)
    rel = np.ascontiguousarray(relief)
    threshold = np.uint8(options.foreground)
    uphill, seeds = _uphill(fg, rel, threshold)
    _label_basins(uphill, seeds, options.chain_px, labels.ravel())
    terrain = _Terrain(fg, rel, threshold, labels, seeds)
    roots = _roots(terrain, options.merge_ratio, options.merge_depth, options.merge_px)
    _keep_seed_component(terrain, roots, options.min_peak)
    fill_holes(labels)
    relabel_without_small(labels, seeds.size, options.min_area_px)
    return labels


@njit(cache=True)
def _uphill(fg, relief, threshold):  # type: ignore[no-untyped-def]
    """Flat index of each pixel's best 3 x 3 neighbour (-1 background, its own for seeds); seeds."""
    height, width = fg.shape
    up = np.full(height * width, -1, np.int32)
    n_seeds = 0
    for y in range(height):
        for x in range(width):
            if fg[y, x] < threshold:
                continue
            best = relief[y, x]
            best_y, best_x = y, x
            for ny in range(max(y - 1, 0), min(y + 2, height)):
                for nx in range(max(x - 1, 0), min(x + 2, width)):
                    if fg[ny, nx] < threshold:
                        continue
                    value = relief[ny, nx]
                    # neighbours come in raster order: on a tie the first one wins, the pixel itself
                    # only against later ones
                    is_before = ny < y or (ny == y and nx < x)
                    is_tie = value == best and best_y == y and best_x == x
                    if value > best or (is_tie and is_before):
                        best, best_y, best_x = value, ny, nx
            up[y * width + x] = best_y * width + best_x
            if best_y == y and best_x == x:
                n_seeds += 1
    seeds = np.empty(n_seeds, np.int32)
    n_seeds = 0
    for i in range(up.size):
        if up[i] == i:
            seeds[n_seeds] = i
            n_seeds += 1
    return up, seeds


@njit(cache=True)
def _label_basins(up, seeds, chain_px, labels):  # type: ignore[no-untyped-def]
    """Write the basin number (1..n, in order of the seeds) of each pixel into flat `labels`."""
    depth = np.full(up.size, -1, np.int16)  # climbing steps to the seed; -1: not known yet
    for k in range(seeds.size):
        labels[seeds[k]] = k + 1
        depth[seeds[k]] = 0
    stack = np.empty(min(up.size, 1 << 16), np.int32)
    for i in range(up.size):
        if up[i] < 0 or depth[i] >= 0:
            continue
        n = 0
        j = i
        while depth[j] < 0:
            if n == stack.size:
                stack = np.concatenate((stack, np.empty_like(stack)))
            stack[n] = j
            n += 1
            j = up[j]
        steps = depth[j]
        basin = labels[j]
        while n > 0:
            n -= 1
            steps = min(steps + 1, chain_px + 1)
            if steps > chain_px:
                basin = 0
            depth[stack[n]] = steps
            labels[stack[n]] = basin


@njit(cache=True)
def _parent(terrain, b, lowest, merge_px, visited, heap):  # type: ignore[no-untyped-def]
    """Basin that `b` joins over its highest saddle not below `lowest`, or `b`: a bounded flood."""
    fg, relief, threshold, labels, seeds = terrain
    height, width = labels.shape
    seed_y, seed_x = seeds[b] // width, seeds[b] % width
    top, bottom = max(0, seed_y - merge_px), min(height, seed_y + merge_px + 1)
    left, right = max(0, seed_x - merge_px), min(width, seed_x + merge_px + 1)
    peak = np.int64(relief[seed_y, seed_x])
    side = 2 * merge_px + 1
    heap.clear()
    # packed: descent below the peak, order of discovery, place around the seed
    heap.append(np.int64(merge_px * side + merge_px))
    visited[seeds[b]] = b
    discovered = np.int64(0)
    while len(heap) > 0:
        place = heappop(heap) & _PLACE
        y, x = seed_y - merge_px + place // side, seed_x - merge_px + place % side
        for ny in range(max(y - 1, top), min(y + 2, bottom)):
            for nx in range(max(x - 1, left), min(x + 2, right)):
                level = np.int64(relief[ny, nx])
                i = ny * width + nx
                if fg[ny, nx] < threshold or level < lowest or visited[i] == b:
                    continue
                if level > peak or (level == peak and i < seeds[b]):
                    # higher ground: nothing above the level of (y, x) leads elsewhere
                    return labels[ny, nx] - 1 if labels[ny, nx] > 0 else b
                visited[i] = b
                discovered += 1
                place = np.int64((ny - seed_y + merge_px) * side + nx - seed_x + merge_px)
                heappush(heap, ((peak - level) << 48) | (discovered << 24) | place)
    return b


@njit(cache=True)
def _roots(terrain, ratio, depth, merge_px):  # type: ignore[no-untyped-def]
    """Root basin (0-based) of each basin."""
    relief, labels, seeds = terrain.relief, terrain.labels, terrain.seeds
    width = labels.shape[1]
    n = seeds.size
    parent = np.arange(n)
    visited = np.full(labels.size, -1, np.int32)
    heap = [np.int64(0)]
    for b in range(n):
        peak = relief[seeds[b] // width, seeds[b] % width]
        lowest = min(np.int64(np.ceil(ratio * peak)), np.int64(peak) - depth)
        if lowest <= peak:
            parent[b] = _parent(terrain, b, lowest, merge_px, visited, heap)
    roots = np.empty(n, np.int32)
    for b in range(n):
        y0, x0 = seeds[b] // width, seeds[b] % width
        node = b
        while parent[node] != node:
            node = parent[node]
            y, x = seeds[node] // width, seeds[node] % width
            if abs(y - y0) > merge_px or abs(x - x0) > merge_px:
                node = b
                break
        roots[b] = node
    return roots


@njit(cache=True)
def _keep_seed_component(terrain, roots, min_peak):  # type: ignore[no-untyped-def]
    """Relabel basins by root and keep what is 4-connected to the seed of a root of enough relief.

    Half the time and a third of the memory of skimage.measure.label and a lookup.
    """
    relief, labels, seeds = terrain.relief, terrain.labels, terrain.seeds
    width = labels.shape[1]
    flat = labels.ravel()
    for i in range(flat.size):
        if flat[i] > 0:
            flat[i] = -1 - roots[flat[i] - 1]  # negative: not reached yet
    stack = np.empty(1024, np.int32)
    for b in range(seeds.size):
        if roots[b] != b or relief[seeds[b] // width, seeds[b] % width] < min_peak:
            continue
        stack[0] = seeds[b]
        flat[seeds[b]] = b + 1
        n = 1
        while n > 0:
            n -= 1
            i = stack[n]
            if n + 4 > stack.size:
                stack = np.concatenate((stack, np.empty_like(stack)))
            x = i % width
            for j, is_inside in (
                (i - width, i >= width),
                (i - 1, x > 0),
                (i + 1, x < width - 1),
                (i + width, i < flat.size - width),
            ):
                if is_inside and flat[j] == -1 - b:
                    flat[j] = b + 1
                    stack[n] = j
                    n += 1
    for i in range(flat.size):
        flat[i] = max(flat[i], 0)
