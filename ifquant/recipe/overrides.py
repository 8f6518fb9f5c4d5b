"""Overrides of recipe values from the command line: ``--set section.key=value``.

Keys are dotted; where a channel, marker or phenotype is named, the whole rest of the key may be its
name, dots and spaces included (``channels.CK8.18.role=tumor``, ``gates.markers.HLA-DR.value=300``),
and quotes work as in TOML. A channel is addressed by its name, an alias, or its position in the
list. Values are TOML; a word that is not TOML (``membrane``) is taken as text.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Sequence
from typing import Any

from ifquant.errors import RecipeError
from ifquant.recipe.rules import unknown_name

BY_NAME = ("cells.thresholds", "picture.colors", "phenotypes")
"""Tables whose keys are names: the rest of the dotted key is one name."""


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Change `data` (a recipe as ``tomllib`` reads it) in place; return the problems as text."""
    problems = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip() or not value.strip():
            problems.append(
                f"--set {override}: expected section.key=value, e.g. --set"
                " proximity.radii_um=[10,20]"
            )
            continue
        try:
            _assign(data, _path(data, _parts(key.strip())), _value(value.strip()))
        except RecipeError as error:
            problems.append(f"--set {override}: {error}")
    return problems


def _parts(key: str) -> list[str]:
    """Split at dots outside quotes."""
    parts, part, quote = [], "", ""
    for letter in key:
        if letter in "\"'" and (not quote or quote == letter) and (quote or not part.strip()):
            quote = "" if quote else letter
        elif letter == "." and not quote:
            parts.append(part.strip())
            part = ""
        else:
            part += letter
    if quote:
        raise RecipeError(f"a quote {quote} that is not closed")
    parts.append(part.strip())
    if not all(parts):
        raise RecipeError("an empty key between dots")
    return parts


def _value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        if text[0] in "[{\"'" or "\n" in text:
            raise RecipeError(f"{text!r} is not a TOML value ({error})") from None
        return text
    if set(value) != {"value"}:
        raise RecipeError(f"{text!r} is more than one TOML value")
    return text if isinstance(value["value"], datetime.date | datetime.time) else value["value"]


def _path(data: dict[str, Any], parts: list[str]) -> list[str | int]:
    """Keys and positions of a dotted key; parts that make up one name are joined."""
    if parts[0] == "channels" and len(parts) > 1:
        position, used = _channel(data, parts[1:])
        return ["channels", position, *parts[1 + used :]]
    for table in BY_NAME:
        head = table.split(".")
        if parts[: len(head)] == head and len(parts) > len(head):
            return [*head, ".".join(parts[len(head) :])]
    if parts[:2] == ["gates", "markers"] and len(parts) > 3:
        return ["gates", "markers", ".".join(parts[2:-1]), parts[-1]]
    return list(parts)


def _channel(data: dict[str, Any], parts: list[str]) -> tuple[int, int]:
    """Position of the channel that the first parts name, and how many parts its name takes."""
    channels = data.get("channels")
    entries = (
        [entry for entry in channels if isinstance(entry, dict)]
        if isinstance(channels, list)
        else []
    )
    names: dict[str, int] = {}
    for i, entry in enumerate(entries):
        aliases = entry.get("aliases")
        for name in (entry.get("name"), *(aliases if isinstance(aliases, list) else ())):
            if isinstance(name, str):
                names.setdefault(name, i)
    for used in range(len(parts), 0, -1):
        if (name := ".".join(parts[:used])) in names:
            return names[name], used
    if parts[0].isdecimal() and int(parts[0]) < len(entries):
        return int(parts[0]), 1
    raise RecipeError(unknown_name(parts[0], names, "channel"))


def _assign(data: dict[str, Any], path: list[str | int], value: Any) -> None:
    at: Any = data
    for i, key in enumerate(path[:-1]):
        if isinstance(key, str) and isinstance(at, dict):
            at = at.setdefault(key, {})
        elif isinstance(key, int) and isinstance(at, list):
            at = at[key]
        if not isinstance(at, dict | list):
            raise RecipeError(f"{'.'.join(map(str, path[: i + 1]))} is a value, not a section")
    last = path[-1]
    if isinstance(at, list):
        if not isinstance(last, int):
            raise RecipeError("expected channels.NAME.key=value")
        if not isinstance(value, dict):
            raise RecipeError(
                'expected a table for a whole channel, e.g. {name = "DAPI", role = "nucleus"}'
            )
        at[last] = value
    else:
        at[str(last)] = value
