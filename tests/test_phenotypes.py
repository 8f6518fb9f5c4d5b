"""Rules: parsed right, refused clearly, three-valued; phenotypes: first that fits, flags, codes;
double positives by contact.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifquant.columns.cell_columns import cell_columns, phenotype_names
from ifquant.columns.flags import has_flag
from ifquant.errors import RecipeError, RequestError
from ifquant.phenotypes.assignment import assign, double_positives
from ifquant.phenotypes.classification import (
    classify_cells,
    double_positive_counts,
    fit_gates,
    fit_shared_gates,
    gate_column,
    positivity,
)
from ifquant.phenotypes.gates import FittedGate
from ifquant.recipe.defaults import resolved
from ifquant.recipe.recipe_file import parse_recipe
from ifquant.recipe.rules import AllOf, AnyOf, Marker, Rule, holds, markers, parse, text_of

NAMES = ("PanCK", "CD11c", "HLA", "HLA-DR", "TGF-β1", "CD 3", "CK8/18", "not me", "and", "A+B")


def nullable(values: list[bool | None]) -> pd.arrays.BooleanArray:
    array = pd.array(values, dtype="boolean")
    assert isinstance(array, pd.arrays.BooleanArray)
    return array


# ---------------------------------------------------------------- the parser


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CD11c+ & PanCK-", '("CD11c"+ & "PanCK"-)'),
        ("CD11c+&PanCK-", '("CD11c"+ & "PanCK"-)'),
        ("  CD11c +  and not PanCK + ", '("CD11c"+ & "PanCK"-)'),
        ("HLA-DR+", '"HLA-DR"+'),
        ("HLA- & HLA-DR-", '("HLA"- & "HLA-DR"-)'),
        ("TGF-β1+ | CD 3- | CK8/18+", '("TGF-β1"+ | "CD 3"- | "CK8/18"+)'),
        ("'CD 3'+ & \"PanCK\"-", '("CD 3"+ & "PanCK"-)'),
        ("CD11c⁺ & PanCK⁻", '("CD11c"+ & "PanCK"-)'),  # superscripts
        ("CD11c+ & PanCK−", '("CD11c"+ & "PanCK"-)'),  # the minus sign of word processors
        ("CD11c+ & (PanCK+ | HLA+)", '("CD11c"+ & ("PanCK"+ | "HLA"+))'),
        ("CD11c+ | PanCK+ & HLA+", '("CD11c"+ | ("PanCK"+ & "HLA"+))'),  # & binds more strongly
        ("!(CD11c+ | PanCK-)", '("CD11c"- & "PanCK"+)'),
        ("!!CD11c+", '"CD11c"+'),
        ("not me+ & and-", '("not me"+ & "and"-)'),  # channels called like words of the grammar
        ("A+B+", '"A+B"+'),
        ("tgfb+", '"TGF-β1"+'),  # by alias
    ],
)
def test_rule(text: str, expected: str) -> None:
    assert text_of(parse(text, NAMES, {"tgfb": "TGF-β1"})) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("panck+", "did you mean 'PanCK'"),
        ("CD68+", "known channels are"),
        ("PanCK", r"needs \+ \(required\) or -"),
        ("PanCK+ &", "expected a marker"),
        ("PanCK+ CD11c+", "expected & or |"),
        ("(PanCK+", r"expected \)"),
        ("PanCK+)", "expected & or |"),
        ("'PanCK+", "quote"),
        ("'PanCK' & CD11c+", r"expected \+ or -"),
        ("(" * 60 + "PanCK+" + ")" * 60, "nested deeper"),
        ("PanCK+ & " * 1000 + "PanCK+", "at most 2000"),
        ("__import__('os').system('true')", "no channel is called"),
        ("PanCK+ & 1/0", "no channel is called"),
    ],
)
def test_refused_rule(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(text, NAMES)


def test_longest_name_wins_only_where_the_rule_can_go_on() -> None:
    assert parse("HLA-DR+", ("HLA", "HLA-DR")) == Marker("HLA-DR", True)
    with pytest.raises(RecipeError, match="no channel is called 'HLA-DR'"):
        parse("HLA-DR+", ("HLA", "DR"))


def drawn_rules() -> st.SearchStrategy[Rule]:
    leaf = st.builds(Marker, st.sampled_from(NAMES), st.booleans())
    return st.recursive(
        leaf,
        lambda inner: st.builds(
            lambda kind, parts: kind(tuple(parts)),
            st.sampled_from([AllOf, AnyOf]),
            st.lists(inner, min_size=2, max_size=3),
        ),
        max_leaves=8,
    )


def flat(rule: Rule) -> object:
    """A rule without the bracketing that carries no meaning."""
    if isinstance(rule, Marker):
        return rule
    parts: list[object] = []
    for part in rule.parts:
        inner = flat(part)
        same = isinstance(part, type(rule))
        parts += list(inner[1]) if same and isinstance(inner, tuple) else [inner]
    return type(rule).__name__, tuple(parts)


@given(rule=drawn_rules())
@settings(deadline=None, max_examples=30)
def test_text_is_read_back(rule: Rule) -> None:
    assert flat(parse(text_of(rule), NAMES)) == flat(rule)


def kleene(rule: Rule, values: dict[str, bool | None]) -> bool | None:
    if isinstance(rule, Marker):
        value = values[rule.name]
        return None if value is None else value == rule.positive
    answers = [kleene(part, values) for part in rule.parts]
    decisive = isinstance(rule, AnyOf)
    if decisive in answers:
        return decisive
    return None if None in answers else not decisive


@st.composite
def written(draw: st.DrawFn, depth: int = 0) -> tuple[str, str]:
    """A rule as a user writes it and the same as a Python expression over a dict v."""
    kind = draw(st.sampled_from(["marker", "not", "and", "or"] if depth < 3 else ["marker"]))
    if kind == "marker":
        name, sign = (
            draw(st.sampled_from(["PanCK", "CD11c", "HLA-DR"])),
            draw(st.sampled_from("+-")),
        )
        return name + sign, f"(v[{name!r}] == {sign == '+'})"
    a, pa = draw(written(depth + 1))
    if kind == "not":
        return draw(st.sampled_from(["!({})", "not ({})"])).format(a), f"(not {pa})"
    b, pb = draw(written(depth + 1))
    symbol = draw(st.sampled_from(["&", " and "] if kind == "and" else ["|", " or "]))
    return f"({a}){symbol}({b})", f"({pa} {kind} {pb})"


@given(both=written())
@settings(deadline=None, max_examples=30)
def test_truth_table_is_python_s(both: tuple[str, str]) -> None:
    text, expression = both
    names = ("PanCK", "CD11c", "HLA-DR")
    rows = list(itertools.product([False, True], repeat=3))
    columns = {name: nullable([row[i] for row in rows]) for i, name in enumerate(names)}
    got = holds(parse(text, names), columns, columns)
    expected = [eval(expression, {}, {"v": dict(zip(names, row, strict=True))}) for row in rows]
    assert list(got) == expected


@given(rule=drawn_rules(), data=st.data())
@settings(deadline=None, max_examples=30)
def test_three_values(rule: Rule, data: st.DataObject) -> None:
    cell = st.lists(st.sampled_from([True, False, None]), min_size=len(NAMES), max_size=len(NAMES))
    rows = data.draw(st.lists(cell, min_size=1, max_size=6))
    columns = {name: nullable([row[i] for row in rows]) for i, name in enumerate(NAMES)}
    got = [None if value is pd.NA else bool(value) for value in holds(rule, columns, columns)]
    assert got == [kleene(rule, dict(zip(NAMES, row, strict=True))) for row in rows]


# ---------------------------------------------------------------- phenotypes


def rules(**texts: str) -> dict[str, Rule]:
    return {name: parse(text, NAMES) for name, text in texts.items()}


def test_first_that_fits() -> None:
    positive = {
        "PanCK": nullable([True, True, False, False]),
        "CD11c": nullable([True, False, True, False]),
    }
    got = assign(rules(tumor="PanCK+", myeloid="CD11c+"), positive, positive, 4)
    assert [got.names[code] for code in got.codes] == ["tumor", "tumor", "myeloid", "other"]
    assert list(got.several) == [True, False, False, False]
    assert not got.uncertain.any()
    assert list(got.categorical().categories) == ["tumor", "myeloid", "other"]
    assert list(got.categorical()) == ["tumor", "tumor", "myeloid", "other"]


def test_excluded_markers_are_judged_in_the_soma() -> None:
    required = {"PanCK": nullable([True, True]), "CD11c": nullable([True, True])}
    soma = {"PanCK": nullable([False, True]), "CD11c": nullable([False, False])}
    got = assign(rules(myeloid="CD11c+ & PanCK-"), required, soma, 2)
    assert list(got.categorical()) == ["myeloid", "other"]


def test_unknown_does_not_fit_and_is_marked() -> None:
    positive = {"PanCK": nullable([None, None, True]), "CD11c": nullable([True, False, None])}
    got = assign(rules(tumor="PanCK+", myeloid="CD11c+"), positive, positive, 3)
    assert list(got.categorical()) == ["myeloid", "other", "tumor"]
    assert list(got.uncertain) == [True, True, False]  # the last is tumor whatever CD11c is


def test_no_cells_and_no_rules() -> None:
    empty = {"PanCK": nullable([])}
    assert assign(rules(tumor="PanCK+"), empty, empty, 0).codes.shape == (0,)
    assert list(assign({}, {}, {}, 2).categorical()) == ["other", "other"]


def test_rule_without_positivity_is_refused() -> None:
    with pytest.raises(RequestError, match="PanCK"):
        assign(rules(tumor="PanCK+"), {}, {}, 0)


def test_double_positives_by_contact() -> None:
    positive = {
        "PanCK": nullable([True, True, True, None, False]),
        "CD11c": nullable([True, True, False, True, False]),
    }
    got = double_positives(positive, "PanCK", "CD11c", [True, False, True, True, True])
    assert (
        got.n_touching,
        got.n_touching_double,
        got.n_apart,
        got.n_apart_double,
        got.n_unknown,
    ) == (2, 1, 1, 1, 1)
    assert got.to_dict()["fraction_touching"] == 0.5
    assert got.fraction_apart == 1.0
    nobody = double_positives({k: nullable([]) for k in positive}, "PanCK", "CD11c", [])
    assert nobody.fraction_touching is None


# ---------------------------------------------------------------- classification of a table

PANEL = [
    {"name": "DAPI", "role": "nucleus"},
    {"name": "PanCK", "role": "tumor"},
    {"name": "CD11c", "role": "myeloid"},
    {"name": "TGFB1", "compartment": "membrane"},
    {"name": "IL1B", "compartment": "cytoplasm"},
]


def table(n: int, seed: int, extra: str = "") -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns as measured, and the true class (0 other, 1 tumor, 2 myeloid). Myeloid cells touch
    tumor: PanCK in the cell, not the soma.
    """
    random = np.random.default_rng(seed)
    truth = random.choice(3, n, p=[0.4, 0.4, 0.2])

    def stain(on: np.ndarray) -> np.ndarray:
        return np.where(on, random.lognormal(6.5, 0.35, n), random.lognormal(4, 0.35, n))

    columns: dict[str, np.ndarray] = {}
    panck, cd11c = stain(truth == 1), stain(truth == 2)
    for place in ("cytoplasm", "soma"):
        columns[f"PanCK{extra}_{place}_mean"] = panck.copy()
    columns[f"PanCK{extra}_cytoplasm_mean"][truth == 2] = random.lognormal(
        6.5, 0.35, int((truth == 2).sum())
    )
    columns[f"CD11c{extra}_cell_mean"] = cd11c
    columns[f"TGFB1{extra}_membrane_mean"] = stain(random.random(n) < 0.3)
    columns[f"IL1B{extra}_cytoplasm_mean"] = random.lognormal(4, 0.6, n)
    columns["growth_class"] = truth.astype(np.uint8)
    columns["flags"] = np.ones(n, np.uint32)
    return columns, truth


