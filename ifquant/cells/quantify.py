"""Measure arrays in memory, with labels of any kind: what Python users call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.cells import measurement_kernels as kernels
from ifquant.cells.growth import check_labels
from ifquant.cells.measurement import Wanted, measure_cells
from ifquant.errors import RequestError
from ifquant.recipe import model
from ifquant.recipe.pixel_size import check_pixel_size


def quantify(
    image: NDArray[Any],
    *,
    nuclei: NDArray[Any],
    cells: NDArray[Any],
    channels: Sequence[str],
    pixel_size_um: float,
    statistics: Wanted | None = None,
    options: model.Measure | None = None,
    saturation: Sequence[float | None] | None = None,
    solidity: bool = True,
) -> pd.DataFrame:
    """Measure all cells of an image.

    Parameters
    ----------
    image
        (C, Y, X) of any numeric dtype.
    nuclei, cells
        (Y, X) integer labels, 0 = background; a nucleus and its cell have the same label.
    channels
        C marker names.
    pixel_size_um
        Size of a pixel in um.
    statistics
        Any of mean, median, p95, sum, std: for all compartments, or a mapping compartment >
        statistics. Default: mean and median.
    options
        Widths of the compartments (the recipe's section ``[measure]``).
    saturation
        Per channel the value from which a pixel is saturated; default: the largest value of an
        integer type.
    solidity
        False leaves out the solidity columns.

    Returns
    -------
    One row per label in ascending order: ``label``, then the columns of `measure_cells`.

    Raises
    ------
    RequestError
        If shapes, lengths or names do not fit together, or no microscope has such pixels.
    """
    image, nuclei, cells = np.asarray(image), np.asarray(nuclei), np.asarray(cells)
    for kind, labels in (("nuclei", nuclei), ("cells", cells)):
        check_labels(kind, labels)
    if nuclei.shape != cells.shape:
        raise RequestError(
            f"nuclei have shape {nuclei.shape}, cells {cells.shape}; both must have the image's"
            " (Y, X)."
        )
    check_pixel_size(pixel_size_um, "pixel_size_um")
    names, wanted, nuclei, cells = _compact(nuclei, cells)
    columns = measure_cells(
        image,
        nuclei,
        cells,
        labels_wanted=wanted,
        names=channels,
        pixel_size_um=pixel_size_um,
        options=model.Measure() if options is None else options,
        saturation=saturation,
        statistics=statistics,
        solidity=solidity,
    )
    return pd.DataFrame({"label": names, **columns})


def _compact(
    nuclei: NDArray[Any], cells: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int32], NDArray[np.int32]]:
    """Labels that occur, and what stands for them in both label images as int32."""
    largest = max(int(nuclei.max(initial=0)), int(cells.max(initial=0)))
    if largest <= min(4 * cells.size + 1_000_000, 2**31 - 2):
        nuclei, cells = (
            np.ascontiguousarray(nuclei, np.int32),
            np.ascontiguousarray(cells, np.int32),
        )
        found = kernels.present(nuclei, largest) | kernels.present(cells, largest)
        names = np.flatnonzero(found[1:]) + 1
        return names, names, nuclei, cells
    values, places = np.unique(np.stack([nuclei, cells]), return_inverse=True)
    names = values[values > 0]
    numbers = places.reshape(2, *cells.shape).astype(np.int32) + np.int32(
        len(names) + 1 - len(values)
    )
    return names, np.arange(1, len(names) + 1), numbers[0], numbers[1]
