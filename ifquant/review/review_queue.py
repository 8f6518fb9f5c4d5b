"""Which cells a reviewer sees, and in what order.

*uncertain*: the cells whose class or contact is most in doubt, or that weigh most in the effect,
first. The score is the sum of four parts, each 0..1: nearness to a gate that a phenotype rule uses
(1 at the gate, 0 at a factor of `GATE_FACTOR` away), flags (1 if the class is in doubt, 0.5 if only
a measurement is), contact in doubt (`from` cells whose gap to the nearest `to` cell is at most
`CONTACT_UM`), and rank of the leverage, where a column for it is given. *random*: a seeded
permutation, so that its first k cells are a simple random sample and error rates follow. *table*:
by id, or by any column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ifquant.columns.cell_columns import gated_markers
from ifquant.columns.column_info import COMPARTMENTS, STATISTICS
from ifquant.columns.flags import flag_value, has_flag
from ifquant.errors import RequestError
from ifquant.phenotypes.gates import FittedGate
from ifquant.recipe.defaults import parsed_phenotypes
from ifquant.recipe.rules import markers
from ifquant.review.decisions import QueueOrder, Shown
from ifquant.review.subject import Subject

GATE_FACTOR = 1.5
"""A cell this factor above or below a gate is not near it any more: staining of one population
spreads by about that much."""
CONTACT_UM = 2.0
"""Gaps up to this are contacts in doubt: about the width of what blur and growth of cells can close
or open."""
CLASS_FLAGS = ("several_phenotypes", "phenotype_uncertain", "growth_mismatch")
MEASUREMENT_FLAGS = (
    "touches_border",
    "saturated",
    "non_finite_pixels",
    "split_source_label",
    "outside_tissue",
)

Floats = NDArray[np.float64]
Reason = Literal["near a gate", "flagged", "contact in doubt", "leverage"]


@dataclass(frozen=True)
class QueueOptions:
    """How the queue is made.

    Attributes
    ----------
    order, seed
        `uncertain`, `random` (with `seed`) or `table`.
    phenotypes
        Only cells of these phenotypes; empty: all.
    flags
        Only cells with one of these flags; empty: all.
    ranges
        Only cells whose column lies within (column, low, high); None: open.
    sort_by, descending
        order = `table`: column to sort by (cells without a value last), default by id.
    leverage
        Name in `Subject.columns` (or the table) of the weight of each cell in the effect; its sign
        does not matter.
    limit
        At most so many cells.
    hidden
        Markers whose channel, columns and gates the reviewer must not see.
    hide_sample
        Also hide slide, patient and group.
    """

    order: QueueOrder = "uncertain"
    seed: int = 0
    phenotypes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    ranges: tuple[tuple[str, float | None, float | None], ...] = ()
    sort_by: str | None = None
    descending: bool = False
    leverage: str | None = None
    limit: int | None = None
    hidden: tuple[str, ...] = ()
    hide_sample: bool = False

    @property
    def among(self) -> str:
        """What the queue is limited to, in words; empty for all cells."""
        parts = [", ".join(self.phenotypes), ", ".join(self.flags)]
        parts += [
            f"{name} {'' if low is None else f'>= {low:g}'}"
            f" {'' if high is None else f'<= {high:g}'}"
            for name, low, high in self.ranges
        ]
        return "; ".join(" ".join(part.split()) for part in parts if part)


@dataclass(frozen=True, eq=False)
class Queue:
    """Cells in the order they are shown.

    Attributes
    ----------
    ids : int64 (k,)
    scores : float64 (k,)
        Doubt of each, 0..4; 0 in other orders.
    reasons
        Why each is here.
    """

    options: QueueOptions
    ids: NDArray[np.int64]
    scores: Floats
    reasons: tuple[tuple[Reason, ...], ...]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.ids)

    def shown(self, place: int) -> Shown:
        """Give what a decision on the cell at `place` (from 1) records of this queue."""
        hidden = (*self.options.hidden, *(("sample",) if self.options.hide_sample else ()))
        seed = self.options.seed if self.options.order == "random" else None
        return Shown(
            order=self.options.order,
            seed=seed,
            place=place,
            of=len(self.ids),
            among=self.options.among,
            hidden=hidden,
        )

    def progress(self, decided: Collection[int]) -> tuple[int, int]:
        """Cells of the queue that are decided, and all ("37/200")."""
        return int(np.isin(self.ids, list(decided)).sum()), len(self.ids)

    def next_open(self, decided: Collection[int], after: int = 0) -> int | None:
        """Find the place (from 1) of the first undecided cell after place `after`, going round at
        the end; None when all are decided.
        """
        open_places = np.flatnonzero(~np.isin(self.ids, list(decided))) + 1
        if not len(open_places):
            return None
        later = open_places[open_places > after]
        return int(later[0] if len(later) else open_places[0])


def make_queue(subject: Subject, options: QueueOptions | None = None) -> Queue:
    """Choose and order the cells.

    Raises
    ------
    RequestError
        If an option names a phenotype, flag or column the slide does not have, or a column that
        tells of a hidden marker.
    """
    options = options or QueueOptions()
    _refuse_telling(subject, options)
    rows = np.flatnonzero(_chosen(subject, options))
    scores, parts = np.zeros(len(subject)), {}
    if options.order == "random":
        keys = np.array(
            [_key(options.seed, subject, int(i)) for i in subject.ids[rows]], dtype=object
        )
        rows = rows[np.argsort(keys, kind="stable")] if len(rows) else rows
    elif options.order == "uncertain":
        parts = doubts(subject, leverage=options.leverage, hidden=options.hidden)
        scores = np.sum(list(parts.values()), axis=0)
        rows = rows[np.lexsort((subject.ids[rows], -scores[rows]))]
        rows = rows[scores[rows] > 0]
    elif options.sort_by is not None:
        values = _column(subject, options.sort_by)[rows]
        rows = rows[np.lexsort((subject.ids[rows], -values if options.descending else values))]
    rows = rows[: options.limit]
    reasons = tuple(tuple(name for name, part in parts.items() if part[row] > 0) for row in rows)
    return Queue(options, subject.ids[rows], scores[rows], reasons)


def doubts(
    subject: Subject, *, leverage: str | None = None, hidden: Sequence[str] = ()
) -> dict[Reason, Floats]:
    """Parts of the score of every cell (n,), each 0..1. Hidden markers take no part: their order
    would give them away.
    """
    near = np.zeros(len(subject))
    for marker in class_markers(subject):
        gate = subject.gate(marker)
        if marker not in hidden and gate.value is not None:
            near = np.maximum(near, nearness(_column(subject, gate.column), gate))
    flags = subject.table["flags"].to_numpy()
    flagged = np.where(_any_flag(flags, MEASUREMENT_FLAGS), 0.5, 0.0)
    flagged[_any_flag(flags, CLASS_FLAGS)] = 1.0
    contact = np.zeros(len(subject))
    source, target = subject.pair
    if source is not None and target is not None:
        gap = _column(subject, f"nearest_{target}_border_um")
        is_from = (subject.table["phenotype"] == source).to_numpy(np.bool_)
        contact = np.where(
            is_from & (gap <= CONTACT_UM),
            1 - np.nan_to_num(gap, nan=CONTACT_UM) / (2 * CONTACT_UM),
            0.0,
        )
    parts: dict[Reason, Floats] = {
        "near a gate": near,
        "flagged": flagged,
        "contact in doubt": contact,
    }
    if leverage is not None and not _tells(subject, leverage, hidden):
        weight = np.abs(_column(subject, leverage))
        known = np.isfinite(weight)
        rank = np.zeros(len(subject))
        rank[known] = rankdata(weight[known]) / max(1, np.count_nonzero(known))
        parts["leverage"] = rank
    return parts


def nearness(values: Floats, gate: FittedGate) -> Floats:
    """1 at the gate, falling with the logarithm of the ratio to 0 at `GATE_FACTOR`; 0 without gate
    or value.
    """
    out = np.zeros(len(values))
    if gate.value is None or gate.value + gate.offset <= 0:
        return out
    fine = np.isfinite(values) & (values + gate.offset > 0)
    away = np.abs(np.log((values[fine] + gate.offset) / (gate.value + gate.offset)))
    out[fine] = np.maximum(0.0, 1 - away / np.log(GATE_FACTOR))
    return out


def class_markers(subject: Subject) -> tuple[str, ...]:
    """Gated markers that phenotype rules use, in the order of the channels."""
    used = {m.name for rule in parsed_phenotypes(subject.recipe).values() for m in markers(rule)}
    return tuple(name for name in gated_markers(subject.recipe) if name in used)


def blindable_markers(subject: Subject) -> tuple[str, ...]:
    """Markers a reviewer can do without: measured, but neither shaping cells nor deciding
    phenotypes (ligand, response).
    """
    used = set(class_markers(subject))
    return tuple(
        c.name for c in subject.recipe.channels if c.role == "marker" and c.name not in used
    )


def hidden_columns(subject: Subject, hidden: Sequence[str]) -> frozenset[str]:
    """Columns of cells.parquet that tell of these markers."""
    places = [
        f"{place}{corrected}_{s}"
        for place in COMPARTMENTS
        for corrected in ("", "_corrected")
        for s in STATISTICS
    ]
    ends = [*places, "saturated_fraction", "positive"]
    return frozenset(
        name
        for marker in hidden
        for end in ends
        if (name := f"{marker}_{end}") in subject.table.columns
    )


def _tells(subject: Subject, column: str, hidden: Sequence[str]) -> bool:
    """Whether a column tells of a hidden marker: its own columns, and the weight in an effect that
    is made of it.
    """
    asked = subject.recipe.priming
    made_of = (
        {asked.response, asked.ligand} if asked is not None and column in subject.columns else set()
    )
    return column in hidden_columns(subject, hidden) or bool(made_of & set(hidden))


def _refuse_telling(subject: Subject, options: QueueOptions) -> None:
    named = [
        options.sort_by if options.order == "table" else None,
        *(name for name, _, _ in options.ranges),
    ]
    for column in named:
        if column is not None and _tells(subject, column, options.hidden):
            raise RequestError(
                f"{column!r} tells of {' and '.join(options.hidden)}, which are to be hidden;"
                " choose another column"
            )


def blind_names(slides: Sequence[str], seed: int) -> dict[str, str]:
    """Names that tell nothing, slide 1..n in a seeded random order: the slide's own > the one to
    show.
    """
    order = sorted(slides, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
    width = len(str(len(order)))
    return {name: f"slide {number:0{width}d}" for number, name in enumerate(order, 1)}


def _chosen(subject: Subject, options: QueueOptions) -> NDArray[np.bool_]:
    names = list(map(str, subject.table["phenotype"].cat.categories))
    if unknown := [name for name in options.phenotypes if name not in names]:
        raise RequestError(f"found phenotype {unknown[0]!r}; this slide has {', '.join(names)}")
    keep = np.ones(len(subject), np.bool_)
    if options.phenotypes:
        keep &= subject.table["phenotype"].isin(options.phenotypes).to_numpy()
    if options.flags:
        keep &= _any_flag(subject.table["flags"].to_numpy(), options.flags)
    for column, low, high in options.ranges:
        values = _column(subject, column)
        with np.errstate(invalid="ignore"):
            keep &= (values >= (-np.inf if low is None else low)) & (
                values <= (np.inf if high is None else high)
            )
    return keep


def _any_flag(flags: NDArray[np.uint32], names: Sequence[str]) -> NDArray[np.bool_]:
    for name in names:
        flag_value(name)  # refuses unknown names
    return (
        np.any([has_flag(flags, name) for name in names], axis=0)
        if names
        else np.zeros(len(flags), np.bool_)
    )


def _column(subject: Subject, name: str) -> Floats:
    if name in subject.columns:
        return np.asarray(subject.columns[name], np.float64)
    if name not in subject.table.columns:
        raise RequestError(f"found column {name!r}; this slide's table does not have it")
    column = subject.table[name]
    if str(column.dtype) == "category":
        return column.cat.codes.to_numpy().astype(np.float64)
    return column.to_numpy(np.float64, na_value=np.nan)


def _key(seed: int, subject: Subject, cell_id: int) -> bytes:
    """Sort key of the random order: from seed, image and cell alone, so that filters and machines
    change nothing.
    """
    return hashlib.blake2b(
        f"{seed}\0{subject.source.image_sha256}\0{cell_id}".encode(), digest_size=16
    ).digest()
