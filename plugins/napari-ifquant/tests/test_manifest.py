"""The manifest is valid, everything it names can be imported, and nothing in ifquant needs the
plugin.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from npe2 import PluginManifest

from ifquant.commands.review_viewer import GROUP

MANIFEST = Path(__file__).parents[1] / "napari_ifquant" / "napari.yaml"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def test_the_manifest_is_valid_and_complete(manifest: PluginManifest) -> None:
    manifest.validate_imports()
    commands = {command.id for command in manifest.contributions.commands or ()}
    used = {
        item.command
        for group in ("readers", "writers", "widgets", "sample_data")
        for item in getattr(manifest.contributions, group) or ()
    }
    assert used == commands


def test_every_command_can_be_imported(manifest: PluginManifest, display: str) -> None:
    for command in manifest.contributions.commands or ():
        module, _, name = str(command.python_name).partition(":")
        assert callable(getattr(import_module(module), name))


def test_ifquant_review_finds_the_viewer(display: str) -> None:
    found = [
        point
        for point in entry_points(group=GROUP)
        if point.value == "napari_ifquant.launch:review"
    ]
    assert len(found) == 1
    assert callable(found[0].load())


def test_nothing_in_ifquant_imports_the_plugin_or_qt() -> None:
    import re

    import ifquant

    imports = re.compile(
        r"^\s*(from|import) (napari|napari_ifquant|qtpy|PySide6|PyQt6)\b", re.MULTILINE
    )
    files = list(Path(ifquant.__file__).parent.rglob("*.py"))
    assert len(files) > 100
    assert [path.name for path in files if imports.search(path.read_text("utf-8"))] == []
    assert imports.search("import napari\n")
