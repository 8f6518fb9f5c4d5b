"""Parts of a picture as arrays: channels in their colors, labels at any scale, outlines.

Everything here is pure; overlay.py lays the parts out. Kernels are compiled because one pass per
picture needs neither the temporaries nor the float64 of array expressions. Pixels come as a `Stack`
(slides/overview.py). A `View` maps a window of the image to a picture of any scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image, ImageColor

from ifquant.geometry.runs import CellRuns, paint_onto
from ifquant.geometry.windows import Window
from ifquant.slides.overview import Stack

GAMMA = 0.65
"""Exponent of the display: lifts dim signal a little, as viewers of fluorescence do."""
CONTEXT = {"nucleus": 0.55, "tumor": 0.85}
"""Brightness by role: what carries the eye to a place stays below what is measured there."""
SUPERSAMPLE = 2
"""Outlines are drawn at this multiple of the picture's scale and averaged: smooth lines."""
_BLOCK = 1 << 16  # objects drawn at once: a matter of memory only

PHENOTYPE_PALETTE = (
    "#56b4e9",
    "#f0e442",
    "#e69f00",
    "#cc79a7",
    "#009e73",
    "#d55e00",
    "#0072b2",
    "#ffffff",
)
"""Okabe and Ito (2008), safe for color-blind readers, ordered for a dark ground: `to` sky blue,
`from` yellow, then the others."""
OTHER_COLOR = "#8a8a92"

Color = tuple[int, int, int]
"""Red, green, blue, 0..255."""


def rgb(color: str) -> Color:
    """Red, green and blue (0..255) of ``#rrggbb``."""
    red, green, blue = ImageColor.getrgb(color)[:3]
    return red, green, blue


def phenotype_colors(names: Sequence[str], pair: tuple[str | None, str | None]) -> dict[str, str]:
    """Outline color by phenotype, ``other`` gray; `pair`: `from` (yellow) and `to` (sky blue)."""
    source, target = pair
    ordered = [name for name in (target, source) if name in names]
    ordered += [name for name in names if name not in (*ordered, "other")]
    first = 0 if target in names else 1
    palette = PHENOTYPE_PALETTE[first:] + PHENOTYPE_PALETTE[:first]
    chosen = dict(zip(ordered, cycle(palette), strict=False))
    return {name: chosen.get(name, OTHER_COLOR) for name in names}


@dataclass(frozen=True)
class View:
    """A window of the image, shown with `scale` picture pixels per image pixel."""

    window: Window
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture in px."""
        height, width = self.window.shape
        return max(round(height * self.scale), 1), max(round(width * self.scale), 1)

    def to_picture(
        self, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Picture coordinates of image coordinates (px, corner origin)."""
        return (y - self.window.y0) * self.scale, (x - self.window.x0) * self.scale


def fit_view(window: Window, max_size_px: int, max_zoom: float) -> View:
    """View of a window, longest side `max_size_px` but enlarged at most `max_zoom` times."""
    return View(window, min(max_size_px / max(*window.shape, 1), max_zoom))


def blend_channels(
    shown: NDArray[np.uint8], tints: Sequence[str], weights: Sequence[float]
) -> NDArray[np.uint8]:
    """Add channels (C, h, w) in their colors and weights: uint8 (h, w, 3).

    A sum beyond the brightest a screen shows is scaled down, keeping its hue.
    """
    curve = (np.arange(256, dtype=np.float32) / 255) ** np.float32(GAMMA)
    colors = [
        np.array(rgb(tint), np.float32) * np.float32(weight / 255)
        for tint, weight in zip(tints, weights, strict=True)
    ]
    return np.asarray(_blend(shown, np.array(colors, np.float32).reshape(-1, 3), curve))


def resize(pixels: NDArray[np.uint8], stack: Stack, view: View) -> NDArray[np.uint8]:
    """Bring the blended stack to the scale of a view of the same window: uint8 (h, w, 3)."""
    height, width = view.shape
    box = (0, 0, stack.window.shape[1] / stack.step, stack.window.shape[0] / stack.step)
    how = Image.Resampling.BOX if view.scale * stack.step < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((width, height), how, box=box))


