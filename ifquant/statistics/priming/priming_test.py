"""The question on one slide: does the response of a cell depend on the ligand of the cells it
touches? See docs/statistics.md.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ifquant.geometry.region import Region
from ifquant.recipe.model import Priming
from ifquant.statistics.priming import secondary_measures
from ifquant.statistics.priming.adjusted_association import BORDER, MIN_BYSTANDERS, Structure
from ifquant.statistics.priming.exposure import Neighbours
from ifquant.statistics.priming.guards import guard_rows
from ifquant.statistics.priming.primary_association import (
    Primary,
    build_primary,
    contacts,
    measured,
)
from ifquant.statistics.priming.question import Background, Question
from ifquant.statistics.priming.random_shifts import shift_test
from ifquant.statistics.priming.secondary_measures import floored, held_constant
from ifquant.statistics.priming.slide_cells import SlideCells, studied_backgrounds
from ifquant.statistics.priming.slide_effect import NullModel, SlideEffect, TestResult, verdict_of
from ifquant.statistics.priming.structure import normal_scores
from ifquant.statistics.priming.surrogates import surrogate_test

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

MIN_EFFECTIVE = 20.0
"""Fewer independent responders than this: the tests are no longer calibrated
(docs/statistics.md)."""
MIN_SOURCES = 100
MIN_TISSUE_UM2 = 40_000.0
SURROGATES = 199


def analyse_slide(
    cells: pd.DataFrame,
    *,
    slide: str,
    question: Question,
    options: Priming,
    seed: int = 0,
    tissue: Region | None = None,
    pairs: pd.DataFrame | None = None,
    backgrounds: Mapping[str, Background] | None = None,
    with_guards: bool = True,
) -> SlideEffect:
    """Analyse one slide.

    Parameters
    ----------
    cells
        One row per cell: ``cell_id``, ``x_um``, ``y_um``, ``phenotype``, the columns the question
        names, and where there are ``tumor_region_distance_um`` and ``<response>_positive``.
    slide
        Name of the slide; random numbers derive from it, the recipe's seed and their purpose.
    question, options
        From `question_of`.
    seed
        The recipe's seed.
    tissue
        Where there is tissue; None: known only from the cells.
    pairs
        Contacts and what was measured at them (pairs.parquet); None: tables without outlines, where
        cells closer than ``options.contact_um`` count as touching and the ligand is that of the
        whole border.
    backgrounds
        Marker > background level; None: a substitute from the cells.
    with_guards
        False leaves out guards and descriptions (calibration runs).

    Raises
    ------
    RequestError
        If the table lacks a column that the question needs, or pairs and cells do not belong
        together.
    """
    if question.refusal:
        levels = studied_backgrounds(cells, question, backgrounds)
        return SlideEffect(
            slide,
            question,
            "not testable",
            question.refusal,
            n_cells=len(cells),
            backgrounds=levels,
        )
    data = SlideCells.of(cells, question, backgrounds)
    ligand, own = measured(data, pairs)
    near = contacts(data, ligand, own, pairs, options)
    blank = SlideEffect(
        slide,
        question,
        "not testable",
        "",
        n_cells=len(data),
        n_responders=int(data.responder.sum()),
        n_exposed=len(near),
        n_sources=int(data.source.sum()),
        n_touched_sources=len(near.touched),
        backgrounds=dict(data.used),
        floored=floored(data, near, ligand),
        settings=_settings(options, seed, pairs),
    )
    why = too_little(data, near, options, tissue)
    if why:
        return replace(blank, reason=why)
    primary = build_primary(data, near, ligand, own, options, tissue)
    found = primary.found
    blank = replace(
        blank,
        backgrounds=dict(data.used),
        held=held_constant(primary),
        settings={**blank.settings, "trend_terms": primary.structure.n_terms},
    )
    if not math.isfinite(found.z):
        return replace(
            blank,
            reason=(
                "not testable: response or ligand has no variation left once structure is held"
                " constant"
            ),
        )
    if found.n_effective < MIN_EFFECTIVE:
        why = (
            f"not testable: {found.n} exposed cells are worth {found.n_effective:.0f} independent"
            f" ones (at least {MIN_EFFECTIVE:.0f})"
        )
        return replace(blank, reason=why, n_effective=found.n_effective)
    tests = _tests(primary, options, tissue, seed, slide)
    if (
        tests["shift"].p is None
        # what the primary test cannot judge enters no cohort: calibration knows nothing of such
        # slides
    ):
        return replace(
            blank,
            reason=tests["shift"].reason,
            n_effective=found.n_effective,
            tests={"shift": tests["shift"]},
        )
    half = float(stats.t.ppf(0.975, max(found.n_effective - 2, 1))) * found.se
    slope, slope_se = secondary_measures.slope(primary)
    effect = replace(
        blank,
        z=found.z,
        se_z=found.se,
        correlation=found.r,
        interval=(math.tanh(found.z - half), math.tanh(found.z + half)),
        n_effective=found.n_effective,
        tests=tests,
        slope=slope,
        slope_se=slope_se,
        dose_response=secondary_measures.dose_response(found),
    )
    if with_guards:
        rng = _rng(seed, slide, "naive")
        effect = replace(
            effect,
            guards=guard_rows(primary, pairs),
            naive=secondary_measures.naive_tests(primary, rng),
            fraction=secondary_measures.naive_fraction(primary),
            bleed_through=secondary_measures.bleed_through(data, near),
        )
    effect = replace(effect, backgrounds=dict(data.used))  # controls are measured among the guards
    effect = replace(effect, warnings=_warnings(primary.structure))
    verdict, reason = verdict_of(effect)
    return replace(effect, verdict=verdict, reason=reason)


def _warnings(structure: Structure) -> tuple[str, ...]:
    """Say what could not be held constant although it matters, and which rules choose cells by what
    is tested.
    """
    question = structure.cells.question
    said = list(question.cautions)
    if question.response not in structure.fields and not question.empty:
        said.append(
            f"local autofluorescence was not held constant: fewer than {MIN_BYSTANDERS} cells are"
            f" neither {question.responder} nor {question.source} and far from any"
            f" {question.responder}, and the panel has no empty channel (role background). Such"
            f" light adds to both {question.ligand} and {question.response}."
        )
    if BORDER not in structure.columns:
        said.append(
            "distance to the tumor border was not held constant: the table does not hold it for"
            " every cell (a run measures it)."
        )
    return tuple(said)


def too_little(data: SlideCells, near: Neighbours, options: Priming, tissue: Region | None) -> str:
    """Say why a slide holds too little to be tested; "" when it does not."""
    question = data.question
    if len(near) < options.min_exposed:
        return (
            f"not testable: {len(near)} {question.responder} cells touch {question.source} cells"
            f" with a known {question.ligand}; at least {options.min_exposed} are needed ([priming]"
            " min_exposed)"
        )
    if len(near.touched) < MIN_SOURCES // 2 or int(data.source.sum()) < MIN_SOURCES:
        return (
            f"not testable: {int(data.source.sum())} {question.source} cells, {len(near.touched)}"
            " of them touched; too few to compare"
        )
    if tissue is not None and tissue.area_um2 < MIN_TISSUE_UM2:
        return (
            f"not testable: {tissue.area_um2 / 1e6:.3f} mm2 of tissue; at least"
            f" {MIN_TISSUE_UM2 / 1e6:.2f} are needed"
        )
    return ""


def _tests(
    primary: Primary, options: Priming, tissue: Region | None, seed: int, slide: str
) -> dict[NullModel, TestResult]:
    data, found = primary.structure.cells, primary.found
    x0, y0, x1, y1 = primary.structure.frame
    shift = shift_test(
        data,
        primary.model,
        found,
        primary.field,
        primary.sources,
        n_shifts=options.permutations,
        snap_um=options.snap_um,
        region=tissue,
        extent_um=(x1 - x0, y1 - y0),
        rng=_rng(seed, slide, "shift"),
    )
    scores = normal_scores(primary.ligand[primary.sources])
    surrogate = surrogate_test(
        data,
        primary.model,
        found,
        scores,
        primary.sources,
        primary.source_basis,
        n=SURROGATES,
        rng=_rng(seed, slide, "surrogate"),
    )
    return {"shift": shift, "clifford_dutilleul": TestResult(found.p), "surrogate": surrogate}


def _rng(seed: int, slide: str, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose on one slide, whatever else runs and where."""
    key = hashlib.sha256(f"{seed}\0{slide}\0{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(key[:16], "little"))


def _settings(options: Priming, seed: int, pairs: pd.DataFrame | None) -> dict[str, object]:
    contact = (
        "outlines"
        if pairs is not None
        else f"centroids within {options.contact_um:g} um (no outlines)"
    )
    return {
        **options.model_dump(mode="json"),
        "seed": seed,
        "contact": contact,
        "surrogates": SURROGATES,
    }
