"""How often the tests over patients reject when nothing is there, and how many patients an effect
needs.

    python benchmarks/calibration.py --out calibration.jsonl python benchmarks/calibration_cohort.py
    --slides calibration.jsonl --figure docs/figures/power.svg --csv docs/calibration

Patients are drawn from the effects and standard errors that the slides of `calibration.py` really
gave, so that a bias of a scenario and the shape of the errors are in them; patients may differ by a
true slope of their own (standard deviation `tau`, mean 0 or the effect).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from calibration import EFFECTS, HARD, NULLS, SMALL, question
from common import rows_in
from point_tissue import BACKGROUND, BACKGROUND_SD, CHANNELS, point_tissue
from rates import Mean, Number, Rate, Table

from ifquant.geometry.region import Region
from ifquant.report.figure_style import STYLE, axes_grid, figure_bytes
from ifquant.statistics.cohort.cohort_verdict import CohortGuard, cohort_verdict, flag_of
from ifquant.statistics.cohort.group_comparison import compare_groups, compare_visits
from ifquant.statistics.cohort.mean_effect import CohortEffect, cohort_effect, t_interval
from ifquant.statistics.cohort.patients import PatientValue, SlideValue, combine_slides
from ifquant.statistics.cohort.second_opinions import CellPairs, hartung_knapp, random_slope_model
from ifquant.statistics.cohort.sign_flip import sign_flip
from ifquant.statistics.patterns.enrichment import enrichment, neighbors_within
from ifquant.statistics.priming.priming_test import priming_effect
from ifquant.statistics.priming.question import Background
from ifquant.statistics.priming.slide_cells import SlideData
from ifquant.statistics.priming.slide_effect import SHARED

Rows = np.ndarray
SIZES = (6, 8, 12, 20)
TAUS = (0.0, 0.15)
"""Standard deviation of the patients' true effects, Fisher's z."""
BIASED = ("shared multiplicative field", SMALL)
"""Nulls whose mean effect is not quite 0: large cohorts find that sooner or later."""
MANY = (20, 50)
POWER_SIZES = (6, 8, 10, 12, 16)
POOL = 1000
"""Slides drawn for the mixed model, cells' bins and all."""


def slides_of(path: Path) -> dict[str, Rows]:
    """Scenario > (n, 3): z, its standard error, cells."""
    rows = rows_in(path)
    kept = [row for row in rows if row["shift"] is not None]
    return {
        name: np.array([[r["z"], r["se"], r["n"]] for r in kept if r["scenario"] == name])
        for name in {r["scenario"] for r in kept}
    }


def drawn(
    rng: np.random.Generator, pool: Rows, n: int, tau: float, slides: int = 1, visit: bool = False
) -> list[SlideValue]:
    """Draw `n` patients with up to `slides` slides each (with `visit`: one before, one after)."""
    out = []
    for patient in range(n):
        own = tau * rng.standard_normal()
        for k in range(2 if visit else int(rng.integers(1, slides + 1))):
            z, se, cells = pool[rng.integers(len(pool))]
            out.append(
                SlideValue(
                    f"{patient} {k}",
                    str(patient),
                    z + own,
                    se,
                    int(cells),
                    visit=("before", "after")[k] if visit else None,
                )
            )
    return out


def null_cohorts(
    pool: Rows, n: int, tau: float, cohorts: int, seed: int, *, meta: bool = True
) -> dict[str, Rate]:
    """Cohorts without effect that each test rejects; t: the interval misses 0."""
    rng = np.random.default_rng((seed, n, int(100 * tau)))
    rejected = dict.fromkeys(("sign-flip", "t", *(("Hartung-Knapp",) if meta else ())), 0)
    for _ in range(cohorts):
        patients = combine_slides(drawn(rng, pool, n, tau, slides=2))
        values = np.array([patient.value for patient in patients])
        low, high = t_interval(
            float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n), n - 1
        )
        rejected["sign-flip"] += sign_flip(values).p <= 0.05
        rejected["t"] += low > 0 or high < 0
        if meta:
            rejected["Hartung-Knapp"] += (hartung_knapp(patients).p or 0.0) <= 0.05
    return {name: Rate(count, cohorts) for name, count in rejected.items()}


