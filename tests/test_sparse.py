"""Slides that are mostly glass: what is skipped changes no result, whatever the tiling, and
skipping can be turned off.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.execution.executors import Execution
from ifquant.geometry.windows import Window, cores
from ifquant.nuclei.segmenter import make_segmenter
from ifquant.nuclei.unet import UNetSegmenter
from ifquant.pipeline import slide_measurement
from ifquant.pipeline.tile_plan import TilePlan
from ifquant.slides.slide import Slide

HEIGHT, WIDTH = 1300, 1500
ISLANDS = (Window(90, 130, 470, 480), Window(800, 1010, 1190, 1370))
DEBRIS = (400, 1000)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two islands of tissue on glass, and a nucleus-like speck far from both."""
    rng = np.random.default_rng(8)
    image = rng.normal(60, 3, (5, HEIGHT, WIDTH))
    for seed, island in enumerate(ISLANDS):
        image[(slice(None), *island.slices_in(Window(0, 0, HEIGHT, WIDTH)))] = simulated(
            *island.shape, seed=seed
        ).image
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image[0][(y - DEBRIS[0]) ** 2 + (x - DEBRIS[1]) ** 2 < 9**2] = 2000
    return write_slide(
        tmp_path_factory.mktemp("sparse") / "a.ome.tif",
        image.round().astype(np.uint16),
        PANELS["tgfb_il1b"],
    )


def run(
    slide: Path, out: Path, tile_size_px: int, method: str, **recipe: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    made = recipe_for(PANELS["tgfb_il1b"], segmentation={"method": method}, **recipe)
    result = ifquant.run(
        made, [slide], out, execution=Execution(quiet=True, tile_size_px=tile_size_px)
    )
    assert result.exit_code == 0, result.summary_lines()
    return pd.read_parquet(out / "a" / "cells.parquet"), json.loads(
        (out / "a" / "slide.json").read_text()
    )


@pytest.fixture
def small_lattice(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Lattice cores of 256 px, and a list of those the network was run on."""
    made: list[Window] = []
    real = UNetSegmenter.core_maps

    def noted(self: UNetSegmenter, read: Any, core: Window, image_shape: tuple[int, int]) -> Any:
        made.append(core)
        return real(self, read, core, image_shape)

    def smaller(*args: Any, **kwargs: Any) -> Any:
        segmenter = make_segmenter(*args, **kwargs)
        return (
            dataclasses.replace(segmenter, core_px=256)
            if isinstance(segmenter, UNetSegmenter)
            else segmenter
        )

    monkeypatch.setattr(UNetSegmenter, "core_maps", noted)
    monkeypatch.setattr(slide_measurement, "make_segmenter", smaller)
    return made


@pytest.mark.parametrize("method", ["classical", "unet"])
def test_skipping_glass_changes_nothing_for_any_tiling(
    method: str,
    slide: Path,
    small_lattice: list[Window],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, record = run(slide, tmp_path / "whole", 4096, method)
    assert len(whole) > 250
    assert 0.1 < record["calibration"]["tissue"]["fraction"] < 0.4
    looked_at = set(small_lattice)
    small_lattice.clear()
    for size in (300, 517) if method == "classical" else (517,):
        table, other = run(slide, tmp_path / str(size), size, method)
        pd.testing.assert_frame_equal(table, whole, check_exact=True)
        assert other["orphan_px"] == record["orphan_px"]
        assert other["files"] == record["files"]
    assert set(small_lattice) <= looked_at
    if method == "unet":
        assert 0 < len(looked_at) < len(cores((HEIGHT, WIDTH), 256))
    monkeypatch.setattr(TilePlan, "needs_maps", lambda *_: True)
    monkeypatch.setattr(
        type(slide_measurement.TissueMask.full((1, 1), 1)), "bounds", lambda _, window: window
    )
    table, other = run(slide, tmp_path / "nothing skipped", 600, method)
    pd.testing.assert_frame_equal(table, whole, check_exact=True)
    assert other["orphan_px"] == record["orphan_px"]


def test_glass_is_read_once(slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[Window] = []
    real = Slide.read

    def noted(self: Slide, channels: Any, window: Window) -> Any:
        if len(channels) == 5:
            windows.append(window)
        return real(self, channels, window)

    monkeypatch.setattr(Slide, "read", noted)
    monkeypatch.setattr(slide_measurement, "SCAN_BLOCK_PX", 256)
    run(slide, tmp_path, 300, "classical")
    corner = Window(1285, 0, HEIGHT, 200)
    assert sum(window.intersection(corner).size_px > 0 for window in windows) == 1


def test_the_mask_can_be_turned_off(slide: Path, tmp_path: Path) -> None:
    def near_the_speck(table: pd.DataFrame) -> int:
        return int((np.hypot(table["y_px"] - DEBRIS[0], table["x_px"] - DEBRIS[1]) < 20).sum())

    with_mask, _ = run(slide, tmp_path / "on", 600, "classical")
    without, record = run(slide, tmp_path / "off", 600, "classical", tissue={"enabled": False})
    assert (near_the_speck(with_mask), near_the_speck(without)) == (0, 1)
    assert record["calibration"]["tissue"]["fraction"] == 1
