"""The question on one slide: verdicts on simulated tables with known truth, refusals, seeds, and
what may not change a result.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from point_tissue import (
    BACKGROUND,
    BACKGROUND_SD,
    CHANNELS,
    PointOptions,
    PointTissue,
    point_tissue,
)

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Priming, Recipe
from ifquant.statistics.priming import analyse_slide
from ifquant.statistics.priming.adjusted_association import occupied_um2
from ifquant.statistics.priming.priming_test import priming_effect
from ifquant.statistics.priming.question import Background, Question, question_of
from ifquant.statistics.priming.slide_cells import SlideData
from ifquant.statistics.priming.slide_effect import SlideEffect

ROLES = {"DAPI": "nucleus", "PanCK": "tumor", "CD11c": "myeloid"}
BACKGROUNDS = {name: Background(BACKGROUND, BACKGROUND_SD, "simulated") for name in CHANNELS}


def recipe(**priming: object) -> Recipe:
    channels = [
        {"name": name, "role": ROLES.get(name, "marker")}
        for name in ("DAPI", "PanCK", "CD11c", "TGFB1", "IL1B")
    ]
    channels[4]["compartment"] = "cytoplasm"
    chosen = {"response": "IL1B", "ligand": "TGFB1", "permutations": 199, **priming}
    return Recipe.model_validate({"channels": channels, "priming": chosen})


def asked(**priming: object) -> tuple[Question, Priming]:
    return question_of(resolved(recipe(**priming)))


def analysed(
    tissue: PointTissue, slide: str = "a", seed: int = 0, with_pairs: bool = True, **priming: object
) -> SlideEffect:
    question, options = asked(**priming)
    region = Region(tissue.tissue, (tissue.step_um, tissue.step_um))
    pairs = tissue.pairs if with_pairs else None
    data = SlideData(tissue.cells, pairs, region, BACKGROUNDS)
    return priming_effect(data, question, options, slide=slide, seed=seed)


@pytest.fixture(scope="module")
def primed() -> PointTissue:
    return point_tissue(PointOptions(beta=0.5), 31)


@pytest.fixture(scope="module")
def effect(primed: PointTissue) -> SlideEffect:
    return analysed(primed)


def test_an_effect_is_found_and_reads_as_priming(effect: SlideEffect) -> None:
    assert effect.verdict == "consistent with priming"
    assert effect.p == 1 / 200, "(b + 1) / (m + 1) with no shift beyond the observed"
    assert effect.interval[0] > 0.1
    assert effect.n_responders > effect.n_exposed > effect.n_effective > 50
    assert all(
        effect.tests[name].p is not None and effect.tests[name].p < 0.02
        for name in ("clifford_dutilleul", "surrogate")
    )
    assert effect.fraction is not None
    assert (
        effect.fraction.high_positive / effect.fraction.high
        > effect.fraction.low_positive / effect.fraction.low
    )
    responses = [point.response for point in effect.dose_response]
    assert len(responses) == 5
    assert responses[-1] - responses[0] > 0.5
    assert all(
        row.p is None or row.p > 0.01 for row in effect.guards if row.kind == "negative control"
    )
    assert "cause" not in repr(effect).casefold()


def test_the_opposite_direction_is_said() -> None:
    found = analysed(point_tissue(PointOptions(beta=-0.5), 32))
    assert found.verdict == "opposite direction"
    assert found.z < 0


def test_ranks_make_units_irrelevant(primed: PointTissue, effect: SlideEffect) -> None:
    scaled = primed.cells.copy()
    names = [name for name in scaled if name.endswith("_mean")]
    scaled[names] = scaled[names] * 16.0
    pairs = primed.pairs.copy()
    sums = [name for name in pairs if name.endswith("_sum")]
    pairs[sums] = pairs[sums] * 16
    question, options = asked()
    levels = {
        name: Background(16 * b.level, 16 * b.sd, b.origin) for name, b in BACKGROUNDS.items()
    }
    region = Region(primed.tissue, (primed.step_um, primed.step_um))
    data = SlideData(scaled, pairs, region, levels)
    again = priming_effect(data, question, options, slide="a")
    assert again.z == pytest.approx(effect.z, abs=1e-9)
    assert again.p == effect.p


def test_order_of_cells_and_moves_of_the_slide_change_nothing(
    primed: PointTissue, effect: SlideEffect
) -> None:
    order = np.random.default_rng(0).permutation(len(primed.cells))
    shuffled = dataclasses.replace(
        primed, cells=primed.cells.iloc[order].reset_index(drop=True), pairs=primed.pairs.iloc[::-1]
    )
    again = analysed(shuffled)
    assert again.z == pytest.approx(effect.z, abs=1e-6)
    assert again.n_exposed == effect.n_exposed


def test_seeds_decide_and_nothing_else_does(primed: PointTissue, effect: SlideEffect) -> None:
    again = analysed(primed)
    assert again == effect or again.to_dict() == effect.to_dict()
    assert analysed(primed, seed=1).tests["shift"].null_z != effect.tests["shift"].null_z
    assert analysed(primed, slide="b").tests["shift"].null_z != effect.tests["shift"].null_z


def test_without_outlines_contact_is_a_distance(primed: PointTissue) -> None:
    found = analysed(primed, with_pairs=False, contact_um=16.0)
    assert found.verdict == "consistent with priming"
    assert "centroids within 16 um" in str(found.settings["contact"])
    missing = [row.name for row in found.guards if row.z is None and row.kind == "spill-over"]
    assert missing == ["ligand away from the contact", "eroded response mask"]
    assert "not available" in found.reason


def test_without_a_calibrated_image_the_background_is_a_stated_substitute(
    primed: PointTissue,
) -> None:
    question, options = asked()
    data = SlideData(primed.cells, primed.pairs)
    found = priming_effect(data, question, options, slide="a")
    assert found.verdict == "consistent with priming"
    assert "substitute" in found.backgrounds["IL1B"].origin


def test_any_other_pair_of_markers_works_alike(primed: PointTissue, effect: SlideEffect) -> None:
    names = {"TGFB1": "PD-L1", "IL1B": "GZMB"}
    cells = primed.cells.rename(
        columns=lambda name: next(
            (new + name[len(old) :] for old, new in names.items() if name.startswith(old)), name
        )
    )
    cells["phenotype"] = cells["phenotype"].cat.rename_categories(
        {"tumor": "cancer", "myeloid": "CD8"}
    )
    channels = [
        {"name": n, "role": r}
        for n, r in (
            ("DAPI", "nucleus"),
            ("PanCK", "tumor"),
            ("CD8a", "marker"),
            ("PD-L1", "marker"),
        )
    ]
    other = Recipe.model_validate(
        {
            "channels": [*channels, {"name": "GZMB", "compartment": "cytoplasm"}],
            "phenotypes": {"cancer": "PanCK+", "CD8": "CD8a+ & PanCK-"},
            "priming": {
                "responder": "CD8",
                "source": "cancer",
                "response": "GZMB",
                "ligand": "PD-L1",
                "permutations": 199,
            },
        }
    )
    question, options = question_of(resolved(other))
    levels = {names.get(name, name): level for name, level in BACKGROUNDS.items()}
    region = Region(primed.tissue, (primed.step_um, primed.step_um))
    data = SlideData(cells, primed.pairs, region, levels)
    again = priming_effect(data, question, options, slide="a")
    assert (again.z, again.p, again.verdict) == (effect.z, effect.p, effect.verdict)


def test_the_call_of_the_docs_gives_the_same(primed: PointTissue, effect: SlideEffect) -> None:
    question, options = asked()
    found = analyse_slide(
        primed.cells,
        slide="a",
        question=question,
        options=options,
        tissue=Region(primed.tissue, (primed.step_um, primed.step_um)),
        pairs=primed.pairs,
        backgrounds=BACKGROUNDS,
    )
    assert (found.z, found.p, found.verdict) == (effect.z, effect.p, effect.verdict)


# ---------------------------------------------------------------- what cannot be tested


def test_a_responder_defined_by_its_response_is_refused() -> None:
    channels = [
        {"name": "DAPI", "role": "nucleus"},
        {"name": "PanCK", "role": "tumor"},
        {"name": "TGFB1"},
        {"name": "IL1B"},
    ]
    four = Recipe.model_validate(
        {
            "channels": channels,
            "phenotypes": {"tumor": "PanCK+", "myeloid": "IL1B+ & PanCK-"},
            "priming": {"response": "IL1B", "ligand": "TGFB1"},
        }
    )
    question, options = question_of(resolved(four))
    data = SlideData(pd.DataFrame({"cell_id": [1]}))
    found = priming_effect(data, question, options, slide="a")
    assert found.verdict == "not testable"
    assert not found.testable
    for said in ("defined by the response IL1B", "proximity", "needs a marker"):
        assert said in found.reason


def test_sources_defined_by_the_ligand_are_refused() -> None:
    circular = recipe().model_copy(
        update={"phenotypes": {"tumor": "PanCK+ & TGFB1+", "myeloid": "CD11c+ & PanCK-"}}
    )
    assert "defined by the ligand TGFB1" in question_of(resolved(circular))[0].refusal


def test_too_few_exposed_cells(primed: PointTissue) -> None:
    kept = primed.pairs[
        primed.pairs["responder_id"] <= np.sort(primed.pairs["responder_id"].unique())[40]
    ]
    found = analysed(dataclasses.replace(primed, pairs=kept))
    assert found.verdict == "not testable"
    assert "41 myeloid cells touch tumor cells" in found.reason
    assert found.p is None
    assert math.isnan(found.z)


def test_too_little_tissue() -> None:
    tiny = point_tissue(
        PointOptions(size_um=(190.0, 190.0), spacing_um=7.0, responder_share=0.4), 5
    )
    assert "mm2 of tissue" in analysed(tiny, min_exposed=30).reason


@pytest.mark.parametrize(("seed", "shifts"), [(0, 0), (1, 31)])
def test_islands_far_apart_have_too_few_shifts(seed: int, shifts: int) -> None:
    """No shift brings enough of three islands onto tissue: no p and no effect, although the other
    tests would give them.
    """
    whole = point_tissue(
        PointOptions(size_um=(1600, 1600), responder_share=0.3, spacing_um=9.0), seed
    )
    found = analysed(on_islands(whole, [(150, 150), (1300, 420), (420, 1350)], 110), min_exposed=30)
    assert (found.verdict, found.p, found.tests["shift"].n_replicates) == (
        "not testable",
        None,
        shifts,
    )
    assert (
        found.reason
        == f"not testable: only {shifts} usable shifts, at least 100 are needed (too little tissue"
        " with sources)"
    )
    assert set(found.tests) == {"shift"}
    assert np.isnan([found.z, found.se_z, found.slope, *found.interval]).all()


def on_islands(
    tissue: PointTissue, centers_um: list[tuple[float, float]], radius_um: float
) -> PointTissue:
    """Cells and tissue within circles; ids stay."""

    def inside(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.any([np.hypot(x - cx, y - cy) < radius_um for cx, cy in centers_um], axis=0)

    cells = tissue.cells[
        inside(tissue.cells["x_um"].to_numpy(), tissue.cells["y_um"].to_numpy())
    ].reset_index(drop=True)
    pairs = tissue.pairs[
        tissue.pairs["responder_id"].isin(cells["cell_id"])
        & tissue.pairs["source_id"].isin(cells["cell_id"])
    ]
    y, x = (np.indices(tissue.tissue.shape) + 0.5) * tissue.step_um
    return dataclasses.replace(
        tissue, cells=cells, pairs=pairs.reset_index(drop=True), tissue=inside(x, y)
    )


def test_area_of_tables_without_tissue_does_not_depend_on_the_origin() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 700, 300), rng.uniform(0, 500, 300)
    assert {occupied_um2(x + dx, y + dy) for dx, dy in ((0, 0), (1000, 37), (-13.7, 0.2))} == {
        occupied_um2(x, y)
    }
    assert occupied_um2(np.array([3.0, 60.0]), np.array([3.0, 3.0])) == 2 * 50.0**2


def test_a_constant_response_is_not_testable(primed: PointTissue) -> None:
    flat = primed.cells.assign(IL1B_cytoplasm_mean=50.0)
    found = analysed(dataclasses.replace(primed, cells=flat))
    assert found.verdict == "not testable"
    assert "no variation" in found.reason


def test_a_missing_column_is_an_error(primed: PointTissue) -> None:
    broken = dataclasses.replace(primed, cells=primed.cells.drop(columns="IL1B_cytoplasm_mean"))
    with pytest.raises(RequestError, match="IL1B_cytoplasm_mean"):
        analysed(broken)
    with pytest.raises(RequestError, match="not in the cell table"):
        analysed(dataclasses.replace(primed, cells=primed.cells.iloc[:1000]))
