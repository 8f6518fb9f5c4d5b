"""Regions: QuPath's GeoJSON, masks on coarse grids, points, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from ifquant.errors import SlideError
from ifquant.slides.regions import Regions, read_regions


def box(x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]]}


def feature(
    geometry: Any, name: str | None = None, label: str | None = None, **properties: Any
) -> dict[str, Any]:
    if label is not None:
        properties["classification"] = {"name": label, "color": [200, 0, 0]}
    if name is not None:
        properties["name"] = name
    return {
        "type": "Feature",
        "id": "1",
        "geometry": geometry,
        "properties": {"objectType": "annotation", **properties},
    }


def read(folder: Path, *features: dict[str, Any], kind: str = "FeatureCollection") -> Regions:
    path = folder / "a.geojson"
    path.write_text(
        json.dumps(
            {"type": kind, "features": list(features)}
            if kind == "FeatureCollection"
            else list(features)
        )
    )
    return read_regions(path)


def test_qupath_export(tmp_path: Path) -> None:
    regions = read(
        tmp_path,
        feature(box(0, 0, 100, 100), label="Include"),
        feature(box(10, 10, 20, 20), label="Ignore*"),
        feature(box(40, 40, 60, 60), label="Tumor"),
        feature(box(60, 40, 70, 60), name="tumour"),
        feature(box(80, 80, 90, 90), label="Control", name="no stain"),
        feature(box(0, 80, 10, 90), label="control: isotype"),
        feature(box(0, 0, 5, 5), label="Stroma"),
        feature({"type": "Point", "coordinates": [1, 2]}, label="Tumor"),
        {**feature(box(0, 0, 1, 1)), "properties": {"objectType": "detection"}},
    )
    assert regions.include is not None
    assert regions.exclude is not None
    assert regions.tumor is not None
    assert (regions.include.area, regions.exclude.area, regions.tumor.area) == (10_000, 100, 600)
    assert set(regions.control) == {"no stain", "isotype"}
    assert len(regions.notes) == 3
    assert pickle.loads(pickle.dumps(regions)).tumor.equals(regions.tumor)
    np.testing.assert_array_equal(
        regions.contains("tumor", [50.5, 50.5, 5.0], [50.5, 69.5, 5.0]), [True, True, False]
    )
    np.testing.assert_array_equal(
        regions.contains("control", [85.0, 85.0], [85.0, 5.0], name="isotype"), [False, True]
    )
    assert regions.contains("control", 85.0, 85.0)
    with pytest.raises(SlideError, match="no control region 'x'; drawn are 'no stain', 'isotype'"):
        regions.contains("control", 1, 1, name="x")
    assert read(tmp_path, feature(box(0, 0, 9, 9), label="tumor"), kind="list").tumor is not None


def test_masks(tmp_path: Path) -> None:
    regions = read(
        tmp_path,
        feature(box(0, 0, 60, 40), label="include"),
        feature(box(20, 0, 30, 40), label="exclude"),
    )
    mask = regions.analysed((45, 95), 10)
    assert mask is not None
    want = np.zeros((5, 10), bool)
    want[:4, :6] = True
    want[:4, 2] = False
    np.testing.assert_array_equal(mask, want)
    assert not regions.mask("tumor", (45, 95), 10).any()
    moved = regions.shifted(-10, -20).analysed((35, 75), 10)
    np.testing.assert_array_equal(moved, want[1:, 2:])
    assert Regions().analysed((45, 95), 10) is None
    only_exclude = read(tmp_path, feature(box(0, 0, 10, 10), label="exclude")).analysed(
        (20, 20), 10
    )
    np.testing.assert_array_equal(only_exclude, [[False, True], [True, True]])


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.integers(-50, 150), st.integers(-50, 150)), min_size=3, max_size=8
    ),
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    step=st.integers(1, 40),
)
def test_mask_agrees_with_points(
    points: list[tuple[int, int]], height: int, width: int, step: int
) -> None:
    regions = Regions(tumor=shapely.convex_hull(shapely.MultiPoint(points)))
    mask = regions.mask("tumor", (height, width), step)
    y = [(y0 + min(y0 + step, height)) / 2 for y0 in range(0, height, step)]
    x = [(x0 + min(x0 + step, width)) / 2 for x0 in range(0, width, step)]
    np.testing.assert_array_equal(
        mask, regions.contains("tumor", np.array(y)[:, None], np.array(x)[None])
    )


def test_outlines_that_cross_themselves_are_repaired(tmp_path: Path) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
    regions = read(tmp_path, feature(bow, label="tumor"))
    assert regions.tumor is not None
    assert regions.tumor.area == pytest.approx(50)
    holes = box(0, 0, 30, 30)
    holes["coordinates"].append(box(10, 10, 20, 20)["coordinates"][0])
    assert not read(tmp_path, feature(holes, label="tumor")).contains("tumor", 15, 15)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "not GeoJSON"),
        ("{", "not GeoJSON"),
        ("[" * 100_000, "not GeoJSON"),
        ("3", "not GeoJSON features"),
        ('{"type": "FeatureCollection"}', "not GeoJSON features"),
        ('[{"type": "Polygon"}]', "not GeoJSON features"),
        (json.dumps([feature(box(0, 0, 1, 1))]), "neither a class nor a name"),
        (json.dumps([feature(box(0, 0, 1, 1), label="exlude")]), "did you mean 'exclude'"),
        (
            json.dumps(
                [feature({"type": "Polygon", "coordinates": [[[0, 0], [1, "a"]]]}, label="tumor")]
            ),
            "broken outline",
        ),
        (
            json.dumps(
                [feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, label="tumor")]
            ),
            "broken outline",
        ),
    ],
)
def test_refusals(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(content)
    with pytest.raises(SlideError, match=text) as caught:
        read_regions(path)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(SlideError, match="cannot be read"):
        read_regions(tmp_path / "none.geojson")
