"""Arrays inside JSON, exactly: the calibration and the tissue mask of a slide in slide.json."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed(arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """Arrays as JSON-able values, exactly (zlib, base64)."""
    return {
        name: {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "zlib_base64": base64.b64encode(
                zlib.compress(np.ascontiguousarray(array).tobytes(), 9)
            ).decode(),
        }
        for name, array in arrays.items()
    }


def unpacked(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Inverse of `packed`."""
    return {
        name: np.frombuffer(
            zlib.decompress(base64.b64decode(value["zlib_base64"])), dtype=np.dtype(value["dtype"])
        ).reshape(value["shape"])
        for name, value in stored.items()
    }
