"""The network files that a recipe names for Cellpose: found, checked and hashed.

Given a path that does not exist, cellpose silently downloads its default model instead, with TLS
verification switched off for the whole process. So it is only ever handed the absolute path of a
file that is there.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from ifquant.errors import MissingDependency, RequestError
from ifquant.recipe.model import Segmentation
from ifquant.recipe.rules import nearest

_CP4 = "https://huggingface.co/mouseland/cellpose-sam/resolve/main/"
_CP3 = "https://www.cellpose.org/models/"

NAMED: dict[int, dict[str, str]] = {
    4: {name: _CP4 + name for name in ("cpsam", "cpsam_v2")},
    3: {
        "cyto3": _CP3 + "cyto3",
        "cyto2": _CP3 + "cyto2torch_0",
        "cyto": _CP3 + "cytotorch_0",
        "nuclei": _CP3 + "nucleitorch_0",
        "tissuenet_cp3": _CP3 + "tissuenet_cp3",
        "livecell_cp3": _CP3 + "livecell_cp3",
    },
}
"""Named networks by cellpose version: name > address, as in cellpose's own models.py."""


@dataclass(frozen=True)
class ModelFile:
    """A network file: recipe key that names it, absolute path, address if given by name."""

    option: str
    path: Path
    url: str | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, in hex; refused when the file is not there."""
        if not self.path.is_file():
            how = "give the absolute path of a network file you have"
            if self.url:
                how = (
                    "`ifquant run` and `ifquant segment` download it; without a network, copy it"
                    " there from a machine that has one"
                )
            raise MissingDependency(f"segmentation.{self.option}: found no file {self.path}; {how}")
        status = self.path.stat()
        return _sha256(str(self.path), status.st_size, status.st_mtime_ns)


def model_files(options: Segmentation) -> tuple[ModelFile, ...]:
    """List the network files that the recipe names, whether they are there or not."""
    installed_major()
    if options.model is None:
        raise RequestError(
            'segmentation.model: missing; method = "cellpose" needs the absolute path of a network'
            ' file, e.g. model = "/models/cpsam", or a name with allow_download = true, e.g. model'
            ' = "cpsam"'
        )
    files = [_model_file("model", options.model, options.allow_download)]
    if options.cell_model is not None:
        files.append(_model_file("cell_model", options.cell_model, options.allow_download))
    return tuple(files)


def installed_major() -> int:
    """Return the major version of the installed cellpose, 3 or 4; any other is refused."""
    try:
        version = metadata.version("cellpose")
    except metadata.PackageNotFoundError as error:
        raise MissingDependency(
            'method = "cellpose" needs the package cellpose, which is not installed: pip install'
            ' "ifquant[cellpose]" (see docs/cellpose.md), or choose another method'
        ) from error
    major, minor = (int(part) for part in version.split(".")[:2])
    if not (major == 4 or (major, minor) == (3, 1)):
        raise MissingDependency(
            f"found cellpose {version}; expected 4.2 (or 3.1 for cyto3-type networks): pip install"
            ' "cellpose>=4.2,<5"'
        )
    return major


def models_folder() -> Path:
    """Return cellpose's own folder of named networks."""
    given = os.environ.get("CELLPOSE_LOCAL_MODELS_PATH")
    return Path(given).absolute() if given else Path.home() / ".cellpose" / "models"


def _model_file(option: str, text: str, allow_download: bool) -> ModelFile:
    """Find the file of a path or a name given under a recipe key."""
    path = Path(text).expanduser()
    if path.is_absolute():
        return ModelFile(option, path)
    major = installed_major()
    named = NAMED[major]
    if text not in named:
        other = 7 - major
        if text in NAMED[other]:
            raise RequestError(
                f"segmentation.{option}: {text!r} is a network of cellpose {other}, installed is"
                f" {metadata.version('cellpose')}: choose one of {', '.join(named)}, or pip install"
                f' "cellpose>={other}{".1" if other == 3 else ".2"},<{other + 1}"'
            )
        near = nearest(text, list(named))
        raise RequestError(
            f"segmentation.{option}: found {text!r}; expected the absolute path of a network file,"
            f" or one of {', '.join(named)}" + (f"; did you mean {near!r}?" if near else "")
        )
    where = models_folder() / named[text].rsplit("/", 1)[1]
    if not allow_download:
        how = "give an absolute path"
        if where.is_file():
            how = f"give the path of the file you have: {option} = {str(where)!r}"
        raise RequestError(
            f"segmentation.{option}: {text!r} is a name, and names need allow_download = true;"
            f" or {how}"
        )
    return ModelFile(option, where, named[text])


@lru_cache(maxsize=8)
def _sha256(path: str, size: int, modified_ns: int) -> str:
    """Digest of a file that is read again only when size or time of change differ."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
