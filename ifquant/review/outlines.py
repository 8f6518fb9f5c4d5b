"""Outlines of nuclei and cells while a reviewer edits them: merge, split and redraw on pixel runs.

What stays true: every nucleus lies in its own cell and no pixel belongs to two cells. A drawn
outline takes pixels from the background and from neighboring cells, never from their nuclei; what
it cuts off from a neighbor's nucleus becomes background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.ops import split as split_shape

from ifquant.errors import RequestError
from ifquant.geometry.runs import CellRuns, concatenate, paint, runs_of
from ifquant.geometry.windows import Window
from ifquant.nuclei.label_polygons import of_geometries
from ifquant.review.decisions import Polygon
from ifquant.review.subject import CellGeometry, Labels

_EIGHT = np.ones((3, 3), np.bool_)


class Outlines:
    """Nuclei and cells of a slide under edits; `ids` name the rows of the geometry, ascending.

    Attributes
    ----------
    changed
        Windows in which pixels changed owner, one per edit.
    parents
        New cell > the cell of the original table whose growth class (and source label) it inherits.
    """

    def __init__(
        self, ids: NDArray[np.int64], geometry: CellGeometry, image_shape: tuple[int, int]
    ) -> None:
        self._ids, self._geometry, self._shape = ids, geometry, image_shape
        self._edited: dict[int, tuple[CellRuns, CellRuns]] = {}
        self._hidden = np.zeros(len(ids), np.bool_)
        self._gone: dict[int, int] = {}
        self.changed: list[Window] = []
        self.parents: dict[int, int] = {}

    def __contains__(self, cell_id: int) -> bool:
        """Whether there is such a cell now."""
        return cell_id in self._edited or (
            self._row(cell_id) is not None and cell_id not in self._gone
        )

    @property
    def gone(self) -> Mapping[int, int]:
        """Cells that an edit replaced > (the first of) what replaced them."""
        return self._gone

    def of(self, cell_id: int) -> tuple[CellRuns, CellRuns]:
        """Nucleus and cell of one cell; raises RequestError if there is no such cell (any more)."""
        return self._edited.get(cell_id) or self._geometry.of(self._unedited(cell_id))

    def anchor(self, cell_id: int) -> tuple[int, int]:
        """First nucleus pixel (y, x) of a cell in raster order."""
        if cell_id not in self._edited:
            return self._geometry.anchor(self._unedited(cell_id))
        nucleus = self._edited[cell_id][0]
        return int(nucleus.y[0]), int(nucleus.x0[0])

    def centroid_px(self, cell_id: int) -> tuple[float, float]:
        """Centroid (y, x) of a cell; the first pixel's center is at 0.5."""
        if cell_id not in self._edited:
            return self._geometry.centroid_px(self._unedited(cell_id))
        cell = self._edited[cell_id][1]
        size = (cell.x1 - cell.x0).astype(np.float64)
        y, x = (cell.y + 0.5) * size, (cell.x0 + cell.x1) / 2 * size
        return float(y.sum() / size.sum()), float(x.sum() / size.sum())

    def _unedited(self, cell_id: int) -> int:
        row = self._row(cell_id)
        if row is None or cell_id in self._gone:
            raise RequestError(f"there is no cell {cell_id}")
        return row

    def box(self, cell_id: int) -> Window:
        """Bounding box of a cell."""
        return Window(*self.of(cell_id)[1].bounding_boxes[0].tolist())

    def painted(self, window: Window) -> tuple[Labels, Labels]:
        """Nuclei and cells of a window, each painted with its id."""
        replaced, new = self._ids[self._hidden], np.array(list(self._edited), np.int64)
        nuclei, cells = self._geometry.painted(window)
        for k, labels in enumerate((nuclei, cells)):
            if len(replaced):
                labels[np.isin(labels, replaced)] = 0
            if len(new):
                runs = concatenate([parts[k] for parts in self._edited.values()])
                edited = paint(runs, new, window)
                labels[edited > 0] = edited[edited > 0]
        return nuclei, cells

    def merge(self, first: int, second: int, new_id: int) -> None:
        """Make one cell of two; raises RequestError if they do not touch."""
        window = self.box(first).hull(self.box(second)).grown(1, self._shape)
        nuclei, cells = self.painted(window)
        both = np.isin(cells, (first, second))
        if ndimage.label(both, _EIGHT)[1] != 1:
            raise RequestError(
                f"cells {first} and {second} do not touch; redraw one of them around both instead"
            )
        if (cells == first).sum() < (cells == second).sum():
            first, second = second, first
        nuclei[np.isin(nuclei, (first, second))] = new_id
        cells[both] = new_id
        self._put(window, nuclei, cells, (new_id,), (first, second))

    def split(self, cell_id: int, parts: Sequence[Polygon], new_ids: Sequence[int]) -> None:
        """Make several cells of one; raises RequestError if a part holds nothing of the nucleus."""
        window = self.box(cell_id).grown(1, self._shape)
        nuclei, cells = self.painted(window)
        own = cells == cell_id
        part = np.where(own, _painted(parts, window), 0)
        if not part.any():
            raise RequestError(f"no part of the split lies on cell {cell_id}")
        _, nearest = ndimage.distance_transform_edt(part == 0, return_indices=True)
        part = np.where(own, part[tuple(nearest)], 0)
        for k, new_id in enumerate(new_ids, 1):
            if not np.any((nuclei == cell_id) & (part == k)):
                raise RequestError(
                    f"part {k} of the split of cell {cell_id} holds no pixel of its nucleus; each"
                    " part needs some"
                )
            cells[part == k] = new_id
        nuclei = np.where(nuclei == cell_id, cells, nuclei)
        self._put(window, nuclei, cells, tuple(new_ids), (cell_id,))

    def redraw(self, cell_id: int, outline: Polygon, nucleus: Polygon | None, new_id: int) -> None:
        """Give a cell another outline; raises RequestError if no pixel of a nucleus lies in it."""
        drawn = Window(*of_geometries([shapely.Polygon(outline)]).box[0].tolist())
        reach = self.box(cell_id).hull(drawn)
        reach = reach.intersection(Window(0, 0, *self._shape)).grown(1, self._shape)
        window = self._with_neighbors(reach).grown(1, self._shape)
        nuclei, cells = self.painted(window)
        free = (nuclei == 0) | (nuclei == cell_id)
        taken = (_painted([outline], window) > 0) & free
        own = nuclei == cell_id if nucleus is None else _painted([nucleus], window) > 0
        own &= taken
        if not own.any():
            raise RequestError(
                f"the new outline of cell {cell_id} holds no pixel of its nucleus; draw the nucleus"
                " as well"
            )
        losers = tuple(np.setdiff1d(cells[taken], (0, cell_id)).tolist())
        cells[cells == cell_id] = 0
        nuclei[nuclei == cell_id] = 0
        cells[taken], nuclei[own] = new_id, new_id
        _remove_loose_parts(cells, nuclei, (new_id, *losers))
        self._put(window, nuclei, cells, (new_id,), (cell_id,), losers)

    def objects(self) -> tuple[NDArray[np.int64], CellRuns, CellRuns]:
        """Ids in ascending order, nuclei and cells, after all edits."""
        new = sorted(self._edited)
        kept = np.flatnonzero(~self._hidden)
        ids = np.concatenate([self._ids[kept], np.array(new, np.int64)])
        order = np.argsort(ids, kind="stable")
        nuclei, cells = (
            concatenate([runs.take(kept), *(self._edited[i][k] for i in new)]).take(order)
            for k, runs in enumerate(self._geometry.all())
        )
        return ids[order], nuclei, cells

    def near_changes(self, reach_px: int) -> NDArray[np.int64]:
        """Ids of all cells with a pixel within `reach_px` (and a bit) of a changed one."""
        windows = [window.grown(reach_px + 1, self._shape) for window in self.changed]
        near = [np.zeros(0, np.int64), *(np.unique(self.painted(w)[1]) for w in windows)]
        return np.setdiff1d(np.concatenate(near), [0])

    def _with_neighbors(self, window: Window) -> Window:
        for cell_id in np.unique(self.painted(window)[1]).tolist():
            if cell_id:
                window = window.hull(self.box(cell_id))
        return window

    def _put(
        self,
        window: Window,
        nuclei: Labels,
        cells: Labels,
        new: tuple[int, ...],
        old: tuple[int, ...],
        reshaped: tuple[int, ...] = (),
    ) -> None:
        """Take over edited pixels; the cells `new` inherit from the first of the `old` ones."""
        present, origin = (*new, *reshaped), (window.y0, window.x0)
        nucleus_runs, cell_runs = (runs_of(labels, present, origin) for labels in (nuclei, cells))
        root = self.parents.get(old[0], old[0])
        for cell_id in (*old, *reshaped):
            self._edited.pop(cell_id, None)
            row = self._row(cell_id)
            if row is not None:
                self._hidden[row] = True
        for k, cell_id in enumerate(present):
            self._edited[cell_id] = nucleus_runs.take([k]), cell_runs.take([k])
        self._gone |= dict.fromkeys(old, new[0])
        self.parents |= dict.fromkeys(new, root)
        self.changed.append(window)

    def _row(self, cell_id: int) -> int | None:
        row = int(np.searchsorted(self._ids, cell_id))
        return row if row < len(self._ids) and self._ids[row] == cell_id else None


