"""One run per output folder: a lock that the system itself releases when the process dies."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import sys
from pathlib import Path
from types import TracebackType

from ifquant.errors import RequestError
from ifquant.files import storage

LOCK_NAME = ".ifquant.lock"
_FAR = 1 << 30
"""Windows locks bytes against reading; one far behind the content leaves that readable."""


class RunLock:
    """Context manager that holds an output folder.

    Raises
    ------
    RequestError
        If another process holds it; the message names its process and computer.
    """

    def __init__(self, folder: storage.PathLike) -> None:
        self._path = Path(folder) / LOCK_NAME
        self._descriptor = -1

    def __enter__(self) -> RunLock:
        with storage.writing(self._path):
            storage.make_folder(self._path.parent)
            for _ in range(10):
                storage.before_mutation("create", str(self._path))
                descriptor = os.open(
                    self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666
                )
                try:
                    lock_descriptor(descriptor)
                except OSError:
                    owner = os.pread(descriptor, 4096, 0) if hasattr(os, "pread") else b""
                    os.close(descriptor)
                    raise RequestError(
                        f"{self._path.parent}: another run is writing here ({_owner(owner)}); wait"
                        " until it ends, stop it, or choose another folder"
                    ) from None
                if _same_file(descriptor, self._path):
                    self._descriptor = descriptor
                    break
                os.close(
                    descriptor
                )  # the previous owner removed the file between our open and lock
            else:
                raise RequestError(
                    f"{self._path}: cannot be locked; another run starts and ends all the time. Try"
                    " again"
                )
            text = json.dumps(
                {"pid": os.getpid(), "host": platform.node(), "run": secrets.token_hex(8)}
            ).encode()
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, text)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor < 0:
            return
        if sys.platform == "win32":  # an open file cannot be removed there
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                storage.remove(self._path)
        else:
            with contextlib.suppress(OSError):
                storage.remove(self._path)
            os.close(self._descriptor)
        self._descriptor = -1


def _owner(content: bytes) -> str:
    try:
        facts = json.loads(content)
        return f"process {int(facts['pid'])} on {str(facts['host'])!r}"
    except (ValueError, KeyError, TypeError):
        return "its process is not recorded"


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def lock_descriptor(descriptor: int) -> None:
    """Lock an open file until it is closed or the process dies; OSError if another has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
