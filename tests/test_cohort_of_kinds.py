"""One cohort of slides that differ in everything a cohort may differ in, with many fields per
patient and two slides that fail.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from tissue import PANELS, Panel, recipe_for, simulated, write_slide

import ifquant
from ifquant.errors import RequestError
from ifquant.execution.executors import Execution
from ifquant.pipeline.slide_jobs import find_jobs

PANEL = PANELS["tgfb_il1b"]
ALIASED = Panel(
    {"DAPI": "Hoechst", "PanCK": "EpCAM", "CD11c": "CD11c", "TGFB1": "TGFB1", "IL1B": "IL1B"},
    order=(4, 2, 1, 0, 3),
)
ALIASES = {"DAPI": ("Hoechst", "DNA"), "PanCK": ("EpCAM", "CK")}
FIELD_PX = 150
SHEET = """slide,path,patient,group,pixel_size_um,visit
half,half.ome.tif,P1,treated,,=1st
quarter,quarter.ome.tif,P2,control,,2
stated,stated.tif,P2,control,0.5,3
"""


def recipe() -> Any:
    made = recipe_for(PANEL)
    return made.model_copy(
        update={
            "channels": tuple(
                c.model_copy(update={"aliases": ALIASES.get(c.name, ())}) for c in made.channels
            )
        }
    )


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return simulated(300, 320, seed=5).image


@pytest.fixture(scope="module")
def folder(image: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides of 0.5 and 0.25 um/px, of other names and order, without a pixel size, four fields of
    one patient, and two that fail.
    """
    root = tmp_path_factory.mktemp("cohort")
    write_slide(root / "half.ome.tif", image, PANEL, 0.5)
    write_slide(root / "quarter.ome.tif", image.repeat(2, axis=1).repeat(2, axis=2), ALIASED, 0.25)
    tifffile.imwrite(
        root / "stated.tif",
        image,
        imagej=True,
        metadata={"axes": "CYX", "Labels": list(PANEL.names.values())},
    )
    (root / "fields").mkdir()
    for i in range(4):
        y, x = divmod(i, 2)
        core = image[:, y * FIELD_PX : (y + 1) * FIELD_PX, x * FIELD_PX : (x + 1) * FIELD_PX]
        write_slide(
            root / "fields" / f"core_{i + 1}.ome.tif", np.ascontiguousarray(core), PANEL, 0.5
        )
    cores = "".join(f"core_{i},fields/core_{i}.ome.tif,P3,control,,core {i}\n" for i in range(1, 5))
    (root / "broken.ome.tif").write_bytes((root / "half.ome.tif").read_bytes()[:5000])
    write_slide(root / "other_panel.ome.tif", image, PANELS["renamed"], 0.5)
    bad = "broken,broken.ome.tif,P4,treated,,\nother_panel,other_panel.ome.tif,P4,treated,,\n"
    (root / "samples.csv").write_text(SHEET.replace("=1st", "1st") + cores + bad)
    return root


