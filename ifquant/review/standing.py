"""Which of the reviewers' decisions on a slide hold, and on which cells.

Order: decisions of all logs by time; edits of outlines as they come; then gates, phenotypes by the
recipe's rules, verdicts on single cells (which outlast any gate), exclusions, and proximity anew.
Where reviewers disagree about a cell or a gate, none of them is followed unless one is chosen.
Every decision has an outcome; none is dropped silently.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ifquant.columns.cell_columns import phenotype_names
from ifquant.errors import RequestError
from ifquant.review.cell_matching import Matcher
from ifquant.review.decisions import (
    ChangeGate,
    Decision,
    ExcludeCell,
    ExcludeRegion,
    Merge,
    NotTouching,
    OutlineEdit,
    Redo,
    Redraw,
    Split,
    Undo,
    Verdict,
    cells_of,
)
from ifquant.review.history import History
from ifquant.review.outlines import Outlines
from ifquant.review.subject import Subject

Status = Literal["applied", "superseded", "undone", "not used", "refused"]


@dataclass(frozen=True)
class Outcome:
    """What became of one decision; `cell_ids` are those of the corrected results."""

    decision: Decision
    status: Status
    reason: str = ""
    cell_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Standing:
    """What the decisions come to, before anything is measured or classified.

    Attributes
    ----------
    outcomes
        One per decision, by reviewer and number.
    verdicts
        Cell > the verdict that holds.
    gates
        Marker > the change that holds.
    apart
        Pairs of cells that do not touch.
    regions
        Areas left out, as decided, each with the (y, x) px to add for this crop of the image.
    outlines
        Nuclei and cells after all edits.
    """

    outcomes: tuple[Outcome, ...]
    verdicts: Mapping[int, Verdict]
    gates: Mapping[str, ChangeGate]
    apart: tuple[tuple[int, int], ...]
    regions: tuple[tuple[ExcludeRegion, tuple[int, int]], ...]
    outlines: Outlines

    @property
    def reviewed(self) -> frozenset[int]:
        """Cells some decision that holds is about."""
        return frozenset(i for o in self.outcomes if o.status == "applied" for i in o.cell_ids)


def standing(
    subject: Subject,
    logs: Mapping[str, Sequence[Decision]],
    *,
    reviewer: str | None = None,
    geometry: bool = True,
) -> Standing:
    """Find out which decisions hold and on which cells.

    Parameters
    ----------
    subject
        The slide's results, with outlines.
    logs
        Reviewer > decisions in the order of the log.
    reviewer
        Follow only this one; None: all, as far as they agree.
    geometry
        False: edits of outlines are refused (the image's pixels are not at hand).

    Raises
    ------
    RequestError
        If `reviewer` has no log.
    """
    if reviewer is not None and reviewer not in logs:
        raise RequestError(
            f"no log of reviewer {reviewer!r} on slide {subject.source.slide!r}; there are"
            f" {', '.join(sorted(logs)) or 'none'}"
        )
    chosen = {
        name: History.of(log) for name, log in sorted(logs.items()) if reviewer in (None, name)
    }
    state = _State(subject, chosen, geometry)
    effective = [d for history in chosen.values() for d in history.effective]
    for decision in sorted(effective, key=lambda d: (d.time_utc, d.reviewer, d.number)):
        state.add(decision)
    state.settle()
    outcomes = [
        o for name, log in sorted(logs.items()) for o in _outcomes(log, chosen.get(name), state)
    ]
    apart, regions = tuple(sorted(state.apart)), tuple(state.regions)
    return Standing(tuple(outcomes), state.verdicts, state.gates, apart, regions, state.outlines)


def logged_ids(decisions: Sequence[Decision], n: int) -> dict[int, tuple[int, ...]]:
    """Ids of the cells of each outline edit, by its number: n + 1, n + 2, ..., undone or not."""
    ids, next_id = {}, n + 1
    for decision in decisions:
        if isinstance(decision, OutlineEdit):
            end = next_id + (len(decision.new) if isinstance(decision, Split) else 1)
            ids[decision.number] = tuple(range(next_id, end))
            next_id = end
    return ids


class _State:
    """What decisions come to, one after the other.

    Ids of new cells: the first reviewer's as logged, those of the next reviewer after them.
    """

    def __init__(self, subject: Subject, chosen: Mapping[str, History], geometry: bool) -> None:
        self.subject, self.geometry = subject, geometry
        self.outlines = Outlines(subject.ids, subject.outlines(), subject.image_shape)
        self.new_ids: dict[tuple[str, int], tuple[int, ...]] = {}
        by_logged: dict[tuple[str, int], int] = {}
        n, offset = int(subject.ids.max(initial=0)), 0
        for name, history in chosen.items():
            logged = logged_ids(history.decisions, n)
            by_logged |= {(name, i): i + offset for ids in logged.values() for i in ids}
            for number, ids in logged.items():
                self.new_ids[name, number] = tuple(i + offset for i in ids)
            offset += sum(map(len, logged.values()))
        self.matcher = Matcher(subject, self.outlines, by_logged)
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self.verdicts: dict[int, Verdict] = {}
        self.gates: dict[str, ChangeGate] = {}
        self.apart: set[tuple[int, int]] = set()
        self.regions: list[tuple[ExcludeRegion, tuple[int, int]]] = []
        self._claims: dict[int | str, dict[str, Verdict | ChangeGate]] = defaultdict(dict)
        self._pairs: list[tuple[NotTouching, int, int]] = []

    def add(self, decision: Decision) -> None:
        """Find its cells and do or note what it says."""
        try:
            self.matcher.refuse_other_image(decision)
            ids = tuple(self.matcher.find(decision, ref) for ref in cells_of(decision))
            new = self._do(decision, ids)
        except RequestError as error:
            self._set(decision, "refused", str(error))
            return
        reason = "made on another segmentation of this image, matched by place"
        same_cells = self.matcher.same_cells(decision)
        self._set(decision, "applied", "" if same_cells else reason, new or ids)

    def _do(self, decision: Decision, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Do or note it; returns the ids of new cells."""
        if isinstance(decision, Verdict):
            names = phenotype_names(self.subject.recipe)
            if not isinstance(decision, ExcludeCell) and decision.new not in names:
                raise RequestError(
                    f"found phenotype {decision.new!r}; this recipe has {', '.join(names)}"
                )
            self._claim(ids[0], decision)
        elif isinstance(decision, ChangeGate):
            gate = self.subject.gate(decision.marker)
            if gate.column != decision.column:
                raise RequestError(
                    f"the gate was set on {decision.column!r}; here {decision.marker} is judged by"
                    f" {gate.column!r}"
                )
            self._claim(decision.marker, decision)
        elif isinstance(decision, NotTouching):
            if ids[0] == ids[1]:
                raise RequestError("both cells of the pair are the same one here")
            self._pairs.append((decision, min(ids), max(ids)))
        elif isinstance(decision, ExcludeRegion):
            self.regions.append((decision, self.matcher.shift(decision)))
        elif isinstance(decision, OutlineEdit):
            return self._edit(decision, ids)
        return ()

    def _claim(self, about: int | str, decision: Verdict | ChangeGate) -> None:
        earlier = self._claims[about].get(decision.reviewer)
        if earlier is not None:
            self._set(earlier, "superseded", f"decision {decision.number} came later")
        self._claims[about][decision.reviewer] = decision

    def _edit(self, decision: OutlineEdit, ids: tuple[int, ...]) -> tuple[int, ...]:
        if not self.geometry:
            raise RequestError(
                "outlines can only be edited where the image is at hand, and it is not where it was"
            )
        new = self.new_ids[decision.reviewer, decision.number]
        if isinstance(decision, Merge):
            if ids[0] == ids[1]:
                raise RequestError("both cells to merge are the same one here")
            self.outlines.merge(ids[0], ids[1], new[0])
        elif isinstance(decision, Split):
            self.outlines.split(ids[0], decision.new, new)
        elif isinstance(decision, Redraw):
            self.outlines.redraw(ids[0], decision.new, decision.nucleus, new[0])
        return new

    def settle(self) -> None:
        """Keep what reviewers agree on, and what is about cells that are still there."""
        for about, by_reviewer in self._claims.items():
            self._settle_claims(about, list(by_reviewer.values()))
        for pair, i, j in self._pairs:
            gone = [k for k in (i, j) if k in self.outlines.gone]
            if gone:
                new = self.outlines.gone[gone[0]]
                reason = f"cell {gone[0]} was replaced by cell {new} later"
                self._set(pair, "superseded", reason)
            else:
                self.apart.add((i, j))

    def _settle_claims(self, about: int | str, claims: list[Verdict | ChangeGate]) -> None:
        """Settle what each reviewer said last about one cell or one marker's gate."""
        last = claims[-1]
        if isinstance(about, int) and about in self.outlines.gone:
            reason = f"the cell was replaced by cell {self.outlines.gone[about]} later"
            for decision in claims:
                self._set(decision, "superseded", reason)
        elif len({_meaning(d) for d in claims}) > 1:
            words = "; ".join(f"{d.reviewer} says {_meaning(d)}" for d in claims)
            reason = f"reviewers disagree: {words}. Choose one with --reviewer, or agree"
            for decision in claims:
                self._set(decision, "refused", reason)
        elif isinstance(last, ChangeGate):
            self.gates[last.marker] = last
        else:
            assert isinstance(about, int)
            self.verdicts[about] = last

    def _set(
        self, decision: Decision, status: Status, reason: str = "", ids: tuple[int, ...] = ()
    ) -> None:
        key = decision.reviewer, decision.number
        earlier = self.outcomes[key].cell_ids if key in self.outcomes else ()
        self.outcomes[key] = Outcome(decision, status, reason, ids or earlier)


def _meaning(decision: Verdict | ChangeGate) -> str:
    """Text that reviewers must agree on."""
    return "excluded" if isinstance(decision, ExcludeCell) else f"{decision.new}"


def _outcomes(log: Sequence[Decision], history: History | None, state: _State) -> Iterator[Outcome]:
    for decision in log:
        if history is None:
            yield Outcome(decision, "not used", "another reviewer was chosen")
        elif decision.number in history.refused:
            yield Outcome(decision, "refused", history.refused[decision.number])
        elif decision.number in history.undone:
            yield Outcome(decision, "undone", f"by decision {history.undone[decision.number]}")
        elif isinstance(decision, Undo | Redo):
            yield Outcome(decision, "applied")
        else:
            yield state.outcomes[decision.reviewer, decision.number]
