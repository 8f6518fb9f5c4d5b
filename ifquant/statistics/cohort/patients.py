"""From slides to patients: several slides of one patient are one observation of the cohort.

An effect enters on a scale on which its error is about normal and does not depend on its size
(Fisher's z of a correlation). Cells never enter: nothing in this package computes a p-value across
patients from cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ifquant.errors import RequestError

CELLS_ARE_NOT_PATIENTS = (
    "a p-value across patients cannot be computed from cells: cells of one patient are not"
    " independent, and pooled cells reject a true null in about 80 % of cohorts. Give one value per"
    " slide with its patient (SlideValue); combine_slides makes patients of them."
)


@dataclass(frozen=True)
class SlideValue:
    """One effect of one slide.

    Attributes
    ----------
    slide, patient
        Names.
    value, se
        Effect and its standard error, on a scale with about normal errors (Fisher's z).
    n_cells
        Cells the effect rests on.
    group
        Group of the patient (treatment arm, tumor type); None without groups.
    visit
        When the slide was taken (before, after); None where that is not asked.
    """

    slide: str
    patient: str
    value: float
    se: float
    n_cells: int
    group: str | None = None
    visit: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and math.isfinite(self.se) and self.se > 0):
            raise RequestError(
                f"slide {self.slide!r}: effect {self.value} with standard error {self.se}; both"
                " must be finite and the error positive. Leave slides out that cannot be tested."
            )


@dataclass(frozen=True)
class PatientValue:
    """One effect of one patient: the average of the slides, weighted by 1 / se^2.

    `se` is the error within the patient only; how patients differ shows between them.
    """

    patient: str
    value: float
    se: float
    n_cells: int
    n_slides: int = 1
    group: str | None = None


def combine_slides(slides: Sequence[SlideValue]) -> tuple[PatientValue, ...]:
    """Average the slides of each patient, weighted by 1 / se^2; patients in the order of their
    first slide.

    Raises
    ------
    RequestError
        If a slide occurs twice or a patient is in two groups.
    """
    members: dict[str, list[SlideValue]] = {}
    for slide in slides:
        if not isinstance(slide, SlideValue):
            raise RequestError(CELLS_ARE_NOT_PATIENTS)
        members.setdefault(slide.patient, []).append(slide)
    if len({slide.slide for slide in slides}) < len(slides):
        raise RequestError("a slide is given twice; each slide counts once.")
    return tuple(_patient(name, own) for name, own in members.items())


def _patient(name: str, slides: Sequence[SlideValue]) -> PatientValue:
    groups = {slide.group for slide in slides}
    if len(groups) > 1:
        raise RequestError(
            f"patient {name!r} is in groups {sorted(map(str, groups))}; a patient belongs to one"
            " (compare visits instead)."
        )
    weight = np.array([slide.se**-2 for slide in slides])
    value = float(np.average([slide.value for slide in slides], weights=weight))
    return PatientValue(
        name,
        value,
        float(weight.sum() ** -0.5),
        sum(s.n_cells for s in slides),
        len(slides),
        slides[0].group,
    )


def checked(patients: Sequence[PatientValue]) -> tuple[PatientValue, ...]:
    """Return the patients, or refuse anything else and patients given twice.

    Raises
    ------
    RequestError
        With what to give instead.
    """
    if any(not isinstance(patient, PatientValue) for patient in patients):
        raise RequestError(CELLS_ARE_NOT_PATIENTS)
    if len({patient.patient for patient in patients}) < len(patients):
        raise RequestError(
            "a patient is given twice; combine the slides of each patient with combine_slides"
            " first."
        )
    return tuple(patients)
