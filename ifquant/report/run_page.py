"""report.html: one self-contained page about a run, made from what the slides' folders hold.

Nothing is loaded from anywhere: styles are inline, pictures and figures are data URIs, there is no
script. Every name comes from users' files and is escaped by jinja2. The same results give the same
bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ifquant import provenance
from ifquant.columns.cell_columns import (
    CELL_PATTERNS,
    gated_markers,
    phenotype_names,
    proximity_pair,
)
from ifquant.columns.flags import FLAGS
from ifquant.columns.slide_columns import SLIDE_PATTERNS
from ifquant.files import storage
from ifquant.recipe.defaults import channel_colors
from ifquant.recipe.model import Recipe
from ifquant.recipe.recipe_file import canonical
from ifquant.report import run_figures
from ifquant.report.page import environment
from ifquant.report.picture import phenotype_colors
from ifquant.report.run_sentences import limits, methods, shared_gates
from ifquant.results.cell_tables import read_table
from ifquant.results.file_names import DETAIL, OVERLAY, REPORT
from ifquant.results.slide_record import SlideRecord
from ifquant.results.slides_table import SlideStatus

MANY_SLIDES = 24
"""Above this pictures are smaller, so that the report of a large cohort can still be opened and
sent."""
_OVERVIEW_PX, _SMALL_PX, _QUALITY = 1500, 800, 86
_MAX_RESPONSES = 3
"""Markers shown by contact (the first ones of role marker)."""


@dataclass(frozen=True)
class SlideView:
    """What the page shows of one slide; pictures are data URIs, or empty."""

    row: Mapping[str, Any]
    record: SlideRecord
    sample: Mapping[str, str]
    anchor: str
    overlay: str
    detail: str
    gates: str
    distances: str
    margin: str
    contact: str
    contact_rows: Sequence[Mapping[str, Any]]


def write_report(out: Path, recipe: Recipe, statuses: Sequence[SlideStatus]) -> Path:
    """Write report.html into the folder of the results.

    Parameters
    ----------
    out
        Folder of the results; every slide with status ``done`` has its record there.
    recipe
        The resolved recipe of the run.
    statuses
        One per slide, in the order of the request.
    """
    path = Path(out) / REPORT
    storage.write_text(path, report_html(Path(out), recipe, statuses))
    return path


def report_html(out: Path, recipe: Recipe, statuses: Sequence[SlideStatus]) -> str:
    """Text of report.html; see `write_report`."""
    picture_px = _OVERVIEW_PX if len(statuses) <= MANY_SLIDES else _SMALL_PX
    done = [SlideRecord.find(out / status.name) for status in statuses if status.status == "done"]
    slides = [
        _slide_view(recipe, record, number, picture_px)
        for number, record in enumerate(done, 1)
        if record is not None
    ]
    source, target = proximity_pair(recipe)
    page = environment().get_template("report.html.j2")
    return page.render(
        recipe=recipe,
        recipe_digest=provenance.digest(canonical(recipe)),
        versions=provenance.versions(),
        n_slides=len(statuses),
        failed=[status for status in statuses if status.status != "done"],
        slides=slides,
        patients=len({view.sample["patient"] for view in slides if "patient" in view.sample}),
        groups=list(
            dict.fromkeys(view.sample["group"] for view in slides if "group" in view.sample)
        ),
        source=source,
        target=target,
        phenotypes=phenotype_names(recipe),
        colors=channel_colors(recipe),
        phenotype_colors={
            name: run_figures.paper_color(color)
            for name, color in _phenotype_colors(recipe).items()
        },
        cohort=run_figures.slides_figure(
            [{**view.row, **view.sample} for view in slides], _measures(source, target)
        ),
        shared=shared_gates(recipe, [view.record for view in slides]),
        methods=methods(recipe, provenance.versions()),
        limits=limits(recipe),
        flags=FLAGS,
        cell_columns=[
            p.filled(Statistic="Statistic", where="the compartment") for p in CELL_PATTERNS
        ],
        slide_columns=SLIDE_PATTERNS,
        gated=gated_markers(recipe),
    )


def _measures(source: str | None, target: str | None) -> list[tuple[str, str]]:
    """Columns of slides.csv that are shown side by side, with their labels."""
    measures = [
        (f"{name}_per_mm2", f"{name} cells per mm²")
        for name in (source, target)
        if name is not None
    ]
    if source and target:
        measures.append((f"median_nearest_{target}_um", f"median µm, {source} to nearest {target}"))
        measures.append((f"fraction_touching_{target}", f"fraction of {source} touching {target}"))
    return measures


def _slide_view(recipe: Recipe, record: SlideRecord, number: int, picture_px: int) -> SlideView:
    sample = record.sample
    distances, contact, contact_rows = _contacts(recipe, record)
    return SlideView(
        row=record.summary,
        record=record,
        sample={name: sample[name] for name in sorted(sample, key=_sample_order)},
        anchor=f"slide-{number}",
        overlay=picture_uri(record.folder / OVERLAY, picture_px),
        detail=picture_uri(record.folder / DETAIL, picture_px),
        gates=run_figures.gates_figure([gate.to_dict() for gate in record.gates.values()]),
        distances=distances,
        margin=run_figures.margin_figure(
            record.margin, phenotype_names(recipe), _phenotype_colors(recipe)
        ),
        contact=contact,
        contact_rows=contact_rows,
    )


def _contacts(recipe: Recipe, record: SlideRecord) -> tuple[str, str, list[dict[str, Any]]]:
    """Figures of distances and of markers by contact, and the table of the latter."""
    source, target = proximity_pair(recipe)
    if not source or not target:
        return "", "", []
    columns = {marker: gate.column for marker, gate in record.gates.items() if gate.column}
    markers = [channel.name for channel in recipe.with_role("marker") if channel.name in columns]
    markers = markers[:_MAX_RESPONSES]
    names = [columns[name] for name in markers] + [f"{name}_positive" for name in markers]
    names += [f"nearest_{target}_um", f"nearest_{target}_border_um", f"n_touching_{target}"]
    names = list(dict.fromkeys(names))
    table = read_table(record.folder, ["phenotype", *names])
    cells = table[table["phenotype"] == source]
    values = {name: cells[name].to_numpy(np.float64, na_value=np.nan) for name in names}
    color = _phenotype_colors(recipe)[source]
    centroid, border = values[f"nearest_{target}_um"], values[f"nearest_{target}_border_um"]
    distances = run_figures.distances_figure(centroid, border, source, target, color)
    touching = values[f"n_touching_{target}"] > 0
    groups = {
        name: (values[columns[name]][touching], values[columns[name]][~touching])
        for name in markers
    }
    gate_values = {marker: gate.value for marker, gate in record.gates.items()}
    labels = (f"touching {target}", "not touching")
    contact = run_figures.contact_figure(groups, gate_values, color, labels)
    rows = [
        _contact_row(name, groups[name], values[f"{name}_positive"], touching) for name in markers
    ]
    return distances, contact, rows


def _contact_row(
    marker: str, pair: tuple[Any, Any], positive: Any, touching: Any
) -> dict[str, Any]:
    """Medians and positive fractions of one marker, touching and not touching, where known."""
    called = np.isfinite(positive)

    def share(chosen: Any) -> float | None:
        return float(positive[chosen & called].mean()) if (chosen & called).any() else None

    def median(values: Any) -> float | None:
        return float(np.nanmedian(values)) if np.isfinite(values).any() else None

    return {
        "marker": marker,
        "medians": [median(v) for v in pair],
        "positive": [share(touching), share(~touching)],
        "n": [len(v) for v in pair],
    }


def _sample_order(column: str) -> tuple[int, str]:
    return {"patient": 0, "group": 1}.get(column, 2), column


def _phenotype_colors(recipe: Recipe) -> dict[str, str]:
    return phenotype_colors(list(phenotype_names(recipe)), proximity_pair(recipe))


def picture_uri(path: Path, longest_px: int) -> str:
    """Give a picture as data URI, reduced to `longest_px`; empty if there is none."""
    if not path.is_file():
        return ""
    with Image.open(path) as picture:
        image = picture.convert("RGB")
    image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
