"""Sentences of the cohort's page: the question, p, bleed-through, curves, limits."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ifquant.report.analysis import Analysis
from ifquant.report.cohort_methods import bandwidth_text, by_outlines
from ifquant.report.page import effect as effect_text
from ifquant.report.sentences import priming_limits
from ifquant.statistics.cohort.cohort_test import CohortResult
from ifquant.statistics.cohort.mean_effect import CohortEffect
from ifquant.statistics.cohort.multiverse import Multiverse
from ifquant.statistics.priming.question import Question

NO_OUTLINES = (
    "Tables without outlines tell contact by the distance of centroids, and bring no pixels at the"
    " contacts: spill-over between touching cells cannot be excluded here."
)


def question_sentence(question: Question) -> str:
    """Ask the question in one sentence."""
    if not question.ligand:
        return f"How do {question.responder} cells lie to {question.source} cells?"
    return (
        f"Do {question.responder} cells that touch {question.source} cells with more"
        f" {question.ligand} contain more {question.response}, at equal number and distance of"
        f" {question.source} neighbors?"
    )


def p_sentence(effect: CohortEffect) -> str:
    """Write the primary p-value with all that stands beside it."""
    if effect.p is None:
        return f"No p-value: {effect.reason or 'not testable'}."
    how = (
        "exact sign-flip over patients"
        if effect.exact
        else "sign-flip over patients, 99,999 random patterns"
    )
    return (
        f"p = {effect.p:.3g} ({how}; smallest possible here {effect.smallest_p:.2g});"
        f" {effect.n_text}"
    )


def multiverse_sentence(found: Multiverse) -> str:
    """Say what the specifications show together."""
    if (
        not found.n_estimated
        or found.lowest is None
        or found.highest is None
        or found.median is None
    ):
        return "No specification could be estimated."
    return (
        f"{found.n} specifications, {found.n_estimated} with an estimate: {found.n_same_sign} have"
        f" the sign of the primary analysis and {found.n_below_alpha} a sign-flip p of at most"
        f" 0.05; effects from {effect_text(found.lowest)} to {effect_text(found.highest)}, median"
        f" {effect_text(found.median)}. They share their cells: this shows how far the result hangs"
        " on one choice and is no test."
    )


def bleed_sentence(cohort: CohortResult, question: Question) -> str:
    """Give bleed-through between the two channels over the slides, and what it means."""
    pairs = (
        (question.ligand, question.response, question.source, "ligand_into_response"),
        (question.response, question.ligand, question.responder, "response_into_ligand"),
    )
    parts = []
    for light, channel, kind, name in pairs:
        values = [
            getattr(slide.bleed_through, name)
            for slide in cohort.slides
            if slide.bleed_through is not None
        ]
        known = np.array([value for value in values if math.isfinite(value)])
        if len(known):
            low, middle, high = (_signed(100 * float(v)) for v in np.quantile(known, (0, 0.5, 1)))
            over = (
                "1 slide"
                if len(known) == 1
                else f"median of {len(known)} slides, {low} to {high} %"
            )
            parts.append(f"{light} into the channel of {channel} {middle} % ({over}; {kind} cells)")
        else:
            parts.append(
                f"{light} into the channel of {channel} not known (too few {kind} cells away from"
                " the other kind)"
            )
    return (
        f"Bleed-through: {', '.join(parts)}. Of 100 units of light of one marker so many appear in"
        " the other's channel, as the slope between the channels over cells that touch no tested"
        " cell of the other kind. Where such cells make both proteins together, or share other"
        " light, it is an upper bound; where one protein excludes the other, it is too small."
    )


def _signed(value: float) -> str:
    """Write percent with one decimal and a real minus; never -0.0."""
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")


def curves_sentence(analysis: Analysis) -> str:
    """Say which proximity curves are in the file beside the page; "" without any."""
    if not len(analysis.curves):
        return ""
    band = bandwidth_text(analysis)
    more = (
        f", and the inhomogeneous K ({band}: what varies more slowly counts as density, what varies"
        " faster as interaction)"
    )
    return f"Curves and envelopes of L and G are in proximity_curves.csv{more if band else ''}."


def cohort_limits(analysis: Analysis) -> list[str]:
    """Say what the answer cannot, whatever it is."""
    question = analysis.question
    if not question.ligand:
        return [
            (
                "That cells lie near each other says nothing on cause: both may follow the same"
                " tissue architecture."
            ),
            "A section is about 4 µm thick: neighbors above and below its plane are missed.",
        ]
    return [
        (
            "Cells of one moment are observed: an association at equal proximity is consistent with"
            " priming and does not show that one cell changes the other."
        ),
        *priming_limits(
            analysis.recipe,
            gate_varied=any(
                n.endswith(" gate") for s in analysis.specifications for n in s.choices
            ),
        ),
        *([] if by_outlines(analysis) else [NO_OUTLINES]),
        (
            "Slides that cannot be tested are listed with their reason and take no part; if that"
            " depends on the effect, the others are a selection."
        ),
    ]


def settings_rows(analysis: Analysis) -> Mapping[str, str]:
    """Name > value of the choices that matter, for the table at the end of the page."""
    options = analysis.recipe.priming
    cohort = analysis.recipe.cohort
    assert options is not None
    chosen = {"priming": options.model_dump(mode="json"), "cohort": cohort.model_dump(mode="json")}
    return {
        f"{section}.{name}": "not set" if value is None else str(value)
        for section, own in chosen.items()
        for name, value in own.items()
    }
