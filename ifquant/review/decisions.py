"""What a reviewer can decide about a slide's results: frozen values, each a line of the review log.

A decision names what it was made on (slide, hash of the image, digest of the cells) and where (cell
id and position), so that it can be found again, or refused, on other results. Coordinates are px of
the analysed image, first pixel's corner at (0, 0); polygons are rings of (x, y) points, the last
joined to the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import shapely
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_serializer,
    model_validator,
)

from ifquant.errors import RequestError

ExclusionReason = Literal["artefact", "fold", "out of focus"]
"""Why a cell or a region is left out."""
QueueOrder = Literal["uncertain", "random", "table"]


def checked_ring(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Return an outline; raise ValueError if it crosses itself or has no area."""
    shape = shapely.Polygon(points)
    if not shape.is_valid or shape.area == 0:
        raise ValueError("the outline crosses itself or has no area; draw it again")
    return points


Polygon = Annotated[
    tuple[tuple[float, float], ...],
    Field(min_length=3, max_length=100_000),
    AfterValidator(checked_ring),
]


class Value(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Value):
    """Results a decision was made on.

    `image_sha256` is ``digests.input`` of slide.json, `cells_digest` its ``digests.cells``
    (everything that decides the cells), `crop` the analysed part of the image (y0, x0, y1, x1).
    """

    slide: str
    image_sha256: str
    cells_digest: str
    crop: tuple[int, int, int, int] | None = None
    versions: dict[str, str] = {}


class CellRef(Value):
    """A cell by its id and by its place: the first nucleus pixel (anchor) and the centroid."""

    cell_id: int = Field(ge=1)
    anchor_y_px: int = Field(ge=0)
    anchor_x_px: int = Field(ge=0)
    y_px: float
    x_px: float


class QueuePlace(Value):
    """How the cell came before the reviewer.

    Queue order and seed, its place in the queue (1..of), what the queue was limited to ("" = all
    cells) and what was hidden (blinding).
    """

    order: QueueOrder
    seed: int | None = None
    place: int = Field(ge=1)
    of: int = Field(ge=1)
    among: str = ""
    hidden: tuple[str, ...] = ()


class DecisionBase(Value):
    """What every decision carries beside its content."""

    number: int = Field(ge=1, description="1, 2, ... within this reviewer's log of this slide")
    source: Source
    reviewer: str = Field(min_length=1)
    time_utc: AwareDatetime
    reason: str = Field("", max_length=4000)
    queue: QueuePlace | None = None

    @field_serializer("time_utc")
    def _utc(self, value: datetime) -> str:
        return value.isoformat().replace("+00:00", "Z")

    @model_validator(mode="after")
    def _is_utc(self) -> DecisionBase:
        if self.time_utc.utcoffset() != timedelta(0):
            raise ValueError("the time must be UTC")
        return self


class Accept(DecisionBase):
    """The cell is what the table says: `new` = `old`, its phenotype."""

    action: Literal["accept"] = "accept"
    cell: CellRef
    old: str
    new: str

    @model_validator(mode="after")
    def _same(self) -> Accept:
        if self.new != self.old:
            raise ValueError(
                "accepting keeps the phenotype; use the action 'phenotype' to change it"
            )
        return self


class ChangePhenotype(DecisionBase):
    """The cell has another phenotype."""

    action: Literal["phenotype"] = "phenotype"
    cell: CellRef
    old: str
    new: str


class ExcludeCell(DecisionBase):
    """The cell is left out of the analysis; `old` is its phenotype."""

    action: Literal["exclude"] = "exclude"
    cell: CellRef
    old: str
    new: ExclusionReason


class NotTouching(DecisionBase):
    """Two cells whose outlines touch (or nearly) are apart in truth; `old` is their gap in um."""

    action: Literal["not touching"] = "not touching"
    cells: tuple[CellRef, CellRef]
    old: float | None = None
    new: Literal["not touching"] = "not touching"


class ChangeGate(DecisionBase):
    """The slide's gate of a marker, in raw intensities of `column`; None: not callable."""

    action: Literal["gate"] = "gate"
    marker: str
    column: str
    old: float | None
    new: float | None


class ExcludeRegion(DecisionBase):
    """An area is left out: its cells, and its tissue from all densities. `new` is its outline."""

    action: Literal["exclude region"] = "exclude region"
    what: ExclusionReason
    old: None = None
    new: Polygon


class Merge(DecisionBase):
    """Two cells with the outlines `old` are one: their union, which gets the next id."""

    action: Literal["merge"] = "merge"
    cells: tuple[CellRef, CellRef]
    old: tuple[Polygon, ...]
    new: Polygon


class Split(DecisionBase):
    """One cell is several, with ids in the order of `new`.

    Each pixel goes to the first part of `new` that holds its center, else to the nearest.
    """

    action: Literal["split"] = "split"
    cell: CellRef
    old: Polygon
    new: tuple[Polygon, ...] = Field(min_length=2)


class Redraw(DecisionBase):
    """The cell has another outline (`new`), and perhaps another nucleus.

    It takes pixels from neighbors, never those of their nuclei.
    """

    action: Literal["redraw"] = "redraw"
    cell: CellRef
    old: Polygon
    new: Polygon
    nucleus: Polygon | None = None


class Note(DecisionBase):
    """A remark (`reason`) about a cell or the slide; changes nothing."""

    action: Literal["note"] = "note"
    cell: CellRef | None = None

    @model_validator(mode="after")
    def _has_text(self) -> Note:
        if not self.reason.strip():
            raise ValueError("a note needs a text in 'reason'")
        return self


class Undo(DecisionBase):
    """Decision number `of` of this log no longer holds."""

    action: Literal["undo"] = "undo"
    of: int = Field(ge=1)


class Redo(DecisionBase):
    """Decision number `of` of this log, which was undone, holds again."""

    action: Literal["redo"] = "redo"
    of: int = Field(ge=1)


Verdict = Accept | ChangePhenotype | ExcludeCell
"""What a cell is; the last one on a cell holds."""
OutlineEdit = Merge | Split | Redraw
Decision = Verdict | OutlineEdit | NotTouching | ChangeGate | ExcludeRegion | Note | Undo | Redo

_ADAPTER: TypeAdapter[Decision] = TypeAdapter(Annotated[Decision, Field(discriminator="action")])


def decision_of(values: Mapping[str, Any]) -> Decision:
    """Make a decision from plain values; the error names the first field that is wrong."""
    try:
        return _ADAPTER.validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the line"
        raise RequestError(
            f"no decision of this version of ifquant: {place}: {first['msg']}"
        ) from error


def cells_of(decision: Decision) -> tuple[CellRef, ...]:
    """Cells a decision is about, none for gates and regions."""
    if isinstance(decision, Merge | NotTouching):
        return decision.cells
    cell = getattr(decision, "cell", None)
    return (cell,) if isinstance(cell, CellRef) else ()
