"""Sentences of the cohort's page: the question, how it was tested, what it cannot say. Ready to paste into a paper."""

from __future__ import annotations

from collections.abc import Mapping

from ifquant.recipes.recipe import Priming, Recipe
from ifquant.reports.analysis import Analysis
from ifquant.statistics.cohort_effect import CohortEffect
from ifquant.statistics.multiplicity import METHOD_TEXT
from ifquant.statistics.multiverse import Multiverse
from ifquant.statistics.question import Question


def question_sentence(question: Question) -> str:
    """Ask the question in one sentence."""
    if not question.ligand:
        return f"How do {question.responder} cells lie to {question.source} cells?"
    return (
        f"Do {question.responder} cells that touch {question.source} cells with more {question.ligand} contain more {question.response}, "
        f"at equal number and distance of {question.source} neighbors?"
    )


def p_sentence(effect: CohortEffect) -> str:
    """Write the primary p-value with all that stands beside it."""
    if effect.p is None:
        return f"No p-value: {effect.reason or 'not testable'}."
    how = "exact sign-flip over patients" if effect.exact else "sign-flip over patients, 99,999 random patterns"
    return f"p = {effect.p:.3g} ({how}; smallest possible here {effect.smallest_p:.2g}); {effect.n_text}"


def multiverse_sentence(found: Multiverse) -> str:
    """Say what the specifications show together."""
    if not found.n_estimated or found.lowest is None or found.highest is None or found.median is None:
        return "No specification could be estimated."
    return (
        f"{found.n} specifications, {found.n_estimated} with an estimate: {found.n_same_sign} have the sign of the primary analysis and "
        f"{found.n_below_alpha} a sign-flip p of at most 0.05; effects from {found.lowest:+.3f} to {found.highest:+.3f}, median "
        f"{found.median:+.3f}. They share their cells: this shows how far the result hangs on one choice and is no test."
    )


def cohort_methods(analysis: Analysis) -> list[str]:
    """Paragraphs for a methods section."""
    recipe, question, cohort = analysis.recipe, analysis.question, analysis.cohort
    options = recipe.priming
    assert options is not None
    used = ", ".join(f"{name} {version}" for name, version in analysis.versions.items() if name != "algorithm" and version != "missing")
    last = (
        f"Proximity was tested per slide with {recipe.cohort.proximity_shifts} random shifts and random labellings (global envelopes of L "
        f"and G, one p per curve). Random numbers were drawn with seed {recipe.seed}; results do not depend on the number of workers. "
        f"Software: {used}."
    )
    if not question.ligand:
        return [last]
    antibody = f" (antibody: {options.ligand_antibody})" if options.ligand_antibody else ""
    held = _and([column.rsplit("_", 2)[0] for column in question.source_covariates])
    covariates = f"{held} of the {question.source} cells and in the responder, " if held else ""
    outlines = all(slide.settings.get("contact", "outlines") == "outlines" for slide in cohort.slides)
    contact = "in contact with" if outlines else f"whose centroid lies within {options.contact_um:g} µm of"
    border = f"; pixels within {options.away_um:g} µm of the {question.responder} cell left out" if outlines else ", whole border"
    first = (
        f"For each {question.responder} cell {contact} at least one {question.source} cell, exposure was the mean "
        f"{question.ligand}{antibody} of these {question.source} cells ({options.ligand_compartment}{border}), and response its "
        f"{question.response} "
        f"({options.response_compartment}). The effect of a slide was the partial rank correlation of response and exposure on Fisher's z "
        f"scale, given the number and distance of touched {question.source} cells, the responder's own {question.ligand} (less what "
        f"goes along with the exposure, cross-fitted between the halves of the tissue), "
        f"{covariates}distance to the tumor border, local cell density, "
        f"local staining level and a smooth spatial trend. Its standard error used the effective number of independent cells. Slides "
        f"with fewer than {options.min_exposed} exposed cells were not tested."
    )
    second = (
        "Slides of a patient were averaged with weights 1/SE²; patients counted equally. The primary test was the two-sided "
        f"{'exact ' if cohort.effect.exact else ''}sign-flip test of the patients' effects, with Student's t interval of their mean. "
        "Second opinions were a random-effects meta-analysis (Paule-Mandel variance, modified Hartung-Knapp interval) and a linear "
        "mixed model of exposure bins with a random slope per patient (REML, t with patients − 1 degrees of freedom). Groups were compared "
        "by permuting patients (Welch's t), visits by sign-flip of the differences within patients. "
        f"P-values were adjusted within families: {_families(analysis)}."
    )
    third = _guards_text(analysis, options)
    return [first, second, third, last]


def _guards_text(analysis: Analysis, options: Priming) -> str:
    """Name the guards that were really computed."""
    asked = [guard.name for guard in analysis.cohort.guards if guard.kind != "main" and guard.effect.estimate is not None]
    return (
        f"Guards against artifacts: the same effect under other measurements ({'; '.join(asked) or 'none available'}). "
        f"On each slide the null distribution came from {options.permutations} random shifts of the ligand residuals within the tissue "
        "(variance-corrected), with positions and neighbors kept."
    )


def _families(analysis: Analysis) -> str:
    names = {test.family.name: METHOD_TEXT[test.family.method] for test in analysis.cohort.tests}
    return "; ".join(f"{name}, {method}" for name, method in names.items())


def cohort_limits(question: Question, recipe: Recipe) -> list[str]:
    """Say what the answer cannot, whatever it is."""
    options = recipe.priming
    asked = not (options and options.ligand_antibody)
    if not question.ligand:
        return [
            "That cells lie near each other says nothing on cause: both may follow the same tissue architecture.",
            "A section is about 4 µm thick: neighbors above and below its plane are missed.",
        ]
    return [
        "Cells of one moment are observed: an association at equal proximity is consistent with priming and does not show that one cell "
        "changes the other.",
        f"Immunofluorescence shows presence: {question.response} staining does not tell a precursor from the active or secreted form "
        "(for IL1β it is mostly pro-IL1β).",
        "A section is about 4 µm thick: contacts above and below its plane are missed, and overlapping cells can pass for touching ones.",
        "Latent and active forms of a ligand such as TGFβ need different antibodies"
        + ("; no clone is given in the recipe (ligand_antibody)." if asked else f"; here: {options.ligand_antibody if options else ''}."),
        f"A ligand can change what defines its source: TGFβ can lower cytokeratin and so move the gate of {question.source} cells; the "
        "multiverse varies that gate.",
        "Slides that cannot be tested are listed with their reason and take no part; if that depends on the effect, the others are a "
        "selection.",
    ]


def settings_rows(analysis: Analysis) -> Mapping[str, str]:
    """Name > value of the choices that matter, for the table at the end of the page."""
    options = analysis.recipe.priming
    cohort = analysis.recipe.cohort
    assert options is not None
    rows = {f"priming.{name}": str(value) for name, value in options.model_dump(mode="json").items()}
    return rows | {f"cohort.{name}": str(value) for name, value in cohort.model_dump(mode="json").items()}


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""
