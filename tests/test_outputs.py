"""What a slide leaves on disk: contract columns, labels equal to the runs, slide.json last, texts
safe for spreadsheets.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import phantoms
import pytest
import zarr
from ome_zarr_models.v05 import Image, ImageLabel

from ifquant.columns import cell_columns
from ifquant.columns.slide_columns import slide_columns
from ifquant.errors import RequestError
from ifquant.files.table_files import column_metadata
from ifquant.geometry.runs import paint
from ifquant.geometry.windows import Window
from ifquant.recipe.model import Recipe
from ifquant.report import overlay
from ifquant.results import slide_outputs
from ifquant.results.slide_outputs import is_whole
from ifquant.results.slide_record import SlideRecord
from ifquant.results.slide_result import SlideResult
from ifquant.results.slides_table import SlideStatus, write_slides_table
from ifquant.results.spreadsheet_text import safe_for_spreadsheets
from ifquant.slides.sample_sheet import Sample


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[SlideResult, Path]:
    folder = tmp_path_factory.mktemp("slide")
    result = phantoms.written_result(folder, phantoms.tissue_of(260, seed=3))
    slide_outputs.write_slide(result, folder / "phantom", overlay)
    return result, folder / "phantom"


DEGENERATE = {
    "no_cells": {"n_cells": 0},
    "one_cell": {"n_cells": 1},
    "only_tumor": {"kinds": ("tumor",)},
    "no_tumor": {"kinds": ("myeloid", "other")},
    "only_other": {"kinds": ("other",)},
}


def test_every_file_of_the_contract_is_there(written: tuple[SlideResult, Path]) -> None:
    result, folder = written
    assert sorted(path.name for path in folder.iterdir()) == [
        "cells.csv",
        "cells.parquet",
        "detail.png",
        "labels.ome.zarr",
        "overlay.png",
        "slide.json",
    ]
    assert is_whole(SlideRecord.read(folder), result.recipe)


def test_cells_have_exactly_the_contract_columns_typed_and_documented(
    written: tuple[SlideResult, Path],
) -> None:
    result, folder = written
    columns = cell_columns.cell_columns(result.recipe)
    cells = pd.read_parquet(folder / "cells.parquet")
    assert list(cells.columns) == [column.name for column in columns]
    pd.testing.assert_frame_equal(cells, result.table)
    assert column_metadata(folder / "cells.parquet") == cell_columns.parquet_metadata(columns)
    csv = pd.read_csv(folder / "cells.csv")
    np.testing.assert_array_equal(csv["x_um"], cells["x_um"])  # every digit is kept


def test_label_values_are_cell_ids_as_painted(written: tuple[SlideResult, Path]) -> None:
    result, folder = written
    window = Window(0, 0, *result.image_shape)
    store = zarr.open_group(folder / "labels.ome.zarr", mode="r")
    for kind, runs in (("nuclei", result.nuclei), ("cells", result.cells)):
        labels = np.asarray(store[f"labels/{kind}/0"])
        assert labels.dtype == np.uint32
        np.testing.assert_array_equal(labels, paint(runs, result.table["cell_id"], window))
        np.testing.assert_array_equal(np.unique(labels)[1:], result.table["cell_id"])


def test_labels_store_is_valid_ome_zarr(written: tuple[SlideResult, Path]) -> None:
    result, folder = written
    store = zarr.open_group(folder / "labels.ome.zarr", mode="r")
    image = Image.from_zarr(store)
    assert "8-bit picture for display" in store.attrs["ifquant"]["display"]
    assert [axis.name for axis in image.ome_attributes.multiscales[0].axes] == ["c", "y", "x"]
    for kind in ("nuclei", "cells"):
        label = ImageLabel.from_zarr(store[f"labels/{kind}"])
        scale = label.ome_attributes.multiscales[0].datasets[0].coordinateTransformations[0].scale
        assert scale == [result.pixel_size_um, result.pixel_size_um]


def test_slide_json_says_what_the_results_are_made_of(written: tuple[SlideResult, Path]) -> None:
    result, folder = written
    record = json.loads((folder / "slide.json").read_text(encoding="utf-8"))
    assert record["digests"] == result.digests
    assert record["orphan_px"] == 0
    assert [gate["marker"] for gate in record["gates"]] == list(
        cell_columns.gated_markers(result.recipe)
    )
    assert set(record["summary"]) == {column.name for column in slide_columns(result.recipe)}
    assert record["summary"]["n_cells"] == len(result.table)
    assert record["margin"][0]["from_um"] == -100


def test_the_same_result_gives_the_same_bytes(
    written: tuple[SlideResult, Path], tmp_path: Path
) -> None:
    result, folder = written
    slide_outputs.write_slide(result, tmp_path / "again", overlay)
    for name in ("cells.parquet", "cells.csv", "overlay.png", "detail.png", "slide.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_slides_are_written_whole(case: str, tmp_path: Path) -> None:
    result = phantoms.written_result(tmp_path, phantoms.tissue_of(128, seed=2, **DEGENERATE[case]))
    row = slide_outputs.write_slide(result, tmp_path / case, overlay).summary
    cells = pd.read_parquet(tmp_path / case / "cells.parquet")
    pd.testing.assert_frame_equal(
        cells, result.table, check_categorical=len(cells) > 0, check_dtype=len(cells) > 0
    )
    assert [str(kind) for kind in cells.dtypes] == [
        column.dtype for column in cell_columns.cell_columns(result.recipe)
    ]
    assert is_whole(SlideRecord.read(tmp_path / case), result.recipe)
    assert row["n_cells"] == len(cells)
    assert row["n_tumor"] + row["n_myeloid"] + row["n_other"] == len(cells)
    if case != "no_tumor":
        assert row["median_nearest_tumor_um"] is None


def test_without_phenotypes_there_is_no_proximity(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {"channels": [{"name": name} for name in phantoms.NAMES], "phenotypes": {"any": "TGFB1+"}}
    )
    result = phantoms.written_result(tmp_path, phantoms.tissue_of(128, kinds=()), recipe)
    row = slide_outputs.write_slide(result, tmp_path / "plain", overlay).summary
    assert not [name for name in row if "nearest" in name]


def test_a_damaged_output_is_noticed(written: tuple[SlideResult, Path], tmp_path: Path) -> None:
    result, _ = written
    folder = tmp_path / "damaged"
    slide_outputs.write_slide(result, folder, overlay)
    shown = folder / "overlay.png"
    content = shown.read_bytes()
    shown.write_bytes(content[:-1] + b"x")
    assert not is_whole(SlideRecord.read(folder), result.recipe)
    shown.write_bytes(content)
    assert is_whole(SlideRecord.read(folder), result.recipe)
    next(
        path
        for path in (folder / "labels.ome.zarr" / "labels" / "cells" / "0" / "c").rglob("*")
        if path.is_file()
    ).unlink()
    assert not is_whole(SlideRecord.read(folder), result.recipe)


def test_an_unfinished_slide_has_no_slide_json(
    written: tuple[SlideResult, Path], tmp_path: Path
) -> None:
    result, _ = written
    folder = tmp_path / "cut"
    slide_outputs.write_slide(result, folder, overlay)
    broken = dataclasses.replace(result, slide=result.slide.with_paths("missing.tif"))
    with pytest.raises(OSError, match="missing"):
        slide_outputs.write_slide(broken, folder, overlay)
    assert not (folder / "slide.json").exists()


def test_a_table_that_is_not_the_contract_is_refused(
    written: tuple[SlideResult, Path], tmp_path: Path
) -> None:
    result, _ = written
    with pytest.raises(RequestError, match=r"table\.typed"):
        slide_outputs.write_slide(
            dataclasses.replace(result, table=result.table.drop(columns="x_um")), tmp_path, overlay
        )


def test_slides_csv_has_a_row_for_every_slide(written: tuple[SlideResult, Path]) -> None:
    result, folder = written
    sample = Sample("phantom", patient="=1+1", group="a", columns={"status": "-x", "batch": "-1.5"})
    rows = [
        SlideStatus("phantom", "in/phantom.tif", "done", sample=sample),
        SlideStatus("bad", "in/bad.tif", "failed", "@no pixel size"),
    ]
    write_slides_table(folder.parent, rows, result.recipe)
    read = pd.read_csv(folder.parent / "slides.csv")
    columns = [
        column.name
        for column in slide_columns(result.recipe, ["patient", "group", "status", "batch"])
    ]
    assert list(read.columns) == columns
    assert read["n_cells"].tolist()[0] == len(result.table)
    assert read["patient"].tolist()[0] == "'=1+1"
    assert read["sample_status"].tolist()[0] == "'-x"
    assert read["error"].tolist() == [pytest.approx(np.nan, nan_ok=True), "'@no pixel size"]
    assert read["status"].tolist() == ["done", "failed"]


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\u00a0=1"]
)
def test_texts_that_spreadsheets_would_run_are_quoted(text: str) -> None:
    safe = safe_for_spreadsheets(pd.DataFrame({text: [text], "n": [-1.5]}))
    assert safe.columns[0].startswith("'")
    assert safe.iloc[0, 0] == f"'{text}"
    assert safe["n"].tolist() == [-1.5]
