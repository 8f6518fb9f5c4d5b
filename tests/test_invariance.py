"""Small version of `benchmarks/same_bytes.py tilings` (serial, processes, Dask); and a crop with
the slide's calibration has the slide's cells.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask_cluster import cluster
from outputs_compared import same_outputs
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.calibration.calibrate import Calibration
from ifquant.execution.executors import Execution, SerialExecutor
from ifquant.geometry.windows import Window
from ifquant.nuclei.unet import HALO_PX
from ifquant.pipeline import slide_measurement
from ifquant.pipeline.slide_jobs import find_jobs
from ifquant.pipeline.slide_measurement import Workers
from ifquant.pipeline.slide_preparation import prepare

LATTICE_PX = 160
PLACE = ("x_px", "y_px", "x_um", "y_um", "anchor_x_px", "anchor_y_px")


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(
        tmp_path_factory.mktemp("slides") / "a.ome.tif",
        simulated(720, 800).image,
        PANELS["tgfb_il1b"],
    )


def test_unet_alone_in_processes_and_on_dask(slide: Path, tmp_path: Path) -> None:
    recipe = recipe_for(PANELS["tgfb_il1b"], segmentation={"method": "unet"})
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster", workers=2) as dask:
        ways = {
            "alone": Execution(tile_size_px=1000, quiet=True),
            "processes": Execution(tile_size_px=300, workers=2, quiet=True),
            "dask": Execution(tile_size_px=512, scheduler=dask.address, quiet=True),
        }
        for name, execution in ways.items():
            assert ifquant.run(recipe, [slide], tmp_path / name, execution=execution).exit_code == 0
    same_outputs(tmp_path / "processes", tmp_path / "alone")
    same_outputs(tmp_path / "dask", tmp_path / "alone")


@pytest.mark.parametrize("method", ["classical", "unet"])
def test_a_crop_on_the_lattice_has_the_slides_cells(
    method: str, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the slide's calibration; away from the crop's border, where pixels beyond it are
    missed.
    """
    if method == "unet":  # a lattice that fits into a small slide
        make = slide_measurement.make_segmenter
        monkeypatch.setattr(
            slide_measurement,
            "make_segmenter",
            lambda *a, **k: replace(make(*a, **k), core_px=LATTICE_PX),
        )
    y0, x0 = LATTICE_PX, 0
    crop = Window(y0, x0, 720, 800)
    whole, _, calibration = measured(method, slide, tmp_path / "whole", None, None)
    step = calibration.tissue.step_px
    assert y0 % step == 0
    tissue = replace(
        calibration.tissue,
        mask=calibration.tissue.mask[y0 // step :, x0 // step :],
        image_shape=crop.shape,
    )
    cut, halo_px, _ = measured(
        method, slide, tmp_path / "cut", crop, replace(calibration, tissue=tissue)
    )
    margin = halo_px + (HALO_PX if method == "unet" else 0)
    inside = (whole["anchor_y_px"] >= y0 + margin) & (whole["anchor_x_px"] >= x0)
    here = cut["anchor_y_px"] >= margin
    assert inside.sum() > 50
    assert inside.sum() == here.sum()
    for name in whole:
        if name in PLACE:
            shift = (y0 if "y" in name.split("_") else x0) * (0.5 if name.endswith("um") else 1)
            np.testing.assert_allclose(
                cut[name][here] + shift, whole[name][inside], rtol=0, atol=1e-9, err_msg=name
            )
        else:
            np.testing.assert_array_equal(cut[name][here], whole[name][inside], err_msg=name)
    other = replace(
        calibration,
        channels=tuple(replace(c, threshold=0.7 * c.threshold) for c in calibration.channels),
        tissue=tissue,
    )
    control, _, _ = measured(
        method, slide, tmp_path / "control", crop, other
    )  # the calibration does matter
    there = control["anchor_y_px"] >= margin
    assert there.sum() != here.sum() or not np.array_equal(
        control["area_um2"][there], cut["area_um2"][here]
    )


def measured(
    method: str, slide: Path, out: Path, crop: Window | None, calibration: Calibration | None
) -> tuple[Any, int, Calibration]:
    """Measured cells (columns), halo and calibration of a slide, or of a crop that is given a
    calibration.
    """
    job = find_jobs([slide], None, pixel_size_um=None, z=None, allow_lossy=False)[0]
    execution = Execution(tile_size_px=400, crop=crop, quiet=True)
    recipe = recipe_for(PANELS["tgfb_il1b"], segmentation={"method": method})
    prepared = replace(prepare(job, recipe, out, execution), work=out / "work")
    workers = Workers(SerialExecutor(), execution, lambda *_: None)
    found = slide_measurement.measure_slide(prepared, workers, calibration)
    shared = slide_measurement.tile_plan(prepared, found.calibration)
    return found.cells.table, shared.halo_px, found.calibration
