"""Calibration: everything a slide's pixels are compared with, found once from whole-slide
histograms.

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
from ifquant.geometry.windows import Window, cores
from ifquant.recipe.model import TissueOptions

__all__ = [
    "Calibration",
    "ChannelCalibration",
    "HistogramPart",
    "SlideHistogram",
    "TissueMask",
    "calibrate",
    "calibrate_array",
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
    name : channel name low, high : quantiles 0.01 and 0.998 of tissue pixels (the range networks
    are normalised with) background, background_sd : level and spread of unstained tissue display :
    black and white of pictures saturation : value from which pixels count as saturated; None for
    floats without a pile-up saturated_fraction : share of tissue pixels at or above it threshold :
    pixels above it are stained; None only without any pixel. Above every pixel when the channel
    shows no stain threshold_origin : how it was found stained : whether the channel shows stain
    nonfinite_fraction : share of NaN or infinite pixels, which nothing else counts
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
        raise KeyError(
            f"no channel {name!r}; this calibration has {', '.join(c.name for c in self.channels)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """For slide.json: plain values, no arrays (nan becomes None)."""
        return {
            "channels": [
                {key: _plain(value) for key, value in asdict(channel).items()}
                for channel in self.channels
            ],
            "tissue": {
                "origin": self.tissue.origin,
                "step_px": self.tissue.step_px,
                "area_px": self.tissue.area_px(),
                "fraction": self.tissue.fraction,
            },
        }

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for ``np.savez`` (no pickle needed), read back exactly by `from_arrays`."""
        numbers = [
            [
                *(c.low, c.high, c.background, c.background_sd, *c.display, _nan(c.saturation)),
                *(c.saturated_fraction, _nan(c.threshold), float(c.stained), c.nonfinite_fraction),
            ]
            for c in self.channels
        ]
        return {
            "names": np.array([c.name for c in self.channels], dtype=np.str_),
            "numbers": np.array(numbers, np.float64).reshape(len(self.channels), 11),
            "threshold_origins": np.array(
                [c.threshold_origin for c in self.channels], dtype=np.str_
            ),
            "tissue_mask": self.tissue.mask,
            "tissue_geometry": np.array([self.tissue.step_px, *self.tissue.image_shape], np.int64),
            "tissue_origin": np.array(self.tissue.origin, dtype=np.str_),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Calibration:
        """Rebuild the calibration from what `to_arrays` gave."""
        channels = []
        for name, row, origin in zip(
            arrays["names"], arrays["numbers"], arrays["threshold_origins"], strict=True
        ):
            (
                low,
                high,
                level,
                spread,
                black,
                white,
                saturation,
                saturated,
                threshold,
                stained,
                nonfinite,
            ) = (float(v) for v in row)
            channels.append(
                ChannelCalibration(
                    str(name),
                    low,
                    high,
                    level,
                    spread,
                    (black, white),
                    _none(saturation),
                    saturated,
                    _none(threshold),
                    str(origin),
                    bool(stained),
                    nonfinite,
                )
            )
        step, height, width = (int(v) for v in arrays["tissue_geometry"])
        mask = np.asarray(arrays["tissue_mask"], np.bool_)
        return cls(
            tuple(channels), TissueMask(mask, step, (height, width), str(arrays["tissue_origin"]))
        )


def needs_second_pass(tissue: TissueMask) -> bool:
    """Whether so much of the slide is glass (over 5 %) that the histograms are taken again over
    tissue pixels only.
    """
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
    tissue
        The tissue mask.
    names
        Channel names in file order.
    max_value
        Largest value the file's stated bit depth allows (4095 for 12 bits), if it states one.

    Raises
    ------
    RequestError
        If the number of names differs from the number of channels.
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


def calibrate_array(
    pixels: NDArray[np.generic],
    names: Sequence[str],
    *,
    pixel_size_um: float,
    options: TissueOptions | None = None,
    max_value: int | None = None,
    block_px: int = 1024,
) -> Calibration:
    """Calibrate an image (C, Y, X) held in memory; the same result as the pipeline's block by
    block.
    """
    options = options or TissueOptions()
    shape = (pixels.shape[1], pixels.shape[2])
    step = grid_step_px(options.step_um, pixel_size_um)
    blocks = cores(shape, max(64, block_px // step * step) if step <= 64 else step)
    blocks = (
        blocks
        if all(b.y0 % step == 0 and b.x0 % step == 0 for b in blocks)
        else [Window(0, 0, *shape)]
    )

    def scan(mask: NDArray[np.bool_] | None) -> SlideHistogram:
        return merge(
            (scan_block(pixels[:, b.y0 : b.y1, b.x0 : b.x1], b, step, mask) for b in blocks), shape
        )

    histogram = scan(None)
    tissue = find_tissue(histogram, pixel_size_um=pixel_size_um, options=options)
    return calibrate(
        scan(tissue.mask) if needs_second_pass(tissue) else histogram,
        tissue,
        names,
        max_value=max_value,
    )


def _calibrate_channel(
    histogram: SlideHistogram, index: int, name: str, max_value: int | None
) -> ChannelCalibration:
    values, counts = histogram.values, histogram.counts[index]
    nonfinite = int(histogram.nonfinite[index])
    total = int(counts.sum())
    if total == 0:
        nan = float("nan")
        origin = "no tissue pixels"
        return ChannelCalibration(
            name,
            nan,
            nan,
            nan,
            nan,
            (0.0, 1.0),
            None,
            0.0,
            None,
            origin,
            False,
            1.0 if nonfinite else 0.0,
        )
    low, high = stain.quantile(values, counts, 0.01), stain.quantile(values, counts, 0.998)
    level, spread = stain.background(*_unstained(values, counts))
    threshold = stain.stain_threshold(values, counts)
    maximum = float(histogram.maxima[index])
    saturation = stain.saturation(
        values,
        counts,
        maximum=maximum,
        at_maximum=int(histogram.at_maximum[index]),
        type_maximum=_TYPE_MAXIMA.get(histogram.kind),
        stated_maximum=(
            float(max_value) if max_value is not None and histogram.kind != "float32" else None
        ),
    )
    if saturation is None or maximum < saturation:
        saturated = 0
    elif saturation == maximum:
        saturated = int(histogram.at_maximum[index])
    else:
        saturated = int(counts[values >= saturation].sum())
    top = stain.quantile(values, counts, 0.9995)
    black = min(level + spread, top)
    white = max(top, black + max(1.0 if histogram.kind != "float32" else 0.0, 6 * spread))
    return ChannelCalibration(
        name=name,
        low=low,
        high=high,
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


def _unstained(
    values: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Cut a histogram at the stain threshold: what remains is background."""
    keep = values <= stain.stain_threshold(values, counts).value
    return values[keep], counts[keep]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return list(value) if isinstance(value, tuple) else value


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _none(value: float) -> float | None:
    return None if np.isnan(value) else value
