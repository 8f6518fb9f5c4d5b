"""Review of a slide whose tumor region was drawn (GeoJSON): the drawing holds, whatever cells
become.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from reviewing import Clock, run_slide, subject_of
from test_regions import box, feature

from ifquant.commands.review_apply import ReviewResult, apply_reviews
from ifquant.commands.review_log import ReviewLog
from ifquant.review.review_session import ReviewSession

DRAWN = box(40, 60, 300, 260)
HOLE = box(320, 20, 400, 120)


def drawn_slide(folder: Path) -> Path:
    features = [feature(DRAWN, label="Tumor"), feature(HOLE, label="Ignore*")]
    (folder / "a.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    return run_slide(folder, size=(360, 420))


def tumor_cells_left_out(results: Path) -> tuple[ReviewResult, list[int]]:
    """A review that leaves half of the tumor cells out."""
    with ReviewLog(results / "a", "anna") as log:
        session = ReviewSession(subject_of(results), "anna", save=log.append, clock=Clock())
        cells = session.subject.table
        chosen = cells.loc[cells["phenotype"] == "tumor", "cell_id"].iloc[::2].tolist()
        for cell in chosen:
            session.exclude(cell, "artefact")
    result = apply_reviews(results)
    assert result.exit_code == 0, result.summary_lines()
    return result, chosen


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return drawn_slide(tmp_path)


def test_the_drawn_region_stays_while_cells_go(results: Path) -> None:
    before = pd.read_parquet(results / "a" / "cells.parquet").set_index("cell_id")
    inside = before["x_px"].between(40, 300) & before["y_px"].between(60, 260)
    depth = before["tumor_region_distance_um"]
    clear = depth.abs() > 3.0  # the drawing is kept on a grid of 2 um
    assert clear.sum() > 20
    assert ((depth < 0) == inside)[clear].all()
    result, gone = tumor_cells_left_out(results)
    slide = result.slides[0]
    after = pd.read_parquet(results / "a" / "reviewed" / "cells.parquet").set_index("cell_id")
    assert list(after.index) == [i for i in before.index if i not in gone]
    pd.testing.assert_series_equal(
        after["tumor_region_distance_um"], depth[after.index], check_exact=True
    )
    assert (
        slide.before["tumor_region_area_mm2"]
        == slide.after["tumor_region_area_mm2"]
        == pytest.approx(260 * 200 * 0.25e-6, rel=0.01)
    )
    assert slide.after["n_tumor"] == slide.before["n_tumor"] - len(gone)
    record = json.loads((results / "a" / "reviewed" / "slide.json").read_text())
    assert record["tumor_region"] == {"origin": "regions"}
    held_out = after["x_px"].between(320, 400) & after["y_px"].between(20, 120)
    assert not held_out.any()


def test_without_a_drawing_the_region_follows_the_cells(tmp_path: Path) -> None:
    """The control: what follows from tumor cells changes with them."""
    results = run_slide(tmp_path, size=(360, 420))
    slide = tumor_cells_left_out(results)[0].slides[0]
    assert slide.after["tumor_region_area_mm2"] != slide.before["tumor_region_area_mm2"]


def test_a_drawing_that_is_gone_is_named(results: Path) -> None:
    with ReviewLog(results / "a", "anna") as log:
        ReviewSession(subject_of(results), "anna", save=log.append, clock=Clock()).note("seen")
    (results.parent / "a.geojson").unlink()
    result = apply_reviews(results)
    assert result.exit_code == 3
    assert "a.geojson" in result.failed["a"]
    assert not (results / "a" / "reviewed" / "slide.json").exists()
