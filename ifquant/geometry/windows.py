"""Windows, cores and ownership: how a slide is cut without the cut showing in any result.

A *window* is a half-open rectangle of full-resolution pixels. The *cores* of a tiling partition the
image; each tile computes on its core grown by a halo and keeps only the objects whose anchor (first
nucleus pixel in raster order) lies in its core. Nothing is merged by overlap: two tiles that see
the same object compute the same object, and exactly one of them owns it (design, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ifquant.errors import RequestError


@dataclass(frozen=True, order=True)
class Window:
    """A half-open rectangle ``[y0, y1) x [x0, x1)`` in pixels of the whole image."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width (Y, X) in px."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def size_px(self) -> int:
        """Number of pixels."""
        height, width = self.shape
        return height * width

    def grown(self, halo_px: int, image_shape: tuple[int, int]) -> Window:
        """Grow this window by a halo on every side, clipped to an image of shape (Y, X)."""
        return Window(
            max(self.y0 - halo_px, 0),
            max(self.x0 - halo_px, 0),
            min(self.y1 + halo_px, image_shape[0]),
            min(self.x1 + halo_px, image_shape[1]),
        )

    def intersection(self, other: Window) -> Window:
        """Return the common rectangle; empty (zero shape) when there is none."""
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        return Window(y0, x0, max(min(self.y1, other.y1), y0), max(min(self.x1, other.x1), x0))

    def hull(self, other: Window) -> Window:
        """Return the smallest window that holds both."""
        return Window(
            min(self.y0, other.y0),
            min(self.x0, other.x0),
            max(self.y1, other.y1),
            max(self.x1, other.x1),
        )

    def contains(self, y: int, x: int) -> bool:
        """Whether pixel (y, x) lies inside."""
        return self.y0 <= y < self.y1 and self.x0 <= x < self.x1

    def slices_in(self, outer: Window) -> tuple[slice, slice]:
        """Index of this window into an array (Y, X) that covers `outer`."""
        return slice(self.y0 - outer.y0, self.y1 - outer.y0), slice(
            self.x0 - outer.x0, self.x1 - outer.x0
        )


def cores(image_shape: tuple[int, int], tile_size_px: int) -> list[Window]:
    """Partition an image (Y, X) into cores of `tile_size_px`, in raster order.

    Raises
    ------
    RequestError
        If `tile_size_px` is below 64: halos would dwarf the cores.
    """
    if tile_size_px < 64:
        raise RequestError(
            f"tile size is {tile_size_px} px; it must be at least 64 px. Use --tile-size 1024 or"
            " more for speed."
        )
    return list(_lattice(image_shape, tile_size_px))


def _lattice(image_shape: tuple[int, int], step_px: int) -> Iterator[Window]:
    for y in range(0, image_shape[0], step_px):
        for x in range(0, image_shape[1], step_px):
            yield Window(y, x, min(y + step_px, image_shape[0]), min(x + step_px, image_shape[1]))
