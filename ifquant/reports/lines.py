"""Lines of the overlay as points (n, 2), y and x in px of the image: dashes along an outline, pairs of cells, what a view can show."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ifquant.reports.picture import View


def nearest_pairs(table: pd.DataFrame, source: str | None, target: str | None) -> list[NDArray[np.float64]]:
    """Per `source` cell the line (2, 2) from its centroid to that of the nearest other `target` cell, as y, x in px."""
    centers = table[["y_px", "x_px"]].to_numpy(np.float64)
    starts, ends = (np.flatnonzero((table["phenotype"] == name).to_numpy(bool)) for name in (source, target))
    if not len(starts) or not len(ends):
        return []
    found = cKDTree(centers[ends]).query(centers[starts], k=min(2, len(ends)))[1].reshape(len(starts), -1)
    others = ends[found] != starts[:, None]
    some, first = others.any(axis=1), others.argmax(axis=1)
    nearest = ends[found[np.arange(len(starts)), first]]
    return list(np.stack([centers[starts], centers[nearest]], axis=1)[some])


def dashed(outline: NDArray[np.float64], dash_px: float) -> list[NDArray[np.float64]]:
    """Cut a polyline (n, 2) into dashes of `dash_px` with gaps of the same length."""
    steps = np.hypot(*np.diff(outline, axis=0).T)
    along = np.concatenate(([0.0], np.cumsum(steps)))
    starts = np.arange(0, along[-1], 2 * dash_px)
    ends = np.minimum(starts + dash_px, along[-1])
    first, last = np.searchsorted(along, starts, side="right"), np.searchsorted(along, starts + dash_px, side="left")
    corners = np.maximum(last - first, 0)  # of the outline, inside each dash
    bounds = np.concatenate(([0], np.cumsum(corners + 2)))
    at = np.empty(bounds[-1])
    at[bounds[:-1]], at[bounds[1:] - 1] = starts, ends
    inner = np.ones(len(at), np.bool_)
    inner[bounds[:-1]] = inner[bounds[1:] - 1] = False
    at[inner] = along[np.repeat(first - np.cumsum(corners) + corners, corners) + np.arange(corners.sum())]
    points = np.stack([np.interp(at, along, outline[:, 0]), np.interp(at, along, outline[:, 1])], axis=1)
    return np.split(points, bounds[1:-1])


def in_view(lines: list[tuple[NDArray[np.float64], float]], view: View) -> list[tuple[NDArray[np.float64], float]]:
    """Lines that come near a view: an enlarged detail shows a few of tens of thousands."""
    if not lines:
        return []
    points = np.concatenate([points for points, _ in lines])
    first = np.cumsum([0, *(len(points) for points, _ in lines[:-1])])
    low, high = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
    margin = max(view.window.shape) / 8
    window = view.window
    near = (low < np.array([window.y1, window.x1]) + margin).all(axis=1) & (high > np.array([window.y0, window.x0]) - margin).all(axis=1)
    return [lines[i] for i in np.flatnonzero(near)]