def compared(
    pool: Rows, n: tuple[int, int], taus: tuple[float, float], cohorts: int, *, paired: bool
) -> dict[str, Rate]:
    """Cohorts rejected, without any difference of means, by the permutation of patients (paired:
    sign-flip) and by its interval.
    """
    rng = np.random.default_rng((n[0], n[1], int(100 * taus[1]), paired))
    rejected = dict.fromkeys(("permutation", "interval"), 0)
    for _ in range(cohorts):
        if paired:
            found = compare_visits(drawn(rng, pool, n[0], taus[0], visit=True), "before", "after")
        else:
            both = zip("ab", n, taus, strict=True)
            groups = [
                PatientValue(f"{g}{p.patient}", p.value, p.se, p.n_cells, 1, g)
                for g, k, tau in both
                for p in combine_slides(drawn(rng, pool, k, tau))
            ]
            found = compare_groups(groups, "a", "b")
        assert found.p is not None
        assert found.low is not None
        rejected["permutation"] += found.p <= 0.05
        rejected["interval"] += found.low > 0 or found.high < 0
    return {name: Rate(count, cohorts) for name, count in rejected.items()}


@cache
def binned_slides() -> list[tuple[np.ndarray, np.ndarray]]:
    """Exposure and response by fifths of exposure, as a cohort's mixed model gets them, of null
    slides of range 50 um.
    """
    asked, priming = question(False)
    backgrounds = {
        channel: Background(BACKGROUND, BACKGROUND_SD, "simulated") for channel in CHANNELS
    }
    out = []
    for number in range(POOL):
        tissue = point_tissue(NULLS["range 50 um"], (7, number))
        region = Region(tissue.tissue, (tissue.step_um, tissue.step_um))
        effect = priming_effect(
            SlideData(tissue.cells, tissue.pairs, region, backgrounds),
            asked,
            priming.model_copy(update={"permutations": 100}),
            slide=str(number),
            with_guards=False,
        )
        bins = effect.dose_response
        out.append((np.array([b.exposure for b in bins]), np.array([b.response for b in bins])))
    return out


def mixed_cohorts(n: int, tau: float, cohorts: int) -> tuple[int, int]:
    """Fits and rejections of the mixed model. A sign per slide is drawn, so that a chance mean of
    the pool is no effect.
    """
    rng = np.random.default_rng((n, int(100 * tau), 3))
    slides, fitted, rejected = binned_slides(), 0, 0
    for _ in range(cohorts):
        cohort = []
        for patient in range(n):
            exposure, response = slides[rng.integers(len(slides))]
            cohort.append(
                CellPairs(
                    str(patient),
                    exposure,
                    rng.choice([-1, 1]) * response + tau * rng.standard_normal() * exposure,
                )
            )
        p = random_slope_model(cohort).p
        fitted += p is not None
        rejected += p is not None and p <= 0.05
    return fitted, rejected


