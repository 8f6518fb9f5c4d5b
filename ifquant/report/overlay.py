"""overlay.png and detail.png: channels in their colors, cells outlined by phenotype, scale bar,
legend.

The bytes depend on the result and the pixels alone: no time, no version, fonts from matplotlib's
own folder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import cKDTree

from ifquant.columns.cell_columns import proximity_pair
from ifquant.geometry.windows import Window
from ifquant.recipe.defaults import channel_colors
from ifquant.report import picture
from ifquant.report.picture import View
from ifquant.results.slide_result import SlideResult
from ifquant.slides.overview import Read, Stack, read_stack


def nearest_pairs(
    table: pd.DataFrame, source: str | None, target: str | None
) -> list[NDArray[np.float64]]:
    """Per `source` cell the line (2, 2) from its centroid to that of the nearest other `target`
    cell, as y, x in px.
    """
    centers = table[["y_px", "x_px"]].to_numpy(np.float64)
    starts, ends = (
        np.flatnonzero((table["phenotype"] == name).to_numpy(bool)) for name in (source, target)
    )
    if not len(starts) or not len(ends):
        return []
    found = (
        cKDTree(centers[ends])
        .query(centers[starts], k=min(2, len(ends)))[1]
        .reshape(len(starts), -1)
    )
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


def in_view(
    lines: list[tuple[NDArray[np.float64], float]], view: View
) -> list[tuple[NDArray[np.float64], float]]:
    """Lines that come near a view: an enlarged detail shows a few of tens of thousands."""
    if not lines:
        return []
    points = np.concatenate([points for points, _ in lines])
    first = np.cumsum([0, *(len(points) for points, _ in lines[:-1])])
    low, high = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
    margin = max(view.window.shape) / 8
    window = view.window
    near = (low < np.array([window.y1, window.x1]) + margin).all(axis=1) & (
        high > np.array([window.y0, window.x0]) - margin
    ).all(axis=1)
    return [lines[i] for i in np.flatnonzero(near)]


MIN_OUTLINED_PX = 6.0
"""Median cell diameter (picture px) below which cells are filled instead of outlined."""
OPAQUE_PX = 30.0
"""Median cell diameter (picture px) from which outlines are opaque."""
DETAIL_UM = (110.0, 165.0)
"""Height and width of the detail picture in um."""
DETAIL_PX = 1320
MIN_WIDTH_PX = 560
_GROUND, _TEXT, _FAINT = (16, 16, 20), (236, 236, 240), (150, 150, 158)
_REGION, _PAIR = (255, 255, 255), (255, 255, 255)
_RUNS = 3
"""zlib's strategy for PNG rows: as small as the default on pictures with noise, in half the
time."""
_NICE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


@dataclass(frozen=True)
class Entry:
    """One entry of the legend: a filled swatch (channel), a ring (phenotype) or a dashed line
    (region).
    """

    kind: str
    color: tuple[int, int, int]
    text: str


def overlay_png(result: SlideResult, stack: Stack) -> bytes:
    """overlay.png: the whole slide, longest side ``[picture] max_size_px``, legend below. `stack`
    covers the slide (`read_overview`).
    """
    view = picture.fit(stack.window, result.recipe.picture.max_size_px, max_zoom=3)
    return png(framed(result, view, rendered(result, stack, view)))


def detail_png(result: SlideResult, read: Read) -> bytes:
    """detail.png: the part of the slide with most contacts between `from` and `to` cells, enlarged.
    `read`: see `read_overview`.
    """
    view = picture.fit(detail_window(result), DETAIL_PX, max_zoom=8)
    stack = read_stack(read, view.window, result.display_ranges, DETAIL_PX)
    return png(framed(result, view, rendered(result, stack, view)))


def rendered(result: SlideResult, stack: Stack, view: View) -> NDArray[np.uint8]:
    """Draw the picture of a view without its frame, uint8 (h, w, 3)."""
    channels, colors = result.panel.channels, channel_colors(result.recipe)
    chosen = [i for i, channel in enumerate(channels) if channel.name in colors]
    weights = [picture.CONTEXT.get(channels[i].role, 1.0) for i in chosen]
    colored = picture.blended(
        stack.pixels[chosen], [colors[channels[i].name] for i in chosen], weights
    )
    return picture.over(
        picture.resized(colored, stack, view),
        _drawn_cells(result, view),
        _line_layer(result, view),
        _REGION,
    )


def detail_window(result: SlideResult) -> Window:
    """Find the window of `DETAIL_UM` with most `from` cells touching a `to` cell; else most `from`
    cells, most cells, the middle.
    """
    height, width = result.image_shape
    tall, wide = (
        min(round(um / result.pixel_size_um), side)
        for um, side in zip(DETAIL_UM, (height, width), strict=True)
    )
    source, target = proximity_pair(result.recipe)
    table = result.table
    at_source = (table["phenotype"] == source).to_numpy(bool)
    touching = (
        at_source & (table[f"n_touching_{target}"].fillna(0) > 0).to_numpy(bool)
        if source and target
        else np.zeros(len(table), bool)
    )
    chosen = next(
        (mask for mask in (touching, at_source, np.ones(len(table), bool)) if mask.any()), None
    )
    if chosen is None:
        y0, x0 = (height - tall) // 2, (width - wide) // 2
    else:
        y, x = table["y_px"].to_numpy()[chosen], table["x_px"].to_numpy()[chosen]
        y0, x0 = _densest(y, x, (tall, wide), (height, width))
    return Window(y0, x0, y0 + tall, x0 + wide)


def _densest(
    y: NDArray[np.float64], x: NDArray[np.float64], size: tuple[int, int], shape: tuple[int, int]
) -> tuple[int, int]:
    """Corner of the window of `size` with most points, among windows centered on a point; the first
    in raster order wins.
    """
    half = (size[0] / 2, size[1] / 2)
    tree = cKDTree(np.stack([y / half[0], x / half[1]], axis=1))
    counts = tree.query_ball_point(tree.data, 1.0, p=np.inf, return_length=True)
    best = int(np.lexsort((x, y, -np.asarray(counts)))[0])
    y0 = min(max(round(y[best] - half[0]), 0), shape[0] - size[0])
    x0 = min(max(round(x[best] - half[1]), 0), shape[1] - size[1])
    return y0, x0


def _drawn_cells(result: SlideResult, view: View) -> NDArray[np.float32]:
    """Outlines by phenotype; where cells are small, filled cells (``other`` left out)."""
    table = result.table
    diameter_px = 0.0
    if len(table):
        diameter_px = (
            float(np.sqrt(table["area_um2"].median() * 4 / math.pi))
            / result.pixel_size_um
            * view.scale
        )
    filled = diameter_px < MIN_OUTLINED_PX
    source = proximity_pair(result.recipe)[0]
    colors = np.zeros((len(table) + 1, 4), np.float32)
    for name, color in phenotype_colors(result).items():
        opacity = 0.95 * min(
            max(diameter_px / OPAQUE_PX, 0.4), 1.0
        )  # many small cells: lines must not cover what lies on membranes
        if name == "other":
            opacity = 0.0 if filled else 0.6 * opacity
        elif name == source:
            opacity = 0.8 if filled else 0.95
        colors[1:][(table["phenotype"] == name).to_numpy(bool)] = [
            *(value / 255 for value in picture.rgb(color)),
            opacity,
        ]
    width = 0 if filled else picture.SUPERSAMPLE * max(1, round(max(view.shape) / 2400))
    return picture.ink(
        picture.labels_in(result.cells, view, after_block=result.let_go), colors, width
    )


def phenotype_colors(result: SlideResult) -> dict[str, str]:
    """Color of every phenotype of the table's categories."""
    return picture.phenotype_colors(
        list(result.table["phenotype"].cat.categories), proximity_pair(result.recipe)
    )


