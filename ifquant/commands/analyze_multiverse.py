"""The grid of the multiverse: which choices are estimated on every slide, and what they are over
patients.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.recipe.model import Priming
from ifquant.statistics.cohort.mean_effect import cohort_effect
from ifquant.statistics.cohort.members import Member
from ifquant.statistics.cohort.multiverse import Specification
from ifquant.statistics.cohort.patients import SlideValue, combine_slides
from ifquant.statistics.priming.choices import Choice, labels
from ifquant.statistics.priming.question import Question
from ifquant.tables.cell_table import CellTable

if TYPE_CHECKING:
    from ifquant.commands.analyze_slide import SlideFinding

GATES = ("estimate", "lower", "upper")
SEGMENTATION = "segmentation"


@dataclass(frozen=True)
class Grid:
    """Choices in order (the first is the primary analysis'), the dimensions that vary, and the
    markers whose gates are moved.
    """

    choices: tuple[Choice, ...]
    dimensions: tuple[str, ...]
    markers: tuple[str, ...]


def wanted(
    recipe: ResolvedRecipe,
    question: Question,
    options: Priming,
    tables: Mapping[str, CellTable],
    markers: Sequence[str],
) -> Grid:
    """List the choices: gates x contact x ligand x response.

    The ligand away from the contact was measured only for the contacts of the run, so it comes with
    its gates only.
    """
    ours = all(table.folder is not None for table in tables.values())
    columns = set.intersection(
        *({str(name) for name in table.cells.columns} for table in tables.values())
    )
    ligands = _columns(
        question.ligand_column, question.ligand, (options.ligand_compartment, "cell"), columns
    )
    responses = _columns(
        question.response_column,
        question.response,
        (options.response_compartment or "cell", "cell"),
        columns,
    )
    contacts: list[float | None] = [None] if ours else [options.contact_um]
    contacts += [radius for radius in options.radii_um if radius not in contacts]
    moved = tuple(markers) if ours else ()
    settings = [
        tuple(zip(moved, setting, strict=True))
        for setting in itertools.product(GATES, repeat=len(moved))
    ]
    choices = []
    if ours:
        choices += [
            Choice(settings[0], None, question.ligand_column, response, True)
            for response in responses
        ]
    choices += [
        Choice(*made, False) for made in itertools.product(settings, contacts, ligands, responses)
    ]
    return Grid(
        tuple(choices),
        (*(f"{marker} gate" for marker in moved), "contact", "ligand", "response"),
        moved,
    )


def _columns(primary: str, marker: str, places: Sequence[str], known: set[str]) -> list[str]:
    return [
        column
        for column in dict.fromkeys([primary, *(f"{marker}_{place}_mean" for place in places)])
        if column in known
    ]


def specifications(
    grid: Grid,
    found: Mapping[tuple[str, str], SlideFinding],
    slides: Sequence[str],
    others: Sequence[str],
    members: Mapping[str, Member],
) -> tuple[Specification, ...]:
    """Combine every choice (and segmentation) over patients; the first is the primary analysis'."""
    out = []
    for segmentation in ("", *others):
        for k, choice in enumerate(grid.choices):
            named = labels(choice, grid.dimensions)
            if others:
                named = {SEGMENTATION: segmentation or "as analyzed", **named}
            values, missing = [], 0
            for slide in slides:
                finding = found.get((segmentation, slide))
                one = finding.estimates[k] if finding is not None and finding.estimates else None
                patient = members[slide].patient
                if one is None or patient is None:
                    missing += 1
                else:
                    values.append(
                        SlideValue(slide, patient, one.z, one.se, one.n, members[slide].group)
                    )
            effect = cohort_effect(combine_slides(values))
            out.append(Specification(named, k == 0 and not segmentation, effect, missing))
    return tuple(out)
