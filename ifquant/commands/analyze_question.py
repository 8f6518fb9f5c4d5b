"""What an analysis asks: the question of [priming], or, without it, only where cells lie to each
other.
"""

from __future__ import annotations

from ifquant.columns.cell_columns import proximity_pair
from ifquant.errors import RequestError
from ifquant.recipe.defaults import ResolvedRecipe, resolved
from ifquant.recipe.model import Priming, Recipe
from ifquant.statistics.priming.question import Question, question_of

PLACES_ONLY = (
    "the recipe has no section [priming]: where cells lie was analyzed, no ligand and no response"
)


def analysis_recipe(recipe: Recipe) -> ResolvedRecipe:
    """Resolve a recipe for an analysis; one without [priming] gets a section without ligand and
    response.

    Raises
    ------
    RequestError
        If the recipe asks nothing: neither [priming] nor two phenotypes in [proximity].
    """
    full = resolved(recipe)
    if full.priming is not None:
        question_of(full)  # refuses what cannot be asked before anything is read
        return full
    source, target = proximity_pair(full)
    if source is None or target is None:
        raise RequestError(
            'the recipe asks nothing: add a section [priming], e.g. response = "IL1B", ligand ='
            ' "TGFB1", or name two phenotypes with from and to in [proximity].'
        )
    places = Priming(response="", ligand="", responder=source, source=target, controls=())
    return resolved(full.model_copy(update={"priming": places}))


def analysis_question(recipe: ResolvedRecipe) -> tuple[Question, Priming]:
    """Return question and options of a recipe made by `analysis_recipe`."""
    options = recipe.priming
    assert options is not None
    if options.response:
        return question_of(recipe)
    responder, source = str(options.responder), str(options.source)
    return Question(responder, "", source, "", "", "", "", (), {}, (), refusal=PLACES_ONLY), options
