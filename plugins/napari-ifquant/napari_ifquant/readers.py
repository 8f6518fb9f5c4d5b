"""Readers: a folder of results, and slides before any run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ifquant.results.run_record import finished_slides, is_run_folder
from ifquant.slides.slide import SlideRef, inspect
from napari_ifquant.layers import Layer
from napari_ifquant.result import is_slide_result, layers_of, open_result
from napari_ifquant.slide_layers import slide_layers

Reader = Callable[[Any], list[Layer]]
ENDINGS = (".tif", ".tiff", ".qptiff", ".zarr")


def result_reader(path: str | Sequence[str]) -> Reader | None:
    """Reader of ``results/<slide>``, or of the first slide of ``results``; None for anything
    else.
    """
    if not isinstance(path, str):
        return None
    folder = Path(path)
    if is_slide_result(folder):
        return lambda _: list(layers_of(open_result(folder)))
    if is_run_folder(folder) and any(
        is_slide_result(child) for child in folder.iterdir() if child.is_dir()
    ):
        return lambda _: list(layers_of(open_result(finished_slides(folder).folders[0])))
    return None


def slide_reader(path: str | Sequence[str]) -> Reader | None:
    """Reader of the images ifquant reads; None where ifquant cannot."""
    if not isinstance(path, str) or not path.lower().rstrip("/\\").endswith(ENDINGS):
        return None
    ref = SlideRef((path,))
    info, _ = inspect(ref)
    if info.format == "unreadable" or info.z_planes > 1 or info.timepoints > 1:
        return None
    return lambda _: slide_layers(ref)
