"""Several slides at once: sheets, aliases, regions, gates shared or taken from controls, a full
disk.
"""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tissue import PANELS, Panel, recipe_for, simulated, write_slide

import ifquant
import ifquant.errors
from ifquant import cli
from ifquant.execution.executors import Execution
from ifquant.files import storage

PANEL = PANELS["tgfb_il1b"]
OTHER_NAMES = Panel(
    {"DAPI": "Hoechst", "PanCK": "EpCAM", "CD11c": "CD11c", "TGFB1": "TGFB1", "IL1B": "IL1B"},
    order=(4, 2, 1, 0, 3),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides, the second with other channel names and order, and a sheet."""
    root = tmp_path_factory.mktemp("cohort")
    image = simulated(360, 400, seed=21).image
    write_slide(root / "one.ome.tif", image, PANEL)
    write_slide(root / "two.ome.tif", np.ascontiguousarray(image[:, ::-1]), OTHER_NAMES)
    (root / "samples.csv").write_text(
        "slide;path;patient;group;note\none;one.ome.tif;P1;a;first\ntwo;two.ome.tif;P2;b;plain\n"
    )
    return root


def recipe(**more: Any) -> Any:
    made = recipe_for(PANEL, **more)
    aliases = {"DAPI": ("Hoechst",), "PanCK": ("EpCAM",)}
    return made.model_copy(
        update={
            "channels": tuple(
                c.model_copy(update={"aliases": aliases.get(c.name, ())}) for c in made.channels
            )
        }
    )


def run(folder: Path, out: Path, **more: Any) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    result = ifquant.run(
        recipe(**more), [], out, samples=folder / "samples.csv", execution=Execution(quiet=True)
    )
    assert result.exit_code == 0, result.summary_lines()
    records = {s.name: json.loads((out / s.name / "slide.json").read_text()) for s in result.slides}
    return pd.read_csv(out / "slides.csv").set_index("slide"), records


def value_of(record: dict[str, Any], marker: str) -> float | None:
    return next(gate["value"] for gate in record["gates"] if gate["marker"] == marker)


def test_names_orders_and_sample_columns(folder: Path, tmp_path: Path) -> None:
    slides, _ = run(folder, tmp_path)
    assert list(slides["patient"]) == ["P1", "P2"]
    assert list(slides["note"]) == ["first", "plain"]
    one, two = (pd.read_parquet(tmp_path / name / "cells.parquet") for name in ("one", "two"))
    assert list(one.columns) == list(two.columns)
    assert abs(len(one) - len(two)) <= 0.03 * len(one)  # the mirrored image
    assert (
        abs(one["PanCK_cytoplasm_mean"].median() / two["PanCK_cytoplasm_mean"].median() - 1) < 0.03
    )


def test_a_shared_gate_is_one_for_all_slides(folder: Path, tmp_path: Path) -> None:
    _, records = run(folder, tmp_path, gates={"markers": {"PanCK": {"shared": True}}})
    assert value_of(records["one"], "PanCK") == value_of(records["two"], "PanCK")
    gate = next(gate for gate in records["one"]["gates"] if gate["marker"] == "PanCK")
    assert gate["scope"] == "cohort"
    assert "One gate for all slides" in (tmp_path / "report.html").read_text()
    again = ifquant.run(
        recipe(gates={"markers": {"PanCK": {"shared": True}}}),
        [],
        tmp_path,
        samples=folder / "samples.csv",
        execution=Execution(quiet=True),
    )
    assert [slide.reused for slide in again.slides] == ["everything", "everything"]


def test_a_control_slide_gives_its_quantile(folder: Path, tmp_path: Path) -> None:
    gate = {"method": "control", "control_slide": "two", "control_quantile": 0.9}
    _, records = run(folder, tmp_path, gates={"markers": {"IL1B": gate}})
    control = pd.read_parquet(tmp_path / "two" / "cells.parquet")["IL1B_cytoplasm_mean"]
    assert value_of(records["one"], "IL1B") == pytest.approx(np.nanquantile(control, 0.9), rel=1e-6)


def test_a_control_slide_must_be_there(folder: Path, tmp_path: Path) -> None:
    gates = {"markers": {"IL1B": {"method": "control", "control_slide": "three"}}}
    with pytest.raises(ifquant.errors.RequestError, match="'three' is not among"):
        ifquant.run(
            recipe(gates=gates),
            [],
            tmp_path,
            samples=folder / "samples.csv",
            execution=Execution(quiet=True),
        )


def square(
    name: str, x0: float, y0: float, x1: float, y1: float, label: str = ""
) -> dict[str, Any]:
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    properties = {"objectType": "annotation", "classification": {"name": name}, "name": label}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }


def test_regions_decide_what_is_analysed(folder: Path, tmp_path: Path) -> None:
    write_slide(tmp_path / "one.ome.tif", simulated(360, 400, seed=21).image, PANEL)
    features = [
        square("include", 0, 0, 400, 250),
        square("exclude", 0, 0, 100, 250),
        square("tumor", 200, 50, 300, 200),
        square("control", 300, 100, 400, 250, "glass"),
    ]
    (tmp_path / "one.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    gates = {
        "min_cells": 10,
        "markers": {
            "IL1B": {"method": "control", "control_region": "glass", "control_quantile": 0.8}
        },
    }
    result = ifquant.run(
        recipe(gates=gates),
        [tmp_path / "one.ome.tif"],
        tmp_path / "out",
        execution=Execution(quiet=True),
    )
    assert result.exit_code == 0, result.summary_lines()
    cells = pd.read_parquet(tmp_path / "out" / "one" / "cells.parquet")
    row = pd.read_csv(tmp_path / "out" / "slides.csv").iloc[0]
    assert len(cells) > 50
    assert cells["x_px"].min() >= 100
    assert cells["y_px"].max() <= 250
    assert abs(row["tissue_area_mm2"] - 300 * 250 * 0.25e-6) < 0.1 * 300 * 250 * 0.25e-6
    assert row["tumor_region_area_mm2"] == pytest.approx(100 * 150 * 0.25e-6, rel=0.05)
    inside = cells["x_px"].between(205, 295) & cells["y_px"].between(55, 195)
    assert (cells.loc[inside, "tumor_region_distance_um"] < 0).all()
    control = cells[(cells["x_px"] > 300) & cells["y_px"].between(100, 250)]["IL1B_cytoplasm_mean"]
    assert row["gate_IL1B"] == pytest.approx(np.nanquantile(control, 0.8), rel=1e-6)


def test_a_full_disk_exits_4_and_keeps_what_was_whole(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = storage.before_mutation, [25]

    def full(operation: str, path: str) -> None:
        left[0] -= 1
        if left[0] < 0 and operation == "write":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(operation, path)

    (tmp_path / "recipe.toml").write_text(
        '[[channels]]\nname = "DAPI"\nrole = "nucleus"\n[segmentation]\nmethod = "classical"\n'
    )
    words = [
        "run",
        "-r",
        str(tmp_path / "recipe.toml"),
        str(folder / "one.ome.tif"),
        "-o",
        str(tmp_path / "out"),
        "-q",
    ]
    monkeypatch.setattr(sys, "argv", ["ifquant", *words])
    monkeypatch.setattr(storage, "before_mutation", full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 4
    assert not (tmp_path / "out" / "one" / "slide.json").exists()
    monkeypatch.setattr(storage, "before_mutation", real)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert (tmp_path / "out" / "one" / "slide.json").exists()
    assert not [path for path in (tmp_path / "out").rglob("*") if storage.is_part(path.name)]
