"""How well cells and slides determine a gate: the gate fitted again on what is drawn with
replacement.

A shared gate: slides are drawn, then cells within them, for staining differs between slides far
more than cells can tell (with a spread of 0.25 between slides on the log scale, cells alone gave an
interval five times too narrow). The gate of one slide: cells, as if they were independent; that
neighbors are alike makes this interval somewhat too narrow, and what another section would give is
not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ifquant.errors import RequestError
from ifquant.phenotypes.gates import fit_gate
from ifquant.recipe.model import Gate

MOST_CELLS = 20_000
"""Cells drawn per replicate at most; the interval of one larger slide is scaled down by the square
root of its size."""
FITTED = ("mixture", "otsu")


@dataclass(frozen=True)
class GateInterval:
    """A gate and its 95 % bootstrap interval in raw intensities.

    `low` and `high` are None for gates that are not fitted, or not callable in half of the
    replicates or more (`note` says so).
    """

    marker: str
    value: float | None
    low: float | None
    high: float | None
    n_replicates: int
    n_callable: int
    note: str = ""


def bootstrap_gate(
    values: ArrayLike | Mapping[str, ArrayLike],
    gate: Gate,
    marker: str,
    *,
    value: float | None,
    min_cells: int = 50,
    n: int = 200,
    seed: int = 0,
) -> GateInterval:
    """Bootstrap one fitted gate.

    Parameters
    ----------
    values
        Intensities of the cells (n_cells,), or slide > intensities for a shared gate (slides are
        drawn, and cells within them).
    value
        The gate in use; None when it is not callable.
    n
        Replicates.

    Raises
    ------
    RequestError
        If `n` is too small for a 95 % interval.
    """
    if n < 40:
        raise RequestError(f"{n} bootstrap replicates; a 95 % interval needs at least 40.")
    if gate.method not in FITTED:
        return GateInterval(
            marker,
            value,
            None,
            None,
            0,
            0,
            "given, not fitted" if gate.method == "value" else "from control cells",
        )
    if value is None:
        return GateInterval(marker, None, None, None, 0, 0, "not callable")
    parts = [
        np.asarray(part, np.float64).ravel()
        for part in (values.values() if isinstance(values, Mapping) else [values])
    ]
    parts = [part[np.isfinite(part)] for part in parts]
    total = sum(map(len, parts))
    share = min(1.0, MOST_CELLS / max(total, 1))
    sizes = [round(len(part) * share) for part in parts]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        chosen = rng.integers(0, len(parts), len(parts)) if len(parts) > 1 else [0]
        drawn = np.concatenate(
            [parts[k][rng.integers(0, len(parts[k]), sizes[k])] for k in chosen if sizes[k]]
            or [np.zeros(0)]
        )
        fitted = fit_gate(drawn, gate, marker, min_cells=min_cells)
        if fitted.callable and fitted.value is not None:
            found.append(fitted.value)
    if len(found) <= n / 2:
        return GateInterval(
            marker,
            value,
            None,
            None,
            n,
            len(found),
            f"callable in only {len(found)} of {n} replicates",
        )
    scale = (
        1.0 if len(parts) > 1 else share**0.5
    )  # what differs between slides does not shrink with their cells
    spread = (
        np.log(np.quantile(found, [0.025, 0.975]) / value) * scale
        if value > 0 and min(found) > 0
        else None
    )
    if spread is None:
        low, high = (value + (q - value) * scale for q in np.quantile(found, [0.025, 0.975]))
    else:
        low, high = value * np.exp(spread)
    return GateInterval(
        marker, value, float(min(low, value)), float(max(high, value)), n, len(found)
    )
