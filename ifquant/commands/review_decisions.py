"""decisions.csv: every decision of the review logs, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ifquant.review.decisions import cells_of
from ifquant.review.log_lines import ReadLog
from ifquant.review.standing import Outcome

_COLUMNS = [
    *("reviewer", "line", "number", "time_utc", "action", "cells", "old", "new"),
    *("status", "why", "cells_now", "said"),
]


def decisions_table(outcomes: Sequence[Outcome], logs: Mapping[str, ReadLog]) -> pd.DataFrame:
    """Every decision with what became of it, and every line that is none."""
    lines = {
        (decision.reviewer, decision.number): line
        for log in logs.values()
        for decision, line in zip(log.decisions, log.lines, strict=True)
    }
    rows = [_row(outcome, lines) for outcome in outcomes]
    for name, log in logs.items():
        unread = {"reviewer": name, "action": "unreadable", "status": "refused"}
        rows += [unread | {"line": p.line, "why": p.reason} for p in log.problems if p.refused]
    table = (
        pd.DataFrame(rows, columns=_COLUMNS)
        .sort_values(["reviewer", "line"], kind="stable")
        .reset_index(drop=True)
    )
    return table.astype({"number": "Int64", "line": "Int64"})


def _row(outcome: Outcome, lines: Mapping[tuple[str, int], int]) -> dict[str, Any]:
    decision = outcome.decision
    return {
        "reviewer": decision.reviewer,
        "line": lines[decision.reviewer, decision.number],
        "number": decision.number,
        "time_utc": decision.time_utc.isoformat().replace("+00:00", "Z"),
        "action": decision.action,
        "cells": " ".join(str(ref.cell_id) for ref in cells_of(decision)),
        "old": _text(getattr(decision, "old", None)),
        "new": _text(getattr(decision, "new", getattr(decision, "of", None))),
        "status": outcome.status,
        "why": outcome.reason,
        "cells_now": " ".join(map(str, outcome.cell_ids)),
        "said": decision.reason,
    }


def _text(value: str | float | tuple[Any, ...] | None) -> str:
    """Write a value of a decision; outlines are in the log."""
    if value is None:
        return ""
    return (
        "drawn" if isinstance(value, tuple) else value if isinstance(value, str) else f"{value:g}"
    )
