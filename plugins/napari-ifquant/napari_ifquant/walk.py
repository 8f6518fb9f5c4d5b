"""The walk through the queue: which cell and which pair is on view. No Qt: widgets call it and listen to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from ifquant.base.table import phenotype_names
from ifquant.errors import SlideError
from ifquant.pipeline.review_log import ReviewLog
from ifquant.review.queue import Queue, QueueOptions, make_queue
from ifquant.review.session import ReviewSession
from napari_ifquant.drawing import Drawing
from napari_ifquant.pairs import Neighbour, neighbours
from napari_ifquant.result import SlideView
from napari_ifquant.screen import Screen

_OPEN: WeakValueDictionary[int, Walk] = WeakValueDictionary()


def walk_in(viewer: Any) -> Walk | None:
    """Give the review that is going on in a viewer."""
    return _OPEN.get(_key(viewer))


def _key(viewer: Any) -> int:
    """Name a viewer, also through the proxy that napari may give to plugins."""
    return id(getattr(viewer, "__wrapped__", viewer))


def _now() -> datetime:
    return datetime.now(UTC)


class Walk:
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
        """Take the next neighbor as the other cell of the pair."""
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

    # ---- the rest --------------------------------------------------------------------------------------------------------------------

    def toggle_outlines(self) -> None:
        """Show or hide the outlines of all cells."""
        layer = self.screen.named("cells")
        if layer is not None:
            layer.visible = not layer.visible

    def close(self, *, remove: bool = True) -> None:
        """Release the log and take the layers away."""
        self._leave_drawing()
        self.release()
        if remove:
            self.screen.remove()

    def release(self) -> None:
        """Release the log alone: also when the window is gone."""
        if walk_in(self.viewer) is self:
            del _OPEN[_key(self.viewer)]
        self.log.close()

    def _say(self, message: str) -> None:
        self.message = message
        for listener in list(self.listeners):
            listener()

    def _leave_drawing(self) -> None:
        if self.drawing is not None:
            self.drawing.remove()
            self.drawing = None