def polygon_of(runs: CellRuns) -> Polygon:
    """Outline of the largest piece of all objects together, holes filled; (x, y) px."""
    whole = shapely.union_all(shapely.box(runs.x0, runs.y, runs.x1, runs.y + 1))
    return _ring(max(shapely.get_parts(whole), key=lambda part: part.area))


def parts_of_cut(outline: Polygon, line: Sequence[tuple[float, float]]) -> tuple[Polygon, ...]:
    """Cut an outline along a drawn line of (x, y) points, drawn out to cross the whole cell.

    Raises
    ------
    RequestError
        If the line does not cut it into parts.
    """
    points = np.asarray(line, np.float64)
    if len(points) < 2 or np.allclose(points[0], points[-1]):
        raise RequestError("a cut needs a line of two points or more")
    shape = shapely.Polygon(outline)
    far = np.hypot(*np.subtract(shape.bounds[2:], shape.bounds[:2])) + 1
    ends = []
    for end, before in ((points[0], points[1]), (points[-1], points[-2])):
        direction = end - before
        ends.append(end + direction / max(float(np.hypot(*direction)), 1e-9) * far)
    whole = shapely.LineString([ends[0], *points, ends[1]])
    parts = [part for part in split_shape(shape, whole).geoms if part.area > 0]
    if len(parts) < 2:
        raise RequestError("the line does not cross the cell; draw it from one side to the other")
    parts.sort(key=lambda part: (part.bounds[1], part.bounds[0]))
    return tuple(map(_ring, parts))


def _ring(shape: shapely.Polygon) -> Polygon:
    return tuple((x, y) for x, y in shapely.get_coordinates(shape.exterior)[:-1].tolist())


def _painted(polygons: Sequence[Polygon], window: Window) -> NDArray[np.int32]:
    """Polygons painted 1, 2, ... into a window."""
    return of_geometries([shapely.Polygon(ring) for ring in polygons]).paint(window)


def _remove_loose_parts(cells: Labels, nuclei: Labels, ids: Sequence[int]) -> None:
    """Turn parts of these cells that hold nothing of their nucleus into background, in place."""
    for cell_id in ids:
        own = cells == cell_id
        parts, n = ndimage.label(own, _EIGHT)
        if n > 1:
            with_nucleus = np.unique(parts[nuclei == cell_id])
            cells[own & ~np.isin(parts, with_nucleus)] = 0
