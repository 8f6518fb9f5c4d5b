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
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ifquant.columns.cell_columns import gated_markers
from ifquant.columns.column_info import COMPARTMENTS, STATISTICS
from ifquant.columns.flags import flag_value
from ifquant.errors import RequestError
from ifquant.phenotypes.gates import FittedGate
from ifquant.recipe.defaults import parsed_phenotypes
from ifquant.recipe.rules import markers
from ifquant.review.decisions import QueueOrder, QueuePlace
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

    def record(self, place: int) -> QueuePlace:
        """Record of the cell at `place` (from 1), for the decisions on it."""
        options = self.options
        return QueuePlace(
            order=options.order,
            seed=options.seed if options.order == "random" else None,
            place=place,
            of=len(self.ids),
            among=options.among,
            hidden=(*options.hidden, *(["sample"] if options.hide_sample else [])),
        )

    def progress(self, decided: Collection[int]) -> tuple[int, int]:
        """Cells of the queue that are decided, and all ("37/200")."""
        return int(np.isin(self.ids, list(decided)).sum()), len(self.ids)

    def next_open(self, decided: Collection[int], after: int = 0) -> int | None:
        """Place (from 1) of the next undecided cell after `after`, going round; None: none left."""
        places = np.flatnonzero(~np.isin(self.ids, list(decided))) + 1
        if not len(places):
            return None
        later = places[places > after]
        return int(later[0] if len(later) else places[0])


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
        keys = [_key(options.seed, subject, cell_id) for cell_id in subject.ids[rows].tolist()]
        rows = rows[np.argsort(np.array(keys, object), kind="stable")]
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
    """Parts of the score of every cell (n,), each 0..1; hidden markers take no part."""
    near = np.zeros(len(subject))
    for marker in class_markers(subject):
        gate = subject.gate(marker)
        if marker not in hidden and gate.value is not None:
            near = np.maximum(near, nearness(_column(subject, gate.column), gate))
    flags = subject.table["flags"].to_numpy()
    flagged = np.where(_any_flag(flags, MEASUREMENT_FLAGS), 0.5, 0.0)
    flagged[_any_flag(flags, CLASS_FLAGS)] = 1.0
    contact = _contact_doubt(subject)
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


def _contact_doubt(subject: Subject) -> Floats:
    """1 for `from` cells that touch a `to` cell, 0.5 at a gap of `CONTACT_UM`, 0 beyond."""
    source, target = subject.pair
    if source is None or target is None:
        return np.zeros(len(subject))
    gap = _column(subject, f"nearest_{target}_border_um")
    is_from = (subject.table["phenotype"] == source).to_numpy(np.bool_)
    doubt = 1 - np.nan_to_num(gap, nan=CONTACT_UM) / (2 * CONTACT_UM)
    return np.where(is_from & (gap <= CONTACT_UM), doubt, 0.0)


def nearness(values: Floats, gate: FittedGate) -> Floats:
    """1 at the gate, falling with the log of the ratio to 0 at `GATE_FACTOR`; 0 where unknown."""
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
    """Markers that neither shape cells nor decide phenotypes, such as ligand and response."""
    used, channels = set(class_markers(subject)), subject.recipe.channels
    return tuple(c.name for c in channels if c.role == "marker" and c.name not in used)


def hidden_columns(subject: Subject, hidden: Sequence[str]) -> frozenset[str]:
    """Columns of cells.parquet that tell of these markers."""
    ends = ["saturated_fraction", "positive"]
    for place, suffix in product(COMPARTMENTS, ("", "_corrected")):
        ends += [f"{place}{suffix}_{statistic}" for statistic in STATISTICS]
    names = {f"{marker}_{end}" for marker in hidden for end in ends}
    return frozenset(names.intersection(subject.table.columns))


def _tells(subject: Subject, column: str, hidden: Sequence[str]) -> bool:
    """Whether a column is a hidden marker's own, or the weight in an effect made of it."""
    priming = subject.recipe.priming
    if priming is None or column not in subject.columns:
        return column in hidden_columns(subject, hidden)
    return priming.response in hidden or priming.ligand in hidden


def _refuse_telling(subject: Subject, options: QueueOptions) -> None:
    columns = [name for name, _, _ in options.ranges]
    if options.order == "table" and options.sort_by is not None:
        columns.insert(0, options.sort_by)
    for column in columns:
        if _tells(subject, column, options.hidden):
            raise RequestError(
                f"{column!r} tells of {' and '.join(options.hidden)}, which are to be hidden;"
                " choose another column"
            )


def blind_names(slides: Sequence[str], seed: int) -> dict[str, str]:
    """Slide's own name > one that tells nothing: slide 1..n in a seeded random order."""
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
        keep &= values >= (-np.inf if low is None else low)
        keep &= values <= (np.inf if high is None else high)
    return keep


def _any_flag(flags: NDArray[np.uint32], names: Sequence[str]) -> NDArray[np.bool_]:
    mask = sum(map(flag_value, dict.fromkeys(names)))  # refuses unknown names
    return np.asarray((flags & np.uint32(mask)) != 0)


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
    """Sort key of the random order: from seed, image and cell alone, whatever filter is set."""
    text = f"{seed}\0{subject.source.image_sha256}\0{cell_id}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
