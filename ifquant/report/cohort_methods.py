"""The methods section of a cohort's page, from what was really done on its slides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ifquant.recipe.model import Priming
from ifquant.report.analysis import Analysis
from ifquant.report.sentences import and_list, software
from ifquant.statistics.cohort.multiplicity import METHOD_TEXT
from ifquant.statistics.priming.adjusted_association import BYSTANDER_UM
from ifquant.statistics.priming.field_shifts import MIN_USABLE
from ifquant.statistics.priming.priming_test import SURROGATES
from ifquant.statistics.priming.slide_effect import Floored, SlideEffect


def cohort_methods(analysis: Analysis) -> list[str]:
    """Paragraphs for a methods section."""
    question, options = analysis.question, analysis.recipe.priming
    assert options is not None
    if not question.ligand:
        return [_proximity(analysis)]
    if question.refusal:
        return [
            f"The question was not asked: {question.refusal} No effect was estimated.",
            _proximity(analysis),
        ]
    return [
        _effect(analysis, options),
        _null_models(analysis, options),
        _patients(analysis),
        _proximity(analysis),
    ]


def bandwidth_text(analysis: Analysis) -> str:
    """Name the bandwidth of the inhomogeneous K and the slides that have it; "" without any."""
    curves = analysis.curves
    if "bandwidth_um" not in curves:
        return ""
    own = curves[curves["bandwidth_um"].notna()]
    widths = " and ".join(f"{width:g}" for width in sorted(own["bandwidth_um"].unique()))
    slides = f"{own['slide'].nunique()} of {curves['slide'].nunique()} slides"
    return (
        f"densities from a Gaussian kernel with a standard deviation (bandwidth) of {widths} µm,"
        f" {slides}"
        if widths
        else ""
    )


def by_outlines(analysis: Analysis) -> bool:
    """Whether contacts were known from outlines on all slides."""
    return all(
        slide.settings.get("contact", "outlines") == "outlines" for slide in analysis.cohort.slides
    )


def _effect(analysis: Analysis, options: Priming) -> str:
    """Say what was measured and what was held constant on the slides that were tested."""
    question, cohort = analysis.question, analysis.cohort
    antibody = f" (antibody: {options.ligand_antibody})" if options.ligand_antibody else ""
    outlines = by_outlines(analysis)
    contact = (
        "in contact with"
        if outlines
        else f"whose centroid lies within {options.contact_um:g} µm of"
    )
    border = (
        f"; pixels within {options.away_um:g} µm of the {question.responder} cell left out"
        if outlines
        else ", whole border"
    )
    return (
        f"For each {question.responder} cell {contact} at least one {question.source} cell,"
        f" exposure was the mean {question.ligand}{antibody} of these {question.source} cells"
        f" ({options.ligand_compartment}{border}), and response its {question.response}"
        f" ({options.response_compartment}). {_levels(analysis)} The effect of a slide was the"
        " partial rank correlation of response and exposure on Fisher's z scale."
        f" {_held(cohort.slides)} The standard error of the effect used the effective number of"
        f" independent cells (Clifford and Dutilleul). Slides with fewer than {options.min_exposed}"
        " exposed cells were not tested."
    )


def _levels(analysis: Analysis) -> str:
    """Say which background was taken off, and how many values lay at the floor."""
    question, slides = analysis.question, analysis.cohort.slides
    levels, floors, origins = [], [], Counter[str]()
    for name, marker, kind in (
        ("ligand", question.ligand, f"{question.source} cells"),
        ("response", question.response, f"touching {question.responder} cells"),
    ):
        own = [slide.backgrounds[marker] for slide in slides if marker in slide.backgrounds]
        counts = [slide.floored.get(name, Floored(0, 0)) for slide in slides]
        if own:
            level, sd = (
                float(np.median([getattr(one, part) for one in own])) for part in ("level", "sd")
            )
            levels.append(f"{marker}: {level:.4g}, SD {sd:.3g}")
            floors.append(
                f"{sum(c.n_floored for c in counts):,} of {sum(c.n for c in counts):,} {kind}"
                f" ({marker})"
            )
            origins.update(one.origin for one in own)
    if not levels:
        return ""
    return (
        f"Intensities had the background of their channel subtracted ({'; '.join(levels)}, medians"
        f" over slides; {' or '.join(origins)}); what then lay below one background SD was set to"
        f" it: {' and '.join(floors)}. Logarithms became rank scores."
    )


def _held(slides: Sequence[SlideEffect]) -> str:
    """Name what was held constant, with the number of slides where not all have it."""
    asked = [slide for slide in slides if slide.held]
    if not asked:
        return "No slide could be tested, so nothing was held constant."
    counted = Counter(name for slide in asked for name in slide.held)
    order = list(
        dict.fromkeys(
            name for slide in sorted(asked, key=lambda one: -len(one.held)) for name in slide.held
        )
    )
    named = [
        (
            name
            if counted[name] == len(asked)
            else f"{name} (on {counted[name]} of {len(asked)} slides)"
        )
        for name in order
    ]
    widths = sorted(
        {
            float(slide.settings["reference_um"])
            for slide in asked
            if "reference_um" in slide.settings
        }
    )
    out = f"Held constant were {and_list(named)}."
    if widths:
        out += (
            f" Local levels are Gaussian means with a standard deviation of {widths[0]:g} and"
            f" {widths[0] / 2:g} µm"
        )
        out += f" (densities: {widths[0]:g} µm)"
        if any("bystander" in name for name in order):
            question = asked[0].question
            out += (
                f"; bystander cells are neither {question.responder} nor {question.source} and lie"
                f" {BYSTANDER_UM:g} µm or more from any {question.responder} cell"
            )
        out += "."
    return out


def _null_models(analysis: Analysis, options: Priming) -> str:
    """Name the null models of a slide, and the guards that were really computed."""
    source = analysis.question.source
    asked = [
        guard.name
        for guard in analysis.cohort.guards
        if guard.kind != "main" and guard.effect.estimate is not None
    ]
    return (
        f"On each slide the null distribution came from {options.permutations} random shifts of the"
        " ligand residuals within the tissue, beyond their correlation range (variance-corrected;"
        " positions and neighbors kept; each shifted position took the residual of the nearest"
        f" {source} cell within {options.snap_um:g} µm, else it was dropped; with fewer than"
        f" {MIN_USABLE} usable shifts no p was given). The p from the effective sample size"
        f" (Clifford-Dutilleul) and one from {SURROGATES} variogram-matched surrogate fields of the"
        " ligand were second and third opinions. Guards against artifacts: the same effect under"
        f" other measurements ({'; '.join(asked) or 'none available'})."
    )


def _patients(analysis: Analysis) -> str:
    return (
        "Slides of a patient were averaged with weights 1/SE²; patients counted equally. The"
        " primary test was the two-sided"
        f" {'exact ' if analysis.cohort.effect.exact else ''}sign-flip test of the patients'"
        " effects, with Student's t interval of their mean. Second opinions were a random-effects"
        " meta-analysis (Paule-Mandel variance, modified Hartung-Knapp interval) and a linear"
        " mixed model of exposure bins with a random slope per patient (REML, t with patients − 1"
        " degrees of freedom). Groups were compared by permuting patients (Welch's t), visits by"
        " sign-flip of the differences within patients. P-values were adjusted within families:"
        f" {_families(analysis)}."
    )


def _proximity(analysis: Analysis) -> str:
    recipe = analysis.recipe
    out = ""
    if analysis.proximity:
        out = (
            f"Proximity was tested per slide with {recipe.cohort.proximity_shifts} random shifts"
            " and random labellings (global envelopes of L and G, one p per curve). "
        )
        band = bandwidth_text(analysis)
        out += f"An inhomogeneous K is given beside them ({band}). " if band else ""
    return (
        f"{out}Random numbers were drawn with seed {recipe.seed}; results do not depend on the"
        f" number of workers. Software: {software(analysis.versions)}."
    )


def _families(analysis: Analysis) -> str:
    names = {test.family.name: METHOD_TEXT[test.family.method] for test in analysis.cohort.tests}
    return "; ".join(f"{name}, {method}" for name, method in names.items())