def render_labels(
    runs: CellRuns, view: View, *, after_block: Callable[[], object] | None = None
) -> NDArray[np.int32]:
    """Draw the objects of a view at `SUPERSAMPLE` times its scale: object index + 1, 0 = none.

    Borders are smooth when enlarged. `after_block` is called after each block of objects (to let
    go of its memory).
    """
    height, width = (side * SUPERSAMPLE for side in view.shape)
    window, scale = view.window, view.scale * SUPERSAMPLE
    enlarged = scale > 1
    full = np.zeros(window.shape if enlarged else (0, 0), np.uint32)
    canvas = np.zeros((0, 0) if enlarged else (height, width), np.int32)
    for first, block in runs.blocks(_BLOCK):
        if enlarged:
            numbers = np.arange(first + 1, first + 1 + len(block), dtype=np.uint32)
            paint_onto(full, block, numbers, window)
        else:
            corner, rows = (window.y0, window.x0), (block.y, block.x0, block.x1)
            _sample_runs(block.offsets, rows, first + 1, corner, scale, canvas)
        if after_block is not None:
            after_block()
    if not enlarged:
        return canvas
    return np.asarray(_smooth_labels(full.astype(np.int32), height, width, scale))


def draw_outlines(
    labels: NDArray[np.int32], colors: NDArray[np.float32], width: int
) -> NDArray[np.float32]:
    """Draw outlines (`width` supersampled px, inside each object) or, with width 0, whole objects.

    Parameters
    ----------
    colors : float32 (n + 1, 4)
        Red, green, blue and opacity by object index + 1; row 0 is the background's and is not
        drawn.

    Returns
    -------
    float32 (h, w, 4) premultiplied RGBA, averaged over `SUPERSAMPLE` x `SUPERSAMPLE`.
    """
    return np.asarray(_draw_outlines(labels, colors, width, SUPERSAMPLE))


