"""A file that only grows: a line at a time, flushed to the device, by one process at a time."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from types import TracebackType

from ifquant.errors import RequestError
from ifquant.files import storage
from ifquant.files.run_lock import lock_descriptor


class AppendFile:
    """A file of lines, open for appending and locked until it is closed; use as a context manager.

    Nothing that was written is ever changed. When the last line has no line end (its writer died),
    the next one begins on a line of its own.

    Raises
    ------
    RequestError
        If another process has it open, or the folder cannot be written to.
    ResourceError
        If disk or memory ran out; the line is then not in the file, or torn.
    """

    def __init__(self, path: storage.PathLike) -> None:
        self.path = Path(path)
        with storage.writing(self.path):
            storage.make_folder(self.path.parent)
            new = not self.path.exists()
            storage.before_mutation("create", str(self.path))
            flags = (
                os.O_RDWR
                | os.O_CREAT
                | os.O_APPEND
                | getattr(os, "O_BINARY", 0)
                | getattr(os, "O_NOFOLLOW", 0)
            )
            self._file = io.FileIO(
                os.open(self.path, flags | getattr(os, "O_CLOEXEC", 0), 0o666), "a+b"
            )
            try:
                self._lock()
                if new:
                    storage.flush_folder(self.path.parent)
            except BaseException:
                self._file.close()
                raise

    def _lock(self) -> None:
        try:
            lock_descriptor(self._file.fileno())
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise
            raise RequestError(
                f"{self.path}: open in another window or process; close it there first, or use"
                " another reviewer's name"
            ) from None

    def __enter__(self) -> AppendFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether it was released."""
        return self._file.closed

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def read(self) -> bytes:
        """Everything in the file."""
        self._file.seek(0)
        return self._file.readall() or b""

    def append(self, line: str) -> None:
        """Add one line (without line end) and wait until the device has it."""
        if "\n" in line or "\r" in line:
            raise RequestError("a line of the log holds a line break; this is a bug of the caller.")
        with storage.writing(self.path):
            data = line.encode("utf-8") + b"\n"
            storage.write_all(self._file, data if self._ends_whole() else b"\n" + data)
            storage.flush_to_device(self._file.fileno(), self.path)

    def _ends_whole(self) -> bool:
        if self._file.seek(0, os.SEEK_END) == 0:
            return True
        self._file.seek(-1, os.SEEK_END)
        return self._file.read(1) == b"\n"
