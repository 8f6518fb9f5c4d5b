"""Whether the tests notice small mistakes: one seeded mutation of the science packages at a time.

    python benchmarks/mutations.py --first 0 --count 10
    python benchmarks/mutations.py --list
    python benchmarks/mutations.py --revision bf30083  # the same mutations in older code

Mutations: a comparison flipped, plus and minus swapped, a constant off by one, a negation dropped,
min and max swapped, a slice off by one. Each is made in a copy of the tree, and the tests of its
package are run there until one fails (caught) or all pass (missed; some mutations change nothing
that matters). A mutation is named by module, function and its number inside the function, so that
it can be made in an older revision, too: modules are followed through renames, and a function that
has another expression at that number is left out.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "geometry": "runs filters tiles regions point_patterns proximity tumor_region",
    "calibration": "calibrate comparable degenerate",
    "nuclei": "decode classical segment seams pieces label_polygons labels_input evaluation unet"
    " cellpose",
    "cells": "cells measure contacts table",
    "phenotypes": "gates phenotypes panel",
    "proximity": "proximity tumor_region",
    "statistics": "point_patterns proximity_tests null_models priming priming_guards influence"
    " cohort_effect groups calibration",
}
"""Package > its test files, the quick ones first."""
COPIED = ("ifquant", "tests", "benchmarks", "tools", "example_images", "docs", "pyproject.toml")
FLIPPED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add}
EXTREMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}


class Mutation(NamedTuple):
    """One change: where it is, and the expression before and after."""

    module: str
    function: str
    number: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}:{self.function}:{self.number}  {self.before}  >  {self.after}"


# ---- what can be changed ----


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """Every small change of one node, as a new node."""
    match node:
        case ast.Compare(left, [operator], right) if type(operator) in FLIPPED:
            yield ast.Compare(left, [FLIPPED[type(operator)]()], right)
        case ast.BinOp(left, operator, right) if type(operator) in SWAPPED:
            yield ast.BinOp(left, SWAPPED[type(operator)](), right)
        case ast.Constant(int() as value) if not isinstance(value, bool):
            yield ast.Constant(value + 1)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Call(ast.Name(name), arguments, keywords) if name in EXTREMES:
            yield ast.Call(ast.Name(EXTREMES[name]), arguments, keywords)
        case ast.Call(ast.Attribute(value, name), arguments, keywords) if name in EXTREMES:
            yield ast.Call(ast.Attribute(value, EXTREMES[name]), arguments, keywords)
        case ast.Slice(lower, upper, step) if upper is not None:
            yield ast.Slice(lower, ast.BinOp(upper, ast.Sub(), ast.Constant(1)), step)
        case ast.Slice(lower, None, step) if lower is not None:
            yield ast.Slice(ast.BinOp(lower, ast.Add(), ast.Constant(1)), None, step)


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node under `node` that is code: its parent, field, place in a list, and itself."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for at, child in children:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if isinstance(child, ast.AST):
                yield node, field, at, child
                yield from places(child)


def functions(node: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Qualified name and node of every function; the code of inner functions is their own."""
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        name = f"{outer}.{child.name}".lstrip(".") if named else outer
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, child
        yield from functions(child, name)


def mutations(tree: ast.Module, module: str) -> Iterator[tuple[Mutation, str]]:
    """Every mutation of a module, with the module's text when it is made."""
    for name, function in functions(tree):
        number = 0
        for parent, field, at, node in list(places(function)):
            for new in changed(node):
                old_text, new_text = ast.unparse(node), ast.unparse(ast.fix_missing_locations(new))
                _put(parent, field, at, new)
                yield Mutation(module, name, number, old_text, new_text), ast.unparse(tree)
                _put(parent, field, at, node)
                number += 1


def _put(parent: ast.AST, field: str, at: int | None, node: ast.AST) -> None:
    if at is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[at] = node


