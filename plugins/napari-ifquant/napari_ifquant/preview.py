"""What a recipe does on the part of a slide that the view shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window
from ifquant.slides.slide import SlideRef
from napari_ifquant.layers import spatial
from napari_ifquant.result import SlideView

PREVIEW = "preview: cells"
MAX_PX = 2048
"""Longest side of a preview: larger views are cut to their middle, so that it takes seconds."""
MIN_PX = 128


def view_window(viewer: Any, slide: SlideRef) -> Window:
    """Window of the slide that the canvas shows, at most `MAX_PX` a side.

    Raises
    ------
    RequestError
        If the slide is not on view.
    """
    with slide.open() as opened:
        info = opened.info
    size = info.pixel_size_um or 1.0
    height, width = info.shape[1:]
    canvas = viewer.canvas.size
    spans = []
    for center, pixels, length in zip(
        viewer.scene.camera.center[-2:], canvas, (height, width), strict=True
    ):
        half = min(max(float(pixels) / viewer.scene.camera.zoom / size, MIN_PX), MAX_PX) / 2
        middle = min(max(float(center) / size, 0.0), float(length))
        spans.append((max(int(middle - half), 0), min(int(middle + half), length)))
    (y0, y1), (x0, x1) = spans
    if y1 - y0 < MIN_PX // 2 or x1 - x0 < MIN_PX // 2:
        raise RequestError("the slide is not on view; move to it first")
    return Window(y0, x0, y1, x1)


def preview_layer(view: SlideView, corner: tuple[int, int]) -> Any:
    """Cells of a preview at their place on the slide; everything is in memory, so that its folder
    can go.
    """
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    size = view.subject.pixel_size_um
    classes = np.asarray(view.cells.classes(1)[0])
    return Labels(
        classes,
        name=PREVIEW,
        colormap=DirectLabelColormap(color_dict=view.coloring.color_dict()),
        translate=(corner[0] * size, corner[1] * size),
        **spatial(size),
    )


def gates_in_words(view: SlideView) -> str:
    """Gates and the share of cells above them."""
    words = []
    for gate in view.subject.gates:
        share = "" if gate.positive_fraction is None else f" ({100 * gate.positive_fraction:.0f} %)"
        words.append(
            f"{gate.marker} {'not callable' if gate.value is None else f'{gate.value:.0f}'}{share}"
        )
    return ", ".join(words)
