"""Checks of a recipe across its sections: each returns problems as text with their place, none
raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ifquant.errors import RecipeError
from ifquant.recipe.defaults import COLORS, HIDDEN, aliases, hex_color
from ifquant.recipe.model import Gate, Recipe, name_key
from ifquant.recipe.rules import markers, nearest, parse

RESERVED_PHENOTYPES = {"other": "cells that no rule fits", "cells": "all cells (column n_cells)"}
"""Phenotype names the output contract uses itself."""


def problems(recipe: Recipe) -> list[str]:
    """Everything that is wrong between sections, in the order of the recipe."""
    return [
        *_channels(recipe),
        *_segmentation(recipe),
        *_cells(recipe),
        *_gates(recipe),
        *_phenotypes(recipe),
        *_proximity(recipe),
        *_priming(recipe),
        *_cohort(recipe),
        *_picture(recipe),
        *_measure(recipe),
    ]


def unknown(name: str, known: Sequence[str], what: str) -> str:
    """Say that a name is not known, with the nearest one."""
    near = nearest(name, known)
    listing = ", ".join(map(repr, known)) or "none"
    return f"no {what} is called {name!r}; " + (
        f"did you mean {near!r}?" if near else f"known: {listing}"
    )


def _channels(recipe: Recipe) -> Iterator[str]:
    seen: dict[str, str] = {}
    indices: dict[int, str] = {}
    for i, channel in enumerate(recipe.channels):
        own: set[str] = set()
        for name, place in [
            (channel.name, "name"),
            *((alias, "aliases") for alias in channel.aliases),
        ]:
            key = name_key(name)
            if key in seen and key not in own:
                yield (
                    f"channels[{i}].{place}: {name!r} is already the name of {seen[key]} (names may"
                    " not differ by case alone); rename one, or remove it"
                )
            elif key in own:
                yield (
                    f"channels[{i}].{place}: {name!r} is listed twice for this channel; remove one"
                )
            own.add(key)
            seen.setdefault(key, f"channels[{i}]")
        if channel.index is not None:
            if channel.index in indices:
                yield (
                    f"channels[{i}].index: {channel.index} is also the index of"
                    f" {indices[channel.index]}; each channel has its own"
                )
            indices.setdefault(channel.index, f"channels[{i}]")


def _segmentation(recipe: Recipe) -> Iterator[str]:
    if recipe.table is not None:
        return  # cells come from a table: nothing is segmented
    options = recipe.segmentation
    nuclei = [channel.name for channel in recipe.with_role("nucleus")]
    if options.method == "labels":
        if options.nuclei is None and options.cells is None:
            yield (
                'segmentation.nuclei: missing; method = "labels" needs the path of your nucleus'
                ' masks, e.g. nuclei = "masks/{slide}.tif"'
            )
        elif options.nuclei is None:
            yield (
                "segmentation.nuclei: missing; cell masks alone are not enough, each cell belongs"
                " to a nucleus"
            )
    else:
        for field in ("nuclei", "cells"):
            if getattr(options, field) is not None:
                yield (
                    f'segmentation.{field}: only read with method = "labels", found method ='
                    f" {options.method!r}; change one of them"
                )
        if not nuclei and options.channel is None:
            yield (
                'channels: no channel has role = "nucleus"; give the role to the nuclear stain'
                ' (DAPI, Hoechst, ...), or use [segmentation] method = "labels" with masks you have'
            )
    yield from _cellpose(recipe)
    if options.channel is None:
        if len(nuclei) > 1 and options.method != "labels":
            yield (
                f"channels: {len(nuclei)} channels have role nucleus ({', '.join(nuclei)}); say"
                " which one nuclei are found in with "
                f'[segmentation] channel = "{nuclei[0]}"'
            )
    elif options.channel not in recipe.names:
        yield f"segmentation.channel: {unknown(options.channel, recipe.names, 'channel')}"
    elif recipe.channel(options.channel).role == "ignore":
        yield (
            f"segmentation.channel: {options.channel!r} has role ignore and is not read; give it"
            " the role nucleus"
        )


def _cellpose(recipe: Recipe) -> Iterator[str]:
    options = recipe.segmentation
    if options.method != "cellpose":
        for field in (
            "model",
            "cell_model",
            "allow_download",
            "cellprob_threshold",
            "flow_threshold",
            "cell_diameter_um",
        ):
            if getattr(options, field) != type(options).model_fields[field].default:
                yield (
                    f'segmentation.{field}: only read with method = "cellpose", found method ='
                    f" {options.method!r}; change one of them"
                )
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


def _cells(recipe: Recipe) -> Iterator[str]:
    for name, value in recipe.cells.thresholds.items():
        place = f"cells.thresholds.{name}"
        if name not in recipe.names:
            yield f"{place}: {unknown(name, recipe.names, 'channel')}"
        elif (role := recipe.channel(name).role) not in ("nucleus", "tumor", "myeloid"):
            yield (
                f"{place}: found role {role}, expected nucleus, tumor or myeloid: other channels"
                " never shape cells"
            )
        if value < 0:
            yield f"{place}: found {value:g}, expected a raw pixel value of at least 0"


def _gates(recipe: Recipe) -> Iterator[str]:
    yield from _gate(recipe, "gates.default", recipe.gates.default)
    for name, gate in recipe.gates.markers.items():
        place = f"gates.markers.{name}"
        if name not in recipe.names:
            yield f"{place}: {unknown(name, recipe.names, 'channel')}"
        elif recipe.channel(name).role == "ignore":
            yield (
                f"{place}: channel {name!r} has role ignore and is not measured; remove the gate or"
                " give it the role marker"
            )
        yield from _gate(recipe, place, gate)


def _gate(recipe: Recipe, place: str, gate: Gate) -> Iterator[str]:
    if gate.method == "value" and gate.value is None:
        yield (
            f'{place}.value: missing; method = "value" needs the gate in raw intensities, e.g.'
            " value = 300"
        )
    if gate.method != "value" and gate.value is not None:
        yield (
            f'{place}.value: only used with method = "value", found method = "{gate.method}";'
            " change one of them"
        )
    controls = [
        field for field in ("control_slide", "control_region") if getattr(gate, field) is not None
    ]
    if gate.method == "control" and not controls:
        yield (
            f'{place}.control_slide: missing; method = "control" needs control_slide = "NAME" or'
            ' control_region = "NAME"'
        )
    if gate.method != "control" and controls:
        yield (
            f'{place}.{controls[0]}: only used with method = "control", found method ='
            f' "{gate.method}"; change one of them'
        )
    if gate.statistic not in recipe.measure.statistics:
        yield (
            f"{place}.statistic: {gate.statistic} is not measured; add it to [measure] statistics "
            f"(now {', '.join(recipe.measure.statistics)}) or set another statistic"
        )


def _phenotypes(recipe: Recipe) -> Iterator[str]:
    seen: dict[str, str] = {}
    for name, rule in recipe.phenotypes.items():
        place, key = f"phenotypes.{name}", name_key(name)
        if key in RESERVED_PHENOTYPES:
            yield f"{place}: the name is taken for {RESERVED_PHENOTYPES[key]}; choose another"
        if key in seen:
            yield f"{place}: differs from {seen[key]!r} by case alone; choose another name"
        seen.setdefault(key, name)
        try:
            parsed = parse(rule, recipe.names, aliases(recipe))
        except RecipeError as error:
            yield f"{place}: {error}".removesuffix(".")
            continue
        unread = {
            marker.name
            for marker in markers(parsed)
            if recipe.channel(marker.name).role == "ignore"
        }
        yield from (
            f"{place}: channel {name!r} has role ignore and is not measured; give it the role"
            " marker"
            for name in sorted(unread)
        )


def _proximity(recipe: Recipe) -> Iterator[str]:
    options = recipe.proximity
    known = [*(recipe.phenotypes or {"tumor": "", "myeloid": ""}), "other"]
    for place, name in (("from", options.from_), ("to", options.to)):
        if (
            name is not None and name not in known and recipe.table is None
        ):  # a table names its own phenotypes
            yield f"proximity.{place}: {unknown(name, known, 'phenotype')}"
    if list(options.radii_um) != sorted(set(options.radii_um)):
        yield (
            f"proximity.radii_um: found {_numbers(options.radii_um)}, expected growing radii, each"
            " once"
        )
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
    known = [*(recipe.phenotypes or {"tumor": "", "myeloid": ""}), "other"]
    for place, name in (("responder", options.responder), ("source", options.source)):
        if name is not None and name not in known and recipe.table is None:
            yield f"priming.{place}: {unknown(name, known, 'phenotype')}"
    channels = [
        ("response", options.response),
        ("ligand", options.ligand),
        *(("controls", name) for name in options.controls or ()),
    ]
    for place, name in channels:
        if name not in recipe.names:
            yield f"priming.{place}: {unknown(name, recipe.names, 'channel')}"
        elif recipe.channel(name).role == "ignore":
            yield (
                f"priming.{place}: channel {name!r} has role ignore and is not measured; give it"
                " the role marker"
            )
    if options.response == options.ligand:
        yield (
            f"priming.ligand: {options.ligand!r} is also the response; the two are different"
            " channels"
        )
    yield from (
        f"priming.controls: {name!r} is the ligand or the response and cannot control itself;"
        " remove it"
        for name in options.controls or ()
        if name in (options.ligand, options.response)
    )
    source, responder = (
        options.source or recipe.proximity.to or "tumor",
        options.responder or recipe.proximity.from_ or "myeloid",
    )
    if source == responder:
        yield f"priming.source: {source!r} is also the responder; the two are different phenotypes"
    if list(options.radii_um) != sorted(set(options.radii_um)):
        yield (
            f"priming.radii_um: found {_numbers(options.radii_um)}, expected growing radii, each"
            " once"
        )
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
        if name not in recipe.names:
            yield f"{place}: {unknown(name, recipe.names, 'channel')}"
        elif recipe.channel(name).role == "ignore":
            yield (
                f"{place}: channel {name!r} has role ignore and is not read; remove the color or"
                " change the role"
            )
        if hex_color(color) != HIDDEN and not re.fullmatch("#[0-9a-f]{6}", hex_color(color)):
            near = nearest(color, COLORS)
            yield (
                f"{place}: found {color!r}, expected #rrggbb, none or one of {', '.join(COLORS)}"
                + (f"; did you mean {near!r}?" if near else "")
            )


def _measure(recipe: Recipe) -> Iterator[str]:
    statistics = recipe.measure.statistics
    if not statistics:
        yield "measure.statistics: found none, expected at least one of mean, median, p95, sum, std"
    if len(set(statistics)) < len(statistics):
        yield f"measure.statistics: found {', '.join(statistics)}, expected each once"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