def chosen(root: Path, n: int, seed: int) -> list[Mutation]:
    """Draw `n` mutations, the packages in turn: first a function, then a place in it."""
    rng = random.Random(seed)
    left: dict[str, list[list[Mutation]]] = {}
    for package in TESTS:
        by_function: dict[tuple[str, str], list[Mutation]] = {}
        for path in sorted((root / "ifquant" / package).rglob("*.py")):
            module = path.relative_to(root).as_posix()
            for mutation, _ in mutations(ast.parse(path.read_text()), module):
                by_function.setdefault((module, mutation.function), []).append(mutation)
        left[package] = list(by_function.values())
        rng.shuffle(left[package])
    packages = [package for _ in range(n) for package in TESTS if left[package]][:n]
    return [rng.choice(left[package].pop()) for package in packages]


# ---- making one, and running the tests ----


def copy_tree(folder: Path, revision: str | None) -> None:
    """Copy what tests need: the files of a revision, or those that git knows as they are now."""
    if revision is not None:
        archive = subprocess.run(
            ["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        return
    listed = subprocess.run(
        ["git", "ls-files", *COPIED], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


def older_names(revision: str) -> dict[str, str]:
    """Names that modules have in an older revision, by git's detection of renames."""
    words = ["git", "diff", "-M30%", "--name-status", "--diff-filter=RM", revision, "--", "ifquant"]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {row[-1]: row[1] for row in rows}


def mutated(root: Path, mutation: Mutation) -> str | None:
    """Text of the module with the mutation; None where the function has no such expression."""
    path = root / mutation.module
    if not path.exists():
        return None
    for other, text in mutations(ast.parse(path.read_text()), mutation.module):
        if other == mutation:
            return text
    return None


def tests_fail(root: Path, package: str, caches: Path, limit_s: float) -> str | None:
    """Run the tests of a package until one fails; which, or None when all pass."""
    names = [f"tests/test_{name}.py" for name in TESTS[package].split()]
    files = [name for name in names if (root / name).exists()]
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "NUMBA_CACHE_DIR": str(caches),
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "IFQUANT_DATA": os.environ.get("IFQUANT_DATA", str(ROOT.parent / "shared" / "data")),
    }
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(
            words, cwd=root, env=environment, capture_output=True, text=True, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        return f"the limit of {limit_s:.0f} s"
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0] if failed else f"exit code {done.returncode}"


def outcome(root: Path, mutation: Mutation, package: str, caches: Path, limit_s: float) -> str:
    """Make one mutation, run the tests, undo it.

    Compiled code is cached by the file that a function stands in, so that callers elsewhere would
    keep the old code: a module with compiled functions gets a cache of its own.
    """
    text = mutated(root, mutation)
    if text is None:
        return "left out: no such expression there"
    path = root / mutation.module
    original = path.read_text()
    with tempfile.TemporaryDirectory() as own:
        path.write_text(text)
        try:
            failed = tests_fail(root, package, Path(own) if "njit" in text else caches, limit_s)
        finally:
            path.write_text(original)
    return "missed" if failed is None else f"caught by {failed}"


def package_of(mutation: Mutation) -> str:
    """Package (now) that a mutation is in."""
    return mutation.module.split("/")[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=50, help="mutations drawn")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first of them to make")
    parser.add_argument("--count", type=int, help="how many to make; default: all")
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--revision", help="make them in this older revision")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one mutation's tests")
    options = parser.parse_args()
    every = list(enumerate(chosen(ROOT, options.n, options.seed)))
    every = every[options.first :][: options.count]
    if options.list:
        print("\n".join(f"{k:3d}  {mutation}" for k, mutation in every))
        return
    names = older_names(options.revision) if options.revision else {}
    results: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as caches:
        root = Path(folder)
        copy_tree(root, options.revision)
        for k, mutation in every:
            package, began = package_of(mutation), time.monotonic()
            there = mutation._replace(module=names.get(mutation.module, mutation.module))
            found = outcome(root, there, package, Path(caches), options.limit)
            results[package, found.split()[0].rstrip(":")] += 1
            print(
                f"{k:3d}  {mutation}\n     {found}  ({time.monotonic() - began:.0f} s)", flush=True
            )
    for package in TESTS:
        caught, missed = results[package, "caught"], results[package, "missed"]
        if caught + missed:
            print(f"{package:12} {caught} of {caught + missed} caught")
    print(f"{sum(results[p, 'caught'] for p in TESTS)} caught of {len(every)}")


if __name__ == "__main__":
    main()
