"""QuPath's polygons as labels."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import shapely
from shapely.geometry import Point, Polygon, mapping

from ifquant.errors import SlideError
from ifquant.geometry.windows import Window
from ifquant.nuclei.label_polygons import of_geometries, read_polygons


def feature(cell: Any, nucleus: Any = None, kind: str = "cell") -> dict[str, Any]:
    one = {
        "type": "Feature",
        "id": "PathCellObject",
        "geometry": mapping(cell),
        "properties": {"objectType": kind},
    }
    return one | ({"nucleusGeometry": mapping(nucleus)} if nucleus is not None else {})


def test_pixels_whose_centers_lie_inside() -> None:
    rng = np.random.default_rng(0)
    blobs = [Point(*rng.uniform(5, 75, 2)).buffer(rng.uniform(2, 9)) for _ in range(12)]
    ring = Polygon(
        [(60.2, 60.3), (78.1, 60.3), (78.1, 77.9), (60.2, 77.9)],
        [[(65.1, 65.1), (70.3, 65.1), (70.3, 71.7), (65.1, 71.7)]],
    )
    labels = of_geometries([*blobs, ring]).paint(Window(0, 0, 80, 80))
    yy, xx = np.mgrid[:80, :80] + 0.5
    expected = np.zeros((80, 80), int)
    for k, polygon in reversed(list(enumerate([*blobs, ring], start=1))):
        expected[shapely.contains_xy(polygon, xx, yy)] = k
    np.testing.assert_array_equal(labels, expected)


def test_windows_agree() -> None:
    rng = np.random.default_rng(1)
    polygons = of_geometries(
        [Point(*rng.uniform(0, 200, 2)).buffer(rng.uniform(2, 12)) for _ in range(60)]
    )
    whole = polygons.paint(Window(0, 0, 200, 200))
    for _ in range(30):
        y, x = np.sort(rng.integers(0, 201, (2, 2)), axis=1)
        window = Window(int(y[0]), int(x[0]), int(y[1]), int(x[1]))
        np.testing.assert_array_equal(
            polygons.paint(window), whole[window.y0 : window.y1, window.x0 : window.x1]
        )


def test_cells_and_their_nuclei() -> None:
    cell, nucleus = Point(20, 30).buffer(9), Point(20, 30).buffer(4)
    text = json.dumps(
        {
            "type": "FeatureCollection",
            "features": [
                feature(cell, nucleus),
                feature(Point(5, 5).buffer(50), kind="annotation"),
                feature(Point(2, 2), kind="detection"),
            ],
        }
    )
    whole = Window(0, 0, 40, 40)
    cells, nuclei = (
        read_polygons(text, "cells").paint(whole),
        read_polygons(text, "nuclei").paint(whole),
    )
    assert cells.max() == nuclei.max() == 1
    assert abs(int((cells > 0).sum()) - cell.area) < 8
    assert abs(int((nuclei > 0).sum()) - nucleus.area) < 5
    assert cells[30, 20] == 1


def test_plain_detections_serve_as_either() -> None:
    text = json.dumps(
        [
            feature(Point(10, 10).buffer(3), kind="detection"),
            feature(Point(30, 10).buffer(3), kind="detection"),
        ]
    )
    for kind in ("nuclei", "cells"):
        assert read_polygons(text, kind).paint(Window(0, 0, 20, 40)).max() == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no GeoJSON"),
        ("3", "list of features"),
        ('{"type": "FeatureCollection", "features": []}', "no polygon of nuclei"),
        ('[{"geometry": {"type": "Polygon", "coordinates": "x"}}]', "no valid polygon"),
        (
            (
                '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [NaN, 1], [0,'
                " 0]]]}}]"
            ),
            "NaN is no coordinate",
        ),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(SlideError, match=message):
        read_polygons(text, "nuclei", "x.geojson")
