"""How often the program was wrong, and how often two reviewers agree.

Error rates come from cells shown in a *random* queue only: elsewhere cells are shown because they
look doubtful. Intervals are Wilson's (1927), 95 %. Agreement is Cohen's kappa (1960) with the
large-sample error of Fleiss, Cohen and Everitt (1969).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm

from ifquant.columns.cell_columns import phenotype_names
from ifquant.review.decisions import Decision, ExcludeCell, NotTouching, OutlineEdit, cells_of
from ifquant.review.standing import Outcome, standing
from ifquant.review.subject import Subject

EXCLUDED = "excluded"
OUTLINE = "outline wrong"
"""Judgement on a cell that was merged, split or redrawn."""
LEVEL = 0.95


@dataclass(frozen=True)
class Judgements:
    """One reviewer's judgements on the cells of one slide's original table.

    Attributes
    ----------
    judgement
        Cell > phenotype, `EXCLUDED` or `OUTLINE`.
    predicted
        Cell > phenotype in the original table, for the same cells.
    sampled
        Cells that were judged in a random queue > what the queue was limited to, "" for all cells.
    contacts
        Cells of `sampled` that are `from` cells touching a `to` cell > whether the reviewer denied
        a contact of theirs.
    """

    reviewer: str
    judgement: Mapping[int, str]
    predicted: Mapping[int, str]
    sampled: Mapping[int, str]
    contacts: Mapping[int, bool]


@dataclass(frozen=True)
class Rate:
    """`wrong` of `n` cells, with the limits of the interval; None for n = 0."""

    what: str
    wrong: int
    n: int
    low: float | None
    high: float | None

    @property
    def rate(self) -> float | None:
        """Fraction that is wrong."""
        return self.wrong / self.n if self.n else None


@dataclass(frozen=True)
class Agreement:
    """Agreement of two reviewers on `n` cells; kappa is None if both gave one same answer only."""

    reviewers: tuple[str, str]
    n: int
    observed: float | None
    expected: float | None
    kappa: float | None
    low: float | None
    high: float | None


def judgements(subject: Subject, reviewer: str, log: Sequence[Decision]) -> Judgements:
    """Judgements of one reviewer on each cell, whatever others decided."""
    alone = standing(subject, {reviewer: log})
    n = int(subject.ids.max(initial=0))
    judgement = {
        cell: EXCLUDED if isinstance(verdict, ExcludeCell) else verdict.new
        for cell, verdict in alone.verdicts.items()
        if cell <= n
    }
    judgement |= {cell: OUTLINE for cell in alone.outlines.gone if cell <= n}
    names = subject.table["phenotype"].astype(str).to_numpy()
    predicted = {cell: str(names[subject.row(cell)]) for cell in judgement}
    sampled = _sampled(alone.outcomes)
    contacts = _contacts(subject, sampled, alone.outcomes)
    return Judgements(reviewer, judgement, predicted, sampled, contacts)


def _sampled(outcomes: Sequence[Outcome]) -> dict[int, str]:
    """Cells of decisions made in a random queue > what that queue was limited to."""
    sampled: dict[int, str] = {}
    for outcome in outcomes:
        shown = outcome.decision.queue
        if shown is None or shown.order != "random":
            continue
        if outcome.status in ("applied", "superseded"):
            edit = isinstance(outcome.decision, OutlineEdit)
            old = [ref.cell_id for ref in cells_of(outcome.decision)]
            sampled |= dict.fromkeys(old if edit else outcome.cell_ids, shown.among)
    return sampled


def _contacts(
    subject: Subject, sampled: Mapping[int, str], outcomes: Sequence[Outcome]
) -> dict[int, bool]:
    """Cells of the sample with contacts by the table > whether the reviewer denied one."""
    source, target = subject.pair
    if source is None or target is None:
        return {}
    denied = {
        cell
        for outcome in outcomes
        if isinstance(outcome.decision, NotTouching) and outcome.status == "applied"
        for cell in outcome.cell_ids
    }
    touching = subject.table[f"n_touching_{target}"].to_numpy(np.float64, na_value=0.0) > 0
    is_from = (subject.table["phenotype"] == source).to_numpy(np.bool_)
    in_contact = set(subject.ids[touching & is_from].tolist())
    return {cell: cell in denied for cell in sorted(sampled) if cell in in_contact}


def error_rates(judged: Sequence[Judgements], subject: Subject) -> list[Rate]:
    """Rates of wrong phenotypes, of excluded cells, of wrong outlines and of wrong contacts.

    Parameters
    ----------
    judged
        One reviewer's judgements on several slides, or several reviewers': each judgement counts
        once.
    subject
        Any of the slides, for the names of its phenotypes.

    Returns
    -------
    One rate per kind, of phenotypes also by the predicted one. Wrong phenotypes are among cells
    that were kept with their outline; missed ones only among queues of all cells.
    """
    known = [(j, cell) for j in judged for cell in sorted(j.sampled) if cell in j.judgement]
    pairs = [(j.predicted[cell], j.judgement[cell]) for j, cell in known]
    of_all = [(j.predicted[cell], j.judgement[cell]) for j, cell in known if not j.sampled[cell]]
    classes = [(old, new) for old, new in pairs if new not in (EXCLUDED, OUTLINE)]
    rates = [rate("wrong phenotype", [old != new for old, new in classes])]
    names = phenotype_names(subject.recipe)
    for name in names:
        wrong = [new != name for old, new in classes if old == name]
        rates.append(rate(f"wrong phenotype, called {name}", wrong))
    for name in names:
        missed = [old != name for old, new in of_all if new == name]
        rates.append(rate(f"missed, truly {name}", missed))
    rates.append(rate("to be excluded", [new == EXCLUDED for _, new in pairs]))
    rates.append(rate(OUTLINE, [new == OUTLINE for _, new in pairs]))
    rates.append(rate("contact wrong", [denied for j in judged for denied in j.contacts.values()]))
    return rates


def rate(what: str, wrong: Sequence[bool]) -> Rate:
    """Fraction of cells that are wrong, with Wilson's interval."""
    if not wrong:
        return Rate(what, 0, 0, None, None)
    interval = binomtest(sum(wrong), len(wrong)).proportion_ci(LEVEL, method="wilson")
    return Rate(what, sum(wrong), len(wrong), float(interval.low), float(interval.high))


