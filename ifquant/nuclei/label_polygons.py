"""Cells drawn as polygons (QuPath's GeoJSON), painted as a label image window by window.

QuPath exports a cell as a feature with its outline in `geometry` and its nucleus in
`nucleusGeometry`; a plain detection has the first. A pixel belongs to a polygon when its center
lies inside. Each polygon is painted on its own box, at coordinates relative to that box, so that
windows agree to the pixel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import GEOSException
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from ifquant.errors import SlideError
from ifquant.geometry.windows import Window


@dataclass(frozen=True, eq=False)
class LabelPolygons:
    """Objects 1..n as polygons in px of the image, first pixel's corner at (0, 0).

    Attributes
    ----------
    geometries
        Polygon or multipolygon of each object.
    box : int64 (n, 4)
        Half-open pixel boxes ``y0, x0, y1, x1``.
    """

    geometries: tuple[BaseGeometry, ...]
    box: NDArray[np.int64]

    def paint(self, window: Window) -> NDArray[np.int32]:
        """Labels (Y, X) of a window; where polygons overlap the first one has the pixel."""
        labels = np.zeros(window.shape, np.int32)
        y0, x0, y1, x1 = self.box.T
        meets = (y0 < window.y1) & (y1 > window.y0) & (x0 < window.x1) & (x1 > window.x0)
        for k in np.flatnonzero(meets)[::-1]:
            box = Window(*self.box[k].tolist())
            common = box.intersection(window)
            inside = _inside(self.geometries[k], box)[common.slices_in(box)]
            labels[common.slices_in(window)][inside] = k + 1
        return labels


def read_polygons(
    text: str, kind: Literal["nuclei", "cells"], name: str = "GeoJSON"
) -> LabelPolygons:
    """Read nuclei or cells from GeoJSON, in its order; annotations, points and lines are left out.

    Parameters
    ----------
    text
        Content of the file: a FeatureCollection, a list of features or one feature.
    kind
        "nuclei": `nucleusGeometry` where a feature has one, else its outline. "cells": the outline
        of features that have a `nucleusGeometry` or are of object type "cell"; of all features when
        none is.
    name
        What errors call the file.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise SlideError(
            f"{name}: found no GeoJSON ({error}); export the objects again as FeatureCollection"
        ) from error
    features = content.get("features", [content]) if isinstance(content, dict) else content
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise SlideError(
            f"{name}: found no list of features; expected GeoJSON as QuPath exports it"
        )
    objects = [feature for feature in features if _object_type(feature) != "annotation"]
    if kind == "cells" and any(_is_cell(feature) for feature in objects):
        objects = [feature for feature in objects if _is_cell(feature)]
    drawn = (_polygon(feature, kind, name, i) for i, feature in enumerate(objects))
    polygons = [polygon for polygon in drawn if polygon is not None]
    if not polygons:
        raise SlideError(
            f"{name}: found no polygon of {kind} among {len(features)} features; expected"
            " detections or cells, not annotations"
        )
    return of_geometries(polygons)


def of_geometries(geometries: Sequence[BaseGeometry]) -> LabelPolygons:
    """Objects from polygons in px."""
    bounds = shapely.bounds(np.array(geometries, dtype=object)).reshape(-1, 4)[:, [1, 0, 3, 2]]
    box = np.concatenate([np.floor(bounds[:, :2]), np.ceil(bounds[:, 2:])], axis=1).astype(np.int64)
    return LabelPolygons(tuple(geometries), np.maximum(box, 0))


def _inside(geometry: BaseGeometry, box: Window) -> NDArray[np.bool_]:
    """Pixels of a box whose centers lie in the geometry, even-odd over all rings for holes."""
    from skimage.draw import polygon2mask

    inside = np.zeros(box.shape, np.bool_)
    for part in shapely.get_parts(geometry):
        for ring in (part.exterior, *part.interiors):
            points = shapely.get_coordinates(ring)[:, ::-1] - (box.y0 + 0.5, box.x0 + 0.5)
            inside ^= polygon2mask(box.shape, points)
    return inside


def _refuse_constant(word: str) -> float:
    """Refuse NaN and Infinity, which Python's JSON would take."""
    raise ValueError(f"{word} is no coordinate")


def _object_type(feature: Mapping[str, Any]) -> str:
    """Type of a QuPath object in lower case, e.g. "cell" of "PathCellObject"."""
    properties = feature.get("properties") or {}
    name = properties.get("objectType", properties.get("object_type", feature.get("id", "")))
    return str(name).lower().removeprefix("path").removesuffix("object")


def _is_cell(feature: Mapping[str, Any]) -> bool:
    """Whether a feature is a cell rather than a detection."""
    return bool(feature.get("nucleusGeometry")) or _object_type(feature) == "cell"


def _polygon(feature: Mapping[str, Any], kind: str, name: str, i: int) -> BaseGeometry | None:
    """Polygon of a feature, None when it has none."""
    drawn = feature.get("geometry")
    if kind == "nuclei":
        drawn = feature.get("nucleusGeometry") or drawn
    if not isinstance(drawn, Mapping) or drawn.get("type") not in ("Polygon", "MultiPolygon"):
        return None
    try:
        polygon = shape(drawn)
    except (GEOSException, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise SlideError(
            f"{name}: feature {i} has no valid polygon ({error}); export the objects again"
        ) from error
    return None if polygon.is_empty else polygon
