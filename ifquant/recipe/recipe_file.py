"""Recipes from TOML and back to plain values; all problems are reported at once."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ifquant.errors import RecipeError
from ifquant.recipe import checks
from ifquant.recipe.model import Recipe
from ifquant.recipe.overrides import apply_overrides
from ifquant.recipe.problems import explain

MAX_BYTES = 1_000_000
"""A recipe is a page of text; anything larger is another file."""
_MAX_REPAIRS = 200


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file.

    Parameters
    ----------
    path
        TOML file, UTF-8 (a byte order mark and UTF-16 with one, as PowerShell writes them, are
        understood).
    overrides
        ``section.key=value`` each, as given to ``--set``.

    Returns
    -------
    The recipe as written; `resolved` fills in defaults that depend on other sections.

    Raises
    ------
    RecipeError
        With all problems, one per line.
    """
    path = Path(path)
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no such file"
            raise RecipeError(
                f"{path}: {what}; expected a recipe. Make one with: ifquant init SLIDE >"
                f" {path.name or 'recipe.toml'}"
            )
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise RecipeError(
                f"{path}: {size:,} bytes; a recipe has at most {MAX_BYTES:,}. Is this another file?"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror or error}).") from error
    return parse_recipe(_decoded(raw, str(path)), overrides, source=str(path))


def parse_recipe(
    recipe: str | Mapping[str, Any], overrides: Sequence[str] = (), *, source: str = "recipe"
) -> Recipe:
    """Make a recipe from TOML text or from plain values (dicts, lists, numbers, text).

    Raises
    ------
    RecipeError
        With all problems, one per line: place, what was found, what was expected.
    """
    if isinstance(recipe, str):
        if len(recipe) > MAX_BYTES:
            raise RecipeError(
                f"{source}: {len(recipe):,} characters; a recipe has at most {MAX_BYTES:,}."
            )
        data = _toml(recipe, source)
    else:
        data = copy.deepcopy(dict(recipe))
    problems = apply_overrides(data, overrides)
    parsed = _validated(data, problems)
    if parsed is not None:
        problems += checks.problems(parsed)
    if problems or parsed is None:
        unique = list(dict.fromkeys(problems))
        count = f"{len(unique)} problems" if len(unique) != 1 else "1 problem"
        raise RecipeError(
            f"{source}: {count}\n" + "\n".join(f"  {_printable(problem)}" for problem in unique)
        )
    return parsed


def canonical(recipe: Recipe) -> dict[str, Any]:
    """Plain values of a recipe for digests: keys as in TOML, phenotypes as pairs in their order."""
    plain = recipe.model_dump(mode="json", by_alias=True)
    plain["phenotypes"] = [[name, rule] for name, rule in recipe.phenotypes.items()]
    return plain


def from_canonical(plain: Mapping[str, Any]) -> Recipe:
    """Read the recipe that run.json records; the inverse of `canonical`.

    Raises
    ------
    RecipeError
        If it is no recipe of this version.
    """
    values = dict(plain)
    try:
        values["phenotypes"] = dict(values.get("phenotypes", ()))
        return Recipe.model_validate(values)
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"the recorded recipe cannot be read by this version of ifquant: {error}. Run ifquant"
            " run again."
        ) from error


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of recipe.toml, for editors.

    The first line of a recipe names it: ``#:schema ifquant.schema.json``.
    """
    schema = Recipe.model_json_schema(by_alias=True, mode="validation")
    channel = schema["$defs"]["Channel"]
    channel.pop("required", None)
    channel["anyOf"] = [{"required": ["name"]}, {"required": ["index"]}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "ifquant recipe",
    }


def _printable(text: str) -> str:
    """Escape what would break a line or a terminal (names come from the user's file)."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _decoded(raw: bytes, source: str) -> str:
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise RecipeError(
            f"{source}: not UTF-8 text (line {line}, byte {raw[error.start]:#04x}); save the recipe"
            " as UTF-8."
        ) from None


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.replace("\r\n", "\n").removeprefix("\ufeff"))
    except RecursionError:
        raise RecipeError(f"{source}: nested too deeply for a recipe.") from None
    except ValueError as error:  # TOMLDecodeError, and integers of thousands of digits
        raise RecipeError(f"{source}: not valid TOML: {error}.") from None


def _validated(data: dict[str, Any], problems: list[str]) -> Recipe | None:
    """Validate; what does not fit is added to `problems`, then repaired or left out.

    So the sections can still be checked against each other. A recipe that cannot be completed (no
    usable channel, say) gives None: checks across sections would only invent problems.
    """
    data = _tuples(data)
    for _ in range(_MAX_REPAIRS):
        try:
            return Recipe.model_validate(data, strict=True)
        except ValidationError as error:
            messages, trustworthy = explain(error, data)
            problems += messages
            if not trustworthy:
                return None
    return None


def _tuples(value: Any) -> Any:
    """Copy with tuples for lists: validation is strict, and a TOML array is a tuple here."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    return value
