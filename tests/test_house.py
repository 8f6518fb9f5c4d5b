"""The size of files and functions: no function over a page, no long list of parameters.

What is exempt is listed with its reason; an exemption that is no longer needed fails, too.
``python tests/test_house.py`` prints what EXEMPT must hold now.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ifquant", "plugins/napari-ifquant/napari_ifquant")
MOST_LINES, MOST_PARAMETERS, LONGEST_FILE, WIDEST_LINE = 50, 8, 350, 100

MARK = re.compile(r"\s+# (type: ignore|pragma|noqa).*$")
"""Marks for checkers at the end of a line; not counted."""
OLD = "not tidied yet"
EXEMPT: dict[str, str] = {
    "ifquant/calibration/calibrate.py:_calibrate_channel": OLD,
    "ifquant/calibration/histogram.py:scan_block": OLD,
    "ifquant/cells/contacts.py:measure_contacts": OLD,
    "ifquant/cells/contacts.py:contact_sums": OLD,
    "ifquant/cells/growth.py": OLD,
    "ifquant/cells/growth.py:grow_cells": OLD,
    "ifquant/cells/growth_kernel.py": OLD,
    "ifquant/cells/growth_kernel.py:grow_window": OLD,
    "ifquant/cells/growth_kernel.py:keep": OLD,
    "ifquant/cells/growth_kernel.py:take_leftovers": OLD,
    "ifquant/cells/growth_kernel.py:count_media": OLD,
    "ifquant/cells/measurement.py": OLD,
    "ifquant/cells/measurement.py:measure_cells": OLD,
    "ifquant/cells/measurement_kernels.py": OLD,
    "ifquant/cells/measurement_kernels.py:sort_pixels": OLD,
    "ifquant/cells/measurement_kernels.py:statistics": OLD,
    "ifquant/cells/quantify.py:quantify": OLD,
    "ifquant/cells/shape_kernels.py:shapes": OLD,
    "ifquant/cli.py": "typer commands: their options and help in one place",
    "ifquant/cli.py:run": "a typer command: one parameter per option",
    "ifquant/columns/cell_columns.py": OLD,
    "ifquant/columns/slide_columns.py:documentation": OLD,
    "ifquant/commands/analyze.py": OLD,
    "ifquant/commands/analyze.py:analyze": OLD,
    "ifquant/commands/analyze.py:analyzed": OLD,
    "ifquant/commands/analyze_slide.py": OLD,
    "ifquant/commands/analyze_tables.py:_cells": OLD,
    "ifquant/commands/review_apply.py": OLD,
    "ifquant/commands/review_apply.py:apply_reviews": OLD,
    "ifquant/commands/review_apply.py:_apply": OLD,
    "ifquant/commands/review_apply.py:_decisions_table": OLD,
    "ifquant/commands/review_subject.py:load_subject": OLD,
    "ifquant/commands/run.py": OLD,
    "ifquant/commands/run.py:run": OLD,
    "ifquant/commands/run_folder.py:check_out": OLD,
    "ifquant/commands/segment.py:segment_file": OLD,
    "ifquant/files/storage.py": OLD,
    "ifquant/geometry/point_grid.py:_nearest": OLD,
    "ifquant/geometry/point_grid.py:_count_within": OLD,
    "ifquant/geometry/signed_distance.py:_distance_to_feet": OLD,
    "ifquant/nuclei/cellpose_package.py": OLD,
    "ifquant/nuclei/connected_pieces.py:largest_piece": OLD,
    "ifquant/nuclei/decoder.py:decode": OLD,
    "ifquant/nuclei/decoder.py:_basins": OLD,
    "ifquant/nuclei/decoder.py:_parent": OLD,
    "ifquant/nuclei/label_objects.py:find_objects": OLD,
    "ifquant/nuclei/segmenter.py:segment_nuclei": OLD,
    "ifquant/phenotypes/gate_bootstrap.py:bootstrap_gate": OLD,
    "ifquant/phenotypes/gates.py": OLD,
    "ifquant/phenotypes/gates.py:fit_gate": OLD,
    "ifquant/phenotypes/valley.py:_rises": OLD,
    "ifquant/pipeline/slide_assembly.py:assemble": OLD,
    "ifquant/pipeline/slide_classification.py:finish_slide": OLD,
    "ifquant/pipeline/slide_jobs.py:find_jobs": OLD,
    "ifquant/pipeline/slide_measurement.py:measure_slide": OLD,
    "ifquant/pipeline/slide_preparation.py:prepare": OLD,
    "ifquant/pipeline/tile.py:measured_rows": OLD,
    "ifquant/proximity/distance_kernels.py:nearest_border_kernel": OLD,
    "ifquant/proximity/distances.py:proximity": OLD,
    "ifquant/proximity/tumor_region.py": OLD,
    "ifquant/proximity/tumor_region.py:margin_bands": OLD,
    "ifquant/recipe/checks.py": OLD,
    "ifquant/recipe/model.py": OLD,
    "ifquant/recipe/template.py": OLD,
    "ifquant/recipe/template.py:columns": OLD,
    "ifquant/recipe/template.py:recipe_template": OLD,
    "ifquant/report/cohort_figures.py:forest_figure": OLD,
    "ifquant/report/cohort_page.py:record": OLD,
    "ifquant/report/multiverse_figure.py:multiverse_figure": OLD,
    "ifquant/report/overlay.py": OLD,
    "ifquant/report/picture.py": OLD,
    "ifquant/report/picture.py:_sample_runs": OLD,
    "ifquant/report/run_figures.py": OLD,
    "ifquant/report/run_figures.py:distances_figure": OLD,
    "ifquant/report/run_page.py:report_html": OLD,
    "ifquant/report/run_page.py:_slide_view": OLD,
    "ifquant/report/run_sentences.py:methods": OLD,
    "ifquant/report/run_sentences.py:shared_gates": OLD,
    "ifquant/results/read_cells.py:read_cells": OLD,
    "ifquant/results/slide_outputs.py": OLD,
    "ifquant/slides/ome_layout.py:ome_layout": OLD,
    "ifquant/slides/ome_layout.py:_ome_planes": OLD,
    "ifquant/slides/regions.py:read_regions": OLD,
    "ifquant/slides/sample_sheet.py": OLD,
    "ifquant/slides/slide.py": OLD,
    "ifquant/slides/slide_info.py:describe": OLD,
    "ifquant/slides/tiff_layout.py:_imagej_layout": OLD,
    "ifquant/slides/tiff_reader.py": OLD,
    "ifquant/slides/tiff_reader.py:TiffReader.__init__": OLD,
    "ifquant/slides/tiff_segments.py:_extents": OLD,
    "ifquant/slides/tiff_writer.py:write_ome_tiff": OLD,
    "ifquant/slides/zarr_reader.py:OmeZarrReader.__init__": OLD,
    "ifquant/statistics/cohort/cohort_test.py:analyze_cohort": OLD,
    "ifquant/statistics/cohort/cohort_verdict.py:cohort_verdict": OLD,
    "ifquant/statistics/patterns/envelopes.py:global_envelope": OLD,
    "ifquant/statistics/patterns/label_kernels.py:labelled_pair_histograms": OLD,
    "ifquant/statistics/patterns/pair_grid.py:pair_sums": OLD,
    "ifquant/statistics/patterns/pair_kernels.py:pair_histogram": OLD,
    "ifquant/statistics/patterns/pair_kernels.py:kernel_sums": OLD,
    "ifquant/statistics/patterns/point_patterns.py": OLD,
    "ifquant/statistics/patterns/point_patterns.py:cross_k_inhomogeneous": OLD,
    "ifquant/statistics/patterns/proximity_tests.py": OLD,
    "ifquant/statistics/patterns/proximity_tests.py:labelling_test": OLD,
    "ifquant/statistics/patterns/proximity_tests.py:shift_test": OLD,
    "ifquant/statistics/patterns/region_kernels.py:disc_areas": OLD,
    "ifquant/statistics/patterns/slide_proximity.py:slide_proximity": OLD,
    "ifquant/statistics/priming/choices.py:estimate": OLD,
    "ifquant/statistics/priming/guards.py:guard_rows": OLD,
    "ifquant/statistics/priming/priming_test.py:analyse_slide": OLD,
    "ifquant/statistics/priming/question.py:question_of": OLD,
    "ifquant/statistics/priming/random_shifts.py:shift_test": OLD,
    "ifquant/statistics/priming/random_shifts.py:_replicates": OLD,
    "ifquant/statistics/priming/random_shifts.py:nearest_in_buckets": OLD,
    "ifquant/statistics/priming/random_shifts.py:shifted_exposure": OLD,
    "ifquant/statistics/priming/secondary_measures.py:naive_tests": OLD,
    "ifquant/tables/table_layout.py:columns": OLD,
    "ifquant/tables/table_layout.py:layout_of": OLD,
    "plugins/napari-ifquant/napari_ifquant/result.py:open_result": OLD,
    "plugins/napari-ifquant/napari_ifquant/result.py:_layers": OLD,
    "plugins/napari-ifquant/napari_ifquant/walk.py": OLD,
}
"""`file:function`, `file` (its lines) or `file:columns` > why it may be larger."""


def functions(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Qualified name and node of every function."""
    for node in ast.iter_child_nodes(tree):
        name = outer
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{outer}.{node.name}" if outer else node.name
            if not isinstance(node, ast.ClassDef):
                yield name, node
        yield from functions(node, name)


