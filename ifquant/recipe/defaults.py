"""Defaults of a recipe that depend on other sections.

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
from typing import Any, TypeVar

from ifquant.recipe.model import Compartment, Priming, Recipe, Role
from ifquant.recipe.rules import Rule, markers, parse
from ifquant.recipe.section import Section

_S = TypeVar("_S", bound=Section)
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
        _with(c, compartment=c.compartment or COMPARTMENT_BY_ROLE.get(c.role, "cell"))
        for c in recipe.channels
    )
    recipe = _with(recipe, channels=channels)
    recipe = _with(recipe, phenotypes=dict(recipe.phenotypes) or _default_phenotypes(recipe))
    nuclei = [channel.name for channel in recipe.with_role("nucleus")]
    proximity = recipe.proximity
    recipe = _with(
        recipe,
        segmentation=_with(
            recipe.segmentation, channel=recipe.segmentation.channel or next(iter(nuclei), None)
        ),
        proximity=_with(
            proximity,
            from_=proximity.from_ or _phenotype_of(recipe, "myeloid"),
            to=proximity.to or _phenotype_of(recipe, "tumor"),
        ),
        gates=_with(recipe.gates, markers={name: recipe.gate(name) for name in gated(recipe)}),
        picture=_with(recipe.picture, colors=_colors(recipe)),
    )
    recipe = _with(recipe, priming=_priming(recipe))
    values = {name: getattr(recipe, name) for name in Recipe.model_fields}
    return ResolvedRecipe.model_construct(recipe.model_fields_set, **values)


def _with(section: _S, **values: Any) -> _S:
    return section.model_copy(update=values)


def _priming(recipe: Recipe) -> Priming | None:
    options = recipe.priming
    if options is None:
        return None
    pair = (options.ligand, options.response)
    controls = tuple(
        channel.name
        for channel in recipe.with_role("nucleus", "tumor", "background")
        if channel.name not in pair
    )
    compartment = (
        recipe.channel(options.response).compartment if options.response in recipe.names else None
    )
    return _with(
        options,
        responder=options.responder or recipe.proximity.from_,
        source=options.source or recipe.proximity.to,
        response_compartment=options.response_compartment or compartment,
        controls=controls if options.controls is None else options.controls,
    )


def aliases(recipe: Recipe) -> dict[str, str]:
    """Other spelling > name, over all channels."""
    return {alias: channel.name for channel in recipe.channels for alias in channel.aliases}


def parsed_phenotypes(recipe: Recipe) -> dict[str, Rule]:
    """Phenotype > parsed rule, in order."""
    return {
        name: parse(rule, recipe.names, aliases(recipe)) for name, rule in recipe.phenotypes.items()
    }


def _default_phenotypes(recipe: Recipe) -> dict[str, str]:
    """Rules derived from the roles tumor and myeloid."""
    tumor = [_quoted(channel.name) for channel in recipe.with_role("tumor")]
    myeloid = [_quoted(channel.name) for channel in recipe.with_role("myeloid")]
    rules = {}
    if tumor:
        rules["tumor"] = " | ".join(f"{name}+" for name in tumor)
    if myeloid:
        any_myeloid = " | ".join(f"{name}+" for name in myeloid)
        if len(myeloid) > 1 and tumor:
            any_myeloid = f"({any_myeloid})"
        rules["myeloid"] = any_myeloid + "".join(f" & {name}-" for name in tumor)
    return rules


def _phenotype_of(recipe: Recipe, role: Role) -> str | None:
    """Find the phenotype called like a role, else the first whose rule requires such a channel."""
    if role in recipe.phenotypes:
        return role
    channels = {channel.name for channel in recipe.with_role(role)}
    for name, rule in parsed_phenotypes(recipe).items():
        if any(marker.positive and marker.name in channels for marker in markers(rule)):
            return name
    return None


def gated(recipe: Recipe) -> tuple[str, ...]:
    """Channels with a gate: by their role, a gate of their own, or a rule that names them."""
    named = set(recipe.gates.markers) | {
        marker.name for rule in parsed_phenotypes(recipe).values() for marker in markers(rule)
    }
    return tuple(
        c.name
        for c in recipe.channels
        if c.role in GATED_ROLES or (c.name in named and c.role != "ignore")
    )


def _colors(recipe: Recipe) -> dict[str, str]:
    """Channel > #rrggbb (or none), in the order of the recipe."""
    nucleus, tumor = recipe.with_role("nucleus"), recipe.with_role("tumor")
    shown = (*recipe.with_role("marker"), *recipe.with_role("myeloid"))
    defaults = (
        *zip(nucleus, ("gray",), strict=False),
        *zip(tumor, ("blue",), strict=False),
        *zip(shown, ("red", "green"), strict=False),
    )
    chosen = {channel.name: color for channel, color in defaults} | recipe.picture.colors
    return {name: hex_color(chosen[name]) for name in recipe.names if name in chosen}


def hex_color(color: str) -> str:
    """``#rrggbb`` of a color name; ``none`` and #rrggbb pass (in lower case)."""
    key = color.strip().lower().replace("grey", "gray")
    return COLORS.get(key, key)


def _quoted(name: str) -> str:
    """Quote a name for a rule, where it needs to be."""
    if name.replace("_", "a").isalnum():
        return name
    quote = '"' if "'" in name else "'"
    return f"{quote}{name}{quote}"


def channel_colors(recipe: Recipe) -> dict[str, str]:
    """Color of every channel that is shown (not hidden, not ignored), in the recipe's order."""
    return {
        name: color
        for name, color in _colors(recipe).items()
        if color != HIDDEN and recipe.channel(name).role != "ignore"
    }
