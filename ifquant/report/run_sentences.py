"""Sentences of the report: what was done, what the numbers cannot say, which comparisons need a
common gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ifquant.columns.cell_columns import gated_markers, proximity_pair
from ifquant.recipe.model import Recipe
from ifquant.report.limits import priming_limits
from ifquant.results.slide_record import SlideRecord

SPREAD = 1.25
"""Largest ratio between the gates of slides before the report calls them different."""


def methods(recipe: Recipe, versions: Mapping[str, str]) -> list[str]:
    """Paragraphs for a methods section, from the recipe alone."""
    segmentation, cells, measure, near = (
        recipe.segmentation,
        recipe.cells,
        recipe.measure,
        recipe.proximity,
    )
    names = {
        role: [c.name for c in recipe.channels if c.role == role]
        for role in ("nucleus", "tumor", "myeloid", "marker", "background")
    }
    source, target = proximity_pair(recipe)
    if segmentation.method == "labels":
        first = "Nuclei were taken from masks made elsewhere" + (
            " and so were cells." if segmentation.cells else "."
        )
    else:
        channel = segmentation.channel or ", ".join(names["nucleus"])
        first = (
            f"Nuclei were segmented in {channel} with the method “{segmentation.method}” of ifquant"
            f" {versions['ifquant']}."
        )
    grown = [
        f"Each nucleus was grown into one cell: by {cells.other_um:g} µm",
        *(
            [f"within the stain of {_and(names['tumor'])} by up to {cells.tumor_um:g} µm"]
            if names["tumor"]
            else []
        ),
    ]
    if names["myeloid"]:
        grown.append(
            f"in myeloid cells by {cells.myeloid_soma_um:g} µm plus connected stain of"
            f" {_and(names['myeloid'])} up to {cells.myeloid_process_um:g} µm"
        )
    second = ", ".join(grown) + ", stopped at neighbors."
    if names["marker"]:
        second += f" {_and(names['marker'])} did not shape any cell."
    third = (
        f"Per cell and channel the {_and(list(measure.statistics))} of raw file values was measured"
        f" in nucleus, cytoplasm, membrane (a ring of {measure.membrane_um:g} µm inside the"
        f" border), cell and soma (nucleus plus {measure.soma_um:g} µm, less pixels within"
        f" {measure.soma_clear_um:g} µm of another cell)."
    )
    if measure.background == "calibration":
        third += " Corrected columns have the background level of the slide subtracted."
    ways = {
        "mixture": "a mixture of two components on log intensities",
        "otsu": "Otsu's method on log intensities",
        "value": "a given value",
        "control": "a quantile of control cells",
    }
    gates = [
        f"{marker}:"
        f" {ways[gate.method]}{', one gate for all slides' if gate.shared else ', per slide'}"
        for marker in gated_markers(recipe)
        for gate in [recipe.gates.markers.get(marker, recipe.gates.default)]
    ]
    fourth = (
        f"Gates ({'; '.join(gates)}) were called only where the cells show two populations;"
        " otherwise positivity was left empty."
    )
    rules = "; ".join(f"{name} = {rule}" for name, rule in recipe.phenotypes.items())
    fifth = (
        f"Phenotypes, in this order: {rules or 'none'}. Excluded markers were judged in the soma. A"
        " cell no rule fits is “other”."
    )
    sixth = ""
    if source and target:
        sixth = (
            f"Distances run from {source} to the nearest {target} cell, between centroids and"
            " between borders (0 = the cells touch, corners included). The tumor region closes"
            f" gaps up to {near.region_close_um:g} µm and ignores islands below"
            f" {near.region_min_area_um2:g} µm². Densities are per mm² of the tissue mask."
        )
    used = ", ".join(
        f"{name} {version}"
        for name, version in versions.items()
        if name not in ("ifquant", "algorithm") and version != "missing"
    )
    return [
        part
        for part in (
            f"{first} {second}",
            third,
            f"{fourth} {fifth}",
            sixth,
            f"ifquant {versions['ifquant']} with {used}.",
        )
        if part
    ]


def limits(recipe: Recipe) -> list[str]:
    """Sentences about what these numbers cannot say."""
    source, target = proximity_pair(recipe)
    out = [
        (
            "Staining shows that a protein is present in a place, not that it is active, released"
            " or new; intensities are no concentrations."
        ),
        *priming_limits(recipe),
        (
            "A section is a few µm thick: cells above and below it are unseen, nearest neighbors"
            " may lie outside the plane, cut cells look smaller, and overlapping cells can pass for"
            " touching ones."
        ),
        (
            "Light of bright cells reaches their neighbors (blur, spill-over). Touching cells are"
            " affected most: a difference between touching and other cells can arise without"
            " biology. Compare cytoplasm, soma and membrane columns, and the table of double"
            " positives."
        ),
        (
            "Cells near the image border have unseen neighbors; the columns tissue_within_<r>um"
            " tell how much of each neighborhood was seen."
        ),
        (
            "Cells of one slide, and slides of one patient, are not independent observations. This"
            " report holds no p-values: group comparisons belong on the level of patients."
        ),
    ]
    if source and target:
        out.append(
            f"That {source} cells lie near {target} cells says nothing on cause: both may follow"
            " the same tissue architecture (compare with the densities at the tumor border)."
        )
    return out


def shared_gates(recipe: Recipe, records: Sequence[SlideRecord]) -> list[dict[str, Any]]:
    """Per marker how its gates relate between slides, and what that means for comparing slides.

    Returns
    -------
    One entry per gated marker: marker, scope, n_callable, n_slides, low, high (raw), text.
    """
    out = []
    for marker in gated_markers(recipe):
        gates = [record.gates[marker] for record in records if marker in record.gates]
        values = [float(gate.value) for gate in gates if gate.callable and gate.value is not None]
        shared = recipe.gates.markers.get(marker, recipe.gates.default).shared or any(
            gate.scope == "cohort" for gate in gates
        )
        missing = len(gates) - len(values)
        if not gates:
            continue
        if not values:
            text = (
                f"Not callable on any slide: there are no {marker}-positive or -negative cells to"
                " compare."
            )
        elif shared or recipe.gates.markers.get(marker, recipe.gates.default).method == "value":
            text = (
                "One gate for all slides: fractions compare if staining and exposure were the same."
            )
        elif len(values) == 1:
            text = "Fitted per slide and callable on one: nothing to compare."
        elif min(values) > 0 and max(values) / min(values) > SPREAD:
            text = (
                "Fitted per slide; the gates differ by a factor of"
                f" {max(values) / min(values):.2g}. If staining and exposure were the same on all"
                f" slides, set shared = true in [gates.markers.{marker}] before comparing"
                " fractions."
            )
        else:
            text = "Fitted per slide; the gates agree closely, so positive fractions compare."
        if values and missing:
            text += (
                f" On {missing} of {len(gates)} slides the gate is not callable: leave these out of"
                " comparisons, or share the gate."
            )
        low, high = (min(values), max(values)) if values else (None, None)
        out.append(
            {
                "marker": marker,
                "shared": shared,
                "n_callable": len(values),
                "n_slides": len(gates),
                "low": low,
                "high": high,
                "text": text,
            }
        )
    return out


def _and(names: Sequence[str]) -> str:
    return (
        names[0]
        if len(names) == 1
        else ", ".join(names[:-1]) + " and " + names[-1]
        if names
        else "none"
    )
