"""Decisions as lines of JSON, and back: every whole line of a log is read, every other one named.

Each line carries a digest of itself (`check`) and that of the line before (`previous`): a line that
was changed by hand or by a failing disk is refused, a missing one is noticed. A process that dies
while it writes leaves at most one torn line, which holds no decision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ifquant.errors import RequestError
from ifquant.provenance import digest
from ifquant.review.decisions import Decision, decision_of

FIRST = ""
"""`previous` of the first line."""
_LENGTH = 32


@dataclass(frozen=True)
class LineProblem:
    """What is wrong with a line (numbered from 1), and whether its decision is lost (`refused`)."""

    line: int
    reason: str
    refused: bool = True


@dataclass(frozen=True)
class ReadLog:
    """What a log holds.

    Attributes
    ----------
    decisions
        In the order of the file.
    lines
        Line of each decision, from 1.
    problems
        Lines that are no decision, or whose predecessor is missing.
    last_check, next_number
        What the next line needs.
    """

    decisions: tuple[Decision, ...] = ()
    lines: tuple[int, ...] = ()
    problems: tuple[LineProblem, ...] = ()
    last_check: str = FIRST
    next_number: int = 1


def to_line(decision: Decision, previous: str) -> tuple[str, str]:
    """Write a decision as one line without its line end; returns the line and its check."""
    body = decision.model_dump(mode="json") | {"previous": previous}
    check = _check(body)
    body["check"] = check
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text, check


def read_lines(data: bytes) -> ReadLog:
    """Read a log, however it ended. A last line without line end counts when it is complete."""
    decisions: list[Decision] = []
    lines: list[int] = []
    problems: list[LineProblem] = []
    last = FIRST
    raw = data.split(b"\n")
    for number, line in enumerate(raw, 1):
        if not line.strip():
            continue
        final = number == len(raw)
        try:
            decision, previous, check = _parsed(line)
        except RequestError as error:
            reason = f"torn, its writer was stopped ({error})" if final else str(error)
            problems.append(LineProblem(number, reason))
            continue
        if decisions and decision.number <= decisions[-1].number:
            reason = f"repeats number {decision.number}; the line was copied"
            problems.append(LineProblem(number, reason))
            continue
        if previous != last:
            reason = "a line before it is missing or was changed"
            problems.append(LineProblem(number, reason, refused=False))
        decisions.append(decision)
        lines.append(number)
        last = check
    following = decisions[-1].number + 1 if decisions else 1
    return ReadLog(tuple(decisions), tuple(lines), tuple(problems), last, following)


def _parsed(line: bytes) -> tuple[Decision, str, str]:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError("not a whole line of JSON") from None
    if not isinstance(body, dict):
        raise RequestError("no decision")
    check = body.pop("check", None)
    if not isinstance(check, str) or not isinstance(body.get("previous"), str):
        raise RequestError("no check in it; only ifquant writes this file")
    if check != _check(body):
        raise RequestError("the line was changed after it was written")
    previous = body.pop("previous")
    return decision_of(body), previous, check


def _check(body: dict[str, object]) -> str:
    try:
        return digest(body)[:_LENGTH]
    except ValueError:  # NaN or infinity, which we never write
        return ""
