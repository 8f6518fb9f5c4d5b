"""Measurements per cell: shape of cell and nucleus, statistics of every channel by compartment.

Compartments, all distances between pixel centers:

- ``nucleus``; ``cell``; ``cytoplasm`` = the cell without its nucleus;
- ``membrane`` = pixels of the cell within ``membrane_um`` of a pixel outside the cell (at least the
  outermost pixels). The border of the image is no cell border. Where cells touch, each has its own
  ring and blur mixes the two: ``shared_membrane = false`` leaves out pixels within ``membrane_um``
  of another cell;
- ``soma`` = the nucleus plus pixels of the cell within ``soma_um`` of it, less pixels within
  ``soma_clear_um`` of another cell. If nothing is left, the nucleus is used and the column
  ``soma_is_nucleus`` says so.

Median and percentile are numpy's (``linear``), the standard deviation is that of the population,
shapes are scikit-image 0.26's. Pixels that are not finite (float images) are left out per channel;
``non_finite_pixels`` marks the cell. An empty compartment gives NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.cells import measurement_kernels as kernels
from ifquant.cells.shape_kernels import shapes
from ifquant.cells.statistic_kernels import Channel, Pixels
from ifquant.cells.statistic_kernels import statistics as channel_statistics
from ifquant.columns.column_info import COMPARTMENTS, STATISTICS
from ifquant.errors import RequestError
from ifquant.recipe import model

Wanted = Sequence[str] | Mapping[str, Sequence[str]]
"""Statistics for all compartments, or per compartment (those not named are not measured)."""

COMPILED = {
    "u1": np.uint16,
    "i1": np.int64,
    "i2": np.int64,
    "i4": np.int64,
    "u4": np.int64,
    "f2": np.float32,
}
"""Types measured as a wider one (exactly the same values), so that fewer kernels need compiling."""


def reach_um(options: model.Measure) -> float:
    """How far outside a cell others matter for its measurements, in um (soma_um reaches inside)."""
    return max(options.membrane_um, options.soma_clear_um)


def measure_cells(
    image: NDArray[Any],
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
    *,
    labels_wanted: ArrayLike,
    names: Sequence[str],
    pixel_size_um: float,
    options: model.Measure,
    saturation: Sequence[float | None] | None = None,
    origin: tuple[int, int] = (0, 0),
    statistics: Wanted | None = None,
    background: Sequence[float] | None = None,
    solidity: bool = True,
) -> dict[str, NDArray[Any]]:
    """Measure cells of a window.

    Parameters
    ----------
    image
        (C, Y, X), integers or floats.
    nuclei, cells
        int32 (Y, X) labels, 0 = background; a nucleus and its cell have the same label.
    labels_wanted
        (n,) labels to measure; rows of the result are in this order.
    names
        C marker names, used in column names as they are.
    pixel_size_um
        Size of a pixel in um.
    options
        The recipe's section ``[measure]``.
    saturation
        Per channel the value from which a pixel is saturated. None (or None for a channel): the
        largest value of an integer type; unknown for floats (the column is NaN).
    origin
        (y, x) of the window in the image; all coordinates in the result are global.
    statistics
        What to measure where; default: ``options.statistics`` in all compartments.
    background
        C background levels; needed for the ``_corrected_`` columns of ``options.background =
        "calibration"``.
    solidity
        False leaves out the solidity columns.

    Returns
    -------
    Columns (n,) by name: those of the contract up to ``<marker>_saturated_fraction`` without ids
    and flags, the anchor (int32), and bool ``touches_border`` (meets the border of the window),
    ``no_cytoplasm``, ``soma_is_nucleus``, ``non_finite_pixels``.

    Raises
    ------
    RequestError
        If shapes, lengths or names do not fit together.
    """
    _require_fitting(image, nuclei, cells, names, pixel_size_um)
    wanted = _per_compartment(options.statistics if statistics is None else statistics)
    labels = np.asarray(labels_wanted, np.int64)
    pixels, fallen_back = _sorted_pixels(nuclei, cells, labels, pixel_size_um, options, wanted)
    cell, cell_real = shapes(*pixels, kernels.CELL, cells.shape, solidity)
    nucleus, nucleus_real = shapes(*pixels, kernels.NUCLEUS, cells.shape, solidity)
    anchored = np.where(nucleus[:, :1] > 0, nucleus, cell)
    y_px = origin[0] + cell[:, 2] + (cell_real[:, 0] + 0.5)
    x_px = origin[1] + cell[:, 3] + (cell_real[:, 1] + 0.5)
    columns: dict[str, NDArray[Any]] = {
        "anchor_y_px": (anchored[:, 2] + origin[0]).astype(np.int32),
        "anchor_x_px": (anchored[:, 3] + origin[1]).astype(np.int32),
        "x_um": x_px * pixel_size_um,
        "y_um": y_px * pixel_size_um,
        "x_px": x_px,
        "y_px": y_px,
    }
    for prefix, whole, real in (("", cell, cell_real), ("nucleus_", nucleus, nucleus_real)):
        columns |= _shape_columns(prefix, whole, real, pixel_size_um, solidity)
    columns["touches_border"] = (cell[:, 4] | nucleus[:, 4]) > 0
    columns["no_cytoplasm"] = cell[:, 0] <= nucleus[:, 0]
    columns["soma_is_nucleus"] = fallen_back
    columns["non_finite_pixels"] = np.zeros(len(labels), np.bool_)
    for c, name in enumerate(names):
        limit = None if saturation is None else saturation[c]
        level = (
            background[c]
            if background is not None and options.background == "calibration"
            else None
        )
        measured, non_finite = _channel_columns(name, image[c], pixels, wanted, limit, level)
        columns |= measured
        columns["non_finite_pixels"] |= non_finite
    return columns


def _require_fitting(
    image: NDArray[Any],
    nuclei: NDArray[Any],
    cells: NDArray[Any],
    names: Sequence[str],
    pixel_size_um: float,
) -> None:
    if image.ndim != 3 or not image.shape[1:] == nuclei.shape == cells.shape:
        raise RequestError(
            f"image {image.shape}, nuclei {nuclei.shape} and cells {cells.shape} must be (C, Y, X),"
            " (Y, X) and (Y, X)."
        )
    if image.dtype.kind not in "iuf":
        raise RequestError(f"image is {image.dtype}; expected integers or floats.")
    if len(names) != len(image) or len(set(names)) != len(names):
        raise RequestError(
            f"image has {len(image)} channels, names are {list(names)}; give one different name per"
            " channel."
        )
    if not (math.isfinite(pixel_size_um) and pixel_size_um > 0):
        raise RequestError(
            f"pixel_size_um is {pixel_size_um}; it must be a positive number of um per pixel."
        )


def _per_compartment(statistics: Wanted) -> dict[str, tuple[str, ...]]:
    """Statistics of each compartment, in the order of the contract."""
    given = (
        statistics if isinstance(statistics, Mapping) else dict.fromkeys(COMPARTMENTS, statistics)
    )
    unknown = [name for name in given if name not in COMPARTMENTS] + [
        s for each in given.values() for s in each if s not in STATISTICS
    ]
    if unknown:
        raise RequestError(
            f"{unknown[0]!r} is unknown; compartments are {', '.join(COMPARTMENTS)} and statistics"
            f" {', '.join(STATISTICS)}."
        )
    return {
        name: tuple(s for s in STATISTICS if s in given[name])
        for name in COMPARTMENTS
        if given.get(name)
    }


def _sorted_pixels(
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
    labels: NDArray[np.int64],
    pixel_size_um: float,
    options: model.Measure,
    wanted: Mapping[str, Sequence[str]],
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Pixels of the cells, and which somas fell back on the nucleus."""
    nuclei, cells = np.ascontiguousarray(nuclei, np.int32), np.ascontiguousarray(cells, np.int32)
    largest = max(int(nuclei.max(initial=0)), int(cells.max(initial=0)), int(labels.max(initial=0)))
    row = np.full(largest + 1, -1, np.int32)
    row[labels] = np.arange(len(labels), dtype=np.int32)
    row[0] = -1
    index = np.empty(0, np.int32 if cells.size < 2**31 else np.int64)
    marks = np.zeros(cells.shape if {"membrane", "soma"} & set(wanted) else (0, 0), np.uint8)
    if marks.size:
        _mark(marks, nuclei, cells, pixel_size_um, options)
    first, index, part, fallen_back = kernels.sort_pixels(
        cells, nuclei, marks, row, len(labels), options.shared_membrane, index
    )
    return Pixels(first, index, part), fallen_back


