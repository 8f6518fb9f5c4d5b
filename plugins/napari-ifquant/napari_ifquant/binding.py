"""Keys bound to the desk: on the viewer, and on each layer while it is active, since napari asks the active layer first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_ifquant.desk import Desk
from napari_ifquant.drawing import NAMES
from napari_ifquant.keys import KEYS, Key

WHILE_DRAWING = ("split", "redraw", "exclude_region", "adjust", "cancel", "undo")
"""What keys do on a layer that is drawn on; all its other keys stay napari's (brushes, modes)."""


class Binding:
    """Keeps the keys of a review bound in one viewer until it is released."""

    def __init__(self, viewer: Any, desk: Callable[[], Desk | None]) -> None:
        self._viewer, self._desk = viewer, desk
        for key in KEYS:
            self._bind(viewer, key)
        viewer.layers.selection.events.active.connect(self._on_active)
        self._on_active()

    def release(self) -> None:
        """Unbind everything."""
        self._viewer.layers.selection.events.active.disconnect(self._on_active)
        for owner in (self._viewer, *self._viewer.layers):
            for key in KEYS:
                for name in key.keys:
                    owner.keymap.pop(_combination(name), None)

    def _on_active(self, event: Any = None) -> None:
        layer = self._viewer.layers.selection.active
        if layer is None:
            return
        for key in KEYS:
            if layer.name not in NAMES or key.method in WHILE_DRAWING:
                self._bind(layer, key)

    def _bind(self, owner: Any, key: Key) -> None:
        def act(_: Any) -> None:
            desk = self._desk()
            if desk is not None:
                getattr(desk, key.method)(*key.arguments)

        for name in key.keys:
            owner.bind_key(_combination(name), act, overwrite=True)


def _combination(name: str) -> Any:
    from napari.utils.key_bindings import coerce_keybinding

    return coerce_keybinding({"-": "Minus", "=": "Equal"}.get(name, name))
