"""Effects of slides as values, for tests of what is made from them; the numbers are drawn, the
pipeline makes its own.
"""

from __future__ import annotations

import numpy as np

from ifquant.statistics.priming.question import Control, Question
from ifquant.statistics.priming.slide_effect import DosePoint, GuardRow, SlideEffect, TestResult

QUESTION = Question(
    responder="myeloid",
    response="IL1B",
    source="tumor",
    ligand="TGFB1",
    response_column="IL1B_cytoplasm_mean",
    ligand_column="TGFB1_membrane_mean",
    own_ligand_column="TGFB1_cytoplasm_mean",
    source_covariates=("PanCK_cytoplasm_mean",),
    fields={"DAPI": "DAPI_nucleus_mean"},
    controls=(Control("DAPI", "DAPI_nucleus_mean"),),
)

GUARDS = (
    ("ligand away from the contact", "main", 1.0),
    ("without touching pairs", "sensitivity", 0.6),
    ("ligand at the shared border", "sensitivity", 1.1),
    ("response measured inside", "spill-over", 0.9),
    ("negative control DAPI", "negative control", 0.0),
    ("negative control PanCK", "negative control", 0.0),
    ("roles swapped", "direction", 0.5),
)


def slide_effect(
    slide: str,
    z: float,
    rng: np.random.Generator,
    shares: dict[str, float] | None = None,
    se: float = 0.12,
) -> SlideEffect:
    """One testable slide; `shares` overrides how much of the effect a guard keeps."""
    guards = tuple(
        GuardRow(
            name,
            kind,
            z * (shares or {}).get(name, share) + 0.04 * rng.standard_normal(),
            se,
            0.5,
            180,
            f"{name}: reads as",
        )
        for name, kind, share in GUARDS
    )
    dose = tuple(
        DosePoint(float(x), 30, float(z * x + 0.15 * rng.standard_normal()), -1.0, 1.0)
        for x in np.linspace(-1.5, 1.5, 7)
    )
    return SlideEffect(
        slide=slide,
        question=QUESTION,
        verdict="no evidence",
        reason="",
        z=z,
        se_z=se,
        correlation=float(np.tanh(z)),
        n_effective=70,
        tests={"shift": TestResult(0.2, "", 99, tuple(rng.normal(0, se, 99)))},
        n_cells=4000,
        n_responders=500,
        n_exposed=210,
        n_sources=1500,
        n_touched_sources=300,
        guards=guards,
        dose_response=dose,
        slope=z,
        slope_se=se,
    )


def not_testable(
    slide: str, reason: str = "not testable: 12 exposed responders, 60 are needed"
) -> SlideEffect:
    return SlideEffect(
        slide=slide,
        question=QUESTION,
        verdict="not testable",
        reason=reason,
        n_cells=900,
        n_responders=30,
        n_exposed=12,
    )
