"""Calibration: what a slide's pixels are compared with, from whole-slide histograms.

Pass 1 counts every pixel and gives the tissue mask; where more than 5 % of the slide is glass, a
second pass counts the tissue pixels only. Nothing here depends on how the slide was cut into
blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.calibration import stain
from ifquant.calibration.histogram import (
    HistogramPart,
    SlideHistogram,
    grid_step_px,
    merge,
    scan_block,
)
from ifquant.calibration.tissue import TissueMask, find_tissue
from ifquant.errors import RequestError

__all__ = [
    "Calibration",
    "ChannelCalibration",
    "HistogramPart",
    "SlideHistogram",
    "TissueMask",
    "calibrate",
    "find_tissue",
    "grid_step_px",
    "merge",
    "needs_second_pass",
    "scan_block",
]

_TYPE_MAXIMA = {"uint8": 255.0, "uint16": 65535.0}


@dataclass(frozen=True)
class ChannelCalibration:
    """One channel, in raw file values.

    Attributes
    ----------
    low, high
        Quantiles 0.01 and 0.998 of tissue pixels: the range networks are normalised with.
    background, background_sd
        Level and spread of unstained tissue.
    display
        Black and white of pictures.
    saturation
        Value from which pixels count as saturated; None for floats without a pile-up.
    saturated_fraction
        Share of tissue pixels at or above it.
    threshold
        Pixels above it are stained; None only without any pixel. Above every pixel when the channel
        shows no stain.
    threshold_origin
        How the threshold was found.
    stained
        Whether the channel shows stain.
    nonfinite_fraction
        Share of NaN or infinite pixels, which nothing else counts.
    """

    name: str
    low: float
    high: float
    background: float
    background_sd: float
    display: tuple[float, float]
    saturation: float | None
    saturated_fraction: float
    threshold: float | None
    threshold_origin: str
    stained: bool = False
    nonfinite_fraction: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """All channels of a slide, in file order, and its tissue mask."""

    channels: tuple[ChannelCalibration, ...]
    tissue: TissueMask

    def __getitem__(self, name: str) -> ChannelCalibration:
        """Look up the channel `name`."""
        for channel in self.channels:
            if channel.name == name:
                return channel
        names = ", ".join(channel.name for channel in self.channels)
        raise KeyError(f"no channel {name!r}; this calibration has {names}")

    def to_dict(self) -> dict[str, Any]:
        """For slide.json: plain values, no arrays (nan becomes None)."""
        tissue = {
            "origin": self.tissue.origin,
            "step_px": self.tissue.step_px,
            "area_px": self.tissue.area_px(),
            "fraction": self.tissue.fraction,
        }
        channels = [
            {key: _plain(value) for key, value in asdict(channel).items()}
            for channel in self.channels
        ]
        return {"channels": channels, "tissue": tissue}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for ``np.savez`` (no pickle needed), read back exactly by `from_arrays`."""
        numbers = [
            [
                *(c.low, c.high, c.background, c.background_sd, *c.display, _nan(c.saturation)),
                *(c.saturated_fraction, _nan(c.threshold), float(c.stained), c.nonfinite_fraction),
            ]
            for c in self.channels
        ]
        origins = [channel.threshold_origin for channel in self.channels]
        return {
            "names": np.array([c.name for c in self.channels], dtype=np.str_),
            "numbers": np.array(numbers, np.float64).reshape(len(self.channels), 11),
            "threshold_origins": np.array(origins, dtype=np.str_),
            "tissue_mask": self.tissue.mask,
            "tissue_geometry": np.array([self.tissue.step_px, *self.tissue.image_shape], np.int64),
            "tissue_origin": np.array(self.tissue.origin, dtype=np.str_),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Calibration:
        """Rebuild the calibration from what `to_arrays` gave."""
        keys = ("names", "numbers", "threshold_origins")
        channels = []
        for name, row, origin in zip(*(arrays[key] for key in keys), strict=True):
            low, high, level, spread, black, white, saturation = row[:7].tolist()
            saturated_fraction, threshold, stained, nonfinite_fraction = row[7:].tolist()
            channel = ChannelCalibration(
                name=str(name),
                low=low,
                high=high,
                background=level,
                background_sd=spread,
                display=(black, white),
                saturation=_none(saturation),
                saturated_fraction=saturated_fraction,
                threshold=_none(threshold),
                threshold_origin=str(origin),
                stained=bool(stained),
                nonfinite_fraction=nonfinite_fraction,
            )
            channels.append(channel)
        step, height, width = (int(v) for v in arrays["tissue_geometry"])
        mask = np.asarray(arrays["tissue_mask"], np.bool_)
        tissue = TissueMask(mask, step, (height, width), str(arrays["tissue_origin"]))
        return cls(tuple(channels), tissue)


def needs_second_pass(tissue: TissueMask) -> bool:
    """Whether so much is glass (over 5 %) that only tissue pixels are to be counted again."""
    return tissue.fraction < 0.95


def calibrate(
    histogram: SlideHistogram,
    tissue: TissueMask,
    names: Sequence[str],
    *,
    max_value: int | None = None,
) -> Calibration:
    """Calibrate all channels of a slide.

    Parameters
    ----------
    histogram
        Of the tissue pixels (second pass), or of all pixels when `needs_second_pass` is false.
    names
        Channel names in file order.
    max_value
        Largest value the file's stated bit depth allows (4095 for 12 bits), if it states one.
    """
    if len(names) != len(histogram.counts):
        raise RequestError(
            f"{len(names)} channel names for {len(histogram.counts)} channels; give one name per"
            " channel."
        )
    channels = [
        _calibrate_channel(histogram, index, name, max_value) for index, name in enumerate(names)
    ]
    return Calibration(tuple(channels), tissue)


def _calibrate_channel(
    histogram: SlideHistogram, index: int, name: str, max_value: int | None
) -> ChannelCalibration:
    """Calibrate one channel."""
    values, counts = histogram.values, histogram.counts[index]
    nonfinite = int(histogram.nonfinite[index])
    total = int(counts.sum())
    if total == 0:
        nan, share = float("nan"), 1.0 if nonfinite else 0.0
        origin = "no tissue pixels"
        return ChannelCalibration(
            name, nan, nan, nan, nan, (0.0, 1.0), None, 0.0, None, origin, False, share
        )
    threshold = stain.stain_threshold(values, counts)
    is_unstained = values <= threshold.value
    level, spread = stain.background(values[is_unstained], counts[is_unstained])
    saturation, saturated = _saturation(histogram, index, max_value)
    top = stain.quantile(values, counts, 0.9995)
    black = min(level + spread, top)
    white = max(top, black + max(1.0 if histogram.kind != "float32" else 0.0, 6 * spread))
    return ChannelCalibration(
        name=name,
        low=stain.quantile(values, counts, 0.01),
        high=stain.quantile(values, counts, 0.998),
        background=level,
        background_sd=spread,
        display=(black, white if white > black else black + 1.0),
        saturation=saturation,
        saturated_fraction=saturated / total,
        threshold=threshold.value,
        threshold_origin=threshold.origin,
        stained=threshold.stained,
        nonfinite_fraction=nonfinite / (total + nonfinite),
    )


def _saturation(
    histogram: SlideHistogram, index: int, max_value: int | None
) -> tuple[float | None, int]:
    """Value from which pixels of a channel count as saturated, and how many do."""
    values, counts = histogram.values, histogram.counts[index]
    maximum, at_maximum = float(histogram.maxima[index]), int(histogram.at_maximum[index])
    is_stated = max_value is not None and histogram.kind != "float32"
    saturation = stain.saturation(
        values,
        counts,
        maximum=maximum,
        at_maximum=at_maximum,
        type_maximum=_TYPE_MAXIMA.get(histogram.kind),
        stated_maximum=max_value if is_stated else None,
    )
    if saturation is None or maximum < saturation:
        return saturation, 0
    if saturation == maximum:
        return saturation, at_maximum
    return saturation, int(counts[values >= saturation].sum())


def _plain(value: Any) -> Any:
    """Convert a value for JSON."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return list(value) if isinstance(value, tuple) else value


def _nan(value: float | None) -> float:
    """Store None as nan."""
    return float("nan") if value is None else value


def _none(value: float) -> float | None:
    """Read nan as None."""
    return None if np.isnan(value) else value
