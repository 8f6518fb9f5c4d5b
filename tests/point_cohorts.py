"""Cohorts of point tissues as a table of another program would hold them, with recipe and sample
sheet, for tests of ifquant analyze.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from point_tissue import PointOptions, point_tissue

RECIPE = """
[[channels]]
name = "DAPI"
role = "nucleus"
[[channels]]
name = "PanCK"
role = "tumor"
[[channels]]
name = "CD11c"
role = "myeloid"
[[channels]]
name = "TGFB1"
compartment = "membrane"
[[channels]]
name = "IL1B"
compartment = "cytoplasm"
[priming]
response = "IL1B"
ligand = "TGFB1"
permutations = 199
min_exposed = 40
radii_um = [20]
[cohort]
proximity_shifts = 0
[table]
format = "columns"
unit = "um"
x = "x_um"
y = "y_um"
slide = "slide"
cell_id = "cell_id"
phenotype = "phenotype"
[table.intensities]
DAPI_nucleus_mean = "DAPI_nucleus_mean"
PanCK_cytoplasm_mean = "PanCK_cytoplasm_mean"
TGFB1_membrane_mean = "TGFB1_membrane_mean"
TGFB1_cytoplasm_mean = "TGFB1_cytoplasm_mean"
IL1B_cytoplasm_mean = "IL1B_cytoplasm_mean"
[table.positive]
IL1B = "IL1B_positive"
[table.extra]
tumor_region_distance_um = "tumor_region_distance_um"
"""


def write_cohort(
    folder: Path, *, beta: float, n: int = 7, size_um: float = 640.0, slides: int = 1, seed: int = 0
) -> Path:
    """Write cells.csv, samples.csv and recipe.toml; `slides` per patient. Groups alternate, visits
    are pre and post.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables, sheet = [], []
    for patient in range(n):
        for k in range(slides):
            name = f"S{patient + 1:02d}{'ab'[k]}"
            cells = point_tissue(
                PointOptions(size_um=(size_um, size_um), beta=beta), (seed, patient, k)
            ).cells
            tables.append(cells.assign(slide=name).round(3))
            sheet.append(
                (
                    name,
                    f"P{patient + 1:02d}",
                    "treated" if patient % 2 else "control",
                    ("pre", "post")[k],
                )
            )
    pd.concat(tables).to_csv(folder / "cells.csv", index=False)
    pd.DataFrame(sheet, columns=["slide", "patient", "group", "visit"]).to_csv(
        folder / "samples.csv", index=False
    )
    (folder / "recipe.toml").write_text(RECIPE, "utf-8")
    return folder
