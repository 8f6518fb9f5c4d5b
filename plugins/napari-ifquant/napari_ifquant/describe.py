"""The cell and pair on view in words: what a reviewer reads beside the picture. Nothing hidden is
in it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_ifquant.walk import Walk


def pair_line(desk: Walk) -> str:
    """One line for the canvas: both cells and the gap between them."""
    if desk.cell_id is None:
        return desk.message
    first = f"{desk.session.phenotype(desk.cell_id)} {desk.cell_id}"
    partner = desk.partner
    if partner is None:
        return f"{first}: no other cell nearby"
    other = f"{partner.phenotype} {partner.cell_id}"
    return (
        f"{first} (white) and {other} (magenta): {gap_line(desk)}, centers"
        f" {partner.distance_um:.1f} um"
    )


def gap_line(desk: Walk) -> str:
    """Say the gap alone."""
    if desk.partner is None:
        return ""
    return "touching" if desk.partner.gap_um == 0 else f"{desk.partner.gap_um:.1f} um apart"


def why(desk: Walk) -> str:
    """Why the cell is in the queue."""
    if (
        desk.place
        and desk.place <= len(desk.queue)
        and desk.queue.ids[desk.place - 1] == desk.cell_id
    ):
        reasons = desk.queue.reasons[desk.place - 1]
        return ", ".join(reasons)
    return ""


def intensities(desk: Walk) -> list[tuple[str, str, str, str]]:
    """Marker, value of the cell, value of its partner, gate; in the column each gate is on. Hidden
    markers are left out.
    """
    if desk.cell_id is None:
        return []
    subject = desk.view.subject
    rows = []
    for gate in subject.gates:
        if gate.marker in desk.options.hidden:
            continue
        value = desk.session.gate(gate.marker)
        cells = [desk.cell_id, desk.partner.cell_id if desk.partner else None]
        shown = [
            "new cell" if i is not None and i not in subject.ids else _value(desk, gate.column, i)
            for i in cells
        ]
        rows.append((gate.marker, shown[0], shown[1], "-" if value is None else f"{value:.0f}"))
    return rows


def _value(desk: Walk, column: str, cell_id: int | None) -> str:
    if cell_id is None:
        return ""
    value = float(desk.view.subject.table[column].iloc[desk.view.subject.row(cell_id)])
    return "-" if math.isnan(value) else f"{value:.0f}"
