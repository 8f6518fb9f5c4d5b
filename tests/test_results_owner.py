"""The folder of results has one owner: no other package names its files or opens them as JSON."""

import ast
from pathlib import Path

import pytest

from ifquant.results import file_names
from ifquant.results.run_record import RunRecord
from ifquant.results.slide_record import SlideRecord

ROOT = Path(__file__).parents[1]
OWNER = ROOT / "ifquant" / "results"
SOURCES = [
    path
    for folder in ("ifquant", "plugins/napari-ifquant/napari_ifquant")
    for path in (ROOT / folder).rglob("*.py")
    if OWNER not in path.parents
]
NAMES = {
    name
    for value in vars(file_names).values()
    for name in ((value,) if isinstance(value, str) else value if isinstance(value, tuple) else ())
    if "." in name and "/" not in name and "\n" not in name
}
ALLOWED = {
    ("ifquant/slides/slide_names.py", "names that no slide may have"),
    ("ifquant/report/cohort_page.py", "report.html of an analysis, which has its own folder"),
}
"""Files that name one of these all the same, and why."""


def named_files(source: str) -> set[str]:
    """File names of results that stand in a module as strings of their own."""
    return {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES
    }


def test_only_results_names_the_files_of_results() -> None:
    assert {"run.json", "slide.json", "cells.parquet", "labels.ome.zarr", "overlay.png"} <= NAMES
    found = {
        str(path.relative_to(ROOT)): names
        for path in SOURCES
        if (names := named_files(path.read_text(encoding="utf-8")))
    }
    assert set(found) == {path for path, _ in ALLOWED}, found


def test_a_module_that_names_one_is_found() -> None:
    assert named_files('record = folder / "slide.json"') == {"slide.json"}
    assert named_files('raise SlideError(f"{folder}: slide.json is gone")') == set()


def test_only_results_opens_json_of_results() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if "read_json(" in path.read_text(encoding="utf-8")
    }
    assert readers == {
        "ifquant/files/storage.py",  # the function itself
        "ifquant/files/ownership.py",  # whose file it is, whatever it is called
        "ifquant/report/cohort_page.py",  # an analysis
    }


@pytest.mark.parametrize("record", [SlideRecord, RunRecord])
@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '"x"'])
def test_a_damaged_record_is_none(tmp_path: Path, record: type, content: str) -> None:
    assert record.find(tmp_path) is None
    for name in ("slide.json", "run.json"):
        (tmp_path / name).write_text(content)
    assert record.find(tmp_path) is None
