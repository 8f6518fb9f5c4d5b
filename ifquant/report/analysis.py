"""Results of an analysis as one value, from which the cohort's page and its tables are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from ifquant.phenotypes.gate_bootstrap import GateInterval
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.statistics.cohort.cohort_test import CohortResult
from ifquant.statistics.cohort.multiverse import Specification
from ifquant.statistics.priming.question import Question


@dataclass(frozen=True)
class FlowRow:
    """How many cells of one slide came how far.

    Attributes
    ----------
    detected
        Segmented, or rows of the table.
    kept
        With a position, and inside the tissue where it is known.
    typed, responders
        A phenotype rule fits; it is that of the responders.
    exposed
        Responders that touch a source with a known ligand.
    tested
        Those of slides that enter the cohort; `reason`: why a slide does not.
    """

    slide: str
    detected: int
    kept: int
    typed: int
    responders: int
    exposed: int
    tested: int
    reason: str = ""


@dataclass(frozen=True)
class ProximityRow:
    """One proximity test of one slide; `p` None with the reason where it could not be made."""

    slide: str
    null: str
    question: str
    p: float | None
    n_null: int
    reason: str = ""
    n_responders: int = 0
    n_sources: int = 0


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything an analysis found.

    Attributes
    ----------
    recipe, question
        As resolved.
    cohort
        The answer and all it rests on.
    measures
        Name > slide > value: what is compared besides the effect.
    flow, proximity, curves, gates
        Per slide; `gates`: slide (or "all slides") > intervals.
    specifications
        The multiverse; empty when switched off.
    sources
        Slide > file and program, in words.
    versions
        Of ifquant and the packages results depend on.
    warnings
        Sentences for people.
    """

    recipe: ResolvedRecipe
    question: Question
    cohort: CohortResult
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    flow: tuple[FlowRow, ...] = ()
    proximity: tuple[ProximityRow, ...] = ()
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    gates: Mapping[str, tuple[GateInterval, ...]] = field(default_factory=dict)
    specifications: tuple[Specification, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
