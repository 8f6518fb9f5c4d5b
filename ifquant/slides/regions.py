"""Regions drawn by the user: GeoJSON polygons as QuPath exports them, in px of the whole image."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry

from ifquant.errors import SlideError

Kind = Literal["include", "exclude", "tumor", "control"]
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("include", "region", "roi"), "include"),
    **dict.fromkeys(("exclude", "ignore", "artifact", "artefact"), "exclude"),
    **dict.fromkeys(("tumor", "tumour"), "tumor"),
    "control": "control",
}
"""Class names understood, without case and QuPath's trailing asterisk."""
_MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Regions:
    """Polygons by kind, each one geometry (None: not drawn); `notes` says what was left out.

    Coordinates are pixels with the origin at the image's top-left corner, so pixel centers are at
    +0.5. A point on an outline is outside.
    """

    include: BaseGeometry | None = None
    exclude: BaseGeometry | None = None
    tumor: BaseGeometry | None = None
    control: Mapping[str, BaseGeometry] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def geometry(self, kind: Kind, name: str | None = None) -> BaseGeometry | None:
        """Return the area of a kind; for `control` of the region with that name, or of all.

        Raises
        ------
        SlideError
            If there is no control region of that name.
        """
        if kind != "control":
            found: BaseGeometry | None = getattr(self, kind)
            return found
        if name is not None:
            if name not in self.control:
                raise SlideError(
                    f"there is no control region {name!r}; drawn are"
                    f" {', '.join(map(repr, self.control)) or 'none'}"
                )
            return self.control[name]
        return shapely.union_all(list(self.control.values())) if self.control else None

    def contains(
        self, kind: Kind, y_px: ArrayLike, x_px: ArrayLike, name: str | None = None
    ) -> NDArray[np.bool_]:
        """Whether points (px, pixel centers at +0.5) lie inside; False if the kind is not drawn."""
        y, x = np.broadcast_arrays(np.asarray(y_px, float), np.asarray(x_px, float))
        area = self.geometry(kind, name)
        if area is None:
            return np.zeros(y.shape, np.bool_)
        shapely.prepare(area)
        return np.asarray(shapely.contains_xy(area, x, y), np.bool_)

    def mask(
        self, kind: Kind, image_shape: tuple[int, int], step_px: int, name: str | None = None
    ) -> NDArray[np.bool_]:
        """Draw a kind on a coarse grid.

        Parameters
        ----------
        image_shape : (Y, X) in px. step_px : grid cells of this many px, the first at the image's
        corner; the last may reach beyond the image.

        Returns
        -------
        bool (ceil(Y / step), ceil(X / step)): whether the center of the cell's part inside the
        image is in the region.
        """
        centers = [_centers(length, step_px) for length in image_shape]
        out = np.zeros((len(centers[0]), len(centers[1])), np.bool_)
        area = self.geometry(kind, name)
        if area is None or area.is_empty:
            return out
        x0, y0, x1, y1 = area.bounds
        rows = slice(*np.searchsorted(centers[0], [y0, y1]).tolist())
        columns = slice(*np.searchsorted(centers[1], [x0, x1]).tolist())
        out[rows, columns] = self.contains(
            kind, centers[0][rows, None], centers[1][None, columns], name
        )
        return out

    def analysed(self, image_shape: tuple[int, int], step_px: int) -> NDArray[np.bool_] | None:
        """Include (all, if not drawn) less exclude, on the grid of `mask`; None: everything."""
        if self.include is None and self.exclude is None:
            return None
        mask = ~self.mask("exclude", image_shape, step_px)
        if self.include is not None:
            mask &= self.mask("include", image_shape, step_px)
        return mask

    def shifted(self, dy_px: float, dx_px: float) -> Regions:
        """Move the regions into another coordinate system (e.g. of a crop)."""

        def moved(area: BaseGeometry | None) -> BaseGeometry | None:
            return None if area is None else translate(area, dx_px, dy_px)

        control = {name: translate(area, dx_px, dy_px) for name, area in self.control.items()}
        return Regions(
            moved(self.include), moved(self.exclude), moved(self.tumor), control, self.notes
        )


