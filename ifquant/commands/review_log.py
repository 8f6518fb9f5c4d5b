"""Review logs on disk: ``<slide>/review/<reviewer>.jsonl``, one per reviewer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ifquant.errors import RequestError
from ifquant.files.append_file import AppendFile
from ifquant.files.storage import PathLike
from ifquant.results.file_names import REVIEW
from ifquant.review.decisions import Decision
from ifquant.review.log_lines import ReadLog, read_lines, to_line

_NAME = re.compile(r"[\w](?:[\w .@+-]{0,62}[\w@+-])?")
# names Windows keeps for devices
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_reviewer(name: str) -> str:
    """Return the name of a reviewer, which is also the name of a file.

    Raises
    ------
    RequestError
        If it cannot be a file's name on every system.
    """
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise RequestError(
            f"found reviewer {name!r}; expected 1 to 64 letters, digits, spaces, dots, dashes or @,"
            " beginning with a letter or digit"
        )
    return name


class ReviewLog:
    """One reviewer's log of one slide, open for deciding; locked against other processes until
    closed.

    Parameters
    ----------
    folder
        The slide's folder in the results.
    reviewer
        Who decides.
    """

    def __init__(self, folder: PathLike, reviewer: str) -> None:
        self.reviewer = check_reviewer(reviewer)
        self._file = AppendFile(log_path(folder, reviewer))
        try:
            self.content = read_lines(self._file.read())
            """What the log held when it was opened."""
            if not self.content.decisions and any(
                "torn" not in problem.reason for problem in self.content.problems
            ):
                raise RequestError(
                    f"{self._file.path}: no decision in it is one of ifquant's; move the file, or"
                    " choose another name"
                )
            if strange := {d.reviewer for d in self.content.decisions} - {reviewer}:
                raise RequestError(
                    f"{self._file.path}: holds decisions of {', '.join(sorted(strange))}, not of"
                    f" {reviewer!r}; choose another name"
                )
        except BaseException:
            self._file.close()
            raise
        self._last, self._next = self.content.last_check, self.content.next_number

    @property
    def closed(self) -> bool:
        """Whether nothing can be added: it was closed, or an addition failed."""
        return self._file.closed

    def append(self, decision: Decision) -> None:
        """Add a decision; when this returns, the device has it.

        Raises
        ------
        RequestError
            If it is another reviewer's, or not the next in number.
        ResourceError
            If disk or memory ran out. The log is closed then: open it again, what it holds counts.
        """
        if decision.reviewer != self.reviewer:
            raise RequestError(
                f"a decision of {decision.reviewer!r} does not belong into the log of"
                f" {self.reviewer!r}."
            )
        if decision.number != self._next:
            raise RequestError(
                f"decision {decision.number} given, {self._next} is next in {self._file.path}."
            )
        line, check = to_line(decision, self._last)
        try:
            self._file.append(line)
        except BaseException:  # whether the line arrived is only known by reading the file again
            self.close()
            raise
        self._last, self._next = check, decision.number + 1

    def close(self) -> None:
        """Release the log."""
        self._file.close()

    def __enter__(self) -> ReviewLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def log_path(folder: PathLike, reviewer: str) -> Path:
    """Path of a reviewer's log."""
    return Path(folder) / REVIEW / f"{check_reviewer(reviewer)}.jsonl"


def read_log(folder: PathLike, reviewer: str) -> ReadLog:
    """Read one reviewer's log without opening it for writing; empty if there is none."""
    path = log_path(folder, reviewer)
    return read_lines(path.read_bytes()) if path.exists() else ReadLog()


def read_logs(folder: PathLike) -> Mapping[str, ReadLog]:
    """Read all logs of a slide: reviewer > log, by name."""
    return {
        path.stem: read_lines(path.read_bytes())
        for path in sorted((Path(folder) / REVIEW).glob("*.jsonl"))
    }
