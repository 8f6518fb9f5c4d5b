"""Objects as horizontal runs of pixels: the geometry of cells and nuclei, without a label image of
the whole slide.

A run is ``(y, x0, x1)``: the pixels ``x0 <= x < x1`` of row ``y``, in pixels of the whole image. A
label image is painted from runs, window by window; a cell of 400 px needs about 20 runs of 12
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window


@dataclass(frozen=True, eq=False)
class CellRuns:
    """Runs of `n` objects, sorted by (object, y, x0), without overlap within an object.

    Attributes
    ----------
    offsets : int64 (n + 1,)
        Object `i` has the runs ``offsets[i] : offsets[i + 1]``; an object may have none.
    y, x0, x1 : int32 (runs,)
        Row, first column and one past the last column, in px of the whole image.
    """

    offsets: NDArray[np.int64]
    y: NDArray[np.int32]
    x0: NDArray[np.int32]
    x1: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.offsets) - 1

    @classmethod
    def empty(cls, n_objects: int = 0) -> CellRuns:
        """`n_objects` objects without a pixel."""
        none = np.zeros(0, np.int32)
        return cls(np.zeros(n_objects + 1, np.int64), none, none, none)

    @property
    def areas_px(self) -> NDArray[np.int64]:
        """Number of pixels of each object (n,)."""
        ends = np.concatenate(([0], np.cumsum(self.x1.astype(np.int64) - self.x0)))
        return np.asarray(ends[self.offsets[1:]] - ends[self.offsets[:-1]])

    @property
    def bounding_boxes(self) -> NDArray[np.int32]:
        """Half-open boxes (n, 4) as y0, x0, y1, x1; zeros for an object without pixels."""
        return np.asarray(_boxes(self.offsets, self.y, self.x0, self.x1))

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return self.offsets.nbytes + self.y.nbytes + self.x0.nbytes + self.x1.nbytes

    def take(self, index: ArrayLike) -> CellRuns:
        """Select the objects `index` (integers, or a boolean per object), in that order."""
        chosen = np.asarray(index)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        counts = np.diff(self.offsets)[chosen]
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        source = np.repeat(self.offsets[:-1][chosen] - offsets[:-1], counts) + np.arange(
            offsets[-1]
        )
        return CellRuns(offsets, self.y[source], self.x0[source], self.x1[source])

    def blocks(self, size: int) -> Iterator[tuple[int, CellRuns]]:
        """Give the objects `size` by `size`, with the index of the first; nothing is copied
        (offsets do not begin at 0).
        """
        for start in range(0, len(self), size):
            yield start, CellRuns(self.offsets[start : start + size + 1], self.y, self.x0, self.x1)

    def shifted(self, dy: int, dx: int) -> CellRuns:
        """Move the objects by (`dy`, `dx`) px."""
        return CellRuns(
            self.offsets, self.y + np.int32(dy), self.x0 + np.int32(dx), self.x1 + np.int32(dx)
        )


def concatenate(parts: Sequence[CellRuns]) -> CellRuns:
    """All objects of `parts`, one after the other."""
    if not parts:
        return CellRuns.empty()
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    return CellRuns(
        offsets,
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.x0 for part in parts]),
        np.concatenate([part.x1 for part in parts]),
    )


def put_runs(
    target: CellRuns,
    places: NDArray[np.integer],
    objects: CellRuns,
    after: NDArray[np.integer] | None = None,
) -> None:
    """Write all runs of `objects` in place: object `i` becomes object ``places[i]`` of `target`,
    which has room for it.

    With `after` (as long as `places`) they come after that many runs the object has already.
    """
    shift = target.offsets[:-1][places] - objects.offsets[:-1]
    if after is not None:
        shift += after
    at = np.repeat(shift, np.diff(objects.offsets)) + np.arange(len(objects.y))
    target.y[at], target.x0[at], target.x1[at] = objects.y, objects.x0, objects.x1


def runs_of(
    labels: NDArray[np.integer], ids: ArrayLike, origin: tuple[int, int] = (0, 0)
) -> CellRuns:
    """Find the runs of the labels `ids` in a label image.

    Parameters
    ----------
    labels : integer (Y, X)
        Label image of a window; 0 is background.
    ids : integer (n,)
        Label of object 0, 1, ...; any order, no repetition. A label that does not occur gives an
        object without pixels.
    origin
        Row and column of ``labels[0, 0]`` in the whole image.

    Raises
    ------
    RequestError
        If an id is repeated or 0.
    """
    wanted = np.asarray(ids, dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    ascending = wanted[order]
    if len(wanted) and (np.any(ascending[1:] == ascending[:-1]) or np.any(ascending == 0)):
        raise RequestError("label ids are repeated or 0; each object needs its own label above 0.")
    image = np.ascontiguousarray(labels)
    counts = _count_runs(image, ascending)
    per_object = np.zeros(len(wanted), np.int64)
    per_object[order] = counts
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(per_object)))
    total = int(offsets[-1])
    y, x0, x1 = np.empty(total, np.int32), np.empty(total, np.int32), np.empty(total, np.int32)
    _fill_runs(image, ascending, offsets[:-1][order], origin[0], origin[1], y, x0, x1)
    return CellRuns(offsets, y, x0, x1)


def paint(runs: CellRuns, values: ArrayLike, window: Window) -> NDArray[np.uint32]:
    """Paint object `i` with ``values[i]`` into a window of the image.

    Returns
    -------
    uint32 (Y, X) of ``window.shape``; 0 where there is no object. Where objects overlap the later
    one wins.
    """
    colors = np.ascontiguousarray(values, dtype=np.uint32)
    if len(colors) != len(runs):
        raise RequestError(
            f"{len(colors)} values for {len(runs)} objects; give one value per object."
        )
    canvas = np.zeros(window.shape, np.uint32)
    paint_onto(canvas, runs, colors, window)
    return canvas


def paint_onto(
    canvas: NDArray[np.uint32], runs: CellRuns, colors: NDArray[np.uint32], window: Window
) -> None:
    """Paint object `i` with ``colors[i]`` onto the picture (Y, X) of a window, over what is
    there.
    """
    _paint(runs.offsets, runs.y, runs.x0, runs.x1, colors, window.y0, window.x0, canvas)


def anchors(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """First pixel in raster order of labels 1..n (all present), shape (n, 2), as (y, x) in the
    window.
    """
    first = _first_pixels(np.ascontiguousarray(labels), int(labels.max(initial=0)))
    return np.stack(np.divmod(first, labels.shape[1]), axis=1)


def bounds(
    labels: NDArray[np.int32], wanted: NDArray[np.integer], origin: tuple[int, int] = (0, 0)
) -> Window | None:
    """Smallest window of the image that holds all pixels of the labels `wanted`; None when there is
    no such pixel.
    """
    chosen = np.zeros(int(labels.max(initial=0)) + 1, np.bool_)
    chosen[wanted] = True
    chosen[0] = False
    y0, x0, y1, x1 = (int(v) for v in _bounds(np.ascontiguousarray(labels), chosen))
    return (
        Window(y0 + origin[0], x0 + origin[1], y1 + origin[0], x1 + origin[1]) if y1 > 0 else None
    )


@njit(cache=True)
def _bounds(labels, chosen):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = labels.shape
    y0, x0, y1, x1 = height, width, 0, 0
    for y in range(height):
        for x in range(width):
            if chosen[labels[y, x]]:
                y0, y1 = min(y0, y), y + 1
                x0, x1 = min(x0, x), max(x1, x + 1)
    return y0, x0, y1, x1


@njit(cache=True)
def _first_pixels(labels, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    flat = labels.ravel()
    first = np.full(n, -1, np.int64)
    for i in range(flat.size):
        if flat[i] > 0 and first[flat[i] - 1] < 0:
            first[flat[i] - 1] = i
    return first


@njit(cache=True)
def _position(ascending, label):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Index of `label` in the sorted ids, -1 if absent."""
    low, high = 0, len(ascending)
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] < label:
            low = middle + 1
        else:
            high = middle
    if low < len(ascending) and ascending[low] == label:
        return low
    return -1


