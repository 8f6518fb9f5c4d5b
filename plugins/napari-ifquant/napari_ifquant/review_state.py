"""Where a review is: the reviewer's log, the queue, and the pair on view."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ifquant.commands.review_log import ReviewLog
from ifquant.errors import RequestError, SlideError
from ifquant.review.review_queue import QueueOptions, make_queue
from ifquant.review.review_session import ReviewSession
from napari_ifquant.pair_view import Neighbor, PairView
from napari_ifquant.result import SlideView
from napari_ifquant.review_layers import ReviewLayers

EMPTY = "the queue is empty; choose other cells"


class ReviewState:
    """Log, session, queue and layers of one review, and the pair on view.

    Methods that show a cell take the message that goes with it, and return the one to display.

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
        options: QueueOptions,
        limits: dict[str, tuple[float, float]] | None,
    ) -> None:
        self.view, self.pair = view, PairView()
        self.log = ReviewLog(view.folder, reviewer)
        try:
            self.session = self._session()
            self.layers = ReviewLayers(viewer, view, hidden=options.hidden, limits=limits)
            try:
                self.queue = make_queue(view.subject, options)
                self.layers.recolor(self.session)
            except BaseException:
                self.layers.remove()
                raise
        except BaseException:
            self.log.close()
            raise

    def _session(self) -> ReviewSession:
        return ReviewSession(
            self.view.subject,
            self.log.reviewer,
            self.log.content.decisions,
            save=lambda decision: self.log.append(decision),
            clock=lambda: datetime.now(UTC),
        )

    def open_log(self) -> None:
        """Open the log again after it could not be written to: what is in it counts."""
        if self.log.closed:
            self.log = ReviewLog(self.view.folder, self.log.reviewer)
            self.session = self._session()
            self.record()
            self.layers.recolor(self.session)

    def go(self, place: int, message: str = "") -> str:
        """Show the cell at a place of the queue (from 1)."""
        if not len(self.queue):
            raise RequestError(EMPTY)
        place = min(max(place, 1), len(self.queue))
        return self.show(PairView(int(self.queue.ids[place - 1]), place, queued=True), message)

    def show_cell(self, cell_id: int, message: str = "") -> str:
        """Show any cell; one that is in the queue takes its place there."""
        places = (self.queue.ids == cell_id).nonzero()[0] + 1
        if len(places):
            return self.go(int(places[0]), message)
        return self.show(PairView(cell_id, self.pair.place), message or "not in the queue")

    def next_undecided(self, message: str = "") -> str:
        """Show the next cell that is not decided yet."""
        place = self.queue.next_open(self.session.decided(self.queue), self.pair.place)
        if place is not None:
            return self.go(place, message)
        end = "all cells of the queue are decided" if len(self.queue) else EMPTY
        message = f"{message}; {end}" if message else end
        if self.pair.cell_id is None and len(self.queue):
            return self.go(1, message)
        return self.show_again(message)

    def show_again(self, message: str) -> str:
        """Show the same pair after something changed."""
        partner = self.pair.partner
        partner_id = None if partner is None else partner.cell_id
        return self.show(self.pair, message, move=False, partner=partner_id)

    def show(
        self, pair: PairView, message: str, *, move: bool = True, partner: int | None = None
    ) -> str:
        """Bring a cell on view, or what stands where it was.

        Only when the picture shows it, it is the cell that decisions are about.
        """
        if pair.cell_id is not None:
            pair = replace(pair, cell_id=self.session.stands(pair.cell_id))
        try:
            self.draw(pair.with_neighbors(self.session, partner), move=move)
        except SlideError as error:  # outlines are read where they are looked at
            self.pair, message = replace(pair, near=(), index=0), str(error)
            self.layers.clear_pair()
        self.record()
        return message

    def record(self) -> None:
        """Let decisions record how the cell came before the reviewer."""
        self.session.show(self.queue if self.pair.queued else None, self.pair.place)

    def draw(self, pair: PairView, *, move: bool = True) -> None:
        """Draw a pair, and take it for the one on view."""
        if pair.cell_id is not None:
            partner = None if pair.partner is None else pair.partner.cell_id
            self.layers.show_pair(self.session, pair.cell_id, partner, move=move)
        self.pair = pair

    def show_nothing(self, place: int) -> None:
        """Take no cell for the one on view: not even the picture could be drawn."""
        self.pair = PairView(place=place)
        with suppress(Exception):
            self.layers.clear_pair()

    def cell(self) -> int:
        """Id of the cell on view; raises RequestError if there is none."""
        if self.pair.cell_id is None:
            raise RequestError("no cell is on view")
        return self.pair.cell_id

    def other(self) -> Neighbor:
        """Partner of the cell on view; raises RequestError if there is none."""
        if self.pair.partner is None:
            raise RequestError("there is no other cell nearby")
        return self.pair.partner
