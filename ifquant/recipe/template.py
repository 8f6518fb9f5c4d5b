"""A first recipe for a slide: its channels, a guess of each role to be confirmed, and every setting
with its default as a comment.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ifquant.recipe.defaults import COLORS, resolved
from ifquant.recipe.markers_csv import read_markers
from ifquant.recipe.model import Channel, Compartment, Gate, Priming, Recipe, Role, name_key

__all__ = ["Guess", "guess_roles", "read_markers", "recipe_template"]

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


@dataclass(frozen=True)
class Guess:
    """What a channel's name suggests: its role, why, and a compartment where it is not the role's
    default.
    """

    role: Role
    why: str
    compartment: Compartment | None = None


def guess_roles(names: Sequence[str]) -> list[Guess]:
    """Guess the role of each channel from its name; a role a marker file gave (`MarkerName.role`)
    is kept.

    Only the first channel that looks like nucleus, tumor or myeloid gets that role: further nuclear
    stains (later cycles) are ignored, further tumor and myeloid stains stay markers.
    """
    guesses: list[Guess] = []
    taken: dict[str, str] = {}
    for name in names:
        given = getattr(name, "role", None)
        compartment = _first(name, COMPARTMENTS)
        role = _first(name, PATTERNS)
        if given is not None:
            guesses.append(Guess(given, "as in the marker file"))
        elif role is None:
            guesses.append(
                Guess(
                    "marker",
                    "not recognised" if compartment is None else "known marker",
                    compartment,
                )
            )
        elif role == "background":
            guesses.append(Guess("background", "looks like an empty or autofluorescence channel"))
        elif role in taken:
            first = taken[role]
            if role == "nucleus":
                guesses.append(Guess("ignore", f"another nuclear stain; {first!r} is used"))
            else:
                guesses.append(
                    Guess(
                        "marker",
                        f"looks like a {role} stain too; {first!r} has the role",
                        compartment,
                    )
                )
        else:
            taken[role] = name
            what = {
                "nucleus": "a nuclear stain",
                "tumor": "a tumor (epithelial) stain",
                "myeloid": "a myeloid stain",
            }[role]
            guesses.append(
                Guess(role, f"looks like {what}", compartment if role != "nucleus" else None)
            )
    return guesses


def recipe_template(
    channels: Sequence[str], pixel_size_um: float | None = None, *, source: str | None = None
) -> str:
    """Write a commented recipe.

    Parameters
    ----------
    channels
        Channel names in the order of the file (`read_markers` gives them with roles). Empty,
        repeated or unusable names are replaced and the channel is addressed by its index.
    pixel_size_um
        Pixel size of the slide, mentioned in a comment.
    source
        Name of the slide or marker file, mentioned in a comment.

    Returns
    -------
    TOML text that `load_recipe` reads (as soon as one channel has the role nucleus), generated from
    the fields of the recipe. Lines that begin with ``#`` directly followed by a key are settings at
    their defaults.
    """
    names, indices = _usable(channels)
    guesses = guess_roles(
        [_keep_role(name, old) for name, old in zip(names, channels, strict=True)]
    )
    entries = tuple(
        Channel(name=str(name), role=guess.role, compartment=guess.compartment)
        for name, guess in zip(names, guesses, strict=True)
    )
    recipe = resolved(Recipe(channels=entries))
    of_slide = f" for {_comment(source)}" if source else ""
    of_size = f", {pixel_size_um:.4g} um per pixel" if pixel_size_um else ""
    lines = [
        f"# ifquant recipe{of_slide}{of_size}",
        (
            "# The roles below are GUESSED from the channel names: confirm each one before the"
            " first run."
        ),
        (
            "# Roles: nucleus, tumor and myeloid shape cells; marker is only measured; background ="
            " empty channel; ignore is not read."
        ),
        "# Lines that start with # and a key show defaults; remove the # to change one.",
        "",
    ]
    if not any(guess.role == "nucleus" for guess in guesses):
        lines[4:4] = [
            '# NO nuclear stain was recognised: give one channel role = "nucleus" (the recipe is'
            " refused until then)."
        ]
    for name, index, guess in zip(names, indices, guesses, strict=True):
        lines += ["[[channels]]", f"name = {_toml(str(name))}"]
        if index is not None:
            lines.append(f"index = {index}")
        lines.append(_aligned(f'role = "{guess.role}"', guess.why))
        if guess.compartment is not None:
            lines.append(
                _aligned(
                    f'compartment = "{guess.compartment}"',
                    "guessed; where its positivity is judged",
                )
            )
        lines.append("")
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


def _first(name: str, patterns: Sequence[tuple[Any, str]]) -> Any:
    words = _words(name)
    grams = {"".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)} | {
        "".join(words)
    }
    for what, pattern in patterns:
        whole = {"".join(words)} if what == "background" else grams
        if any(re.fullmatch(pattern, gram) for gram in whole):
            return what
    return None


def _words(name: str) -> list[str]:
    text = _DYES.sub(" ", unicodedata.normalize("NFKC", name).casefold().replace("_", " "))
    words = re.findall(r"[^\W_]+", text.translate(_GREEK))
    return [_SPELLED.get(word, word) for word in words]


def _usable(channels: Sequence[str]) -> tuple[list[str], list[int | None]]:
    """Names that a recipe accepts, and the index where the file's own name could not be taken."""
    names: list[str] = []
    indices: list[int | None] = []
    keys: set[str] = set()
    for i, old in enumerate(channels):
        visible = "".join(
            c if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} else " " for c in old
        )
        base = name = (
            " ".join(visible.split())[:60]
            if visible != old.strip() or len(old.strip()) > 64
            else old.strip()
        )
        if not base:
            base = name = f"channel_{i}"
        count = 1
        while name_key(name) in keys:
            count += 1
            name = f"{base}_{count}"
        keys.add(name_key(name))
        names.append(name)
        indices.append(None if name == old.strip() else i)
    return names, indices


