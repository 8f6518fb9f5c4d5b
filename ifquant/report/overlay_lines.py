"""Lines of the pictures: the outline of the tumor region as dashes, and pairs of nearest cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

from ifquant.columns.cell_columns import proximity_pair
from ifquant.report.picture import SUPERSAMPLE, View
from ifquant.results.slide_result import SlideResult

Line = tuple[NDArray[np.float64], float]
"""Points (n, 2) as y, x in px of the image, and opacity."""


def line_layer(result: SlideResult, view: View) -> NDArray[np.float32] | None:
    """Draw the dashed outline of the tumor region and, if asked for, the lines between pairs.

    Returns
    -------
    Opacity (h, w), or None without lines in the view.
    """
    lines: list[Line] = []
    if result.recipe.picture.pair_lines:
        lines += [
            (pair, 0.6) for pair in nearest_pairs(result.table, *proximity_pair(result.recipe))
        ]
    dash_px = max(view.shape) / 160 / view.scale
    for outline in region_outlines(result):
        lines += [(dash, 0.8) for dash in dash_outline(outline, dash_px)]
    lines = _lines_near(lines, view)
    if not lines:
        return None
    factor = SUPERSAMPLE
    height, width = view.shape
    canvas = Image.new("L", (width * factor, height * factor))
    draw = ImageDraw.Draw(canvas)
    width_px = factor * max(1, round(max(height, width) / 1300))
    rows, columns = view.to_picture(*np.concatenate([points for points, _ in lines]).T)
    coordinates = (np.stack([columns, rows], axis=1) * factor).ravel().tolist()  # x, y, x, y, ...
    start = 0
    for points, opacity in lines:
        stop = start + 2 * len(points)
        draw.line(coordinates[start:stop], fill=round(255 * opacity), width=width_px)
        start = stop
    samples = np.asarray(canvas).reshape(height, factor, width, factor)
    sums = np.zeros((height, width), np.uint16)
    for y, x in np.ndindex(factor, factor):
        sums += samples[:, y, :, x]
    return np.asarray(sums.astype(np.float32) / np.float32(factor**2) / np.float32(255))


def region_outlines(result: SlideResult) -> list[NDArray[np.float64]]:
    """Outlines of the tumor region, each (n, 2) as y, x in px of the image."""
    if result.tumor_region is None:
        return []
    return [
        np.asarray(ring[:, ::-1] / result.pixel_size_um) for ring in result.tumor_region.rings_um
    ]


def nearest_pairs(
    table: pd.DataFrame, source: str | None, target: str | None
) -> list[NDArray[np.float64]]:
    """Lines (2, 2) from each `source` cell to the nearest other `target` cell, as y, x in px."""
    centers = table[["y_px", "x_px"]].to_numpy(np.float64)
    starts, ends = (
        np.flatnonzero((table["phenotype"] == name).to_numpy(bool)) for name in (source, target)
    )
    if not len(starts) or not len(ends):
        return []
    order = cKDTree(centers[ends]).query(centers[starts], k=min(2, len(ends)))[1]
    neighbors = ends[order.reshape(len(starts), -1)]
    others = neighbors != starts[:, None]
    nearest = neighbors[np.arange(len(starts)), others.argmax(axis=1)]
    return list(np.stack([centers[starts], centers[nearest]], axis=1)[others.any(axis=1)])


def dash_outline(outline: NDArray[np.float64], dash_px: float) -> list[NDArray[np.float64]]:
    """Cut a polyline (n, 2) into dashes of `dash_px` with gaps of the same length."""
    steps = np.hypot(*np.diff(outline, axis=0).T)
    along = np.concatenate(([0.0], np.cumsum(steps)))
    starts = np.arange(0, along[-1], 2 * dash_px)
    ends = np.minimum(starts + dash_px, along[-1])
    first, last = (
        np.searchsorted(along, starts, side="right"),
        np.searchsorted(along, starts + dash_px, side="left"),
    )
    corners = np.maximum(last - first, 0)  # of the outline, inside each dash
    bounds = np.concatenate(([0], np.cumsum(corners + 2)))
    at = np.empty(bounds[-1])
    at[bounds[:-1]], at[bounds[1:] - 1] = starts, ends
    inner = np.ones(len(at), np.bool_)
    inner[bounds[:-1]] = inner[bounds[1:] - 1] = False
    at[inner] = along[
        np.repeat(first - np.cumsum(corners) + corners, corners) + np.arange(corners.sum())
    ]
    points = np.stack(
        [np.interp(at, along, outline[:, 0]), np.interp(at, along, outline[:, 1])], axis=1
    )
    return np.split(points, bounds[1:-1])


def _lines_near(lines: list[Line], view: View) -> list[Line]:
    """Lines that come near a view: an enlarged detail shows a few of tens of thousands."""
    if not lines:
        return []
    points = np.concatenate([points for points, _ in lines])
    first = np.cumsum([0, *(len(points) for points, _ in lines[:-1])])
    low, high = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
    window = view.window
    margin = max(window.shape) / 8
    near = (low < np.array([window.y1, window.x1]) + margin) & (
        high > np.array([window.y0, window.x0]) - margin
    )
    return [lines[i] for i in np.flatnonzero(near.all(axis=1))]
