"""One slide's cells as every analysis takes them, whatever program measured them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from ifquant.geometry.region import Region


@dataclass(frozen=True, eq=False)
class CellTable:
    """Cells of one slide (or core, or field): ifquant's columns, and what is known beyond them.

    Attributes
    ----------
    slide
        Its name.
    cells
        One row per cell: ``cell_id``, ``x_um``, ``y_um`` (always), and as far as the table has them
        ``area_um2``, ``<marker>_<compartment>_<statistic>``, ``<marker>_positive`` (nullable
        boolean), ``phenotype`` (category, ``other`` last).
    patient, group
        From the table or the sample sheet; None when neither says.
    region
        Tissue in which cells were looked for (our results); None for other tables.
    pixel_size_um
        um per px, if known.
    folder
        Our results: the slide's folder, with ``labels.ome.zarr`` and ``slide.json``; None
        otherwise.
    source
        File and format, in words.
    columns
        Column of `cells` > the table's own column.
    unknown
        What the table does not say and what follows, e.g. ``outlines`` > "contacts cannot be told;
        ...".
    n_dropped
        Rows left out because their position is missing or they are no cells.
    warnings
        Sentences for people.
    """

    slide: str
    cells: pd.DataFrame
    patient: str | None = None
    group: str | None = None
    region: Region | None = None
    pixel_size_um: float | None = None
    folder: str | None = None
    source: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    n_dropped: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def phenotypes(self) -> tuple[str, ...]:
        """Names of the phenotypes, ``other`` last; empty when unknown."""
        return (
            tuple(map(str, self.cells["phenotype"].cat.categories))
            if "phenotype" in self.cells
            else ()
        )
