"""Digests and versions: what a result was made from, so that it is recomputed exactly when
something it depends on changed.

Digests are per stage. `cells` covers everything that decides the geometry and the measurements
(file content, channels, tissue, segmentation, cell model, statistics); `table` adds gates,
phenotypes and proximity; `pictures` adds the rest. So a changed gate never re-segments.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ifquant.recipe.model import Recipe
from ifquant.recipe.recipe_file import canonical
from ifquant.version import __version__

ALGORITHM_VERSION = "1"
"""Raised by hand whenever any stage may give other numbers from the same input; with the version
part of every digest."""

CONTACT_KEYS = (
    *("responder", "source", "response", "ligand", "response_compartment", "ligand_compartment"),
    *("away_um", "erode_um"),
)
"""Settings of [priming] that decide what is measured at contacts; the others only change
statistics."""

REPORTED_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-image",
    "numba",
    "pandas",
    "pyarrow",
    "tifffile",
    "imagecodecs",
    "zarr",
    "onnxruntime",
    "cellpose",
    "torch",
    "pydantic",
    "matplotlib",
    "shapely",
    "statsmodels",
)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def stage_digests(recipe: Recipe, inputs: dict[str, Any]) -> dict[str, str]:
    """Digests of the stages `cells`, `table` and `pictures` of one slide.

    Parameters
    ----------
    recipe
        The resolved recipe.
    inputs
        JSON-able facts about the slide's inputs: content hashes of image, masks, regions and model;
        pixel size; crop.
    """
    parts = canonical(recipe)
    geometry = {
        key: parts[key] for key in ("slide", "tissue", "segmentation", "cells", "measure", "seed")
    }
    geometry["channels"] = [
        {k: v for k, v in channel.items() if k != "compartment"} for channel in parts["channels"]
    ]
    code = {"ifquant": __version__, "algorithm": ALGORITHM_VERSION}
    cells = digest({"code": code, "inputs": inputs, "recipe": geometry})
    chosen = {key: parts[key] for key in ("channels", "gates", "phenotypes", "proximity")}
    if parts["priming"] is not None:
        chosen["contacts"] = {key: parts["priming"][key] for key in CONTACT_KEYS}
    table = digest({"cells": cells, "recipe": chosen})
    pictures = digest(
        {"table": table, "recipe": {key: parts[key] for key in ("picture", "outputs")}}
    )
    return {"cells": cells, "table": table, "pictures": pictures}


def versions() -> dict[str, str]:
    """Versions of ifquant, Python and the packages that results depend on."""
    found = {
        "ifquant": __version__,
        "algorithm": ALGORITHM_VERSION,
        "python": platform.python_version(),
    }
    for name in REPORTED_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 (hex) of ifquant itself as installed: every file of the package, programs and models,
    less compiled caches.
    """
    root = Path(__file__).parent
    files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    found = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def host() -> dict[str, str]:
    """Describe the machine, without anything that names its user or place."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "python_implementation": sys.implementation.name,
    }


def peak_memory_bytes() -> int | None:
    """Peak resident memory of this process and its finished children, in bytes; None where the
    system does not tell.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
