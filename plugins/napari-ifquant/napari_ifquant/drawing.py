"""Layers to draw on while a reviewer splits a cell, redraws it, or leaves a region out. Each is
proposed ready, so that keys alone do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ifquant.errors import RequestError
from ifquant.geometry.runs import runs_of
from ifquant.geometry.windows import Window
from ifquant.review.decisions import Polygon, check_outline
from ifquant.review.outlines import polygon_of

if TYPE_CHECKING:
    from napari_ifquant.walk import Walk

TURN_DEGREES = 15.0
MARGIN_PX = 60
"""Around a cell that is redrawn: room to paint a process that was missed."""


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

    def __init__(self, desk: Walk) -> None:
        self.desk = desk

    def show(self) -> None:
        """Put the layer on view: known as the review's own before it becomes the active one."""
        self.desk.viewer.add_layer(self.layer)

    @property
    def on_view(self) -> bool:
        """Whether the layer is there; it may have been deleted in the layer list."""
        return self.layer in self.desk.viewer.layers

    def adjust(self, step: int) -> None:
        """Change the proposal by a step."""

    def remove(self) -> None:
        """Take the layer away."""
        if self.on_view:
            self.desk.viewer.layers.remove(self.layer)

    def _shown(self, **more: Any) -> dict[str, Any]:
        size = self.desk.view.subject.pixel_size_um
        return {"scale": (size, size), "units": ("um", "um"), **more}


class Cut(Drawing):
    """A line through a cell; it begins across its longest extent, through the middle."""

    help = "cut: turn it with - and =, or draw another line; S cuts, Escape leaves"
    methods = ("split", "adjust", "cancel")
    keys = (("6", "move the picture"),)

    def __init__(self, desk: Walk) -> None:
        from napari.layers import Shapes

        super().__init__(desk)
        outlines = desk.session.standing.outlines
        assert desk.cell_id is not None
        cell = outlines.of(desk.cell_id)[1]
        self._center = np.array(outlines.centroid_px(desk.cell_id)) - 0.5
        y, x = (
            np.repeat(cell.y, cell.x1 - cell.x0),
            np.concatenate([np.arange(a, b) for a, b in zip(cell.x0, cell.x1, strict=True)]),
        )
        points = np.stack([y, x], axis=1) - self._center
        axes = np.linalg.eigh(points.T @ points)[1]
        self._angle = float(np.arctan2(*axes[:, 0]))
        self._half = float(np.abs(points).max()) * 1.2 + 2
        self.layer = Shapes(
            [self._line()],
            shape_type="line",
            edge_color="#ff4040",
            edge_width=1.0,
            name="cut",
            **self._shown(),
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

    def line(self) -> list[tuple[float, float]]:
        """Give the line drawn last, as (x, y) px."""
        if not len(self.layer.data):
            raise RequestError("no line is drawn; draw one across the cell")
        return [(float(x) + 0.5, float(y) + 0.5) for y, x in self.layer.data[-1]]


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

    def __init__(self, desk: Walk) -> None:
        super().__init__(desk)
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        outlines = desk.session.standing.outlines
        assert desk.cell_id is not None
        self.window = outlines.box(desk.cell_id).grown(MARGIN_PX, desk.view.subject.image_shape)
        nuclei, cells = outlines.painted(self.window)
        data = (cells == desk.cell_id).astype(np.uint8)
        data[nuclei == desk.cell_id] = 2
        self._blocked = (nuclei > 0) & (nuclei != desk.cell_id)
        self._before = data.copy()
        size = desk.view.subject.pixel_size_um
        colors: dict[int | None, Any] = {
            None: "transparent",
            0: "transparent",
            1: "#40ff80",
            2: "#ff9040",
        }
        self.layer = Labels(
            data,
            name="redraw: green cell, orange nucleus",
            opacity=0.45,
            translate=(self.window.y0 * size, self.window.x0 * size),
            colormap=DirectLabelColormap(color_dict=colors),
            **self._shown(),
        )
        self.layer.selected_label, self.layer.brush_size, self.layer.mode = 1, 4, "paint"

    def adjust(self, step: int) -> None:
        """Grow the cell by a pixel, or shrink it, never into another nucleus and never below its
        own.
        """
        data = np.asarray(self.layer.data)
        inside = data > 0
        changed = (
            ndimage.binary_dilation(inside) & ~self._blocked
            if step > 0
            else ndimage.binary_erosion(inside) | (data == 2)
        )
        self.layer.data = np.where(data == 2, 2, changed.astype(np.uint8)).astype(np.uint8)

    def outlines(self) -> tuple[Polygon, Polygon | None]:
        """Outline of the cell and, if it was painted anew, of the nucleus.

        Raises
        ------
        RequestError
            If nothing is painted.
        """
        data = np.asarray(self.layer.data)
        if not np.any(data > 0):
            raise RequestError(
                "nothing is painted; paint the cell with label 1 and its nucleus with label 2"
            )
        cell = _polygon(data > 0, self.window)
        same = np.array_equal(data == 2, self._before == 2) or not np.any(data == 2)
        return cell, None if same else _polygon(data == 2, self.window)


class Region(Drawing):
    """Shapes around what is to be left out; the first is what the view shows, ready for keys
    alone.
    """

    help = "draw around what to leave out (or keep the frame); E leaves it out, Escape leaves"
    methods = ("exclude_region", "adjust", "cancel")
    keys = (("6", "move the picture"), ("P", "draw a polygon"), ("Enter", "end it"))

    def __init__(self, desk: Walk) -> None:
        from napari.layers import Shapes

        super().__init__(desk)
        size = desk.view.subject.pixel_size_um
        height, width = desk.view.subject.image_shape
        y, x = (float(v) / size for v in desk.viewer.scene.camera.center[-2:])
        half = 0.35 * min(desk.viewer.canvas.size) / desk.viewer.scene.camera.zoom / size
        y0, x0, y1, x1 = (
            max(y - half, 0),
            max(x - half, 0),
            min(y + half, height - 1),
            min(x + half, width - 1),
        )
        self._frame = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
        self.layer = Shapes(
            [self._frame],
            shape_type="polygon",
            face_color="#ff404030",
            edge_color="#ff4040",
            edge_width=1.5,
            name="region to exclude",
            **self._shown(),
        )
        self.layer.mode = "add_polygon"

    def adjust(self, step: int) -> None:
        """Make the frame larger or smaller."""
        center = self._frame.mean(axis=0)
        self._frame = center + (self._frame - center) * 1.2**step
        self.layer.data = [self._frame]
        self.layer.shape_type = "polygon"

    def rings(self) -> list[tuple[tuple[float, float], ...]]:
        """Outlines drawn, (x, y) px; the frame only where nothing else was drawn."""
        drawn = list(self.layer.data)
        drawn = drawn[1:] or drawn
        if not drawn:
            raise RequestError("nothing is drawn; draw around what to leave out")
        rings = [tuple((float(x) + 0.5, float(y) + 0.5) for y, x in ring) for ring in drawn]
        for ring in rings:  # before any of them is saved
            check_outline(ring)
        return rings


def _polygon(mask: Any, window: Window) -> Polygon:
    return polygon_of(runs_of(mask.astype(np.int64), [1], (window.y0, window.x0)))
