"""A first recipe for a slide: channels with guessed roles, and every default as a comment."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ifquant.recipe.defaults import COLORS, resolved
from ifquant.recipe.markers_csv import MarkerName
from ifquant.recipe.model import Channel, Gate, Gates, Priming, Recipe
from ifquant.recipe.role_guess import Guess, guess_roles
from ifquant.recipe.section import INVISIBLE, name_key

_SECTION_TEXT = {
    "slide": "How files are read.",
    "tissue": "Where there is tissue. Glass costs no time and does not enter densities.",
    "segmentation": "How nuclei are found.",
    "cells": (
        "How a nucleus grows into a cell. Only nucleus, tumor and myeloid channels shape cells."
    ),
    "measure": "What is measured per cell.",
    "gates": (
        "How a marker is called positive. An automatic gate on one population is not callable:"
        " positivity stays empty."
    ),
    "phenotypes": (
        "Name = rule, in order; the first that fits counts. + required (judged in the channel's"
        " compartment),\n# - excluded (judged in the soma), & and, | or, ! not, ( )."
    ),
    "proximity": "Distances and counts between phenotypes.",
    "priming": (
        "Does the response of one cell type depend on the ligand of the cells it touches?"
        " Statistics run only with this section."
    ),
    "cohort": (
        "How slides become patients and patients a cohort (ifquant analyze, with a sample sheet)."
    ),
    "picture": "The overlay picture.",
    "outputs": "What is written beside cells.parquet.",
}
_EXAMPLES: dict[str, Any] = {
    "z": "max",
    "channel": "DAPI",
    "nuclei": "masks/{slide}_nuclei.tif",
    "cells": "masks/{slide}_cells.tif",
    "model": "/models/cpsam",
    "cell_model": "/models/cpsam",
    "from": "myeloid",
    "to": "tumor",
    "value": 300.0,
    "control_slide": "control",
    "control_region": "control",
    "responder": "myeloid",
    "source": "tumor",
    "response_compartment": "cytoplasm",
    "controls": ["DAPI", "PanCK"],
    "visit": "visit",
}
"""Shown for settings whose default is "not given"."""
_OWN_TABLES = ("colors", "markers", "default")
"""Settings of several values, which have sections of their own."""


def recipe_template(channels: Sequence[str], *, source: str | None = None) -> str:
    """Write a commented recipe.

    Parameters
    ----------
    channels
        Channel names in the order of the file (`read_markers` gives them with roles). Empty,
        repeated or unusable names are replaced and the channel is addressed by its index.
    source
        Name of the slide or marker file, mentioned in a comment.

    Returns
    -------
    TOML text that `load_recipe` reads (as soon as one channel has the role nucleus), generated from
    the fields of the recipe. Lines that begin with ``#`` directly followed by a key are settings at
    their defaults.
    """
    names, indices = _usable(channels)
    guesses = guess_roles(names)
    entries = tuple(
        Channel(name=str(name), role=guess.role, compartment=guess.compartment)
        for name, guess in zip(names, guesses, strict=True)
    )
    recipe = resolved(Recipe(channels=entries))
    lines = _head(source, guesses)
    for name, index, guess in zip(names, indices, guesses, strict=True):
        lines += _channel(name, index, guess)
    for section in ("slide", "tissue", "segmentation", "cells", "measure"):
        lines += _section(section, recipe)
    lines += _gates(recipe)
    lines += _phenotypes(recipe)
    lines += _section("proximity", recipe)
    lines += _priming(recipe)
    lines += _section("cohort", recipe)
    lines += _picture(recipe)
    lines += _section("outputs", recipe)
    return "\n".join(lines).rstrip() + "\n"


def _head(source: str | None, guesses: Sequence[Guess]) -> list[str]:
    shown = "".join(letter if letter.isprintable() else "?" for letter in source or "")
    lines = [
        f"# ifquant recipe{f' for {shown}' if shown else ''}",
        "# The roles below are GUESSED from the channel names: confirm each one before the first"
        " run.",
        "# Roles: nucleus, tumor and myeloid shape cells; marker is only measured; background ="
        " empty channel; ignore is not read.",
        "# Lines that start with # and a key show defaults; remove the # to change one.",
    ]
    if not any(guess.role == "nucleus" for guess in guesses):
        lines.append(
            '# NO nuclear stain was recognised: give one channel role = "nucleus" (the recipe is'
            " refused until then)."
        )
    return [*lines, ""]


def _channel(name: str, index: int | None, guess: Guess) -> list[str]:
    lines = ["[[channels]]", f"name = {_toml(str(name))}"]
    if index is not None:
        lines.append(f"index = {index}")
    lines.append(_aligned(f'role = "{guess.role}"', guess.why))
    if guess.compartment is not None:
        why = "guessed; where its positivity is judged"
        lines.append(_aligned(f'compartment = "{guess.compartment}"', why))
    return [*lines, ""]


def _usable(channels: Sequence[str]) -> tuple[list[MarkerName], list[int | None]]:
    """Names that a recipe accepts, and the index where the file's own name could not be taken."""
    names: list[MarkerName] = []
    indices: list[int | None] = []
    keys: set[str] = set()
    for i, channel in enumerate(channels):
        stripped = channel.strip()
        visible = "".join(
            " " if unicodedata.category(letter) in INVISIBLE else letter for letter in channel
        )
        if visible != stripped or len(stripped) > 64:
            visible = " ".join(visible.split())[:60]
        base = name = visible or f"channel_{i}"
        count = 1
        while name_key(name) in keys:
            count += 1
            name = f"{base}_{count}"
        keys.add(name_key(name))
        names.append(MarkerName(name))
        names[-1].role = getattr(channel, "role", None)
        indices.append(None if name == stripped else i)
    return names, indices


