"""Artefacts that fake priming, and what the guards make of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from point_tissue import AMPLITUDE, PointOptions, point_tissue
from test_priming import analysed, asked, recipe

from ifquant.recipe.defaults import resolved
from ifquant.statistics.priming.adjusted_association import AdjustedModel, source_field
from ifquant.statistics.priming.guards import guard_rows
from ifquant.statistics.priming.primary_association import (
    exposure_of,
    primary_association,
    regression,
)
from ifquant.statistics.priming.priming_test import priming_effect
from ifquant.statistics.priming.question import question_of
from ifquant.statistics.priming.secondary_measures import bleed_through
from ifquant.statistics.priming.slide_cells import SlideCells, SlideData
from ifquant.statistics.priming.slide_effect import GuardRow, SlideEffect, TestResult, verdict_of
from ifquant.statistics.priming.structure import normal_scores


def guard(kind: str, z: float, p: float, name: str = "a guard") -> GuardRow:
    return GuardRow(name, kind, z, 0.1, p, 200, "")


def effect(z: float, p: float | None, *guards: GuardRow) -> SlideEffect:
    question, _ = asked()
    tests = {"shift": TestResult(p, "" if p is not None else "not testable: only 12 usable shifts")}
    return SlideEffect(
        "a",
        question,
        "not testable",
        "",
        z=z,
        se_z=0.1,
        correlation=z,
        interval=(z - 0.2, z + 0.2),
        tests=tests,
        guards=guards,
    )


CONTROL, EMPTY = "negative control", "negative control: empty channel as ligand"


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (effect(0.3, 0.01), "consistent with priming"),
        (effect(-0.3, 0.01), "opposite direction"),
        (effect(0.1, 0.3), "no evidence"),
        (effect(0.3, None), "not testable"),
        (effect(0.3, 0.01, guard("spill-over", 0.05, 0.6)), "explained by spill-over"),
        (effect(0.3, 0.01, guard("spill-over", 0.25, 0.02)), "consistent with priming"),
        (
            effect(0.02, 0.8, guard("sensitivity", 0.3, 0.01, "ligand at the shared border")),
            "explained by spill-over",
        ),
        (
            effect(0.3, 0.01, guard(CONTROL, 0.28, 0.01, EMPTY)),
            "not specific (a negative control responds as well)",
        ),
        (
            effect(0.3, 0.01, guard(CONTROL, -0.28, 0.01, EMPTY)),
            "not specific (a negative control responds as well)",
        ),
        # one of three true controls below 0.05 is what chance gives; a small one is no rival
        (
            effect(
                0.3, 0.01, guard(CONTROL, 0.2, 0.03), guard(CONTROL, 0, 0.9), guard(CONTROL, 0, 0.8)
            ),
            "consistent with priming",
        ),
        (effect(0.6, 0.01, guard(CONTROL, 0.2, 0.001)), "consistent with priming"),
        # Holm steps down: a small control with the smallest p hides no large one
        (
            effect(0.3, 0.01, guard(CONTROL, 0.12, 0.004), guard(CONTROL, 0.28, 0.006)),
            "not specific (a negative control responds as well)",
        ),
        (
            effect(0.3, 0.01, guard(CONTROL, 0.12, 0.03), guard(CONTROL, 0.28, 0.04)),
            "consistent with priming",
        ),
        (
            effect(-0.3, 0.01, guard(CONTROL, 0.28, 0.01)),
            "not specific (a negative control responds as well)",
        ),
    ],
)
def test_verdicts(found: SlideEffect, verdict: str) -> None:
    assert verdict_of(found)[0] == verdict


def test_a_field_of_short_range_in_all_channels_is_not_specific() -> None:
    """Section thickness that changes within two cells is beyond any local adjustment; then the
    controls respond too.
    """
    field = PointOptions(multiplicative=0.7, artefact_range_um=20.0)
    said = [analysed(point_tissue(field, seed), slide=str(seed)).verdict for seed in range(12)]
    assert "not specific (a negative control responds as well)" in said
    assert said.count("consistent with priming") <= 2


def test_a_niche_that_raises_the_ligand_in_both_cells_is_no_priming() -> None:
    """The responders' own ligand drives their response; that of the sources does nothing, but one
    niche raises both.
    """
    niche = PointOptions(niche=0.6, activation=0.5, size_um=(700, 700))
    found = [analysed(point_tissue(niche, (8, seed)), slide=str(seed)) for seed in range(10)]
    rejected = [effect for effect in found if effect.p is not None and effect.p <= 0.05]
    assert len(rejected) >= 3, "the control: without the guard this null is rejected often"
    assert sum(effect.verdict == "consistent with priming" for effect in found) <= 1
    measured_z = [
        next(row.z or 0.0 for row in effect.guards if "as measured" in row.name) for effect in found
    ]
    assert abs(np.mean(measured_z)) < 0.5 * np.mean([effect.z for effect in found])


def test_what_could_not_be_held_constant_is_said() -> None:
    crowded = PointOptions(tumor_share=0.99, size_um=(600, 600))
    (said,) = analysed(point_tissue(crowded, 3)).warnings
    assert said.startswith(
        "local autofluorescence was not held constant: fewer than 30 cells are neither myeloid nor"
        " tumor"
    )
    assert analysed(point_tissue(PointOptions(size_um=(600, 600)), 3)).warnings == ()
    tissue = point_tissue(PointOptions(size_um=(600, 600)), 3)
    (said,) = analysed(
        dataclasses.replace(tissue, cells=tissue.cells.drop(columns="tumor_region_distance_um"))
    ).warnings
    assert said.startswith("distance to the tumor border was not held constant")


def test_rules_that_choose_cells_by_a_tested_channel_are_named() -> None:
    """No circle, but light that bleeds or spills into that channel then chooses the cells."""
    honest = recipe()
    assert question_of(resolved(honest))[0].cautions == ()
    chosen = honest.model_copy(
        update={"phenotypes": {"tumor": "PanCK+ & IL1B-", "myeloid": "CD11c+ & PanCK- & TGFB1-"}}
    )
    question, options = question_of(resolved(chosen))
    assert question.refusal == ""
    assert [said.partition(": ")[0] for said in question.cautions] == [
        "the rule of myeloid cells (CD11c+ & PanCK- & TGFB1-) names the ligand TGFB1",
        "the rule of tumor cells (PanCK+ & IL1B-) names the response IL1B",
    ]
    tissue = point_tissue(PointOptions(size_um=(600, 600)), 3)
    data = SlideData(tissue.cells, tissue.pairs)
    assert priming_effect(data, question, options, slide="a").warnings == question.cautions


def test_light_of_the_responder_on_the_shared_border_is_spill_over() -> None:
    tissue = point_tissue(PointOptions(), 41)
    pairs = tissue.pairs.copy()
    response = tissue.cells["IL1B_cytoplasm_mean"].to_numpy()[pairs["responder_id"].to_numpy() - 1]
    pairs["ligand_shared_sum"] += 15 * 3.0 * response
    found = analysed(dataclasses.replace(tissue, pairs=pairs))
    row = next(row for row in found.guards if row.name == "ligand at the shared border")
    assert row.p is not None
    assert row.p < 1e-4
    assert found.p is not None
    assert found.p > 0.05, "the primary ligand does not see it"
    assert found.verdict == "explained by spill-over"


def test_a_response_that_is_only_at_the_rim_is_spill_over() -> None:
    tissue = point_tissue(PointOptions(beta=0.5), 42)
    pairs = tissue.pairs.copy()
    order = np.random.default_rng(0).permutation(pairs["responder_id"].nunique())
    shuffled = pairs.groupby("responder_id")["response_eroded_sum"].first().to_numpy()[order]
    pairs["response_eroded_sum"] = shuffled[
        np.unique(pairs["responder_id"], return_inverse=True)[1]
    ]
    assert analysed(dataclasses.replace(tissue, pairs=pairs)).verdict == "explained by spill-over"


def test_swapped_roles_show_nothing_where_light_only_crosses_and_bleeds() -> None:
    """Spilled and bled light alone ties the responders' ligand to the sources' response channel,
    unless what spills is held constant.
    """
    swapped, without = [], []
    question, options = asked()
    for seed in range(12):
        tissue = point_tissue(PointOptions(size_um=(600, 600), bleed=0.05, spill=0.2), (5, seed))
        data = SlideCells.of(SlideData(tissue.cells, tissue.pairs), question, options)
        primary = primary_association(data, exposure_of(data))
        near, response = primary.near, data.log_values(question.response_column)
        exposure = near.mean(
            source_field(primary.structure, response, primary.sources, primary.source_basis)[
                near.sources
            ]
        )
        model = primary.model.with_basis(regression(primary.structure, near, response, exposure))
        without.append(model.association(normal_scores(primary.own[near.responders]), exposure).z)
        swapped.append(
            next(row.z or 0.0 for row in guard_rows(primary) if row.name == "roles swapped")
        )
    error = np.std(swapped, ddof=1) / np.sqrt(12)
    assert abs(np.mean(swapped)) < 3 * error
    assert np.mean(without) > 3 * error, "the control: it must fail"


def test_the_error_of_a_control_is_that_of_its_own_regression() -> None:
    """Tumor stain as ligand, judged by the projection of the primary, which holds tumor stain
    constant, had too small an error.
    """
    question, options = asked()
    ratios = []
    for seed in range(6):
        tissue = point_tissue(PointOptions(size_um=(600, 600)), (6, seed))
        data = SlideCells.of(SlideData(tissue.cells, tissue.pairs), question, options)
        primary = primary_association(data, exposure_of(data))
        near, structure = primary.near, primary.structure
        stain = source_field(
            structure,
            data.log_values("PanCK_cytoplasm_mean"),
            primary.sources,
            structure.source_basis(primary.sources, "PanCK"),
        )
        exposure = near.mean(stain[near.sources])
        basis = regression(structure, near, primary.own, exposure, "PanCK")
        found = AdjustedModel.of(structure, near, basis).association(primary.response, exposure)
        row = next(row for row in guard_rows(primary) if "PanCK" in row.name)
        assert (row.z, row.se, row.p) == (found.z, found.se, found.p)
        ratios.append(
            AdjustedModel(near, basis, primary.model.kernels)
            .association(primary.response, exposure)
            .se
            / found.se
        )
    assert np.mean(ratios) < 0.98, (
        "the control: the primary's projection would make the error too small"
    )


def test_roles_can_be_swapped_where_sources_show_the_response() -> None:
    """Sources and responders share a field of the response that no ligand made: nothing goes from
    responders to sources.
    """
    effects = [
        analysed(point_tissue(PointOptions(size_um=(600, 600), source_response=0.3), (9, seed)))
        for seed in range(12)
    ]
    rows = [next(row for row in effect.guards if row.name == "roles swapped") for effect in effects]
    assert all(row.p is not None for row in rows)
    z, se = (np.array([getattr(row, name) for row in rows], float) for name in ("z", "se"))
    assert abs(z.mean()) < 3 * z.std(ddof=1) / np.sqrt(12)
    assert 0.6 < z.std(ddof=1) / se.mean() < 1.5


def test_bleed_through_is_estimated() -> None:
    found = analysed(point_tissue(PointOptions(bleed=0.1), 43)).bleed_through
    none = analysed(point_tissue(PointOptions(), 43)).bleed_through
    assert found is not None
    assert none is not None
    assert found.ligand_into_response == pytest.approx(0.1, abs=0.02)
    assert none.ligand_into_response == pytest.approx(0.0, abs=0.02)
    assert found.response_into_ligand == pytest.approx(RESPONSE_INTO_LIGAND, abs=0.07), (
        "one slide: three standard deviations of 0.023"
    )
    assert none.response_into_ligand == pytest.approx(0.0, abs=0.07)


# Own ligand, whose light bleeds into the response as well, adds to the slope in responders: (b + b
# v) / (1 + b^2 v) at a share b of 0.1, v = variance of own ligand's light over that of the
# response, both log-normal (0.1227).
_own, _response = (
    (a**2 * np.exp(s**2) * np.expm1(s**2))
    for a, s in ((0.4 * AMPLITUDE["TGFB1"], 0.5), (AMPLITUDE["IL1B"], 0.6))
)
RESPONSE_INTO_LIGAND = 0.1 * (1 + _own / _response) / (1 + 0.01 * _own / _response)


def response_into_ligand(options: PointOptions, n: int = 24) -> tuple[float, float]:
    """Mean and its error over slides of the estimated share of the response's light in the ligand's
    channel.
    """
    found = []
    question, options_asked = asked()
    for seed in range(n):
        tissue = point_tissue(options, (43, seed))
        data = SlideCells.of(SlideData(tissue.cells, tissue.pairs), question, options_asked)
        found.append(bleed_through(data, exposure_of(data).near).response_into_ligand)
    return float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(n))


def test_bleed_of_the_response_into_the_ligand_is_estimated() -> None:
    assert pytest.approx(0.1121, abs=1e-4) == RESPONSE_INTO_LIGAND
    none, error = response_into_ligand(PointOptions())
    assert abs(none) < 3 * error < 0.02
    mean, error = response_into_ligand(PointOptions(bleed=0.1))
    assert abs(mean - RESPONSE_INTO_LIGAND) < 3 * error < 0.02


@pytest.mark.parametrize("bleed", [0.0, 0.1])
@pytest.mark.parametrize(
    "shared", [{"multiplicative": 0.35}, {"autofluorescence": 0.3}, {"activation": 0.5}], ids=str
)
def test_light_that_responders_share_makes_it_an_upper_bound(
    shared: dict[str, float], bleed: float
) -> None:
    mean, error = response_into_ligand(PointOptions(bleed=bleed, **shared))  # type: ignore[arg-type]
    assert mean > bleed + 3 * error


def test_it_is_no_upper_bound_where_own_ligand_and_response_exclude_each_other() -> None:
    """Activated responders with less ligand of their own: what the slope loses by that,
    bleed-through can hide in.
    """
    mean, error = response_into_ligand(PointOptions(bleed=0.1, activation=-0.5))
    assert mean < 0.1 - 3 * error


def test_every_guard_of_the_table_is_there() -> None:
    found = analysed(point_tissue(PointOptions(), 44))
    names = [row.name for row in found.guards]
    for wanted in (
        "away from the contact",
        "all pairs",
        "shared border",
        "eroded",
        "without touching",
        "DAPI",
        "PanCK",
        "swapped",
        "staining levels",
        "as measured",
    ):
        assert any(wanted in name for name in names), wanted
    assert all(row.reads_as for row in found.guards)
    assert [row.name for row in found.naive] == [
        "correlation over cells",
        "shuffling responders",
        "shuffling ligand over sources",
        "Fisher's test of the positive fractions",
    ]
