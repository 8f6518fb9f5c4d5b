"""Every change to the disk goes through this module: files appear whole or not at all.

A file is written under a temporary name in its own folder (never across file systems), flushed to
the device, checked, and renamed over the final name; the folder entry is flushed too. A failed
write leaves nothing behind, a killed one leaves a `.part` that nobody mistakes for a result.
Disk-full and quota errors become `ResourceError`, missing rights and impossible paths
`RequestError`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ifquant.errors import IfquantError, RequestError, ResourceError

PathLike = str | os.PathLike[str]

_REQUEST = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL, errno.ELOOP, errno.ENAMETOOLONG}
_REQUEST |= {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT}
_REASON = {
    errno.ENOSPC: "the disk is full",
    errno.EFBIG: "the file would be larger than allowed",
    errno.EMFILE: "too many open files",
}
if hasattr(errno, "EDQUOT"):
    _REASON[errno.EDQUOT] = "the disk quota is used up"
ZEROS = 1 << 24
"""Zeros written at once where a file's room cannot be reserved."""
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


# ---- primitives: the only calls that change the disk (tests let the n-th one fail) ---------------


def before_mutation(operation: str, path: str) -> None:
    """Do nothing before a change to the disk; tests replace it to fail or die at the n-th."""


def create_file(path: PathLike) -> io.FileIO:
    """Create a file that must not exist yet, for unbuffered writing."""
    before_mutation("create", os.fspath(path))
    return os.fdopen(
        os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666), "w+b", buffering=0
    )


def write_new_file(path: PathLike, data: bytes | memoryview) -> None:
    """Create a file with this content, flushed to the device."""
    with create_file(path) as file:
        write_all(file, data)
        flush_to_device(file.fileno(), path)


def write_all(file: io.FileIO, data: bytes | memoryview) -> None:
    """Write all bytes or raise."""
    before_mutation("write", str(file.name))
    view = memoryview(data).cast("B") if data else memoryview(b"")
    while view:
        written = file.write(view[: 1 << 28])
        if not written:
            raise OSError(errno.ENOSPC, "short write")
        view = view[written:]


def flush_to_device(descriptor: int, path: PathLike) -> None:
    """fsync: errors that the system kept back surface here."""
    before_mutation("fsync", os.fspath(path))
    os.fsync(descriptor)


def make_folder(path: PathLike) -> None:
    """Create a folder with its parents."""
    if not os.path.isdir(path):
        before_mutation("mkdir", os.fspath(path))
        os.makedirs(path, exist_ok=True)


def rename(source: PathLike, final: PathLike) -> None:
    """Put a finished file or folder in its place and flush the folder entry."""
    before_mutation("replace", os.fspath(final))
    os.replace(source, final)
    flush_folder(os.path.dirname(os.fspath(final)) or ".")


def remove(path: PathLike) -> None:
    """Delete a file or a whole folder; missing is fine."""
    before_mutation("remove", os.fspath(path))
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def flush_folder(folder: PathLike) -> None:
    """Flush the entry of a new file: else a crash may lose it although its content was flushed."""
    if sys.platform == "win32":
        return  # Windows flushes folder entries itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems have no fsync of folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def unnamed_file(folder: PathLike, size: int) -> Iterator[IO[bytes]]:
    """Give a nameless file of `size` bytes of zeros, all reserved on a folder's disk.

    Nothing can be left over.
    On Windows, where files in use cannot be left behind without a name, it lies in the system's
    folder for such files.
    """
    with writing(folder):
        before_mutation("create", os.fspath(folder))
        with tempfile.TemporaryFile(dir=folder if os.name != "nt" else None) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                block = bytes(min(size, ZEROS))
                for start in range(0, size, len(block)):
                    file.write(block[: size - start])
                file.flush()
            yield file


# ---- whole files ---------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(path: PathLike) -> Iterator[None]:
    """Map the system's errors while `path` is being written.

    Raises
    ------
    ResourceError
        Disk full, quota, input/output errors, memory.
    RequestError
        No rights, not a folder, and other reasons that more disk will not cure.
    """
    try:
        yield
    except IfquantError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"{os.fspath(path)}: not enough memory to write it; use fewer workers or smaller tiles"
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        if error.errno in _REQUEST:
            raise RequestError(
                f"{os.fspath(path)}: cannot be written ({reason}); choose another folder or change"
                " its rights"
            ) from error
        reason = _REASON.get(error.errno or 0, reason)
        raise ResourceError(
            f"{os.fspath(path)}: writing failed ({reason}); free space or choose another disk, then"
            " run again"
        ) from error


