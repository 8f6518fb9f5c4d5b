"""What ``ifquant review`` starts: napari with a run's results and the review beside them."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import napari
import numpy as np

from ifquant.errors import RequestError
from ifquant.geometry.runs import runs_of
from ifquant.results.run_record import finished_slides
from ifquant.results.slide_record import is_slide_folder
from napari_ifquant.review_widget import ReviewWidget


def open_review(results: Path, slide: str | None = None, *, viewer: Any = None) -> tuple[Any, Any]:
    """Open a viewer with a slide's results and the review dock; returns both."""
    folder = Path(results)
    if is_slide_folder(folder):
        folder, slide = folder.parent, slide or folder.name
    names = [path.name for path in finished_slides(folder).folders]
    if slide is not None and slide not in names:
        raise RequestError(f"{folder}: no finished slide {slide!r}; there are {', '.join(names)}")
    viewer = viewer or napari.Viewer(title="ifquant review")
    widget = ReviewWidget(viewer, folder, slide)
    viewer.window.add_dock_widget(widget, name="Review cells", area="right")
    widget.start()
    return viewer, widget


def own_viewer() -> Any:
    """Make the viewer of a program that does nothing but review.

    What is loaded now stays until the end: the garbage collector need not look through it, which
    takes 0.4 s every time.
    """
    with ThreadPoolExecutor(1) as pool:
        loaded = pool.submit(_load_libraries)
        viewer = napari.Viewer(title="ifquant review")
        loaded.result()
    gc.freeze()
    return viewer


def _load_libraries() -> None:
    """Load what would load itself at its first use: zarr, units, compiled functions."""
    import pint
    import zarr  # noqa: F401

    pint.get_application_registry()("um")
    runs_of(np.ones((1, 1), np.uint32), [1])


def review(results: Path, slide: str | None = None) -> None:
    """Open the review and wait until its window is closed.

    Raises
    ------
    RequestError
        If there is no finished slide, or none of that name.
    """
    _, widget = open_review(results, slide, viewer=own_viewer())
    napari.run()
    widget.release()
