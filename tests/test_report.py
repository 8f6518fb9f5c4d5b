"""report.html: complete, escaped, self-contained, the same bytes for the same results."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import phantoms
import pytest

from ifquant.phenotypes.gates import FittedGate
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Recipe
from ifquant.report import overlay, page, run_figures, run_page, run_sentences
from ifquant.results import slide_outputs
from ifquant.results.slide_record import SlideRecord
from ifquant.results.slides_table import SlideStatus
from ifquant.slides.sample_sheet import Sample

EVIL = "<script>alert(1)</script>"
NAMES = ("DAPI", "Pan<b>CK", "CD11c'", "$TGF_{B}$", "IL1B&amp;")


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def recipe_of() -> Recipe:
    rules = {"tumor": f'"{NAMES[1]}"+', "myeloid <i>": f'"{NAMES[2]}"+'}
    return resolved(
        phantoms.recipe_of(
            NAMES, phenotypes=rules, proximity={"from": "myeloid <i>", "to": "tumor"}
        )
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe, list[SlideStatus]]:
    out = tmp_path_factory.mktemp("results")
    recipe = phantoms.recipe_of()
    rows: list[SlideStatus] = []
    cases = {
        "a": {},
        "none": {"n_cells": 0},
        "one": {"n_cells": 1},
        "tumor_only": {"kinds": ("tumor",)},
        "no_tumor": {"kinds": ("other",)},
    }
    for name, case in cases.items():
        sample = Sample(name, patient=f"P-{EVIL}", group="g", columns={EVIL: EVIL})
        tissue = phantoms.tissue_of(300 if name == "a" else 96, seed=5, **case)
        result = phantoms.written_result(
            out, tissue, recipe, name, sample=sample, warnings=(f"warned {EVIL}",)
        )
        slide_outputs.write_slide(result, out / name, overlay)
        rows.append(SlideStatus(name, result.slide.info.path, "done", sample=sample))
    rows.append(SlideStatus("bad", "x", "failed", f"no pixel size {EVIL}"))
    return out, resolved(recipe), rows


@pytest.fixture(scope="module")
def text(results: tuple[Path, Recipe, list[SlideStatus]]) -> str:
    return run_page.write_report(*results).read_text(encoding="utf-8")


def test_the_page_is_complete(text: str) -> None:
    page = Page(text)
    for wanted in (
        "1 of 6 slides could not be analyzed",
        "not callable",
        "DESCRIPTIVE",
        "Methods",
        "What these numbers cannot say",
    ):
        assert wanted in page.text
    for name in ("a", "none", "one", "tumor_only", "no_tumor", "bad"):
        assert name in page.text
    assert [tag for tag, _ in page.tags].count("section") == 6
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len([i for i in images if str(i["src"]).startswith("data:image/jpeg")]) == 10
    assert all(i["alt"] for i in images)


def test_nothing_is_loaded_and_nothing_runs(text: str) -> None:
    page = Page(text)
    assert not [
        tag
        for tag, _ in page.tags
        if tag in ("script", "link", "iframe", "object", "embed", "base", "form")
    ]
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        if "src" in attributes:
            assert str(attributes["src"]).startswith("data:image/")
        if "href" in attributes:
            assert re.fullmatch(
                r"#[a-z0-9-]+|[A-Za-z0-9._-]+/(overlay|detail)\.png", str(attributes["href"])
            )
    assert "url(" not in text
    assert "@import" not in text
    policy = next(
        a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert str(policy).startswith("default-src 'none'")


def test_names_are_escaped(text: str, tmp_path: Path) -> None:
    assert "<script" not in text
    assert Page(text).text.count(EVIL) >= 12
    evil = recipe_of()
    result = phantoms.written_result(tmp_path, phantoms.tissue_of(128, seed=5), evil, "evil")
    slide_outputs.write_slide(result, tmp_path / "evil", overlay)
    page = Page(
        run_page.report_html(
            tmp_path,
            evil,
            [SlideStatus("evil", EVIL, "done")],
        )
    )
    assert not [tag for tag, _ in page.tags if False]
    for name in (*NAMES, "myeloid <i>"):
        assert name in page.text


def test_the_same_results_give_the_same_bytes(
    results: tuple[Path, Recipe, list[SlideStatus]],
) -> None:
    out, recipe, rows = results
    some = [row for row in rows if row.name in ("a", "bad")]
    assert run_page.report_html(out, recipe, some) == run_page.report_html(out, recipe, some)


def test_a_run_without_any_finished_slide_has_a_report(tmp_path: Path) -> None:
    rows = [SlideStatus("bad", "x", "failed", "broken")]
    page = Page(
        run_page.write_report(tmp_path, resolved(phantoms.recipe_of()), rows).read_text(
            encoding="utf-8"
        )
    )
    assert "broken" in page.text


def test_a_recipe_without_phenotypes_has_a_report(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"channels": [{"name": name} for name in phantoms.NAMES]})
    result = phantoms.written_result(tmp_path, phantoms.tissue_of(96, kinds=()), recipe, "plain")
    slide_outputs.write_slide(result, tmp_path / "plain", overlay)
    rows = [SlideStatus("plain", "x", "done")]
    assert "plain" in run_page.report_html(tmp_path, result.recipe, rows)


@pytest.mark.parametrize(
    ("gates", "wanted"),
    [
        ([100.0, 101.0], "agree closely"),
        ([100.0, 200.0], "differ by a factor of 2"),
        ([None, None], "Not callable on any slide"),
        ([100.0, None], "nothing to compare"),
        ([100.0, 101.0, None], "leave these out"),
    ],
)
def test_the_report_says_which_comparisons_need_shared_gates(
    gates: list[float | None], wanted: str
) -> None:
    fitted = [FittedGate("IL1B", value, value is not None, "") for value in gates]
    records = [SlideRecord(Path("a"), {"gates": [gate.to_dict()]}) for gate in fitted]
    found = run_sentences.shared_gates(resolved(phantoms.recipe_of()), records)
    assert [entry["marker"] for entry in found] == ["IL1B"]
    assert wanted in found[0]["text"]


def test_figures_of_extreme_values_are_drawn() -> None:
    nothing, one = np.zeros(0), np.array([5.0])
    assert run_figures.distances_figure(nothing, nothing, "a", "b", "#f0e442") == ""
    assert run_figures.distances_figure(one, one, "a", "b", "#f0e442").startswith(
        "data:image/svg+xml"
    )
    for values in (one, np.array([0.0, 0.0]), np.array([-3.0, 1e9]), np.array([np.nan, 7.0])):
        assert run_figures.contact_figure(
            {"M$": (values, nothing)}, {"M$": 2.0}, "#f0e442", ("x", "y")
        )
    assert (
        run_figures.contact_figure({"M": (nothing, np.array([np.nan]))}, {}, "#f0e442", ("x", "y"))
        == ""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (1435, "1,435"),
        (0.02561, "0.0256"),
        (4512.5, "4,512"),
        (0, "0"),
    ],
)
def test_numbers_are_written_for_reading(value: float | None, text: str) -> None:
    assert page.number(value) == text
