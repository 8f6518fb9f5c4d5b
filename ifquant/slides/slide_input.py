"""One slide from the request on. Every later record of a slide holds this one; none copies it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ifquant.errors import SlideError
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.slides.panel import Panel
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.slide import SlideRef
from ifquant.slides.slide_info import SlideInfo


@dataclass(frozen=True)
class SlideJob:
    """One slide of a request: its folder in the results, how to open it, and what the sample sheet
    says of it.

    Attributes
    ----------
    path
        As given, for people.
    regions
        GeoJSON file of include / exclude / tumor / control polygons, if there is one.
    """

    name: str
    path: str
    ref: SlideRef
    sample: Sample | None = None
    regions: Path | None = None


@dataclass(frozen=True)
class SlideInput:
    """One slide that can be analyzed: its request, and what its file turned out to be; picklable.

    Attributes
    ----------
    ref
        How it is opened: the request's, with the crop of this run and the channel names the recipe
        gives by position.
    panel
        Which channel of the file is which of the recipe.
    recipe
        The resolved recipe.
    """

    job: SlideJob
    ref: SlideRef
    info: SlideInfo
    panel: Panel
    recipe: ResolvedRecipe

    @property
    def name(self) -> str:
        """Folder of the slide in the results."""
        return self.job.name

    @property
    def pixel_size_um(self) -> float:
        """Edge of a pixel in um; a slide without one cannot be analyzed."""
        if self.info.pixel_size_um is None:
            raise SlideError(f"slide {self.name!r} has no pixel size; give --pixel-size.")
        return self.info.pixel_size_um

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width (Y, X) in px."""
        return self.info.shape[1], self.info.shape[2]

    @property
    def nucleus_channel(self) -> int | None:
        """Position in the panel of the channel nuclei are found in; None where masks are given."""
        return self.panel.nucleus(self.recipe.segmentation.channel)

    def with_paths(self, *paths: str) -> SlideInput:
        """Return the same slide in files at other places."""
        return replace(self, ref=replace(self.ref, paths=paths))
