"""What a review must come to, as a pure model: lists and sets, nothing of ifquant, Qt or napari.

The model knows the cells of the slide and the queue. Told which key was pressed while which pair
was on view, it says which line the log must get, if any, and which cell is on view then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

GO_ON = ("accept", "phenotype", "exclude")
EDITS = ("merge", "split", "redraw")


@dataclass(frozen=True)
class Line:
    """One line of the log; `made` counts the cells an edit makes, `of` is what an undo or redo is
    about.
    """

    action: str
    cells: tuple[int, ...] = ()
    of: int | None = None
    made: int = 0
    text: str = ""


@dataclass
class Cells:
    """Cells that stand after some lines."""

    standing: set[int]
    replaced: dict[int, int] = field(default_factory=dict)


class LogModel:
    """One reviewer's log on one slide; lines are numbered from 1."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = tuple(ids)
        self.lines: list[Line] = []

    def line(self, number: int) -> Line:
        return self.lines[number - 1]

    def stacks(self) -> tuple[list[int], list[int]]:
        """Numbers of the lines that hold, in order, and of those that redo would bring back, the
        next one last.
        """
        done: list[int] = []
        undone: list[int] = []
        for number, line in enumerate(self.lines, 1):
            if line.action == "undo":
                assert done[-1] == line.of
                undone.append(done.pop())
            elif line.action == "redo":
                assert undone[-1] == line.of
                done.append(undone.pop())
            else:
                done.append(number)
                undone.clear()
        return done, undone

    def undo(self) -> Line | None:
        done, _ = self.stacks()
        return Line("undo", of=done[-1]) if done else None

    def redo(self) -> Line | None:
        _, undone = self.stacks()
        return Line("redo", of=undone[-1]) if undone else None

    def new_ids(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Number of each edit, and the ids its cells have, whether it holds or not."""
        following = max(self.ids) + 1
        for number, line in enumerate(self.lines, 1):
            if line.made:
                yield number, tuple(range(following, following + line.made))
                following += line.made

    def cells(self) -> Cells:
        """Cells after all edits that hold."""
        out, made = Cells(set(self.ids)), dict(self.new_ids())
        for number in self.stacks()[0]:
            if number in made:
                old = self.line(number).cells
                assert out.standing >= set(old), f"edit {number} of cells that are not there"
                out.standing = (out.standing - set(old)) | set(made[number])
                out.replaced |= dict.fromkeys(old, made[number][0])
        return out

    def stands(self, cell: int) -> int:
        """What stands where a cell was."""
        now = self.cells()
        made_on = {new: self.line(number).cells[0] for number, ids in self.new_ids() for new in ids}
        while cell not in now.standing:
            cell = now.replaced[cell] if cell in now.replaced else made_on[cell]
        return cell

    def decided(self) -> set[int]:
        """Cells some decision that holds is about."""
        return {
            cell
            for number in self.stacks()[0]
            if self.line(number).action != "note"
            for cell in self.line(number).cells
        }


class WalkModel:
    """The walk of one review through a queue, over a log."""

    def __init__(self, log: LogModel, queue: Sequence[int]) -> None:
        self.log, self.queue = log, tuple(queue)
        self.place, self.cell = 0, 0
        self.drawing: str | None = None
        self.go(self.next_open() or 1)

    def next_open(self) -> int | None:
        """Place of the next undecided cell, going round."""
        decided = self.log.decided()
        places = [k for k, cell in enumerate(self.queue, 1) if cell not in decided]
        return next((k for k in places if k > self.place), places[0] if places else None)

    def go(self, place: int) -> None:
        self.place = min(max(place, 1), len(self.queue))
        self.look(self.queue[self.place - 1])

    def show(self, cell: int) -> None:
        """Show any cell; one of the queue takes its place there."""
        if cell in self.queue:
            self.go(self.queue.index(cell) + 1)
        else:
            self.look(cell)

    def look(self, cell: int) -> None:
        self.cell, self.drawing = self.log.stands(cell), None

    def take(self, line: Line) -> None:
        """Add a line, and go where it leads."""
        self.log.lines.append(line)
        if line.of is not None:
            about = self.log.line(line.of)
            self.show(about.cells[0]) if about.cells else self.look(self.cell)
        elif line.action in GO_ON:
            place = self.next_open()
            self.look(self.cell) if place is None else self.go(place)
        else:
            self.look(self.cell)
