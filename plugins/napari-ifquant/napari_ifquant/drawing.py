"""Layers to draw on while a reviewer splits a cell, redraws it, or leaves a region out.

Each is proposed ready, so that keys alone do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from ifquant.errors import RequestError
from ifquant.geometry.runs import runs_of
from ifquant.review.decisions import Polygon, checked_ring
from ifquant.review.outlines import polygon_of
from ifquant.review.review_session import ReviewSession
from napari_ifquant.layers import spatial
from napari_ifquant.pair_text import numbered_text

TURN_DEGREES = 15.0
MARGIN_PX = 60
"""Around a cell that is redrawn: space to paint a process that was missed."""
CELL_COLORS: dict[int | None, Any] = {
    None: "transparent",
    0: "transparent",
    1: "#40ff80",
    2: "#ff9040",
}


class Drawing:
    """A layer that is drawn on until it is used or left.

    Attributes
    ----------
    help
        What the dock says meanwhile.
    methods
        What keys do on the layer; all other keys are napari's own.
    keys
        Those of napari's keys that one may want there.
    """

    help = ""
    methods: tuple[str, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    layer: Any = None

    def __init__(self, viewer: Any, session: ReviewSession, cell_id: int) -> None:
        self.viewer = viewer
        self.size_um = session.subject.pixel_size_um

    def show(self) -> None:
        """Put the layer on view: known as the review's own before it becomes the active one."""
        self.viewer.add_layer(self.layer)

    @property
    def on_view(self) -> bool:
        """Whether the layer is there; it may have been deleted in the layer list."""
        return self.layer in self.viewer.layers

    def adjust(self, step: int) -> None:
        """Change the proposal by a step."""

    def decide(self, session: ReviewSession, cell_id: int) -> str:
        """Make the decision that was drawn; returns it in words."""
        raise NotImplementedError

    def remove(self) -> None:
        """Take the layer away."""
        if self.on_view:
            self.viewer.layers.remove(self.layer)


class Cut(Drawing):
    """A line through a cell; it begins across its longest extent, through the middle."""

    help = "cut: turn it with - and =, or draw another line; S cuts, Escape leaves"
    methods = ("split", "adjust", "cancel")
    keys = (("6", "move the picture"),)

    def __init__(self, viewer: Any, session: ReviewSession, cell_id: int) -> None:
        from napari.layers import Shapes

        super().__init__(viewer, session, cell_id)
        outlines = session.standing.outlines
        self._center = np.array(outlines.centroid_px(cell_id)) - 0.5
        box = outlines.box(cell_id)
        inside = np.argwhere(outlines.painted(box)[1] == cell_id)
        points = inside + np.array([box.y0, box.x0]) - self._center
        axes = np.linalg.eigh(points.T @ points)[1]
        self._angle = float(np.arctan2(*axes[:, 0]))
        self._half = float(np.abs(points).max()) * 1.2 + 2
        self.layer = Shapes(
            [self._line()],
            shape_type="line",
            edge_color="#ff4040",
            edge_width=1.0,
            name="cut",
            **spatial(self.size_um),
        )
        self.layer.mode = "add_line"

    def _line(self) -> Any:
        step = np.array([np.sin(self._angle), np.cos(self._angle)]) * self._half
        return np.stack([self._center - step, self._center + step])

    def adjust(self, step: int) -> None:
        """Turn the line."""
        self._angle += np.deg2rad(TURN_DEGREES) * step
        self.layer.data = [self._line()]
        self.layer.shape_type = "line"

    def decide(self, session: ReviewSession, cell_id: int) -> str:
        """Split the cell along the line drawn last."""
        if not len(self.layer.data):
            raise RequestError("no line is drawn; draw one across the cell")
        return numbered_text(session.cut(cell_id, _points_xy(self.layer.data[-1])))


