"""Network files that the user chose: fetched where the recipe allows it, hashed, and put on
record.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

from ifquant.files.download import fetch
from ifquant.recipe.model import Segmentation
from ifquant.registry import model_files_of


def models_used(options: Segmentation) -> dict[str, dict[str, str]]:
    """Network files a recipe names, by its key: file name, SHA-256, version of the package that
    reads it; empty where there are none.

    Raises
    ------
    RequestError
        If the recipe does not name them as it must.
    MissingDependency
        If a file or the package is not there.
    """
    list_files = model_files_of(options.method)
    if list_files is None:
        return {}
    version = metadata.version(options.method)
    return {
        file.option: {"file": file.path.name, "sha256": file.sha256, options.method: version}
        for file in list_files(options)
    }


def fetch_models(options: Segmentation, say: Callable[[str], None]) -> None:
    """Download the networks that are named, not given by path, and not there yet.

    Raises
    ------
    RequestError
        If the recipe does not name them as it must.
    MissingDependency
        If a download fails.
    """
    list_files = model_files_of(options.method)
    for file in list_files(options) if list_files is not None else ():
        if file.url is not None and not file.path.is_file():
            say(f"downloading {file.url} to {file.path}")
            fetch(file.url, file.path)