@pytest.fixture(scope="module")
def results(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("results")
    return out, ifquant.run(
        recipe(), [], out, samples=folder / "samples.csv", execution=Execution(quiet=True)
    )


def test_the_batch_ends_with_what_failed_and_why(
    results: tuple[Path, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out, result = results
    assert result.exit_code == 3
    table = pd.read_csv(out / "slides.csv").set_index("slide")
    assert list(table.index[table["status"] == "failed"]) == ["broken", "other_panel"]
    lines = result.summary_lines()
    assert lines[0].startswith("7 of 9 slides done")
    assert lines[3] == f"{result.n_warnings} warnings; the gravest of each slide:"
    assert lines[1].startswith("  failed: broken: ")
    assert "broken.ome.tif" in lines[1]
    assert lines[2].startswith("  failed: other_panel: ")
    assert "DAPI" in lines[2]
    for slide, line in zip(("broken", "other_panel"), lines[1:3], strict=True):
        assert table.loc[slide, "error"] in line
        assert table.loc[slide, "patient"] == "P4"
        assert not (out / slide / "slide.json").exists()
    report = (out / "report.html").read_text()
    assert "other_panel" in report


def test_pixel_sizes_orders_and_names_give_the_same_tissue(results: tuple[Path, Any]) -> None:
    table = pd.read_csv(results[0] / "slides.csv").set_index("slide")
    half, quarter, stated = (table.loc[name] for name in ("half", "quarter", "stated"))
    assert (half["pixel_size_um"], quarter["pixel_size_um"], stated["pixel_size_um"]) == (
        0.5,
        0.25,
        0.5,
    )
    assert (quarter["width_px"], half["width_px"]) == (640, 320)
    assert half["n_cells"] > 100
    assert stated["n_cells"] == half["n_cells"]
    assert quarter["n_cells"] == pytest.approx(half["n_cells"], rel=0.1)
    cells = ifquant.read_cells(
        results[0], ["nucleus_area_um2", "PanCK_cytoplasm_mean", "IL1B_cell_mean"]
    )
    by_slide = cells.groupby("slide", observed=True).median(numeric_only=True)
    for column in by_slide.columns:
        assert by_slide.loc["quarter", column] == pytest.approx(
            by_slide.loc["half", column], rel=0.1
        ), column


def test_one_table_over_all_slides(results: tuple[Path, Any]) -> None:
    out, _ = results
    cells = ifquant.read_cells(out)
    counts = pd.read_csv(out / "slides.csv").set_index("slide")["n_cells"].dropna().astype(int)
    assert list(counts.index) == [
        *("half", "quarter", "stated"),
        *(f"core_{i}" for i in range(1, 5)),
    ]
    assert cells["slide"].value_counts(sort=False)[list(counts.index)].to_list() == counts.to_list()
    assert list(cells.columns[:4]) == ["slide", "patient", "group", "visit"]
    assert cells.groupby("slide", observed=True)["patient"].agg(
        lambda p: "".join(sorted(set(p)))
    ).to_dict() == {
        "half": "P1",
        "quarter": "P2",
        "stated": "P2",
        **{f"core_{i}": "P3" for i in range(1, 5)},
    }
    for slide in ("half", "core_3"):
        own = pd.read_parquet(out / slide / "cells.parquet")
        rows = cells[cells["slide"] == slide].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            rows[list(own.columns)], own, check_exact=True, check_categorical=False
        )
    some = ifquant.read_cells(out, ["phenotype", "x_um"])
    assert list(some.columns) == ["slide", "patient", "group", "visit", "phenotype", "x_um"]
    assert some.memory_usage(deep=True).sum() < 40 * len(some)
    with pytest.raises(RequestError, match="has no column 'nothing'"):
        ifquant.read_cells(out, ["nothing"])
    with pytest.raises(RequestError, match="no finished slide"):
        ifquant.read_cells(out / "half")
    with pytest.raises(RequestError, match="is also in a folder before"):
        ifquant.read_cells([out, out], ["x_um"])


def test_fields_of_a_patient_are_slides_of_one_patient(results: tuple[Path, Any]) -> None:
    table = pd.read_csv(results[0] / "slides.csv")
    cores = table[table["patient"] == "P3"]
    assert list(cores["visit"]) == [f"core {i}" for i in range(1, 5)]
    assert (cores["status"] == "done").all()
    assert cores["tissue_area_mm2"].sum() <= 4 * (FIELD_PX * 0.5e-3) ** 2 * 1.0001


def test_a_changed_sheet_changes_what_is_said_not_what_is_measured(
    results: tuple[Path, Any], folder: Path, tmp_path: Path
) -> None:
    names = ["half", "core_1"]
    sheet = (
        "slide,path,patient,stage\nhalf,half.ome.tif,P9,II\ncore_1,fields/core_1.ome.tif,P8,III\n"
    )
    (folder / "other.csv").write_text(sheet)
    fresh = ifquant.run(
        recipe(),
        [],
        tmp_path / "fresh",
        samples=folder / "other.csv",
        execution=Execution(quiet=True),
    )
    first = (folder / "samples.csv").read_text().splitlines()
    (folder / "first.csv").write_text(
        "\n".join([first[0], *(line for line in first if line.split(",")[0] in names)]) + "\n"
    )
    for sheet_name, reused in (("first.csv", "nothing"), ("other.csv", "everything")):
        again = ifquant.run(
            recipe(),
            [],
            tmp_path / "again",
            samples=folder / sheet_name,
            execution=Execution(quiet=True),
        )
        assert [slide.reused for slide in again.slides] == [reused] * 2
    assert fresh.exit_code == again.exit_code == 0
    other_core = tmp_path / "core_2"
    assert (
        ifquant.run(
            recipe(),
            [folder / "fields" / "core_2.ome.tif"],
            other_core,
            execution=Execution(quiet=True),
        ).exit_code
        == 0
    )
    for name in ("half/slide.json", "core_1/slide.json", "slides.csv", "report.html"):
        assert (tmp_path / "fresh" / name).read_bytes() == (
            tmp_path / "again" / name
        ).read_bytes(), name
    assert set(ifquant.read_cells(tmp_path / "again", ["x_um"])["patient"]) == {"P8", "P9"}
    both = ifquant.read_cells([tmp_path / "again", other_core], ["x_um"])
    assert list(both["slide"].unique()) == ["half", "core_1", "core_2"]
    assert both.loc[both["slide"] == "core_2", "patient"].isna().all()
    (tmp_path / "again" / "run.json").unlink()  # as after an interrupted run
    assert list(ifquant.read_cells(tmp_path / "again", ["x_um"])["slide"].unique()) == names


def names_of(images: list[Path | str], samples: Path | None = None) -> list[str]:
    return [
        job.name
        for job in find_jobs(images, samples, pixel_size_um=None, z=None, allow_lossy=False)
    ]


def test_folders_globs_and_sheets_find_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = [f"core_{i}" for i in range(1, 5)]
    assert names_of([folder / "fields"]) == cores
    assert names_of([str(folder / "fields" / "*.tif")]) == cores
    assert names_of([str(folder / "**" / "core_[12].ome.tif")]) == cores[:2]
    assert names_of([folder]) == ["broken", "half", "other_panel", "quarter", "stated"]
    assert names_of([folder / "fields" / "core_2.ome.tif", folder / "fields"]) == [
        "core_2",
        "core_1",
        "core_3",
        "core_4",
    ]
    (folder / "cores.csv").write_text("slide,patient\n" + "".join(f"{name},P3\n" for name in cores))
    assert names_of([folder / "fields"], folder / "cores.csv") == cores
    for images, samples, message in (
        ([folder / "nowhere"], None, "no such file or folder"),
        ([str(folder / "*.lif")], None, "no image matches"),
        ([folder / "fields", folder / "half.ome.tif"], folder / "cores.csv", "has no row for"),
    ):
        with pytest.raises(RequestError, match=message):
            names_of(images, samples)
    monkeypatch.chdir(folder)
    assert names_of(["fields"]) == cores


def test_the_command_line_ends_with_the_summary(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from ifquant import cli

    (tmp_path / "recipe.toml").write_text(
        '[[channels]]\nname = "DAPI"\nrole = "nucleus"\n[segmentation]\nmethod = "classical"\n'
    )
    images = [str(folder / "broken.ome.tif"), str(folder / "fields" / "core_1.ome.tif")]
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "ifquant",
            "run",
            "-q",
            "-r",
            str(tmp_path / "recipe.toml"),
            "-o",
            str(tmp_path / "out"),
            *images,
        ],
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    last = capsys.readouterr().err.strip().splitlines()[-2:]
    assert last[0].startswith("1 of 2 slides done; see ")
    assert last[1].startswith("  failed: broken: ")
