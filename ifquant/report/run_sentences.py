"""Sentences of a run's report: methods, limits, and which comparisons need a common gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ifquant.columns.cell_columns import gated_markers, proximity_pair
from ifquant.recipe.model import Recipe
from ifquant.report.sentences import and_list, priming_limits, software
from ifquant.results.slide_record import SlideRecord

SPREAD = 1.25
"""Largest ratio between the gates of slides before the report calls them different."""
_GATE_METHODS = {
    "mixture": "a mixture of two components on log intensities",
    "otsu": "Otsu's method on log intensities",
    "value": "a given value",
    "control": "a quantile of control cells",
}


def methods(recipe: Recipe, versions: Mapping[str, str]) -> list[str]:
    """Paragraphs for a methods section, from the recipe alone."""
    paragraphs = (
        _cells(recipe, versions["ifquant"]),
        _measurement(recipe),
        _phenotypes(recipe),
        _distances(recipe),
        f"ifquant {versions['ifquant']} with {software(versions, without=['ifquant'])}.",
    )
    return [paragraph for paragraph in paragraphs if paragraph]


def _cells(recipe: Recipe, version: str) -> str:
    segmentation, cells = recipe.segmentation, recipe.cells
    nuclei, tumor, myeloid, markers = (
        [channel.name for channel in recipe.with_role(role)]
        for role in ("nucleus", "tumor", "myeloid", "marker")
    )
    if segmentation.method == "labels":
        text = "Nuclei were taken from masks made elsewhere"
        text += " and so were cells." if segmentation.cells else "."
    else:
        channel = segmentation.channel or ", ".join(nuclei)
        text = (
            f"Nuclei were segmented in {channel} with the method “{segmentation.method}” of ifquant"
            f" {version}."
        )
    text += f" Each nucleus was grown into one cell: by {cells.other_um:g} µm"
    if tumor:
        text += f", within the stain of {and_list(tumor)} by up to {cells.tumor_um:g} µm"
    if myeloid:
        text += (
            f", in myeloid cells by {cells.myeloid_soma_um:g} µm plus connected stain of"
            f" {and_list(myeloid)} up to {cells.myeloid_process_um:g} µm"
        )
    text += ", stopped at neighbors."
    return text + (f" {and_list(markers)} did not shape any cell." if markers else "")


def _measurement(recipe: Recipe) -> str:
    measure = recipe.measure
    text = (
        f"Per cell and channel the {and_list(measure.statistics)} of raw file values was measured"
        f" in nucleus, cytoplasm, membrane (a ring of {measure.membrane_um:g} µm inside the"
        f" border), cell and soma (nucleus plus {measure.soma_um:g} µm, less pixels within"
        f" {measure.soma_clear_um:g} µm of another cell)."
    )
    if measure.background == "calibration":
        text += " Corrected columns have the background level of the slide subtracted."
    return text


def _phenotypes(recipe: Recipe) -> str:
    gates = []
    for marker in gated_markers(recipe):
        gate = recipe.gate(marker)
        scope = "one gate for all slides" if gate.shared else "per slide"
        gates.append(f"{marker}: {_GATE_METHODS[gate.method]}, {scope}")
    rules = "; ".join(f"{name} = {rule}" for name, rule in recipe.phenotypes.items())
    return (
        f"Gates ({'; '.join(gates)}) were called only where the cells show two populations;"
        " otherwise positivity was left empty."
        f" Phenotypes, in this order: {rules or 'none'}. Excluded markers were judged in the soma."
        " A cell no rule fits is “other”."
    )


def _distances(recipe: Recipe) -> str:
    source, target = proximity_pair(recipe)
    if not source or not target:
        return ""
    return (
        f"Distances run from {source} to the nearest {target} cell, between centroids and"
        " between borders (0 = the cells touch, corners included). The tumor region closes"
        f" gaps up to {recipe.proximity.region_close_um:g} µm and ignores islands below"
        f" {recipe.proximity.region_min_area_um2:g} µm². Densities are per mm² of the tissue mask."
    )


def limits(recipe: Recipe) -> list[str]:
    """List what the numbers of a run cannot say."""
    source, target = proximity_pair(recipe)
    sentences = [
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
        sentences.append(
            f"That {source} cells lie near {target} cells says nothing on cause: both may follow"
            " the same tissue architecture (compare with the densities at the tumor border)."
        )
    return sentences


def shared_gates(recipe: Recipe, records: Sequence[SlideRecord]) -> list[dict[str, Any]]:
    """Per marker how its gates relate between slides, and what that means for comparing slides.

    Returns
    -------
    One entry per gated marker: marker, scope, n_callable, n_slides, low, high (raw), text.
    """
    entries = []
    for marker in gated_markers(recipe):
        gates = [record.gates[marker] for record in records if marker in record.gates]
        if not gates:
            continue
        values = [float(gate.value) for gate in gates if gate.callable and gate.value is not None]
        shared = recipe.gate(marker).shared or any(gate.scope == "cohort" for gate in gates)
        same = shared or recipe.gate(marker).method == "value"
        text = _comparison(marker, values, same)
        if values and len(values) < len(gates):
            text += (
                f" On {len(gates) - len(values)} of {len(gates)} slides the gate is not callable:"
                " leave these out of comparisons, or share the gate."
            )
        entries.append(
            {
                "marker": marker,
                "shared": shared,
                "n_callable": len(values),
                "n_slides": len(gates),
                "low": min(values, default=None),
                "high": max(values, default=None),
                "text": text,
            }
        )
    return entries


def _comparison(marker: str, values: Sequence[float], same: bool) -> str:
    """Whether fractions of a marker compare; `values`: its callable gates, `same` by the recipe."""
    if not values:
        return (
            f"Not callable on any slide: there are no {marker}-positive or -negative cells to"
            " compare."
        )
    if same:
        return "One gate for all slides: fractions compare if staining and exposure were the same."
    if len(values) == 1:
        return "Fitted per slide and callable on one: nothing to compare."
    low, high = min(values), max(values)
    if low > 0 and high / low > SPREAD:
        return (
            f"Fitted per slide; the gates differ by a factor of {high / low:.2g}. If staining and"
            " exposure were the same on all slides, set shared = true in"
            f" [gates.markers.{marker}] before comparing fractions."
        )
    return "Fitted per slide; the gates agree closely, so positive fractions compare."