def composite(
    picture: NDArray[np.uint8], layer: NDArray[np.float32], lines: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """Lay a premultiplied RGBA layer (h, w, 4) over `picture`, and white lines (opacity) on it."""
    if lines is None:
        lines = np.zeros((0, 0), np.float32)
    return np.asarray(_composite(np.ascontiguousarray(picture), layer, lines))


@njit(cache=True)
def _blend(shown, tints, curve):  # type: ignore[no-untyped-def]  # pragma: no cover
    channels, height, width = shown.shape
    out = np.empty((height, width, 3), np.uint8)
    sums = np.empty(3, np.float32)
    for i in range(height):
        for j in range(width):
            sums[:] = 0
            for c in range(channels):
                for k in range(3):
                    sums[k] += curve[shown[c, i, j]] * tints[c, k]
            most = max(sums[0], sums[1], sums[2], np.float32(1))
            for k in range(3):
                out[i, j, k] = _byte(sums[k] / most)
    return out


@njit(cache=True)
def _composite(picture, layer, lines):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width, _ = picture.shape
    out = np.empty(picture.shape, np.uint8)
    one, full = np.float32(1), np.float32(255)
    for i in range(height):
        for j in range(width):
            for k in range(3):
                value = (
                    np.float32(picture[i, j, k]) / full * (one - layer[i, j, 3]) + layer[i, j, k]
                )
                if lines.size:
                    value = value * (one - lines[i, j]) + lines[i, j]
                out[i, j, k] = _byte(value)
    return out


@njit(cache=True, inline="always")
def _byte(value):  # type: ignore[no-untyped-def]  # pragma: no cover
    """0..1 to 0..255, rounded."""
    return np.uint8(
        min(max(value, np.float32(0)), np.float32(1)) * np.float32(255) + np.float32(0.5)
    )


@njit(cache=True)
def _uniform(full):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether the 5 x 5 pixels around each pixel carry one label."""
    rows, columns = full.shape
    out = np.ones((rows, columns), np.bool_)
    for y in range(rows):
        for x in range(columns):
            if (x + 1 < columns and full[y, x] != full[y, x + 1]) or (
                y + 1 < rows and full[y, x] != full[y + 1, x]
            ):
                for yy in range(max(y - 2, 0), min(y + 4, rows)):
                    for xx in range(max(x - 2, 0), min(x + 4, columns)):
                        out[yy, xx] = False
    return out


@njit(cache=True)
def _weights(length, size, scale):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Nearest pixel (length,) of each sample, and Gaussian weights (length, 5; sigma 0.8 px)."""
    nearest, weights = np.zeros(length, np.int64), np.zeros((length, 5), np.float64)
    for i in range(length):
        at = (i + 0.5) / scale - 0.5
        nearest[i] = min(max(int(np.floor(at + 0.5)), 0), size - 1)
        for k in range(5):
            weights[i, k] = np.exp(-((nearest[i] - 2 + k - at) ** 2) / 1.28)
    return nearest, weights


@njit(cache=True)
def _smooth_labels(full, height, width, scale):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Label with the largest Gaussian weight in 5 x 5 pixels; the first one wins ties."""
    out = np.zeros((height, width), np.int32)
    rows, columns = full.shape
    uniform = _uniform(full)
    cys, wys = _weights(height, rows, scale)
    cxs, wxs = _weights(width, columns, scale)
    found, sums = np.zeros(25, np.int32), np.zeros(25, np.float64)
    for i in range(height):
        cy = cys[i]
        for j in range(width):
            cx = cxs[j]
            if uniform[cy, cx]:
                out[i, j] = full[cy, cx]
                continue
            n = 0
            for yy in range(max(cy - 2, 0), min(cy + 3, rows)):
                for xx in range(max(cx - 2, 0), min(cx + 3, columns)):
                    k = 0
                    while k < n and found[k] != full[yy, xx]:
                        k += 1
                    if k == n:
                        found[k] = full[yy, xx]
                        sums[k] = 0.0
                        n += 1
                    sums[k] += wys[i, yy - cy + 2] * wxs[j, xx - cx + 2]
            best = 0
            for k in range(1, n):
                if sums[k] > sums[best]:
                    best = k
            out[i, j] = found[best]
    return out


@njit(cache=True)
def _sample_runs(offsets, rows, label, corner, scale, canvas):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Nearest-pixel sampling of runs (`rows`: y, x0, x1) at `scale` <= 1; the first is `label`."""
    y, x0, x1 = rows
    top, left = corner
    height, width = canvas.shape
    for i in range(len(offsets) - 1):
        for r in range(offsets[i], offsets[i + 1]):
            row = int(np.floor((y[r] - top + 0.5) * scale))
            if row < 0 or row >= height or int(np.floor((row + 0.5) / scale)) != y[r] - top:
                continue
            first = max(int(np.ceil((x0[r] - left) * scale - 0.5)), 0)
            last = min(int(np.ceil((x1[r] - left) * scale - 0.5)), width)
            for column in range(first, last):
                canvas[row, column] = label + i


@njit(cache=True)
def _draw_outlines(labels, colors, width, factor):  # type: ignore[no-untyped-def]  # pragma: no cover
    rows, columns = labels.shape
    out = np.zeros((rows // factor, columns // factor, 4), np.float32)
    share = np.float32(1.0 / (factor * factor))
    for i in range(rows):
        for j in range(columns):
            label = labels[i, j]
            if label == 0:
                continue
            drawn = width == 0
            for k in range(1, width + 1):
                if drawn:
                    break
                drawn = (
                    (i - k >= 0 and labels[i - k, j] != label)
                    or (i + k < rows and labels[i + k, j] != label)
                    or (j - k >= 0 and labels[i, j - k] != label)
                    or (j + k < columns and labels[i, j + k] != label)
                )
            if drawn:
                alpha = colors[label, 3] * share
                for c in range(3):
                    out[i // factor, j // factor, c] += colors[label, c] * alpha
                out[i // factor, j // factor, 3] += alpha
    return out
