"""Names of patients, slides, groups, phenotypes and cells: text exactly as written, or missing; and
which of them are easily confused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

MISSING_NAMES = frozenset({"", "na", "n/a", "#n/a", "nan", "<na>", "null"})
"""What spreadsheets, R, pandas and SQL write where there is no name (compared without case)."""
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_WHOLE = re.compile(r"([+-]?\d+)\.0+")


def name_or_none(text: str | None) -> str | None:
    """Return a name as written, less blanks around it; None where nothing is named (empty, ``NA``,
    ``N/A``, ``nan``, ...).
    """
    if text is None:
        return None
    name = text.strip()
    return None if name.lower() in MISSING_NAMES else name


def loose_key(name: str) -> str:
    """Return what two spellings of a name share: no case, blanks, invisible signs, leading zeros
    (``P 01``, ``p1``; ``007``, ``7.0``).
    """
    apart = re.sub(
        r"(?<=\d)\s+(?=\d)", "|", unicodedata.normalize("NFKC", name).casefold()
    )  # 1 12 is not 11 2
    plain = "".join(apart.split()).lstrip("'")
    plain = _ZEROS.sub(
        "", "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")
    )
    whole = _WHOLE.fullmatch(plain)
    return (whole[1] if whole else plain).removeprefix("+") or plain


def alike(names: Iterable[str], *keys: Callable[[str], str]) -> list[tuple[str, ...]]:
    """Return sets of different names that share a key (default: `loose_key`), each in order of
    appearance.
    """
    every, sets = list(dict.fromkeys(names)), []
    for key in keys or (loose_key,):
        found: dict[str, list[str]] = {}
        for name in every:
            found.setdefault(key(name), []).append(name)
        sets += [tuple(same) for same in found.values() if len(same) > 1]
    return [one for one in dict.fromkeys(sets) if not any(set(one) < set(other) for other in sets)]


def alike_warnings(kind: str, names: Iterable[str], *keys: Callable[[str], str]) -> list[str]:
    """Say which names of a kind (patient, slide, ...) differ so little that they may mean one
    thing; they count as different.
    """
    return [
        f"{kind} names {', '.join(map(repr, same[:4]))}{', ...' if len(same) > 4 else ''} differ"
        f" only in case, blanks, zeros or suffix; they count as {len(same)} different ones: if they"
        " are one, write them alike"
        for same in alike(names, *keys)
    ]


def few(names: Sequence[str], most: int = 5, *, quoted: bool = False) -> str:
    """List the first names, and how many more there are."""
    listed = ", ".join(map(repr if quoted else str, names[:most]))
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")