@pytest.mark.parametrize("extra", ["", " (Opal 520)"])
def test_classify(extra: str) -> None:
    recipe = resolved(
        parse_recipe(
            {
                "channels": [{**channel, "name": channel["name"] + extra} for channel in PANEL],
                "phenotypes": {
                    "myeloid": f"'CD11c{extra}'+ & 'PanCK{extra}'-",
                    "tumor": f"'PanCK{extra}'+",
                },
            }
        )
    )
    columns, truth = table(2000, 3, extra)
    gates = fit_gates(columns, recipe)
    assert list(gates) == [f"{name}{extra}" for name in ("PanCK", "CD11c", "TGFB1", "IL1B")]
    assert not gates[f"IL1B{extra}"].callable
    assert (
        gates[f"TGFB1{extra}"].column
        == gate_column(recipe, f"TGFB1{extra}")
        == f"TGFB1{extra}_membrane_mean"
    )
    got = classify_cells(columns, recipe, gates)
    assert got[f"IL1B{extra}_positive"].isna().all()
    assert f"DAPI{extra}_positive" not in got
    assert {f"{name}_positive" for name in gates} <= {
        column.name for column in cell_columns(recipe)
    }
    named = np.array(["other", "tumor", "myeloid"])[truth]
    assert (np.asarray(got["phenotype"]) == named).mean() > 0.99
    assert tuple(got["phenotype"].categories) == phenotype_names(recipe)
    np.testing.assert_array_equal(got["phenotype_code"], got["phenotype"].codes)
    both = has_flag(got["flags"], "several_phenotypes")
    assert both[truth == 2].mean() > 0.95  # their cytoplasm is PanCK+: the tumor rule fits too
    assert both[truth != 2].mean() < 0.05
    assert has_flag(got["flags"], "touches_border").all()  # flags that were there stay
    assert not has_flag(got["flags"], "phenotype_uncertain").any()
    mismatch = has_flag(got["flags"], "growth_mismatch")
    np.testing.assert_array_equal(mismatch, np.asarray(got["phenotype"]) != named)


