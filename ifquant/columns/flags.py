"""Flags of a cell: named, documented bits of the column ``flags``.

A flagged cell stays in the table; who analyzes decides. Bits are part of the output contract: a bit
never changes its meaning and a retired bit is never given out again.
"""

from __future__ import annotations

from collections.abc import Mapping
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


_TABLE = f"""
0 | touches_border | the cell touches the border of the image or crop, so part of it may be missing
1 | saturated | more than {SATURATED_FRACTION:.0%} of the cell's pixels are saturated in at least
    one marker
2 | non_finite_pixels | pixels that are not a number or infinite were left out of the cell's
    measurements
3 | soma_is_nucleus | no pixel of the soma is clear of other cells; the soma columns are those of
    the nucleus
4 | split_source_label | the label of the supplied mask was in several pieces; the largest piece is
    the cell
5 | several_phenotypes | more than one phenotype rule fits; the first rule of the recipe was taken
6 | phenotype_uncertain | a gate the phenotype depends on is not callable on this slide
7 | growth_mismatch | the cell was grown as tumor or myeloid, but its phenotype says otherwise (or
    the reverse)
8 | no_cytoplasm | the cell has no pixel outside its nucleus; its cytoplasm columns are empty
9 | outside_tissue | the cell's centroid lies outside the tissue mask
10 | reviewed | a reviewer confirmed or changed this cell
11 | lattice_seam | at a seam of the segmentation lattice two windows disagreed about this nucleus
    or cell (cellpose)
"""
FLAGS = tuple(
    FlagInfo(name, int(bit), meaning)
    for bit, name, meaning in (
        line.split(" | ") for line in _TABLE.strip().replace("\n    ", " ").splitlines()
    )
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
    flags = np.zeros(n_cells, np.uint32)
    for name, mark in marks.items():
        flags[np.asarray(mark, bool)] |= np.uint32(flag_value(name))
    return flags


def measured_flags(flags: ArrayLike) -> NDArray[np.uint32]:
    """Only the bits of `MEASURED_FLAGS`."""
    mask = np.uint32(sum(flag_value(name) for name in MEASURED_FLAGS))
    return np.asarray(np.asarray(flags, np.uint32) & mask)


def has_flag(flags: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Which cells carry the flag `name`."""
    return np.asarray(np.asarray(flags, np.uint32) & np.uint32(flag_value(name)) != 0)


def count_flags(flags: ArrayLike) -> dict[str, int]:
    """Count the cells that carry each flag, for all flags, by bit."""
    return {flag.name: int(np.count_nonzero(has_flag(flags, flag.name))) for flag in FLAGS}


def flags_as_json() -> dict[str, dict[str, str | int]]:
    """All flags as plain values, for slide.json and the Parquet metadata."""
    return {flag.name: {"value": flag.value, "meaning": flag.meaning} for flag in FLAGS}
