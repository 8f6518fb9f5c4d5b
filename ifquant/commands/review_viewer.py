"""Opening the viewer's plugin, which is a package of its own."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from ifquant.errors import MissingDependency

GROUP = "ifquant.viewers"
"""Entry point by which a viewer offers itself: ``function(results: Path, slide: str | None) ->
None``, returning when it is closed."""


def open_viewer(results: Path, slide: str | None) -> None:
    """Open a slide of the results for review.

    Raises
    ------
    MissingDependency
        If no viewer is installed, or what it needs is missing.
    """
    viewers = list(entry_points(group=GROUP))
    if not viewers:
        raise MissingDependency(
            'no viewer is installed; install it with: pip install "napari-ifquant[all]". Without'
            " one, logs are applied with: ifquant review RESULTS --apply"
        )
    try:
        show = viewers[0].load()
    except ImportError as error:
        raise MissingDependency(
            f"the viewer cannot be loaded ({error}); install it again with: pip install"
            ' "napari-ifquant[all]"'
        ) from error
    show(results, slide)
