"""The zarr store that ifquant writes through: every change goes through `storage`, and what was written is remembered."""

from __future__ import annotations

import threading
from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from ifquant.files import storage


class RecordingStore(LocalStore):  # type: ignore[misc]  # zarr is untyped for us
    """A local store that writes through `storage` and lists the keys it wrote."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.written: list[str] = []
        self._guard = threading.Lock()

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        self.set_sync(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write one key, replacing it if it exists (zarr writes a group's metadata twice)."""
        path = self.root / key
        storage.make_folder(path.parent)
        if path.exists():
            storage.remove(path)
        storage.write_new_file(path, value.to_bytes())
        with self._guard:
            self.written.append(key)
