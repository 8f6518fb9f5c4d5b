"""Ask stained slides whether myeloid cells that touch TGFb-bearing tumor cells make IL1b.

The public functions load on first use, so that ``import ifquant`` stays light (no torch, napari, matplotlib, onnxruntime or distributed).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ifquant.base.version import __version__

if TYPE_CHECKING:
    from ifquant.cells.cells import segment_cells
    from ifquant.cells.quantify import quantify
    from ifquant.nuclei.evaluation import evaluate
    from ifquant.nuclei.segment import segment_nuclei
    from ifquant.pipeline.analyze import analyze
    from ifquant.pipeline.cohort import run
    from ifquant.tables.read_cells import read_cells

__all__ = ["__version__", "analyze", "evaluate", "quantify", "read_cells", "run", "segment_cells", "segment_nuclei"]

_HOME = {
    "run": "ifquant.pipeline.cohort",
    "analyze": "ifquant.pipeline.analyze",
    "segment_nuclei": "ifquant.nuclei.segment",
    "segment_cells": "ifquant.cells.cells",
    "quantify": "ifquant.cells.quantify",
    "evaluate": "ifquant.nuclei.evaluation",
    "read_cells": "ifquant.tables.read_cells",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ifquant' has no attribute {name!r}; public names: {', '.join(__all__)}")
