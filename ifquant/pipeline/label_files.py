"""Label images from files: TIFF, OME-TIFF or OME-Zarr, whole or window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.errors import SlideError
from ifquant.geometry.windows import Window
from ifquant.nuclei.label_objects import LabelObjects, merge_strips, scan_strip
from ifquant.slides.slide import Slide, SlideRef

_STRIP_PX = 1 << 22


def open_label_image(path: str, *, crop: Window | None = None) -> Slide:
    """Open a label image (or a region of it); read it with ``read([0], window)[0]``.

    Raises
    ------
    UnreadableImage
        If the file is missing, damaged or of no known format.
    SlideError
        If it holds more than one channel, plane or time point.
    """
    slide = SlideRef(paths=(path,), crop=crop).open()
    info = slide.info
    if info.shape[0] != 1 or info.z_planes > 1 or info.timepoints > 1:
        slide.close()
        raise SlideError(
            f"{path}: found {info.shape[0]} channels, {info.z_planes} planes and {info.timepoints}"
            " time points; expected one label image: save the labels alone"
        )
    return slide


def read_label_image(path: str) -> NDArray[Any]:
    """Read a whole label image (Y, X), integers.

    Raises
    ------
    UnreadableImage
        If the file is missing, damaged or of no known format.
    SlideError
        If it is no single label image, or its values are not labels.
    """
    with open_label_image(path) as slide:
        return read_labels(slide, Window(0, 0, *slide.info.shape[1:]))


def read_labels(slide: Slide, window: Window) -> NDArray[Any]:
    """Read labels (Y, X) of a window as integers; floats are accepted when every value is a whole
    number (ImageJ saves labels so).

    Raises
    ------
    SlideError
        If values are negative, fractional or not finite.
    """
    values: NDArray[Any] = slide.read([0], window)[0]
    path = slide.info.path
    if values.dtype.kind == "b":
        raise SlideError(
            f"{path}: found a mask of true and false; expected one number per object: label it"
            " first"
        )
    if values.dtype.kind == "f":
        if values.size and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise SlideError(
                f"{path}: found fractions or NaN; expected whole numbers, one per object, 0 for"
                " background: is this a label image?"
            )
        values = values.astype(np.int64)
    if values.size and values.min() < 0:
        raise SlideError(
            f"{path}: found the label {values.min()}; expected 0 for background and positive"
            " numbers for objects"
        )
    return values


def find_label_objects(
    path: str, *, image_shape: tuple[int, int] | None = None, crop: Window | None = None
) -> LabelObjects:
    """Look once at a label image of any size, in strips of rows.

    Parameters
    ----------
    image_shape
        Height and width (Y, X) of the slide (of the crop, if there is one) that the mask belongs
        to.
    crop
        Look at this region of the mask only.

    Raises
    ------
    SlideError
        If the mask has another size than the slide, or its values are not labels.
    """
    with open_label_image(path, crop=crop) as slide:
        height, width = slide.info.shape[1:]
        if image_shape is not None and (height, width) != tuple(image_shape):
            raise SlideError(
                f"{path}: found a mask of {height} x {width} px; the slide has {image_shape[0]} x"
                f" {image_shape[1]} px"
            )
        rows = max(1, _STRIP_PX // width)
        strips = [Window(y, 0, min(y + rows, height), width) for y in range(0, height, rows)]
        return merge_strips(scan_strip(read_labels(slide, strip), strip.y0) for strip in strips)
