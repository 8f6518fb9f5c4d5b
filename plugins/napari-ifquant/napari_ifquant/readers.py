"""Readers of a folder of results, and of slides before any run.

Slides come with channels by name, in the colors their roles would get, um, and contrast from
samples of their pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ifquant.geometry.windows import Window
from ifquant.recipe.defaults import channel_colors
from ifquant.recipe.model import Recipe
from ifquant.recipe.role_guess import guess_roles
from ifquant.report.picture import GAMMA
from ifquant.results.run_record import finished_slides, is_run_folder
from ifquant.slides.slide import Slide, SlideRef, inspect
from napari_ifquant.layers import SPARE_COLOR, Layer, channel_layer
from napari_ifquant.pixels import OpenSlide
from napari_ifquant.result import is_slide_result, layers_of, open_result

Reader = Callable[[Any], list[Layer]]
ENDINGS = (".tif", ".tiff", ".qptiff", ".zarr")
SAMPLE_PX = 256
GRID = (0.1, 0.3, 0.5, 0.7, 0.9)
PERCENTILES = (5.0, 99.7)


def result_reader(path: str | Sequence[str]) -> Reader | None:
    """Reader of ``results/<slide>``, or of the first slide of ``results``; None for others."""
    if not isinstance(path, str):
        return None
    folder = Path(path)
    if is_slide_result(folder):
        return lambda _: list(layers_of(open_result(folder)))
    if is_run_folder(folder) and any(
        is_slide_result(child) for child in folder.iterdir() if child.is_dir()
    ):
        return lambda _: list(layers_of(open_result(finished_slides(folder).folders[0])))
    return None


def slide_reader(path: str | Sequence[str]) -> Reader | None:
    """Reader of the images ifquant reads; None where ifquant cannot."""
    if not isinstance(path, str) or not path.lower().rstrip("/\\").endswith(ENDINGS):
        return None
    ref = SlideRef((path,))
    info, _ = inspect(ref)
    if info.format == "unreadable" or info.z_planes > 1 or info.timepoints > 1:
        return None
    return lambda _: slide_layers(ref)


def slide_layers(ref: SlideRef) -> list[Layer]:
    """Layers of a slide: one image per channel."""
    slide = ref.open()
    info = slide.info
    colors = guessed_colors(info.channels)
    limits = sampled_limits(slide)
    pyramids = OpenSlide(slide).channels(range(len(info.channels)))
    out = []
    for name, levels, limit in zip(info.channels, pyramids, limits, strict=True):
        layer = channel_layer(
            name, levels, colors.get(name, SPARE_COLOR), limit, info.pixel_size_um, gamma=GAMMA
        )
        layer[1]["visible"] = name in colors
        layer[1]["metadata"] = {"ifquant_slide": ref}
        out.append(layer)
    return out


def guessed_colors(names: Sequence[str]) -> dict[str, str]:
    """Colors as a run would choose them for roles guessed from names; else of the first four."""
    roles = [guess.role for guess in guess_roles(names)]
    channels = [{"name": name, "role": role} for name, role in zip(names, roles, strict=True)]
    try:
        return channel_colors(Recipe.model_validate({"channels": channels}))
    except ValidationError:
        return dict(zip(names, ("#b4b4b4", "#ff3020", "#35e06a", "#2450f0"), strict=False))


def sampled_limits(slide: Slide) -> list[tuple[float, float]]:
    """Black and white of each channel: percentiles over 25 small windows, for any size of slide."""
    count, height, width = slide.info.shape
    side_y, side_x = min(SAMPLE_PX, height), min(SAMPLE_PX, width)
    samples = []
    for fy, fx in product(GRID, GRID):
        y, x = int((height - side_y) * fy), int((width - side_x) * fx)
        pixels = slide.read(range(count), Window(y, x, y + side_y, x + side_x))
        samples.append(pixels.reshape(count, -1))
    values = np.concatenate(samples, axis=1)
    low, high = np.nanpercentile(values, PERCENTILES, axis=1)
    return [(float(a), float(b)) for a, b in zip(low, np.maximum(high, low + 1), strict=True)]
