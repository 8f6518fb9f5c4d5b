"""Keys bound to the desk during a review: on the active layer, if it is the review's own; on the
viewer, while no layer is active.

On any other layer all keys are napari's. One owner at a time has our keys, and gets back what it
had. A bound function never raises (`guard`), so that napari counts the key as handled and nobody is
offered it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_ifquant.desk import Desk
from napari_ifquant.keys import KEYS, Key


class Binding:
    """Keeps the keys of a review bound in one viewer until it is released."""

    def __init__(self, viewer: Any, desk: Desk) -> None:
        self._viewer, self._desk = viewer, desk
        self._owner: Any = None
        self._bound: dict[Any, tuple[Any, Any]] = {}
        viewer.layers.selection.events.active.connect(self._move)
        self._move()

    def release(self) -> None:
        """Unbind everything."""
        self._viewer.layers.selection.events.active.disconnect(self._move)
        self._give_back()

    def _move(self, event: Any = None) -> None:
        self._give_back()
        if not self._desk.listens:
            return
        layer = self._viewer.layers.selection.active
        self._owner = self._viewer if layer is None else layer
        methods = self._desk.methods
        for key in KEYS:
            if methods is None or key.method in methods:
                for name in key.keys:
                    act = _acting(self._desk, key)
                    combination = _combination(name)
                    self._bound[combination] = (
                        self._owner.bind_key(combination, act, overwrite=True),
                        act,
                    )

    def _give_back(self) -> None:
        for combination, (before, act) in self._bound.items():
            if self._owner.keymap.get(combination) is act:  # else somebody has bound it since
                self._owner.bind_key(combination, before, overwrite=True)
        self._owner, self._bound = None, {}


def _acting(desk: Desk, key: Key) -> Callable[[Any], None]:
    def act(_: Any) -> None:
        getattr(desk, key.method)(*key.arguments)

    return act


def _combination(name: str) -> Any:
    """Key combination as napari looks it up; it knows "-" and "=" by code alone, and takes their
    names for an unknown key.
    """
    from app_model.types import KeyCode
    from napari.utils.key_bindings import coerce_keybinding

    return coerce_keybinding({"-": KeyCode.Minus, "=": KeyCode.Equal}.get(name, name))
