"""What people must know about a slide, in sentences that know how grave they are. Graver ones come
first wherever they are listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ifquant.names import few

GRAVE, PLAIN, MILD = 2, 1, 0


class Note(str):
    """A sentence for people; `level` is `GRAVE` (numbers may be wrong or missing), `PLAIN` or
    `MILD` (a fact to keep in mind).
    """

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
    """Sort sentences by how grave they are, else in the order given; each once. Text of unknown
    level counts as plain.
    """
    return sorted(dict.fromkeys(notes), key=lambda note: -getattr(note, "level", PLAIN))


def summary(
    notes: Mapping[str, Sequence[str]], general: Sequence[str] = (), *, most: int = 20
) -> list[str]:
    """Say how many warnings there are, all that concern no single slide, and the gravest of each
    slide.

    Parameters
    ----------
    notes
        Slide > its warnings, gravest first. Slides with the same gravest one share a line.
    general
        Warnings about several slides together.
    most
        Lines about slides at most.
    """
    told = {slide: own for slide, own in notes.items() if own}
    total = len(general) + sum(map(len, told.values()))
    if not total:
        return []
    same: dict[str, list[str]] = {}
    for slide, own in told.items():
        same.setdefault(own[0], []).append(slide)
    lines = [
        f"{total} warning{'s' if total > 1 else ''}{'; the gravest of each slide' if told else ''}:"
    ]
    lines += [f"  {text}" for text in general]
    firsts = {own[0]: own[0] for own in told.values()}
    for text, names in sorted(
        same.items(), key=lambda one: -getattr(firsts[one[0]], "level", PLAIN)
    )[:most]:
        who = few(names, 3)
        further = sum(len(told[name]) - 1 for name in names)
        lines.append(f"  {who}: {text}" + (f" (and {further} more)" if further else ""))
    if len(same) > most:
        lines.append(f"  ... and {len(same) - most} more kinds")
    return lines