def _mark(
    marks: NDArray[np.uint8],
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
    pixel_size_um: float,
    options: model.Measure,
) -> None:
    """Mark what lies near borders and near the own nucleus."""
    membrane_px = max(options.membrane_um / pixel_size_um, 1.0)
    clear_px = options.soma_clear_um / pixel_size_um
    dy, dx, distance = _disc(max(membrane_px, clear_px))
    in_ring, in_reach = distance <= membrane_px + 1e-6, distance <= clear_px + 1e-6
    from_ground = in_ring * kernels.NEAR_EDGE
    from_cell = (
        in_ring * (kernels.NEAR_EDGE | kernels.NEAR_OTHER) + in_reach * kernels.NEAR_OTHER_CLEAR
    )
    kernels.mark_edges(
        marks, cells, dy, dx, from_ground.astype(np.uint8), from_cell.astype(np.uint8)
    )
    dy, dx, _ = _disc(options.soma_um / pixel_size_um)
    kernels.mark_nuclei(marks, cells, nuclei, dy, dx)


def _disc(radius_px: float) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Offsets (dy, dx) of at most `radius_px`, without (0, 0), and their lengths in px."""
    reach = math.floor(radius_px + 1e-6)
    dy, dx = (each.ravel() for each in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    distance = np.hypot(dy, dx)
    inside = (distance <= radius_px + 1e-6) & (distance > 0)
    if not inside.any():  # narrower than a pixel
        return np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1)
    return dy[inside].astype(np.int32), dx[inside].astype(np.int32), distance[inside]


def _shape_columns(
    prefix: str,
    whole: NDArray[np.int64],
    real: NDArray[np.float64],
    pixel_size_um: float,
    solidity: bool,
) -> dict[str, NDArray[Any]]:
    area = np.where(whole[:, 0] > 0, whole[:, 0], np.nan)
    columns = {
        f"{prefix}area_um2": area * pixel_size_um**2,
        f"{prefix}axis_major_um": real[:, 2] * pixel_size_um,
        f"{prefix}axis_minor_um": real[:, 3] * pixel_size_um,
        f"{prefix}eccentricity": real[:, 4],
    }
    if solidity:
        columns[f"{prefix}solidity"] = area / np.maximum(whole[:, 1], 1)
    return columns


def _bits(wanted: Mapping[str, Sequence[str]], statistic: str) -> int:
    """Compartments (bits) in which a statistic is wanted."""
    return sum(
        1 << COMPARTMENTS.index(name)
        for name, statistics in wanted.items()
        if statistic in statistics
    )


def _channel_columns(
    name: str,
    channel: NDArray[Any],
    pixels: Pixels,
    wanted: Mapping[str, Sequence[str]],
    saturation: float | None,
    background: float | None,
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """Columns of one channel, and which cells hold pixels that are not finite."""
    if saturation is None:
        saturation = math.nan if channel.dtype.kind == "f" else float(np.iinfo(channel.dtype).max)
    channel = np.ascontiguousarray(
        channel, COMPILED.get(channel.dtype.str[1:], channel.dtype.newbyteorder("="))
    )
    kind = channel.dtype
    words = channel.view(f"u{kind.itemsize}")
    total = np.empty(0, {"u": np.uint64, "i": np.int64, "f": np.float64}[kind.kind])
    flat = Channel(channel.ravel(), words.ravel(), _flips(kind), total, saturation)
    bits = (_bits(wanted, statistic) for statistic in ("std", "median", "p95"))
    count, added, squares, near, odd = channel_statistics(flat, pixels, *bits)
    filled = np.where(count > 0, count, np.nan)
    values = {
        "mean": added / filled,
        "sum": np.where(count > 0, added, np.nan),
        "std": np.sqrt(squares / filled),
    }
    values |= _order_statistics(_unflipped(near, kind), count)
    times = {"mean": np.ones_like(filled), "sum": filled, "std": np.zeros_like(filled)}
    times |= {"median": times["mean"], "p95": times["mean"]}
    columns: dict[str, NDArray[Any]] = {}
    for compartment, statistics in wanted.items():
        k = COMPARTMENTS.index(compartment)
        for statistic in statistics:
            columns[f"{name}_{compartment}_{statistic}"] = values[statistic][:, k]
            if background is not None:
                corrected = values[statistic][:, k] - background * times[statistic][:, k]
                columns[f"{name}_{compartment}_corrected_{statistic}"] = corrected
    known = np.where(math.isnan(saturation), np.nan, odd[:, 0])
    columns[f"{name}_saturated_fraction"] = known / filled[:, COMPARTMENTS.index("cell")]
    return columns, odd[:, 1] > 0


def _order_statistics(
    near: NDArray[np.float64], count: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Median and 95th percentile (n, 5) as numpy's (linear), from the values next to them."""
    near = np.where(count[..., None] > 0, near, np.nan)
    below, above = near[..., 2], near[..., 3]
    virtual = (count - 1) * 0.95
    weight = virtual - np.floor(virtual)
    difference = above - below
    percentile = np.where(
        weight < 0.5, below + difference * weight, above - difference * (1 - weight)
    )
    return {"median": (near[..., 0] + near[..., 1]) / 2, "p95": percentile}


def _flips(kind: np.dtype[Any]) -> NDArray[Any]:
    """Sign bit, and what to flip in words with and without it so that they sort like the values."""
    every = (1 << (8 * kind.itemsize)) - 1
    sign = (every + 1) >> 1
    flips = {"u": (0, 0, 0), "i": (sign, sign, sign), "f": (sign, every, sign)}[kind.kind]
    return np.array(flips, f"u{kind.itemsize}")


def _unflipped(words: NDArray[Any], kind: np.dtype[Any]) -> NDArray[np.float64]:
    """Turn sortable words back into the values they stand for, as float64."""
    sign, if_set, if_clear = _flips(kind)
    # the sign bit itself was flipped
    flipped: NDArray[Any] = np.where(words & sign, words ^ if_clear, words ^ if_set)
    return np.asarray(flipped.view(kind), np.float64)
