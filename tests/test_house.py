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
PUBLIC = "a public function: its docstring states every parameter"
KERNEL = "a compiled loop over pixels that is not taken apart yet"
LATER = "not taken apart yet"
EXEMPT: dict[str, str] = {
    "ifquant/cells/contacts.py:measure_contacts": LATER,
    "ifquant/cells/growth_kernel.py:grow_window": KERNEL,
    "ifquant/cells/measurement.py:measure_cells": LATER,
    "ifquant/cells/measurement_kernels.py:sort_pixels": KERNEL,
    "ifquant/cells/quantify.py:quantify": PUBLIC,
    "ifquant/cells/shape_kernels.py:shapes": KERNEL,
    "ifquant/cli.py": "typer commands: their options and help in one place",
    "ifquant/cli.py:run": "a typer command: one parameter per option",
    "ifquant/commands/analyze.py:analyze": PUBLIC,
    "ifquant/commands/review_apply.py:apply_reviews": PUBLIC,
    "ifquant/commands/run.py:run": PUBLIC,
    "ifquant/commands/segment.py:segment_file": PUBLIC,
    "ifquant/geometry/signed_distance.py:_distance_to_feet": LATER,
    "ifquant/phenotypes/gate_bootstrap.py:bootstrap_gate": LATER,
    "ifquant/phenotypes/gates.py:fit_gate": LATER,
    "ifquant/phenotypes/valley.py:_rises": LATER,
    "ifquant/proximity/distances.py:proximity": LATER,
    "ifquant/proximity/tumor_region.py": LATER,
    "ifquant/proximity/tumor_region.py:margin_bands": LATER,
    "ifquant/recipe/role_guess.py:columns": "regular expressions",
    "ifquant/results/read_cells.py:read_cells": PUBLIC,
    "ifquant/statistics/cohort/cohort_test.py:analyze_cohort": LATER,
    "ifquant/tables/table_layout.py:columns": "one long address",
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
        print(f'    "{name}": "{EXEMPT.get(name, LATER)}",  # {fault}')
