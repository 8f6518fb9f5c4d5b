"""One slide's results opened for looking: its record, table, channels, class images, and the layers
made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.commands.review_effect import leverage_column, with_leverage
from ifquant.commands.review_subject import load_subject
from ifquant.errors import IfquantError, SlideError
from ifquant.proximity.tumor_region import TumorRegion, tumor_region_of_cells
from ifquant.recipe.defaults import ResolvedRecipe, channel_colors
from ifquant.report.overlay_lines import dash_outline, nearest_pairs
from ifquant.report.picture import CONTEXT, GAMMA, phenotype_colors
from ifquant.results.label_images import labels_store
from ifquant.results.run_record import is_run_folder, run_recipe
from ifquant.results.slide_record import SlideRecord, is_slide_folder
from ifquant.review.subject import Subject
from ifquant.slides.overview import step_for
from ifquant.slides.panel import find_panel
from napari_ifquant import pixels
from napari_ifquant.classes import Coloring, LabelPyramid, outline_levels
from napari_ifquant.layers import NAME, SPARE_COLOR, TAG, Layer, channel_layer, spatial

POINT_PX = 6
DASH_PX = 12.0
LINE_PX = 0.6
"""Width of lines in px of the slide where cells are seen; the outline of the tumor region has twice
that."""
LINE = {"edge_color": "white", "vector_style": "line"}


@dataclass(eq=False)
class SlideView:
    """What is open of one slide's results.

    Attributes
    ----------
    folder
        ``results/<slide>``.
    subject
        Its results with outlines.
    outline
        Outline of the tumor region as dashes (n, 2, 2), start and step as (y, x) px; it may still
        be in the making.
    sample
        What the sample sheet says of the slide, patient and group among it.
    source
        Where the pixels shown come from: the slide, or the result's own picture.
    """

    folder: Path
    subject: Subject
    coloring: Coloring
    cells: LabelPyramid
    nuclei: LabelPyramid
    channels: dict[str, list[Any]]
    ranges: dict[str, tuple[float, float]]
    colors: dict[str, str]
    outline: Future[NDArray[np.float64]]
    sample: Mapping[str, Any]
    source: str
    picture_step_px: int

    @property
    def recipe(self) -> ResolvedRecipe:
        """Recipe of the run."""
        return self.subject.recipe

    @property
    def name(self) -> str:
        """Name of the slide."""
        return self.subject.source.slide


def is_slide_result(folder: Path) -> bool:
    """Whether a folder is ``results/<slide>`` of a finished slide."""
    return is_slide_folder(folder) and is_run_folder(folder.parent)


def open_result(folder: Path) -> SlideView:
    """Open a slide's results.

    Raises
    ------
    SlideError
        If they are damaged or of another version of ifquant.
    """
    folder = Path(folder).resolve()
    recipe = run_recipe(folder.parent)
    subject = load_subject(folder, recipe)
    store = labels_store(folder)
    with _beside() as pool:
        subject = with_leverage(
            subject,
            pool.submit(_leverage, folder, recipe, subject.table) if recipe.priming else None,
        )
        outline = pool.submit(_region_outline, subject)
    record = SlideRecord.read(folder)
    names = subject.table["phenotype"].cat.categories.tolist()
    chosen = phenotype_colors(names, subject.pair)
    coloring = Coloring(tuple(names), tuple(chosen[name] for name in names), np.zeros(1, np.uint8))
    coloring.set_codes(
        subject.ids, subject.table["phenotype"].cat.codes.to_numpy().astype(np.int16)
    )
    try:
        cells, nuclei = (
            LabelPyramid(store, "cells", coloring),
            LabelPyramid(store, "nuclei", coloring),
        )
        channels, source, step = _channels(record, subject, store)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SlideError(
            f"{folder}: damaged results, or of another version of ifquant ({error!r}); run the"
            " slide again."
        ) from error
    return SlideView(
        folder=folder,
        subject=subject,
        coloring=coloring,
        cells=cells,
        nuclei=nuclei,
        channels=channels,
        ranges=record.display_ranges,
        colors=channel_colors(subject.recipe),
        outline=outline,
        sample=record.sample,
        source=source,
        picture_step_px=step,
    )


def _channels(
    record: SlideRecord, subject: Subject, store: Path
) -> tuple[dict[str, list[Any]], str, int]:
    """Pyramids by channel, where they come from, and how many px of the slide one of theirs has."""
    panel = find_panel(subject.recipe, record.channels)
    step = step_for(subject.image_shape, subject.recipe.picture.max_size_px)
    picture = pixels.Picture(store, step, record.display_ranges, panel.names, record.dtype)
    try:
        slide = record.ref.open()
    except IfquantError:
        return (
            {name: picture.pyramid(i) for i, name in enumerate(panel.names)},
            f"picture in {store.name} (the slide is not there)",
            step,
        )
    if slide.info.shape[1:] != subject.image_shape or not picture.shows(slide, panel.indices):
        slide.close()
        return (
            {name: picture.pyramid(i) for i, name in enumerate(panel.names)},
            f"picture in {store.name} (another slide is there)",
            step,
        )
    smaller = {
        index: [level for level in picture.pyramid(i) if level.shape != subject.image_shape]
        for i, index in enumerate(panel.indices)
    }
    return (
        dict(
            zip(panel.names, pixels.OpenSlide(slide).channels(panel.indices, smaller), strict=True)
        ),
        "slide",
        1,
    )


@contextmanager
def _beside() -> Iterator[ThreadPoolExecutor]:
    """Give threads that go on beside what comes next: napari makes its layers meanwhile."""
    pool = ThreadPoolExecutor(2)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False)


def _leverage(folder: Path, recipe: ResolvedRecipe, table: pd.DataFrame) -> NDArray[np.float64]:
    column = leverage_column(folder, recipe, table)
    assert column is not None
    return column


def _region_outline(subject: Subject) -> NDArray[np.float64]:
    region = _region(subject)
    rings = (
        []
        if region is None
        else [ring[:, ::-1] / subject.pixel_size_um - 0.5 for ring in region.rings_um]
    )
    dashes = [dash for ring in rings for dash in dash_outline(ring, DASH_PX)]
    if not dashes:
        return np.zeros((0, 2, 2))
    points = np.concatenate(dashes)
    steps = np.diff(points, axis=0, append=points[-1:])
    inner = np.ones(len(points), np.bool_)
    inner[np.cumsum([len(dash) for dash in dashes]) - 1] = (
        False  # no line from the end of a dash to the next
    )
    return np.stack([points, steps], axis=1)[inner]


def _region(subject: Subject) -> TumorRegion | None:
    target = subject.pair[1]
    if subject.drawn_region is not None or target is None:
        return subject.drawn_region
    return tumor_region_of_cells(
        subject.outlines().area((subject.table["phenotype"] == target).to_numpy(np.bool_)),
        image_shape=subject.image_shape,
        pixel_size_um=subject.pixel_size_um,
        options=subject.recipe.proximity,
    )


def layers_of(
    view: SlideView, limits: Mapping[str, tuple[float, float]] | None = None
) -> Iterator[Layer]:
    """Layers of a slide, bottom to top, one after the other; the outline of the tumor region, which
    takes longest, comes last.

    Parameters
    ----------
    limits
        Contrast by channel to keep from another slide; others get this slide's calibrated display
        range.
    """
    for data, attributes, kind in _layers(view, limits):
        attributes["metadata"] = {"ifquant": view, TAG: str(view.folder), NAME: attributes["name"]}
        yield data, attributes, kind


def _layers(view: SlideView, limits: Mapping[str, tuple[float, float]] | None) -> Iterator[Layer]:
    from napari.utils.colormaps import DirectLabelColormap

    subject, size = view.subject, view.subject.pixel_size_um
    roles = {channel.name: channel.role for channel in view.recipe.channels}
    kept = {**view.ranges, **(limits or {})}
    for name, levels in view.channels.items():
        color = view.colors.get(name, SPARE_COLOR)
        layer = channel_layer(
            name, levels, color, kept[name], size * view.picture_step_px, gamma=GAMMA
        )
        layer[1]["opacity"] = CONTEXT.get(roles[name], 1.0)
        layer[1]["visible"] = name in view.colors
        if view.picture_step_px > 1:
            layer[1]["translate"] = ((view.picture_step_px - 1) / 2 * size,) * 2
        yield layer
    outlined = outline_levels(subject.table["area_um2"].to_numpy(), size)
    common = {**spatial(size), "blending": "translucent"}
    colormap = DirectLabelColormap(color_dict=view.coloring.color_dict())
    features = pd.DataFrame(
        {
            "index": range(len(view.coloring.names) + 2),
            "phenotype": ["", *view.coloring.names, "left out"],
        }
    )
    for name, labels, opacity, visible, outlines in (
        ("nuclei", view.nuclei, 0.35, False, 0),
        ("cells", view.cells, 0.9, True, outlined),
    ):
        shown = {
            **common,
            "name": name,
            "opacity": opacity,
            "visible": visible,
            "features": features,
            "colormap": colormap,
        }
        yield labels.classes(outlines), shown, "labels"
    pairs = nearest_pairs(subject.table, *subject.pair)
    if pairs:
        ends = np.stack(pairs) - 0.5
        lines = np.stack([ends[:, 0], ends[:, 1] - ends[:, 0]], axis=1)
        name = f"{subject.pair[0]} to nearest {subject.pair[1]}"
        yield (
            lines,
            {**common, **LINE, "name": name, "edge_width": LINE_PX, "opacity": 0.7},
            "vectors",
        )
    table = subject.table
    points = np.stack([table["y_px"].to_numpy() - 0.5, table["x_px"].to_numpy() - 0.5], axis=1)
    shown = {
        **common,
        "name": "cell centers",
        "size": POINT_PX,
        "visible": False,
        "border_width": 0,
        "face_color": point_colors(view, table["phenotype"].cat.codes.to_numpy()),
        "features": features_of(table),
    }
    yield points, shown, "points"
    outline = view.outline.result()
    if len(outline):
        yield (
            outline,
            {**common, **LINE, "name": "tumor region", "edge_width": 2 * LINE_PX, "opacity": 0.8},
            "vectors",
        )


def point_colors(view: SlideView, codes: NDArray[np.integer]) -> NDArray[np.float32]:
    """Color (n, 4) of every cell by its phenotype's position (negative: left out)."""
    by_class = view.coloring.color_dict()
    table = np.array(
        [by_class[k + 1] for k in range(len(view.coloring.names))]
        + [by_class[view.coloring.left_out]],
        np.float32,
    )
    return table[np.where(codes < 0, len(table) - 1, codes)]


def features_of(table: pd.DataFrame, hidden: frozenset[str] = frozenset()) -> pd.DataFrame:
    """All columns of cells.parquet, with the cell's id as ``index``, by which napari's table and
    status bar name it.
    """
    shown = table.drop(columns=[name for name in table.columns if name in hidden])
    return shown.rename(columns={"cell_id": "index"}).reset_index(drop=True)
