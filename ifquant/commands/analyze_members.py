"""Who belongs to whom: slides, patients, groups and visits, from the sample sheet or from what the
tables say; and what may be compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ifquant.errors import RequestError
from ifquant.names import few, name_or_none
from ifquant.phenotypes.gates import FittedGate
from ifquant.recipe.defaults import ResolvedRecipe, parsed_phenotypes
from ifquant.recipe.rules import markers, nearest
from ifquant.results.slide_record import SlideRecord
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.sheet_rows import rows_of
from ifquant.statistics.cohort.group_comparison import why_not_comparable
from ifquant.statistics.cohort.members import Member, Plan
from ifquant.statistics.cohort.slide_measures import positive_share
from ifquant.tables.cell_table import CellTable

FOREIGN_GATES = (
    "refused: phenotypes come from another program; whether its gates are the same on all slides is"
    " not known. If they are, say so with [gates.default] shared = true"
)


def members_of(
    tables: Mapping[str, CellTable], samples: Sequence[Sample], recipe: ResolvedRecipe
) -> dict[str, Member]:
    """Find patient, group and visit of every slide.

    Raises
    ------
    RequestError
        If a column that [cohort] names is nowhere, or a sheet names slides and none of them is
        here.
    """
    sheet = rows_of(
        samples, tables, [slide for slide, table in tables.items() if table.folder is not None]
    )
    if samples and not sheet:
        has = _listed([sample.written or sample.slide for sample in samples])
        raise RequestError(
            f"the sample sheet names none of the slides: it has {has}, the tables"
            f" {_listed(list(tables))}; names must be equal."
        )
    columns = {slide: _columns(table, sheet.get(slide)) for slide, table in tables.items()}
    options = recipe.cohort
    known = sorted(
        {name for own in columns.values() for name in own}
        | {name for row in sheet.values() for name in row.columns}
    )
    for what, name in (("group", options.group), ("visit", options.visit)):
        if name is not None and name not in known and not (what == "group" and name == "group"):
            near = nearest(name, known)
            hint = (
                f"did you mean {near!r}?" if near else f"columns are {', '.join(known) or 'none'}."
            )
            raise RequestError(f"cohort.{what}: the sample sheet has no column {name!r}; {hint}")
    return {
        slide: Member(
            slide, own.get("patient"), own.get(options.group or ""), own.get(options.visit or "")
        )
        for slide, own in columns.items()
    }


def _columns(table: CellTable, row: Sample | None) -> dict[str, str]:
    """Everything said about a slide: by its results, its table, the sheet (which wins)."""
    said: dict[str, Any] = {}
    if table.folder is not None:
        record = SlideRecord.find(Path(table.folder))
        said |= {} if record is None else record.sample
    said |= {
        "patient": table.patient or said.get("patient"),
        "group": table.group or said.get("group"),
    }
    if row is not None:
        said |= {
            "patient": row.patient or said["patient"],
            "group": row.group or said["group"],
            **dict(row.columns),
        }
    known = {
        name: name_or_none(None if value is None else str(value)) for name, value in said.items()
    }
    return {name: value for name, value in known.items() if value is not None}


def plan_of(
    members: Mapping[str, Member], tables: Mapping[str, CellTable], recipe: ResolvedRecipe
) -> Plan:
    """Decide what is compared: every pair of groups, every pair of visits, in the order of the
    recipe or of the sheet.

    Raises
    ------
    RequestError
        If the recipe orders a group or visit that no slide has.
    """
    groups = list(dict.fromkeys(m.group for m in members.values() if m.group is not None))
    visits = list(dict.fromkeys(m.visit for m in members.values() if m.visit is not None))
    order = recipe.cohort.order
    for name in order:
        if name not in groups and name not in visits:
            raise RequestError(
                f"cohort.order: no slide has the group or visit {name!r}; found"
                f" {_listed([*groups, *visits])}."
            )
    group_pairs, visit_pairs = (
        tuple(itertools.combinations(_ordered(found, order), 2)) for found in (groups, visits)
    )
    if not group_pairs and not visit_pairs:
        return Plan(seed=recipe.seed)
    return Plan(
        group_pairs,
        visit_pairs,
        refusal(tables, recipe),
        recipe.seed,
        _refused_shares(tables, recipe),
    )


def _ordered(found: Sequence[str], order: Sequence[str]) -> list[str]:
    return [name for name in order if name in found] + [name for name in found if name not in order]


def refusal(tables: Mapping[str, CellTable], recipe: ResolvedRecipe) -> str | None:
    """Say why groups must not be compared: gates behind responder or source were fitted slide by
    slide. None when they may.

    `recipe` is resolved and has [priming].
    """
    options = recipe.priming
    assert options is not None
    rules = parsed_phenotypes(recipe)
    return _not_shared(
        [
            m.name
            for p in (options.responder, options.source)
            if p in rules
            for m in markers(rules[p])
        ],
        tables,
        recipe,
    )


def _refused_shares(tables: Mapping[str, CellTable], recipe: ResolvedRecipe) -> dict[str, str]:
    """Shares of cells positive for response or ligand that must not be compared, with the reason:
    those gates are not shared either.
    """
    options = recipe.priming
    assert options is not None
    refused = {
        positive_share(marker, str(kind)): _not_shared([marker], tables, recipe)
        for marker, kind in (
            (options.ligand, options.source),
            (options.response, options.responder),
        )
    }
    return {name: reason for name, reason in refused.items() if reason is not None}


def _not_shared(
    wanted: Sequence[str], tables: Mapping[str, CellTable], recipe: ResolvedRecipe
) -> str | None:
    """Say which of these markers' gates are not the same on all slides."""
    scopes: dict[str, list[str]] = {marker: [] for marker in dict.fromkeys(wanted)}
    for table in tables.values():
        if table.folder is None:
            mapping = recipe.table
            given = (
                mapping is not None
                and bool(mapping.rules)
                and all(name in mapping.gates for name in scopes)
            )
            if not given and not recipe.gates.default.shared:
                return FOREIGN_GATES
            continue
        record = SlideRecord.find(Path(table.folder))
        gates = {} if record is None else record.gates
        for marker, found in scopes.items():
            found.append(_scope(gates.get(marker)))
    return why_not_comparable(scopes)


def _scope(gate: FittedGate | None) -> str:
    if gate is None or not gate.callable:
        return "none"
    if gate.scope == "cohort":
        return "cohort"
    return "value" if gate.method == "value" else "slide"


def _listed(names: Sequence[str]) -> str:
    return few(names, quoted=True) or "none"
