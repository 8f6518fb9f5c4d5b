"""The area in which cells could have been seen: a rectangle, or tissue on a coarse grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.errors import RequestError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Region:
    """A union of equal rectangles of a grid; a plain rectangle is a grid of one.

    Attributes
    ----------
    mask : bool (My, Mx)
        Rectangles that belong to the region; everything outside the grid does not.
    step_um : (x, y)
        Size of a rectangle in um.
    corner_um : (x, y)
        Top-left corner of the grid.
    origin
        Where the region came from, in words.
    """

    mask: NDArray[np.bool_]
    step_um: tuple[float, float]
    corner_um: tuple[float, float] = (0.0, 0.0)
    origin: str = "given"

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.dtype != np.bool_ or not self.mask.any():
            raise RequestError(
                f"a region needs a 2-D boolean mask with something in it, found {self.mask.dtype}"
                f" {self.mask.shape}."
            )
        if not all(np.isfinite(step) and step > 0 for step in self.step_um):
            raise RequestError(f"a region needs a grid step above 0 um, found {self.step_um}.")

    @classmethod
    def rectangle(
        cls, width_um: float, height_um: float, corner_um: tuple[float, float] = (0.0, 0.0)
    ) -> Region:
        """Make a rectangle."""
        return cls(
            np.ones((1, 1), np.bool_), (float(width_um), float(height_um)), corner_um, "rectangle"
        )

    @classmethod
    def of_tissue(
        cls,
        mask: NDArray[np.bool_],
        step_px: int,
        image_shape: tuple[int, int],
        pixel_size_um: float,
        origin: str,
    ) -> Region:
        """Make the region of a tissue mask (My, Mx) with squares of `step_px` px.

        Squares cut by the image border (Y, X) are left out.

        Raises
        ------
        RequestError
            If no whole square is tissue.
        """
        rows, columns = image_shape[0] // step_px, image_shape[1] // step_px
        step = step_px * pixel_size_um
        return cls(
            np.ascontiguousarray(mask[:rows, :columns], dtype=np.bool_),
            (step, step),
            (0.0, 0.0),
            origin,
        )

    @property
    def area_um2(self) -> float:
        """Area of the region."""
        return float(np.count_nonzero(self.mask)) * self.step_um[0] * self.step_um[1]

    @property
    def is_rectangle(self) -> bool:
        """Whether the grid has no hole and no corner left out."""
        return bool(self.mask.all())

    @property
    def extent_um(self) -> tuple[float, float]:
        """Width and height of the grid."""
        return self.mask.shape[1] * self.step_um[0], self.mask.shape[0] * self.step_um[1]

    def contains(self, x_um: ArrayLike, y_um: ArrayLike) -> NDArray[np.bool_]:
        """Whether points lie in the region (points on the grid's right and lower edge do)."""
        x, y = np.asarray(x_um, dtype=np.float64), np.asarray(y_um, dtype=np.float64)
        column, row = self.squares_of(x, y)
        height, width = self.mask.shape
        right, bottom = self.corner_um[0] + self.extent_um[0], self.corner_um[1] + self.extent_um[1]
        inside = (column >= 0) & (row >= 0) & (x <= right) & (y <= bottom)
        return np.asarray(
            inside & self.mask[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        )

    def squares_of(self, x_um: Floats, y_um: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Column and row of the rectangle of points (not limited to the grid)."""
        column = np.floor((x_um - self.corner_um[0]) / self.step_um[0]).astype(np.int64)
        row = np.floor((y_um - self.corner_um[1]) / self.step_um[1]).astype(np.int64)
        return column, row
