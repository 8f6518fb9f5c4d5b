"""Flags of a cell: named, documented bits of the column ``flags``. A flagged cell is kept; who
analyzes decides.

Bits are part of the output contract: a bit never changes its meaning and a retired bit is never
given out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.errors import RequestError

SATURATED_FRACTION = 0.01
"""A cell is flagged `saturated` when more than this fraction of its pixels is saturated in any
marker."""


@dataclass(frozen=True)
class FlagInfo:
    """One named bit of the column ``flags``."""

    name: str
    bit: int
    meaning: str

    @property
    def value(self) -> int:
        """The integer with only this bit set."""
        return 1 << self.bit


FLAGS: tuple[FlagInfo, ...] = (
    FlagInfo(
        "touches_border",
        0,
        "the cell touches the border of the image or crop, so part of it may be missing",
    ),
    FlagInfo(
        "saturated",
        1,
        f"more than {SATURATED_FRACTION:.0%} of the cell's pixels are saturated in at least one"
        " marker",
    ),
    FlagInfo(
        "non_finite_pixels",
        2,
        "pixels that are not a number or infinite were left out of the cell's measurements",
    ),
    FlagInfo(
        "soma_is_nucleus",
        3,
        "no pixel of the soma is clear of other cells; the soma columns are those of the nucleus",
    ),
    FlagInfo(
        "split_source_label",
        4,
        "the label of the supplied mask was in several pieces; the largest piece is the cell",
    ),
    FlagInfo(
        "several_phenotypes",
        5,
        "more than one phenotype rule fits; the first rule of the recipe was taken",
    ),
    FlagInfo(
        "phenotype_uncertain", 6, "a gate the phenotype depends on is not callable on this slide"
    ),
    FlagInfo(
        "growth_mismatch",
        7,
        "the cell was grown as tumor or myeloid, but its phenotype says otherwise (or the reverse)",
    ),
    FlagInfo(
        "no_cytoplasm",
        8,
        "the cell has no pixel outside its nucleus; its cytoplasm columns are empty",
    ),
    FlagInfo("outside_tissue", 9, "the cell's centroid lies outside the tissue mask"),
    FlagInfo("reviewed", 10, "a reviewer confirmed or changed this cell"),
    FlagInfo(
        "lattice_seam",
        11,
        "at a seam of the segmentation lattice two windows disagreed about this nucleus or cell"
        " (cellpose)",
    ),
)
"""Every flag there is, by bit."""

MEASURED_FLAGS = (
    "touches_border",
    "saturated",
    "non_finite_pixels",
    "soma_is_nucleus",
    "split_source_label",
    "no_cytoplasm",
    "lattice_seam",
)
"""Flags that measuring decides; the others follow from gates, regions and reviews."""

FLAG_DTYPE = np.dtype(np.uint32)
_BY_NAME: Mapping[str, FlagInfo] = {flag.name: flag for flag in FLAGS}


def flag_value(name: str) -> int:
    """Integer of one flag, e.g. ``flag_value("saturated") == 2``.

    Raises
    ------
    RequestError
        If there is no such flag.
    """
    if name not in _BY_NAME:
        raise RequestError(f"no flag is called {name!r}; flags are {', '.join(_BY_NAME)}.")
    return _BY_NAME[name].value


def encode_flags(n_cells: int, marks: Mapping[str, ArrayLike]) -> NDArray[np.uint32]:
    """Combine boolean arrays (n_cells,) by flag name into the column ``flags``."""
    flags = np.zeros(n_cells, FLAG_DTYPE)
    for name, mark in marks.items():
        flags |= np.where(
            np.asarray(mark, bool), FLAG_DTYPE.type(flag_value(name)), FLAG_DTYPE.type(0)
        )
    return flags


def measured_flags(flags: ArrayLike) -> NDArray[np.uint32]:
    """Only the bits of `MEASURED_FLAGS`."""
    kept: NDArray[np.uint32] = np.asarray(flags, FLAG_DTYPE) & FLAG_DTYPE.type(
        sum(flag_value(name) for name in MEASURED_FLAGS)
    )
    return kept


def has_flag(flags: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Which cells carry the flag `name`."""
    marked: NDArray[np.bool_] = (
        np.asarray(flags, FLAG_DTYPE) & FLAG_DTYPE.type(flag_value(name))
    ) != 0
    return marked


def decode_flags(flags: int) -> tuple[str, ...]:
    """Names of the bits set in one value of the column, by bit."""
    return tuple(flag.name for flag in FLAGS if int(flags) & flag.value)


def count_flags(flags: ArrayLike) -> dict[str, int]:
    """Count the cells that carry each flag, for all flags, by bit."""
    return {flag.name: int(np.count_nonzero(has_flag(flags, flag.name))) for flag in FLAGS}


def flags_as_json(flags: Iterable[FlagInfo] = FLAGS) -> dict[str, dict[str, str | int]]:
    """Give the registry as plain values, for slide.json and the Parquet metadata."""
    return {flag.name: {"value": flag.value, "meaning": flag.meaning} for flag in flags}
