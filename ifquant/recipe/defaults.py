"""Fill in every default of a recipe that depends on other sections, so that nothing downstream
guesses.

- compartment by role: tumor > cytoplasm, nucleus > nucleus, everything else > cell;
- segmentation.channel: the nucleus channel;
- phenotypes: tumor = any tumor channel positive; myeloid = any myeloid channel positive and no
  tumor channel positive (each only where the recipe has such a channel); names ``tumor`` and
  ``myeloid``, in this order;
- proximity.from: the phenotype called myeloid, else the first that requires a myeloid channel;
  proximity.to likewise with tumor;
- priming (where it is given): responder and source from [proximity], the response's compartment
  from its channel, controls from the roles;
- gates.markers: one entry per gated channel;
- picture.colors: nucleus gray, tumor blue, the first two markers red and green; myeloid channels
  take what these two leave (the outlines show the phenotype). Further channels are shown only when
  the recipe gives them a color. Names become #rrggbb, ``none`` stays.

`resolved` is idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ifquant.recipe.model import Compartment, Priming, Recipe, Role
from ifquant.recipe.rules import Rule, markers, parse

COMPARTMENT_BY_ROLE: dict[Role, Compartment] = {"tumor": "cytoplasm", "nucleus": "nucleus"}
GATED_ROLES: tuple[Role, ...] = ("tumor", "myeloid", "marker")
COLORS = {
    "gray": "#b4b4b4",
    "white": "#ffffff",
    "red": "#ff3020",
    "green": "#35e06a",
    "blue": "#2450f0",
    "cyan": "#00ffff",
    "magenta": "#ff00ff",
    "yellow": "#ffff00",
    "orange": "#ff8000",
    "violet": "#8000ff",
    "pink": "#ff80c0",
    "lime": "#b0ff00",
}
"""Names a channel's color may have; the ones fluorescence pictures use."""
HIDDEN = "none"


class ResolvedRecipe(Recipe):
    """A recipe with all dependent defaults filled in: what everything after `resolved` works with.

    A copy with changed values is a plain `Recipe` again.
    """

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Recipe:  # type: ignore[override]
        """Copy to a plain recipe, to be resolved again."""
        return _plain(self).model_copy(update=update, deep=deep)


def _plain(recipe: Recipe) -> Recipe:
    values = {name: getattr(recipe, name) for name in Recipe.model_fields}
    return Recipe.model_construct(recipe.model_fields_set, **values)


def resolved(recipe: Recipe) -> ResolvedRecipe:
    """Return the recipe with all dependent defaults filled in; see the module's text for the
    rules.
    """
    if isinstance(recipe, ResolvedRecipe):
        return recipe
    channels = tuple(
        channel.model_copy(
            update={
                "compartment": channel.compartment or COMPARTMENT_BY_ROLE.get(channel.role, "cell")
            }
        )
        for channel in recipe.channels
    )
    recipe = recipe.model_copy(update={"channels": channels})
    recipe = recipe.model_copy(
        update={"phenotypes": dict(recipe.phenotypes) or default_phenotypes(recipe)}
    )
    segmentation = recipe.segmentation
    if segmentation.channel is None and (nuclei := recipe.with_role("nucleus")):
        segmentation = segmentation.model_copy(update={"channel": nuclei[0].name})
    proximity = recipe.proximity.model_copy(
        update={
            "from_": recipe.proximity.from_ or phenotype_of(recipe, "myeloid"),
            "to": recipe.proximity.to or phenotype_of(recipe, "tumor"),
        }
    )
    gates = recipe.gates.model_copy(
        update={"markers": {name: recipe.gate(name) for name in gated(recipe)}}
    )
    picture = recipe.picture.model_copy(update={"colors": colors(recipe)})
    recipe = recipe.model_copy(
        update={
            "segmentation": segmentation,
            "proximity": proximity,
            "gates": gates,
            "picture": picture,
        }
    )
    recipe = recipe.model_copy(update={"priming": _priming(recipe)})
    values = {name: getattr(recipe, name) for name in Recipe.model_fields}
    return ResolvedRecipe.model_construct(recipe.model_fields_set, **values)


