"""ifquant: do myeloid cells that touch TGFb-bearing tumor cells make IL1b?

The public functions load on first use, so that ``import ifquant`` stays light (no torch, napari, matplotlib, onnxruntime or distributed).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ifquant.cells import segment_cells
    from ifquant.cohort import run
    from ifquant.evaluation import evaluate
    from ifquant.measure import quantify
    from ifquant.segment import segment_nuclei

__version__ = "0.1.0"
__all__ = ["evaluate", "quantify", "run", "segment_cells", "segment_nuclei"]

_HOME = {
    "run": "ifquant.cohort",
    "segment_nuclei": "ifquant.segment",
    "segment_cells": "ifquant.cells",
    "quantify": "ifquant.measure",
    "evaluate": "ifquant.evaluation",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ifquant' has no attribute {name!r}; public names: {', '.join(__all__)}")
