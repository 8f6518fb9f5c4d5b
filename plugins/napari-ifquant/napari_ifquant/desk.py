"""The reviewer's desk: the queue, the cell and pair on view, and every action a key can do. No Qt: widgets call it and listen to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from ifquant.base.table import phenotype_names
from ifquant.errors import IfquantError, SlideError
from ifquant.pipeline.review_log import ReviewLog
from ifquant.review.decisions import Decision, ExclusionReason, cells_of
from ifquant.review.queue import Queue, QueueOptions, make_queue
from ifquant.review.session import ReviewSession
from napari_ifquant.drawing import Cut, Drawing, Outline, Region
from napari_ifquant.pairs import Neighbour, neighbours
from napari_ifquant.result import SlideView
from napari_ifquant.screen import Screen

_OPEN: WeakValueDictionary[int, Desk] = WeakValueDictionary()


def desk_of(viewer: Any) -> Desk | None:
    """Give the review that is going on in a viewer."""
    return _OPEN.get(_key(viewer))


def _key(viewer: Any) -> int:
    """Name a viewer, also through the proxy that napari may give to plugins."""
    return id(getattr(viewer, "__wrapped__", viewer))


def _now() -> datetime:
    return datetime.now(UTC)


class Desk:
    """One reviewer at one slide.

    Parameters
    ----------
    viewer
        A napari viewer, or its model alone.
    view
        The slide's results.
    reviewer
        Who decides; names the log.
    options
        What the queue holds, and what is hidden.
    limits
        Contrast by channel to keep from the slide before.
    clock
        Gives the time in UTC.

    Raises
    ------
    RequestError
        If the reviewer's log is open elsewhere, or the name cannot be a file's.
    """

    def __init__(
        self,
        viewer: Any,
        view: SlideView,
        reviewer: str,
        options: QueueOptions | None = None,
        *,
        limits: dict[str, tuple[float, float]] | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.view, self.viewer = view, viewer
        self.options = options or QueueOptions()
        self.log = ReviewLog(view.folder, reviewer)
        try:
            self.session = ReviewSession(view.subject, reviewer, self.log.content.decisions, save=self.log.append, clock=clock)
            self.screen = Screen(viewer, view, hidden=self.options.hidden, limits=limits)
            try:
                self.queue: Queue = make_queue(view.subject, self.options)
            except BaseException:
                self.screen.remove()
                raise
        except BaseException:
            self.log.close()
            raise
        _OPEN[_key(viewer)] = self
        self.listeners: list[Callable[[], None]] = []
        self.ask_note_of: Callable[[], None] | None = None
        self.place = 0
        self.cell_id: int | None = None
        self.message = ""
        self.drawing: Drawing | None = None
        self._near: list[Neighbour] = []
        self._partner = 0
        self.screen.recolor(self.session)
        self.next_open()

    # ---- what is on view -------------------------------------------------------------------------------------------------------------

    @property
    def partner(self) -> Neighbour | None:
        """The other cell of the pair on view."""
        return self._near[self._partner] if self._near else None

    @property
    def names(self) -> tuple[str, ...]:
        """Phenotypes, in the order of the keys 1..9."""
        return phenotype_names(self.view.recipe)

    @property
    def progress(self) -> tuple[int, int]:
        """Cells decided in the queue, and all."""
        return self.queue.progress(self.session.decided(self.queue))

    def go(self, place: int) -> None:
        """Show the cell at a place of the queue (from 1)."""
        if not len(self.queue):
            self._say("the queue is empty; choose other cells")
            return
        self.place = min(max(place, 1), len(self.queue))
        cell_id = self.session.show(self.queue, self.place)
        self._show(cell_id, "")

    def show_cell(self, cell_id: int) -> None:
        """Show any cell; one that is in the queue takes its place there."""
        found = (self.queue.ids == cell_id).nonzero()[0]
        if len(found):
            self.go(int(found[0]) + 1)
            return
        self.session.show(None)
        self._show(cell_id, "not in the queue")

    def next(self) -> None:
        """Show the next cell of the queue."""
        self.go(self.place + 1)

    def previous(self) -> None:
        """Show the cell before."""
        self.go(self.place - 1)

    def next_open(self) -> None:
        """Show the next cell that is not decided yet."""
        place = self.queue.next_open(self.session.decided(self.queue), self.place)
        if place is None:
            if self.cell_id is None and len(self.queue):
                self.go(1)
            self._say("all cells of the queue are decided" if len(self.queue) else "the queue is empty; choose other cells")
        else:
            self.go(place)

    def other_partner(self) -> None:
        """Take the next neighbour as the other cell of the pair."""
        if self._near:
            self._partner = (self._partner + 1) % len(self._near)
            self._draw_pair(move=True)
            self._say("")

    def _show(self, cell_id: int | None, message: str) -> None:
        self._leave_drawing()
        replaced = self.session.standing.outlines.gone
        while cell_id is not None and cell_id in replaced:
            cell_id = replaced[cell_id]
        self.cell_id, self._near, self._partner = cell_id, [], 0
        try:
            self._near = neighbours(self.session, cell_id) if cell_id is not None else []
            self._draw_pair(move=True)
        except SlideError as error:  # outlines are read where they are looked at
            message = str(error)
        self._select_point(cell_id)
        self._say(message)

    def _draw_pair(self, *, move: bool) -> None:
        if self.cell_id is not None:
            self.screen.show_pair(self.session, self.cell_id, self.partner.cell_id if self.partner else None, move=move)
            self.screen.focus()

    def _select_point(self, cell_id: int | None) -> None:
        centers = self.screen.named("cell centers")
        if centers is not None and cell_id is not None and cell_id <= int(self.view.subject.ids.max(initial=0)):
            centers.selected_data = {self.view.subject.row(cell_id)}

    # ---- decisions -------------------------------------------------------------------------------------------------------------------

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

    def _leave_drawing(self) -> None:
        if self.drawing is not None:
            self.drawing.remove()
            self.drawing = None

    # ---- the rest --------------------------------------------------------------------------------------------------------------------

    def toggle_outlines(self) -> None:
        """Show or hide the outlines of all cells."""
        layer = self.screen.named("cells")
        if layer is not None:
            layer.visible = not layer.visible

    def close(self, *, remove: bool = True) -> None:
        """Release the log and take the layers away."""
        self._leave_drawing()
        if desk_of(self.viewer) is self:
            del _OPEN[_key(self.viewer)]
        self.log.close()
        if remove:
            self.screen.remove()

    def _say(self, message: str) -> None:
        self.message = message
        for listener in list(self.listeners):
            listener()


def _words(decision: Decision) -> str:
    action = decision.action
    new = getattr(decision, "new", "")
    cell = getattr(decision, "cell", None)
    about = f" of cell {cell.cell_id}" if cell is not None else ""
    return f"{action}{about}" + (f": {new}" if isinstance(new, str) and new and new != action else "")
