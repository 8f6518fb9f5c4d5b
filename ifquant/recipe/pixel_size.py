"""The check of a pixel size, whoever states it: a file, option, sheet, recipe or caller."""

from __future__ import annotations

import math

from ifquant.errors import RequestError

PIXEL_SIZE_UM = (0.05, 5.0)
"""Plausible pixel sizes of tissue microscopy; others are mistakes of units."""


def implausible(pixel_size_um: float) -> str | None:
    """Say why a pixel size cannot be one of tissue microscopy; None where it can."""
    low, high = PIXEL_SIZE_UM
    if low <= pixel_size_um <= high:
        return None
    nm = pixel_size_um / 1000
    guess = f"; is it in nm? Then it is {nm:g} um" if low <= nm <= high else ""
    return (
        f"{pixel_size_um:g} um per pixel is outside {low:g} to {high:g}"
        f" um{guess or ', probably a wrong unit'}"
    )


def check_pixel_size(pixel_size_um: float, source: str) -> None:
    """Refuse a pixel size that is none, or that no microscope gives.

    Parameters
    ----------
    source
        Who states it, e.g. ``--pixel-size``.

    Raises
    ------
    RequestError
        Always then.
    """
    if not (math.isfinite(pixel_size_um) and pixel_size_um > 0):
        raise RequestError(
            f"{source} is {pixel_size_um}; expected a positive number of micrometers per pixel,"
            " e.g. 0.5"
        )
    if reason := implausible(pixel_size_um):
        raise RequestError(f"{source}: {reason}; give um per pixel, e.g. 0.325")
