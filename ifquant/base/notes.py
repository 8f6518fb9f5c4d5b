"""What people must know about a slide, in sentences that know how grave they are. Graver ones come first wherever they are listed."""

from __future__ import annotations

from collections.abc import Iterable

GRAVE, PLAIN, MILD = 2, 1, 0


class Note(str):
    """A sentence for people; `level` is `GRAVE` (numbers may be wrong or missing), `PLAIN` or `MILD` (a fact to keep in mind)."""

    level: int = PLAIN

    def __reduce__(self) -> tuple[type[Note], tuple[str], dict[str, int]]:
        return Note, (str(self),), {"level": self.level}


def grave(text: str) -> Note:
    """Make a sentence about numbers that may be wrong or are missing."""
    note = Note(text)
    note.level = GRAVE
    return note


def mild(text: str) -> Note:
    """Make a sentence about a fact to keep in mind."""
    note = Note(text)
    note.level = MILD
    return note


def gravest_first(notes: Iterable[str]) -> list[str]:
    """Sort sentences by how grave they are, else in the order given; each once. Text of unknown level counts as plain."""
    return sorted(dict.fromkeys(notes), key=lambda note: -getattr(note, "level", PLAIN))


def summary(notes: dict[str, tuple[str, ...]], *, most: int = 20) -> list[str]:
    """Say how many warnings there are, and the gravest (first) of each slide; slides with the same one share a line.

    Parameters
    ----------
    notes
        Slide > its warnings, gravest first.
    most
        Lines at most.
    """
    told = {slide: own for slide, own in notes.items() if own}
    total = sum(map(len, told.values()))
    if not total:
        return []
    same: dict[str, list[str]] = {}
    for slide, own in told.items():
        same.setdefault(own[0], []).append(slide)
    n, slides = f"{total} warning{'s' if total > 1 else ''}", f"{len(told)} slide{'s' if len(told) > 1 else ''}"
    lines = [f"{n} on {slides}; the gravest of each:"]
    for text, names in list(same.items())[:most]:
        who = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        further = sum(len(told[name]) - 1 for name in names)
        lines.append(f"  {who}: {text}" + (f" (and {further} more)" if further else ""))
    if len(same) > most:
        lines.append(f"  ... and {len(same) - most} more kinds")
    return lines
