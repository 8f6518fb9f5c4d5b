"""Finding the cells of a decision again.

By id and place on the results it was made on, by place alone on others of the same image.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from ifquant.errors import RequestError
from ifquant.review.decisions import CellRef, Decision, DecisionBase, OutlineEdit
from ifquant.review.outlines import Outlines
from ifquant.review.subject import Subject

MATCH_UM = 2.0
"""On other results a cell is the same when both its anchor and its centroid lie within this: a
quarter of a nucleus. A nucleus that was split or joined keeps one of the two at most."""


class Matcher:
    """Finds cells in one slide's results.

    Parameters
    ----------
    subject
        The results.
    outlines
        The cells as edited so far.
    new_ids
        (reviewer, id in that reviewer's log) > id in the corrected table, of cells that edits made.
    """

    def __init__(
        self, subject: Subject, outlines: Outlines, new_ids: Mapping[tuple[str, int], int]
    ) -> None:
        self._subject, self._outlines, self._new_ids = subject, outlines, new_ids

    def refuse_other_image(self, decision: Decision) -> None:
        """Raise RequestError if the decision was made on another image."""
        here, there = self._subject.source, decision.source
        if there.image_sha256 != here.image_sha256:
            raise RequestError(
                f"made on another image (slide {there.slide!r}, sha256 {there.image_sha256[:12]});"
                f" this one is {here.image_sha256[:12]}"
            )
        if isinstance(decision, OutlineEdit) and not self.same_cells(decision):
            raise RequestError(
                "an edit of outlines belongs to the segmentation it was drawn on; this one is"
                " another. Draw it again"
            )

    def same_cells(self, decision: DecisionBase) -> bool:
        """Whether the decision was made on these very cells."""
        return decision.source.cells_digest == self._subject.source.cells_digest

    def shift(self, decision: DecisionBase) -> tuple[int, int]:
        """Offset (y, x) from the decision's crop to this crop of the image."""
        (y, x), (y0, x0) = (
            (crop[0], crop[1]) if crop else (0, 0)
            for crop in (decision.source.crop, self._subject.source.crop)
        )
        return y - y0, x - x0

    def find(self, decision: DecisionBase, ref: CellRef) -> int:
        """Id of a decision's cell here.

        Raises
        ------
        RequestError
            If it is not here, replaced by an edit, or not told from another one.
        """
        if not self.same_cells(decision):
            cell_id = self._by_place(ref, self.shift(decision))
            self._refuse_replaced(cell_id, cell_id)
            return cell_id
        cell_id = self._new_ids.get((decision.reviewer, ref.cell_id), ref.cell_id)
        self._refuse_replaced(cell_id, ref.cell_id)
        if cell_id not in self._outlines:
            raise RequestError(f"there is no cell {ref.cell_id} in these results")
        anchor = self._outlines.anchor(cell_id)
        if anchor != (ref.anchor_y_px, ref.anchor_x_px):
            raise RequestError(
                f"cell {ref.cell_id} lies at y={anchor[0]}, x={anchor[1]}, the log says"
                f" {ref.anchor_y_px}, {ref.anchor_x_px}"
            )
        return cell_id

    def _refuse_replaced(self, cell_id: int, name: int) -> None:
        if cell_id in self._outlines.gone:
            raise RequestError(
                f"cell {name} was replaced by cell {self._outlines.gone[cell_id]} before"
            )

    @cached_property
    def _anchors(self) -> cKDTree:
        anchors = self._subject.table[["anchor_y_px", "anchor_x_px"]]
        return cKDTree(anchors.to_numpy(np.float64).reshape(-1, 2))

    def _by_place(self, ref: CellRef, shift: tuple[int, int]) -> int:
        subject, reach_px = self._subject, MATCH_UM / self._subject.pixel_size_um
        anchor = ref.anchor_y_px + shift[0], ref.anchor_x_px + shift[1]
        rows = np.array(sorted(self._anchors.query_ball_point(anchor, reach_px)), np.int64)
        place = subject.table[["y_px", "x_px"]].to_numpy(np.float64)[rows]
        rows = rows[np.hypot(*(place - (ref.y_px + shift[0], ref.x_px + shift[1])).T) <= reach_px]
        if len(rows) != 1:
            what = "no cell" if not len(rows) else f"{len(rows)} cells"
            raise RequestError(
                f"made on another segmentation, and {what} here has its anchor and centroid within"
                f" {MATCH_UM:g} um of those of cell {ref.cell_id} there"
            )
        return int(subject.ids[rows[0]])
