"""Slides nobody hopes for: empty, one cell, one kind of cell, no stain. Outputs stay whole and
typed, numbers stay honest.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage.draw import disk
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.columns import cell_columns
from ifquant.execution.executors import Execution
from ifquant.recipe.defaults import resolved

PANEL = PANELS["tgfb_il1b"]
SIZE = 260


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(150, 4, (5, SIZE, SIZE)).clip(0).astype(np.uint16)


def with_discs(centers: list[tuple[int, int]], tumor: bool) -> np.ndarray:
    """Round nuclei of 5 um radius, inside cytokeratin when `tumor`."""
    image = noise()
    for y, x in centers:
        if tumor:
            rows, columns = disk((y, x), 17, shape=(SIZE, SIZE))
            image[1, rows, columns] += 900
        rows, columns = disk((y, x), 10, shape=(SIZE, SIZE))
        image[0, rows, columns] += 1500
    return image


GRID = [(y, x) for y in range(30, SIZE - 20, 40) for x in range(30, SIZE - 20, 40)]
SLIDES = {
    "nothing": noise(),
    "all_zero": np.zeros((5, SIZE, SIZE), np.uint16),
    "one_cell": with_discs([(130, 130)], tumor=True),
    "only_tumor": with_discs(GRID, tumor=True),
    "no_tumor": with_discs(GRID, tumor=False),
    "tiny": noise()[:, :20, :30],
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("degenerate")
    paths = [
        write_slide(folder / f"{name}.ome.tif", image, PANEL) for name, image in SLIDES.items()
    ]
    gate = {"method": "value", "value": 400.0}
    recipe = recipe_for(PANEL, gates={"markers": {"PanCK": gate, "CD11c": gate}})
    result = ifquant.run(recipe, paths, folder / "out", execution=Execution(quiet=True))
    assert result.exit_code == 0, result.summary_lines()
    return folder / "out"


def cells(out: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(out / name / "cells.parquet")


@pytest.mark.parametrize("name", SLIDES)
def test_outputs_are_whole_and_typed(out: Path, name: str) -> None:
    wanted = {"cells.parquet", "cells.csv", "labels.ome.zarr", "overlay.png", "slide.json"}
    assert wanted <= {path.name for path in (out / name).iterdir()}
    found = cells(out, name)
    columns = cell_columns.cell_columns(resolved(recipe_for(PANEL)))
    assert list(found.columns) == [column.name for column in columns]
    for column in columns:
        if column.dtype != "category":
            assert str(found[column.name].dtype) == column.dtype, column.name
    assert list(found["cell_id"]) == list(range(1, len(found) + 1))
    json.loads(
        (out / name / "slide.json").read_text(),
        parse_constant=lambda word: pytest.fail(f"{word} is not JSON"),
    )


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("nothing", 0),
        ("all_zero", 0),
        ("one_cell", 1),
        ("only_tumor", len(GRID)),
        ("no_tumor", len(GRID)),
    ],
)
def test_cells_are_found_and_not_invented(out: Path, name: str, n: int) -> None:
    assert len(cells(out, name)) == n


def test_a_lonely_cell_has_no_neighbours(out: Path) -> None:
    cell = cells(out, "one_cell").iloc[0]
    assert cell["phenotype"] == "tumor"
    assert np.isnan(cell["nearest_tumor_um"])
    assert np.isnan(cell["nearest_myeloid_border_um"])
    assert cell["n_touching_tumor"] == 0
    assert abs(cell["x_um"] - 65.25) < 0.3
    assert abs(cell["nucleus_area_um2"] - np.pi * 25) < 8


def test_without_a_partner_there_is_no_distance(out: Path) -> None:
    tumor, other = cells(out, "only_tumor"), cells(out, "no_tumor")
    assert set(tumor["phenotype"]) == {"tumor"}
    assert tumor["nearest_myeloid_um"].isna().all()
    np.testing.assert_allclose(tumor["nearest_tumor_um"], 20.0, atol=0.6)
    assert set(other["phenotype"]) == {"other"}
    assert other["tumor_region_distance_um"].isna().all()
    rows = pd.read_csv(out / "slides.csv").set_index("slide")
    assert np.isnan(rows.loc["only_tumor", "median_nearest_tumor_um"])
    assert rows.loc["no_tumor", "n_tumor"] == 0


def test_gates_without_two_populations_are_not_called(out: Path) -> None:
    assert cells(out, "only_tumor")["IL1B_positive"].isna().all()
    warnings = json.loads((out / "only_tumor" / "slide.json").read_text())["warnings"]
    assert any("IL1B" in warning for warning in warnings)


def test_every_data_type_gives_the_same_cells(tmp_path: Path) -> None:
    """uint8, uint16, float32 of one image: the same cells, intensities in their own units."""
    image = (simulated(300, 320, seed=5).image // 16).astype(np.uint8)
    found = {}
    for kind, scale in (("uint8", 1), ("uint16", 1), ("float32", 0.25)):
        path = write_slide(tmp_path / kind / "a.ome.tif", (image * scale).astype(kind), PANEL)
        result = ifquant.run(
            recipe_for(PANEL), [path], tmp_path / kind / "out", execution=Execution(quiet=True)
        )
        assert result.exit_code == 0, result.summary_lines()
        found[kind] = cells(tmp_path / kind / "out", "a")
    assert len(found["uint8"]) > 50
    assert list(found["uint8"]["anchor_y_px"]) == list(found["uint16"]["anchor_y_px"])
    assert abs(len(found["float32"]) - len(found["uint8"])) <= 0.05 * len(found["uint8"])
    ratio = (
        found["float32"]["DAPI_nucleus_mean"].median()
        / found["uint8"]["DAPI_nucleus_mean"].median()
    )
    assert abs(ratio - 0.25) < 0.01
