"""Keys of the review: the one list from which they are bound, shown and printed in the README.

They are bound on the active layer, if it is the review's own, and on the viewer while no layer is
active. On any other layer all keys are napari's. One owner at a time has our keys, and gets back
what it had. A bound function never raises (`error_guard`), so that napari counts the key as handled
and nobody is offered it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_ifquant.slide_review import SlideReview


@dataclass(frozen=True)
class Key:
    """Keys of one action (the first is shown), what it does, and its method of `SlideReview`."""

    keys: tuple[str, ...]
    text: str
    method: str
    arguments: tuple[object, ...] = ()


KEYS = (
    Key(("N", "Right"), "next", "next"),
    Key(("P", "Left"), "previous", "previous"),
    Key(("G",), "next undecided", "next_undecided"),
    Key(("A",), "accept", "accept"),
    *(Key((str(n),), f"phenotype {n}", "change_phenotype", (n,)) for n in range(1, 10)),
    Key(("X",), "artefact", "exclude", ("artefact",)),
    Key(("F",), "fold", "exclude", ("fold",)),
    Key(("O",), "out of focus", "exclude", ("out of focus",)),
    Key(("T",), "not touching", "not_touching"),
    Key(("K",), "other neighbor", "other_partner"),
    Key(("M",), "merge the pair", "merge"),
    Key(("S",), "split (twice)", "split"),
    Key(("R",), "redraw (twice)", "redraw"),
    Key(("E",), "exclude region (twice)", "exclude_region"),
    Key(("-",), "turn left, shrink", "adjust", (-1,)),
    Key(("=",), "turn right, grow", "adjust", (1,)),
    Key(("Escape",), "leave drawing", "cancel"),
    Key(("C",), "note", "ask_note"),
    Key(("U", "Control-Z"), "undo", "undo"),
    Key(("Y", "Control-Shift-Z"), "redo", "redo"),
    Key(("H",), "outlines", "toggle_outlines"),
)


def help_text(
    names: tuple[str, ...], methods: tuple[str, ...] | None = None
) -> list[tuple[str, str]]:
    """Key and meaning of every action on a slide with these phenotypes, or of some methods."""
    rows = []
    for key in KEYS:
        if methods is not None and key.method not in methods:
            continue
        if key.method != "change_phenotype":
            rows.append((key.keys[0], key.text))
        elif int(key.keys[0]) <= len(names):
            rows.append((key.keys[0], names[int(key.keys[0]) - 1]))
    return rows


def takes_keys(review: SlideReview) -> bool:
    """Whether keys and clicks are the review's: one of its own layers is active, or none is."""
    layer = review.viewer.layers.selection.active
    own = layer is None or layer in review.layers.in_viewer or _draws_on(review, layer)
    return own and not review.is_ended


def _draws_on(review: SlideReview, layer: Any) -> bool:
    # not "is": napari gives plugins proxies of its layers
    return review.drawing is not None and review.drawing.layer == layer


class KeyBinding:
    """Keeps the keys of a review bound in one viewer until it is released."""

    def __init__(self, viewer: Any, review: SlideReview) -> None:
        self._viewer, self._review = viewer, review
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
        review = self._review
        if not takes_keys(review):
            return
        layer = self._viewer.layers.selection.active
        self._owner = self._viewer if layer is None else layer
        drawing = review.drawing if _draws_on(review, layer) else None
        for key in KEYS:
            if drawing is None or key.method in drawing.methods:
                for combination in map(_combination, key.keys):
                    act = _call(review, key)
                    before = self._owner.bind_key(combination, act, overwrite=True)
                    self._bound[combination] = before, act

    def _give_back(self) -> None:
        for combination, (before, act) in self._bound.items():
            if self._owner.keymap.get(combination) is act:  # else somebody has bound it since
                self._owner.bind_key(combination, before, overwrite=True)
        self._owner, self._bound = None, {}


def _call(review: SlideReview, key: Key) -> Callable[[Any], None]:
    def act(_: Any) -> None:
        getattr(review, key.method)(*key.arguments)

    return act


def _combination(name: str) -> Any:
    """Key combination as napari looks it up; it knows "-" and "=" by code alone."""
    from app_model.types import KeyCode
    from napari.utils.key_bindings import coerce_keybinding

    return coerce_keybinding({"-": KeyCode.Minus, "=": KeyCode.Equal}.get(name, name))
