"""Scale bar and legend of the pictures.

Fonts come with matplotlib, so that pixels do not differ between machines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ifquant.columns.cell_columns import proximity_pair
from ifquant.recipe.defaults import channel_colors
from ifquant.report.overlay_lines import region_outlines
from ifquant.report.picture import Color, View, phenotype_colors, rgb
from ifquant.results.slide_result import SlideResult

MIN_WIDTH_PX = 560
_GROUND, _TEXT, _LINE = (16, 16, 20), (236, 236, 240), (255, 255, 255)
_LENGTHS_UM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


@dataclass(frozen=True)
class Entry:
    """One entry of the legend; `kind`: fill (channel), ring (phenotype), dash (region) or line."""

    kind: str
    color: Color
    text: str


@dataclass(frozen=True)
class _Pen:
    """What everything is drawn with; `size`: of the text, in px."""

    draw: ImageDraw.ImageDraw
    font: ImageFont.FreeTypeFont
    size: int


def add_legend(result: SlideResult, view: View, pixels: NDArray[np.uint8]) -> Image.Image:
    """Draw the scale bar into the picture and the legend below it."""
    height, width = pixels.shape[:2]
    canvas_width = max(width, MIN_WIDTH_PX)
    size = max(13, round(canvas_width / 75))
    font = _font("DejaVuSans.ttf", size)
    rows = _legend_rows(_entries(result), font, canvas_width - 2 * size, size)
    row_px = round(size * 1.75)
    canvas = Image.new("RGB", (canvas_width, height + row_px * len(rows) + size), _GROUND)
    canvas.paste(Image.fromarray(pixels), ((canvas_width - width) // 2, 0))
    pen = _Pen(ImageDraw.Draw(canvas), font, size)
    bold = _Pen(pen.draw, _font("DejaVuSans-Bold.ttf", size), size)
    _draw_scale_bar(bold, ((canvas_width + width) // 2, height), view, result.pixel_size_um)
    for i, row in enumerate(rows):
        middle = height + size // 2 + i * row_px + row_px // 2
        for x, entry in row:
            _draw_entry(pen, entry, size + x, middle)
    return canvas


def outline_colors(result: SlideResult) -> dict[str, str]:
    """Color of every phenotype of the table's categories."""
    names = list(result.table["phenotype"].cat.categories)
    return phenotype_colors(names, proximity_pair(result.recipe))


def _entries(result: SlideResult) -> list[list[Entry]]:
    """Entries by group: channels; phenotypes with their counts, and lines."""
    counts = result.table["phenotype"].value_counts()
    source, target = proximity_pair(result.recipe)
    channels = [
        Entry("fill", rgb(color), name) for name, color in channel_colors(result.recipe).items()
    ]
    outlines = [
        Entry("ring", rgb(color), f"{name}  {int(counts.get(name, 0)):,}")
        for name, color in outline_colors(result).items()
    ]
    if region_outlines(result):
        outlines.append(Entry("dash", _LINE, "tumor region"))
    if result.recipe.picture.pair_lines and source and target:
        outlines.append(Entry("line", _LINE, f"{source} to nearest {target}"))
    return [channels, outlines]


def _legend_rows(
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


def _draw_entry(pen: _Pen, entry: Entry, x: int, middle: int) -> None:
    """Draw a swatch and its text, from `x` on around the height `middle`."""
    draw, size = pen.draw, pen.size
    box = (x, middle - size // 2, x + size, middle - size // 2 + size)
    if entry.kind == "fill":
        draw.rectangle(box, fill=entry.color)
    elif entry.kind == "ring":
        draw.ellipse(box, outline=entry.color, width=max(2, size // 7))
    else:
        for start, stop in ((0.0, 0.4), (0.6, 1.0)) if entry.kind == "dash" else ((0.0, 1.0),):
            ends = (x + start * size, middle, x + stop * size, middle)
            draw.line(ends, fill=entry.color, width=max(2, size // 8))
    at, text = (x + round(size * 1.45), middle), _printable(entry.text)
    draw.text(at, text, font=pen.font, fill=_TEXT, anchor="lm")


def _draw_scale_bar(pen: _Pen, corner: tuple[int, int], view: View, pixel_size_um: float) -> None:
    """Draw the bar before the picture's lower right `corner` (x, y); small pictures have none."""
    draw, size = pen.draw, pen.size
    height, width = view.shape
    per_um = view.scale / pixel_size_um
    lengths = [um for um in _LENGTHS_UM if um * per_um <= max(width / 5, 1)]
    if not lengths or width < 4 * size or height < 4 * size:
        return
    um = lengths[-1]
    length, thick, pad = round(um * per_um), max(3, size // 4), round(size * 0.8)
    text = f"{um:,} µm" if um < 1000 else f"{um // 1000:,} mm"
    x1, y1 = corner[0] - 2 * pad, corner[1] - 2 * pad
    wide = max(length, math.ceil(pen.font.getlength(text)))
    top = y1 - round(size * 2.1) - pad // 2
    draw.rectangle((x1 - wide - pad, top, x1 + pad, y1 + pad), fill=_GROUND)
    center = x1 - wide / 2
    left = round(center - length / 2)
    draw.rectangle((left, y1 - thick, left + length - 1, y1), fill=_TEXT)
    at = (center, y1 - thick - size // 3)
    draw.text(at, text, font=pen.font, fill=_TEXT, anchor="mb")


def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a font without the optional layout engine, which would change pixels."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
