"""Outlines of nuclei and cells while a reviewer edits them: merge, split, redraw, on runs of
pixels.

What stays true: every nucleus lies in its own cell and no pixel belongs to two cells. A drawn
outline takes pixels from the background and from neighbouring cells, never from their nuclei; what
it cuts off from a neighbour's nucleus becomes background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.ops import split as cut

from ifquant.errors import RequestError
from ifquant.geometry.runs import CellRuns, concatenate, paint, runs_of
from ifquant.geometry.windows import Window
from ifquant.nuclei.label_polygons import of_geometries
from ifquant.review.decisions import Polygon
from ifquant.review.slide_geometry import Geometry, Labels, centroid_of, first_px

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
        self, ids: NDArray[np.int64], geometry: Geometry, image_shape: tuple[int, int]
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
        """Nucleus and cell of one cell.

        Raises
        ------
        RequestError
            If there is no such cell (any more).
        """
        edited = self._edited.get(cell_id)
        return self._geometry.of(self._unedited(cell_id)) if edited is None else edited

    def anchor(self, cell_id: int) -> tuple[int, int]:
        """First nucleus pixel (y, x) of a cell in raster order."""
        edited = self._edited.get(cell_id)
        return (
            self._geometry.anchor(self._unedited(cell_id))
            if edited is None
            else first_px(edited[0])
        )

    def centroid_px(self, cell_id: int) -> tuple[float, float]:
        """Centroid (y, x) of a cell; the first pixel's center is at 0.5."""
        edited = self._edited.get(cell_id)
        return (
            self._geometry.centroid_px(self._unedited(cell_id))
            if edited is None
            else centroid_of(edited[1])
        )

    def _unedited(self, cell_id: int) -> int:
        row = self._row(cell_id)
        if row is None or cell_id in self._gone:
            raise RequestError(f"there is no cell {cell_id}")
        return row

    def box(self, cell_id: int) -> Window:
        """Bounding box of a cell."""
        return Window(*(int(v) for v in self.of(cell_id)[1].bounding_boxes[0]))

    def painted(self, window: Window) -> tuple[Labels, Labels]:
        """Nuclei and cells of a window, each painted with its id."""
        replaced, new = self._ids[self._hidden], np.array(list(self._edited), np.int64)
        out = []
        for k, labels in enumerate(self._geometry.painted(window)):
            if len(replaced):
                labels[np.isin(labels, replaced)] = 0
            if len(new):
                edited = paint(
                    concatenate([runs[k] for runs in self._edited.values()]), new, window
                )
                labels[edited > 0] = edited[edited > 0]
            out.append(labels)
        return out[0], out[1]

    def merge(self, first: int, second: int, new_id: int) -> None:
        """Make one cell of two that touch.

        Raises
        ------
        RequestError
            If they do not touch.
        """
        window = _around(self.box(first), self.box(second)).grown(1, self._shape)
        nuclei, cells = self.painted(window)
        both = np.isin(cells, (first, second))
        if ndimage.label(both, _EIGHT)[1] != 1:
            raise RequestError(
                f"cells {first} and {second} do not touch; redraw one of them around both instead"
            )
        larger = first if (cells == first).sum() >= (cells == second).sum() else second
        nuclei[np.isin(nuclei, (first, second))] = new_id
        cells[both] = new_id
        self._put(window, nuclei, cells, (new_id,), (first, second), larger)

    def split(self, cell_id: int, parts: Sequence[Polygon], new_ids: Sequence[int]) -> None:
        """Make several cells of one.

        Raises
        ------
        RequestError
            If a part holds nothing of the nucleus.
        """
        window = self.box(cell_id).grown(1, self._shape)
        nuclei, cells = self.painted(window)
        part = of_geometries([shapely.Polygon(p) for p in parts]).paint(window)
        own = cells == cell_id
        _, nearest = ndimage.distance_transform_edt(
            np.where(own, part, 0) == 0, return_indices=True
        )
        if not np.any(part[own]):
            raise RequestError(f"no part of the split lies on cell {cell_id}")
        part = np.where(own, np.where(own, part, 0)[tuple(nearest)], 0)
        for k, new_id in enumerate(new_ids, 1):
            if not np.any((nuclei == cell_id) & (part == k)):
                raise RequestError(
                    f"part {k} of the split of cell {cell_id} holds no pixel of its nucleus; each"
                    " part needs some"
                )
            cells[part == k] = new_id
        nuclei = np.where(nuclei == cell_id, cells, nuclei)
        self._put(window, nuclei, cells, tuple(new_ids), (cell_id,), cell_id)

    def redraw(self, cell_id: int, outline: Polygon, nucleus: Polygon | None, new_id: int) -> None:
        """Give a cell another outline.

        Raises
        ------
        RequestError
            If the outline holds no pixel of a nucleus of its own.
        """
        drawn = of_geometries([shapely.Polygon(outline)])
        height, width = self._shape
        reach = _around(self.box(cell_id), Window(*(int(v) for v in drawn.box[0]))).intersection(
            Window(0, 0, height, width)
        )
        window = self._with_neighbours(reach.grown(1, self._shape)).grown(1, self._shape)
        nuclei, cells = self.painted(window)
        inside = drawn.paint(window) > 0
        own = nuclei == cell_id
        if nucleus is not None:
            own = of_geometries([shapely.Polygon(nucleus)]).paint(window) > 0
        taken = inside & ((nuclei == 0) | (nuclei == cell_id))
        own &= taken
        if not own.any():
            raise RequestError(
                f"the new outline of cell {cell_id} holds no pixel of its nucleus; draw the nucleus"
                " as well"
            )
        losers = np.setdiff1d(np.unique(cells[taken]), (0, cell_id))
        cells[cells == cell_id] = 0
        nuclei[nuclei == cell_id] = 0
        cells[taken], nuclei[own] = new_id, new_id
        _keep_piece_of_nucleus(cells, nuclei, (new_id, *map(int, losers)))
        self._put(
            window, nuclei, cells, (new_id,), (cell_id,), cell_id, reshaped=tuple(map(int, losers))
        )

    def finished(self) -> tuple[NDArray[np.int64], CellRuns, CellRuns]:
        """Ids in ascending order, nuclei and cells, after all edits."""
        new = sorted(self._edited)
        kept = np.flatnonzero(~self._hidden)
        ids = np.concatenate([self._ids[kept], np.array(new, np.int64)])
        order = np.argsort(ids, kind="stable")
        made = zip(
            self._geometry.all(),
            zip(*(self._edited[i] for i in new), strict=True) if new else ((), ()),
            strict=True,
        )
        nuclei, cells = (
            concatenate([base.take(kept), *edited]).take(order) for base, edited in made
        )
        return ids[order], nuclei, cells

    def near_changes(self, reach_px: int) -> NDArray[np.int64]:
        """Ids of all cells with a pixel within `reach_px` (and a bit) of a changed one: those to
        measure again.
        """
        found = [
            np.unique(self.painted(w.grown(reach_px + 1, self._shape))[1]) for w in self.changed
        ]
        return np.setdiff1d(np.concatenate(found), [0]) if found else np.zeros(0, np.int64)

    def _with_neighbours(self, window: Window) -> Window:
        for cell_id in np.unique(self.painted(window)[1]):
            if cell_id:
                window = _around(window, self.box(int(cell_id)))
        return window

    def _put(
        self,
        window: Window,
        nuclei: Labels,
        cells: Labels,
        new: tuple[int, ...],
        old: tuple[int, ...],
        parent: int,
        reshaped: tuple[int, ...] = (),
    ) -> None:
        present = (*new, *reshaped)
        runs = [runs_of(labels, present, (window.y0, window.x0)) for labels in (nuclei, cells)]
        root = self.parents.get(parent, parent)
        for cell_id in (*old, *reshaped):
            self._edited.pop(cell_id, None)
            row = self._row(cell_id)
            if row is not None:
                self._hidden[row] = True
        for k, cell_id in enumerate(present):
            self._edited[cell_id] = runs[0].take([k]), runs[1].take([k])
        self._gone |= dict.fromkeys(old, new[0])
        self.parents |= dict.fromkeys(new, root)
        self.changed.append(window)

    def _row(self, cell_id: int) -> int | None:
        row = int(np.searchsorted(self._ids, cell_id))
        return row if row < len(self._ids) and self._ids[row] == cell_id else None


