"""One reviewer at work on one slide: each decision is checked, saved, and then holds.

The session knows no files and no clock: `save` and `clock` are given. A decision that would be
refused when the log is applied is refused at once, with the same words, and never saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.columns.cell_columns import phenotype_names
from ifquant.errors import RequestError
from ifquant.geometry.runs import concatenate
from ifquant.phenotypes.classification import classify_cells
from ifquant.review.corrected_results import gates_after, in_regions
from ifquant.review.decisions import (
    CellRef,
    Decision,
    ExcludeCell,
    ExclusionReason,
    Note,
    Polygon,
    QueuePlace,
    cells_of,
    decision_of,
)
from ifquant.review.history import History
from ifquant.review.outlines import parts_of_cut, polygon_of
from ifquant.review.review_queue import Queue
from ifquant.review.standing import Standing, logged_ids, standing
from ifquant.review.subject import Subject

LEFT_OUT = -1
"""Code of a cell that is excluded or was replaced by an edit."""


@dataclass(frozen=True)
class _State:
    """What a log comes to; `rules`: phenotypes by the rules alone, `codes`: by verdicts too."""

    log: tuple[Decision, ...]
    history: History
    standing: Standing
    rules: NDArray[np.int16]
    codes: NDArray[np.int16]


class ReviewSession:
    """One reviewer's decisions on one slide, as they are made.

    Parameters
    ----------
    subject
        The slide's results, with outlines.
    reviewer
        Who decides.
    decisions
        The log so far.
    save
        Called with each new decision before it holds (`ReviewLog.append`); what it raises is raised
        here, and nothing changed.
    clock
        Gives the time in UTC.
    """

    def __init__(
        self,
        subject: Subject,
        reviewer: str,
        decisions: Sequence[Decision] = (),
        *,
        save: Callable[[Decision], None],
        clock: Callable[[], datetime],
    ) -> None:
        self.subject, self.reviewer = subject, reviewer
        self._save, self._clock = save, clock
        self._place: QueuePlace | None = None
        log = tuple(decisions)
        stands = standing(subject, {reviewer: log})
        self._state = self._state_of(log, stands, self._by_rules(stands, {}))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The log, undo and redo among it."""
        return self._state.log

    @property
    def standing(self) -> Standing:
        """What this reviewer's decisions come to."""
        return self._state.standing

    def show(self, queue: Queue | None, place: int = 1) -> int | None:
        """Show the cell at a place of the queue (from 1): decisions record it; None: no queue."""
        self._place = None if queue is None else queue.record(place)
        return None if queue is None else int(queue.ids[place - 1])

    def decided(self, queue: Queue | None = None) -> frozenset[int]:
        """Cells this reviewer has decided about (notes do not count).

        For a random queue only decisions made in a queue of the same seed count: cells decided
        because they looked doubtful must come up again, or the sample would not be random.
        """
        seed = queue.options.seed if queue is not None and queue.options.order == "random" else None
        return frozenset(
            ref.cell_id
            for decision in self._state.history.effective
            if not isinstance(decision, Note)
            and (seed is None or (decision.queue is not None and decision.queue.seed == seed))
            for ref in cells_of(decision)
        )

    # ---- what is seen ----------------------------------------------------------------------------

    @property
    def codes(self) -> NDArray[np.int16]:
        """Phenotype of every row now (position in `phenotype_names`, or `LEFT_OUT`); (n,)."""
        return self._state.codes

    def preview(self, gates: Mapping[str, float | None]) -> NDArray[np.int16]:
        """`codes` as they would be with these gates on top: for a gate that is being dragged."""
        return self._codes_of(self.standing, self._by_rules(self.standing, gates))

    def gate(self, marker: str) -> float | None:
        """Gate of a marker now."""
        change = self.standing.gates.get(marker)
        return change.new if change is not None else self.subject.gate(marker).value

    def ref(self, cell_id: int) -> CellRef:
        """Name a cell, also one that an edit of this session made."""
        outlines = self.standing.outlines
        if cell_id not in outlines.parents:
            return self.subject.ref(cell_id)
        (anchor_y, anchor_x), (y, x) = outlines.anchor(cell_id), outlines.centroid_px(cell_id)
        return CellRef(cell_id=cell_id, anchor_y_px=anchor_y, anchor_x_px=anchor_x, y_px=y, x_px=x)

    def phenotype(self, cell_id: int) -> str:
        """Phenotype of a cell now; an edited cell has, until measured, that of its parent."""
        verdict = self.standing.verdicts.get(cell_id)
        if verdict is not None and not isinstance(verdict, ExcludeCell):
            return verdict.new
        row = self.subject.row(self.standing.outlines.parents.get(cell_id, cell_id))
        return phenotype_names(self.subject.recipe)[int(self._state.rules[row])]

    # ---- what is decided -------------------------------------------------------------------------

    def accept(self, cell_id: int, reason: str = "") -> Decision:
        """Confirm that the cell is what it is said to be."""
        now = self.phenotype(cell_id)
        return self._decide("accept", reason, cell=self.ref(cell_id), old=now, new=now)

    def change_phenotype(self, cell_id: int, phenotype: str, reason: str = "") -> Decision:
        """Give the cell another phenotype."""
        old = self.phenotype(cell_id)
        return self._decide("phenotype", reason, cell=self.ref(cell_id), old=old, new=phenotype)

    def exclude(self, cell_id: int, what: ExclusionReason, reason: str = "") -> Decision:
        """Leave the cell out."""
        old = self.phenotype(cell_id)
        return self._decide("exclude", reason, cell=self.ref(cell_id), old=old, new=what)

    def not_touching(
        self, first: int, second: int, gap_um: float | None = None, reason: str = ""
    ) -> Decision:
        """Deny that two cells touch; `gap_um` is the gap their outlines show."""
        pair = self.ref(first), self.ref(second)
        return self._decide("not touching", reason, cells=pair, old=gap_um)

    def change_gate(self, marker: str, value: float | None, reason: str = "") -> Decision:
        """Set the slide's gate of a marker; None: not callable."""
        content = {"marker": marker, "column": self.subject.gate(marker).column}
        return self._decide("gate", reason, **content, old=self.gate(marker), new=value)

    def exclude_region(
        self, outline: Sequence[tuple[float, float]], what: ExclusionReason, reason: str = ""
    ) -> Decision:
        """Leave an area out; (x, y) px."""
        return self._decide("exclude region", reason, what=what, new=tuple(outline))

    def merge(self, first: int, second: int, reason: str = "") -> Decision:
        """Make one cell of two."""
        outlines = self.standing.outlines
        cells = [outlines.of(i)[1] for i in (first, second)]
        old, new = tuple(map(polygon_of, cells)), polygon_of(concatenate(cells))
        pair = self.ref(first), self.ref(second)
        return self._decide("merge", reason, cells=pair, old=old, new=new)

    def split(self, cell_id: int, parts: Sequence[Polygon], reason: str = "") -> Decision:
        """Make several cells of one, one for each outline."""
        old = self._outline(cell_id)
        return self._decide("split", reason, cell=self.ref(cell_id), old=old, new=tuple(parts))

    def cut(self, cell_id: int, line: Sequence[tuple[float, float]], reason: str = "") -> Decision:
        """Split a cell along a drawn line of (x, y) points."""
        return self.split(cell_id, parts_of_cut(self._outline(cell_id), line), reason)

    def redraw(
        self, cell_id: int, outline: Polygon, nucleus: Polygon | None = None, reason: str = ""
    ) -> Decision:
        """Give a cell another outline, and perhaps another nucleus."""
        content = {"old": self._outline(cell_id), "new": outline, "nucleus": nucleus}
        return self._decide("redraw", reason, cell=self.ref(cell_id), **content)

    def note(self, text: str, cell_id: int | None = None) -> Decision:
        """Write a remark."""
        return self._decide("note", text, cell=None if cell_id is None else self.ref(cell_id))

    def undo(self) -> Decision | None:
        """Take the last decision back; None when there is nothing to take back."""
        last = self._state.history.undoable
        return None if last is None else self._decide("undo", "", of=last.number)

    def redo(self) -> Decision | None:
        """Bring the decision undone last back; None if there is none, or something came since."""
        last = self._state.history.redoable
        return None if last is None else self._decide("redo", "", of=last.number)

    def stands(self, cell_id: int) -> int:
        """Id of what stands where a cell was: what an edit put there, or what it replaced."""
        outlines = self.standing.outlines
        new_ids = self._logged_ids()
        replaced = {
            new: cells_of(d)[0].cell_id for d in self.decisions for new in new_ids.get(d.number, ())
        }
        while cell_id not in outlines:
            cell_id = outlines.gone[cell_id] if cell_id in outlines.gone else replaced[cell_id]
        return cell_id

    def _logged_ids(self) -> dict[int, tuple[int, ...]]:
        return logged_ids(self.decisions, int(self.subject.ids.max(initial=0)))

    # ---- how -------------------------------------------------------------------------------------

    def _decide(self, action: str, reason: str, **content: Any) -> Decision:
        log = self.decisions
        about_cells = action not in ("undo", "redo", "gate", "exclude region")
        decision = decision_of(
            {
                "action": action,
                "number": log[-1].number + 1 if log else 1,
                "source": self.subject.source,
                "reviewer": self.reviewer,
                "time_utc": self._clock(),
                "reason": reason,
                "queue": self._place if about_cells else None,
                **content,
            }
        )
        after = standing(self.subject, {self.reviewer: [*log, decision]})
        outcome = next(o for o in after.outcomes if o.decision is decision)
        if outcome.status == "refused":
            raise RequestError(outcome.reason)
        same_gates = after.gates == self.standing.gates
        rules = self._state.rules if same_gates else self._by_rules(after, {})
        state = self._state_of((*log, decision), after, rules)
        self._save(decision)
        self._state = state  # all that can fail came before the line was on the disk
        return decision

    def _state_of(
        self, log: tuple[Decision, ...], stands: Standing, rules: NDArray[np.int16]
    ) -> _State:
        return _State(log, History.of(log), stands, rules, self._codes_of(stands, rules))

    def _by_rules(self, stands: Standing, gates: Mapping[str, float | None]) -> NDArray[np.int16]:
        """Phenotypes by the rules under the gates that hold, with `gates` on top."""
        if not len(self.subject):
            return np.zeros(0, np.int16)
        fitted = {gate.marker: gate for gate in gates_after(self.subject.gates, stands.gates)}
        for marker, value in gates.items():
            fitted[marker] = replace(fitted[marker], value=value, callable=value is not None)
        classes = classify_cells(self.subject.table, self.subject.recipe, fitted)
        return np.array(classes["phenotype_code"], np.int16)

    def _codes_of(self, stands: Standing, rules: NDArray[np.int16]) -> NDArray[np.int16]:
        """Phenotypes by the rules, the verdicts and what is left out."""
        table, names = self.subject.table, phenotype_names(self.subject.recipe)
        new = {
            cell_id: LEFT_OUT if isinstance(verdict, ExcludeCell) else names.index(verdict.new)
            for cell_id, verdict in stands.verdicts.items()
        }
        new |= dict.fromkeys(stands.outlines.gone, LEFT_OUT)
        codes = rules.copy()
        for cell_id, code in new.items():
            if cell_id not in stands.outlines.parents:
                codes[self.subject.row(cell_id)] = code
        x_px, y_px = (table[name].to_numpy(np.float64) for name in ("x_px", "y_px"))
        codes[in_regions(stands, x_px, y_px)] = LEFT_OUT
        return codes

    def _outline(self, cell_id: int) -> Polygon:
        return polygon_of(self.standing.outlines.of(cell_id)[1])
