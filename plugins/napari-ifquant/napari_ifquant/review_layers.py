"""What a viewer shows of a slide under review: layers, colors, the pair on view.

Works on any napari viewer model, with or without Qt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.review.outlines import polygon_of
from ifquant.review.review_queue import hidden_columns
from ifquant.review.review_session import ReviewSession
from napari_ifquant.layers import NAME, TAG, spatial
from napari_ifquant.result import (
    LINE_PX,
    SlideView,
    features_of,
    layers_of,
    pair_lines_name,
    point_colors,
)

FIELD_UM = 70.0
"""What the shorter side of the canvas shows of a pair: both cells and their neighbors."""
PAIR = "pair"
CELL_COLOR, PARTNER_COLOR = "#ffffff", "#ff40ff"


class ReviewLayers:
    """Layers of one slide in a viewer."""

    def __init__(
        self,
        viewer: Any,
        view: SlideView,
        *,
        hidden: Sequence[str] = (),
        limits: dict[str, tuple[float, float]] | None = None,
    ) -> None:
        self.viewer, self.view, self.hidden = viewer, view, tuple(hidden)
        self._pair: Any = None
        self._own: list[Any] = []
        self._codes: NDArray[np.int16] | None = None
        self._add(limits)

    def _add(self, limits: dict[str, tuple[float, float]] | None) -> None:
        from napari.layers import Layer

        drop = hidden_columns(self.view.subject, self.hidden)
        # napari would show the controls of every layer on its way
        with self.viewer.layers.selection.events.blocker():
            for data, attributes, kind in layers_of(self.view, limits):
                if attributes["name"] in self.hidden:
                    continue
                if kind == "points":
                    attributes["features"] = features_of(self.view.subject.table, drop)
                self._own.append(self.viewer.add_layer(Layer.create(data, attributes, kind)))
        self.viewer.layers.selection.clear()
        self._pair = self.viewer.add_vectors(
            np.zeros((0, 2, 2)),
            name=PAIR,
            **spatial(self.view.subject.pixel_size_um),
            edge_width=1.0,
            vector_style="line",
            metadata={TAG: str(self.view.folder), NAME: PAIR},
        )
        self._own.append(self._pair)
        self.viewer.scene.camera.events.zoom.connect(self._widen_lines)
        self._centers = self.named("cell centers")
        self._centers.events.visible.connect(self._recolor_points)
        self.viewer.canvas.overlays.scale_bar.visible = True

    @property
    def in_viewer(self) -> list[Any]:
        """Layers of this slide in the viewer: those put there, not copies made of them."""
        return [layer for layer in self._own if layer in self.viewer.layers]

    def named(self, name: str) -> Any:
        """Layer of ours by name; None if it was removed."""
        return next((layer for layer in self.in_viewer if layer.metadata[NAME] == name), None)

    def limits(self) -> dict[str, tuple[float, float]]:
        """Contrast of every channel as it is now, to be kept on the next slide."""
        return channel_limits(self.in_viewer, self.view)

    def remove(self) -> None:
        """Take the layers of this slide away."""
        self.disconnect()
        for layer in self.in_viewer:
            self.viewer.layers.remove(layer)

    def disconnect(self) -> None:
        """Follow the viewer no longer; the layers stay as they are."""
        self.viewer.scene.camera.events.zoom.disconnect(self._widen_lines)
        self._centers.events.visible.disconnect(self._recolor_points)

    def recolor(
        self, session: ReviewSession, codes: NDArray[np.int16] | None = None, *, points: bool = True
    ) -> None:
        """Show every cell in the color of its phenotype, or of `codes` while a gate is dragged."""
        view, outlines = self.view, session.standing.outlines
        codes = session.codes if codes is None else codes
        names = view.coloring.names
        new = {i: names.index(session.phenotype(i)) for i in outlines.parents if i in outlines}
        for cell_id in new:
            verdict = session.standing.verdicts.get(cell_id)
            if verdict is not None and verdict.action == "exclude":
                new[cell_id] = -1
        view.coloring.set_codes(view.subject.ids, codes, new)
        view.coloring.patches = [(window, *outlines.painted(window)) for window in outlines.changed]
        for name in ("cells", "nuclei"):
            layer = self.named(name)
            if layer is not None and layer.visible:
                layer.refresh(thumbnail=False, highlight=False, extent=False)
        self._codes = codes
        if points:
            self._recolor_points()

    def _recolor_points(self, event: Any = None) -> None:
        """Color the centers while they are shown: 100,000 points take longer than all else."""
        centers = self.named("cell centers")
        if centers is not None and centers.visible and self._codes is not None:
            centers.face_color = point_colors(self.view, self._codes)

    def show_pair(
        self, session: ReviewSession, cell_id: int, partner: int | None, *, move: bool = True
    ) -> None:
        """Outline a cell and its partner, and bring them to the middle."""
        outlines = session.standing.outlines
        segments, colors, centers = [], [], []
        for number, color in ((cell_id, CELL_COLOR), (partner, PARTNER_COLOR)):
            if number is None or number not in outlines:
                continue
            ring = np.array(polygon_of(outlines.of(number)[1]))[:, ::-1] - 0.5
            closed = np.concatenate([ring, ring[:1]])
            segments.append(np.stack([closed[:-1], np.diff(closed, axis=0)], axis=1))
            colors += [color] * len(ring)
            centers.append(outlines.centroid_px(number))
        if not segments or self._pair not in self.viewer.layers:
            return
        self._pair.data = np.concatenate(segments)
        self._pair.edge_color = colors
        if move:
            size = self.view.subject.pixel_size_um
            y, x = np.mean(centers, axis=0) - 0.5
            self.viewer.scene.camera.center = (float(y) * size, float(x) * size)
            self.viewer.scene.camera.zoom = max(int(min(self.viewer.canvas.size)), 100) / FIELD_UM

    def clear_pair(self) -> None:
        """Outline nothing."""
        if self._pair in self.viewer.layers:
            self._pair.data = np.zeros((0, 2, 2))

    def select_center(self, cell_id: int | None) -> None:
        """Choose the cell's row in napari's features table."""
        centers = self.named("cell centers")
        if centers is not None and cell_id is not None and cell_id in self.view.subject.ids:
            centers.selected_data = {self.view.subject.row(cell_id)}

    def _widen_lines(self, event: Any = None) -> None:
        """Keep lines on view from afar: their width doubles as pixels cover more of the slide."""
        px = 1 / (float(self.viewer.scene.camera.zoom) * self.view.subject.pixel_size_um)
        width = LINE_PX * 2 ** max(0, math.ceil(math.log2(px / (2 * LINE_PX))))
        for name, factor in (("tumor region", 2), (pair_lines_name(self.view.subject), 1)):
            layer = self.named(name)
            if layer is not None and layer.edge_width != factor * width:
                layer.edge_width = factor * width

    def focus(self) -> None:
        """Make the pair the active layer, so that keys reach the review and no drawing tool."""
        if self._pair in self.viewer.layers:
            self.viewer.layers.selection.active = self._pair


def channel_limits(layers: Iterable[Any], view: SlideView) -> dict[str, tuple[float, float]]:
    """Contrast of every channel of a slide as it is now."""
    return {
        layer.metadata[NAME]: (float(layer.contrast_limits[0]), float(layer.contrast_limits[1]))
        for layer in layers
        if layer.metadata.get(NAME) in view.channels
    }
