"""The question on one slide: whether a cell's response depends on the ligand it touches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ifquant.recipe.model import Priming
    from ifquant.statistics.priming.question import Question
    from ifquant.statistics.priming.slide_effect import SlideEffect


def analyse_slide(
    cells: pd.DataFrame,
    *,
    slide: str,
    question: Question,
    options: Priming,
    seed: int = 0,
    with_guards: bool = True,
    **known: Any,
) -> SlideEffect:
    """Test the priming effect of one slide from Python (docs/statistics.md).

    `known` are the other fields of `SlideData`: pairs, tissue, backgrounds. See `priming_effect`.
    """
    from ifquant.statistics.priming.priming_test import priming_effect
    from ifquant.statistics.priming.slide_cells import SlideData

    data = SlideData(cells, **known)
    return priming_effect(data, question, options, slide=slide, seed=seed, with_guards=with_guards)
