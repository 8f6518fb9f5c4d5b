"""Write example_images/expected/: what a run on the examples gives, for tests/test_examples.py.

Run it when a change is meant to change results.

python tools/make_expected.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

import ifquant
from ifquant.geometry.windows import Window
from ifquant.slides.slide import read_labels

EXAMPLES = Path(__file__).parents[1] / "example_images"
KEPT = (
    "cell_id",
    "x_um",
    "y_um",
    "area_um2",
    "nucleus_area_um2",
    "phenotype",
    "nearest_tumor_um",
    "nearest_tumor_border_um",
)
INTENSITIES = (
    "DAPI_nucleus_mean",
    "PanCK_cytoplasm_mean",
    "CD11c_cell_mean",
    "TGFB1_membrane_mean",
    "IL1B_cytoplasm_mean",
)


def labels_of(slide: Path) -> np.ndarray:
    """Nuclei and cells (2, Y, X) of a finished slide."""
    record = pd.read_json(slide / "slide.json", typ="series")
    height, width = record["input"]["shape"][1:]
    window = Window(0, 0, height, width)
    return np.stack(
        [read_labels(slide / "labels.ome.zarr", kind, window) for kind in ("nuclei", "cells")]
    ).astype(np.uint16)


def main() -> None:
    """Run the examples and keep labels and the columns people look at first."""
    expected = EXAMPLES / "expected"
    expected.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        result = ifquant.run(EXAMPLES / "recipe.toml", [], folder, samples=EXAMPLES / "samples.csv")
        assert result.exit_code == 0, result.summary_lines()
        for status in result.slides:
            slide = Path(folder) / status.name
            tifffile.imwrite(
                expected / f"{status.name}.labels.tif",
                labels_of(slide),
                compression="zlib",
                predictor=True,
            )
            table = pd.read_parquet(slide / "cells.parquet")[[*KEPT, *INTENSITIES]]
            table.to_csv(expected / f"{status.name}.cells.csv", index=False, float_format="%.4f")
            print(status.name, len(table), dict(table["phenotype"].value_counts()))


if __name__ == "__main__":
    main()