def enriched_cohorts(cohorts: int) -> dict[int, Rate]:
    """Cohorts whose mean neighbourhood enrichment is found to differ from 0, kinds of cells given
    at random.
    """
    rng = np.random.default_rng(11)
    values = []
    for number in range(1000):
        n = int(rng.integers(150, 500))
        kinds = rng.permutation(np.repeat([0, 1, 2], [n // 8, n // 2, n - n // 8 - n // 2]))
        found = enrichment(
            kinds,
            ("myeloid", "tumor", "other"),
            neighbors_within(600 * rng.random((n, 2)), 20.0),
            n_permutations=20,
        )
        one = found.slide_value("myeloid", "tumor", slide=str(number), patient=str(number))
        values.append((one.value, one.se, n))
    pool = np.array(values)
    return {n: null_cohorts(pool, n, 0.0, cohorts, 5, meta=False)["sign-flip"] for n in SIZES}


def verdict_table(path: Path, cohorts: int) -> Table:
    """Tell what a cohort of 12 patients is said to show where every slide has the same artefact,
    guards and all.
    """
    rows = rows_in(path)
    lines = []
    for name in (*NULLS, *HARD):
        own = [
            row
            for row in rows
            if row["scenario"] == name and row["shift"] is not None and row.get("guards")
        ]
        if not own:
            continue
        rng = np.random.default_rng(len(name))
        said: Counter[str] = Counter()
        rejected = unflagged = flagged = 0
        for _ in range(cohorts):
            chosen = [own[k] for k in rng.integers(len(own), size=12)]
            main = _over_patients([(row["z"], row["se"], row["n"]) for row in chosen])
            guards = []
            for k, (guard, kind, *_) in enumerate(chosen[0]["guards"]):
                if kind in ("negative control", "spill-over") or guard == SHARED:
                    known = [
                        (row["guards"][k][2], row["guards"][k][3], row["n"])
                        for row in chosen
                        if row["guards"][k][2] is not None
                    ]
                    beside = [
                        (row["z"], row["se"], row["n"])
                        for row in chosen
                        if row["guards"][k][2] is not None
                    ]
                    guards.append(
                        CohortGuard(guard, kind, "", _over_patients(known), _over_patients(beside))
                    )
            verdict, flag = (
                cohort_verdict(main, main.p, guards)[0],
                flag_of(main, guards) is not None,
            )
            said[verdict] += 1
            flagged += flag
            rejected += main.p is not None and main.p <= 0.05
            unflagged += main.p is not None and main.p <= 0.05 and not flag
        positive = said.pop("consistent with priming", 0)
        others = "; ".join(
            f"{verdict} {count / cohorts:.2f}" for verdict, count in said.most_common()
        )
        lines.append(
            [
                name,
                *(Rate(count, cohorts) for count in (rejected, unflagged, flagged, positive)),
                others,
            ]
        )
    head = [
        "every slide",
        "p at most 0.05",
        "and nothing flags it",
        "flagged, whatever p",
        "consistent with priming",
        "otherwise",
    ]
    return Table("cohort_verdicts", head, lines)


def _over_patients(values: list[tuple[float, float, int]]) -> CohortEffect:
    return cohort_effect([PatientValue(str(k), z, se, n) for k, (z, se, n) in enumerate(values)])


def power(pool: Rows, n: int, tau: float, cohorts: int) -> float:
    """Share of cohorts in which the sign-flip test finds the effect of this pool."""
    rng = np.random.default_rng((n, int(100 * tau), len(pool)))
    return float(
        np.mean(
            [
                sign_flip([slide.value for slide in drawn(rng, pool, n, tau)]).p <= 0.05
                for _ in range(cohorts)
            ]
        )
    )


def null_table(slides: dict[str, Rows], cohorts: int) -> Table:
    """Rates over all null scenarios mixed, and for cohorts whose every slide is of one scenario."""
    mixed = np.concatenate([slides[name] for name in NULLS if name in slides])
    label = "all null scenarios, mixed"
    rows: list[list[object]] = [
        [label, n, tau, *null_cohorts(mixed, n, tau, cohorts, 1).values()]
        for n in SIZES
        for tau in TAUS
    ]
    for name in [name for name in (*NULLS, *HARD) if name in slides]:
        label = f"every slide: {name} (mean z {slides[name][:, 0].mean():+.3f})"
        sizes = (12, *(MANY if name in BIASED else ()))
        rows += [
            [label, n, 0, *null_cohorts(slides[name], n, 0.0, cohorts, 2).values()] for n in sizes
        ]
    return Table(
        "cohort_nulls",
        ["slides", "patients", "tau", "sign-flip", "t interval misses 0", "Hartung-Knapp"],
        rows,
    )


def other_tables(slides: dict[str, Rows], cohorts: int) -> tuple[Table, Table, Table]:
    """Compare groups and visits; judge the mixed model, neighborhood enrichment."""
    mixed = np.concatenate([slides[name] for name in NULLS if name in slides])
    cases: list[tuple[str, tuple[int, int], tuple[float, float], bool]] = [
        ("groups of 4 and 4", (4, 4), (0.0, 0.0), False),
        ("groups of 6 and 6", (6, 6), (0.15, 0.15), False),
        ("groups of 4 and 8, the smaller spread wider", (4, 8), (0.3, 0.0), False),
        ("groups of 4 and 8, the larger spread wider", (4, 8), (0.0, 0.3), False),
        ("before and after, 6 patients", (6, 6), (0.15, 0.15), True),
        ("before and after, 12 patients", (12, 12), (0.15, 0.15), True),
    ]
    pairs = [
        [label, *compared(mixed, n, taus, cohorts, paired=paired).values()]
        for label, n, taus, paired in cases
    ]
    fits: list[list[object]] = []
    for n in SIZES:
        for tau in TAUS:
            fitted, rejected = mixed_cohorts(n, tau, cohorts)
            fits.append([n, tau, f"{fitted} of {cohorts}", Rate(rejected, fitted)])
    enriched = [[n, rate] for n, rate in enriched_cohorts(cohorts).items()]
    return (
        Table("cohort_comparisons", ["comparison", "permutation", "interval misses 0"], pairs),
        Table(
            "cohort_mixed_model",
            ["patients", "tau", "fits that converged", "mixed model rejects"],
            fits,
        ),
        Table("cohort_enrichment", ["patients", "enrichment: sign-flip rejects"], enriched),
    )


def coverage_table(path: Path, slides: dict[str, Rows], cohorts: int) -> Table:
    """Where there is an effect: bias of the cohort's mean, and how often its interval holds the
    true z of the same cells.
    """
    truth: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        truth.setdefault(row["scenario"], []).append(row.get("true_z", math.nan))
    lines = []
    for name in (name for name in EFFECTS if name in slides):
        true = float(np.mean(truth[name]))
        for n in (6, 12):
            rng = np.random.default_rng((n, 7))
            found = [
                cohort_effect(combine_slides(drawn(rng, slides[name], n, 0.15, slides=2)))
                for _ in range(cohorts)
            ]
            held = sum(
                one.low <= true <= one.high
                for one in found
                if one.low is not None and one.high is not None
            )
            means = np.array([one.estimate for one in found], float)
            half = 2.58 * means.std() / math.sqrt(cohorts)
            lines.append(
                [
                    name.removeprefix("effect "),
                    n,
                    Number(true, "+.3f"),
                    Mean(means.mean(), half, "+.3f"),
                    Rate(held, cohorts),
                ]
            )
    return Table(
        "cohort_coverage",
        ["effect (beta)", "patients", "true z", "mean estimate", "t interval holds it"],
        lines,
    )


def power_values(slides: dict[str, Rows], cohorts: int) -> dict[tuple[str, float], list[float]]:
    names = [name for name in EFFECTS if name in slides and "," not in name]
    return {
        (name, tau): [power(slides[name], n, tau, cohorts) for n in POWER_SIZES]
        for tau in (0.0, 0.1, 0.2)
        for name in names
    }


def power_table(slides: dict[str, Rows], found: dict[tuple[str, float], list[float]]) -> Table:
    rows = [
        [
            f"{name.removeprefix('effect ')} (mean z {slides[name][:, 0].mean():+.2f})",
            tau,
            *(Number(value, ".2f") for value in values),
        ]
        for (name, tau), values in found.items()
    ]
    return Table(
        "cohort_power", ["effect (beta)", "tau", *(f"{n} patients" for n in POWER_SIZES)], rows
    )


def power_figure(
    slides: dict[str, Rows], found: dict[tuple[str, float], list[float]], path: Path
) -> None:
    """Draw power over patients, one panel per spread between patients."""
    from matplotlib import rc_context

    colors = ("#9ecae1", "#6baed6", "#3182bd", "#08519c", "#08306b")
    taus = list(dict.fromkeys(tau for _, tau in found))
    with rc_context(STYLE):
        figure, axes = axes_grid(1, len(taus), width=9.6, height=2.9, sharey=True)
        for axis, tau in zip(axes, taus, strict=True):
            names = [name for name, spread in found if spread == tau]
            for name, color in zip(names, colors, strict=False):
                label = f"{slides[name][:, 0].mean():.2f}"
                axis.plot(
                    POWER_SIZES,
                    found[name, tau],
                    "o-",
                    ms=3.5,
                    lw=1.4,
                    color=color,
                    label=label,
                    clip_on=False,
                )
            axis.axhline(0.8, color="#c2410c", lw=0.8, ls=(0, (4, 3)))
            axis.set(
                title=f"patients differ by SD {tau:g}",
                xlabel="patients, one slide each",
                ylim=(0, 1),
                xticks=POWER_SIZES,
            )
            axis.grid(color="#e4e6ea", lw=0.6)
        axes[0].set_ylabel("found at p ≤ 0.05 (sign-flip)")
        axes[-1].legend(
            title="mean effect, Fisher's z", loc="center left", bbox_to_anchor=(1.02, 0.5)
        )
    path.write_bytes(figure_bytes(figure, path.suffix.removeprefix(".")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=Path, required=True)
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--csv", type=Path, help="folder for the tables")
    options = parser.parse_args()
    slides = slides_of(options.slides)
    started = time.process_time()
    null_table(slides, options.cohorts).show(options.csv)
    verdict_table(options.slides, options.cohorts).show(options.csv)
    for table in other_tables(slides, options.cohorts):
        table.show(options.csv)
    coverage_table(options.slides, slides, options.cohorts).show(options.csv)
    found = power_values(slides, options.cohorts)
    power_table(slides, found).show(options.csv)
    if options.figure:
        power_figure(slides, found, options.figure)
    print(f"{options.cohorts} cohorts per row, {time.process_time() - started:.0f} CPU s")


if __name__ == "__main__":
    main()