def test_a_gate_that_is_not_callable_makes_phenotypes_uncertain() -> None:
    recipe = resolved(parse_recipe({"channels": PANEL}))
    columns, _ = table(500, 4)
    columns["PanCK_cytoplasm_mean"] = np.random.default_rng(0).lognormal(4, 0.5, 500)
    gates = fit_gates(columns, recipe)
    assert not gates["PanCK"].callable
    got = classify_cells(columns, recipe, gates)
    assert (
        np.asarray(got["phenotype"]) == "other"
    ).all()  # myeloid needs PanCK-, which nobody knows
    assert has_flag(got["flags"], "phenotype_uncertain").all()
    assert not has_flag(got["flags"], "growth_mismatch").any()


def test_growth_class_by_name_and_dataframe() -> None:
    recipe = resolved(parse_recipe({"channels": PANEL}))
    columns, truth = table(500, 5)
    gates = fit_gates(columns, recipe)
    by_code = classify_cells(columns, recipe, gates)
    frame = pd.DataFrame(columns).assign(
        growth_class=pd.Categorical.from_codes(truth, categories=["other", "tumor", "myeloid"])
    )
    by_name = classify_cells(frame, recipe, gates)
    np.testing.assert_array_equal(by_code["flags"], by_name["flags"])


def test_order_of_cells_does_not_matter() -> None:
    recipe = resolved(parse_recipe({"channels": PANEL}))
    columns, _ = table(800, 6)
    order = np.random.default_rng(1).permutation(800)
    shuffled = {name: values[order] for name, values in columns.items()}
    assert fit_gates(columns, recipe) == fit_gates(shuffled, recipe)


