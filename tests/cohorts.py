"""Simulated cohorts for tests: exposure and response of cells, each smooth in space, in standard
deviations, in slides of patients.
"""

from __future__ import annotations

import numpy as np

from ifquant.statistics.cohort.patients import PatientValue, SlideValue
from ifquant.statistics.cohort.second_opinions import CellPairs

N_CELLS = 200
WIDTH_UM = 1000.0


class Tissue:
    """Places of cells and the factor of their covariance: Gaussian fields of one range, plus
    independent noise.
    """

    def __init__(self, range_um: float, seed: int, n_places: int = 8) -> None:
        rng = np.random.default_rng(seed)
        self.factors = []
        for _ in range(n_places):
            at = rng.uniform(0, WIDTH_UM, (N_CELLS, 2))
            apart = ((at[:, None] - at[None]) ** 2).sum(-1)
            self.factors.append(
                np.linalg.cholesky(np.exp(-apart / range_um**2) + 1e-6 * np.eye(N_CELLS))
            )

    def slide(
        self, rng: np.random.Generator, place: int, slope: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Exposure and response of one slide; both smooth, associated only by `slope`, each with an
        offset of its slide.
        """
        factor = self.factors[place % len(self.factors)]
        exposure = factor @ rng.standard_normal(N_CELLS) + 0.3 * rng.standard_normal(N_CELLS)
        response = (
            factor @ rng.standard_normal(N_CELLS)
            + 0.7 * rng.standard_normal(N_CELLS)
            + slope * exposure
        )
        return (
            exposure / exposure.std() + rng.standard_normal(),
            response / response.std() + rng.standard_normal(),
        )


def slide_value(
    exposure: np.ndarray, response: np.ndarray, slide: str, patient: str, **more: str
) -> SlideValue:
    """Fisher's z of the correlation, with the error it would have if 30 of its cells were
    independent.
    """
    r = np.corrcoef(exposure, response)[0, 1]
    return SlideValue(slide, patient, float(np.arctanh(r)), 1 / np.sqrt(27), len(exposure), **more)


def cohort(
    tissue: Tissue,
    rng: np.random.Generator,
    n_patients: int,
    slope: float = 0.0,
    slope_sd: float = 0.0,
) -> list[CellPairs]:
    """One slide per patient."""
    slopes = slope + slope_sd * rng.standard_normal(n_patients)
    return [CellPairs(f"P{i}", *tissue.slide(rng, i, slopes[i])) for i in range(n_patients)]


def slide_values(slides: list[CellPairs]) -> list[SlideValue]:
    return [
        slide_value(slide.exposure, slide.response, f"S{i}", slide.patient)
        for i, slide in enumerate(slides)
    ]


def patients(
    values: list[float] | np.ndarray, group: str | None = None, prefix: str = "P", se: float = 0.2
) -> list[PatientValue]:
    return [
        PatientValue(f"{prefix}{i}", float(value), se, 100, group=group)
        for i, value in enumerate(values)
    ]
