"""`method = "labels"`: masks made elsewhere keep their labels, are paired with cells, and give the
same cells as the pipeline's own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.execution.executors import Execution
from ifquant.geometry.windows import Window
from ifquant.slides import tiff_writer

PANEL = PANELS["tgfb_il1b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide with its true masks beside it."""
    root = tmp_path_factory.mktemp("masks")
    truth = simulated(420, 500, seed=3)
    write_slide(root / "a.ome.tif", truth.image, PANEL)
    for kind in ("nuclei", "cells"):
        tiff_writer.write_image(
            root / f"a_{kind}.tif",
            getattr(truth, kind).astype(np.uint32),
            pixel_size_um=None,
            labels=True,
        )
    return root


def run(
    folder: Path, out: Path, tile: int = 2048, crop: Window | None = None, **segmentation: Any
) -> tuple[pd.DataFrame, Any]:
    recipe = recipe_for(PANEL, segmentation={"method": "labels", **segmentation})
    result = ifquant.run(
        recipe,
        [folder / "a.ome.tif"],
        out,
        execution=Execution(quiet=True, tile_size_px=tile, crop=crop),
    )
    assert result.exit_code == 0, result.summary_lines()
    return pd.read_parquet(out / "a" / "cells.parquet"), json.loads(
        (out / "a" / "slide.json").read_text()
    )


@pytest.mark.parametrize("cells", [None, "{slide}_cells.tif"])
def test_masks_give_the_same_cells_in_any_tiling(
    folder: Path, tmp_path: Path, cells: str | None
) -> None:
    one, _ = run(folder, tmp_path / "a", nuclei="{slide}_nuclei.tif", cells=cells)
    two, _ = run(folder, tmp_path / "b", tile=128, nuclei="{slide}_nuclei.tif", cells=cells)
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    truth = simulated(420, 500, seed=3)
    assert sorted(one["source_label"]) == sorted(set(np.unique(truth.nuclei)) - {0})
    areas = np.bincount(truth.nuclei.ravel())[one["source_label"]] * 0.25
    np.testing.assert_allclose(one["nucleus_area_um2"], areas)
    if cells is not None:
        np.testing.assert_allclose(
            one["area_um2"], np.bincount(truth.cells.ravel())[one["source_label"]] * 0.25
        )


def test_a_crop_cuts_the_masks_too(folder: Path, tmp_path: Path) -> None:
    cropped, _ = run(folder, tmp_path, crop=Window(50, 60, 350, 400), nuclei="{slide}_nuclei.tif")
    truth = simulated(420, 500, seed=3).nuclei[50:350, 60:400]
    assert set(cropped["source_label"]) == set(np.unique(truth)) - {0}


def test_polygons_of_qupath_are_masks(folder: Path, tmp_path: Path) -> None:
    square = [[20, 30], [40, 30], [40, 60], [20, 60], [20, 30]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [square]},
        "properties": {"objectType": "detection"},
    }
    (tmp_path / "a.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [feature]})
    )
    table, _ = run(folder, tmp_path / "out", nuclei=str(tmp_path / "a.geojson"))
    assert len(table) == 1
    assert table["nucleus_area_um2"][0] == 20 * 30 * 0.25
    assert (table["anchor_y_px"][0], table["anchor_x_px"][0]) == (30, 20)


def test_labels_in_pieces_are_flagged_and_said(folder: Path, tmp_path: Path) -> None:
    labels = np.zeros((420, 500), np.uint16)
    labels[10:20, 10:20] = labels[100:120, 100:115] = 7
    labels[200:215, 30:45] = 3
    tiff_writer.write_image(tmp_path / "split.tif", labels, pixel_size_um=None, labels=True)
    table, record = run(folder, tmp_path / "out", nuclei=str(tmp_path / "split.tif"))
    assert list(table["source_label"]) == [7, 3]
    assert [bool(flags & 16) for flags in table["flags"]] == [True, False]
    assert any("several pieces (7)" in warning for warning in record["warnings"])


@pytest.mark.parametrize(
    ("nuclei", "message"),
    [
        ("missing.tif", "no mask of nuclei"),
        ("small.tif", "found a mask of 10 x 10 px; the slide has 420 x 500 px"),
    ],
)
def test_wrong_masks_fail_the_slide(
    folder: Path, tmp_path: Path, nuclei: str, message: str
) -> None:
    tiff_writer.write_image(
        folder / "small.tif", np.ones((10, 10), np.uint16), pixel_size_um=None, labels=True
    )
    recipe = recipe_for(PANEL, segmentation={"method": "labels", "nuclei": nuclei})
    result = ifquant.run(recipe, [folder / "a.ome.tif"], tmp_path, execution=Execution(quiet=True))
    assert result.exit_code == 3
    assert message in str(result.slides[0].error)
