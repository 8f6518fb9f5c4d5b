"""What may be compared or analyzed at all: gates that differ between slides, contacts measured for
another question, circular tables.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tissue import PANELS, recipe_for

from ifquant.commands.analyze import _refuse_other_recipe
from ifquant.commands.analyze_members import plan_of
from ifquant.errors import RequestError
from ifquant.files import storage
from ifquant.phenotypes.gates import FittedGate
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Recipe
from ifquant.recipe.recipe_file import canonical
from ifquant.statistics.cohort.members import Member, Plan
from ifquant.statistics.priming.question import question_of
from ifquant.tables.cell_table import CellTable

PRIMING = {"response": "IL1B", "ligand": "TGFB1"}


def asking(**changes: object) -> Recipe:
    return resolved(recipe_for(PANELS["tgfb_il1b"], priming={**PRIMING, **changes}))


def slides(folder: Path, scopes: dict[str, str]) -> dict[str, CellTable]:
    """Two slides of a run whose gates have these scopes."""
    tables = {}
    for name in ("a", "b"):
        gates = [
            FittedGate(m, 1.0, True, "", scope=scope, method="auto").to_dict()
            for m, scope in scopes.items()
        ]
        storage.write_json(folder / name / "slide.json", {"gates": gates})
        tables[name] = CellTable(name, pd.DataFrame(), folder=str(folder / name))
    return tables


def test_shares_of_positive_cells_need_shared_gates_of_their_own(tmp_path: Path) -> None:
    members = {"a": Member("a", "P1", "first"), "b": Member("b", "P2", "second")}
    scopes = {"PanCK": "cohort", "CD11c": "cohort", "TGFB1": "cohort", "IL1B": "slide"}
    plan = plan_of(members, slides(tmp_path, scopes), asking())
    assert plan.refused is None
    assert set(plan.refused_measures) == {"fraction IL1B+ of myeloid"}
    assert (
        "the gates of IL1B were fitted slide by slide"
        in plan.refused_measures["fraction IL1B+ of myeloid"]
    )
    assert (
        plan.of("fraction IL1B+ of myeloid").refused
        == plan.refused_measures["fraction IL1B+ of myeloid"]
    )
    assert plan.of("fraction TGFB1+ of tumor").refused is None
    assert plan.of("median IL1B of myeloid above background").refused is None
    assert (
        plan_of(members, slides(tmp_path, scopes | {"IL1B": "cohort"}), asking()).refused_measures
        == {}
    )
    everything = plan_of(members, slides(tmp_path, scopes | {"CD11c": "slide"}), asking())
    assert "CD11c" in (everything.of("fraction TGFB1+ of tumor").refused or "")
    assert plan_of({"a": Member("a", "P1")}, slides(tmp_path, scopes), asking()) == Plan(seed=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ligand": "IL1B", "response": "TGFB1"}, "response = 'IL1B', ligand = 'TGFB1'"),
        ({"away_um": 3.0}, "away_um = 1.5"),
        ({"erode_um": 0.5}, "erode_um = 1.0"),
        ({"responder": "tumor", "source": "myeloid"}, "responder = 'myeloid', source = 'tumor'"),
    ],
)
def test_contacts_measured_for_another_question_are_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    storage.write_json(tmp_path / "run.json", {"recipe": canonical(asking())})
    _refuse_other_recipe(
        tmp_path, asking(permutations=499, min_exposed=40, radii_um=[30]), same_cells=True
    )  # chosen at the analysis
    with pytest.raises(RequestError) as found:
        _refuse_other_recipe(tmp_path, asking(**changes), same_cells=True)
    assert f"its contacts were measured with [priming] {said}; the recipe asks otherwise" in str(
        found.value
    )
    _refuse_other_recipe(
        tmp_path, asking(**changes), same_cells=False
    )  # another segmentation brings its own


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"rules": {"tumor": "PanCK+", "myeloid": "IL1B+ & PanCK-"}},
            "(myeloid = IL1B+ & PanCK-) are defined by the response IL1B",
        ),
        (
            {"rules": {"tumor": "PanCK+ & TGFB1+", "myeloid": "CD11c+"}},
            "(tumor = PanCK+ & TGFB1+) are defined by the ligand TGFB1",
        ),
        (
            {"phenotypes": {"myeloid": ["CD11c+ il1b+"]}},
            "myeloid cells are those the table calls 'CD11c+ il1b+', which names IL1B",
        ),
        ({"rules": {"tumor": "PanCK+", "myeloid": "CD11c+ & PanCK-"}}, ""),
        ({"phenotypes": {"myeloid": ["CD11c+ PanCK-"], "tumor": ["PanCK+"]}}, ""),
    ],
)
def test_circular_phenotypes_of_other_programs_are_refused(
    table: dict[str, object], said: str
) -> None:
    recipe = recipe_for(
        PANELS["tgfb_il1b"], priming=PRIMING, table={"format": "halo", "unit": "um", **table}
    )
    refusal = question_of(resolved(recipe))[0].refusal
    assert said in refusal
    assert bool(said) == bool(refusal)
