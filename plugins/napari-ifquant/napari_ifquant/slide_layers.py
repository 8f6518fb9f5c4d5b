"""A slide before any run, as layers: channels by name, in the colors their roles would get, um and
contrast from samples of its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import ValidationError

from ifquant.geometry.windows import Window
from ifquant.recipe.defaults import channel_colors
from ifquant.recipe.model import Recipe
from ifquant.recipe.role_guess import guess_roles
from ifquant.report.picture import GAMMA
from ifquant.slides.slide import Slide, SlideRef
from napari_ifquant.layers import SPARE_COLOR, Layer, channel_layer
from napari_ifquant.pixels import OpenSlide

SAMPLE_PX = 256
GRID = (0.1, 0.3, 0.5, 0.7, 0.9)
PERCENTILES = (5.0, 99.7)


def slide_layers(ref: SlideRef) -> list[Layer]:
    """Layers of a slide: one image per channel.

    Raises
    ------
    SlideError
        If the slide cannot be read.
    """
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
    """Colors of the channels as a run would choose them, their roles guessed from their names; the
    first four where nothing is known.
    """
    channels = [
        {"name": name, "role": guess.role}
        for name, guess in zip(names, guess_roles(names), strict=True)
    ]
    try:
        return channel_colors(Recipe.model_validate({"channels": channels}))
    except ValidationError:
        return dict(zip(names, ("#b4b4b4", "#ff3020", "#35e06a", "#2450f0"), strict=False))


def sampled_limits(slide: Slide) -> list[tuple[float, float]]:
    """Black and white of each channel: percentiles over 25 small windows, so that no slide is read
    in full to be opened.
    """
    _, height, width = slide.info.shape
    side_y, side_x = min(SAMPLE_PX, height), min(SAMPLE_PX, width)
    channels = range(slide.info.shape[0])
    windows = []
    for fy in GRID:
        for fx in GRID:
            y, x = int((height - side_y) * fy), int((width - side_x) * fx)
            windows.append(
                slide.read(channels, Window(y, x, y + side_y, x + side_x)).reshape(
                    len(channels), -1
                )
            )
    values = np.concatenate(windows, axis=1)
    low, high = np.nanpercentile(values, PERCENTILES, axis=1)
    return [(float(a), float(b)) for a, b in zip(low, np.maximum(high, low + 1), strict=True)]
