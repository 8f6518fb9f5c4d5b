"""Ask stained slides whether myeloid cells that touch TGFb-bearing tumor cells make IL1b.

The public functions load on first use, so that ``import ifquant`` stays light (no torch, napari,
matplotlib, onnxruntime or distributed).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ifquant.version import __version__

if TYPE_CHECKING:
    from ifquant.cells.growth import segment_cells
    from ifquant.cells.quantify import quantify
    from ifquant.commands.analyze import analyze
    from ifquant.commands.run import run
    from ifquant.nuclei.evaluation import evaluate
    from ifquant.nuclei.segmenter import segment_nuclei
    from ifquant.results.read_cells import read_cells

__all__ = [
    "__version__",
    "analyze",
    "evaluate",
    "quantify",
    "read_cells",
    "run",
    "segment_cells",
    "segment_nuclei",
]

_HOME = {
    "run": "ifquant.commands.run",
    "analyze": "ifquant.commands.analyze",
    "segment_nuclei": "ifquant.nuclei.segmenter",
    "segment_cells": "ifquant.cells.growth",
    "quantify": "ifquant.cells.quantify",
    "evaluate": "ifquant.nuclei.evaluation",
    "read_cells": "ifquant.results.read_cells",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(
        f"module 'ifquant' has no attribute {name!r}; public names: {', '.join(__all__)}"
    )