@contextlib.contextmanager
def _part_of(final: Path) -> Iterator[Path]:
    """Temporary path beside `final`, renamed to it when the block ends well, else removed."""
    with writing(final):
        make_folder(final.parent)
        part = final.with_name(part_name(final.name))
        try:
            yield part
            rename(part, final)
        except BaseException:
            with contextlib.suppress(OSError):
                remove(part)
            raise


@contextlib.contextmanager
def atomic_path(final: PathLike) -> Iterator[Path]:
    """Give a temporary path to writers that want a file name (matplotlib, tifffile, pyarrow).

    The file keeps the suffix of `final`. When the block ends well and the file is not empty, it is
    flushed and renamed; when it raises, the file is removed and `final` is as before.
    """
    with _part_of(Path(final)) as part:
        create_file(part).close()
        yield part
        with part.open("rb+") as file:
            if file.seek(0, 2) == 0:
                raise OSError(errno.EIO, "nothing was written")
            flush_to_device(file.fileno(), part)


@contextlib.contextmanager
def atomic_folder(final: PathLike) -> Iterator[Path]:
    """Give a temporary folder, renamed to `final` when the block ends well; an older one goes."""
    final = Path(final)
    old = final.with_name(part_name(final.name))
    with writing(final):
        with _part_of(final) as part:
            make_folder(part)
            yield part
            if final.exists():
                rename(final, old)
        if old.exists():
            remove(old)


def part_name(name: str) -> str:
    """Make a temporary name that ends like `name`: .name.<pid>.<random>.part.suffix."""
    short = name.encode()[:100].decode(errors="ignore")
    return f".{short}.{os.getpid()}.{secrets.token_hex(4)}.part{Path(name).suffix}"


def is_part(name: str) -> bool:
    """Whether a file name was made by `part_name`."""
    fields = name.split(".")
    return name.startswith(".") and any(
        field == "part" and len(fields[i - 1]) == 8 and fields[i - 2].isdigit()
        for i, field in enumerate(fields)
        if i >= 4
    )


def remove_parts(folder: PathLike) -> list[str]:
    """Delete what killed writers left in a folder whose lock is held; returns the names."""
    if not os.path.isdir(folder):
        return []
    found = [name for name in os.listdir(folder) if is_part(name)]
    with writing(folder):
        for name in found:
            remove(os.path.join(folder, name))
    return found


def write_bytes(final: PathLike, data: bytes) -> None:
    """Write a file atomically and read it back."""
    write_blocks(final, [data])


def write_blocks(final: PathLike, blocks: Iterable[bytes | memoryview]) -> None:
    """Write a file atomically, block by block as they are made."""
    with _part_of(Path(final)) as part:
        total = 0
        with create_file(part) as file:
            for block in blocks:
                write_all(file, block)
                total += len(block)
            flush_to_device(file.fileno(), part)
        if part.stat().st_size != total:
            raise OSError(errno.EIO, "fewer bytes arrived than were written")


def write_text(final: PathLike, text: str) -> None:
    """Write UTF-8 text with Unix line ends atomically."""
    write_bytes(final, text.encode("utf-8"))


def write_json(final: PathLike, content: Any) -> None:
    """Write JSON atomically: sorted keys, a newline at the end, NaN and infinity as null."""
    plain = _plain(content)
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(final, text + "\n")


def read_json(path: PathLike) -> Any:
    """Read JSON; None when the file does not exist or is damaged."""
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def write_npz(final: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an .npz atomically, uncompressed: computing most again costs less."""
    buffer = io.BytesIO()
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"array {name!r} holds Python objects")
    np.savez(buffer, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    write_blocks(final, [buffer.getbuffer()])


def _plain(value: Any) -> Any:
    """JSON-able copy: numpy scalars and arrays, tuples, paths; non-finite floats become None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [_plain(item) for item in items]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
