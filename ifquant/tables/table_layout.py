"""From a mapping and a header: which column of the file becomes which of ours, in which unit."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    warnings: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Match:
    """A mapping and a header: the columns of the file that the mapping names."""

    file: ColumnsFile
    mapping: TableMapping
    seen: Recognised

    def column(self, wanted: str, what: str) -> str:
        """Find a column, or refuse with the nearest name."""
        names = self.file.names
        column = table_formats.find(names, wanted)
        if column is not None:
            return column
        near = nearest(wanted, names)
        hint = (
            f"did you mean {near!r}?"
            if near
            else f"its columns are {', '.join(names[:30])}{', ...' if len(names) > 30 else ''}."
        )
        raise RequestError(
            f"{self.file.path}: {what} names the column {wanted!r}, which is not there; {hint}"
        )

    def columns(self, what: str, wanted: Mapping[str, str]) -> dict[str, str]:
        """Columns of a section of the mapping: ours > the file's."""
        return {ours: self.column(name, f"{what}.{ours}") for ours, name in wanted.items()}

    def positions(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Columns that are averaged to x and to y."""
        mapping = self.mapping
        x = (self.column(mapping.x, "x"),) if mapping.x else self.seen.x
        y = (self.column(mapping.y, "y"),) if mapping.y else self.seen.y
        if not x or not y:
            raise RequestError(
                f"{self.file.path}: no positions as {mapping.format} writes them; check format, or"
                " name the columns with x and y."
            )
        return x, y

    def marker(self, theirs: str) -> str:
        """Our name of a marker of the table."""
        same = (
            ours
            for ours, name in self.mapping.markers.items()
            if table_formats.key(name) == table_formats.key(theirs)
        )
        return next(same, theirs)

    def intensities(self, others: Collection[str | None]) -> dict[str, str]:
        """Our column > the table's; `others` are columns that hold something else."""
        columns: dict[str, str] = {}
        for (marker, place, what), name in self.seen.intensities.items():
            if name in others:
                continue
            ours = f"{self.marker(marker)}_{place}_{what}"
            if ours in columns:
                raise RequestError(
                    f"markers: {columns[ours]!r} and {name!r} would both become {ours!r}; give one"
                    " of them another name."
                )
            columns[ours] = name
        compartments, statistics = get_args(Compartment), get_args(Statistic)
        for ours, theirs in self.mapping.intensities.items():
            parts = ours.rsplit("_", 2)
            if len(parts) != 3 or parts[1] not in compartments or parts[2] not in statistics:
                raise RequestError(
                    f"intensities: {ours!r} is not <marker>_<compartment>_<statistic> (compartments"
                    f" {', '.join(compartments)}; statistics {', '.join(statistics)}), e.g."
                    " TGFB1_membrane_mean."
                )
            columns[ours] = self.column(theirs, f"intensities.{ours}")
        return columns

    def positive(self) -> dict[str, str]:
        """Our marker > the table's column of its positivity."""
        seen = {self.marker(marker): name for marker, name in self.seen.positive.items()}
        return seen | self.columns("positive", self.mapping.positive)

    def refuse_unused(self) -> None:
        """Refuse markers that the table does not have."""
        known = {marker for marker, _, _ in self.seen.intensities} | set(self.seen.positive)
        keys = {table_formats.key(marker) for marker in known}
        for ours, theirs in self.mapping.markers.items():
            if table_formats.key(theirs) not in keys:
                near = nearest(theirs, sorted(known))
                listed = ", ".join(sorted(known)) or "none (use intensities)"
                hint = f"did you mean {near!r}?" if near else f"found {listed}."
                raise RequestError(
                    f"{self.file.path}: markers.{ours}: no marker is called {theirs!r}; {hint}"
                )

    def gated(self, intensities: Mapping[str, str]) -> dict[str, str]:
        """Marker > our column that its gate applies to."""
        columns = {}
        for marker in self.mapping.gates:
            name = f"{marker}_{self.mapping.compartment or 'cell'}_mean"
            if name not in intensities:
                listed = ", ".join(n for n in intensities if n.endswith("_mean")) or "none"
                raise RequestError(
                    f"{self.file.path}: gates.{marker} needs the column {name!r}; mean intensities"
                    f" here: {listed}."
                )
            columns[marker] = name
        return columns


def layout_of(file: ColumnsFile, mapping: TableMapping) -> Layout:
    """Match a mapping with a header.

    Raises
    ------
    RequestError
        If a column is not there, a unit is missing, or header and mapping contradict each other.
    """
    seen = _recognised(file.names, mapping, str(file.path))
    match = _Match(file, mapping, seen)
    x, y = match.positions()
    in_px = _unit(seen, mapping, str(file.path)) == "px"
    areas, um2_per_unit, warnings = _areas(match)
    given = (mapping.slide,) if isinstance(mapping.slide, str) else mapping.slide or ()
    singles = filter(None, (mapping.patient, mapping.group, mapping.phenotype, mapping.cell_id))
    others = (*given, *singles, *mapping.extra.values())
    intensities = match.intensities({table_formats.find(file.names, name) for name in others})
    positive = match.positive()
    match.refuse_unused()
    gated = match.gated(intensities)
    phenotype = None if mapping.rules else seen.phenotype
    if mapping.phenotype:
        phenotype = match.column(mapping.phenotype, "phenotype")
    images = seen.images or ((seen.slide,) if seen.slide else ())
    layout = Layout(
        x=x,
        y=y,
        in_px=in_px,
        center=seen.center if mapping.pixel_center is None else mapping.pixel_center,
        um_per_unit=mapping.pixel_size_um or 1.0 if in_px else 1.0,
        um2_per_unit=um2_per_unit,
        slide=tuple(match.column(name, "slide") for name in given) or images[:1],
        images=images,
        cell_id=match.column(mapping.cell_id, "cell_id") if mapping.cell_id else seen.cell_id,
        phenotype=phenotype,
        object_type=seen.object_type,
        areas=areas,
        intensities=intensities,
        positive=positive,
        gated=gated,
        warnings=warnings,
    )
    return _with_columns(layout, match)


def _areas(match: _Match) -> tuple[dict[str, str], float, tuple[str, ...]]:
    """Columns of areas (ours > the file's), um2 per unit, and a warning where they are left out."""
    mapping, seen = match.mapping, match.seen
    areas = {"area_um2": match.column(mapping.area, "area")} if mapping.area else dict(seen.areas)
    if (mapping.area_unit if mapping.area else seen.area_unit) != "px2":
        return areas, 1.0, ()
    if mapping.pixel_size_um is not None:
        return areas, mapping.pixel_size_um**2, ()
    text = (
        f"{match.file.path}: cell areas are in px and left out; give pixel_size_um to have them in"
        " um2."
    )
    return {}, 1.0, (text,) if areas else ()


def _with_columns(layout: Layout, match: _Match) -> Layout:
    """Add which columns are read, and as what; refuse those that would be two things at once."""
    path, mapping = match.file.path, match.mapping
    extra = match.columns("extra", mapping.extra)
    positive = {f"{marker}_positive": name for marker, name in layout.positive.items()}
    gates = {f"{marker}_positive" for marker in mapping.gates}
    own = {"cell_id", "x_um", "y_um", "phenotype", *layout.areas, *layout.intensities}
    if both := sorted((own | gates | set(positive)) & set(extra)):
        raise RequestError(
            f"{path}: extra.{both[0]}: ifquant fills the column {both[0]!r} itself; carry yours"
            " under another name."
        )
    whose = [
        match.column(name, what)
        for what, name in (("patient", mapping.patient), ("group", mapping.group))
        if name
    ]
    singles = filter(None, (layout.cell_id, layout.phenotype, layout.object_type))
    names = (*singles, *layout.slide, *layout.images, *layout.positive.values(), *whose)
    used = {*layout.x, *layout.y, *layout.areas.values(), *layout.intensities.values()}
    numbers = used | {theirs for ours, theirs in extra.items() if _MEASURED.fullmatch(ours)}
    twice = [name for name in names if name in numbers and name not in layout.positive.values()]
    if twice:
        raise RequestError(
            f"{path}: column {twice[0]!r} is used as a number and as a name; name another column"
            " for one of them."
        )
    origin = {"x_um": ", ".join(layout.x), "y_um": ", ".join(layout.y)}
    if layout.phenotype:
        origin["phenotype"] = layout.phenotype
    return replace(
        layout,
        wanted=(*used, *names, *extra.values()),
        names=tuple(name for name in (*names, *extra.values()) if name not in numbers),
        origin={**origin, **layout.areas, **layout.intensities, **positive, **extra},
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
    """Decide the unit of positions, declared or stated by the header; never from the numbers."""
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
