"""The column and flag registries are complete, typed and documented."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ifquant.columns import cell_columns, column_info, flags, slide_columns
from ifquant.columns.cell_columns import CELL_PATTERNS
from ifquant.columns.column_info import COMPARTMENT_TEXT, STATISTIC_TEXT, ColumnInfo
from ifquant.columns.pair_columns import PAIR_COLUMNS
from ifquant.errors import RequestError
from ifquant.recipe.model import Recipe

DOCS = Path(__file__).parent.parent / "docs" / "columns.md"


def recipe_of(**more: object) -> Recipe:
    channels = [
        {"name": "DAPI", "role": "nucleus"},
        {"name": "PanCK", "role": "tumor"},
        {"name": "CD11c", "role": "myeloid"},
        {"name": "TGF b_cell_mean"},
        {"name": "blank", "role": "background"},
        {"name": "skip", "role": "ignore"},
    ]
    phenotypes = {"tumor": "PanCK+", "myeloid": "CD11c+ & PanCK-"}
    return Recipe.model_validate({"channels": channels, "phenotypes": phenotypes, **more})


def names(recipe: Recipe) -> list[str]:
    return [column.name for column in cell_columns.cell_columns(recipe)]


def test_contract_columns_in_canonical_order() -> None:
    found = names(recipe_of(proximity={"from": "myeloid", "to": "tumor", "radii_um": [10, 12.5]}))
    assert len(found) == len(set(found))
    assert found[:6] == ["cell_id", "flags", "anchor_y_px", "anchor_x_px", "x_um", "y_um"]
    assert (
        found.index("area_um2") < found.index("nucleus_area_um2") < found.index("DAPI_nucleus_mean")
    )
    assert (
        found.index("DAPI_saturated_fraction")
        < found.index("PanCK_nucleus_mean")
        < found.index("TGF b_cell_mean_soma_median")
    )
    assert "blank_cell_mean" in found
    assert "blank_positive" not in found
    assert not [name for name in found if name.startswith("skip")]
    assert found[-3:] == ["tissue_within_10um", "tissue_within_12.5um", "tumor_region_distance_um"]
    for name in (
        "nearest_tumor_um",
        "nearest_myeloid_border_um",
        "n_touching_tumor",
        "n_myeloid_within_12.5um",
        "phenotype",
        "growth_class",
    ):
        assert name in found


def test_optional_columns_follow_the_recipe() -> None:
    more = {
        "segmentation": {"method": "labels"},
        "measure": {"background": "calibration", "statistics": ["sum"]},
    }
    found = names(recipe_of(**more))
    assert found[1] == "source_label"
    assert found.index("PanCK_cell_sum") < found.index("PanCK_cell_corrected_sum")
    assert "PanCK_cell_mean" not in found


def test_a_marker_that_collides_is_refused() -> None:
    clash = Recipe.model_validate({"channels": [{"name": "A"}, {"name": "A"}]})
    with pytest.raises(RequestError, match="'A_nucleus_mean'"):
        cell_columns.cell_columns(clash)


def test_every_column_is_explained_in_full() -> None:
    more = {"measure": {"background": "calibration", "statistics": ["p95"]}}
    columns = {column.name: column for column in cell_columns.cell_columns(recipe_of(**more))}
    info = columns["TGF b_cell_mean_soma_corrected_p95"]
    assert info.unit == "file"
    assert "95th percentile of TGF b_cell_mean" in info.meaning
    for column in columns.values():
        assert "<" not in column.name + column.meaning
        assert column.meaning.endswith(".")


def test_empty_table_is_typed_and_wrong_columns_are_named() -> None:
    recipe = recipe_of()
    empty = cell_columns.typed({name: [] for name in names(recipe)}, recipe)
    assert list(empty.columns) == names(recipe)
    assert len(empty) == 0
    assert empty["cell_id"].dtype == np.uint32
    assert empty["PanCK_positive"].dtype == pd.BooleanDtype()
    assert list(empty["phenotype"].cat.categories) == ["tumor", "myeloid", "other"]
    with pytest.raises(RequestError, match="missing columns \\['x_um'\\]"):
        cell_columns.typed(empty.drop(columns="x_um"), recipe)


def test_slide_columns_keep_sample_columns_apart() -> None:
    found = [
        column.name
        for column in slide_columns.slide_columns(recipe_of(), ["slide", "patient", "status"])
    ]
    assert found[:6] == ["slide", "path", "status", "error", "patient", "sample_status"]
    assert "fraction_tumor_within_50um" in found
    assert "median_nearest_tumor_um" in found
    assert "gate_PanCK_origin" in found


def test_flags_round_trip_and_refuse_unknown_names() -> None:
    encoded = flags.encode_flags(
        3, {"saturated": [True, False, True], "reviewed": [False, False, True]}
    )
    assert encoded.tolist() == [2, 0, 2 + 1024]
    assert flags.count_flags(encoded)["saturated"] == 2
    assert flags.has_flag(encoded, "reviewed").tolist() == [False, False, True]
    assert (
        len({flag.bit for flag in flags.FLAGS})
        == len({flag.name for flag in flags.FLAGS})
        == len(flags.FLAGS)
    )
    with pytest.raises(RequestError, match="no flag is called 'blurred'"):
        flags.flag_value("blurred")


def documentation() -> str:
    """Text of docs/columns.md."""

    def rows(patterns: Iterable[ColumnInfo]) -> list[str]:
        head = ["| column | unit | type | meaning |", "|---|---|---|---|"]
        generic = {"Statistic": "Statistic", "where": "the compartment"}
        return head + [
            f"| `{p.name}` | {p.unit} | {p.dtype} | {p.filled(**generic).meaning} |"
            for p in patterns
        ]

    lines = [
        "# Columns",
        "",
        (
            "Generated from `cell_columns.py`, `slide_columns.py` and `flags.py` of"
            " `ifquant/columns/`; do not edit."
        ),
        "",
    ]
    lines += [
        (
            "`file` = the unit of the image file's values. Names use markers and phenotypes exactly"
            " as the recipe writes them."
        ),
        "",
    ]
    lines += ["## cells.parquet, cells.csv", "", *rows(CELL_PATTERNS), ""]
    lines += [
        "Compartments:",
        "",
        *(f"- `{name}`: {COMPARTMENT_TEXT[name]}" for name in column_info.COMPARTMENTS),
        "",
    ]
    lines += [
        "Statistics:",
        "",
        *(f"- `{name}`: {STATISTIC_TEXT[name].lower()}" for name in column_info.STATISTICS),
        "",
    ]
    lines += ["## Flags", "", "| value | flag | meaning |", "|---|---|---|"]
    lines += [f"| {flag.value} | `{flag.name}` | {flag.meaning} |" for flag in flags.FLAGS]
    lines += [
        "",
        "## pairs.parquet",
        "",
        "Written where the recipe has `[priming]`; one row per contact.",
        "",
        *rows(PAIR_COLUMNS),
    ]
    lines += ["", "## slides.csv", "", *rows(slide_columns.SLIDE_PATTERNS), ""]
    return "\n".join(lines)


def test_the_docs_page_is_current() -> None:
    if os.environ.get("IFQUANT_UPDATE"):
        DOCS.write_text(documentation(), encoding="utf-8")
    assert DOCS.read_text(encoding="utf-8") == documentation(), (
        "run the tests with IFQUANT_UPDATE=1"
    )