def polygon_of(runs: CellRuns, index: int = 0) -> Polygon:
    """Outline of an object's largest piece, holes filled, as a ring of (x, y) px."""
    one = runs.take([index])
    whole = shapely.union_all(shapely.box(one.x0, one.y, one.x1, one.y + 1))
    piece = max(shapely.get_parts(whole), key=lambda part: part.area)
    ring = shapely.get_coordinates(piece.exterior)[:-1]
    return tuple((float(x), float(y)) for x, y in ring)


def joined(cells: Sequence[CellRuns]) -> Polygon:
    """Outline of several objects (one each) together, as `polygon_of`."""
    runs = concatenate(cells)
    return polygon_of(CellRuns(np.array([0, len(runs.y)], np.int64), runs.y, runs.x0, runs.x1))


def parts_of_cut(outline: Polygon, line: Sequence[tuple[float, float]]) -> tuple[Polygon, ...]:
    """Cut an outline along a drawn line of (x, y) points; its ends are drawn out so that it crosses
    the whole cell.

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
    parts = [part for part in cut(shape, whole).geoms if part.area > 0]
    if len(parts) < 2:
        raise RequestError("the line does not cross the cell; draw it from one side to the other")
    parts.sort(key=lambda part: (part.bounds[1], part.bounds[0]))
    return tuple(
        tuple((float(x), float(y)) for x, y in shapely.get_coordinates(part.exterior)[:-1])
        for part in parts
    )


def _around(first: Window, second: Window) -> Window:
    return Window(
        min(first.y0, second.y0),
        min(first.x0, second.x0),
        max(first.y1, second.y1),
        max(first.x1, second.x1),
    )


def _keep_piece_of_nucleus(cells: Labels, nuclei: Labels, ids: Sequence[int]) -> None:
    """Turn pieces of these cells that hold nothing of their nucleus into background, in place."""
    for cell_id in ids:
        own = cells == cell_id
        pieces, n = ndimage.label(own, _EIGHT)
        if n > 1:
            kept = np.unique(pieces[nuclei == cell_id])
            cells[own & ~np.isin(pieces, kept)] = 0
