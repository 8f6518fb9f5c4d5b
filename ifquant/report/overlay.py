"""overlay.png and detail.png: channels in their colors, cells outlined by phenotype, legend.

The bytes depend on the result and the pixels alone: no time, no version.
"""

from __future__ import annotations

import math

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from ifquant.columns.cell_columns import proximity_pair
from ifquant.geometry.windows import Window
from ifquant.recipe.defaults import channel_colors
from ifquant.report import picture
from ifquant.report.legend import add_legend, outline_colors
from ifquant.report.overlay_lines import line_layer
from ifquant.report.picture import View
from ifquant.results.slide_result import SlideResult
from ifquant.slides.overview import Read, Stack, read_stack

MIN_OUTLINED_PX = 6.0
"""Median cell diameter (picture px) below which cells are filled instead of outlined."""
OPAQUE_PX = 30.0
"""Median cell diameter (picture px) from which outlines are opaque."""
DETAIL_UM = (110.0, 165.0)
"""Height and width of the detail picture in um."""
DETAIL_PX = 1320
_RUNS = 3
"""zlib's strategy for PNG rows: as small as the default on pictures with noise, in half the
time."""


def overlay_png(result: SlideResult, stack: Stack) -> bytes:
    """Draw overlay.png: the whole slide, longest side ``[picture] max_size_px``, legend below.

    `stack` covers the slide (`read_overview`).
    """
    view = picture.fit_view(stack.window, result.recipe.picture.max_size_px, max_zoom=3)
    return _png(add_legend(result, view, render_view(result, stack, view)))


def detail_png(result: SlideResult, read: Read) -> bytes:
    """Draw detail.png: the part with most contacts between `from` and `to` cells, enlarged.

    `read`: see `read_overview`.
    """
    view = picture.fit_view(detail_window(result), DETAIL_PX, max_zoom=8)
    stack = read_stack(read, view.window, result.display_ranges, DETAIL_PX)
    return _png(add_legend(result, view, render_view(result, stack, view)))


def render_view(result: SlideResult, stack: Stack, view: View) -> NDArray[np.uint8]:
    """Draw the picture of a view without legend and scale bar, uint8 (h, w, 3)."""
    channels, colors = result.panel.channels, channel_colors(result.recipe)
    shown = [i for i, channel in enumerate(channels) if channel.name in colors]
    tints = [colors[channels[i].name] for i in shown]
    weights = [picture.CONTEXT.get(channels[i].role, 1.0) for i in shown]
    pixels = picture.blend_channels(stack.pixels[shown], tints, weights)
    return picture.composite(
        picture.resize(pixels, stack, view), _cell_layer(result, view), line_layer(result, view)
    )


def detail_window(result: SlideResult) -> Window:
    """Find the window of `DETAIL_UM` with most `from` cells that touch a `to` cell.

    Without any: most `from` cells, most cells, the middle.
    """
    height, width = result.image_shape
    tall, wide = (
        min(round(um / result.pixel_size_um), side)
        for um, side in zip(DETAIL_UM, (height, width), strict=True)
    )
    source, target = proximity_pair(result.recipe)
    table = result.table
    at_source = (table["phenotype"] == source).to_numpy(bool)
    touching = np.zeros(len(table), bool)
    if source and target:
        touching = at_source & (table[f"n_touching_{target}"].fillna(0) > 0).to_numpy(bool)
    for mask in (touching, at_source, np.ones(len(table), bool)):
        if mask.any():
            y, x = table["y_px"].to_numpy()[mask], table["x_px"].to_numpy()[mask]
            y0, x0 = _densest(y, x, (tall, wide), (height, width))
            break
    else:
        y0, x0 = (height - tall) // 2, (width - wide) // 2
    return Window(y0, x0, y0 + tall, x0 + wide)


def _densest(
    y: NDArray[np.float64], x: NDArray[np.float64], size: tuple[int, int], shape: tuple[int, int]
) -> tuple[int, int]:
    """Corner of the window of `size` around a point with most points; the first one wins."""
    half = (size[0] / 2, size[1] / 2)
    tree = cKDTree(np.stack([y / half[0], x / half[1]], axis=1))
    counts = tree.query_ball_point(tree.data, 1.0, p=np.inf, return_length=True)
    best = int(np.lexsort((x, y, -np.asarray(counts)))[0])
    y0 = min(max(round(y[best] - half[0]), 0), shape[0] - size[0])
    x0 = min(max(round(x[best] - half[1]), 0), shape[1] - size[1])
    return y0, x0


def _cell_layer(result: SlideResult, view: View) -> NDArray[np.float32]:
    """Outlines by phenotype; where cells are small, filled cells (``other`` left out)."""
    table = result.table
    diameter_px = 0.0
    if len(table):
        diameter_um = float(np.sqrt(table["area_um2"].median() * 4 / math.pi))
        diameter_px = diameter_um / result.pixel_size_um * view.scale
    filled = diameter_px < MIN_OUTLINED_PX
    # many small cells: lines must not cover what lies on membranes
    outlined = 0.95 * min(max(diameter_px / OPAQUE_PX, 0.4), 1.0)
    source = proximity_pair(result.recipe)[0]
    colors = np.zeros((len(table) + 1, 4), np.float32)
    for name, color in outline_colors(result).items():
        opacity = outlined
        if name == "other":
            opacity = 0.0 if filled else 0.6 * outlined
        elif name == source:
            opacity = 0.8 if filled else 0.95
        is_named = (table["phenotype"] == name).to_numpy(bool)
        colors[1:][is_named] = [*(value / 255 for value in picture.rgb(color)), opacity]
    width = 0 if filled else picture.SUPERSAMPLE * max(1, round(max(view.shape) / 2400))
    labels = picture.render_labels(result.cells, view, after_block=result.let_go)
    return picture.draw_outlines(labels, colors, width)


def _png(image: Image.Image) -> bytes:
    """PNG without metadata."""
    return bytes(imagecodecs.png_encode(np.asarray(image), level=1, strategy=_RUNS))
