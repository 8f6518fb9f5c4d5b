"""Which decisions of a log hold, after everything undone and redone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ifquant.review.decisions import Decision, Redo, Undo


@dataclass(frozen=True)
class History:
    """One reviewer's decisions on one slide.

    Attributes
    ----------
    decisions
        All lines, undo and redo among them.
    effective
        Those that hold, in the order they were made.
    undone
        Number of an undone decision > number of the line that undid it.
    refused
        Number of an undo or redo that fits nothing > why.
    """

    decisions: tuple[Decision, ...] = ()
    effective: tuple[Decision, ...] = ()
    undone: Mapping[int, int] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, decisions: Iterable[Decision]) -> History:
        """Fold a log. A decision undone, redone and undone again is undone."""
        lines = tuple(decisions)
        made: dict[int, Decision] = {}
        undone: dict[int, int] = {}
        refused: dict[int, str] = {}
        for line in lines:
            if isinstance(line, Undo | Redo):
                redo = isinstance(line, Redo)
                if line.of not in made:
                    refused[line.number] = f"there is no decision {line.of} before it"
                elif (line.of in undone) != redo:
                    refused[line.number] = (
                        f"decision {line.of} {'is not undone' if redo else 'is undone already'}"
                    )
                elif redo:
                    del undone[line.of]
                else:
                    undone[line.of] = line.number
            else:
                made[line.number] = line
        return cls(lines, tuple(d for n, d in made.items() if n not in undone), undone, refused)

    @property
    def undoable(self) -> Decision | None:
        """The decision an undo would take back: the last one that holds."""
        return self.effective[-1] if self.effective else None

    @property
    def redoable(self) -> Decision | None:
        """The decision a redo would bring back: the one undone last, if nothing came since."""
        fresh = max((d.number for d in self.decisions if not isinstance(d, Undo | Redo)), default=0)
        later = {number: by for number, by in self.undone.items() if by > fresh}
        if not later:
            return None
        number = max(later, key=lambda n: later[n])
        return next(d for d in self.decisions if d.number == number)
