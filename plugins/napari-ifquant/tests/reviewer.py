"""A reviewer who presses random keys in real windows, and a model that says what each of them must
lead to.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from log_model import EDITS, Line, LogModel, WalkModel
from reviewing import Clock
from screens import dock_of

from ifquant.commands.review_log import read_log
from ifquant.commands.review_subject import load_subject
from ifquant.results.run_record import run_recipe
from ifquant.review.review_session import ReviewSession
from napari_ifquant.keys import KeyBinding
from napari_ifquant.pair_text import pair_line
from napari_ifquant.result import open_result
from napari_ifquant.slide_review import SlideReview

CUTS = {"S": "cut", "R": "redraw", "E": "region"}
FINISHED = {"cut": "split", "redraw": "redraw", "region": "exclude region"}
KINDS = {"Cut": "cut", "Outline": "redraw", "Region": "region"}
UNDO, REDO = ("U", "Control+Z"), ("Y", "Control+Shift+Z")
EXCLUDE = ("X", "F", "O")
NEXT, PREVIOUS = ("N", "Right"), ("P", "Left")
DIGITS = tuple("123456789")
KEYS = (
    *NEXT,
    *PREVIOUS,
    "G",
    "A",
    *DIGITS,
    *EXCLUDE,
    "T",
    "K",
    "M",
    "S",
    "R",
    "E",
    "Minus",
    "Equal",
    "Escape",
    "C",
    *UNDO,
    *REDO,
    "H",
)
"""All keys of the review, as pressed."""
WEIGHTS = {
    "A": 5,
    "X": 2,
    "M": 7,
    "S": 5,
    "R": 5,
    "E": 2,
    "K": 4,
    "T": 2,
    "U": 5,
    "Control+Z": 5,
    "Y": 4,
    "Control+Shift+Z": 4,
}
OTHERS = {
    "table": 3,
    "row": 3,
    "click": 2,
    "own layer": 2,
    "no layer": 1,
    "held": 2,
    "note": 3,
    "float": 1,
    "restart": 0.2,
    "hide": 0.2,
    "slide": 0.2,
}
"""What else a reviewer does, and how often."""
SEEN = re.compile(
    r"(?P<kind>.+?) (?P<cell>\d+)(?: \(white\) and .+? (?P<other>\d+) \(magenta\):"
    r" (?P<gap>touching|[\d.]+ um apart))?"
)


@dataclass
class Seen:
    """What the dock says is on view."""

    cell: int
    other: int | None
    touching: bool


class Reviewer:
    """Presses keys at one of three places and compares log and screen with the model after each."""

    others: ClassVar[dict[str, float]] = OTHERS

    def __init__(self, viewer: Any, widget: Any, seed: int, focus: str) -> None:
        self.viewer, self.widget, self.focus = viewer, widget, focus
        self.random = random.Random(seed)
        self.name = f"r{seed}"
        self.logs: dict[str, LogModel] = {}
        self.done: list[str] = []
        self.events = Counter[str]()
        self.own = viewer.layers["mine"]
        widget.choice.reviewer.setText(self.name)
        self.start()
        self._set_floating(focus == "floating")

    # ---- what is on the disk and on the screen ---------------------------------------------------

    @property
    def path(self) -> Path:
        return Path(self.widget.choice.folder) / "review" / f"{self.name}.jsonl"

    def logged(self) -> list[Line]:
        text = self.path.read_text("utf-8") if self.path.exists() else ""
        return [_line(json.loads(line)) for line in text.splitlines()]

    def pair(self) -> str:
        return str(self.widget.panel.pair.text())

    def message(self) -> str:
        return str(self.widget.message.text())

    def seen(self) -> Seen:
        found = SEEN.match(self.pair())
        assert found is not None, self.pair()
        other = found["other"]
        return Seen(
            int(found["cell"]), None if other is None else int(other), found["gap"] == "touching"
        )

    def check(self, event: str) -> None:
        story = f"{event} after {self.done}, which says {self.message()!r}"
        assert self.logged() == self.walk.log.lines, story
        assert self.seen().cell == self.walk.cell, story
        drawing = self.widget.review.drawing
        assert (None if drawing is None else KINDS[type(drawing).__name__]) == self.walk.drawing, (
            story
        )
        self.check_counts(story)
        self.done.append(event)

    def check_counts(self, story: str) -> None:
        decided = self.walk.log.decided()
        done = sum(cell in decided for cell in self.walk.queue)
        assert self.viewer.canvas.overlays.text.text.startswith(
            f"{done}/{len(self.walk.queue)} "
        ), story
        assert self.widget.panel.progress.value() == done, story

    def check_labels(self) -> None:
        labels = np.unique(np.asarray(self.widget.review.view.cells.levels[0]))
        assert set(labels.tolist()) - {0} == self.walk.log.cells().standing, self.done

    # ---- doing -----------------------------------------------------------------------------------

    def start(self) -> None:
        self.widget.start()
        review = self.widget.review
        assert review is not None, self.message()
        log = self.logs.setdefault(
            self.widget.choice.folder.name, LogModel(review.view.subject.ids.tolist())
        )
        self.walk = WalkModel(log, review.queue.ids.tolist())

    def target(self) -> Any:
        """Where keys go."""
        if self.focus == "canvas":
            return self.viewer.window._qt_viewer.canvas.native
        return (
            self.widget.window().focusWidget() or self.widget.window()
            if self.focus == "floating"
            else self.widget.panel.progress
        )

    def press(self, name: str, *, held: bool = False) -> None:
        from qtpy.QtCore import QEvent, Qt
        from qtpy.QtGui import QKeyEvent
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        *modifiers, key = name.split("+")
        mask = Qt.KeyboardModifier.NoModifier
        for modifier in modifiers:
            mask |= getattr(Qt.KeyboardModifier, f"{modifier}Modifier")
        code, target = getattr(Qt.Key, f"Key_{key}"), self.target()
        if held:
            QApplication.sendEvent(
                target, QKeyEvent(QEvent.Type.KeyPress, code, mask, key.lower(), True)
            )
        else:
            QTest.keyClick(target, code, mask)
        QApplication.processEvents()

    def choose(self) -> str:
        if self.walk.drawing is not None and self.random.random() < 0.6:
            finish = next(key for key, kind in CUTS.items() if kind == self.walk.drawing)
            return self.random.choice([finish, finish, "Equal", "Minus", "Escape"])
        if (
            self.walk.log.lines
            and self.walk.log.lines[-1].action in EDITS
            and self.random.random() < 0.3
        ):
            return self.random.choice(UNDO)
        if (
            self.walk.log.lines
            and self.walk.log.lines[-1].action == "undo"
            and self.random.random() < 0.35
        ):
            return self.random.choice([*UNDO, *REDO, *REDO])
        names = [*KEYS, *self.others]
        return self.random.choices(
            names, [WEIGHTS.get(name, self.others.get(name, 1)) for name in names]
        )[0]

    def step(self) -> None:
        event = self.choose()
        self.events[event] += 1
        if event in self.others:
            event = getattr(self, f"_{event.replace(' ', '_')}")()
        else:
            self._key(event)
        self.check(event)
        if event in (*UNDO, *REDO):
            self.check_labels()

    def _key(self, name: str) -> None:
        if name == "C":
            self._note()
            return
        wanted, may_be_refused = self.expected(name)
        before = len(self.walk.log.lines)
        drawn = self._drawn()
        self.press(name)
        if name in ("Minus", "Equal") and self.walk.drawing in (
            "cut",
            "region",
        ):  # an outline may have no room to grow
            assert not np.array_equal(drawn, self._drawn()), f"{name} does nothing"
        if wanted is not None:
            new = self.logged()[before:]
            if new or not may_be_refused:
                made = new[0].made if new else 0
                self.walk.take(Line(wanted.action, wanted.cells, wanted.of, made))
            else:
                assert self.message(), "a refusal is said"
        elif self.acts(name):
            self._walk_on(name)

    def _drawn(self) -> Any:
        drawing = self.widget.review.drawing
        return None if drawing is None else np.array(drawing.layer.data[-1])

    def acts(self, name: str) -> bool:
        """Whether a key means the review now; on a layer that is drawn on most are napari's."""
        drawing = self.walk.drawing
        active = self.viewer.layers.selection.active
        if (
            drawing is None
            or active is None
            or active.name not in ("cut", "redraw: green cell, orange nucleus", "region to exclude")
        ):
            return True
        return name in ("Minus", "Equal", "Escape") or CUTS.get(name) == drawing

    def expected(self, name: str) -> tuple[Line | None, bool]:
        """The line a key must lead to, and whether it may be refused: a cut may miss the
        nucleus.
        """
        seen, log = self.seen(), self.walk.log
        if not self.acts(name):
            return None, False
        if name in ("A", *EXCLUDE):
            return Line("accept" if name == "A" else "exclude", (seen.cell,)), False
        if name in DIGITS:
            return (Line("phenotype", (seen.cell,)), False) if int(name) <= 3 else (None, False)
        if name == "T" and seen.other is not None:
            return Line("not touching", (seen.cell, seen.other)), False
        if name == "M" and seen.other is not None and seen.touching:
            return Line("merge", (seen.cell, seen.other)), False
        if name in UNDO:
            return log.undo(), False
        if name in REDO:
            return log.redo(), False
        if CUTS.get(name, "") == self.walk.drawing:
            return Line(FINISHED[CUTS[name]], () if name == "E" else (seen.cell,)), True
        return None, False

    def _walk_on(self, name: str) -> None:
        """Keys that lead to no line."""
        walk = self.walk
        if name in NEXT:
            walk.go(walk.place + 1)
        elif name in PREVIOUS:
            walk.go(walk.place - 1)
        elif name == "G":
            place = walk.next_open()
            walk.look(walk.cell) if place is None else walk.go(place)
        elif name in CUTS:
            walk.drawing = CUTS[name]
        elif name == "Escape":
            walk.drawing = None

    def _note(self) -> str:
        from qtpy.QtTest import QTest

        field = self.widget.panel.note
        acts = self.acts("C")
        self.press("C")
        if not acts:
            return "C"
        assert self.widget.window().focusWidget() is field
        text = "".join(self.random.choices("naxmsru 123-=", k=self.random.randint(0, 5)))
        QTest.keyClicks(field, text)
        whole = field.text()
        if self.random.random() < 0.2:  # left: a click in the table goes elsewhere, the text stays
            return f"{self._table()} with {whole!r} as a note"
        QTest.keyClick(field, _key("Return"))
        assert not field.text()
        if whole.strip():
            self.walk.take(Line("note", (self.walk.cell,), text=whole))
        return f"note {whole!r}"

    def _table(self) -> str:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        table = self.widget.panel.table
        row = self.random.randrange(min(len(self.walk.queue), 40))
        index = self.widget.panel.model.index(row, 1)
        table.scrollTo(index)
        QTest.mouseClick(
            table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualRect(index).center()
        )
        self.walk.go(row + 1)
        return f"table {row}"

    def _row(self) -> str:
        centers = self.widget.review.layers.named("cell centers")
        row = self.random.randrange(len(self.walk.log.ids))
        before = set(centers.selected_data)
        centers.selected_data = {row}
        if before != {row} and self.walk.log.ids[row] != self.walk.cell:
            self.walk.show(self.walk.log.ids[row])
        return f"row {row}"

    def _click(self) -> str:
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        if self.walk.drawing is not None:  # there a click draws
            return "no click"
        canvas = self.viewer.window._qt_viewer.canvas.native
        at = QPoint(
            self.random.randrange(10, canvas.width() - 10),
            self.random.randrange(10, canvas.height() - 10),
        )
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=at)
        QApplication.processEvents()
        cell = self.seen().cell
        if cell != self.walk.cell:
            assert cell in self.walk.log.cells().standing
            self.walk.show(cell)
        return "click"

    def _own_layer(self) -> str:
        """On a layer of one's own all keys are napari's."""
        active = self.viewer.layers.selection.active
        self.viewer.layers.selection.active = self.own
        pressed = self.random.sample([key for key in KEYS if key != "C"], 4)
        for name in (*pressed, "C"):
            self.press(name)
        self.viewer.layers.selection.active = active
        return f"{pressed} on a layer of one's own"

    def _no_layer(self) -> str:
        self.viewer.layers.selection.clear()
        return "no layer"

    def _held(self) -> str:
        name = self.random.choice([key for key in KEYS if key not in ("Left", "Right")])
        for _ in range(3):
            self.press(name, held=True)
        return f"held {name}"

    def _float(self) -> str:
        if self.focus != "canvas":
            self._set_floating(self.focus == "dock")
        return f"to {self.focus}"

    def _set_floating(self, floating: bool) -> None:
        from qtpy.QtWidgets import QApplication

        dock = dock_of(self.widget)
        if dock.isFloating() != floating:
            dock.setFloating(floating)
            QApplication.processEvents()
        if self.focus != "canvas":
            self.focus = "floating" if floating else "dock"

    def _restart(self) -> str:
        self.start()
        return "restart"

    def _hide(self) -> str:
        """No decision without the dock."""
        from qtpy.QtWidgets import QApplication

        dock, focus = dock_of(self.widget), self.focus
        dock.close()
        QApplication.processEvents()
        assert self.widget.review is None
        self.focus = "canvas"
        pressed = self.random.sample([key for key in KEYS if key != "C"], 4)
        for name in pressed:
            self.press(name)
        assert self.logged() == self.walk.log.lines, pressed
        dock.show()
        QApplication.processEvents()
        self.focus = focus
        self.start()
        return f"{pressed} without the dock"

    def _slide(self) -> str:
        slides = self.widget.choice.slides
        slides.setCurrentIndex((slides.currentIndex() + 1) % slides.count())
        self.start()
        return f"slide {slides.currentText()}"

    def finish(self) -> None:
        """End the review and compare once more with what is read again."""
        self.check_labels()
        self.widget.close_review()
        for slide, log in self.logs.items():
            folder = self.path.parents[2] / slide
            read = read_log(folder, self.name)
            assert not read.problems
            session = ReviewSession(
                load_subject(folder, run_recipe(folder.parent)),
                self.name,
                read.decisions,
                save=_no_more,
                clock=Clock(),
            )
            assert [_line(d.model_dump(mode="json")) for d in session.decisions] == log.lines
            standing = log.cells().standing
            assert all(
                (cell in session.standing.outlines) == (cell in standing)
                for cell in range(max(standing) + 3)
            )
            assert session.decided() == log.decided()