def _section(name: str, recipe: Recipe) -> list[str]:
    model: BaseModel = getattr(recipe, name)
    given = {}
    if name == "proximity":  # what the channels decide is written out, not as a comment
        pair = {"from": recipe.proximity.from_, "to": recipe.proximity.to}
        given = {key: phenotype for key, phenotype in pair.items() if phenotype is not None}
    return [f"# {_SECTION_TEXT[name]}", f"[{name}]", *_settings(type(model), given, recipe), ""]


def _settings(model: type[BaseModel], given: dict[str, str], recipe: Recipe) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key, description = field.alias or name, field.description or ""
        if key == "thresholds":
            shaping = [_key(channel.name) for channel in recipe.with_role("tumor", "myeloid")]
            example = (shaping or ["PanCK"])[0]
            yield _aligned(f"#thresholds = {{ {example} = 500 }}", description)
        elif key in given:
            yield _aligned(f"{key} = {_toml(given[key])}", description)
        elif key not in _OWN_TABLES:
            yield _aligned(f"#{key} = {_toml(_shown_default(key, field, recipe))}", description)


def _shown_default(key: str, field: FieldInfo, recipe: Recipe) -> Any:
    if field.default is not None and field.default is not PydanticUndefined:
        return field.default
    if key == "channel" and recipe.with_role("nucleus"):
        return recipe.with_role("nucleus")[0].name
    return _EXAMPLES[key]


def _gates(recipe: Recipe) -> list[str]:
    lines = [f"# {_SECTION_TEXT['gates']}", "[gates]"]
    lines += _settings(Gates, {}, recipe)
    lines += ["[gates.default]", *_settings(Gate, {}, recipe)]
    comment = "a gate of your own for one marker; one such section per marker"
    for name in list(recipe.gates.markers)[:1]:
        lines += [f"#[gates.markers.{_key(name)}]", _aligned("#value = 300.0", comment)]
    return [*lines, ""]


def _phenotypes(recipe: Recipe) -> list[str]:
    lines = [f"# {_SECTION_TEXT['phenotypes']}", "[phenotypes]"]
    if not recipe.phenotypes:
        lines += ['#tumor = "PanCK+"', '#myeloid = "CD11c+ & PanCK-"']
    rules = [f"{_key(name)} = {_toml(rule)}" for name, rule in recipe.phenotypes.items()]
    return [*lines, *rules, ""]


def _priming(recipe: Recipe) -> list[str]:
    """Write the section as comments: which marker may prime which is a question, not a guess."""
    markers = [channel.name for channel in recipe.with_role("marker")]
    pair = {
        "response": markers[1] if len(markers) > 1 else "IL1B",
        "ligand": markers[0] if markers else "TGFB1",
    }
    settings = [
        line if line.startswith("#") else f"#{line}" for line in _settings(Priming, pair, recipe)
    ]
    return [f"# {_SECTION_TEXT['priming']}", "#[priming]", *settings, ""]


def _picture(recipe: Recipe) -> list[str]:
    names = {value: key for key, value in COLORS.items()}
    field = type(recipe.picture).model_fields["colors"]
    lines = [*_section("picture", recipe)[:-1], f"# {field.description}", "[picture.colors]"]
    colors = [
        f"#{_key(name)} = {_toml(names.get(color, color))}"
        for name, color in recipe.picture.colors.items()
    ]
    return [*lines, *colors, ""]


def _aligned(setting: str, comment: str) -> str:
    return f"{setting:<36} # {comment}" if comment else setting


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f"{value:_}" if isinstance(value, int) and abs(value) >= 10_000 else repr(value)
