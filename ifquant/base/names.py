"""Names of patients, slides, groups, phenotypes and cells: text exactly as written, or missing; and which of them are easily confused."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

MISSING_NAMES = frozenset({"", "na", "n/a", "#n/a", "nan", "<na>", "null"})
"""What spreadsheets, R, pandas and SQL write where there is no name (compared without case)."""
_NUMBER = re.compile(r"([+-]?)0*(\d+)(?:\.0+)?")


def name_or_none(text: str | None) -> str | None:
    """Return a name as written, less blanks around it; None where nothing is named (empty, ``NA``, ``N/A``, ``nan``, ...)."""
    if text is None:
        return None
    name = text.strip()
    return None if name.lower() in MISSING_NAMES else name


def loose_key(name: str) -> str:
    """Return what two spellings of a name share: no case, no blanks; of whole numbers (``007``, ``7.0``) the number."""
    plain = "".join(unicodedata.normalize("NFKC", name).casefold().split())
    number = _NUMBER.fullmatch(plain)
    return f"{number[1].replace('+', '')}{number[2]}" if number else plain


def alike(names: Iterable[str], key: Callable[[str], str] = loose_key) -> list[tuple[str, ...]]:
    """Return sets of different names that have one key, each in order of appearance."""
    found: dict[str, dict[str, None]] = {}
    for name in names:
        found.setdefault(key(name), {})[name] = None
    return [tuple(same) for same in found.values() if len(same) > 1]


def alike_warnings(kind: str, names: Iterable[str], key: Callable[[str], str] = loose_key) -> list[str]:
    """Say which names of a kind (patient, slide, ...) differ so little that they may mean one thing; they count as different."""
    return [
        f"{kind} names {', '.join(map(repr, same[:4]))}{', ...' if len(same) > 4 else ''} differ only in case, blanks or how a number or "
        f"suffix is written; they count as {len(same)} different ones: if they are one, write them alike"
        for same in alike(names, key)
    ]
