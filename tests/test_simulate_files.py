"""Simulated slides on disk are the slides in memory, however they were streamed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from ifquant.files.table_files import column_metadata
from ifquant.simulation import simulated_slides
from ifquant.simulation.simulated_slides import TRUTH_COLUMNS, simulate_slides, write_slide
from ifquant.simulation.simulated_window import CHANNELS, SimulationOptions, simulate_field
from ifquant.slides.slide import SlideRef

OPTIONS = SimulationOptions(size=(540, 610), seed=31)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated_slides, "RENDER_PX", 512)
        write_slide(out, "slide", OPTIONS, pyramid=False)
    return out


def test_the_files_hold_the_slide(folder: Path) -> None:
    field = simulate_field(OPTIONS)
    with SlideRef((str(folder / "slide.ome.tif"),)).open() as slide:
        assert slide.info.channels == CHANNELS
        assert slide.info.pixel_size_um == 0.5
        assert slide.info.max_value == 4095
    np.testing.assert_array_equal(tifffile.imread(folder / "slide.ome.tif"), field.image)
    table = pd.read_parquet(folder / "slide_truth.parquet")
    assert table["id"].tolist() == list(range(1, len(table) + 1))
    for kind, expected in (("nuclei", field.nuclei), ("cells", field.cells)):
        labels = tifffile.imread(folder / f"slide_{kind}.tif")
        assert labels.dtype == np.uint32
        kept = np.where(labels > 0, expected, 0)
        pairs = np.unique(np.stack([labels.ravel(), kept.ravel()]), axis=1)
        assert len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))  # one to one
        assert np.mean((labels > 0) == (expected > 0)) > 0.999
    np.testing.assert_array_equal(
        np.bincount(tifffile.imread(folder / "slide_cells.tif").ravel())[1:] * 0.25,
        table["area_um2"],
    )


def test_every_cell_has_its_nucleus(folder: Path) -> None:
    nuclei, cells = (tifffile.imread(folder / f"slide_{kind}.tif") for kind in ("nuclei", "cells"))
    np.testing.assert_array_equal(cells[nuclei > 0], nuclei[nuclei > 0])
    np.testing.assert_array_equal(np.unique(nuclei), np.unique(cells))


def test_the_table_says_what_it_holds(folder: Path) -> None:
    table = pd.read_parquet(folder / "slide_truth.parquet")
    assert set(table) == set(TRUTH_COLUMNS)
    assert column_metadata(folder / "slide_truth.parquet")["x_um"]["unit"] == "um"
    text = pd.read_csv(folder / "slide_truth.csv")
    np.testing.assert_allclose(text["x_um"], table["x_um"], atol=1e-5)


def test_several_slides_are_named_by_seed(tmp_path: Path) -> None:
    paths = list(simulate_slides(tmp_path, n=2, size=128, seed=5))
    assert [path.name for path in paths] == ["simulated_0005.ome.tif", "simulated_0006.ome.tif"]
    assert not [name for name in tmp_path.iterdir() if "part" in name.suffix]


def test_the_example_slides_are_made_anew() -> None:
    """tools/make_examples.py gives the kept slides: the same bytes on the machine that wrote them,
    within 2 counts on any other.
    """
    root = Path(__file__).parents[1]
    specification = importlib.util.spec_from_file_location(
        "make_examples", root / "tools" / "make_examples.py"
    )
    assert specification is not None
    assert specification.loader is not None
    make_examples = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(make_examples)
    for name, (_, _, options) in make_examples.SLIDES.items():
        kept = tifffile.imread(root / "example_images" / f"{name}.ome.tif").astype(int)
        found = simulate_field(options).image.astype(int)
        assert np.mean(np.abs(found - kept) <= 2) >= 0.999
