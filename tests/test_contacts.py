"""Contacts measured at pixels: against a plain reading of the definition, for any window, and as a
run writes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.cells.contacts import measure_contacts
from ifquant.columns.pair_columns import PAIR_COLUMNS
from ifquant.execution.executors import Execution
from ifquant.files.table_files import column_metadata
from ifquant.geometry.runs import runs_of
from ifquant.proximity.distances import touching_pairs
from ifquant.recipe.model import Priming

PX = 0.5


def tissue(seed: int, side: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nuclei, touching cells around random seeds, and two channels."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros((side, side), np.int32)
    places = rng.choice(side * side, 40, replace=False)
    seeds.ravel()[np.sort(places)] = np.arange(1, 41)
    distance, at = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    cells = np.where(distance < 11, seeds[tuple(at)], 0).astype(np.int32)
    nuclei = np.where(distance < 3, cells, 0)
    return nuclei, cells, rng.integers(0, 5000, (2, side, side)).astype(np.uint16)


def measured(
    nuclei: np.ndarray,
    cells: np.ndarray,
    image: np.ndarray,
    options: Priming,
    window_px: int = 1024,
) -> pd.DataFrame:
    ids = np.arange(1, 41)
    outlines = runs_of(cells, ids)
    rows = np.arange(40)
    return measure_contacts(
        touching_pairs(outlines),
        rows % 3 == 0,
        rows % 3 == 1,
        runs_of(nuclei, ids),
        outlines,
        lambda window: image[:, window.y0 : window.y1, window.x0 : window.x1],
        image_shape=cells.shape,
        pixel_size_um=PX,
        membrane_um=1.0,
        options=options,
        window_px=window_px,
    )


def plainly(
    nuclei: np.ndarray, cells: np.ndarray, image: np.ndarray, options: Priming
) -> pd.DataFrame:
    """The definition read aloud, one distance transform per cell."""
    ligand, response = image.astype(np.int64)
    rows = []
    for r in (label for label in range(1, 41) if (label - 1) % 3 == 0):
        mask = cells == r
        inside = (
            ndimage.distance_transform_edt(np.pad(mask, 20, mode="edge"))[20:-20, 20:-20]
            > options.erode_um / PX + 1e-6
        )
        inside &= mask & (nuclei != r)
        near_r = ndimage.distance_transform_edt(~mask) <= options.away_um / PX + 1e-6
        for s in np.unique(cells[ndimage.binary_dilation(mask, np.ones((3, 3)))]):
            if s == 0 or (s - 1) % 3 != 1:
                continue
            own = cells == s
            ring = own & (
                ndimage.distance_transform_edt(np.pad(own, 20, mode="edge"))[20:-20, 20:-20]
                <= 1.0 / PX + 1e-6
            )
            others = np.isin(
                cells, [label for label in range(1, 41, 3) if touches_a_source(cells, label)]
            )
            clear = ring & (ndimage.distance_transform_edt(~others) > options.away_um / PX + 1e-6)
            sums = [
                (ligand, ring & ~near_r),
                (ligand, clear),
                (ligand, ring & near_r),
                (response, inside),
            ]
            pixels = [
                number for values, where in sums for number in (values[where].sum(), where.sum())
            ]
            rows.append([r, s, *pixels, ligand[inside].sum()])
    return pd.DataFrame(rows, columns=[column.name for column in PAIR_COLUMNS]).sort_values(
        ["responder_id", "source_id"]
    )


def touches_a_source(cells: np.ndarray, label: int) -> bool:
    near = np.unique(cells[ndimage.binary_dilation(cells == label, np.ones((3, 3)))])
    return any(s and (s - 1) % 3 == 1 for s in near)


OPTIONS = Priming(response="B", ligand="A", response_compartment="cytoplasm")


@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_the_definition(seed: int) -> None:
    nuclei, cells, image = tissue(seed)
    found, expected = (
        measured(nuclei, cells, image, OPTIONS),
        plainly(nuclei, cells, image, OPTIONS),
    )
    assert len(found) > 15
    np.testing.assert_array_equal(found.to_numpy(np.float64), expected.to_numpy(np.float64))


@pytest.mark.parametrize("window_px", [64, 70, 89])
def test_windows_do_not_show(window_px: int) -> None:
    nuclei, cells, image = tissue(3)
    pd.testing.assert_frame_equal(
        measured(nuclei, cells, image, OPTIONS, window_px), measured(nuclei, cells, image, OPTIONS)
    )


def test_light_at_the_contact_stays_out_of_the_primary_ligand() -> None:
    """A control that fails: the whole border takes the responder's light in, the border away from
    it does not.
    """
    nuclei, cells, image = tissue(4)
    lit = image.copy()
    glow = np.isin(cells, np.arange(1, 41, 3))
    lit[0][ndimage.binary_dilation(glow, iterations=2) & ~glow] += 3000
    before, after = measured(nuclei, cells, image, OPTIONS), measured(nuclei, cells, lit, OPTIONS)
    assert (after["ligand_shared_sum"] > before["ligand_shared_sum"]).all()
    np.testing.assert_array_equal(after["ligand_clear_sum"], before["ligand_clear_sum"])


def test_pixels_that_are_not_finite_are_left_out() -> None:
    nuclei, cells, image = tissue(5)
    holed = image.astype(np.float32)
    holed[0, 40:50] = np.nan
    found = measured(nuclei, cells, holed, OPTIONS)
    assert np.isfinite(found.to_numpy(np.float64)).all()
    assert (
        found["ligand_away_px"].sum()
        < measured(nuclei, cells, image, OPTIONS)["ligand_away_px"].sum()
    )


def test_no_contact_gives_an_empty_table() -> None:
    nuclei, cells, image = tissue(6)
    alone = np.where(np.isin(cells, [1]), cells, 0)
    table = measured(np.where(alone > 0, nuclei, 0), alone, image, OPTIONS)
    assert len(table) == 0
    assert list(table.dtypes) == [np.dtype(column.dtype) for column in PAIR_COLUMNS]


def test_a_run_writes_them_the_same_for_any_tiles(tmp_path: Path) -> None:
    panel = PANELS["renamed"]
    slide = write_slide(tmp_path / "s.ome.tif", simulated(900, 1100).image, panel)
    recipe = recipe_for(panel, priming={"response": "TNFα", "ligand": "PD-L1"})
    for name, tile in (("whole", 4096), ("tiles", 400)):
        result = ifquant.run(
            recipe, [slide], tmp_path / name, execution=Execution(quiet=True, tile_size_px=tile)
        )
        assert result.exit_code == 0, result.summary_lines()
    path = tmp_path / "whole" / result.slides[0].name / "pairs.parquet"
    assert (
        path.read_bytes()
        == (tmp_path / "tiles" / result.slides[0].name / "pairs.parquet").read_bytes()
    )
    pairs, cells = (
        pd.read_parquet(path),
        pd.read_parquet(path.parent / "cells.parquet").set_index("cell_id"),
    )
    assert len(pairs) > 100
    touching = pairs.groupby("responder_id").size()
    assert (cells.loc[touching.index, "n_touching_tumor"] == touching).all()
    assert set(cells.loc[pairs["source_id"], "phenotype"]) == {"tumor"}
    assert all(
        column_metadata(path)[column.name]["meaning"] == column.meaning for column in PAIR_COLUMNS
    )
    # the ring away from the responder and the ring near it are the membrane of cells.parquet
    row = pairs.iloc[0]
    mean = (row.ligand_away_sum + row.ligand_shared_sum) / (
        row.ligand_away_px + row.ligand_shared_px
    )
    assert mean == pytest.approx(cells.loc[int(row.source_id), "PD-L1_membrane_mean"], rel=1e-12)
    plain = ifquant.run(
        recipe.model_copy(update={"priming": None}),
        [slide],
        tmp_path / "whole",
        execution=Execution(quiet=True),
    )
    assert plain.exit_code == 0
    assert not path.exists(), "a table that no longer belongs to the recipe is taken away"
