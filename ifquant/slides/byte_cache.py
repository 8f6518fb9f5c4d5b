"""A cache of decoded tiles bounded in bytes: overlapping windows decode each tile once, memory stays bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from ifquant.slides.image import Array


class ByteCache:
    """Least recently used arrays, at most `limit_bytes` in all (but always the newest one)."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._arrays: OrderedDict[Hashable, Array] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> Array | None:
        """Give an array back, if it is still there."""
        found = self._arrays.get(key)
        if found is not None:
            self._arrays.move_to_end(key)
        return found

    def put(self, key: Hashable, array: Array) -> None:
        """Keep an array, letting go of the least recently used ones."""
        self._arrays[key] = array
        self._bytes += array.nbytes
        while self._bytes > self.limit_bytes and len(self._arrays) > 1:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Let go of everything."""
        self._arrays.clear()
        self._bytes = 0
