"""Pair, decisions and intensities in words: what a reviewer reads beside the picture.

Nothing hidden is in it.
"""

from __future__ import annotations

import math

from ifquant.review.decisions import Decision
from napari_ifquant.review_state import ReviewState


def pair_line(state: ReviewState) -> str:
    """Both cells and the gap between them in one line; empty if no cell is on view."""
    cell_id, partner = state.pair.cell_id, state.pair.partner
    if cell_id is None:
        return ""
    first = f"{state.session.phenotype(cell_id)} {cell_id}"
    if partner is None:
        return f"{first}: no other cell nearby"
    return (
        f"{first} (white) and {partner.phenotype} {partner.cell_id} (magenta): {gap_line(state)},"
        f" centers {partner.distance_um:.1f} um"
    )


def gap_line(state: ReviewState) -> str:
    """Gap of the pair alone."""
    partner = state.pair.partner
    if partner is None:
        return ""
    return "touching" if partner.gap_um == 0 else f"{partner.gap_um:.1f} um apart"


def reason_line(state: ReviewState) -> str:
    """Why the cell is in the queue."""
    place, queue = state.pair.place, state.queue
    if 0 < place <= len(queue) and queue.ids[place - 1] == state.pair.cell_id:
        return ", ".join(queue.reasons[place - 1])
    return ""


def intensities(state: ReviewState) -> list[tuple[str, str, str, str]]:
    """Marker, value of the cell, of its partner, and gate, in the column each gate is on."""
    cell_id, partner = state.pair.cell_id, state.pair.partner
    if cell_id is None:
        return []
    rows = []
    for gate in state.view.subject.gates:
        if gate.marker in state.layers.hidden:
            continue
        value = state.session.gate(gate.marker)
        own = _value(state, gate.column, cell_id)
        other = "" if partner is None else _value(state, gate.column, partner.cell_id)
        rows.append((gate.marker, own, other, "-" if value is None else f"{value:.0f}"))
    return rows


def _value(state: ReviewState, column: str, cell_id: int) -> str:
    subject = state.view.subject
    if cell_id not in subject.ids:
        return "new cell"
    value = float(subject.table[column].iloc[subject.row(cell_id)])
    return "-" if math.isnan(value) else f"{value:.0f}"


def numbered_text(decision: Decision) -> str:
    """Text of a decision with its number."""
    return f"{decision.number}: {decision_text(decision)}"


def decision_text(decision: Decision) -> str:
    """Text of a decision: action, cell, and what was decided."""
    action, new = decision.action, getattr(decision, "new", "")
    cell = getattr(decision, "cell", None)
    about = f" of cell {cell.cell_id}" if cell is not None else ""
    value = f": {new}" if isinstance(new, str) and new not in ("", action) else ""
    return f"{action}{about}{value}"
