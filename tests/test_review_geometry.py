"""Outlines read where they are looked at are those of the label images, and what label images do
not hold is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reviewing import GeometryInMemory, copied, run_slide, subject_of

from ifquant.errors import SlideError
from ifquant.geometry.runs import CellRuns
from ifquant.geometry.windows import Window
from ifquant.proximity.tumor_region import tumor_region_of_cells
from ifquant.results.stored_geometry import StoredGeometry

SIZE = (300, 360)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_slide(tmp_path_factory.mktemp("stored"), size=SIZE)


def same(first: CellRuns, second: CellRuns) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("offsets", "y", "x0", "x1")
    )


def test_read_outlines_equal_those_of_the_whole_label_images(template: Path) -> None:
    subject = subject_of(template)
    stored = subject.outlines()
    nuclei, cells = stored.all()
    held = GeometryInMemory(subject.ids, nuclei, cells)
    for row in range(len(subject)):
        assert all(map(same, stored.of(row), held.of(row)))
        assert stored.anchor(row) == held.anchor(row)
        assert stored.centroid_px(row) == pytest.approx(held.centroid_px(row), abs=1e-9)
    for window in (
        Window(0, 0, *SIZE),
        Window(17, 40, 90, 41),
        Window(250, 300, 300, 360),
        Window(5, 5, 5, 9),
    ):
        for a, b in zip(stored.painted(window), held.painted(window), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def test_cells_that_reach_far_out_of_their_ellipse_are_read_whole(template: Path) -> None:
    subject = subject_of(template)
    short = subject.table.assign(axis_major_um=0.0)
    stored = StoredGeometry(template / "a", short, subject.pixel_size_um, SIZE)
    for row in range(0, len(subject), 7):
        assert all(map(same, stored.of(row), subject.outlines().of(row)))


def test_the_tumor_region_from_pixels_is_that_from_outlines(
    template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifquant.results import stored_geometry

    subject = subject_of(template)
    tumor = (subject.table["phenotype"] == "tumor").to_numpy(np.bool_)
    grid = {
        "image_shape": SIZE,
        "pixel_size_um": subject.pixel_size_um,
        "options": subject.recipe.proximity,
    }
    whole = tumor_region_of_cells(subject.outlines().all()[1].take(tumor), **grid)
    assert whole is not None
    for chunk in (1024, 100):
        monkeypatch.setattr(stored_geometry, "CHUNK_PX", chunk)
        region = tumor_region_of_cells(subject.outlines().area(tumor), **grid)
        assert region is not None
        np.testing.assert_array_equal(region.field_um, whole.field_um)


def test_labels_that_are_not_those_of_the_table_are_told(template: Path, tmp_path: Path) -> None:
    results = copied(template, tmp_path)
    subject = subject_of(results)
    other = subject.table.assign(area_um2=subject.table["area_um2"] + subject.pixel_size_um**2)
    stored = StoredGeometry(results / "a", other, subject.pixel_size_um, SIZE)
    with pytest.raises(SlideError, match=r"cell 4 is not what cells\.parquet says"):
        stored.of(3)
