"""One slide's results opened for viewing: table, channels, class images, and layers of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
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
    """Open a slide's results; raises SlideError if they are damaged or of another version."""
    folder = Path(folder).resolve()
    recipe = run_recipe(folder.parent)
    subject = load_subject(folder, recipe)
    store = labels_store(folder)
    pool = ThreadPoolExecutor(2)  # its threads go on while napari makes its layers
    try:
        leverage = pool.submit(_leverage, folder, recipe, subject.table) if recipe.priming else None
        subject = with_leverage(subject, leverage)
        outline = pool.submit(_region_outline, subject)
    finally:
        pool.shutdown(wait=False)
    record = SlideRecord.read(folder)
    names = subject.table["phenotype"].cat.categories.tolist()
    chosen = phenotype_colors(names, subject.pair)
    coloring = Coloring(tuple(names), tuple(chosen[name] for name in names), np.zeros(1, np.uint8))
    codes = subject.table["phenotype"].cat.codes.to_numpy().astype(np.int16)
    coloring.set_codes(subject.ids, codes)
    try:
        cells = LabelPyramid(store, "cells", coloring)
        nuclei = LabelPyramid(store, "nuclei", coloring)
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
    kept = [picture.pyramid(i) for i in range(len(panel.names))]
    pictures = dict(zip(panel.names, kept, strict=True))
    try:
        slide = record.ref.open()
    except IfquantError:
        return pictures, f"picture in {store.name} (the slide is not there)", step
    if slide.info.shape[1:] != subject.image_shape or not picture.shows(slide, panel.indices):
        slide.close()
        return pictures, f"picture in {store.name} (another slide is there)", step
    smaller = {
        index: [level for level in levels if level.shape != subject.image_shape]
        for index, levels in zip(panel.indices, kept, strict=True)
    }
    channels = pixels.OpenSlide(slide).channels(panel.indices, smaller)
    return dict(zip(panel.names, channels, strict=True)), "slide", 1


def _leverage(folder: Path, recipe: ResolvedRecipe, table: pd.DataFrame) -> NDArray[np.float64]:
    column = leverage_column(folder, recipe, table)
    assert column is not None
    return column


def _region_outline(subject: Subject) -> NDArray[np.float64]:
    region = _region(subject)
    rings_um = [] if region is None else region.rings_um
    rings = [ring[:, ::-1] / subject.pixel_size_um - 0.5 for ring in rings_um]
    dashes = [dash for ring in rings for dash in dash_outline(ring, DASH_PX)]
    if not dashes:
        return np.zeros((0, 2, 2))
    points = np.concatenate(dashes)
    steps = np.diff(points, axis=0, append=points[-1:])
    inner = np.ones(len(points), np.bool_)
    ends = np.cumsum([len(dash) for dash in dashes]) - 1
    inner[ends] = False  # no line from the end of a dash to the next
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
    """Layers of a slide, bottom to top; the outline of the tumor region, the slowest, comes last.

    Parameters
    ----------
    limits
        Contrast by channel to keep from another slide; others get this slide's calibrated display
        range.
    """
    for layers in (
        _channel_layers(view, {**view.ranges, **(limits or {})}),
        _class_layers(view),
        _table_layers(view),
        _region_layers(view),
    ):
        for data, attributes, kind in layers:
            metadata = {"ifquant": view, TAG: str(view.folder), NAME: attributes["name"]}
            yield data, {**attributes, "metadata": metadata}, kind


def _channel_layers(view: SlideView, limits: Mapping[str, tuple[float, float]]) -> Iterator[Layer]:
    size, step = view.subject.pixel_size_um, view.picture_step_px
    roles = {channel.name: channel.role for channel in view.recipe.channels}
    for name, levels in view.channels.items():
        color = view.colors.get(name, SPARE_COLOR)
        layer = channel_layer(name, levels, color, limits[name], size * step, gamma=GAMMA)
        layer[1]["opacity"] = CONTEXT.get(roles[name], 1.0)
        layer[1]["visible"] = name in view.colors
        if step > 1:
            layer[1]["translate"] = ((step - 1) / 2 * size,) * 2
        yield layer


def _class_layers(view: SlideView) -> Iterator[Layer]:
    from napari.utils.colormaps import DirectLabelColormap

    size = view.subject.pixel_size_um
    outlined = outline_levels(view.subject.table["area_um2"].to_numpy(), size)
    names = ["", *view.coloring.names, "left out"]
    common = {
        **_common(view),
        "features": pd.DataFrame({"index": range(len(names)), "phenotype": names}),
        "colormap": DirectLabelColormap(color_dict=view.coloring.color_dict()),
    }
    nuclei = {**common, "name": "nuclei", "opacity": 0.35, "visible": False}
    yield view.nuclei.classes(0), nuclei, "labels"
    cells = {**common, "name": "cells", "opacity": 0.9, "visible": True}
    yield view.cells.classes(outlined), cells, "labels"


def _table_layers(view: SlideView) -> Iterator[Layer]:
    """Lines of the pairs, and centers of cells."""
    subject, table = view.subject, view.subject.table
    pairs = nearest_pairs(table, *subject.pair)
    if pairs:
        ends = np.stack(pairs) - 0.5
        style = {**_common(view), **LINE, "edge_width": LINE_PX, "opacity": 0.7}
        lines = np.stack([ends[:, 0], ends[:, 1] - ends[:, 0]], axis=1)
        yield lines, {**style, "name": pair_lines_name(subject)}, "vectors"
    points = np.stack([table["y_px"].to_numpy() - 0.5, table["x_px"].to_numpy() - 0.5], axis=1)
    shown = {
        **_common(view),
        "name": "cell centers",
        "size": POINT_PX,
        "visible": False,
        "border_width": 0,
        "face_color": point_colors(view, table["phenotype"].cat.codes.to_numpy()),
        "features": features_of(table),
    }
    yield points, shown, "points"


def _region_layers(view: SlideView) -> Iterator[Layer]:
    outline = view.outline.result()
    if len(outline):
        style = {**_common(view), **LINE, "edge_width": 2 * LINE_PX, "opacity": 0.8}
        yield outline, {**style, "name": "tumor region"}, "vectors"


def _common(view: SlideView) -> dict[str, Any]:
    return {**spatial(view.subject.pixel_size_um), "blending": "translucent"}


def pair_lines_name(subject: Subject) -> str:
    """Name of the layer of lines between the cells of pairs."""
    return f"{subject.pair[0]} to nearest {subject.pair[1]}"


def point_colors(view: SlideView, codes: NDArray[np.integer]) -> NDArray[np.float32]:
    """Color (n, 4) of every cell by its phenotype's position (negative: left out)."""
    by_class = view.coloring.color_dict()
    table = np.array([by_class[k] for k in range(1, view.coloring.left_out + 1)], np.float32)
    return table[np.where(codes < 0, len(table) - 1, codes)]


def features_of(table: pd.DataFrame, hidden: frozenset[str] = frozenset()) -> pd.DataFrame:
    """Columns of cells.parquet, the cell's id as ``index``, by which napari's table names it."""
    shown = table.drop(columns=list(hidden & set(table.columns)))
    return shown.rename(columns={"cell_id": "index"}).reset_index(drop=True)