def _priming(recipe: Recipe) -> Priming | None:
    options = recipe.priming
    if options is None:
        return None
    controls = tuple(
        c.name
        for c in recipe.with_role("nucleus", "tumor", "background")
        if c.name not in (options.ligand, options.response)
    )
    compartment = (
        recipe.channel(options.response).compartment if options.response in recipe.names else None
    )
    return options.model_copy(
        update={
            "responder": options.responder or recipe.proximity.from_,
            "source": options.source or recipe.proximity.to,
            "response_compartment": options.response_compartment or compartment,
            "controls": controls if options.controls is None else options.controls,
        }
    )


def aliases(recipe: Recipe) -> dict[str, str]:
    """Other spelling > name, over all channels."""
    return {alias: channel.name for channel in recipe.channels for alias in channel.aliases}


def parsed_phenotypes(recipe: Recipe) -> dict[str, Rule]:
    """Phenotype > parsed rule, in order."""
    return {
        name: parse(rule, recipe.names, aliases(recipe)) for name, rule in recipe.phenotypes.items()
    }


def default_phenotypes(recipe: Recipe) -> dict[str, str]:
    """Rules derived from the roles tumor and myeloid."""
    tumor = [_quoted(channel.name) for channel in recipe.with_role("tumor")]
    myeloid = [_quoted(channel.name) for channel in recipe.with_role("myeloid")]
    rules = {}
    if tumor:
        rules["tumor"] = " | ".join(f"{name}+" for name in tumor)
    if myeloid:
        any_myeloid = " | ".join(f"{name}+" for name in myeloid)
        no_tumor = "".join(f" & {name}-" for name in tumor)
        rules["myeloid"] = (
            f"({any_myeloid}){no_tumor}" if len(myeloid) > 1 and tumor else any_myeloid + no_tumor
        )
    return rules


def phenotype_of(recipe: Recipe, role: Role) -> str | None:
    """Find the phenotype that stands for a role: the one called like it, else the first whose rule
    requires a channel of that role.
    """
    if role in recipe.phenotypes:
        return role
    wanted = {channel.name for channel in recipe.with_role(role)}
    for name, rule in parsed_phenotypes(recipe).items():
        if any(marker.positive and marker.name in wanted for marker in markers(rule)):
            return name
    return None


def gated(recipe: Recipe) -> tuple[str, ...]:
    """Markers that get a gate: tumor, myeloid and marker channels, channels with a gate of their
    own, and those that rules name.
    """
    named = set(recipe.gates.markers) | {
        marker.name for rule in parsed_phenotypes(recipe).values() for marker in markers(rule)
    }
    return tuple(
        c.name
        for c in recipe.channels
        if c.role in GATED_ROLES or (c.name in named and c.role != "ignore")
    )


def colors(recipe: Recipe) -> dict[str, str]:
    """Channel > #rrggbb (or none), in the order of the recipe."""
    free = ["red", "green"]
    defaults: dict[str, str] = {}
    for role, fixed in (("nucleus", "gray"), ("tumor", "blue")):
        for channel in recipe.with_role(role)[:1]:  # type: ignore[arg-type]
            defaults[channel.name] = fixed
    for channel in (*recipe.with_role("marker"), *recipe.with_role("myeloid")):
        if free:
            defaults[channel.name] = free.pop(0)
    chosen = {**defaults, **recipe.picture.colors}
    return {name: hex_color(chosen[name]) for name in recipe.names if name in chosen}


def hex_color(color: str) -> str:
    """``#rrggbb`` of a color name; ``none`` and #rrggbb pass (in lower case)."""
    key = color.strip().lower().replace("grey", "gray")
    return COLORS.get(key, key)


def _quoted(name: str) -> str:
    """Write a name as it can stand in a rule: quoted only where it needs to be."""
    if name.replace("_", "a").isalnum():
        return name
    quote = '"' if "'" in name else "'"
    return f"{quote}{name}{quote}"


def channel_colors(recipe: Recipe) -> dict[str, str]:
    """Color of every channel that is shown, by name, in the recipe's order (`colors`; ``none``
    hides a channel).
    """
    ignored = {channel.name for channel in recipe.channels if channel.role == "ignore"}
    return {
        name: color
        for name, color in colors(recipe).items()
        if color != HIDDEN and name not in ignored
    }
