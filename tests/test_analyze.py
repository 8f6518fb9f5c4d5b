"""ifquant analyze on tables: the answer, what is written, and what is refused. Tissue is drawn as
points with known truth.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from point_cohorts import write_cohort
from scipy.spatial import cKDTree
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.commands.analyze import AnalysisResult, analyze
from ifquant.errors import RequestError, ResourceError
from ifquant.execution.executors import Execution
from ifquant.files import storage
from ifquant.recipe.recipe_file import load_recipe
from ifquant.statistics.cohort.members import EFFECT


@pytest.fixture(scope="module")
def primed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("primed"), beta=0.8)


@pytest.fixture(scope="module")
def analysis(primed: Path) -> Path:
    result = ifquant.analyze(
        primed / "cells.csv",
        primed / "recipe.toml",
        primed / "analysis",
        samples=primed / "samples.csv",
    )
    assert result.cohort.verdict == "consistent with priming"
    return primed / "analysis"


def run(folder: Path, out: Path, *overrides: str, **more: object) -> AnalysisResult:
    more.setdefault("samples", folder / "samples.csv")
    return analyze(folder / "cells.csv", folder / "recipe.toml", out, overrides=overrides, **more)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ---- what is written -----------------------------------------------------------------------------


def test_everything_is_written(analysis: Path) -> None:
    names = set(files(analysis))
    assert {
        "report.html",
        "cohort.json",
        "effects.csv",
        "patients.csv",
        "guards.csv",
        "tests.csv",
        "flow.csv",
        "multiverse.csv",
    } <= names
    assert {
        f"figures/{name}.{kind}"
        for name in ("forest", "null", "dose_response", "guards", "multiverse")
        for kind in ("svg", "pdf")
    } <= names
    patients, record = (
        pd.read_csv(analysis / "patients.csv"),
        json.loads((analysis / "cohort.json").read_text("utf-8")),
    )
    assert record["verdict"] == "consistent with priming"
    assert record["effect"]["n_patients"] == len(patients) == 7
    assert record["effect"]["estimate"] == pytest.approx(patients["z"].mean())
    assert record["effect"]["p"] == 2 / 2**7
    effects = pd.read_csv(analysis / "effects.csv")
    assert list(effects["slide"]) == [f"S{i:02d}a" for i in range(1, 8)]
    tests = pd.read_csv(analysis / "tests.csv")
    assert (tests[tests["p"].notna()]["n_patients"] > 0).all()  # n beside every p
    assert {"primary", "guards and sensitivities"} <= set(tests["family"])


def test_flow_is_a_flow(analysis: Path, primed: Path) -> None:
    flow = pd.read_csv(analysis / "flow.csv")
    cells = pd.read_csv(primed / "cells.csv")
    assert flow["detected"].sum() == len(cells)
    assert flow["responders"].sum() == (cells["phenotype"] == "myeloid").sum()
    assert flow["typed"].sum() == (cells["phenotype"] != "other").sum()
    for before, after in zip(
        *(
            [flow[n] for n in ("detected", "kept", "typed", "responders", "exposed")][i:]
            for i in (0, 1)
        ),
        strict=False,
    ):
        assert (before >= after).all()
    assert (
        flow["tested"].sum()
        == json.loads((analysis / "cohort.json").read_text("utf-8"))["effect"]["n_cells"]
    )


def test_multiverse_holds_the_primary_analysis(analysis: Path) -> None:
    specs = pd.read_csv(analysis / "multiverse.csv")
    main = specs[specs["main"]]
    assert len(main) == 1
    assert main["z"].iloc[0] == pytest.approx(
        json.loads((analysis / "cohort.json").read_text("utf-8"))["effect"]["estimate"]
    )
    assert set(specs["contact"]) == {"within 12 µm", "within 20 µm"}


def test_page_is_self_contained_and_says_it(analysis: Path) -> None:
    page = (analysis / "report.html").read_text("utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", page)
    assert "<script" not in page
    for said in (
        (
            "Do myeloid cells that touch tumor cells with more TGFB1 contain more IL1B, at equal"
            " number and distance of tumor neighbors?"
        ),
        "Consistent with priming",
        "exact sign-flip over patients; smallest possible here 0.016",
        "7 patients, 7 slides",
        "spill-over between touching cells cannot be excluded here",
        "no clone is given in the recipe",
        f"ifquant {ifquant.__version__}",
        "statsmodels",
    ):
        assert said in page, said
    assert "causes" not in page


def test_names_are_escaped(primed: Path, tmp_path: Path) -> None:
    sheet = pd.read_csv(primed / "samples.csv")
    sheet["patient"] = [f"<b>{p}</b>" for p in sheet["patient"]]
    sheet.to_csv(tmp_path / "sheet.csv", index=False)
    run(primed, tmp_path / "out", "cohort.multiverse=false", samples=tmp_path / "sheet.csv")
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<b>P01</b>" not in page
    assert "&lt;b&gt;P01&lt;/b&gt;" in page


def test_workers_and_repetition_change_no_byte(
    primed: Path, analysis: Path, tmp_path: Path
) -> None:
    run(primed, tmp_path / "two", execution=Execution(2))
    one, two = files(analysis), files(tmp_path / "two")
    assert one == two


def test_another_seed_changes_the_random_numbers_only(
    primed: Path, analysis: Path, tmp_path: Path
) -> None:
    run(primed, tmp_path / "out", "seed=5", "cohort.multiverse=false")
    before, after = (pd.read_csv(folder / "effects.csv") for folder in (analysis, tmp_path / "out"))
    assert before["z"].equals(after["z"])
    assert not before["p_shift"].equals(after["p_shift"])


def test_an_analysis_appears_whole_or_not_at_all(
    primed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(primed, out, "cohort.multiverse=false")
    before = files(out)

    def full(operation: str, path: str) -> None:
        if path.endswith("tests.csv") or "tests.csv" in path:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "before_mutation", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        run(primed, out, "cohort.multiverse=false", "seed=3")
    assert files(out) == before
    monkeypatch.undo()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(RequestError, match="something else than an earlier analysis"):
        run(primed, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


# ---- answers -------------------------------------------------------------------------------------


def test_without_an_effect_there_is_no_evidence(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path, beta=0.0, seed=3)
    assert run(folder, tmp_path / "out", "cohort.multiverse=false").cohort.verdict == "no evidence"


def test_groups_need_shared_gates(primed: Path, tmp_path: Path) -> None:
    refused = run(primed, tmp_path / "one", "cohort.multiverse=false").cohort
    assert {(c.comparison.p, c.comparison.difference) for c in refused.comparisons} == {
        (None, None)
    }
    assert "whether its gates are the same on all slides is not known" in (
        refused.test(f"{EFFECT}: treated against control").reason or ""
    )
    assert "Not compared." in (tmp_path / "one" / "report.html").read_text("utf-8")
    shared = run(
        primed, tmp_path / "two", "cohort.multiverse=false", "gates.default.shared=true"
    ).cohort
    found = shared.comparisons[0].comparison
    assert (found.first, found.second, found.n_patients) == ("control", "treated", (4, 3))
    assert found.p is not None
    assert found.smallest_p == 1 / 35
    turned = run(
        primed,
        tmp_path / "three",
        "cohort.multiverse=false",
        "gates.default.shared=true",
        "cohort.order=['treated', 'control']",
    ).cohort
    assert turned.comparisons[0].comparison.difference == pytest.approx(-(found.difference or 0))


def test_two_slides_of_a_patient_are_one_observation(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path, beta=0.8, n=3, slides=2)
    found = run(
        folder,
        tmp_path / "out",
        "cohort.visit='visit'",
        "cohort.multiverse=false",
        "gates.default.shared=true",
    ).cohort
    assert (found.effect.n_patients, found.effect.n_slides) == (3, 6)
    assert found.verdict == "not testable"
    assert found.reason.endswith("the smallest two-sided sign-flip p is 0.25: it cannot reach 0.05")
    visits = [c.comparison for c in found.comparisons if c.comparison.kind == "paired"]
    assert (visits[0].first, visits[0].second, visits[0].n_patients) == ("pre", "post", (3, 3))


def test_without_patients_nothing_is_tested(primed: Path, tmp_path: Path) -> None:
    found = run(primed, tmp_path / "out", "cohort.multiverse=false", samples=None).cohort
    assert (found.verdict, found.effect.p) == ("not testable", None)
    assert "give a sample sheet" in found.reason
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_circular_question_is_refused_with_what_the_slides_support(
    primed: Path, tmp_path: Path
) -> None:
    found = run(
        primed,
        tmp_path / "out",
        "phenotypes={tumor='PanCK+', myeloid='IL1B+ & PanCK-'}",
        "cohort.proximity_shifts=99",
    ).cohort
    assert found.verdict == "not testable"
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "This panel cannot answer the question." in page
    assert "defined by the response IL1B itself" in page
    assert "Such slides support proximity" in page
    assert (
        page.count("Such slides support proximity") == 2
    )  # in its box and in the methods, not on every slide
    assert "Second opinions" not in page.partition("<h2>Methods</h2>")[0]
    assert (
        "priming effect" not in page.partition("<h2>Groups and visits</h2>")[2].partition("<h2>")[0]
    )
    flow = pd.read_csv(tmp_path / "out" / "flow.csv")
    assert (flow["responders"] > 0).all()
    assert len(pd.read_csv(tmp_path / "out" / "proximity.csv")) > 0
    measures = pd.read_csv(tmp_path / "out" / "measures.csv")
    cells = pd.read_csv(primed / "cells.csv")
    for marker, column, kind in (
        ("TGFB1", "TGFB1_membrane_mean", "tumor"),
        ("IL1B", "IL1B_cytoplasm_mean", "myeloid"),
    ):
        shown = measures[
            measures["measure"] == f"median {marker} of {kind} above background"
        ].set_index("slide")["value"]
        own = cells[cells["phenotype"] == kind].groupby("slide")[column].median()
        level = cells.groupby("slide")[column].quantile(0.01)
        assert dict(shown) == pytest.approx(dict(own - level)), (
            "TGFB1 on tumor cells and a description of IL1B are given all the same"
        )
    share = measures[measures["measure"] == "fraction IL1B+ of myeloid"].set_index("slide")["value"]
    assert dict(share) == pytest.approx(
        dict(cells[cells["phenotype"] == "myeloid"].groupby("slide")["IL1B_positive"].mean())
    )


def test_another_segmentation_is_a_dimension_of_the_multiverse(
    primed: Path, tmp_path: Path
) -> None:
    cells = pd.read_csv(primed / "cells.csv")
    rng = np.random.default_rng(0)
    cells[rng.random(len(cells)) > 0.1].to_csv(
        tmp_path / "other.csv", index=False
    )  # another program missed every tenth cell
    sources = [primed / "cells.csv", tmp_path / "other.csv"]
    analyze(sources, primed / "recipe.toml", tmp_path / "out", samples=primed / "samples.csv")
    specs = pd.read_csv(tmp_path / "out" / "multiverse.csv")
    assert set(specs["segmentation"]) == {"as analyzed", "other.csv"}
    pair = specs[specs["contact"] == "within 12 µm"].set_index("segmentation")["z"]
    assert pair["other.csv"] == pytest.approx(pair["as analyzed"], abs=0.15)
    assert pair["other.csv"] != pair["as analyzed"]
    some = cells[cells["slide"] != "S01a"].replace({"slide": {"S02a": "new"}})
    some.to_csv(tmp_path / "mixed.csv", index=False)
    with pytest.raises(RequestError, match="some slides that earlier folders hold too"):
        analyze(
            [primed / "cells.csv", tmp_path / "mixed.csv"],
            primed / "recipe.toml",
            tmp_path / "no",
            samples=primed / "samples.csv",
        )


# ---- wrong requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("cohort.group='grup'",), "no column 'grup'; did you mean 'group'?"),
        (("cohort.visit='day'",), "no column 'day'"),
        (("cohort.order=['placebo']",), "no slide has the group or visit 'placebo'"),
        (("cohort.unit='cell'",), "cells and images of one patient are not independent"),
    ],
)
def test_wrong_choices_are_refused(
    primed: Path, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        run(primed, tmp_path / "out", *overrides)
    assert not (tmp_path / "out").exists()


def test_wrong_requests_are_refused(primed: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nothing to analyze"):
        analyze([], primed / "recipe.toml")
    with pytest.raises(RequestError, match="give the recipe"):
        analyze(primed / "cells.csv", out=tmp_path / "out")
    text = (primed / "recipe.toml").read_text("utf-8")
    (tmp_path / "none.toml").write_text(
        text[: text.index("[priming]")] + text[text.index("[cohort]") :]
    )
    places = analyze(
        primed / "cells.csv",
        tmp_path / "none.toml",
        tmp_path / "places",
        samples=primed / "samples.csv",
    )
    assert "where cells lie, of 7 slides" in places.summary_lines()[0]
    (tmp_path / "nothing.toml").write_text(
        "[[channels]]\nname = 'DAPI'\nrole = 'nucleus'\n[phenotypes]\na = 'DAPI+'\n"
    )
    with pytest.raises(RequestError, match="the recipe asks nothing"):
        analyze(primed / "cells.csv", tmp_path / "nothing.toml", tmp_path / "out")
    (tmp_path / "sheet.csv").write_text("slide,patient\nnobody,P\n")
    with pytest.raises(RequestError, match="names none of the slides"):
        run(primed, tmp_path / "out", samples=tmp_path / "sheet.csv")
    with pytest.raises(RequestError, match="overrides go with a recipe file"):
        analyze(
            primed / "cells.csv",
            load_recipe(primed / "recipe.toml"),
            tmp_path / "out",
            overrides=("seed=1",),
        )
    with pytest.raises(RequestError, match=re.escape("Use ifquant analyze")):
        ifquant.run(primed / "recipe.toml", ["x.tif"], tmp_path / "results")


# ---- real tables and results of runs -------------------------------------------------------------

KEREN = """
[[channels]]
name = "none"
[proximity]
from = "macrophage"
to = "tumor"
[gates.default]
shared = true
[cohort]
proximity_shifts = 0
[table]
format = "columns"
unit = "um"
x = "x_um"
y = "y_um"
slide = "patient"
patient = "patient"
group = "class_0mixed_1compartmentalized"
phenotype = "phenotype"
[table.phenotypes]
tumor = ["Tumor"]
macrophage = ["Macrophage"]
"""


def test_keren_mixed_and_compartmentalised_patients(data_dir: Path, tmp_path: Path) -> None:
    """Tables without ligand or response: where cells lie. Median distances as scipy's, mixed below
    compartmentalised patients.
    """
    path = data_dir / "cell_tables" / "keren_tnbc_DEV_11patients.csv.gz"
    (tmp_path / "recipe.toml").write_text(KEREN)
    found = analyze(path, tmp_path / "recipe.toml", tmp_path / "out").cohort
    raw = pd.read_csv(path)
    values = pd.read_csv(tmp_path / "out" / "measures.csv")
    ours = values[values["measure"] == "median µm from macrophage to nearest tumor"].set_index(
        "patient"
    )["value"]
    for patient, own in raw.groupby("patient"):
        tumor, macrophages = (
            own.loc[own.phenotype == p, ["x_um", "y_um"]].to_numpy()
            for p in ("Tumor", "Macrophage")
        )
        assert ours[patient] == pytest.approx(
            np.median(cKDTree(tumor).query(macrophages)[0]), abs=0.1
        )
    comparison = next(
        c.comparison
        for c in found.comparisons
        if c.measure == "median µm from macrophage to nearest tumor"
    )
    assert (comparison.first, comparison.second, sum(comparison.n_patients)) == ("0", "1", 11)
    assert (comparison.difference or 0) > 0
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "How do macrophage cells lie to tumor cells?" in page


def test_results_of_a_run_are_analyzed(tmp_path: Path) -> None:
    """From pixels to the cohort: contacts with their pixels, gates with intervals, the multiverse
    over gates, the recipe from run.json.
    """
    for number in (1, 2):
        pixels = simulated(1200, 1200, seed=40 + number).image
        write_slide(tmp_path / f"S{number}.ome.tif", pixels, PANELS["tgfb_il1b"])
    asked = {
        "response": "IL1B",
        "ligand": "TGFB1",
        "permutations": 199,
        "min_exposed": 30,
        "radii_um": [20],
    }
    cohort = {"proximity_shifts": 99, "gate_replicates": 40}
    recipe = recipe_for(
        PANELS["tgfb_il1b"],
        priming=asked,
        cohort=cohort,
        gates={"markers": {"PanCK": {"shared": True}}},
    )
    (tmp_path / "samples.csv").write_text(
        "slide,path,patient\nS1,S1.ome.tif,P1\nS2,S2.ome.tif,P2\n"
    )
    ran = ifquant.run(
        recipe,
        out=tmp_path / "results",
        samples=tmp_path / "samples.csv",
        execution=Execution(quiet=True),
    )
    assert ran.exit_code == 0
    found = analyze(tmp_path / "results", out=tmp_path / "analysis").cohort
    analyze(tmp_path / "results", out=tmp_path / "two", execution=Execution(2))
    written, by_two = files(tmp_path / "analysis"), files(tmp_path / "two")
    assert written == by_two, sorted(name for name in written if written[name] != by_two.get(name))
    assert pd.read_csv(tmp_path / "analysis" / "proximity.csv")["n_null"].gt(0).any()
    assert [s.n_exposed > 0 for s in found.slides] == [True, True]
    assert {m.patient for m in found.members.values()} == {"P1", "P2"}
    spill = [g for g in found.guards if g.kind == "spill-over"]
    assert spill
    assert all(g.effect.n_patients > 0 for g in spill)
    page = (tmp_path / "analysis" / "report.html").read_text("utf-8")
    assert (
        "cannot be excluded here" not in page.partition("<h2>What this cannot say</h2>")[2]
    )  # contacts have their pixels
    assert "the multiverse varies that gate" in page
    gates = pd.read_csv(tmp_path / "analysis" / "gates.csv")
    assert set(gates.loc[gates["marker"] == "PanCK", "slide"]) == {"all slides"}
    assert set(gates.loc[gates["marker"] == "CD11c", "slide"]) == {"S1", "S2"}
    assert ((gates["low"] < gates["value"]) & (gates["value"] < gates["high"])).all()
    specs = pd.read_csv(tmp_path / "analysis" / "multiverse.csv")
    main = specs[specs["main"]].iloc[0]
    assert main["ligand"] == "membrane, away from the contact"
    assert main["z"] == pytest.approx(found.effect.estimate)
    assert set(specs["PanCK gate"]) == set(specs["CD11c gate"]) == {"estimate", "lower", "upper"}
    plain = specs[
        (specs["contact"] == "touching")
        & (specs["ligand"] == "membrane")
        & (specs["response"] == "cytoplasm")
    ]
    assert plain["z"].nunique() > 1  # gates move the result
    changed = recipe.model_copy(update={"phenotypes": {"tumor": "PanCK+", "myeloid": "CD11c+"}})
    with pytest.raises(RequestError, match=re.escape("made with another [phenotypes]")):
        analyze(tmp_path / "results", changed, tmp_path / "no")
