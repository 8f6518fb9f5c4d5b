"""One reviewer's review of one slide: what is on view, and every decision a key can make about it.

No Qt: widgets call it and listen to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ifquant.columns.cell_columns import phenotype_names
from ifquant.errors import IfquantError, RequestError
from ifquant.review.decisions import Decision, ExclusionReason, Redo, Undo, cells_of
from ifquant.review.review_queue import QueueOptions
from ifquant.review.review_session import ReviewSession
from napari_ifquant.drawing import Cut, Drawing, Outline, Region
from napari_ifquant.error_guard import action, error_text
from napari_ifquant.open_reviews import add_review, remove_review
from napari_ifquant.pair_text import decision_text, numbered_text
from napari_ifquant.pair_view import Neighbor, PairView
from napari_ifquant.result import SlideView
from napari_ifquant.review_state import ReviewState


class SlideReview:
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
    """

    def __init__(
        self,
        viewer: Any,
        view: SlideView,
        reviewer: str,
        options: QueueOptions | None = None,
        *,
        limits: dict[str, tuple[float, float]] | None = None,
    ) -> None:
        self.view, self.viewer = view, viewer
        self.names = phenotype_names(view.recipe)
        self.options = options or QueueOptions()
        self.listeners: list[Callable[[], None]] = []
        self.focus_note: Callable[[], None] | None = None
        self.end: Callable[[], None] | None = None
        self.message = ""
        self.drawing: Drawing | None = None
        self.is_ended = self._is_busy = False
        self.state = ReviewState(viewer, view, reviewer, self.options, limits)
        self.layers, self.queue = self.state.layers, self.state.queue
        try:
            self._follow(self.state.next_undecided())
        except BaseException:
            self.layers.remove()
            self.state.log.close()
            raise
        add_review(viewer, self)

    @property
    def session(self) -> ReviewSession:
        """The reviewer's decisions."""
        return self.state.session

    @property
    def cell_id(self) -> int | None:
        """The cell on view; None: none."""
        return self.state.pair.cell_id

    @property
    def place(self) -> int:
        """Where the review is in the queue, from 1."""
        return self.state.pair.place

    @property
    def partner(self) -> Neighbor | None:
        """The other cell of the pair on view."""
        return self.state.pair.partner

    @property
    def progress(self) -> tuple[int, int]:
        """Cells decided in the queue, and all."""
        return self.queue.progress(self.session.decided(self.queue))

    @action
    def go(self, place: int) -> None:
        """Show the cell at a place of the queue (from 1)."""
        self._follow(self.state.go(place))

    @action
    def show_chosen(self) -> None:
        """Show the cell whose row is chosen in napari's features table."""
        ids = self.view.subject.ids
        chosen = [row for row in self.layers.named("cell centers").selected_data if row < len(ids)]
        if len(chosen) == 1 and int(ids[chosen[0]]) != self.cell_id:
            self._follow(self.state.show_cell(int(ids[chosen[0]])))

    @action
    def show_at(self, y_um: float, x_um: float) -> None:
        """Show the cell at a position of the picture, if there is one."""
        size = self.view.subject.pixel_size_um
        cell_id = self.view.cells.at(y_um / size + 0.5, x_um / size + 0.5)
        if cell_id and cell_id in self.session.standing.outlines:
            self._follow(self.state.show_cell(cell_id))

    @action
    def next(self) -> None:
        """Show the next cell of the queue."""
        self._follow(self.state.go(self.place + 1))

    @action
    def previous(self) -> None:
        """Show the cell before."""
        self._follow(self.state.go(self.place - 1))

    @action
    def next_undecided(self) -> None:
        """Show the next cell that is not decided yet."""
        self._follow(self.state.next_undecided())

    @action
    def other_partner(self) -> None:
        """Take the next neighbor as the other cell of the pair."""
        if self.partner is not None:
            self.state.draw(self.state.pair.next_partner())
            self._notify("")

    @action
    def toggle_outlines(self) -> None:
        """Show or hide the outlines of all cells."""
        layer = self.layers.named("cells")
        if layer is not None:
            layer.visible = not layer.visible

    def _follow(self, message: str) -> None:
        """Follow a cell that has come on view."""
        self._leave_drawing()
        self.layers.focus()
        self.layers.select_center(self.cell_id)
        self._notify(message)

    @action
    def accept(self) -> None:
        """Confirm the phenotype and go on."""
        self._after_decision(self.session.accept(self.state.cell()), go_on=True)

    @action
    def change_phenotype(self, number: int) -> None:
        """Give the cell the phenotype with this number (from 1) and go on."""
        if number > len(self.names):
            raise RequestError(f"there are {len(self.names)} phenotypes")
        name = self.names[number - 1]
        self._after_decision(self.session.change_phenotype(self.state.cell(), name), go_on=True)

    @action
    def exclude(self, what: ExclusionReason) -> None:
        """Leave the cell out and go on."""
        self._after_decision(self.session.exclude(self.state.cell(), what), go_on=True)

    @action
    def not_touching(self) -> None:
        """Deny that the pair touches."""
        other, cell_id = self.state.other(), self.state.cell()
        self._after_decision(self.session.not_touching(cell_id, other.cell_id, other.gap_um))

    @action
    def merge(self) -> None:
        """Make one cell of the pair."""
        other_id = self.state.other().cell_id
        self._after_decision(self.session.merge(self.state.cell(), other_id))

    @action
    def note(self, text: str) -> None:
        """Write a remark about the cell."""
        if text.strip():
            self._after_decision(self.session.note(text, self.state.cell()))

    @action
    def ask_note(self) -> None:
        """Let the widget ask for the text of a note."""
        if self.focus_note is not None:
            self.focus_note()

    @action
    def undo(self) -> None:
        """Take the last decision back and show its cell."""
        self._after_undo(self.session.undo(), "nothing to undo")

    @action
    def redo(self) -> None:
        """Bring the decision undone last back."""
        self._after_undo(self.session.redo(), "nothing to redo")

    @action
    def preview_gate(self, marker: str, value: float) -> None:
        """Color the cells on view as they would be with another gate; nothing is decided."""
        self.layers.recolor(self.session, self.session.preview({marker: value}), points=False)

    @action
    def end_preview(self) -> None:
        """Color the cells on view as they are."""
        self.layers.recolor(self.session)

    @action
    def change_gate(self, marker: str, value: float | None, reason: str = "") -> None:
        """Set a gate for this slide."""
        self.session.change_gate(marker, value, reason)
        self._after_change(f"gate of {marker} saved")

    def _after_decision(self, decision: Decision, *, go_on: bool = False) -> None:
        self._after_change(numbered_text(decision), go_on=go_on)

    def _after_change(self, message: str, *, go_on: bool = False) -> None:
        """Show what a decision changed, on the next undecided cell or on the same."""
        self.layers.recolor(self.session)
        show = self.state.next_undecided if go_on else self.state.show_again
        self._follow(show(message))

    def _after_undo(self, decision: Decision | None, nothing: str) -> None:
        """Show the cell of the decision that was undone or redone."""
        if not isinstance(decision, Undo | Redo):
            self._notify(nothing)
            return
        about = next(d for d in self.session.decisions if d.number == decision.of)
        message = f"{decision.action}: {decision_text(about)}"
        if not cells_of(about):
            self._after_change(message)
            return
        self.layers.recolor(self.session)
        self._follow(self.state.show_cell(cells_of(about)[0].cell_id, message))

    @action
    def split(self) -> None:
        """Show a cut through the cell; the second time, cut."""
        self._draw(Cut)

    @action
    def redraw(self) -> None:
        """Open the cell for painting; the second time, keep what is painted."""
        self._draw(Outline)

    @action
    def exclude_region(self) -> None:
        """Open a layer to draw regions on; the second time, leave them out."""
        self._draw(Region)

    @action
    def adjust(self, step: int) -> None:
        """Turn the cut, or grow and shrink the outline, by a step."""
        if self.drawing is not None:
            self.drawing.adjust(step)

    @action
    def cancel(self) -> None:
        """Leave what is being drawn."""
        self._leave_drawing()
        self.layers.focus()
        self._notify("")

    def _draw(self, kind: type[Drawing]) -> None:
        cell_id = self.state.cell()
        if isinstance(self.drawing, kind) and self.drawing.on_view:
            self._after_change(self.drawing.decide(self.session, cell_id))
            return
        drawing = kind(self.viewer, self.session, cell_id)
        self._leave_drawing()
        self.drawing = drawing
        drawing.show()
        self._notify(kind.help)

    def _leave_drawing(self) -> None:
        if self.drawing is not None:
            drawing, self.drawing = self.drawing, None
            drawing.remove()

    def do(self, act: Callable[[], None]) -> bool:
        """Run an action; see `action`."""
        if self._is_busy or self.is_ended:
            return False
        self._is_busy, before = True, self.state.pair
        number = len(self.session.decisions)
        try:
            self.state.open_log()
            number = len(self.session.decisions)
            act()
        except Exception as error:
            return self._recover(error, number, before)
        finally:
            self._is_busy = False
        return True

    def _recover(self, error: Exception, number: int, before: PairView) -> bool:
        """Show what went wrong; returns whether a decision after the first `number` stands.

        Unless something was only refused: show what stands, or, where even that fails, nothing.
        """
        message, saved = error_text(error), self.session.decisions[number:]
        if saved or self.state.log.closed or not isinstance(error, IfquantError):
            try:
                self.state.open_log()
                # a line may have arrived although its writer failed
                saved = self.session.decisions[number:]
                self.layers.recolor(self.session)
                if saved or self.drawing is None or not self.drawing.on_view:
                    self._follow(self.state.show(before, message))
            except Exception as second:
                self.state.show_nothing(before.place)
                message = f"{message}; {error_text(second)}"
        if saved:
            message = f"{saved[-1].number}: {saved[-1].action} is in the log, but: {message}"
        self._notify(message)
        return bool(saved)

    def _notify(self, message: str) -> None:
        self.message = message
        for listener in list(self.listeners):
            try:
                listener()
            except Exception as error:
                self.message = f"{self.message}; the dock shows only a part: {error_text(error)}"

    def close(self, *, remove: bool = True) -> None:
        """Release the log and take the layers away, or leave them as they are."""
        self.release()
        self._leave_drawing()
        if remove:
            self.layers.remove()
        else:
            self.layers.disconnect()

    def release(self) -> None:
        """Release the log alone: also when the window is gone."""
        self.is_ended = True
        remove_review(self.viewer, self)
        self.state.log.close()
