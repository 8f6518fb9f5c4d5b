"""The review log: every decision survives a crash, every damage is named, one writer at a time,
undo and redo as a reviewer expects.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reviewing import START, log_of

from ifquant.commands.review_log import ReviewLog, log_path, read_log, read_logs
from ifquant.errors import RequestError, ResourceError
from ifquant.files import storage
from ifquant.review.decisions import Decision, Redo, Undo, decision_of
from ifquant.review.history import History
from ifquant.review.log_lines import read_lines

SOURCE = {
    "slide": "a",
    "image_sha256": "1" * 64,
    "cells_digest": "2" * 64,
    "versions": {"ifquant": "0"},
}
CELL = {"cell_id": 7, "anchor_y_px": 3, "anchor_x_px": 4, "y_px": 5.5, "x_px": 6.25}
SQUARE = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0))
ACTIONS = [
    {"action": "accept", "cell": CELL, "old": "tumor", "new": "tumor"},
    {"action": "phenotype", "cell": CELL, "old": "tumor", "new": "myeloid"},
    {"action": "exclude", "cell": CELL, "old": "tumor", "new": "fold"},
    {"action": "not touching", "cells": (CELL, {**CELL, "cell_id": 8}), "old": 0.0},
    {"action": "gate", "marker": "TGFβ", "column": "TGFβ_cell_mean", "old": None, "new": 12.5},
    {"action": "exclude region", "what": "artefact", "new": SQUARE},
    {
        "action": "merge",
        "cells": (CELL, {**CELL, "cell_id": 8}),
        "old": (SQUARE, SQUARE),
        "new": SQUARE,
    },
    {"action": "split", "cell": CELL, "old": SQUARE, "new": (SQUARE, SQUARE)},
    {"action": "redraw", "cell": CELL, "old": SQUARE, "new": SQUARE, "nucleus": SQUARE},
    {"action": "note", "cell": None, "reason": 'ein "Zitat",\nzweite Zeile \u2028 µ'},
]


def decision(
    number: int, content: dict[str, object] | None = None, reviewer: str = "anna"
) -> Decision:
    made = {
        "number": number,
        "source": SOURCE,
        "reviewer": reviewer,
        "time_utc": START + datetime.timedelta(seconds=number),
    }
    return decision_of({**made, **(content or ACTIONS[number % len(ACTIONS)])})


ALL = [decision(n) for n in range(1, len(ACTIONS) + 1)]


def test_every_kind_of_decision_survives_writing_and_reading() -> None:
    log = read_lines(log_of(ALL))
    assert list(log.decisions) == ALL
    assert not log.problems
    assert len({type(d) for d in log.decisions}) == len(ACTIONS)
    line = json.loads(log_of(ALL[:1]))
    assert {
        "cell",
        "old",
        "new",
        "reviewer",
        "time_utc",
        "reason",
        "source",
        "number",
        "action",
    } <= set(line)
    assert line["time_utc"] == "2026-03-01T09:00:01Z"


def test_a_log_cut_at_any_byte_keeps_every_whole_line_and_can_go_on(tmp_path: Path) -> None:
    data = log_of(ALL[:4])
    ends = [i for i, byte in enumerate(data) if byte == 10]
    path = log_path(tmp_path, "anna")
    path.parent.mkdir()
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert list(read_log(tmp_path, "anna").decisions) == ALL[:whole]
        if cut % 29 and cut not in ends:
            continue
        with ReviewLog(tmp_path, "anna") as log:
            assert list(log.content.decisions) == ALL[:whole]
            log.append(decision(whole + 1, ACTIONS[0]))
        assert path.read_bytes().startswith(data[:cut]), "nothing written is ever changed"
        again = read_log(tmp_path, "anna")
        assert list(again.decisions) == [*ALL[:whole], decision(whole + 1, ACTIONS[0])]
        torn = cut > 0 and cut not in ends and cut - 1 not in ends
        assert len(again.problems) == torn


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_costs_the_damaged_line_only(data: st.DataObject) -> None:
    log = bytearray(log_of(ALL))
    where = data.draw(st.integers(0, len(log) - 1))
    log[where] ^= 1 << data.draw(st.integers(0, 7))
    read = read_lines(bytes(log))
    assert {d.number for d in read.decisions} <= {d.number for d in ALL}
    assert all(d == ALL[d.number - 1] for d in read.decisions), "no damaged line counts"
    assert len(read.decisions) >= len(ALL) - 2  # a damaged line end joins two lines
    assert read.problems


def test_a_line_that_was_edited_copied_or_taken_out_is_noticed() -> None:
    lines = log_of(ALL).splitlines(keepends=True)
    edited = read_lines(b"".join([*lines[:2], lines[2].replace(b"0.0", b"9.0"), *lines[3:]]))
    assert [p.line for p in edited.problems if p.refused] == [3]
    assert "changed after it was written" in edited.problems[0].reason
    missing = read_lines(b"".join([*lines[:2], *lines[3:]]))
    assert [(p.line, p.refused) for p in missing.problems] == [(3, False)]
    assert len(missing.decisions) == len(ALL) - 1
    assert "copied" in read_lines(b"".join([*lines, lines[4]])).problems[0].reason


def test_two_processes_never_write_one_log(tmp_path: Path) -> None:
    code = (
        "import sys; from ifquant.commands.review_log import ReviewLog\nwith ReviewLog(sys.argv[1],"
        " sys.argv[2]): print('open')"
    )

    def other(reviewer: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), reviewer],
            capture_output=True,
            text=True,
            check=False,
        )

    with ReviewLog(tmp_path, "anna") as log:
        with pytest.raises(RequestError, match="open in another"):
            ReviewLog(tmp_path, "anna")
        refused = other("anna")
        assert refused.returncode != 0
        assert "open in another window or process" in refused.stderr
        assert other("ben").stdout == "open\n"
        log.append(decision(1))
    assert other("anna").stdout == "open\n"
    assert set(read_logs(tmp_path)) == {"anna", "ben"}


def test_a_killed_process_loses_nothing_it_was_told_is_saved(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2]); from test_review_log import decision\n"
        "from ifquant.commands.review_log import ReviewLog\n"
        "log = ReviewLog(sys.argv[1], 'anna')\n"
        "for n in (1, 2, 3): log.append(decision(n))\n"
        "os._exit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)], check=False
    )
    assert done.returncode == 9
    assert list(read_log(tmp_path, "anna").decisions) == ALL[:3]


def test_every_decision_is_flushed_and_a_full_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(storage, "before_mutation", lambda operation, path: calls.append(operation))
    with ReviewLog(tmp_path, "anna") as log:
        log.append(decision(1))
        assert calls[-2:] == ["write", "fsync"]

        def full(operation: str, path: str) -> None:
            if operation == "fsync":
                raise OSError(28, os.strerror(28))

        monkeypatch.setattr(storage, "before_mutation", full)
        with pytest.raises(ResourceError, match="disk is full"):
            log.append(decision(2))
        with pytest.raises(ValueError, match="closed"):
            log.append(decision(2))
    monkeypatch.undo()
    with ReviewLog(
        tmp_path, "anna"
    ) as log:  # whatever arrived counts, and the next decision has the next number
        log.append(decision(log.content.next_number))
    assert [d.number for d in read_log(tmp_path, "anna").decisions] == [1, 2, 3]


def test_a_log_takes_only_its_reviewers_next_decision(tmp_path: Path) -> None:
    with ReviewLog(tmp_path, "anna") as log:
        with pytest.raises(RequestError, match="does not belong"):
            log.append(decision(1, reviewer="ben"))
        with pytest.raises(RequestError, match="1 is next"):
            log.append(decision(2))
    path = log_path(tmp_path, "ben")
    path.write_bytes(log_of([decision(1)]))
    with pytest.raises(RequestError, match="holds decisions of anna"):
        ReviewLog(tmp_path, "ben")


@pytest.mark.parametrize(
    "name", ["", "../anna", "a/b", ".anna", "con", "a\n", " a", "a.", "x" * 65]
)
def test_a_reviewers_name_is_a_file_name_everywhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="expected 1 to 64"):
        ReviewLog(tmp_path, name)


def test_a_reviewer_may_have_an_umlaut(tmp_path: Path) -> None:
    with ReviewLog(tmp_path, "Anna Müller-Łoś") as log:
        log.append(decision(1, reviewer="Anna Müller-Łoś"))
    assert len(read_log(tmp_path, "Anna Müller-Łoś").decisions) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"new": "myeloid"}, "accepting keeps"),
        ({"time_utc": "2026-03-01T09:00:00"}, "time_utc"),
        ({"time_utc": "2026-03-01T09:00:00+02:00"}, "UTC"),
        ({"more": 1}, "more"),
        ({"action": "dance"}, "dance"),
        ({"cell": {**CELL, "x_px": float("nan")}}, "x_px"),
    ],
)
def test_what_is_no_decision_is_refused(changed: dict[str, object], message: str) -> None:
    made = {"number": 1, "source": SOURCE, "reviewer": "anna", "time_utc": START}
    with pytest.raises(RequestError, match=message):
        decision_of({**made, **ACTIONS[0], **changed})


def test_an_outline_that_crosses_itself_is_refused() -> None:
    with pytest.raises(RequestError, match="crosses itself"):
        decision(
            1,
            {
                "action": "exclude region",
                "what": "fold",
                "new": ((0.0, 0.0), (2.0, 2.0), (2.0, 0.0), (0.0, 2.0)),
            },
        )


@settings(max_examples=150, deadline=None)
@given(keys=st.lists(st.sampled_from(["decide", "undo", "redo"]), max_size=25))
def test_undo_and_redo_are_the_stacks_a_reviewer_knows(keys: list[str]) -> None:
    log: list[Decision] = []
    done: list[int] = []
    taken_back: list[int] = []
    for key in keys:
        history, number = History.of(log), len(log) + 1
        if key == "decide":
            log.append(decision(number, ACTIONS[0]))
            done.append(number)
            taken_back.clear()
        elif key == "undo":
            assert (history.undoable.number if history.undoable else None) == (
                done[-1] if done else None
            )
            if done:
                log.append(decision(number, {"action": "undo", "of": done[-1]}))
                taken_back.append(done.pop())
        else:
            assert (history.redoable.number if history.redoable else None) == (
                taken_back[-1] if taken_back else None
            )
            if taken_back:
                log.append(decision(number, {"action": "redo", "of": taken_back[-1]}))
                done.append(taken_back.pop())
        assert [d.number for d in History.of(log).effective] == sorted(done)
        assert read_lines(log_of(log)).decisions == tuple(log)
    assert not History.of(log).refused


def test_an_undo_of_nothing_is_refused_and_changes_nothing() -> None:
    log = [
        decision(1, ACTIONS[0]),
        *(
            decision(n, {"action": a, "of": of})
            for n, a, of in ((2, "undo", 9), (3, "redo", 1), (4, "undo", 1), (5, "undo", 1))
        ),
    ]
    history = History.of(log)
    assert set(history.refused) == {2, 3, 5}
    assert history.undone == {1: 4}
    assert isinstance(log[1], Undo)
    assert isinstance(log[2], Redo)