class Outline(Drawing):
    """A cropped label image with the cell (1) and its nucleus (2), to be painted."""

    help = (
        "paint the cell (green, label 1) and its nucleus (orange, label 2; 5 and a click take the"
        " label under the pointer); - and = shrink and grow; R keeps it, Escape leaves"
    )
    methods = ("redraw", "adjust", "cancel")
    keys = (
        ("2", "paint"),
        ("1", "erase"),
        ("5", "pick a label"),
        ("[ ]", "brush size"),
        ("Control-Z", "take a stroke back"),
    )

    def __init__(self, viewer: Any, session: ReviewSession, cell_id: int) -> None:
        super().__init__(viewer, session, cell_id)
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        outlines = session.standing.outlines
        self.window = outlines.box(cell_id).grown(MARGIN_PX, session.subject.image_shape)
        nuclei, cells = outlines.painted(self.window)
        data = (cells == cell_id).astype(np.uint8)
        data[nuclei == cell_id] = 2
        self._blocked = (nuclei > 0) & (nuclei != cell_id)
        self._before = data.copy()
        self.layer = Labels(
            data,
            name="redraw: green cell, orange nucleus",
            opacity=0.45,
            translate=(self.window.y0 * self.size_um, self.window.x0 * self.size_um),
            colormap=DirectLabelColormap(color_dict=dict(CELL_COLORS)),
            **spatial(self.size_um),
        )
        self.layer.selected_label, self.layer.brush_size, self.layer.mode = 1, 4, "paint"

    def adjust(self, step: int) -> None:
        """Grow or shrink the cell by a pixel, never into another nucleus or below its own."""
        data = np.asarray(self.layer.data)
        inside = data > 0
        if step > 0:
            changed = ndimage.binary_dilation(inside) & ~self._blocked
        else:
            changed = ndimage.binary_erosion(inside) | (data == 2)
        self.layer.data = np.where(data == 2, 2, changed).astype(np.uint8)

    def decide(self, session: ReviewSession, cell_id: int) -> str:
        """Give the cell the outline that is painted and, if it was painted anew, its nucleus."""
        data = np.asarray(self.layer.data)
        if not np.any(data > 0):
            raise RequestError(
                "nothing is painted; paint the cell with label 1 and its nucleus with label 2"
            )
        drawn = np.any(data == 2) and not np.array_equal(data == 2, self._before == 2)
        nucleus = self._polygon(data == 2) if drawn else None
        return numbered_text(session.redraw(cell_id, self._polygon(data > 0), nucleus))

    def _polygon(self, mask: Any) -> Polygon:
        return polygon_of(runs_of(mask.astype(np.int64), [1], (self.window.y0, self.window.x0)))


class Region(Drawing):
    """Shapes around what is to be left out; the first is what the view shows, for keys alone."""

    help = "draw around what to leave out (or keep the frame); E leaves it out, Escape leaves"
    methods = ("exclude_region", "adjust", "cancel")
    keys = (("6", "move the picture"), ("P", "draw a polygon"), ("Enter", "end it"))

    def __init__(self, viewer: Any, session: ReviewSession, cell_id: int) -> None:
        from napari.layers import Shapes

        super().__init__(viewer, session, cell_id)
        camera, size = viewer.scene.camera, self.size_um
        height, width = session.subject.image_shape
        y, x = (float(v) / size for v in camera.center[-2:])
        half = 0.35 * min(viewer.canvas.size) / camera.zoom / size
        y0, x0 = max(y - half, 0), max(x - half, 0)
        y1, x1 = min(y + half, height - 1), min(x + half, width - 1)
        self._frame = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
        self.layer = Shapes(
            [self._frame],
            shape_type="polygon",
            face_color="#ff404030",
            edge_color="#ff4040",
            edge_width=1.5,
            name="region to exclude",
            **spatial(size),
        )
        self.layer.mode = "add_polygon"

    def adjust(self, step: int) -> None:
        """Make the frame larger or smaller."""
        center = self._frame.mean(axis=0)
        self._frame = center + (self._frame - center) * 1.2**step
        self.layer.data = [self._frame]
        self.layer.shape_type = "polygon"

    def decide(self, session: ReviewSession, cell_id: int) -> str:
        """Leave out what was drawn; the frame only where nothing else was drawn."""
        drawn = list(self.layer.data)
        if not drawn:
            raise RequestError("nothing is drawn; draw around what to leave out")
        try:  # before any of them is saved
            rings = [checked_ring(_points_xy(ring)) for ring in drawn[1:] or drawn]
        except ValueError as error:
            raise RequestError(str(error)) from error
        for ring in rings:
            session.exclude_region(ring, "artefact")
        return "region left out"


def _points_xy(points: Any) -> tuple[tuple[float, float], ...]:
    """Points (x, y) in px from napari's (y, x), where a pixel has its center at 0."""
    return tuple((float(x) + 0.5, float(y) + 0.5) for y, x in points)
