"""Phenotypes from positivity: the first rule that fits, with three-valued logic, and double
positives by contact.

A marker a rule requires (``CD11c+``) is judged in the channel's compartment; one it excludes
(``PanCK-``) in the soma, away from shared borders, so that spill-over from a touching tumor cell
does not hide the very myeloid cells that touch tumor. Positivity is null where a gate is not
callable; a rule whose answer then stays unknown does not fit, and the cell is marked uncertain when
that could change its phenotype.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ifquant.columns.cell_columns import OTHER
from ifquant.errors import RequestError
from ifquant.recipe.rules import Rule, holds, markers, parse, text_of

__all__ = [
    "Assignment",
    "DoublePositives",
    "Rule",
    "assign",
    "double_positives",
    "parse",
    "text_of",
]

Positivity = Mapping[str, pd.arrays.BooleanArray]


@dataclass(frozen=True)
class Assignment:
    """Phenotype of every cell.

    Attributes
    ----------
    names
        The phenotypes in the recipe's order, then ``other`` (as `phenotype_names`).
    codes
        Index into `names` per cell, int16 (n_cells,).
    several
        More than one rule fits; the first was taken.
    uncertain
        A rule before the one taken (any rule, where none fits) has an unknown answer: with its gate
        the phenotype might be another.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int16]
    several: NDArray[np.bool_]
    uncertain: NDArray[np.bool_]

    def categorical(self) -> pd.Categorical[str]:
        """Give the column ``phenotype``: categories in the recipe's order, ``other`` last."""
        return pd.Categorical.from_codes(self.codes, categories=pd.Index(self.names))


def assign(
    rules: Mapping[str, Rule], required: Positivity, excluded: Positivity, n_cells: int
) -> Assignment:
    """Give each cell the first phenotype whose rule holds.

    Parameters
    ----------
    rules
        Phenotype > parsed rule, in order.
    required, excluded
        Marker > nullable boolean array (n_cells,): positivity in the channel's compartment and in
        the soma.
    n_cells
        Number of cells.

    Raises
    ------
    RequestError
        If a rule names a marker without positivity.
    """
    for name, rule in rules.items():
        lacking = {
            m.name for m in markers(rule) if m.name not in (required if m.positive else excluded)
        }
        if lacking:
            raise RequestError(
                f"phenotype {name}: no positivity for {', '.join(sorted(lacking))}; only measured"
                " markers can be named in a rule."
            )
    codes = np.full(n_cells, len(rules), np.int16)
    fits = np.zeros(n_cells, np.int32)
    uncertain = np.zeros(n_cells, np.bool_)
    for code, rule in enumerate(rules.values()):
        answer = holds(rule, required, excluded)
        yes = answer.to_numpy(dtype=np.bool_, na_value=False)
        none_yet = codes == len(rules)
        uncertain |= np.asarray(answer.isna()) & none_yet
        codes[yes & none_yet] = code
        fits += yes
    return Assignment((*rules, OTHER), codes, fits > 1, uncertain)


@dataclass(frozen=True)
class DoublePositives:
    """Cells positive for two markers that should exclude each other, by contact with the cells they
    could be confused with.

    Many more among touching than among apart cells speaks for spill-over or for segmentation that
    joins two cells; as many among cells that touch nothing speaks for true double positives (or an
    unspecific stain).
    """

    first: str
    second: str
    n_touching: int
    n_touching_double: int
    n_apart: int
    n_apart_double: int
    n_unknown: int

    @property
    def fraction_touching(self) -> float | None:
        """Double positives among the cells in contact."""
        return self.n_touching_double / self.n_touching if self.n_touching else None

    @property
    def fraction_apart(self) -> float | None:
        """Double positives among the cells without contact."""
        return self.n_apart_double / self.n_apart if self.n_apart else None

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Plain values for JSON, with both fractions."""
        return {
            **asdict(self),
            "fraction_touching": self.fraction_touching,
            "fraction_apart": self.fraction_apart,
        }


def double_positives(
    positive: Positivity, first: str, second: str, touching: ArrayLike
) -> DoublePositives:
    """Count cells positive for both markers, in their own compartments, by contact.

    Parameters
    ----------
    positive
        Marker > nullable boolean array (n_cells,) in the channel's compartment.
    first, second
        The two markers. Only cells positive for at least one of them are counted; unknown in either
        counts as unknown.
    touching
        Per cell (n_cells,): touches a cell it could borrow the other stain from.
    """
    contact = np.asarray(touching, np.bool_)
    a, b = positive[first], positive[second]
    unknown = np.asarray(a.isna() | b.isna())
    one = a.to_numpy(dtype=np.bool_, na_value=False), b.to_numpy(dtype=np.bool_, na_value=False)
    either, both = (one[0] | one[1]) & ~unknown, one[0] & one[1]

    def count(mask: NDArray[np.bool_]) -> int:
        return int(np.count_nonzero(mask))

    return DoublePositives(
        first,
        second,
        n_touching=count(either & contact),
        n_touching_double=count(both & contact),
        n_apart=count(either & ~contact),
        n_apart_double=count(both & ~contact),
        n_unknown=count(unknown),
    )
