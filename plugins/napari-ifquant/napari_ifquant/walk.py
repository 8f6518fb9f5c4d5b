"""The walk through the queue: which cell and which pair is on view. No Qt: widgets call it and
listen to it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from weakref import WeakMethod, WeakValueDictionary

from ifquant.columns.cell_columns import phenotype_names
from ifquant.commands.review_log import ReviewLog
from ifquant.errors import IfquantError, SlideError
from ifquant.review.review_queue import Queue, QueueOptions, make_queue
from ifquant.review.review_session import ReviewSession
from napari_ifquant.drawing import Drawing
from napari_ifquant.guard import action, told
from napari_ifquant.pairs import Neighbour, neighbours
from napari_ifquant.result import SlideView
from napari_ifquant.screen import Screen

_OPEN: WeakValueDictionary[int, Walk] = WeakValueDictionary()


def walk_in(viewer: Any) -> Walk | None:
    """Give the review that is going on in a viewer."""
    return _OPEN.get(_key(viewer))


_WATCHERS: list[WeakMethod[Callable[[], None]]] = []


def watch_reviews(changed: Callable[[], None]) -> None:
    """Have a bound method called whenever a review begins or ends in any viewer, as long as its
    object lives.
    """
    _WATCHERS.append(WeakMethod(changed))


def _tell_watchers() -> None:
    for watcher in list(_WATCHERS):
        changed = watcher()
        try:
            if changed is None:
                raise RuntimeError  # as Qt says of a widget that is gone
            changed()
        except RuntimeError:
            _WATCHERS.remove(watcher)


def _key(viewer: Any) -> int:
    """Name a viewer, also through the proxy that napari may give to plugins."""
    return id(getattr(viewer, "__wrapped__", viewer))


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class OnView:
    """What is on view.

    Attributes
    ----------
    cell_id
        None: no cell.
    place
        Where the walk is in the queue, from 1; 0 before it begins.
    queued
        Whether the cell came from there.
    near
        Its neighbors.
    partner
        Which of them is the other cell of the pair.
    """

    cell_id: int | None = None
    place: int = 0
    queued: bool = False
    near: tuple[Neighbour, ...] = ()
    partner: int = 0


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
        self.listeners: list[Callable[[], None]] = []
        self.ask_note_of: Callable[[], None] | None = None
        self.end: Callable[[], None] | None = None
        self.message = ""
        self.drawing: Drawing | None = None
        self._clock = clock
        self._on_view = OnView()
        self._acting = self._ended = False
        self.log = ReviewLog(view.folder, reviewer)
        try:
            self.session = self._session()
            self.screen = Screen(viewer, view, hidden=self.options.hidden, limits=limits)
            try:
                self.queue: Queue = make_queue(view.subject, self.options)
                self.screen.recolor(self.session)
                self._next_open()
            except BaseException:
                self.screen.remove()
                raise
        except BaseException:
            self.log.close()
            raise
        _OPEN[_key(viewer)] = self
        _tell_watchers()

    def _session(self) -> ReviewSession:
        saved = self.log.content.decisions
        return ReviewSession(
            self.view.subject,
            self.log.reviewer,
            saved,
            save=lambda made: self.log.append(made),
            clock=self._clock,
        )

    # ---- what is on view -------------------------------------------------------------------------

    @property
    def cell_id(self) -> int | None:
        """The cell on view; None: none."""
        return self._on_view.cell_id

    @property
    def place(self) -> int:
        """Where the walk is in the queue, from 1."""
        return self._on_view.place

    @property
    def partner(self) -> Neighbour | None:
        """The other cell of the pair on view."""
        near = self._on_view.near
        return near[self._on_view.partner] if near else None

    @property
    def names(self) -> tuple[str, ...]:
        """Phenotypes, in the order of the keys 1..9."""
        return phenotype_names(self.view.recipe)

    @property
    def progress(self) -> tuple[int, int]:
        """Cells decided in the queue, and all."""
        return self.queue.progress(self.session.decided(self.queue))

    def owns(self, layer: Any) -> bool:
        """Whether a layer is one of this review's own: of its slide, or drawn on now."""
        return layer in self.screen.layers or self._draws_on(layer)

    def _draws_on(self, layer: Any) -> bool:
        return (
            self.drawing is not None and self.drawing.layer == layer
        )  # not "is": napari gives plugins proxies of its layers

    @property
    def listens(self) -> bool:
        """Whether keys and clicks are meant for the review: one of its own layers is the active
        one, or none is.
        """
        layer = self.viewer.layers.selection.active
        return not self._ended and (layer is None or self.owns(layer))

    @property
    def methods(self) -> tuple[str, ...] | None:
        """What keys do on the active layer; None: everything. While it is drawn on, its other keys
        are napari's brushes and modes.
        """
        drawn = self._draws_on(self.viewer.layers.selection.active)
        return self.drawing.methods if self.drawing is not None and drawn else None

    @action
    def go(self, place: int) -> None:
        """Show the cell at a place of the queue (from 1)."""
        self._go(place)

    @action
    def show_cell(self, cell_id: int) -> None:
        """Show any cell; one that is in the queue takes its place there."""
        self._show_cell(cell_id)

    @action
    def show_chosen(self) -> None:
        """Show the cell whose row is chosen in napari's features table."""
        ids = self.view.subject.ids
        chosen = [row for row in self.screen.named("cell centers").selected_data if row < len(ids)]
        if len(chosen) == 1 and int(ids[chosen[0]]) != self.cell_id:
            self._show_cell(int(ids[chosen[0]]))

    @action
    def show_at(self, y_um: float, x_um: float) -> None:
        """Show the cell at a position of the picture, if there is one."""
        size = self.view.subject.pixel_size_um
        cell_id = self.view.cells.at(y_um / size + 0.5, x_um / size + 0.5)
        if cell_id and cell_id in self.session.standing.outlines:
            self._show_cell(cell_id)

    @action
    def next(self) -> None:
        """Show the next cell of the queue."""
        self._go(self.place + 1)

    @action
    def previous(self) -> None:
        """Show the cell before."""
        self._go(self.place - 1)

    @action
    def next_open(self) -> None:
        """Show the next cell that is not decided yet."""
        self._next_open()

    @action
    def other_partner(self) -> None:
        """Take the next neighbor as the other cell of the pair."""
        now = self._on_view
        if now.near:
            self._draw_pair(replace(now, partner=(now.partner + 1) % len(now.near)))
            self._say("")

    @action
    def toggle_outlines(self) -> None:
        """Show or hide the outlines of all cells."""
        layer = self.screen.named("cells")
        if layer is not None:
            layer.visible = not layer.visible

    def _go(self, place: int, message: str = "") -> None:
        if not len(self.queue):
            self._say("the queue is empty; choose other cells")
            return
        place = min(max(place, 1), len(self.queue))
        self._look(OnView(int(self.queue.ids[place - 1]), place, queued=True), message)

    def _show_cell(self, cell_id: int, message: str = "") -> None:
        found = (self.queue.ids == cell_id).nonzero()[0]
        if len(found):
            self._go(int(found[0]) + 1, message)
        else:
            self._look(OnView(cell_id, self.place), message or "not in the queue")

    def _next_open(self, message: str = "") -> None:
        place = self.queue.next_open(self.session.decided(self.queue), self.place)
        if place is not None:
            self._go(place, message)
            return
        end = (
            "all cells of the queue are decided"
            if len(self.queue)
            else "the queue is empty; choose other cells"
        )
        message = f"{message}; {end}" if message else end
        if self.cell_id is None and len(self.queue):
            self._go(1, message)
        else:
            self._again(message)

    def _again(self, message: str) -> None:
        """Show the same pair after something changed."""
        partner, now = self.partner, self._on_view
        self._look(now, message, move=False, partner=None if partner is None else partner.cell_id)

    def _look(
        self, wanted: OnView, message: str, *, move: bool = True, partner: int | None = None
    ) -> None:
        """Bring a cell on view, or what stands where it was. Only when the picture shows it, it is
        the cell that decisions are about.
        """
        cell_id, near = wanted.cell_id, []
        try:
            if cell_id is not None:
                cell_id = self.session.stands(cell_id)
                near = neighbours(self.session, cell_id)
            found = next((k for k, one in enumerate(near) if one.cell_id == partner), 0)
            now = replace(wanted, cell_id=cell_id, near=tuple(near), partner=found)
            self._draw_pair(now, move=move)
        except SlideError as error:  # outlines are read where they are looked at
            self._on_view, message = OnView(cell_id, wanted.place, wanted.queued), str(error)
            self.screen.clear_pair()
        self._record_place()
        self._leave_drawing()
        self.screen.focus()
        self._select_point(cell_id)
        self._say(message)

    def _record_place(self) -> None:
        """Let decisions say how the cell came before the reviewer."""
        self.session.show(self.queue if self._on_view.queued else None, self.place)

    def _draw_pair(self, now: OnView, *, move: bool = True) -> None:
        if now.cell_id is not None:
            partner = now.near[now.partner].cell_id if now.near else None
            self.screen.show_pair(self.session, now.cell_id, partner, move=move)
        self._on_view = now

    def _select_point(self, cell_id: int | None) -> None:
        centers = self.screen.named("cell centers")
        if centers is not None and cell_id is not None and cell_id in self.view.subject.ids:
            centers.selected_data = {self.view.subject.row(cell_id)}

    # ---- actions ---------------------------------------------------------------------------------

    def do(self, act: Callable[[], None]) -> bool:
        """Run an action; see `action`."""
        if self._acting or self._ended:
            return False
        self._acting, before = True, self._on_view
        number = len(self.session.decisions)
        try:
            self._open_log()
            number = len(self.session.decisions)
            act()
        except Exception as error:
            return self._recover(error, number, before)
        finally:
            self._acting = False
        return True

    def _open_log(self) -> None:
        """Open the log again after it could not be written to: what is in it counts."""
        if self.log.closed:
            self.log = ReviewLog(self.view.folder, self.log.reviewer)
            self.session = self._session()
            self._record_place()
            self.screen.recolor(self.session)

    def _recover(self, error: Exception, number: int, before: OnView) -> bool:
        """Say what went wrong, and whether a decision after the first `number` stands all the same.

        Unless something was only refused: show what stands, or, where even that fails, nothing.
        """
        message, saved = told(error), self.session.decisions[number:]
        if saved or self.log.closed or not isinstance(error, IfquantError):
            try:
                self._open_log()
                saved = self.session.decisions[
                    number:
                ]  # a line may have arrived although its writer failed
                self.screen.recolor(self.session)
                if saved or self.drawing is None or not self.drawing.on_view:
                    self._look(before, message)
            except Exception as second:
                self._on_view = OnView(place=before.place)
                message = f"{message}; {told(second)}"
                with suppress(Exception):
                    self.screen.clear_pair()
        if saved:
            message = f"{saved[-1].number}: {saved[-1].action} is in the log, but: {message}"
        self._say(message)
        return bool(saved)

    def _say(self, message: str) -> None:
        self.message = message
        for listener in list(self.listeners):
            try:
                listener()
            except Exception as error:
                self.message = f"{self.message}; the dock shows only a part: {told(error)}"

    def _leave_drawing(self) -> None:
        if self.drawing is not None:
            drawing, self.drawing = self.drawing, None
            drawing.remove()

    # ---- the end ---------------------------------------------------------------------------------

    def close(self, *, remove: bool = True) -> None:
        """Release the log and take the layers away, or leave them as they are."""
        self.release()
        self._leave_drawing()
        if remove:
            self.screen.remove()
        else:
            self.screen.disconnect()

    def release(self) -> None:
        """Release the log alone: also when the window is gone."""
        self._ended = True
        if walk_in(self.viewer) is self:
            del _OPEN[_key(self.viewer)]
            _tell_watchers()
        self.log.close()
