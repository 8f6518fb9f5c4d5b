"""The reviewer's desk: every decision a key can make about what is on view. No Qt: widgets call it
and listen to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ifquant.errors import RequestError
from ifquant.review.decisions import Decision, ExclusionReason, cells_of
from napari_ifquant.drawing import Cut, Drawing, Outline, Region
from napari_ifquant.guard import action
from napari_ifquant.pairs import Neighbour
from napari_ifquant.walk import Walk, walk_in


def desk_of(viewer: Any) -> Desk | None:
    """Give the desk in a viewer."""
    found = walk_in(viewer)
    return found if isinstance(found, Desk) else None


class Desk(Walk):
    """One reviewer at one slide: the walk through the queue, and decisions. Parameters as for
    `Walk`.
    """

    @action
    def accept(self) -> None:
        """Confirm the phenotype and go on."""
        self._decide(lambda cell: self.session.accept(cell), go_on=True)

    @action
    def change_phenotype(self, number: int) -> None:
        """Give the cell the phenotype with this number (from 1) and go on."""
        if number > len(self.names):
            raise RequestError(f"there are {len(self.names)} phenotypes")
        self._decide(
            lambda cell: self.session.change_phenotype(cell, self.names[number - 1]), go_on=True
        )

    @action
    def exclude(self, what: ExclusionReason) -> None:
        """Leave the cell out and go on."""
        self._decide(lambda cell: self.session.exclude(cell, what), go_on=True)

    @action
    def not_touching(self) -> None:
        """Say that the pair does not touch."""
        partner = self._other()
        self._decide(lambda cell: self.session.not_touching(cell, partner.cell_id, partner.gap_um))

    @action
    def merge(self) -> None:
        """Make one cell of the pair."""
        partner = self._other()
        self._decide(lambda cell: self.session.merge(cell, partner.cell_id))

    @action
    def note(self, text: str) -> None:
        """Write a remark about the cell."""
        if text.strip():
            self._decide(lambda cell: self.session.note(text, cell))

    @action
    def ask_note(self) -> None:
        """Let the widget ask for the text of a note."""
        if self.ask_note_of is not None:
            self.ask_note_of()

    @action
    def undo(self) -> None:
        """Take the last decision back and show its cell."""
        self._back(self.session.undo(), "nothing to undo")

    @action
    def redo(self) -> None:
        """Bring the decision undone last back."""
        self._back(self.session.redo(), "nothing to redo")

    @action
    def preview_gate(self, marker: str, value: float) -> None:
        """Color the cells on view as they would be with another gate; nothing is decided."""
        self.screen.recolor(self.session, self.session.preview({marker: value}), points=False)

    @action
    def end_preview(self) -> None:
        """Color the cells on view as they are."""
        self.screen.recolor(self.session)

    @action
    def change_gate(self, marker: str, value: float | None, reason: str = "") -> None:
        """Set a gate for this slide."""
        self.session.change_gate(marker, value, reason)
        self.screen.recolor(self.session)
        self._again(f"gate of {marker} saved")

    def _other(self) -> Neighbour:
        if self.partner is None:
            raise RequestError("there is no other cell nearby")
        return self.partner

    def _cell(self) -> int:
        if self.cell_id is None:
            raise RequestError("no cell is on view")
        return self.cell_id

    def _decide(self, make: Callable[[int], Decision], *, go_on: bool = False) -> None:
        decision = make(self._cell())
        message = f"{decision.number}: {_words(decision)}"
        self.screen.recolor(self.session)
        if go_on:
            self._next_open(message)
        else:
            self._again(message)

    def _back(self, decision: Decision | None, nothing: str) -> None:
        if decision is None:
            self._say(nothing)
            return
        about = next(d for d in self.session.decisions if d.number == decision.of)  # type: ignore[union-attr]
        message = f"{decision.action}: {_words(about)}"
        self.screen.recolor(self.session)
        cells = cells_of(about)
        if cells:
            self._show_cell(cells[0].cell_id, message)
        else:
            self._again(message)

    # ---- drawing: split, redraw, exclude a region ------------------------------------------------

    @action
    def split(self) -> None:
        """Show a cut through the cell; the second time, cut."""
        self._draw(
            Cut, lambda drawing: self._decide(lambda cell: self.session.cut(cell, drawing.line()))
        )

    @action
    def redraw(self) -> None:
        """Open the cell for painting; the second time, keep what is painted."""
        self._draw(
            Outline,
            lambda drawing: self._decide(
                lambda cell: self.session.redraw(cell, *drawing.outlines())
            ),
        )

    @action
    def exclude_region(self, what: ExclusionReason = "artefact") -> None:
        """Open a layer to draw regions on; the second time, leave them out."""

        def leave_out(drawing: Any) -> None:
            for ring in drawing.rings():
                self.session.exclude_region(ring, what)
            self.screen.recolor(self.session)
            self._again("region left out")

        self._draw(Region, leave_out)

    @action
    def adjust(self, step: int) -> None:
        """Turn the cut, or grow and shrink the outline, by a step."""
        if self.drawing is not None:
            self.drawing.adjust(step)

    @action
    def cancel(self) -> None:
        """Leave what is being drawn."""
        self._leave_drawing()
        self.screen.focus()
        self._say("")

    def _draw(self, kind: type[Drawing], finish: Callable[[Any], None]) -> None:
        self._cell()
        if isinstance(self.drawing, kind) and self.drawing.on_view:
            finish(self.drawing)
            return
        drawing = kind(self)
        self._leave_drawing()
        self.drawing = drawing
        drawing.show()
        self._say(kind.help)


def _words(decision: Decision) -> str:
    action = decision.action
    new = getattr(decision, "new", "")
    cell = getattr(decision, "cell", None)
    about = f" of cell {cell.cell_id}" if cell is not None else ""
    return f"{action}{about}" + (
        f": {new}" if isinstance(new, str) and new and new != action else ""
    )
