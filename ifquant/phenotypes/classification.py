"""From measured intensities to classes: gates of a slide, positivity, phenotypes and the flags that
go with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ifquant.columns.cell_columns import GROWTH_CLASSES
from ifquant.columns.flags import encode_flags
from ifquant.errors import RequestError
from ifquant.phenotypes.assignment import Assignment, DoublePositives, assign, double_positives
from ifquant.phenotypes.gates import FittedGate, fit_gate
from ifquant.recipe.defaults import ResolvedRecipe, gated, parsed_phenotypes
from ifquant.recipe.rules import markers

Columns = Mapping[str, Any] | pd.DataFrame
"""Column name > array (n_cells,): a dict of arrays or a DataFrame."""


def gate_column(recipe: ResolvedRecipe, marker: str, compartment: str | None = None) -> str:
    """Column of cells.parquet a marker's gate is applied to; `compartment` other than the channel's
    own gives the same statistic there.
    """
    channel = recipe.channel(marker)
    return f"{marker}_{compartment or channel.compartment}_{recipe.gate(marker).statistic}"


def shared_markers(recipe: ResolvedRecipe) -> tuple[str, ...]:
    """Markers whose gate is fitted on all slides of the cohort together."""
    return tuple(name for name in gated(recipe) if recipe.gate(name).shared)


def fit_gates(
    columns: Columns,
    recipe: ResolvedRecipe,
    *,
    controls: Mapping[str, ArrayLike] | None = None,
    shared: Mapping[str, FittedGate] | None = None,
) -> dict[str, FittedGate]:
    """Fit the gates of one slide.

    Parameters
    ----------
    columns
        The slide's measured columns.
    recipe
        The resolved recipe.
    controls
        Marker > intensities of its control cells in `gate_column`, for markers with method =
        control.
    shared
        Gates fitted on the cohort by `fit_shared_gates`; these markers are not fitted again.

    Returns
    -------
    Marker > gate, in the order of the channels.
    """
    gates = {}
    for marker in gated(recipe):
        if shared is not None and marker in shared:
            gates[marker] = shared[marker]
            continue
        column = gate_column(recipe, marker)
        gates[marker] = fit_gate(
            _intensities(columns, column),
            recipe.gate(marker),
            marker,
            column=column,
            min_cells=recipe.gates.min_cells,
            control=(controls or {}).get(marker),
        )
    return gates


def fit_shared_gates(
    slides: Mapping[str, Columns],
    recipe: ResolvedRecipe,
    *,
    controls: Mapping[str, ArrayLike] | None = None,
) -> dict[str, FittedGate]:
    """Fit the gates that the recipe shares over the cohort, on the cells of all slides pooled
    (slide name > columns).
    """
    gates = {}
    for marker in shared_markers(recipe):
        column = gate_column(recipe, marker)
        gates[marker] = fit_gate(
            {slide: _intensities(columns, column) for slide, columns in slides.items()},
            recipe.gate(marker),
            marker,
            column=column,
            min_cells=recipe.gates.min_cells,
            control=(controls or {}).get(marker),
        )
    return gates


def positivity(values: ArrayLike, gate: FittedGate) -> pd.arrays.BooleanArray:
    """Positive where above the gate; null where the gate is not callable or the value is not a
    number.
    """
    intensities = np.asarray(values, np.float64)
    if gate.value is None:
        return pd.arrays.BooleanArray(
            np.zeros(intensities.shape, np.bool_), np.ones(intensities.shape, np.bool_)
        )
    with np.errstate(invalid="ignore"):
        return pd.arrays.BooleanArray(intensities > gate.value, np.isnan(intensities))


def classify_cells(
    columns: Columns, recipe: ResolvedRecipe, gates: Mapping[str, FittedGate]
) -> dict[str, Any]:
    """Classify the cells of one slide.

    Parameters
    ----------
    columns
        Measured columns (n_cells,): of every gated marker its `gate_column` and the same statistic
        in the soma; ``growth_class`` (codes of `GROWTH_CLASSES`, or their names) and ``flags``
        where present.
    recipe
        The resolved recipe.
    gates
        Marker > gate, for every gated marker.

    Returns
    -------
    ``<marker>_positive`` (nullable boolean), ``phenotype`` (categorical), ``phenotype_code``
    (int16, positions in `phenotype_names`: the recipe's order, other last), and ``flags``
    (uint32; bits several_phenotypes, phenotype_uncertain and growth_mismatch added to those given).
    """
    required, excluded = positivity_by_place(columns, recipe, gates)
    assignment = assign(parsed_phenotypes(recipe), required, excluded, _length(columns))
    marks: dict[str, NDArray[np.bool_]] = {
        "several_phenotypes": assignment.several,
        "phenotype_uncertain": assignment.uncertain,
    }
    if "growth_class" in columns:
        marks["growth_mismatch"] = growth_mismatch(
            np.asarray(columns["growth_class"]), assignment, recipe
        )
    flags = encode_flags(_length(columns), marks)
    if "flags" in columns:
        flags |= np.asarray(columns["flags"], np.uint32)
    return {
        **{f"{marker}_positive": array for marker, array in required.items()},
        "phenotype": assignment.categorical(),
        "phenotype_code": assignment.codes,
        "flags": flags,
    }


def positivity_by_place(
    columns: Columns, recipe: ResolvedRecipe, gates: Mapping[str, FittedGate]
) -> tuple[dict[str, pd.arrays.BooleanArray], dict[str, pd.arrays.BooleanArray]]:
    """Positivity of every gated marker in its compartment, and of those that rules exclude in the
    soma, both by the same gate.

    Where the channel is judged in the nucleus or the soma, exclusion is judged there too.
    """
    left_out = {
        m.name
        for rule in parsed_phenotypes(recipe).values()
        for m in markers(rule)
        if not m.positive
    }
    required, excluded = {}, {}
    for marker in gated(recipe):
        if marker not in gates:
            raise RequestError(
                f"no gate for {marker}; fit_gates gives one for each of {', '.join(gated(recipe))}."
            )
        required[marker] = positivity(
            _intensities(columns, gate_column(recipe, marker)), gates[marker]
        )
        if marker in left_out:
            place = recipe.channel(marker).compartment
            soma = gate_column(recipe, marker, place if place == "nucleus" else "soma")
            excluded[marker] = positivity(_intensities(columns, soma), gates[marker])
    return required, excluded


def growth_mismatch(
    growth_class: NDArray[Any], assignment: Assignment, recipe: ResolvedRecipe
) -> NDArray[np.bool_]:
    """Cells grown as tumor or myeloid whose phenotype requires no channel of that role, and the
    reverse.

    Cells whose phenotype is uncertain are not compared: a missing gate says nothing about how they
    grew.
    """
    expected = np.zeros(len(assignment.names), np.uint8)
    for code, rule in enumerate(parsed_phenotypes(recipe).values()):
        roles = {recipe.channel(m.name).role for m in markers(rule) if m.positive}
        expected[code] = next(
            (i for i, name in enumerate(GROWTH_CLASSES) if i and name in roles), 0
        )
    grown = growth_class
    if grown.dtype.kind not in "iu":
        names = {name: i for i, name in enumerate(GROWTH_CLASSES)}
        grown = np.array([names[str(name)] for name in grown], np.uint8)
    mismatch: NDArray[np.bool_] = (grown != expected[assignment.codes]) & ~assignment.uncertain
    return mismatch


def double_positive_counts(columns: Columns, recipe: ResolvedRecipe) -> list[DoublePositives]:
    """Double positives of every tumor channel with every myeloid channel, by contact.

    Parameters
    ----------
    columns
        The finished table: ``<marker>_positive``, ``phenotype`` and ``n_touching_<phenotype>`` of
        [proximity]. A cell counts as touching when it touches a cell of ``to`` or ``from`` other
        than its own phenotype.
    """
    touching = np.zeros(_length(columns), np.bool_)
    own = np.asarray(columns["phenotype"], dtype=object)
    for name in {recipe.proximity.from_, recipe.proximity.to} - {None}:
        column = f"n_touching_{name}"
        if column in columns:
            counts = pd.Series(columns[column], dtype="Int64").to_numpy(dtype=np.int64, na_value=0)
            touching |= (counts > 0) & (own != name)
    pairs = [
        (a.name, b.name) for a in recipe.with_role("tumor") for b in recipe.with_role("myeloid")
    ]
    positive = {
        name: pd.Series(columns[f"{name}_positive"], dtype="boolean").array
        for pair in pairs
        for name in pair
    }
    return [double_positives(positive, first, second, touching) for first, second in pairs]


def _intensities(columns: Columns, name: str) -> NDArray[np.float64]:
    if name not in columns:
        raise RequestError(
            f"column {name!r} is missing; measure this marker, compartment and statistic ([measure]"
            " statistics)."
        )
    return np.asarray(columns[name], np.float64)


def _length(columns: Columns) -> int:
    return len(columns) if isinstance(columns, pd.DataFrame) else len(next(iter(columns.values())))