class Windowless(Reviewer):
    """The same at a viewer model without windows, through napari's own look-up of keys: many times
    as fast.
    """

    others: ClassVar[dict[str, float]] = {
        name: OTHERS[name] for name in ("row", "own layer", "no layer", "restart", "note")
    }

    def check_counts(self, story: str) -> None:
        decided = self.walk.log.decided()
        assert self.widget.review.progress == (
            sum(cell in decided for cell in self.walk.queue),
            len(self.walk.queue),
        ), story

    def pair(self) -> str:
        return pair_line(self.widget.review.state)

    def message(self) -> str:
        return str(self.widget.review.message)

    def press(self, name: str, *, held: bool = False) -> None:
        from app_model.types import KeyCode
        from napari.utils.key_bindings import KeymapHandler

        layer = self.viewer.layers.selection.active
        handler = KeymapHandler()
        handler.keymap_providers = [self.viewer] if layer is None else [layer, self.viewer]
        handler.press_key(
            {"Minus": KeyCode.Minus, "Equal": KeyCode.Equal}.get(
                name, name.replace("Control", "Ctrl")
            )
        )

    def _note(self) -> str:
        acts = self.acts("C")
        self.press("C")
        assert self.widget.asked == acts
        self.widget.asked = False
        text = "".join(self.random.choices("naxmsru 123-=", k=self.random.randint(0, 5)))
        if acts:
            self.widget.review.note(text)
            if text.strip():
                self.walk.take(Line("note", (self.walk.cell,), text=text))
        return f"note {text!r}"

    def _set_floating(self, floating: bool) -> None:
        """Nothing floats here."""


