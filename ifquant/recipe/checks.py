"""Checks of a recipe across its sections; they return problems as text with their place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ifquant.errors import RecipeError
from ifquant.recipe.defaults import COLORS, HIDDEN, aliases, hex_color
from ifquant.recipe.model import Gate, Recipe
from ifquant.recipe.rules import markers, parse, suggestion, unknown_name
from ifquant.recipe.section import name_key

RESERVED_PHENOTYPES = {"other": "cells that no rule fits", "cells": "all cells (column n_cells)"}
"""Phenotype names the output contract uses itself."""
_LABELS = ("nuclei", "cells")
_CELLPOSE = (
    "model",
    "cell_model",
    "allow_download",
    "cellprob_threshold",
    "flow_threshold",
    "cell_diameter_um",
)
"""Settings of [segmentation] that belong to one method."""
_GATE_SETTINGS = {
    "value": (("value",), "the gate in raw intensities, e.g. value = 300"),
    "control": (
        ("control_slide", "control_region"),
        'control_slide = "NAME" or control_region = "NAME"',
    ),
}
"""Method of a gate > the settings it alone reads, and how one of them is written."""


def problems(recipe: Recipe) -> list[str]:
    """Everything that is wrong between sections, in the order of the recipe."""
    checks = (
        _channels,
        _segmentation,
        _cells,
        _gates,
        _phenotypes,
        _proximity,
        _priming,
        _cohort,
        _picture,
        _measure,
    )
    return [problem for check in checks for problem in check(recipe)]


def _channels(recipe: Recipe) -> Iterator[str]:
    owners: dict[str, int] = {}
    indices: dict[int, int] = {}
    for i, channel in enumerate(recipe.channels):
        own: set[str] = set()
        for at, name in enumerate((channel.name, *channel.aliases)):
            key = name_key(name)
            place = f"channels[{i}].{'aliases' if at else 'name'}"
            if key in own:
                yield f"{place}: {name!r} is listed twice for this channel; remove one"
            elif key in owners:
                yield (
                    f"{place}: {name!r} is already the name of channels[{owners[key]}] (names may"
                    " not differ by case alone); rename one, or remove it"
                )
            own.add(key)
            owners.setdefault(key, i)
        if channel.index is not None:
            first = indices.setdefault(channel.index, i)
            if first != i:
                yield (
                    f"channels[{i}].index: {channel.index} is also the index of channels[{first}];"
                    " each channel has its own"
                )


def _segmentation(recipe: Recipe) -> Iterator[str]:
    if recipe.table is not None:
        return  # cells come from a table: nothing is segmented
    options = recipe.segmentation
    nuclei = [channel.name for channel in recipe.with_role("nucleus")]
    if options.method != "labels":
        yield from _settings_of_other_method(recipe, _LABELS, "labels")
        if not nuclei and options.channel is None:
            yield (
                'channels: no channel has role = "nucleus"; give the role to the nuclear stain'
                ' (DAPI, Hoechst, ...), or use [segmentation] method = "labels" with masks you have'
            )
    elif options.nuclei is None and options.cells is None:
        yield (
            'segmentation.nuclei: missing; method = "labels" needs the path of your nucleus'
            ' masks, e.g. nuclei = "masks/{slide}.tif"'
        )
    elif options.nuclei is None:
        yield (
            "segmentation.nuclei: missing; cell masks alone are not enough, each cell belongs"
            " to a nucleus"
        )
    yield from _cellpose(recipe)
    if options.channel is None:
        if len(nuclei) > 1 and options.method != "labels":
            yield (
                f"channels: {len(nuclei)} channels have role nucleus ({', '.join(nuclei)}); say"
                f' which one nuclei are found in with [segmentation] channel = "{nuclei[0]}"'
            )
    elif options.channel not in recipe.names:
        yield f"segmentation.channel: {unknown_name(options.channel, recipe.names, 'channel')}"
    elif recipe.channel(options.channel).role == "ignore":
        yield (
            f"segmentation.channel: {options.channel!r} has role ignore and is not read; give it"
            " the role nucleus"
        )


def _cellpose(recipe: Recipe) -> Iterator[str]:
    options = recipe.segmentation
    if options.method != "cellpose":
        yield from _settings_of_other_method(recipe, _CELLPOSE, "cellpose")
        return
    if options.model is None:
        yield (
            'segmentation.model: missing; method = "cellpose" needs the absolute path of a network'
            ' file, e.g. model = "/models/cpsam", or its name with allow_download = true'
        )
    if options.sensitivity != 1.0:
        yield (
            'segmentation.sensitivity: not read with method = "cellpose"; lower cellprob_threshold'
            " finds dimmer nuclei"
        )
    if options.cell_model is not None and not recipe.with_role("tumor", "myeloid"):
        yield (
            "segmentation.cell_model: no channel has role tumor or myeloid, and no other channel"
            " may shape cells; give one the role"
        )


def _settings_of_other_method(recipe: Recipe, fields: Sequence[str], method: str) -> Iterator[str]:
    """Find settings that only another method of segmentation reads."""
    options = recipe.segmentation
    for field in fields:
        if getattr(options, field) != type(options).model_fields[field].default:
            yield (
                f'segmentation.{field}: only read with method = "{method}", found method ='
                f" {options.method!r}; change one of them"
            )


def _cells(recipe: Recipe) -> Iterator[str]:
    for name, value in recipe.cells.thresholds.items():
        place = f"cells.thresholds.{name}"
        if name not in recipe.names:
            yield f"{place}: {unknown_name(name, recipe.names, 'channel')}"
        elif (role := recipe.channel(name).role) not in ("nucleus", "tumor", "myeloid"):
            yield (
                f"{place}: found role {role}, expected nucleus, tumor or myeloid: other channels"
                " never shape cells"
            )
        if value < 0:
            yield f"{place}: found {value:g}, expected a raw pixel value of at least 0"


def _gates(recipe: Recipe) -> Iterator[str]:
    yield from _gate(recipe, "gates.default", recipe.gates.default)
    remedy = "measured; remove the gate or give it the role marker"
    for name, gate in recipe.gates.markers.items():
        place = f"gates.markers.{name}"
        yield from _channel(recipe, place, name, remedy)
        yield from _gate(recipe, place, gate)


def _gate(recipe: Recipe, place: str, gate: Gate) -> Iterator[str]:
    for method, (fields, example) in _GATE_SETTINGS.items():
        given = [field for field in fields if getattr(gate, field) is not None]
        if gate.method == method and not given:
            yield f'{place}.{fields[0]}: missing; method = "{method}" needs {example}'
        elif gate.method != method and given:
            yield (
                f'{place}.{given[0]}: only used with method = "{method}", found method ='
                f' "{gate.method}"; change one of them'
            )
    if gate.statistic not in recipe.measure.statistics:
        yield (
            f"{place}.statistic: {gate.statistic} is not measured; add it to [measure] statistics "
            f"(now {', '.join(recipe.measure.statistics)}) or set another statistic"
        )


def _phenotypes(recipe: Recipe) -> Iterator[str]:
    first: dict[str, str] = {}
    for name, rule in recipe.phenotypes.items():
        place, key = f"phenotypes.{name}", name_key(name)
        if key in RESERVED_PHENOTYPES:
            yield f"{place}: the name is taken for {RESERVED_PHENOTYPES[key]}; choose another"
        if key in first:
            yield f"{place}: differs from {first[key]!r} by case alone; choose another name"
        first.setdefault(key, name)
        try:
            parsed = parse(rule, recipe.names, aliases(recipe))
        except RecipeError as error:
            yield f"{place}: {error}".removesuffix(".")
            continue
        for channel in sorted({marker.name for marker in markers(parsed)}):
            yield from _channel(recipe, place, channel, "measured; give it the role marker")


def _proximity(recipe: Recipe) -> Iterator[str]:
    options = recipe.proximity
    yield from _phenotype(recipe, "proximity.from", options.from_)
    yield from _phenotype(recipe, "proximity.to", options.to)
    yield from _growing(options.radii_um, "proximity.radii_um")
    if not options.radii_um:
        yield "proximity.radii_um: found none, expected at least one radius in um"
    if len({f"{radius:g}" for radius in options.radii_um}) < len(set(options.radii_um)):
        yield (
            "proximity.radii_um: two radii are the same to 6 digits, so their columns would share a"
            " name; round them"
        )
    if list(options.margin_um) != sorted(set(options.margin_um)) or len(options.margin_um) < 2:
        yield (
            f"proximity.margin_um: found {_numbers(options.margin_um)}, expected at least two"
            " growing edges, each once"
        )


def _priming(recipe: Recipe) -> Iterator[str]:
    options = recipe.priming
    if options is None:
        return
    yield from _phenotype(recipe, "priming.responder", options.responder)
    yield from _phenotype(recipe, "priming.source", options.source)
    controls = [("controls", name) for name in options.controls or ()]
    for key, name in (("response", options.response), ("ligand", options.ligand), *controls):
        yield from _channel(recipe, f"priming.{key}", name, "measured; give it the role marker")
    if options.response == options.ligand:
        yield (
            f"priming.ligand: {options.ligand!r} is also the response; the two are different"
            " channels"
        )
    yield from (
        f"priming.controls: {name!r} is the ligand or the response and cannot control itself;"
        " remove it"
        for _, name in controls
        if name in (options.ligand, options.response)
    )
    source = options.source or recipe.proximity.to or "tumor"
    if source == (options.responder or recipe.proximity.from_ or "myeloid"):
        yield f"priming.source: {source!r} is also the responder; the two are different phenotypes"
    yield from _growing(options.radii_um, "priming.radii_um")
    if "mean" not in recipe.measure.statistics:
        yield "measure.statistics: [priming] compares means; add mean"


def _cohort(recipe: Recipe) -> Iterator[str]:
    options = recipe.cohort
    if len(set(options.order)) < len(options.order):
        yield (
            f"cohort.order: found {', '.join(map(repr, options.order))}, expected each group or"
            " visit once"
        )
    if options.visit is not None and options.visit == options.group:
        yield (
            f"cohort.visit: {options.visit!r} is also the group; a patient belongs to one group and"
            " may have several visits"
        )


def _picture(recipe: Recipe) -> Iterator[str]:
    for name, color in recipe.picture.colors.items():
        place = f"picture.colors.{name}"
        yield from _channel(recipe, place, name, "read; remove the color or change the role")
        if hex_color(color) != HIDDEN and not re.fullmatch("#[0-9a-f]{6}", hex_color(color)):
            yield (
                f"{place}: found {color!r}, expected #rrggbb, none or one of {', '.join(COLORS)}"
                + suggestion(color, COLORS)
            )


def _measure(recipe: Recipe) -> Iterator[str]:
    statistics = recipe.measure.statistics
    if not statistics:
        yield "measure.statistics: found none, expected at least one of mean, median, p95, sum, std"
    if len(set(statistics)) < len(statistics):
        yield f"measure.statistics: found {', '.join(statistics)}, expected each once"


def _channel(recipe: Recipe, place: str, name: str, remedy: str) -> Iterator[str]:
    """Check a channel that a setting names; `remedy` ends the message where it is ignored."""
    if name not in recipe.names:
        yield f"{place}: {unknown_name(name, recipe.names, 'channel')}"
    elif recipe.channel(name).role == "ignore":
        yield f"{place}: channel {name!r} has role ignore and is not {remedy}"


def _phenotype(recipe: Recipe, place: str, name: str | None) -> Iterator[str]:
    """Check that a rule defines a phenotype; a table names its own phenotypes."""
    known = [*(recipe.phenotypes or ("tumor", "myeloid")), "other"]
    if name is not None and name not in known and recipe.table is None:
        yield f"{place}: {unknown_name(name, known, 'phenotype')}"


def _growing(radii_um: Sequence[float], place: str) -> Iterator[str]:
    if list(radii_um) != sorted(set(radii_um)):
        yield f"{place}: found {_numbers(radii_um)}, expected growing radii, each once"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