def _keep_role(name: str, old: str) -> str:
    if name == old or getattr(old, "role", None) is None:
        return old if name == old else name
    kept = type(old)(name)
    kept.role = old.role  # type: ignore[attr-defined]
    return kept


def _section(name: str, recipe: Recipe) -> list[str]:
    model: BaseModel = getattr(recipe, name)
    return [
        f"# {_SECTION_TEXT[name]}",
        f"[{name}]",
        *_settings(type(model), given=_given(name, model), recipe=recipe),
        "",
    ]


def _given(name: str, model: BaseModel) -> dict[str, Any]:
    """Pick the settings of a section that depend on the channels: written out, not as comments."""
    plain = model.model_dump(by_alias=True)
    keys = {"proximity": ("from", "to")}.get(name, ())
    return {key: plain[key] for key in keys if plain[key] is not None}


def _settings(model: type[BaseModel], given: dict[str, Any], recipe: Recipe) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key in ("colors", "thresholds", "markers", "default") and field.default in (
            {},
            PydanticUndefined,
        ):
            if key == "thresholds":
                shaping = recipe.with_role("tumor", "myeloid")
                example = (
                    ", ".join(f"{_key(channel.name)} = 500" for channel in shaping[:1])
                    or "PanCK = 500"
                )
                yield _aligned(f"#thresholds = {{ {example} }}", field.description or "")
            continue
        if key in given:
            yield _aligned(f"{key} = {_toml(given[key])}", field.description or "")
        else:
            yield _aligned(
                f"#{key} = {_toml(_shown_default(key, field, recipe))}", field.description or ""
            )


def _shown_default(key: str, field: FieldInfo, recipe: Recipe) -> Any:
    if field.default is not None:
        return field.default
    if key == "channel" and recipe.with_role("nucleus"):
        return recipe.with_role("nucleus")[0].name
    return _EXAMPLES[key]


def _gates(recipe: Recipe) -> list[str]:
    lines = [f"# {_SECTION_TEXT['gates']}", "[gates]"]
    lines += list(_settings(type(recipe.gates), {}, recipe))
    lines += ["[gates.default]", *_settings(Gate, {}, recipe)]
    for name in list(recipe.gates.markers)[:1]:
        lines += [
            f"#[gates.markers.{_key(name)}]",
            _aligned(
                "#value = 300.0", "a gate of your own for one marker; one such section per marker"
            ),
        ]
    return [*lines, ""]


def _phenotypes(recipe: Recipe) -> list[str]:
    lines = [f"# {_SECTION_TEXT['phenotypes']}", "[phenotypes]"]
    if not recipe.phenotypes:
        lines += ['#tumor = "PanCK+"', '#myeloid = "CD11c+ & PanCK-"']
    return [
        *lines,
        *(f"{_key(name)} = {_toml(rule)}" for name, rule in recipe.phenotypes.items()),
        "",
    ]


def _priming(recipe: Recipe) -> list[str]:
    """Write the section as comments: which marker may prime which is a question, not a guess from
    names.
    """
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
    for channel in recipe.channels:
        color = recipe.picture.colors.get(channel.name)
        if color is not None:
            lines.append(f"#{_key(channel.name)} = {_toml(names.get(color, color))}")
    return [*lines, ""]


def _aligned(setting: str, comment: str) -> str:
    return f"{setting:<36} # {comment}" if comment else setting


def _comment(text: str) -> str:
    """Text that stays within one comment line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


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
