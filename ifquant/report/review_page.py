"""review.html: what reviewers decided, and the answer before and after; self-contained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ifquant import provenance
from ifquant.columns.cell_columns import gated_markers, phenotype_names, proximity_pair
from ifquant.columns.column_info import expanded
from ifquant.columns.slide_columns import SLIDE_PATTERNS
from ifquant.files import storage
from ifquant.recipe.model import Recipe
from ifquant.report.page import environment
from ifquant.report.run_page import picture_uri
from ifquant.report.sentences import priming_limits
from ifquant.results.file_names import REVIEW_REPORT
from ifquant.results.spreadsheet_text import safe_text
from ifquant.review.agreement import Agreement, Judgements, Rate, agreement, error_rates
from ifquant.review.log_lines import LineProblem
from ifquant.review.standing import Outcome
from ifquant.review.subject import Subject

_PICTURE_PX = 1100
_STATUSES = ("applied", "superseded", "undone", "not used", "refused")


@dataclass(frozen=True)
class ReviewedSlide:
    """One slide with its review.

    Attributes
    ----------
    before, after
        Its row of slides.csv from the original and from the corrected results, and what other
        answers were asked for.
    outcomes
        One per decision.
    problems
        Reviewer > lines of the log that are no decision, or whose predecessor is missing.
    judged
        Each reviewer's judgements.
    overlays
        Pictures before and after.
    subject
        The original results.
    more
        Names in `before` and `after` that are no columns of slides.csv.
    """

    name: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    problems: Mapping[str, Sequence[LineProblem]]
    judged: tuple[Judgements, ...]
    overlays: tuple[Path, Path]
    subject: Subject
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One number before and after review."""

    name: str
    before: Any
    after: Any

    @property
    def changed(self) -> bool:
        """Whether review changed it."""
        return bool(self.before != self.after)


def write_review_report(
    out: Path,
    recipe: Recipe,
    slides: Sequence[ReviewedSlide],
    failed: Mapping[str, str],
    reviewer: str | None,
) -> Path:
    """Write review.html into the folder of the results."""
    path = out / REVIEW_REPORT
    storage.write_text(path, review_html(recipe, slides, failed, reviewer))
    return path


def review_html(
    recipe: Recipe, slides: Sequence[ReviewedSlide], failed: Mapping[str, str], reviewer: str | None
) -> str:
    """Text of review.html."""
    outcomes = [outcome for slide in slides for outcome in slide.outcomes]
    return (
        environment()
        .get_template("review.html.j2")
        .render(
            slides=slides,
            failed=failed,
            reviewer=reviewer,
            reviewers=sorted({outcome.decision.reviewer for outcome in outcomes}),
            statuses=_STATUSES,
            counts=Counter(outcome.status for outcome in outcomes),
            kinds=_kinds(outcomes),
            answers={slide.name: answer(recipe, slide) for slide in slides},
            rates=all_rates(slides),
            agreements=all_agreements(slides),
            not_followed=[(s, o) for s in slides for o in s.outcomes if o.status == "refused"],
            notes=[
                (s, o.decision)
                for s in slides
                for o in s.outcomes
                if o.decision.action == "note" and o.status == "applied"
            ],
            pictures={
                slide.name: [picture_uri(path, _PICTURE_PX) for path in slide.overlays]
                for slide in slides
            },
            limits=priming_limits(recipe),
            versions=provenance.versions(),
        )
    )


def answer(recipe: Recipe, slide: ReviewedSlide) -> list[Change]:
    """List answers, areas, counts, densities, proximity and gates of a slide before and after."""
    source, target = proximity_pair(recipe)
    names = {
        "phenotype": phenotype_names(recipe),
        "to": [target] if source and target else [],
        "gated marker": gated_markers(recipe),
    }
    groups = ("area", "counts", "proximity", "gates")
    columns = expanded(SLIDE_PATTERNS, names, recipe.proximity.radii_um)
    shown = [c.name for c in columns if c.group in groups and c.dtype != "str"]
    return [
        Change(name, slide.before.get(name), slide.after.get(name))
        for name in (*slide.more, *shown)
    ]


def numbers(recipe: Recipe, slides: Sequence[ReviewedSlide]) -> pd.DataFrame:
    """List all numbers before and after review, as review.csv holds them."""
    rows = [
        (
            safe_text(slide.name),
            safe_text(change.name),
            _written(change.before),
            _written(change.after),
        )
        for slide in slides
        for change in answer(recipe, slide)
    ]
    return pd.DataFrame(rows, columns=["slide", "number", "before", "after"], dtype=object)


def _written(value: Any) -> str | None:
    """Write a value of a column that holds words and numbers, these to the last digit."""
    if isinstance(value, str):
        return safe_text(value)
    return (
        None
        if value is None or not np.isfinite(value)
        else repr(value.item() if isinstance(value, np.generic) else value)
    )


def contact_fractions(table: pd.DataFrame, recipe: Recipe) -> dict[str, float | None]:
    """Positive fraction of each marker among `from` cells by contact with `to` cells."""
    source, target = proximity_pair(recipe)
    if source is None or target is None:
        return {}
    cells = table[table["phenotype"] == source]
    touching = cells[f"n_touching_{target}"].to_numpy(np.float64, na_value=0.0) > 0
    out: dict[str, float | None] = {}
    for marker in gated_markers(recipe):
        if recipe.channel(marker).role == "marker":
            positive = cells[f"{marker}_positive"].to_numpy(np.float64, na_value=np.nan)
            for text, chosen in (
                (f"touching {target}", touching),
                (f"not touching {target}", ~touching),
            ):
                known = positive[chosen & np.isfinite(positive)]
                out[f"{marker}+ among {source} {text}"] = (
                    float(known.mean()) if len(known) else None
                )
    return out


def all_rates(slides: Sequence[ReviewedSlide]) -> list[tuple[str, list[Rate]]]:
    """Error rates by reviewer over all slides, for those who judged cells of a random queue."""
    out = []
    for name in sorted({judged.reviewer for slide in slides for judged in slide.judged}):
        own = [
            judged
            for slide in slides
            for judged in slide.judged
            if judged.reviewer == name and judged.sampled
        ]
        if own:
            out.append((name, [rate for rate in error_rates(own, slides[0].subject) if rate.n]))
    return out


def all_agreements(slides: Sequence[ReviewedSlide]) -> list[Agreement]:
    """Agreement of every two reviewers on the slides both reviewed."""
    names = sorted({judged.reviewer for slide in slides for judged in slide.judged})
    by_slide = [{judged.reviewer: judged for judged in slide.judged} for slide in slides]
    out = []
    for first, second in combinations(names, 2):
        both = [one for one in by_slide if first in one and second in one]
        if both:
            out.append(agreement([one[first] for one in both], [one[second] for one in both]))
    return out


def _kinds(outcomes: Sequence[Outcome]) -> list[tuple[str, str, Counter[str]]]:
    """Decisions by reviewer and action: how many of each status."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for outcome in outcomes:
        counts.setdefault((outcome.decision.reviewer, outcome.decision.action), Counter())[
            outcome.status
        ] += 1
    return [(reviewer, action, count) for (reviewer, action), count in sorted(counts.items())]
