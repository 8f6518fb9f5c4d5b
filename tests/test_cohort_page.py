"""The cohort's page and tables say what was done and counted: levels, floor, covariates,
bleed-through, bandwidth, flow, n beside p.
"""

from __future__ import annotations

import dataclasses
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from point_cohorts import RECIPE, write_cohort
from point_tissue import PointOptions, PointTissue, point_tissue
from test_priming import BACKGROUNDS, analysed, asked, recipe

import ifquant
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Recipe
from ifquant.report.review_page import review_html
from ifquant.report.run_sentences import limits
from ifquant.report.sentences import priming_limits
from ifquant.statistics.priming.primary_association import exposure_of
from ifquant.statistics.priming.priming_test import priming_effect
from ifquant.statistics.priming.question import Background
from ifquant.statistics.priming.slide_cells import SlideCells, SlideData

QUICK = ("cohort.proximity_shifts=99", "cohort.multiverse=false", "gates.default.shared=true")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five slides: S01a without a tumor border, S02a with too few myeloid cells, S05a without a
    patient.
    """
    folder = write_cohort(tmp_path_factory.mktemp("cohort"), beta=0.8, n=5)
    cells = pd.read_csv(folder / "cells.csv")
    cells.loc[cells["slide"] == "S01a", "tumor_region_distance_um"] = np.nan
    few = cells[(cells["slide"] == "S02a") & (cells["phenotype"] == "myeloid")].index[30:]
    cells.drop(index=few).to_csv(folder / "cells.csv", index=False)
    sheet = pd.read_csv(folder / "samples.csv")
    sheet.loc[4, "patient"] = None
    sheet.to_csv(folder / "samples.csv", index=False)
    ifquant.analyze(
        folder / "cells.csv",
        folder / "recipe.toml",
        folder / "out",
        samples=folder / "samples.csv",
        overrides=QUICK,
    )
    return folder


@pytest.fixture(scope="module")
def effects(cohort: Path) -> pd.DataFrame:
    return pd.read_csv(cohort / "out" / "effects.csv").set_index("slide")


@pytest.fixture(scope="module")
def page(cohort: Path) -> str:
    return unescape((cohort / "out" / "report.html").read_text("utf-8"))


@pytest.fixture(scope="module")
def tissue() -> PointTissue:
    return point_tissue(PointOptions(beta=0.5, size_um=(600, 600)), 31)


# ---- levels, floor, bleed-through ----------------------------------------------------------------


def test_backgrounds_are_given_for_every_slide_also_untestable_ones(
    cohort: Path, effects: pd.DataFrame, page: str
) -> None:
    cells = pd.read_csv(cohort / "cells.csv")
    assert np.isnan(effects.loc["S02a", "z"])
    for name, column in (
        ("response", "IL1B_cytoplasm_mean"),
        ("ligand", "TGFB1_membrane_mean"),
    ):  # a channel has one level
        assert effects[f"{name}_background"].to_dict() == pytest.approx(
            cells.groupby("slide")[column].quantile(0.01).to_dict()
        )
        assert (effects[f"{name}_background_sd"] > 0).all()
        assert effects[f"{name}_background_origin"].str.startswith("substitute").all()
    assert (effects["n_response_ranked"] == effects["n_exposed"]).all()
    assert (effects["n_ligand_ranked"] == effects["n_sources"]).all()
    median = effects["ligand_background"].median()
    assert f"background of their channel subtracted (TGFB1: {median:.4g}, SD" in page
    assert f"of {effects['n_exposed'].sum():,} touching myeloid cells (IL1B)" in page


def test_values_at_the_floor_are_counted(tissue: PointTissue) -> None:
    question, options = asked(min_exposed=30)
    high = Background(100.0, 200.0, "given")
    given = {**BACKGROUNDS, "IL1B": high, "TGFB1": high}
    data = SlideData(tissue.cells, backgrounds=given)
    found = priming_effect(data, question, options, slide="a", with_guards=False)
    near = exposure_of(SlideCells.of(data, question, options)).near
    exposed = tissue.cells[question.response_column].to_numpy()[near.responders]
    sources = tissue.cells.loc[tissue.cells["phenotype"] == "tumor", question.ligand_column]
    assert found.floored["response"].n_floored == np.count_nonzero(exposed <= 300) > 0
    assert found.floored["ligand"].n_floored == np.count_nonzero(sources <= 300) > 0
    assert (found.floored["response"].n, found.floored["ligand"].n) == (len(near), len(sources))
    few = priming_effect(data, question, asked(min_exposed=5000)[1], slide="a")
    assert (few.verdict, few.floored, few.backgrounds["IL1B"]) == (
        "not testable",
        found.floored,
        high,
    )


def test_a_refused_question_has_its_backgrounds(tissue: PointTissue) -> None:
    question, options = asked()
    refused = dataclasses.replace(question, refusal="defined by the response")
    data = SlideData(tissue.cells, backgrounds=BACKGROUNDS)
    found = priming_effect(data, refused, options, slide="a")
    assert set(found.backgrounds) == {"TGFB1", "IL1B"}


def test_bleed_through_is_in_the_table_and_on_the_page(effects: pd.DataFrame, page: str) -> None:
    known = effects["bleed_ligand_into_response"].dropna()
    assert len(known) == 4
    assert effects.loc[effects["z"].isna(), "bleed_response_into_ligand"].isna().all()
    low, median, high = (
        f"{100 * value:.1f}".replace("-0.0", "0.0").replace("-", "−")
        for value in known.quantile([0, 0.5, 1])
    )
    assert (
        f"TGFB1 into the channel of IL1B {median} % (median of 4 slides, {low} to {high} %; tumor"
        " cells)" in page
    )


# ---- what was held constant ----------------------------------------------------------------------


def test_methods_name_what_was_really_held_constant(page: str) -> None:
    methods = page[page.index("<h2>Methods</h2>") :]
    for said in (
        "distance to the tumor border (on 3 of 4 slides)",
        "their PanCK, the responder's own TGFB1 (less what goes along",
        "the local level of IL1B in bystander cells (also squared)",
        "set to it: ",
        "nearest tumor cell within 15 µm, else it was dropped",
        "Clifford-Dutilleul",
        "variogram-matched surrogate fields",
        "(bandwidth) of 100 µm",
    ):
        assert said in methods, said


def test_methods_leave_out_what_the_table_does_not_have(cohort: Path, tmp_path: Path) -> None:
    """Without cytokeratin and without the distance to the tumor border neither was held constant,
    and nothing says so.
    """
    lines = [
        line
        for line in RECIPE.splitlines()
        if not line.startswith(("PanCK_cytoplasm", "[table.extra]", "tumor_region_distance"))
    ]
    (tmp_path / "recipe.toml").write_text("\n".join(lines), "utf-8")
    cells = pd.read_csv(cohort / "cells.csv")
    cells[cells["slide"].isin(["S03a", "S04a"])].to_csv(tmp_path / "cells.csv", index=False)
    out = tmp_path / "out"
    result = ifquant.analyze(
        tmp_path / "cells.csv",
        tmp_path / "recipe.toml",
        out,
        samples=cohort / "samples.csv",
        overrides=QUICK[1:],
    )
    assert all(
        slide.held and not any("PanCK" in name or "border" in name for name in slide.held)
        for slide in result.cohort.slides
    )
    methods = (
        unescape((out / "report.html").read_text("utf-8"))
        .partition("<h2>Methods</h2>")[2]
        .partition("<details>")[0]
    )
    assert "PanCK" not in methods
    assert "tumor border" not in methods
    assert (
        "Held constant were the number of touched tumor cells, their distance, the responder's own"
        " TGFB1" in methods
    )
    assert "Proximity was" not in methods  # switched off


def test_held_constant_follows_the_columns(tissue: PointTissue) -> None:
    everything = analysed(tissue, min_exposed=30).held
    assert {
        "their PanCK",
        "the responder's own PanCK (powers up to the fourth)",
        "distance to the tumor border",
    } <= set(everything)
    crowded = tissue.cells.assign(
        phenotype=tissue.cells["phenotype"].astype(object).replace({"other": "tumor"})
    )
    question, options = asked(min_exposed=30)
    data = SlideData(crowded, backgrounds=BACKGROUNDS)
    without = priming_effect(data, question, options, slide="a", with_guards=False).held
    assert not any("bystander" in name for name in without)


# ---- n beside every p, the flow ------------------------------------------------------------------


def heads(page: str) -> list[list[str]]:
    """Header of every table."""
    return [
        re.findall(r"<th[^>]*>(.*?)</th>", head, re.DOTALL)
        for head in re.findall(r"<thead>(.*?)</thead>", page, re.DOTALL)
    ]


def test_cells_slides_and_patients_stand_beside_every_p(page: str) -> None:
    with_p = [head for head in heads(page) if {"p", "p, shifts"} & set(head)]
    assert len(with_p) == 7  # opinions, guards, comparisons, proximity, slides, naive, all tests
    for head in with_p:
        assert any("cells" in name or name == "myeloid" for name in head), head
        assert "slide" in head or {"slides", "patients"} <= set(head), head


def test_what_is_not_known_is_a_dash_or_empty(page: str) -> None:
    assert not re.search(r">\s*(nan|None)\s*<", page)


def test_counts_of_tests_are_counts(cohort: Path) -> None:
    tests, flow = (pd.read_csv(cohort / "out" / f"{name}.csv") for name in ("tests", "flow"))
    assert (tests.loc[tests["n_patients"] > 0, "n_cells"] > 0).all()
    kept = flow.set_index("slide")["kept"]
    enrichment = tests[tests["name"].str.startswith("log2 enrichment")].iloc[0]
    assert enrichment["n_cells"] == kept[["S01a", "S02a", "S03a", "S04a"]].sum()
    comparisons = pd.read_csv(cohort / "out" / "comparisons.csv").set_index("measure")
    other = comparisons.loc["fraction of myeloid touching tumor"]
    assert (other["first"], other["n_cells_first"], other["n_cells_second"]) == (
        "control",
        kept[["S01a", "S03a"]].sum(),
        kept[["S02a", "S04a"]].sum(),
    )
    proximity = pd.read_csv(cohort / "out" / "proximity.csv")
    assert proximity["reason"].isna().eq(proximity["p"].notna()).all()
    assert (
        proximity.groupby("slide")["n_responders"].first().to_dict()
        == flow.set_index("slide")["responders"].to_dict()
    )
    record = json.loads((cohort / "out" / "cohort.json").read_text("utf-8"))
    assert [test["n_cells"] for test in record["tests"]] == list(tests["n_cells"])
    naive = pd.read_csv(cohort / "out" / "naive.csv")
    assert (naive["n"] > 0).all()


def test_visits_count_the_patients_seen_twice(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path, beta=0.8, n=2, slides=2)
    sheet = pd.read_csv(folder / "samples.csv")
    sheet[sheet["slide"] != "S02b"].to_csv(folder / "samples.csv", index=False)
    overrides = (*QUICK[1:], "cohort.visit='visit'")
    ifquant.analyze(
        folder / "cells.csv",
        folder / "recipe.toml",
        tmp_path / "out",
        samples=folder / "samples.csv",
        overrides=overrides,
    )
    kept = pd.read_csv(tmp_path / "out" / "flow.csv").set_index("slide")["kept"]
    found = pd.read_csv(tmp_path / "out" / "comparisons.csv")
    paired = found[
        (found["kind"] == "paired") & (found["measure"] == "fraction of myeloid touching tumor")
    ].iloc[0]
    assert (paired["n_cells_first"], paired["n_cells_second"]) == (kept["S01a"], kept["S01b"])


def test_tested_are_the_cells_of_slides_that_enter_the_cohort(cohort: Path, page: str) -> None:
    flow = pd.read_csv(cohort / "out" / "flow.csv").set_index("slide")
    assert flow["tested"].gt(0).to_dict() == {
        "S01a": True,
        "S02a": False,
        "S03a": True,
        "S04a": True,
        "S05a": False,
    }
    assert flow.loc["S05a", "reason"] == "the sample sheet names no patient"
    assert flow.loc["S05a", "exposed"] > 40
    assert ">in tissue, with a position</th>" in page
    assert ">kept<" not in page


def test_the_bandwidth_of_the_inhomogeneous_k_is_stated(cohort: Path, page: str) -> None:
    curves = pd.read_csv(cohort / "out" / "proximity_curves.csv")
    assert set(curves.loc[curves["statistic"] == "K_inhom", "bandwidth_um"]) == {100.0}
    assert curves.loc[curves["statistic"] != "K_inhom", "bandwidth_um"].isna().all()
    assert (
        "a standard deviation (bandwidth) of 100 µm, 5 of 5 slides"
        in page[: page.index("<h2>Methods</h2>")]
    )


# ---- limits --------------------------------------------------------------------------------------


def test_every_report_states_the_same_limits(page: str) -> None:
    told: Recipe = resolved(recipe(ligand_antibody="clone 1D11, binds the active form"))
    silent = resolved(recipe())
    for known, clone in (
        (told, "clone 1D11, binds the active form"),
        (silent, "no clone is given"),
    ):
        sentences = priming_limits(known)
        for said in (
            "mostly pro-IL1β",
            "contacts above and below its plane are missed",
            clone,
            "TGFβ can lower cytokeratin",
        ):
            assert sum(said in sentence for sentence in sentences) == 1, said
        assert set(sentences) <= set(limits(known))
        review = unescape(review_html(known, [], {}, None))
        assert all(sentence in review for sentence in sentences)
    assert all(sentence in page for sentence in priming_limits(silent))
    plain = silent.model_copy(update={"priming": None})
    assert priming_limits(plain) == []
    assert "pro-IL1β" not in " ".join(limits(plain)) + review_html(plain, [], {}, None)