def read_regions(path: str | os.PathLike[str]) -> Regions:
    """Read a GeoJSON file (FeatureCollection, list of features or one feature).

    A polygon's kind is its QuPath classification, else its name: include, exclude (QuPath:
    Ignore*), tumor, control. A control region is called by its name. Other classes, points and
    lines are left out and noted.

    Raises
    ------
    SlideError
        If the file is no GeoJSON, a polygon is broken or has no class, or a class looks misspelled.
    """
    file = Path(path)
    content = _content(file)
    areas: dict[Kind, list[BaseGeometry]] = {"include": [], "exclude": [], "tumor": []}
    control: dict[str, list[BaseGeometry]] = {}
    left_out: dict[str, int] = {}
    for number, feature in enumerate(_features(content, file), 1):
        where = f"{file}: feature {number}"
        kind, label, name = _kind(feature, where)
        geometry = _polygons(feature.get("geometry"), where)
        if kind is None or geometry is None:
            what = label if geometry is not None else f"{label} (no polygon)"
            left_out[what] = left_out.get(what, 0) + 1
        elif kind == "control":
            control.setdefault(name, []).append(geometry)
        else:
            areas[kind].append(geometry)
    notes = tuple(
        f"{count} region(s) of class {name} are not used" for name, count in left_out.items()
    )
    return Regions(
        include=_union(areas["include"]),
        exclude=_union(areas["exclude"]),
        tumor=_union(areas["tumor"]),
        control={name: shapely.union_all(parts) for name, parts in control.items()},
        notes=notes,
    )


def _content(file: Path) -> Any:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise SlideError(
                f"{file}: {file.stat().st_size >> 20} MiB of regions; export annotations only, not"
                " cells"
            )
        return json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise SlideError(
            f"{file}: the regions cannot be read ({error.strerror}); check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SlideError(
            f"{file}: it is not GeoJSON ({error}); export the annotations again"
        ) from error


def _features(content: Any, file: Path) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    elif isinstance(content, dict) and content.get("type") == "Feature":
        content = [content]
    if not isinstance(content, list) or not all(
        isinstance(one, dict) and one.get("type") == "Feature" for one in content
    ):
        raise SlideError(
            f"{file}: it is JSON but not GeoJSON features; in QuPath use File > Export objects as"
            " GeoJSON"
        )
    yield from content


def _kind(feature: Mapping[str, Any], where: str) -> tuple[Kind | None, str, str]:
    """Kind, label for messages, and name of a feature."""
    properties = feature.get("properties") or {}
    classification = properties.get("classification")
    label = classification.get("name") if isinstance(classification, dict) else classification
    given = str(properties.get("name") or "").strip()
    label = str(label or given).strip()
    if not label:
        if properties.get("objectType", "annotation") != "annotation":
            return None, str(properties["objectType"]), ""
        raise SlideError(
            f"{where} has neither a class nor a name; call it include, exclude, tumor or control"
        )
    base, _, rest = label.partition(":")
    plain = base.strip().strip("*").casefold()
    if plain not in _KINDS:
        close = difflib.get_close_matches(plain, _KINDS, n=1, cutoff=0.8)
        if close:
            raise SlideError(f"{where} has the class {label!r}; did you mean {close[0]!r}?")
        return None, repr(label), ""
    kind = _KINDS[plain]
    name = rest.strip() or (given if given.casefold() != base.strip().casefold() else "") or kind
    return kind, repr(label), name


def _polygons(geometry: Any, where: str) -> BaseGeometry | None:
    """Polygons of a GeoJSON geometry, repaired where outlines cross themselves; None: no such."""
    if not isinstance(geometry, dict):
        return None
    try:
        area = shape(geometry)
        if not all(map(math.isfinite, area.bounds)) and not area.is_empty:
            raise ValueError("coordinates are not finite")
        if not area.is_valid:
            area = shapely.make_valid(area)
    except Exception as error:  # shapely raises many types on malformed coordinates
        raise SlideError(f"{where} has a broken outline ({error}); draw it again") from error
    parts = [
        part
        for part in getattr(area, "geoms", [area])
        if part.geom_type in ("Polygon", "MultiPolygon") and not part.is_empty
    ]
    return _union(parts)


def _union(parts: list[BaseGeometry]) -> BaseGeometry | None:
    if not parts:
        return None
    area: BaseGeometry = shapely.union_all(parts)
    return (
        area
        if area.geom_type != "GeometryCollection"
        else MultiPolygon([part for part in area.geoms if part.geom_type == "Polygon"])
    )


def _centers(length: int, step_px: int) -> NDArray[np.float64]:
    starts = np.arange(0, length, step_px)
    return (starts + np.minimum(starts + step_px, length)) / 2
