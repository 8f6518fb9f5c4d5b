"""Compiled part of the measurement: pixels sorted by cell once, with their compartments.

`part` is a byte per pixel of a cell whose bits say which compartments it belongs to; bit k stands
for position k of `COMPARTMENTS`. Pixels of a cell stay in raster order, so sums do not depend
on the window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.columns.column_info import COMPARTMENTS

N_COMPARTMENTS = len(COMPARTMENTS)
N_SETS = 1 << N_COMPARTMENTS
"""Different values of a byte of `part`."""
NUCLEUS, CYTOPLASM, MEMBRANE, CELL, SOMA = (
    1 << COMPARTMENTS.index(name) for name in ("nucleus", "cytoplasm", "membrane", "cell", "soma")
)
NEAR_EDGE, NEAR_OTHER, NEAR_OTHER_CLEAR, NEAR_NUCLEUS = 1, 2, 4, 8
"""What `mark_edges` and `mark_nuclei` say of a pixel of a cell."""
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]


@njit(cache=True)  # type: ignore[untyped-decorator]
def present(labels: NDArray[Any], largest: int) -> NDArray[np.bool_]:  # pragma: no cover
    """Which of the labels 0..largest occur."""
    found = np.zeros(largest + 1, np.bool_)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            found[labels[y, x]] = True
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def mark_edges(
    marks: Bytes, cells: Ints, dy: Ints, dx: Ints, from_ground: Bytes, from_cell: Bytes
) -> None:  # pragma: no cover
    """Mark the pixels of cells that lie within given offsets (dy, dx) of a pixel outside their
    cell.

    The nearest such pixel always has one of its 4 neighbours inside the cell, so only those stamp
    their surroundings: with `from_ground` (per offset) where the outside is background, with
    `from_cell` where it is another cell.
    """
    height, width = cells.shape
    reach = max(np.abs(dy).max(), np.abs(dx).max())
    steps = dy.astype(np.int64) * width + dx
    flat, flat_marks = cells.ravel(), marks.ravel()
    for y in range(height):
        for x in range(width):
            own = cells[y, x]
            if not _on_edge(cells, y, x):
                continue
            stamp = from_ground if own == 0 else from_cell
            if reach <= y < height - reach and reach <= x < width - reach:
                for k in range(steps.size):
                    p = y * width + x + steps[k]
                    if flat[p] != 0 and flat[p] != own:
                        flat_marks[p] |= stamp[k]
                continue
            for k in range(dy.size):
                v, u = y + dy[k], x + dx[k]
                if 0 <= v < height and 0 <= u < width and cells[v, u] != 0 and cells[v, u] != own:
                    marks[v, u] |= stamp[k]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _on_edge(labels: Ints, y: int, x: int) -> bool:  # pragma: no cover
    """Whether one of the 4 neighbours has another label."""
    own = labels[y, x]
    return bool(
        (y > 0 and labels[y - 1, x] != own)
        or (y + 1 < labels.shape[0] and labels[y + 1, x] != own)
        or (x > 0 and labels[y, x - 1] != own)
        or (x + 1 < labels.shape[1] and labels[y, x + 1] != own)
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def mark_nuclei(
    marks: Bytes, cells: Ints, nuclei: Ints, dy: Ints, dx: Ints
) -> None:  # pragma: no cover
    """Mark the pixels of cells that lie within given offsets of their own nucleus."""
    height, width = cells.shape
    reach = max(np.abs(dy).max(), np.abs(dx).max())
    steps = dy.astype(np.int64) * width + dx
    flat, flat_marks = cells.ravel(), marks.ravel()
    for y in range(height):
        for x in range(width):
            own = nuclei[y, x]
            if own == 0 or not _on_edge(nuclei, y, x):
                continue
            if reach <= y < height - reach and reach <= x < width - reach:
                for k in range(steps.size):
                    p = y * width + x + steps[k]
                    if flat[p] == own:
                        flat_marks[p] |= NEAR_NUCLEUS
                continue
            for k in range(dy.size):
                v, u = y + dy[k], x + dx[k]
                if 0 <= v < height and 0 <= u < width and cells[v, u] == own:
                    marks[v, u] |= NEAR_NUCLEUS


@njit(cache=True)  # type: ignore[untyped-decorator]
def sort_pixels(  # pragma: no cover
    cells: Ints,
    nuclei: Ints,
    marks: Bytes,
    row: Ints,
    n: int,
    shared_membrane: bool,
    index: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[Any], Bytes, NDArray[np.bool_]]:
    """Sort the pixels of the wanted cells by cell, in raster order within each.

    Parameters
    ----------
    cells, nuclei
        int32 (Y, X); a nucleus pixel outside its cell counts for the nucleus only.
    marks
        uint8 (Y, X), or (1, 1) when neither membrane nor soma are wanted.
    row
        int32 (largest label + 1,): position of each label in the result, -1 = not wanted.
    index
        Empty array of the type of pixel indices.

    Returns
    -------
    first (n + 1,) into the pixels; flat pixel index and part (both: pixels); whether the soma had
    to fall back on the nucleus (n,).
    """
    height, width = cells.shape
    marked = marks.size == cells.size
    first = np.zeros(n + 2, np.int64)
    for y in range(height):
        for x in range(width):
            cell, nucleus = cells[y, x], nuclei[y, x]
            if row[cell] >= 0:
                first[row[cell] + 2] += 1
            if nucleus != cell and row[nucleus] >= 0:
                first[row[nucleus] + 2] += 1
    first = first.cumsum()
    index = np.empty(first[n + 1], index.dtype)
    part = np.empty(first[n + 1], np.uint8)
    for y in range(height):
        for x in range(width):
            cell, nucleus = cells[y, x], nuclei[y, x]
            if row[cell] >= 0:
                bits = CELL | (NUCLEUS if nucleus == cell else CYTOPLASM)
                if marked:
                    mark = marks[y, x]
                    if mark & NEAR_EDGE and (shared_membrane or not mark & NEAR_OTHER):
                        bits |= MEMBRANE
                    if (nucleus == cell or mark & NEAR_NUCLEUS) and not mark & NEAR_OTHER_CLEAR:
                        bits |= SOMA
                place = first[row[cell] + 1]
                first[row[cell] + 1] += 1
                index[place] = y * width + x
                part[place] = bits
            if nucleus != cell and row[nucleus] >= 0:
                place = first[row[nucleus] + 1]
                first[row[nucleus] + 1] += 1
                index[place] = y * width + x
                part[place] = NUCLEUS
    fallen_back = np.zeros(n, np.bool_)
    for i in range(n):
        bits = 0
        for place in range(first[i], first[i + 1]):
            bits |= part[place]
        if marked and not bits & SOMA and bits & NUCLEUS:
            fallen_back[i] = True
            for place in range(first[i], first[i + 1]):
                if part[place] & NUCLEUS:
                    part[place] |= SOMA
    return first[: n + 1].copy(), index, part, fallen_back
