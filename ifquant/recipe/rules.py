"""Phenotype rules such as ``"CD11c+ & PanCK-"``: parsed, never evaluated as code.

Grammar (whitespace is free; strongest binding last)::

    rule   = either { ("|" | "or") either }
    either = factor { ("&" | "and") factor }
    factor = ("!" | "not") factor | "(" rule ")" | marker ("+" | "-")
    marker = a channel name (the longest that fits) | '"' name '"' | "'" name "'"

Negation is pushed down to the markers while parsing (``!(A+ | B-)`` becomes ``A- & B+``), so that a
parsed rule holds only *required* (+) and *excluded* (-) markers: the two are judged in different
places of the cell. Logic is Kleene's with three values, as pandas' nullable booleans have it:
unknown & false = false, unknown | true = true, else unknown stays unknown.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ifquant.errors import RecipeError

SIGNS = {"+": True, "-": False, "\u2212": False, "\u2013": False}
"""Signs as written: plus, hyphen-minus, and the minus and dash that word processors make of it
(superscripts normalise to these)."""
MAX_LENGTH = 2000
MAX_DEPTH = 50
_WORDS = {"not": "!", "and": "&", "or": "|"}
_WORD = re.compile(r"(not|and|or)(?=[\s(!\"'])", re.IGNORECASE)


@dataclass(frozen=True)
class Marker:
    """A required (positive) or excluded marker."""

    name: str
    positive: bool


@dataclass(frozen=True)
class AllOf:
    """Every part holds."""

    parts: tuple[Rule, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Rule, ...]


Rule = Marker | AllOf | AnyOf


def parse(text: str, names: Sequence[str], aliases: Mapping[str, str] | None = None) -> Rule:
    """Parse a rule over known markers.

    Parameters
    ----------
    text
        The rule.
    names
        Marker names that may appear; they may hold spaces, hyphens, signs or Greek letters. The
        longest name that fits is taken.
    aliases
        Other spellings: alias > name.

    Raises
    ------
    RecipeError
        With the position, what was found there and what was expected (for an unknown marker: the
        nearest known one).
    """
    return _Parser(text, {**(aliases or {}), **{name: name for name in names}}).parse()


def markers(rule: Rule) -> Iterator[Marker]:
    """All markers of a rule with their sign, left to right."""
    if isinstance(rule, Marker):
        yield rule
    else:
        for part in rule.parts:
            yield from markers(part)


def text_of(rule: Rule) -> str:
    """Write a rule so that it can be parsed again (names in quotes)."""
    if isinstance(rule, Marker):
        quote = "'" if '"' in rule.name else '"'
        return f"{quote}{rule.name}{quote}{'+' if rule.positive else '-'}"
    sign = " & " if isinstance(rule, AllOf) else " | "
    return "(" + sign.join(text_of(part) for part in rule.parts) + ")"


def holds(
    rule: Rule,
    required: Mapping[str, pd.arrays.BooleanArray],
    excluded: Mapping[str, pd.arrays.BooleanArray],
) -> pd.arrays.BooleanArray:
    """Evaluate a rule over cells.

    Parameters
    ----------
    rule
        A parsed rule.
    required
        Marker > nullable boolean array (n_cells,): positive where the marker is judged (its
        compartment); used for ``marker+``.
    excluded
        The same judged in the soma; used for ``marker-``.

    Returns
    -------
    Nullable boolean array (n_cells,), null where the answer depends on an unknown positivity.
    """
    if isinstance(rule, Marker):
        return required[rule.name] if rule.positive else ~excluded[rule.name]
    result = holds(rule.parts[0], required, excluded)
    for part in rule.parts[1:]:
        other = holds(part, required, excluded)
        result = result & other if isinstance(rule, AllOf) else result | other  # type: ignore[operator]  # (stubs lack |)
    return result


class _Parser:
    def __init__(self, text: str, names: Mapping[str, str]) -> None:
        self.source = text
        self.text = unicodedata.normalize("NFKC", text)
        self.names = {unicodedata.normalize("NFKC", key): name for key, name in names.items()}
        self.by_length = sorted(self.names, key=lambda key: (-len(key), key))
        self.at = 0
        self.depth = 0

    def parse(self) -> Rule:
        if len(self.text) > MAX_LENGTH:
            raise RecipeError(
                f"a rule of {len(self.text)} characters; at most {MAX_LENGTH} are read."
            )
        if not self.text.strip():
            raise RecipeError('the rule is empty; write e.g. "CD11c+ & PanCK-".')
        rule = self.any_of(False)
        if self.peek():
            raise self.error("expected & or | or the end")
        return rule

    def any_of(self, negated: bool) -> Rule:
        parts = [self.all_of(negated)]
        while self.take("|"):
            parts.append(self.all_of(negated))
        return _joined(parts, AllOf if negated else AnyOf)

    def all_of(self, negated: bool) -> Rule:
        parts = [self.factor(negated)]
        while self.take("&"):
            parts.append(self.factor(negated))
        return _joined(parts, AnyOf if negated else AllOf)

    def factor(self, negated: bool) -> Rule:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH}")
        self.space()
        found = self.marker()
        rule: Rule
        if found is not None:
            rule = Marker(found[0], found[1] != negated)
        elif self.take("!"):
            rule = self.factor(not negated)
        elif self.take("("):
            rule = self.any_of(negated)
            if not self.take(")"):
                raise self.error("expected )")
        else:
            raise self.unknown_marker()
        self.depth -= 1
        return rule

    def marker(self) -> tuple[str, bool] | None:
        """Take the longest known name here with a sign after which the rule can go on."""
        quote = self.text[self.at : self.at + 1]
        if quote in {'"', "'"} and quote:
            end = self.text.find(quote, self.at + 1)
            if end < 0:
                raise self.error("a quote that is not closed")
            name = self.text[self.at + 1 : end]
            if name not in self.names:
                raise self.unknown_marker(name)
            sign = self.sign_after(end + 1)
            if sign is None:
                self.at = end + 1
                raise self.error("expected + or - after the marker")
            self.at = sign[1]
            return self.names[name], sign[0]
        for key in self.by_length:
            if self.text.startswith(key, self.at):
                sign = self.sign_after(self.at + len(key))
                if sign is not None and self.can_go_on(sign[1]):
                    self.at = sign[1]
                    return self.names[key], sign[0]
        return None

    def sign_after(self, at: int) -> tuple[bool, int] | None:
        while self.text[at : at + 1].isspace():
            at += 1
        letter = self.text[at : at + 1]
        return (SIGNS[letter], at + 1) if letter in SIGNS else None

    def can_go_on(self, at: int) -> bool:
        return at == len(self.text) or self.text[at].isspace() or self.text[at] in "&|)"

    def space(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def peek(self) -> str:
        self.space()
        word = _WORD.match(self.text, self.at)
        return _WORDS[word[1].lower()] if word else self.text[self.at : self.at + 1]

    def take(self, symbol: str) -> bool:
        if self.peek() != symbol:
            return False
        word = _WORD.match(self.text, self.at)
        self.at += len(word[1]) if word else 1
        return True

    def error(self, expected: str) -> RecipeError:
        rest = self.text[self.at : self.at + 20]
        found = repr(rest) if rest else "the end"
        return RecipeError(
            f"{self.source!r}: {expected}, found {found} at character {self.at + 1}."
        )

    def unknown_marker(self, name: str | None = None) -> RecipeError:
        if name is None:
            name = re.split(r"[&|()!]|[+\-\u2212\u2013]\s*(?:$|[&|)])", self.text[self.at :])[
                0
            ].strip()
        if not name:
            return self.error("expected a marker with + or -")
        if name in self.names:
            return RecipeError(
                f"{self.source!r}: marker {name!r} needs + (required) or - (excluded) behind it,"
                f" found {name!r} alone."
            )
        near = nearest(name, self.names)
        known = ", ".join(repr(key) for key in sorted(self.names, key=str.casefold)[:20])
        return RecipeError(
            f"{self.source!r}: no channel is called {name!r} (character {self.at + 1}); "
            + (f"did you mean {near!r}?" if near else f"known channels are {known}.")
        )


def _joined(parts: list[Rule], kind: type[AllOf] | type[AnyOf]) -> Rule:
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name most like `name`, whatever the case; None when nothing is near."""
    by_key = {key.casefold(): key for key in known}
    matches = difflib.get_close_matches(name.casefold(), by_key, n=1, cutoff=0.6)
    return by_key[matches[0]] if matches else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, where there is one."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def unknown_name(name: str, known: Iterable[str], kind: str) -> str:
    """Message that no `kind` (channel, phenotype) is called `name`, with the nearest known one."""
    known = list(known)
    listing = ", ".join(map(repr, known)) or "none"
    return f"no {kind} is called {name!r}" + (suggestion(name, known) or f"; known: {listing}")
