"""What the columns of other programs' tables mean.

Names are compared without case, blanks and signs: R writes ``Object.Id``.
Sources: QuPath 0.5 to 0.8 measurement export, mcquant 1.5, inForm 2.x and phenoptr, HALO 3 object
data.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

COMPARTMENTS = {name: name for name in ("nucleus", "cytoplasm", "membrane", "cell")}
COMPARTMENTS["entirecell"] = "cell"
_HALO_IMAGES = ("Image Location", "Image File Name", "Image Tag")
_STATISTICS = {"mean": "mean", "median": "median", "sum": "sum", "total": "sum", "stddev": "std"}


@dataclass(frozen=True)
class Recognised:
    """What a header says.

    `slide` is the column of the image, `images` all such columns where there are several;
    `intensities` (marker, compartment, statistic) > column; `positive` marker > column; `unit` and
    `area_unit` are those the header itself states, else None; `centers` is 0 or 0.5: where the
    first pixel's center lies.
    """

    x: tuple[str, ...] = ()
    y: tuple[str, ...] = ()
    cell_id: str | None = None
    slide: str | None = None
    images: tuple[str, ...] = ()
    phenotype: str | None = None
    areas: dict[str, str] = field(default_factory=dict)
    area_unit: str | None = None
    unit: str | None = None
    center: float = 0.5
    object_type: str | None = None
    intensities: dict[tuple[str, str, str], str] = field(default_factory=dict)
    positive: dict[str, str] = field(default_factory=dict)


def key(name: str) -> str:
    """Reduce a column's name to what its spellings share: letters and digits without case."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def find(names: Sequence[str], *wanted: str) -> str | None:
    """Find the first of the columns that is there: as written, else by `key` if one fits."""
    for want in wanted:
        if want in names:
            return want
        alike = [name for name in names if key(name) == key(want)]
        if len(alike) == 1:
            return alike[0]
    return None


def qupath(names: Sequence[str]) -> Recognised:
    """QuPath: ``Nucleus: DAPI: Mean``, ``DAPI: Nucleus: Mean`` and ``Nucleus: DAPI mean``."""
    um = find(names, "Centroid X µm"), find(names, "Centroid Y µm")
    px = find(names, "Centroid X px"), find(names, "Centroid Y px")
    x, y = um if None not in um else px
    intensities: dict[tuple[str, str, str], str] = {}
    for name in names:
        parts = [part.strip() for part in name.split(":")]
        if len(parts) == 2 and (
            found := re.fullmatch(r"(.+) (mean|sum|std dev|median)", parts[1], re.IGNORECASE)
        ):
            parts = [parts[0], found[1], found[2]]
        if len(parts) != 3:
            continue
        first, second, last = parts
        if key(second) in COMPARTMENTS and key(first) not in COMPARTMENTS:
            first, second = second, first
        if key(first) in COMPARTMENTS and key(last) in _STATISTICS:
            intensities.setdefault((second, COMPARTMENTS[key(first)], _STATISTICS[key(last)]), name)
    areas = {
        "area_um2": find(names, "Cell: Area µm^2", "Cell: Area"),
        "nucleus_area_um2": find(names, "Nucleus: Area µm^2", "Nucleus: Area"),
    }
    return Recognised(
        x=(x,) if x else (),
        y=(y,) if y else (),
        cell_id=None,  # Object ID is a UUID: kept by `extra` where wanted
        slide=find(names, "Image"),
        phenotype=find(names, "Classification", "Class"),
        areas={ours: theirs for ours, theirs in areas.items() if theirs},
        area_unit="um2" if None not in um else "px2",
        unit="um" if None not in um else "px",
        object_type=find(names, "Object type"),
        intensities=intensities,
    )


def mcquant(names: Sequence[str], compartment: str) -> Recognised:
    """mcquant: px, pixel centers at whole numbers; markers stand between CellID and X_centroid."""
    x, y = find(names, "X_centroid"), find(names, "Y_centroid")
    intensities: dict[tuple[str, str, str], str] = {}
    if x is not None:
        for name in names[: list(names).index(x)]:
            if key(name) in ("cellid", "imageid", "phenotype") or name.startswith("unnamed "):
                continue
            extra = re.fullmatch(r"(.+)_(?:intensity_)(sum|median|mean|std)", name)
            marker, statistic = (extra[1], extra[2]) if extra else (name, "mean")
            if not name.endswith("_gini_index"):
                intensities.setdefault((marker, compartment, statistic), name)
    area = find(names, "Area")
    ours = "nucleus_area_um2" if compartment == "nucleus" else "area_um2"
    return Recognised(
        x=(x,) if x else (),
        y=(y,) if y else (),
        cell_id=find(names, "CellID"),
        slide=find(names, "imageid"),
        phenotype=find(names, "phenotype"),
        areas={ours: area} if area and compartment in ("cell", "nucleus") else {},
        area_unit="px2",
        unit="px",
        center=0.0,
        intensities=intensities,
    )