def _line_layer(result: SlideResult, view: View) -> NDArray[np.float32] | None:
    """Opacity (h, w) of the tumor region's outline (dashed) and, if asked for, of the lines between
    pairs.
    """
    lines: list[tuple[NDArray[np.float64], float]] = []
    if result.recipe.picture.pair_lines:
        lines += [
            (pair, 0.6) for pair in nearest_pairs(result.table, *proximity_pair(result.recipe))
        ]
    dash_px = max(view.shape) / 160 / view.scale
    for outline in region_outlines(result):
        lines += [(dash, 0.8) for dash in dashed(outline, dash_px)]
    lines = in_view(lines, view)
    if not lines:
        return None
    factor = picture.SUPERSAMPLE
    height, width = view.shape
    canvas = Image.new("L", (width * factor, height * factor))
    draw = ImageDraw.Draw(canvas)
    width_px = factor * max(1, round(max(height, width) / 1300))
    rows, columns = view.to_picture(*np.concatenate([points for points, _ in lines]).T)
    drawn = (np.stack([columns, rows], axis=1) * factor).ravel().tolist()  # x, y, x, y, ...
    start = 0
    for points, opacity in lines:
        stop = start + 2 * len(points)
        draw.line(drawn[start:stop], fill=round(255 * opacity), width=width_px)
        start = stop
    drawn_over = np.asarray(canvas).reshape(height, factor, width, factor)
    sums = np.zeros((height, width), np.uint16)
    for y, x in np.ndindex(factor, factor):
        sums += drawn_over[:, y, :, x]
    return sums.astype(np.float32) / np.float32(factor**2) / np.float32(255)


