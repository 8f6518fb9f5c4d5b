"""Levels of a channel in memory: what a slide's calibration measures block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ifquant.calibration import stain
from ifquant.calibration.calibrate import ChannelCalibration
from ifquant.calibration.histogram import merge, scan_block
from ifquant.errors import RequestError, SlideError
from ifquant.geometry.windows import Window


@dataclass(frozen=True)
class Levels:
    """Levels of a channel in raw values.

    1 % and 99.8 % quantile, level and spread of the background, threshold between background and
    stain (None without any pixel).
    """

    low: float
    high: float
    background: float
    background_sd: float
    threshold: float | None


ChannelLevels: TypeAlias = Levels | ChannelCalibration
"""What a segmenter needs to know of its channel."""

_DARK_ON_BRIGHT = 0.8
"""Share of the range below the background: at most 0.08 in 129 fluorescence images, inverted at
least 0.87."""


def levels_of(image: NDArray[Any]) -> Levels:
    """Levels of an image (Y, X): exact for integers that span at most 65,536 values.

    Others are counted in bins of 0.8 %.
    """
    offset = 0
    if image.dtype in (np.uint8, np.uint16):
        pixels = image
    elif image.dtype.kind in "iu" and int(image.max()) - int(image.min()) < 65_536:
        offset = int(image.min())
        pixels = (image - image.min()).astype(np.uint16)
    else:
        pixels = image.astype(np.float32)
    block = scan_block(pixels[None], Window(0, 0, *pixels.shape), max(1, *pixels.shape))
    whole = merge([block], pixels.shape)
    values, counts = whole.values, whole.counts[0]
    level, spread = stain.background(values, counts)
    threshold = stain.stain_threshold(values, counts).value
    present = values[counts > 0]
    if len(present) == 2:  # a mask: nothing between its two values to learn from
        threshold, spread = float(present.mean()), 0.0
    return Levels(
        offset + stain.quantile(values, counts, 0.01),
        offset + stain.quantile(values, counts, 0.998),
        offset + level,
        spread,
        offset + threshold,
    )


def nucleus_levels(levels: ChannelLevels | None, method: str) -> ChannelLevels:
    """Return the levels of the nucleus channel, refused when there is none."""
    if levels is None:
        raise RequestError(
            f'found no nucleus channel; method "{method}" needs one: give a channel the role'
            ' "nucleus"'
        )
    return levels


def refuse_dark_on_bright(levels: ChannelLevels) -> None:
    """Refuse a channel with its background near the top of its range (brightfield, inverted)."""
    span = levels.high - levels.low
    if span > 0 and levels.background - levels.low > _DARK_ON_BRIGHT * span:
        raise SlideError(
            f"found a nucleus channel whose background ({levels.background:g}) lies near the top of"
            f" its range ({levels.low:g} to {levels.high:g}): dark nuclei on bright ground."
            " Expected a fluorescent stain, bright on dark: invert the channel first"
        )