class Headless:
    """What stands for the dock where there is none."""

    def __init__(self, viewer: Any, folder: Path, reviewer: str) -> None:
        self.viewer, self.asked, self.review, self.binding = viewer, False, None, None
        self.choice = SimpleNamespace(
            folder=folder, reviewer=SimpleNamespace(setText=lambda _: None)
        )
        self.reviewer = reviewer

    def start(self) -> None:
        self.close_review()
        self.review = SlideReview(self.viewer, open_result(self.choice.folder), self.reviewer)
        self.review.focus_note = lambda: setattr(self, "asked", True)
        self.binding = KeyBinding(self.viewer, self.review)
        rows = self.review.layers.named("cell centers").selected_data.events.items_changed
        rows.connect(lambda _: self.review.show_chosen())

    def close_review(self) -> None:
        if self.review is not None:
            self.binding.release()
            self.review.close()
            self.review = None


def _no_more(_: Any) -> None:
    raise AssertionError("nothing is decided here")


def _line(body: dict[str, Any]) -> Line:
    action = body["action"]
    refs = body.get("cells") or ([body["cell"]] if body.get("cell") else [])
    made = len(body["new"]) if action == "split" else int(action in ("merge", "redraw"))
    text = body["reason"] if action == "note" else ""
    return Line(action, tuple(ref["cell_id"] for ref in refs), body.get("of"), made, text)


def _key(name: str) -> Any:
    from qtpy.QtCore import Qt

    return getattr(Qt.Key, f"Key_{name}")
