"""The reviewer's desk: every decision a key can make about what is on view. No Qt: widgets call it and listen to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ifquant.errors import IfquantError
from ifquant.review.decisions import Decision, ExclusionReason, cells_of
from napari_ifquant.drawing import Cut, Drawing, Outline, Region
from napari_ifquant.pairs import neighbours
from napari_ifquant.walk import Walk, walk_in


def desk_of(viewer: Any) -> Desk | None:
    """Give the desk in a viewer."""
    found = walk_in(viewer)
    return found if isinstance(found, Desk) else None


class Desk(Walk):
    """One reviewer at one slide: the walk through the queue, and decisions. Parameters as for `Walk`."""

    def accept(self) -> None:
        """Confirm the phenotype and go on."""
        self._decide(lambda cell: self.session.accept(cell), go_on=True)

    def change_phenotype(self, number: int) -> None:
        """Give the cell the phenotype with this number (from 1) and go on."""
        if number > len(self.names):
            self._say(f"there are {len(self.names)} phenotypes")
            return
        self._decide(lambda cell: self.session.change_phenotype(cell, self.names[number - 1]), go_on=True)

    def exclude(self, what: ExclusionReason) -> None:
        """Leave the cell out and go on."""
        self._decide(lambda cell: self.session.exclude(cell, what), go_on=True)

    def not_touching(self) -> None:
        """Say that the pair does not touch."""
        partner = self.partner
        if partner is None:
            self._say("there is no other cell nearby")
            return
        self._decide(lambda cell: self.session.not_touching(cell, partner.cell_id, partner.gap_um))

    def merge(self) -> None:
        """Make one cell of the pair."""
        partner = self.partner
        if partner is None:
            self._say("there is no other cell nearby")
            return
        self._decide(lambda cell: self.session.merge(cell, partner.cell_id))

    def note(self, text: str) -> None:
        """Write a remark about the cell."""
        if text.strip():
            self._decide(lambda cell: self.session.note(text, cell))

    def ask_note(self) -> None:
        """Let the widget ask for the text of a note."""
        if self.ask_note_of is not None:
            self.ask_note_of()

    def undo(self) -> None:
        """Take the last decision back and show its cell."""
        self._back(self.session.undo, "nothing to undo")

    def redo(self) -> None:
        """Bring the decision undone last back."""
        self._back(self.session.redo, "nothing to redo")

    def preview_gate(self, marker: str, value: float) -> None:
        """Color the cells on view as they would be with another gate; nothing is decided."""
        self.screen.recolor(self.session, self.session.preview({marker: value}), points=False)

    def change_gate(self, marker: str, value: float | None, reason: str = "") -> None:
        """Set a gate for this slide."""
        try:
            self.session.change_gate(marker, value, reason)
        except IfquantError as error:
            self._say(str(error))
            return
        self._after(f"gate of {marker} saved")

    def _decide(self, make: Callable[[int], Decision], *, go_on: bool = False) -> None:
        if self.cell_id is None:
            self._say("no cell is on view")
            return
        try:
            decision = make(self.cell_id)
        except IfquantError as error:
            self._say(str(error))
            return
        made = self.session.new_cells(decision)
        self._after(f"{decision.number}: {_words(decision)}")
        if made:
            self._show(made[0], self.message)
        elif go_on:
            text = self.message
            self.next_open()
            self._say(text if self.message == "" else f"{text}; {self.message}")
        else:
            self._near = neighbours(self.session, self.cell_id)
            self._draw_pair(move=False)
            self._say(self.message)

    def _back(self, act: Callable[[], Decision | None], nothing: str) -> None:
        self._leave_drawing()
        try:
            decision = act()
        except IfquantError as error:
            self._say(str(error))
            return
        if decision is None:
            self._say(nothing)
            return
        about = next(d for d in self.session.decisions if d.number == decision.of)  # type: ignore[union-attr]
        self._after(f"{decision.action}: {_words(about)}")
        text = self.message
        cells = cells_of(about)
        if cells:
            self.show_cell(cells[0].cell_id)
        elif self.cell_id is not None and self.cell_id not in self.session.standing.outlines:
            self.go(self.place)
        self._say(text)

    def _after(self, message: str) -> None:
        self.screen.recolor(self.session)
        self._say(message)

    # ---- drawing: split, redraw, exclude a region ------------------------------------------------------------------------------------

    def split(self) -> None:
        """Show a cut through the cell; the second time, cut."""
        self._draw(Cut, lambda drawing: self._decide(lambda cell: self.session.cut(cell, drawing.line())))

    def redraw(self) -> None:
        """Open the cell for painting; the second time, keep what is painted."""
        self._draw(Outline, lambda drawing: self._decide(lambda cell: self.session.redraw(cell, *drawing.outlines())))

    def exclude_region(self, what: ExclusionReason = "artefact") -> None:
        """Open a layer to draw regions on; the second time, leave them out."""

        def leave_out(drawing: Any) -> None:
            for ring in drawing.rings():
                self.session.exclude_region(ring, what)
            self._leave_drawing()
            self.screen.focus()
            self._after("region left out")

        self._draw(Region, leave_out)

    def adjust(self, step: int) -> None:
        """Turn the cut, or grow and shrink the outline, by a step."""
        if self.drawing is not None:
            self.drawing.adjust(step)

    def cancel(self) -> None:
        """Leave what is being drawn."""
        self._leave_drawing()
        self.screen.focus()
        self._say("")

    def _draw(self, kind: type[Drawing], finish: Callable[[Any], None]) -> None:
        if self.cell_id is None:
            self._say("no cell is on view")
            return
        if not isinstance(self.drawing, kind):
            self._leave_drawing()
            self.drawing = kind(self)
            self._say(kind.help)
            return
        try:
            finish(self.drawing)
        except IfquantError as error:
            self._say(str(error))


def _words(decision: Decision) -> str:
    action = decision.action
    new = getattr(decision, "new", "")
    cell = getattr(decision, "cell", None)
    about = f" of cell {cell.cell_id}" if cell is not None else ""
    return f"{action}{about}" + (f": {new}" if isinstance(new, str) and new and new != action else "")