def test_shared_gates_pool_the_cohort() -> None:
    recipe = resolved(
        parse_recipe({"channels": PANEL, "gates": {"markers": {"CD11c": {"shared": True}}}})
    )
    slides = {f"s{i}": table(300, i)[0] for i in range(3)}
    shared = fit_shared_gates(slides, recipe)
    assert list(shared) == ["CD11c"]
    assert shared["CD11c"].scope == "cohort"
    assert shared["CD11c"].n_cells == 900
    assert fit_gates(slides["s1"], recipe, shared=shared)["CD11c"] is shared["CD11c"]


def test_control_gate() -> None:
    recipe = resolved(
        parse_recipe(
            {"channels": PANEL, "gates": {"markers": {"IL1B": {"control_slide": "isotype"}}}}
        )
    )
    columns, _ = table(300, 7)
    control = np.arange(1, 1001.0)
    gate = fit_gates(columns, recipe, controls={"IL1B": control})["IL1B"]
    assert gate.value == pytest.approx(np.quantile(control, 0.99))
    with pytest.raises(RequestError, match="isotype"):
        fit_gates(columns, recipe)


def test_no_cells() -> None:
    recipe = resolved(parse_recipe({"channels": PANEL}))
    columns = {name: values[:0] for name, values in table(10, 1)[0].items()}
    gates = fit_gates(columns, recipe)
    got = classify_cells(columns, recipe, gates)
    assert len(got["phenotype"]) == 0
    assert not any(gate.callable for gate in gates.values())
    assert double_positive_counts({**columns, **got}, recipe)[0].n_touching == 0


def test_nan_is_unknown() -> None:
    gate = FittedGate("m", 5.0, True, "given")
    assert list(positivity([4.0, 5.0, 6.0], gate)) == [False, False, True]
    assert list(positivity([np.nan], gate).isna()) == [True]


def test_missing_column_is_named() -> None:
    columns, _ = table(10, 1)
    del columns["TGFB1_membrane_mean"]
    with pytest.raises(RequestError, match="TGFB1_membrane_mean"):
        fit_gates(columns, resolved(parse_recipe({"channels": PANEL})))


def test_double_positive_counts_from_a_table() -> None:
    recipe = resolved(parse_recipe({"channels": PANEL}))
    frame = pd.DataFrame(
        {
            "PanCK_positive": nullable([True, True, False, True]),
            "CD11c_positive": nullable([True, True, True, False]),
            "phenotype": ["tumor", "tumor", "myeloid", "tumor"],
            "n_touching_tumor": pd.array([3, 0, 1, 2], dtype="Int32"),
            "n_touching_myeloid": pd.array([1, 0, 0, None], dtype="Int32"),
        }
    )
    (got,) = double_positive_counts(frame, recipe)
    assert (got.first, got.second) == ("PanCK", "CD11c")
    assert (got.n_touching, got.n_touching_double, got.n_apart, got.n_apart_double) == (2, 1, 2, 1)


def test_markers_of_a_rule() -> None:
    assert [(m.name, m.positive) for m in markers(parse("!(PanCK+ & CD11c-)", NAMES))] == [
        ("PanCK", False),
        ("CD11c", True),
    ]