def region_outlines(result: SlideResult) -> list[NDArray[np.float64]]:
    """Outlines of the tumor region, each (n, 2) as y, x in px of the image."""
    if result.tumor_region is None:
        return []
    return [
        np.asarray(ring[:, ::-1] / result.pixel_size_um) for ring in result.tumor_region.rings_um
    ]


def framed(result: SlideResult, view: View, pixels: NDArray[np.uint8]) -> Image.Image:
    """Put the scale bar into the picture and the legend below it."""
    height, width = pixels.shape[:2]
    canvas_width = max(width, MIN_WIDTH_PX)
    size = max(13, round(canvas_width / 75))
    font, bold = _font("DejaVuSans.ttf", size), _font("DejaVuSans-Bold.ttf", size)
    rows = _flow(legend(result), font, canvas_width - 2 * size, size)
    line = round(size * 1.75)
    canvas = Image.new("RGB", (canvas_width, height + line * len(rows) + size), _GROUND)
    canvas.paste(Image.fromarray(pixels), ((canvas_width - width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    _scale_bar(draw, bold, ((canvas_width + width) // 2, height), view, result.pixel_size_um, size)
    for i, row in enumerate(rows):
        for x, entry in row:
            _entry(draw, font, entry, (size + x, height + size // 2 + i * line), line, size)
    return canvas


def legend(result: SlideResult) -> list[list[Entry]]:
    """Entries by group: channels, phenotypes with their counts, lines."""
    channels = channel_colors(result.recipe)
    counts = result.table["phenotype"].value_counts()
    phenotypes = phenotype_colors(result)
    source, target = proximity_pair(result.recipe)
    lines = [Entry("dash", _REGION, "tumor region")] if region_outlines(result) else []
    if result.recipe.picture.pair_lines and source and target:
        lines.append(Entry("line", _PAIR, f"{source} to nearest {target}"))
    return [
        [Entry("fill", picture.rgb(color), name) for name, color in channels.items()],
        [
            Entry("ring", picture.rgb(color), f"{name}  {int(counts.get(name, 0)):,}")
            for name, color in phenotypes.items()
        ]
        + lines,
    ]


def _flow(
    groups: Sequence[Sequence[Entry]], font: ImageFont.FreeTypeFont, width: int, size: int
) -> list[list[tuple[int, Entry]]]:
    rows: list[list[tuple[int, Entry]]] = []
    for group in groups:
        x = width + 1
        for entry in group:
            needed = math.ceil(font.getlength(_printable(entry.text))) + round(size * 3.2)
            if x + needed > width:
                rows.append([])
                x = 0
            rows[-1].append((x, entry))
            x += needed
    return rows


def _entry(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    entry: Entry,
    at: tuple[int, int],
    line: int,
    size: int,
) -> None:
    x, y = at
    middle = y + line // 2
    box = (x, middle - size // 2, x + size, middle - size // 2 + size)
    if entry.kind == "fill":
        draw.rectangle(box, fill=entry.color)
    elif entry.kind == "ring":
        draw.ellipse(box, outline=entry.color, width=max(2, size // 7))
    else:
        parts = ((0.0, 0.4), (0.6, 1.0)) if entry.kind == "dash" else ((0.0, 1.0),)
        for start, stop in parts:
            draw.line(
                (x + start * size, middle, x + stop * size, middle),
                fill=entry.color,
                width=max(2, size // 8),
            )
    draw.text(
        (x + round(size * 1.45), middle), _printable(entry.text), font=font, fill=_TEXT, anchor="lm"
    )


def _scale_bar(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    corner: tuple[int, int],
    view: View,
    pixel_size_um: float,
    size: int,
) -> None:
    height, width = view.shape
    per_um = view.scale / pixel_size_um
    longest = [um for um in _NICE if um * per_um <= max(width / 5, 1)]
    if not longest or width < 4 * size or height < 4 * size:
        return
    um = longest[-1]
    length, thick, pad = round(um * per_um), max(3, size // 4), round(size * 0.8)
    text = f"{um:,} µm" if um < 1000 else f"{um // 1000:,} mm"
    x1, y1 = corner[0] - 2 * pad, corner[1] - 2 * pad
    wide = max(length, math.ceil(font.getlength(text)))
    draw.rectangle(
        (x1 - wide - pad, y1 - round(size * 2.1) - pad // 2, x1 + pad, y1 + pad), fill=_GROUND
    )
    center = x1 - wide / 2
    draw.rectangle(
        (round(center - length / 2), y1 - thick, round(center - length / 2) + length - 1, y1),
        fill=_TEXT,
    )
    draw.text((center, y1 - thick - size // 3), text, font=font, fill=_TEXT, anchor="mb")


def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a font that comes with matplotlib, without the optional layout engine (which would
    change pixels between machines).
    """
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def png(image: Image.Image) -> bytes:
    """PNG without metadata."""
    return bytes(imagecodecs.png_encode(np.asarray(image), level=1, strategy=_RUNS))