def agreement(first: Sequence[Judgements], second: Sequence[Judgements]) -> Agreement:
    """Agreement of two reviewers on the cells both judged; slides in the same order in both."""
    pairs = [
        (a.judgement[cell], b.judgement[cell])
        for a, b in zip(first, second, strict=True)
        for cell in a.judgement
        if cell in b.judgement
    ]
    names = (first[0].reviewer if first else "", second[0].reviewer if second else "")
    return cohen_kappa([a for a, _ in pairs], [b for _, b in pairs], names)


def cohen_kappa(
    first: Sequence[str], second: Sequence[str], reviewers: tuple[str, str] = ("", "")
) -> Agreement:
    """Cohen's kappa of two lists of judgements on the same cells."""
    n = len(first)
    if n == 0:
        return Agreement(reviewers, 0, None, None, None, None, None)
    names = sorted({*first, *second})
    counts = Counter(zip(first, second, strict=True))
    table = np.array([[counts[a, b] for b in names] for a in names], np.float64) / n
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    observed, expected = float(np.trace(table)), float(rows @ columns)
    if expected >= 1:
        return Agreement(reviewers, n, observed, expected, None, None, None)
    kappa = (observed - expected) / (1 - expected)
    agreed = np.diag(table) @ (1 - (rows + columns) * (1 - kappa)) ** 2
    weights = (columns[:, None] + rows[None, :]) ** 2
    np.fill_diagonal(weights, 0.0)
    disagreed = (1 - kappa) ** 2 * float((table * weights).sum())
    excess = agreed + disagreed - (kappa - expected * (1 - kappa)) ** 2
    variance = excess / (n * (1 - expected) ** 2)
    half = float(norm.ppf((1 + LEVEL) / 2) * np.sqrt(max(float(variance), 0.0)))
    low, high = max(-1.0, kappa - half), min(1.0, kappa + half)
    return Agreement(reviewers, n, observed, expected, kappa, low, high)
