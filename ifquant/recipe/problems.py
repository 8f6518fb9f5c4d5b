"""Validation errors of a recipe as lines a user can act on, and repairs for the checks after them.

pydantic finds the errors; the nearest key, the section where a key belongs, and what is left for
the checks across sections come from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ifquant.recipe.model import Recipe
from ifquant.recipe.rules import nearest, suggestion

Place = tuple[str | int, ...]
"""Keys and positions from the top of the recipe, e.g. ``("channels", 2, "role")``."""
_EXPECTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list in [ ]",
    "dict_type": "a section of names and values",
    "model_type": "a section",
    "model_attributes_type": "a section",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number at most {le}",
}
"""pydantic's type of an error > what was expected, with pydantic's limits."""


def explain(error: ValidationError, data: dict[str, Any]) -> tuple[list[str], bool]:
    """Describe all problems, and repair `data` in place.

    A misspelled key or choice becomes the nearest known one, anything else that does not fit is
    left out.

    Returns
    -------
    messages
        One line per problem: ``place: found ..., expected ...; did you mean ...?``
    trustworthy
        False when what is left cannot be judged further (a channel was lost, or nothing could be
        repaired).
    """
    messages: list[str] = []
    trustworthy = True
    for place, group in _by_place(error, data).items():
        messages.append(f"{_place_text(place)}: {_message(place, group)}")
        trustworthy &= _repair(place, group, data)
    return messages, trustworthy


def _place_text(place: Place) -> str:
    """``("channels", 2, "role")`` > ``channels[2].role``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".") or "recipe"


def _by_place(error: ValidationError, data: dict[str, Any]) -> dict[Place, list[ErrorDetails]]:
    """Group errors by the deepest place of the data (unions add names of their branches to it)."""
    groups: dict[Place, list[ErrorDetails]] = {}
    for item in error.errors(include_url=False):
        location = item["loc"]
        at: Any = data
        depth = 0
        for part in location:
            is_key = isinstance(at, dict) and part in at
            if not is_key and not (isinstance(at, tuple) and part in range(len(at))):
                break
            at = at[part]
            depth += 1
        if item["type"] == "missing" and depth == len(location) - 1:
            depth += 1
        groups.setdefault(location[:depth], []).append(item)
    return groups


def _message(place: Place, group: Sequence[ErrorDetails]) -> str:
    first = group[0]
    kind, value, limits = first["type"], first["input"], first.get("ctx", {})
    reason = first["msg"].removeprefix("Value error, ")
    if first["loc"][-1:] == ("[key]",):
        return f"not a usable name: {reason}"
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if kind == "missing":
        return _missing(place)
    if choices := _choices(group):
        more = " or a whole number" if any(item["type"].startswith("int") for item in group) else ""
        near = suggestion(value, choices) if isinstance(value, str) else ""
        return f"found {_shown(value)}, expected one of {', '.join(choices)}{more}{near}"
    if kind == "tuple_type" and place == ("channels",) and isinstance(value, dict):
        return (
            "found a single section, expected a list of channels: write [[channels]] with two"
            " brackets"
        )
    if kind in _EXPECTED:
        is_quoted = isinstance(value, str) and kind in ("float_type", "int_type", "bool_type")
        hint = "; write it without quotes" if is_quoted else ""
        return f"found {_shown(value)}, expected {_EXPECTED[kind].format(**limits)}{hint}"
    if kind == "too_short":
        return "found none, expected at least one"
    if kind == "string_too_short":
        return "found empty text, expected at least 1 character"
    if kind == "string_too_long":
        return f"found {len(value)} characters, expected at most {limits['max_length']}"
    return f"found {_shown(value)}, {reason}"


def _choices(group: Sequence[ErrorDetails]) -> list[str]:
    """Words that would have been right, from pydantic's ``'a', 'b' or 'c'``."""
    return [
        part.strip().strip("'")
        for item in group
        if item["type"] == "literal_error"
        for part in item.get("ctx", {}).get("expected", "").replace(" or ", ", ").split(",")
    ]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "a list"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown_key(place: Place) -> str:
    key, places = str(place[-1]), _places_by_key()
    if key in places:
        return f"unknown key here; did you mean {' or '.join(places[key])}?"
    known = _keys(_section(place))
    if near := nearest(key, known):
        return f"unknown key; did you mean {near!r}?"
    listing = f"known keys here: {', '.join(known)}"
    if far := nearest(key, places):
        return f"unknown key; did you mean {places[far][0]}? ({listing})"
    return f"unknown key; {listing}"


def _missing(place: Place) -> str:
    if place == ("channels",):
        return (
            'missing; a recipe lists its channels: [[channels]] name = "DAPI" role = "nucleus"'
            " (ifquant init SLIDE writes it)"
        )
    if place and place[-1] == "name":
        return 'missing; each channel has name = "..." as in the file (or index = N)'
    return "missing"


def _keys(model: type[BaseModel]) -> list[str]:
    """Keys a section may have, as written in TOML."""
    return [field.alias or name for name, field in model.model_fields.items()]


@cache
def _places_by_key() -> dict[str, list[str]]:
    """Every key of every section > its full places, for keys that stand in the wrong section."""
    places: dict[str, list[str]] = {}
    for name, field in Recipe.model_fields.items():
        places.setdefault(name, []).append(f"[{name}]")
        title = f"[[{name}]]" if name == "channels" else f"[{name}]"
        for model in _models(field.annotation):
            for key in _keys(model):
                places.setdefault(key, []).append(f"{title} {key}")
    return places


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _section(place: Place) -> type[BaseModel]:
    """Find the model of the section a key stands in."""
    model: type[BaseModel] = Recipe
    for part in place[:-1]:
        for name, field in model.model_fields.items():
            if (field.alias or name) == part:
                model = next(_models(field.annotation), model)
                break
    return model


def _repair(place: Place, group: Sequence[ErrorDetails], data: dict[str, Any]) -> bool:
    """Repair or drop the value at `place`; False when later checks would be misled."""
    kind = group[0]["type"]
    if not place or kind == "missing":
        return False
    parent: Any = data
    for part in place[:-1]:
        if isinstance(parent, dict) and part not in parent:
            return False  # already left out with a part that holds it
        parent = parent[part]
    key = place[-1]
    if not isinstance(parent, dict):  # an element of a list: drop the whole list
        return _repair(place[:-1], [{**group[0], "type": "list_item"}], data)
    if key not in parent:
        return False
    value = parent.pop(key)
    if kind == "extra_forbidden":
        is_known = key in _places_by_key()
        near = None if is_known else nearest(str(key), _keys(_section(place)))
        if near is not None and near not in parent:
            parent[near] = value
    elif isinstance(value, str):
        near = nearest(value, _choices(group))
        if near is not None:
            parent[key] = near
        elif key == "role":
            return False
    return place[0] != "channels" or (len(place) > 2 and key != "name")
