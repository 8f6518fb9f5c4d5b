"""How well cells and slides determine a gate: it is fitted again on draws with replacement.

A shared gate: slides are drawn, then cells within them, for staining differs between slides far
more than cells can tell (with a spread of 0.25 between slides on the log scale, cells alone gave an
interval five times too narrow). The gate of one slide: cells, as if they were independent; that
neighbors are alike makes this interval somewhat too narrow, and what another section would give is
not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.errors import RequestError
from ifquant.phenotypes.gates import FittedGate, fit_gate
from ifquant.recipe.model import Gate

Floats = NDArray[np.float64]
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
        note = "given, not fitted" if gate.method == "value" else "from control cells"
        return GateInterval(marker, value, None, None, 0, 0, note)
    if value is None:
        return GateInterval(marker, None, None, None, 0, 0, "not callable")
    slides = list(values.values()) if isinstance(values, Mapping) else [values]
    parts = [np.asarray(slide, np.float64).ravel() for slide in slides]
    parts = [part[np.isfinite(part)] for part in parts]
    share = min(1.0, MOST_CELLS / max(sum(map(len, parts)), 1))
    fitted = _replicates(
        parts, share, n, seed, lambda drawn: fit_gate(drawn, gate, marker, min_cells=min_cells)
    )
    if len(fitted) <= n / 2:
        note = f"callable in only {len(fitted)} of {n} replicates"
        return GateInterval(marker, value, None, None, n, len(fitted), note)
    # what differs between slides does not shrink with their cells
    scale = 1.0 if len(parts) > 1 else share**0.5
    quantiles = np.quantile(fitted, [0.025, 0.975])
    if value > 0 and min(fitted) > 0:
        low, high = value * np.exp(np.log(quantiles / value) * scale)
    else:
        low, high = (value + (q - value) * scale for q in quantiles)
    return GateInterval(
        marker, value, float(min(low, value)), float(max(high, value)), n, len(fitted)
    )


def _replicates(
    parts: Sequence[Floats], share: float, n: int, seed: int, fit: Callable[[Floats], FittedGate]
) -> list[float]:
    """Gates of `n` replicates, less those not callable."""
    sizes = [round(len(part) * share) for part in parts]
    rng = np.random.default_rng(seed)
    gates = []
    for _ in range(n):
        chosen = rng.integers(0, len(parts), len(parts)) if len(parts) > 1 else [0]
        drawn = [parts[k][rng.integers(0, len(parts[k]), sizes[k])] for k in chosen if sizes[k]]
        gate = fit(np.concatenate(drawn or [np.zeros(0)]))
        if gate.callable and gate.value is not None:
            gates.append(gate.value)
    return gates