def inform(names: Sequence[str]) -> Recognised:
    """InForm, phenoptr: ``Cell X Position`` in px or um by export option; areas state which."""
    x, y = find(names, "Cell X Position"), find(names, "Cell Y Position")
    pattern = re.compile(
        r"(Nucleus|Cytoplasm|Membrane|Entire Cell) (.+?) (Mean|Std Dev|Total)(?: \(.*\))?"
    )
    found = {name: match for name in names if (match := pattern.fullmatch(name))}
    short = _short_names([match[2] for match in found.values()])
    intensities = {
        (short[m[2]], COMPARTMENTS[key(m[1])], _STATISTICS[key(m[3])]): name
        for name, m in found.items()
    }
    microns = find(names, "Entire Cell Area (sq microns)", "Entire Cell Area (square microns)")
    nucleus_microns = find(names, "Nucleus Area (sq microns)", "Nucleus Area (square microns)")
    pixels = find(names, "Entire Cell Area (pixels)")
    nucleus_pixels = find(names, "Nucleus Area (pixels)")
    in_um = microns is not None or nucleus_microns is not None
    stated = "um" if in_um else "px" if pixels or nucleus_pixels else None
    areas = {
        "area_um2": microns if in_um else pixels,
        "nucleus_area_um2": nucleus_microns if in_um else nucleus_pixels,
    }
    return Recognised(
        x=(x,) if x else (),
        y=(y,) if y else (),
        cell_id=find(names, "Cell ID"),
        slide=find(names, "Sample Name"),
        phenotype=find(names, "Phenotype"),
        areas={ours: theirs for ours, theirs in areas.items() if theirs},
        area_unit="um2" if in_um else "px2",
        unit=stated,
        intensities=intensities,
    )


def halo(names: Sequence[str]) -> Recognised:
    """HALO: a box; ``<marker> Positive Classification``, ``<marker> <compartment> Intensity``."""
    x0, x1, y0, y1 = (find(names, side) for side in ("XMin", "XMax", "YMin", "YMax"))
    spaced = {name: name.replace(".", " ") for name in names}
    levels = {
        name: m
        for name in names
        if (m := re.fullmatch(r"(.+?) +(Nucleus|Cytoplasm|Membrane|Cell) Intensity", spaced[name]))
    }
    calls = {
        name: m
        for name in names
        if (m := re.fullmatch(r"(.+?) +Positive(?: Classification)?", spaced[name]))
    }
    short = _short_names([m[1] for m in (*levels.values(), *calls.values())])
    intensities = {
        (short[m[1]], COMPARTMENTS[key(m[2])], "mean"): name for name, m in levels.items()
    }
    positive = {short[m[1]]: name for name, m in calls.items()}
    areas = {
        "area_um2": find(names, "Cell Area (µm²)", "Cell.Area..m..", "Cell Area (um2)"),
        "nucleus_area_um2": find(
            names, "Nucleus Area (µm²)", "Nucleus.Area..m..", "Nucleus Area (um2)"
        ),
    }
    return Recognised(
        x=(x0, x1) if x0 and x1 else (),
        y=(y0, y1) if y0 and y1 else (),
        cell_id=find(names, "Object Id"),
        slide=find(names, *_HALO_IMAGES),
        images=tuple(filter(None, (find(names, name) for name in _HALO_IMAGES))),
        areas={ours: theirs for ours, theirs in areas.items() if theirs},
        area_unit="um2",
        intensities=intensities,
        positive=positive,
    )


def _short_names(markers: Sequence[str]) -> dict[str, str]:
    """Marker without the dye behind it, where that still tells them apart.

    ``CD3 (Opal 570)``, in R ``CD3  Opal 570 ``, is CD3.
    """
    short = {marker: re.split(r" \(| {2}", marker)[0].strip() for marker in dict.fromkeys(markers)}
    names = list(short.values())
    return {
        marker: name if name and names.count(name) == 1 else marker.strip()
        for marker, name in short.items()
    }
