"""Roles of channels, guessed from what stains are usually called, to be confirmed by the user."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ifquant.recipe.model import Compartment, Role

PATTERNS: tuple[tuple[Role, str], ...] = (
    (
        "nucleus",
        r"dapi\d*|hoechst\d*|(ds|ss)?dna\d*|draq[57]|sytox\w*|syto\d+|nucblue|topro\d*|7aad|propidiumiodide|h?h3|histoneh?3|"
        r"nucle(us|i|ar)\d*|ir19[13]",
    ),
    (
        "tumor",
        r"pan(cyto)?(ck|krt|keratin|cytokeratin)\w*|ck\d*|(cyto)?keratins?\d*|krt\d*|ae1(ae)?3?|epcam|cd326|ecad(herin)?|cdh1|sox10|melana|mart1|pmel",
    ),
    (
        "myeloid",
        r"cd11[bc]|itga[mx]|cd68|cd163|hladr\w*|mhc(ii|2)|cd14|iba1|aif1|cd206|mrc1|f480|cd64|cd209|dcsign|cd1c|cd33",
    ),
    (
        "background",
        r"(sample)?af|\w*autofl\w*|empty\w*|blank\w*|background\w*|bg|bkg|unstained|none",
    ),
)
"""What stains are usually called, letters and digits only, Greek letters as Latin ones."""
COMPARTMENTS: tuple[tuple[Compartment, str], ...] = (
    ("membrane", r"tgfb\d*|lap|garp|lrrc32"),
    (
        "cytoplasm",
        r"il1b|il6|il8|il10|il18|il12\w*|tnfa?|ifng?|gzm[abk]|granzyme[abk]|cxcl\d+|ccl\d+",
    ),
    (
        "nucleus",
        r"foxp3|ki67|mki67|sox\d+|pax\d+|gata3|tp53|p53|p63|p40|pcna|tcf\d+|tbet|eomes|stat\d|psmad\d*|er|pr|ar",
    ),
)
_DYES = re.compile(
    r"\b(opal[\s_-]*(polaris)?[\s_-]*\d{3}|alexa[\s_-]*(fluor)?[\s_-]*\d{3}|af\d{3}|cy\d(\.\d)?|fitc|tritc|atto[\s_-]*\d{3}|cf\d{3}|pe|apc)\b"
)
_GREEK = str.maketrans("αβγδεκ", "abgdek")
_SPELLED = {"alpha": "a", "beta": "b", "gamma": "g", "delta": "d"}
_STAINS = {
    "nucleus": "a nuclear stain",
    "tumor": "a tumor (epithelial) stain",
    "myeloid": "a myeloid stain",
}


@dataclass(frozen=True)
class Guess:
    """Role of a channel, why, and a compartment where it is not the role's default."""

    role: Role
    why: str
    compartment: Compartment | None = None


def guess_roles(names: Sequence[str]) -> list[Guess]:
    """Guess the role of each channel from its name; a role of a marker file (`MarkerName`) stays.

    Only the first channel that looks like nucleus, tumor or myeloid gets that role: further nuclear
    stains (later cycles) are ignored, further tumor and myeloid stains stay markers.
    """
    guesses: list[Guess] = []
    first: dict[Role, str] = {}
    for name in names:
        given = getattr(name, "role", None)
        if given is not None:
            guesses.append(Guess(given, "as in the marker file"))
        else:
            guesses.append(_guess(name, first))
    return guesses


def _guess(name: str, first: dict[Role, str]) -> Guess:
    """Role of one channel; `first` (role > the channel that has it) grows."""
    role: Role | None = _match(name, PATTERNS)
    compartment: Compartment | None = _match(name, COMPARTMENTS)
    if role is None:
        why = "not recognised" if compartment is None else "known marker"
        return Guess("marker", why, compartment)
    if role == "background":
        return Guess(role, "looks like an empty or autofluorescence channel")
    if role not in first:
        first[role] = name
        why = f"looks like {_STAINS[role]}"
        return Guess(role, why, None if role == "nucleus" else compartment)
    if role == "nucleus":
        return Guess("ignore", f"another nuclear stain; {first[role]!r} is used")
    why = f"looks like a {role} stain too; {first[role]!r} has the role"
    return Guess("marker", why, compartment)


def _match(name: str, patterns: Sequence[tuple[Any, str]]) -> Any:
    """First entry whose pattern fits one to three neighboring words of a name, or all of them."""
    words = _words(name)
    whole = {"".join(words)}
    grams = {"".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}
    for entry, pattern in patterns:
        texts = whole if entry == "background" else grams | whole
        if any(re.fullmatch(pattern, text) for text in texts):
            return entry
    return None


def _words(name: str) -> list[str]:
    text = _DYES.sub(" ", unicodedata.normalize("NFKC", name).casefold().replace("_", " "))
    words = re.findall(r"[^\W_]+", text.translate(_GREEK))
    return [_SPELLED.get(word, word) for word in words]
