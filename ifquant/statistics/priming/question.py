"""Which columns answer the question of a recipe: roles, markers, covariates and controls.

Nothing here knows TGFb or IL1b: any pair of channels and phenotypes that ``[priming]`` names works
alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ifquant.errors import RequestError
from ifquant.recipe.defaults import ResolvedRecipe, parsed_phenotypes
from ifquant.recipe.model import Priming, Role
from ifquant.recipe.rules import Rule, markers, parse
from ifquant.recipe.table_mapping import TableMapping


@dataclass(frozen=True)
class Background:
    """Level of a channel without stain, its spread, and their source; in units of the table."""

    level: float
    sd: float
    origin: str


@dataclass(frozen=True)
class Control:
    """A negative control: a channel (`column` of the sources) taken as ligand, which it is not."""

    marker: str
    column: str


@dataclass(frozen=True)
class Question:
    """The question of one recipe, as columns of a cell table.

    Attributes
    ----------
    responder, source
        Phenotypes.
    response, ligand
        Markers.
    response_column, ligand_column
        Where they are measured (ligand: in the source cells).
    own_ligand_column
        The ligand in the responders, in the response's own compartment: what bleeds through or
        spills over arrives there too.
    source_covariates
        Columns of the source cells that are held constant (cytokeratin).
    fields
        Marker > column of the channels whose local level is held constant (nucleus, tumor and
        background channels).
    controls
        Negative controls.
    empty
        Those of the fields that hold no stain (role background): the responders' own value is held
        constant too.
    refusal
        Why this question cannot be asked of this panel; "" when it can.
    cautions
        Rules that choose cells by a tested channel without making the question circular.
    """

    responder: str
    response: str
    source: str
    ligand: str
    response_column: str
    ligand_column: str
    own_ligand_column: str
    source_covariates: tuple[str, ...]
    fields: Mapping[str, str]
    controls: tuple[Control, ...]
    empty: tuple[str, ...] = ()
    refusal: str = ""
    cautions: tuple[str, ...] = ()


def question_of(recipe: ResolvedRecipe) -> tuple[Question, Priming]:
    """Return the question a recipe asks, and the resolved options.

    Raises
    ------
    RequestError
        If the recipe has no section [priming], or no responder or source can be told.
    """
    options = recipe.priming
    if options is None:
        raise RequestError(
            'the recipe has no section [priming]; add one, e.g. [priming] response = "IL1B", ligand'
            ' = "TGFB1".'
        )
    if options.responder is None or options.source is None:
        raise RequestError(
            "[priming] needs responder and source: name two phenotypes there, or from and to in"
            " [proximity]."
        )
    place = options.response_compartment or "cell"

    def column(name: str, compartment: str | None = None) -> str:
        return f"{name}_{compartment or recipe.channel(name).compartment}_mean"

    def others(*roles: Role) -> list[str]:
        names = [channel.name for channel in recipe.with_role(*roles)]
        return [name for name in names if name not in (options.response, options.ligand)]

    question = Question(
        responder=options.responder,
        response=options.response,
        source=options.source,
        ligand=options.ligand,
        response_column=column(options.response, place),
        ligand_column=column(options.ligand, options.ligand_compartment),
        own_ligand_column=column(options.ligand, place),
        source_covariates=tuple(column(name) for name in others("tumor")),
        fields={name: column(name) for name in others("nucleus", "tumor", "background")},
        controls=tuple(Control(name, column(name)) for name in options.controls or ()),
        empty=tuple(others("background")),
        refusal=circularity(recipe, options),
        cautions=_cautions(recipe, options),
    )
    return question, options


def circularity(recipe: ResolvedRecipe, options: Priming) -> str:
    """Reason why the question is circular, else "".

    The rule that makes a cell a responder (or source) then names what is measured in it.
    """
    texts, rules = _rules(recipe)
    if recipe.table is not None and (why := _circular_names(recipe.table, options)):
        return why
    if _is_named(options.response, options.responder, rules):
        responder, response = options.responder, options.response
        return (
            f"the responders ({responder} = {texts[str(responder)]}) are defined by the response"
            f" {response} itself: cells without it are not seen, so its dependence on"
            f" {options.ligand} cannot be tested. Such slides support proximity,"
            f" {options.ligand} on {options.source} cells and a description of {response}; the"
            f" test needs a marker of {responder} cells that is neither."
        )
    if _is_named(options.ligand, options.source, rules):
        source, ligand = options.source, options.ligand
        return (
            f"the sources ({source} = {texts[str(source)]}) are defined by the ligand {ligand}"
            " itself: sources without it are not seen, so there is nothing to compare. Define"
            f" {source} by another marker."
        )
    return ""


def _is_named(marker: str, phenotype: str | None, rules: Mapping[str, Rule]) -> bool:
    """Whether the rule of a phenotype names a marker."""
    return phenotype in rules and any(one.name == marker for one in markers(rules[str(phenotype)]))


def _rules(recipe: ResolvedRecipe) -> tuple[dict[str, str], dict[str, Rule]]:
    """Rules of phenotypes as text and parsed; those of a foreign table replace the panel's."""
    texts, rules = dict(recipe.phenotypes), dict(parsed_phenotypes(recipe))
    if recipe.table is not None:
        known = [*(channel.name for channel in recipe.channels), *recipe.table.markers]
        texts |= recipe.table.rules
        rules |= {name: parse(text, known) for name, text in recipe.table.rules.items()}
    return texts, rules


def _cautions(recipe: ResolvedRecipe, options: Priming) -> tuple[str, ...]:
    """Sentences on rules that choose cells by the other tested channel.

    That is no circle, but what bleeds or spills into it then chooses them, too.
    """
    texts, rules = _rules(recipe)
    pairs = (
        (options.responder, options.ligand, "ligand"),
        (options.source, options.response, "response"),
    )
    return tuple(
        f"the rule of {phenotype} cells ({texts[str(phenotype)]}) names the {what} {marker}:"
        " which cells are compared depends on a tested channel and on light that bleeds or spills"
        f" into it. Better define {phenotype} without {marker}."
        for phenotype, marker, what in pairs
        if _is_named(marker, phenotype, rules)
    )


def _circular_names(mapping: TableMapping, options: Priming) -> str:
    """Reason why phenotypes that come as a column are circular, else "".

    Their values there then name what is measured in them.
    """
    for phenotype, marker in (
        (options.responder, options.response),
        (options.source, options.ligand),
    ):
        values = mapping.phenotypes.get(str(phenotype), ()) if not mapping.rules else ()
        value = next((value for value in values if marker.casefold() in value.casefold()), None)
        if value is not None:
            return (
                f"{phenotype} cells are those the table calls {value!r}, which names {marker}: if"
                " they are defined by it, cells without it are not seen, and nothing can be said"
                f" of how it depends on the other marker. Define {phenotype} by another marker."
            )
    return ""