@njit(cache=True, nogil=True)
def _count_runs(labels, ascending):  # type: ignore[no-untyped-def]  # pragma: no cover
    counts = np.zeros(len(ascending), np.int64)
    height, width = labels.shape
    for y in range(height):
        x = 0
        while x < width:
            label = labels[y, x]
            start = x
            x += 1
            while x < width and labels[y, x] == label:
                x += 1
            if label != 0 and start < x:
                k = _position(ascending, np.int64(label))
                if k >= 0:
                    counts[k] += 1
    return counts


@njit(cache=True, nogil=True)
def _fill_runs(labels, ascending, starts, y_origin, x_origin, y_out, x0_out, x1_out):  # type: ignore[no-untyped-def]  # pragma: no cover
    cursor = starts.copy()
    height, width = labels.shape
    for y in range(height):
        x = 0
        while x < width:
            label = labels[y, x]
            start = x
            x += 1
            while x < width and labels[y, x] == label:
                x += 1
            if label != 0:
                k = _position(ascending, np.int64(label))
                if k >= 0:
                    position = cursor[k]
                    y_out[position] = y + y_origin
                    x0_out[position] = start + x_origin
                    x1_out[position] = x + x_origin
                    cursor[k] = position + 1


@njit(cache=True)
def _boxes(offsets, y, x0, x1):  # type: ignore[no-untyped-def]  # pragma: no cover
    n = len(offsets) - 1
    boxes = np.zeros((n, 4), np.int32)
    for i in range(n):
        first, last = offsets[i], offsets[i + 1]
        if first == last:
            continue
        left, right = x0[first], x1[first]
        for r in range(first + 1, last):
            left = min(left, x0[r])
            right = max(right, x1[r])
        boxes[i, 0] = y[first]
        boxes[i, 1] = left
        boxes[i, 2] = y[last - 1] + 1
        boxes[i, 3] = right
    return boxes


@njit(cache=True, nogil=True)
def _paint(offsets, y, x0, x1, colors, top, left, canvas):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = canvas.shape
    for i in range(len(offsets) - 1):
        first, last = offsets[i], offsets[i + 1]
        if first == last or y[last - 1] < top or y[first] >= top + height:
            continue
        for r in range(first, last):
            row = y[r] - top
            if row < 0 or row >= height:
                continue
            for x in range(max(x0[r] - left, 0), min(x1[r] - left, width)):
                canvas[row, x] = colors[i]
