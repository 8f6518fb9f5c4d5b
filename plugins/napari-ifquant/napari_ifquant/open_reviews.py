"""Reviews that are going on, one per viewer, and who is told when one begins or ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod, WeakValueDictionary

_OPEN: WeakValueDictionary[int, Any] = WeakValueDictionary()
_LISTENERS: list[WeakMethod[Callable[[], None]]] = []


def review_in(viewer: Any) -> Any:
    """`SlideReview` that is going on in a viewer; None: there is none."""
    return _OPEN.get(_key(viewer))


def add_review(viewer: Any, review: Any) -> None:
    """Enter a review that begins."""
    _OPEN[_key(viewer)] = review
    _notify()


def remove_review(viewer: Any, review: Any) -> None:
    """Strike out a review that ends, if it is the one in this viewer."""
    if review_in(viewer) is review:
        del _OPEN[_key(viewer)]
        _notify()


def on_change(listener: Callable[[], None]) -> None:
    """Have a bound method called at every change in any viewer, as long as its object lives."""
    _LISTENERS.append(WeakMethod(listener))


def _notify() -> None:
    for reference in list(_LISTENERS):
        listener = reference()
        try:
            if listener is None:
                raise RuntimeError  # as Qt says of a widget that is gone
            listener()
        except RuntimeError:
            _LISTENERS.remove(reference)


def _key(viewer: Any) -> int:
    """Key of a viewer, the same through the proxy that napari may give to plugins."""
    return id(getattr(viewer, "__wrapped__", viewer))
