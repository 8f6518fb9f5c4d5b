"""The question on one slide: how a cell's response depends on the ligand of cells it touches.

See docs/statistics.md.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np
from scipy import stats

from ifquant.recipe.model import Priming
from ifquant.statistics.priming import secondary_measures
from ifquant.statistics.priming.adjusted_association import BORDER, MIN_BYSTANDERS, Structure
from ifquant.statistics.priming.exposure import Contacts
from ifquant.statistics.priming.field_shifts import field_shift_test
from ifquant.statistics.priming.guards import guard_rows
from ifquant.statistics.priming.primary_association import (
    Exposure,
    Primary,
    exposure_of,
    primary_association,
)
from ifquant.statistics.priming.question import Question
from ifquant.statistics.priming.slide_cells import SlideCells, SlideData, studied_backgrounds
from ifquant.statistics.priming.slide_effect import SlideEffect, TestResult, verdict_of
from ifquant.statistics.priming.surrogates import surrogate_test

MIN_EFFECTIVE = 20.0
"""Fewer independent responders than this: the tests are no longer calibrated
(docs/statistics.md)."""
MIN_SOURCES = 100
MIN_TISSUE_UM2 = 40_000.0
SURROGATES = 199


def priming_effect(
    data: SlideData,
    question: Question,
    options: Priming,
    *,
    slide: str,
    seed: int = 0,
    with_guards: bool = True,
) -> SlideEffect:
    """Estimate and test the priming effect of one slide.

    Parameters
    ----------
    question, options
        From `question_of`.
    slide
        Name of the slide; random numbers derive from it, the recipe's seed and their purpose.
    with_guards
        False leaves out guards and descriptions (calibration runs).

    Raises
    ------
    RequestError
        If the table lacks a column of the question, or pairs and cells do not belong together.
    """
    if question.refusal:
        levels = studied_backgrounds(data, question)
        refused = SlideEffect(slide, question, "not testable", question.refusal)
        return replace(refused, n_cells=len(data.cells), backgrounds=levels)
    cells = SlideCells.of(data, question, options)
    exposure = exposure_of(cells)
    effect = _untested(cells, exposure, slide, seed)
    if why := too_little(cells, exposure.near):
        return replace(effect, reason=why)
    primary = primary_association(cells, exposure)
    effect = replace(
        effect,
        backgrounds=dict(cells.backgrounds),
        held=secondary_measures.held_constant(primary),
        settings={**effect.settings, "trend_terms": primary.structure.n_terms},
    )
    effect = _tested(effect, primary, seed)
    if effect.p is None:
        return effect
    if with_guards:
        effect = _guarded(effect, primary, seed)
    backgrounds = dict(cells.backgrounds)  # controls are measured among the guards
    effect = replace(effect, backgrounds=backgrounds, warnings=_warnings(primary.structure))
    verdict, reason = verdict_of(effect)
    return replace(effect, verdict=verdict, reason=reason)


def _untested(cells: SlideCells, exposure: Exposure, slide: str, seed: int) -> SlideEffect:
    """Record the counts and settings of a slide before anything is estimated."""
    options = cells.options
    contact = f"centroids within {options.contact_um:g} um (no outlines)"
    return SlideEffect(
        slide,
        cells.question,
        "not testable",
        "",
        n_cells=len(cells),
        n_responders=int(cells.responder.sum()),
        n_exposed=len(exposure.near),
        n_sources=int(cells.source.sum()),
        n_touched_sources=len(exposure.near.touched),
        backgrounds=dict(cells.backgrounds),
        floored=secondary_measures.floored(cells, exposure),
        settings={
            **options.model_dump(mode="json"),
            "seed": seed,
            "contact": contact if cells.slide.pairs is None else "outlines",
            "surrogates": SURROGATES,
        },
    )


def _tested(effect: SlideEffect, primary: Primary, seed: int) -> SlideEffect:
    """Complete an effect by the estimate and its tests, or by why there are none."""
    found = primary.association
    if not math.isfinite(found.z):
        return replace(
            effect,
            reason=(
                "not testable: response or ligand has no variation left once structure is held"
                " constant"
            ),
        )
    effect = replace(effect, n_effective=found.n_effective)
    if found.n_effective < MIN_EFFECTIVE:
        why = (
            f"not testable: {found.n} exposed cells are worth {found.n_effective:.0f} independent"
            f" ones (at least {MIN_EFFECTIVE:.0f})"
        )
        return replace(effect, reason=why)
    shift = field_shift_test(primary, _rng(seed, effect.slide, "shift"))
    if shift.p is None:
        # what the primary test cannot judge enters no cohort: no calibration covers such slides
        return replace(effect, reason=shift.reason, tests={"shift": shift})
    surrogate = surrogate_test(primary, SURROGATES, _rng(seed, effect.slide, "surrogate"))
    half = float(stats.t.ppf(0.975, max(found.n_effective - 2, 1))) * found.se
    slope, slope_se = secondary_measures.slope(primary)
    return replace(
        effect,
        z=found.z,
        se_z=found.se,
        correlation=found.r,
        interval=(math.tanh(found.z - half), math.tanh(found.z + half)),
        tests={
            "shift": shift,
            "clifford_dutilleul": TestResult(found.p),
            "surrogate": surrogate,
        },
        slope=slope,
        slope_se=slope_se,
        dose_response=secondary_measures.dose_response(found),
    )


def _guarded(effect: SlideEffect, primary: Primary, seed: int) -> SlideEffect:
    """Complete an effect by its guards and by what is shown beside it."""
    return replace(
        effect,
        guards=guard_rows(primary),
        naive=secondary_measures.naive_tests(primary, _rng(seed, effect.slide, "naive")),
        fraction=secondary_measures.naive_fraction(primary),
        bleed_through=secondary_measures.bleed_through(primary.structure.cells, primary.near),
    )


def _warnings(structure: Structure) -> tuple[str, ...]:
    """Sentences on what was not held constant, and on rules that choose cells by what is tested."""
    question = structure.cells.question
    out = list(question.cautions)
    if question.response not in structure.fields and not question.empty:
        out.append(
            f"local autofluorescence was not held constant: fewer than {MIN_BYSTANDERS} cells are"
            f" neither {question.responder} nor {question.source} and far from any"
            f" {question.responder}, and the panel has no empty channel (role background). Such"
            f" light adds to both {question.ligand} and {question.response}."
        )
    if BORDER not in structure.columns:
        out.append(
            "distance to the tumor border was not held constant: the table does not hold it for"
            " every cell (a run measures it)."
        )
    return tuple(out)


def too_little(cells: SlideCells, near: Contacts) -> str:
    """Reason why a slide holds too little to be tested; "" when it does not."""
    question, options, tissue = cells.question, cells.options, cells.slide.tissue
    if len(near) < options.min_exposed:
        return (
            f"not testable: {len(near)} {question.responder} cells touch {question.source} cells"
            f" with a known {question.ligand}; at least {options.min_exposed} are needed ([priming]"
            " min_exposed)"
        )
    n_sources = int(cells.source.sum())
    if len(near.touched) < MIN_SOURCES // 2 or n_sources < MIN_SOURCES:
        return (
            f"not testable: {n_sources} {question.source} cells, {len(near.touched)}"
            " of them touched; too few to compare"
        )
    if tissue is not None and tissue.area_um2 < MIN_TISSUE_UM2:
        return (
            f"not testable: {tissue.area_um2 / 1e6:.3f} mm2 of tissue; at least"
            f" {MIN_TISSUE_UM2 / 1e6:.2f} are needed"
        )
    return ""


def _rng(seed: int, slide: str, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose on one slide, whatever else runs and where."""
    key = hashlib.sha256(f"{seed}\0{slide}\0{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(key[:16], "little"))