def too_large_in(path: Path) -> Iterator[tuple[str, str]]:
    """Name (`file` or `file:function`) and fault of what is too large in a file."""
    place, text = path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
    lines = text.splitlines()
    if len(lines) > LONGEST_FILE:
        yield place, f"{len(lines)} lines"
    widest = max((len(MARK.sub("", line)) for line in lines), default=0)
    if widest > WIDEST_LINE:
        yield f"{place}:columns", f"{widest} columns"
    for name, node in functions(ast.parse(text)):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        given = node.args
        parameters = len(given.posonlyargs + given.args + given.kwonlyargs)
        parameters += (given.vararg is not None) + (given.kwarg is not None)
        assert node.end_lineno is not None
        length = node.end_lineno - node.lineno + 1
        if length > MOST_LINES or parameters > MOST_PARAMETERS:
            yield f"{place}:{name}", f"{length} lines, {parameters} parameters"


def too_large() -> dict[str, str]:
    """Everything that is too large: name > fault."""
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return {name: fault for path in paths for name, fault in too_large_in(path)}


def test_nothing_is_too_large() -> None:
    new = {name: fault for name, fault in too_large().items() if name not in EXEMPT}
    assert not new, f"split, or list in EXEMPT with a reason: {new}"


def test_every_exemption_is_needed() -> None:
    needless = sorted(EXEMPT.keys() - too_large().keys())
    assert not needless, f"no longer too large, take out of EXEMPT: {needless}"


if __name__ == "__main__":
    for name, fault in too_large().items():
        print(f'    "{name}": "{EXEMPT.get(name, OLD)}",  # {fault}')
