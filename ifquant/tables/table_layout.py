"""From a mapping and a header: which column of the file becomes which of ours, in which unit."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from ifquant.errors import RequestError
from ifquant.recipe.model import Compartment, Statistic
from ifquant.recipe.rules import nearest
from ifquant.recipe.table_mapping import TableMapping
from ifquant.tables import table_formats
from ifquant.tables.columns_file import ColumnsFile
from ifquant.tables.table_formats import Recognised

_MEASURED = re.compile(
    r"n_.+|.+_(um|um2|px|per_mm2|mean|median|sum|std|p95|fraction)|(nucleus_)?(eccentricity|solidity)"
)
"""Names of ours that say that the column holds numbers; further columns of other names are text."""


@dataclass(frozen=True)
class Layout:
    """What to read from a file and how to call it.

    `x`, `y` are averaged (a bounding box has two sides); in px they become um as ``(value + 0.5 -
    center) * um_per_unit``. Every mapping is ours > the file's column; `gated` is marker > our
    column its gate applies to; `origin` is all of it, for the record. `slide` are the columns whose
    names together name the slide, `images` are the format's own columns of the image; `names` are
    the columns read as text.
    """

    x: tuple[str, ...]
    y: tuple[str, ...]
    in_px: bool
    center: float
    um_per_unit: float
    um2_per_unit: float
    cell_id: str | None
    slide: tuple[str, ...]
    images: tuple[str, ...]
    phenotype: str | None
    object_type: str | None
    areas: Mapping[str, str]
    intensities: Mapping[str, str]
    positive: Mapping[str, str]
    gated: Mapping[str, str]
    wanted: tuple[str, ...]
    names: tuple[str, ...]
    origin: Mapping[str, str]
    warnings: tuple[str, ...]


def layout_of(file: ColumnsFile, mapping: TableMapping) -> Layout:
    """Match a mapping with a header.

    Raises
    ------
    RequestError
        If a column is not there, a unit is missing, or header and mapping contradict each other.
    """
    names = file.names

    def column(wanted: str, what: str) -> str:
        found = table_formats.find(names, wanted)
        if found is None:
            near = nearest(wanted, names)
            hint = (
                f"did you mean {near!r}?"
                if near
                else f"its columns are {', '.join(names[:30])}{', ...' if len(names) > 30 else ''}."
            )
            raise RequestError(
                f"{file.path}: {what} names the column {wanted!r}, which is not there; {hint}"
            )
        return found

    seen = _recognised(names, mapping, str(file.path))
    x = (column(mapping.x, "x"),) if mapping.x else seen.x
    y = (column(mapping.y, "y"),) if mapping.y else seen.y
    if not x or not y:
        raise RequestError(
            f"{file.path}: no positions as {mapping.format} writes them; check format, or name the"
            " columns with x and y."
        )
    unit = _unit(seen, mapping, str(file.path))
    area_unit = mapping.area_unit if mapping.area else seen.area_unit
    given = (mapping.slide,) if isinstance(mapping.slide, str) else mapping.slide or ()
    areas = {"area_um2": column(mapping.area, "area")} if mapping.area else dict(seen.areas)
    warnings = []
    if area_unit == "px2" and areas and mapping.pixel_size_um is None:
        warnings.append(
            f"{file.path}: cell areas are in px and left out; give pixel_size_um to have them in"
            " um2."
        )
        areas = {}
    told = [
        *given,
        *filter(None, (mapping.patient, mapping.group, mapping.phenotype, mapping.cell_id)),
        *mapping.extra.values(),
    ]
    intensities = _intensities(
        seen, mapping, column, leave_out={table_formats.find(names, name) for name in told}
    )
    positive = {_ours(marker, mapping): name for marker, name in seen.positive.items()}
    positive |= {
        marker: column(name, f"positive.{marker}") for marker, name in mapping.positive.items()
    }
    _refuse_unused(mapping, seen, str(file.path))
    gated = {
        marker: _gated(marker, intensities, mapping, str(file.path)) for marker in mapping.gates
    }
    phenotype = (
        column(mapping.phenotype, "phenotype")
        if mapping.phenotype
        else None
        if mapping.rules
        else seen.phenotype
    )
    own = seen.images or ((seen.slide,) if seen.slide else ())
    slide = tuple(column(name, "slide") for name in given) or own[:1]
    cell_id = column(mapping.cell_id, "cell_id") if mapping.cell_id else seen.cell_id
    extra = {ours: column(theirs, f"extra.{ours}") for ours, theirs in mapping.extra.items()}
    taken = {
        "cell_id",
        "x_um",
        "y_um",
        "phenotype",
        *areas,
        *intensities,
        *(f"{m}_positive" for m in (*positive, *mapping.gates)),
    }
    if both := sorted(taken & set(extra)):
        raise RequestError(
            f"{file.path}: extra.{both[0]}: ifquant fills the column {both[0]!r} itself; carry"
            " yours under another name."
        )
    whose = [
        column(name, what)
        for what, name in (("patient", mapping.patient), ("group", mapping.group))
        if name
    ]
    singles = [name for name in (cell_id, phenotype, seen.object_type) if name is not None]
    numbers = {*x, *y, *areas.values(), *intensities.values()}
    measured = {theirs for ours, theirs in extra.items() if _MEASURED.fullmatch(ours)}
    named = (*singles, *slide, *own, *positive.values(), *whose)
    if both := [
        name for name in named if name in numbers | measured and name not in positive.values()
    ]:
        raise RequestError(
            f"{file.path}: column {both[0]!r} is used as a number and as a name; name another"
            " column for one of them."
        )
    in_px = unit == "px"
    pixel = mapping.pixel_size_um or 1.0
    return Layout(
        x=x,
        y=y,
        in_px=in_px,
        center=seen.center if mapping.pixel_center is None else mapping.pixel_center,
        um_per_unit=pixel if in_px else 1.0,
        um2_per_unit=pixel**2 if area_unit == "px2" else 1.0,
        cell_id=cell_id,
        slide=slide,
        images=own,
        phenotype=phenotype,
        object_type=seen.object_type,
        areas=areas,
        intensities=intensities,
        positive=positive,
        gated=gated,
        wanted=(*numbers, *named, *extra.values()),
        names=tuple(name for name in (*named, *extra.values()) if name not in numbers | measured),
        origin={
            "x_um": ", ".join(x),
            "y_um": ", ".join(y),
            **({"phenotype": phenotype} if phenotype else {}),
            **areas,
            **intensities,
            **{f"{marker}_positive": name for marker, name in positive.items()},
            **extra,
        },
        warnings=tuple(warnings),
    )


def _recognised(names: Sequence[str], mapping: TableMapping, path: str) -> Recognised:
    if mapping.format == "qupath":
        return table_formats.qupath(names)
    if mapping.format == "inform":
        return table_formats.inform(names)
    if mapping.format == "halo":
        return table_formats.halo(names)
    if mapping.format == "mcquant":
        if mapping.compartment is None:
            raise RequestError(
                f"{path}: mcquant tables do not say which mask was measured; set compartment ="
                ' "cell" or "nucleus".'
            )
        return table_formats.mcquant(names, mapping.compartment)
    return Recognised()


def _unit(seen: Recognised, mapping: TableMapping, path: str) -> str:
    """Find the unit of the positions: declared, or stated by the header; never from the size of the
    numbers.
    """
    stated = seen.unit if mapping.x is None else None
    if mapping.unit is not None and stated is not None and mapping.unit != stated:
        raise RequestError(
            f'{path}: unit = "{mapping.unit}" contradicts the header, which says {stated}; correct'
            ' it, or use format = "columns".'
        )
    unit = mapping.unit or stated
    if unit is None:
        raise RequestError(
            f"{path}: {mapping.format} tables do not say whether positions are in px or um; set"
            ' unit = "um" or unit = "px".'
        )
    if unit == "px" and mapping.pixel_size_um is None:
        raise RequestError(f"{path}: positions are in px; set pixel_size_um (um per px).")
    return unit


def _ours(marker: str, mapping: TableMapping) -> str:
    return next(
        (
            ours
            for ours, theirs in mapping.markers.items()
            if table_formats.key(theirs) == table_formats.key(marker)
        ),
        marker,
    )


def _intensities(
    seen: Recognised,
    mapping: TableMapping,
    column: Callable[[str, str], str],
    *,
    leave_out: Collection[str | None],
) -> dict[str, str]:
    """Our column > the table's; `leave_out` are columns that the mapping says are something
    else.
    """
    found: dict[str, str] = {}
    for (marker, place, what), name in seen.intensities.items():
        if name in leave_out:
            continue
        ours = f"{_ours(marker, mapping)}_{place}_{what}"
        if ours in found:
            raise RequestError(
                f"markers: {found[ours]!r} and {name!r} would both become {ours!r}; give one of"
                " them another name."
            )
        found[ours] = name
    for ours, theirs in mapping.intensities.items():
        parts = ours.rsplit("_", 2)
        if (
            len(parts) != 3
            or parts[1] not in get_args(Compartment)
            or parts[2] not in get_args(Statistic)
        ):
            raise RequestError(
                f"intensities: {ours!r} is not <marker>_<compartment>_<statistic> (compartments"
                f" {', '.join(get_args(Compartment))}; statistics"
                f" {', '.join(get_args(Statistic))}), e.g. TGFB1_membrane_mean."
            )
        found[ours] = column(theirs, f"intensities.{ours}")
    return found


def _refuse_unused(mapping: TableMapping, seen: Recognised, path: str) -> None:
    """Refuse markers that the table does not have."""
    known = {marker for marker, _, _ in seen.intensities} | set(seen.positive)
    keys = {table_formats.key(marker) for marker in known}
    for ours, theirs in mapping.markers.items():
        if table_formats.key(theirs) not in keys:
            near = nearest(theirs, sorted(known))
            listed = ", ".join(sorted(known)) or "none (use intensities)"
            hint = f"did you mean {near!r}?" if near else f"found {listed}."
            raise RequestError(f"{path}: markers.{ours}: no marker is called {theirs!r}; {hint}")


def _gated(marker: str, intensities: Mapping[str, str], mapping: TableMapping, path: str) -> str:
    name = f"{marker}_{mapping.compartment or 'cell'}_mean"
    if name not in intensities:
        listed = ", ".join(n for n in intensities if n.endswith("_mean")) or "none"
        raise RequestError(
            f"{path}: gates.{marker} needs the column {name!r}; mean intensities here: {listed}."
        )
    return name
