"""Turn validation errors of a recipe into lines a user can act on, and repair the data so that
later checks still make sense.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ifquant.recipe.model import Recipe
from ifquant.recipe.rules import nearest

_TYPES = {
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
}


def explain(error: ValidationError, data: dict[str, Any]) -> tuple[list[str], bool]:
    """Messages for all problems found, and repair `data` in place.

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
        messages.append(f"{place_text(place)}: {_message(place, group, data)}")
        trustworthy &= _repair(place, group, data)
    return messages, trustworthy


def place_text(place: tuple[str | int, ...]) -> str:
    """``("channels", 2, "role")`` > ``channels[2].role``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text or "recipe"


def known_keys(model: type[BaseModel]) -> list[str]:
    """Keys a section may have, as written in TOML."""
    return [field.alias or name for name, field in model.model_fields.items()]


def all_places() -> Iterator[tuple[str, str]]:
    """Every key of every section with its full place, for hints at keys that stand in the wrong
    section.
    """
    for name, field in Recipe.model_fields.items():
        yield name, f"[{name}]"
        for model in _models(field.annotation):
            title = f"[[{name}]]" if name == "channels" else f"[{name}]"
            for key in known_keys(model):
                yield key, f"{title} {key}"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _by_place(
    error: ValidationError, data: dict[str, Any]
) -> dict[tuple[str | int, ...], list[ErrorDetails]]:
    """Group errors by the deepest place that exists in the data (unions add names of their branches
    to it).
    """
    groups: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for item in error.errors(include_url=False):
        place: list[str | int] = []
        at: Any = data
        for i, part in enumerate(item["loc"]):
            inside = (
                part in at
                if isinstance(at, dict)
                else isinstance(at, tuple) and isinstance(part, int) and part < len(at)
            )
            if inside:
                at = at[part]
            elif item["type"] == "missing" and i == len(item["loc"]) - 1:
                pass
            else:
                break
            place.append(part)
        groups.setdefault(tuple(place), []).append(item)
    return groups


def _message(place: tuple[str | int, ...], group: list[ErrorDetails], data: dict[str, Any]) -> str:
    first = group[0]
    kind, value, context = first["type"], first["input"], first.get("ctx", {})
    if first["loc"][-1:] == ("[key]",):
        return f"not a usable name: {_plain(first)}"
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if kind == "missing":
        return _missing(place)
    choices = [
        choice for item in group if item["type"] == "literal_error" for choice in _choices(item)
    ]
    if choices:
        near = nearest(value, choices) if isinstance(value, str) else None
        more = " or a whole number" if any(item["type"].startswith("int") for item in group) else ""
        return f"found {_shown(value)}, expected one of {', '.join(choices)}{more}" + (
            f"; did you mean {near!r}?" if near else ""
        )
    if kind in _TYPES:
        hint = ""
        if kind == "tuple_type" and place == ("channels",) and isinstance(value, dict):
            return (
                "found a single section, expected a list of channels: write [[channels]] with two"
                " brackets"
            )
        if isinstance(value, str) and kind in {"float_type", "int_type", "bool_type"}:
            hint = "; write it without quotes"
        return f"found {_shown(value)}, expected {_TYPES[kind]}{hint}"
    if kind == "too_short":
        return "found none, expected at least one"
    bounds = {
        "greater_than": "above {gt}",
        "greater_than_equal": "at least {ge}",
        "less_than": "below {lt}",
        "less_than_equal": "at most {le}",
    }
    if kind in bounds:
        return f"found {_shown(value)}, expected a number {bounds[kind].format(**context)}"
    if kind == "string_too_short":
        return "found empty text, expected at least 1 character"
    if kind == "string_too_long":
        return f"found {len(value)} characters, expected at most {context['max_length']}"
    return f"found {_shown(value)}, {_plain(first)}"


def _plain(item: ErrorDetails) -> str:
    return item["msg"].removeprefix("Value error, ")


def _choices(item: ErrorDetails) -> list[str]:
    return [
        part.strip().strip("'")
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


def _section(place: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Find the model of the section a key stands in."""
    model: type[BaseModel] | None = Recipe
    for part in place[:-1]:
        if isinstance(part, int) or model is None:
            continue
        field = next(
            (f for name, f in model.model_fields.items() if (f.alias or name) == part), None
        )
        if field is not None:
            model = next(_models(field.annotation), None)
    return model


def _near_key(place: tuple[str | int, ...]) -> str | None:
    model = _section(place)
    return nearest(str(place[-1]), known_keys(model)) if model is not None else None


def _unknown_key(place: tuple[str | int, ...]) -> str:
    key = str(place[-1])
    elsewhere = [text for name, text in all_places() if name == key]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere)}?"
    near = _near_key(place)
    if near is not None:
        return f"unknown key; did you mean {near!r}?"
    far = nearest(key, [name for name, _ in all_places()])
    model = _section(place)
    known = f"known keys here: {', '.join(known_keys(model))}" if model is not None else ""
    if far:
        return (
            f"unknown key; did you mean {next(text for name, text in all_places() if name == far)}?"
            f" ({known})"
        )
    return f"unknown key; {known}"


def _missing(place: tuple[str | int, ...]) -> str:
    if place == ("channels",):
        return (
            'missing; a recipe lists its channels: [[channels]] name = "DAPI" role = "nucleus"'
            " (ifquant init SLIDE writes it)"
        )
    if place and place[-1] == "name":
        return 'missing; each channel has name = "..." as in the file (or index = N)'
    return "missing"


def _repair(place: tuple[str | int, ...], group: list[ErrorDetails], data: dict[str, Any]) -> bool:
    """Repair or drop the value at `place`; False when later checks would be misled."""
    first = group[0]
    if not place or first["type"] == "missing":
        return False
    parent: Any = data
    for part in place[:-1]:
        if isinstance(parent, dict) and part not in parent:
            return False  # already left out with a part that holds it
        parent = parent[part]
    key = place[-1]
    if not isinstance(parent, dict):  # an element of a list: drop the whole list
        return _repair(place[:-1], [{**first, "type": "list_item"}], data)
    if key not in parent:
        return False
    value = parent.pop(key)
    if first["type"] == "extra_forbidden":
        near = None if any(name == key for name, _ in all_places()) else _near_key(place)
        if near is not None and near not in parent:
            parent[near] = value
    elif isinstance(value, str):
        choices = [
            choice for item in group if item["type"] == "literal_error" for choice in _choices(item)
        ]
        near = nearest(value, choices)
        if near is not None:
            parent[key] = near
        elif key == "role":
            return False
    return place[0] != "channels" or (len(place) > 2 and key != "name")
