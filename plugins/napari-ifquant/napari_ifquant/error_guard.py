"""The one place where what goes wrong in an action ends.

No exception may leave a function that a key is bound to: under PySide6 Qt takes a key whose handler
raised on the canvas for one that nobody wanted and hands it on to the window, where napari looks it
up again, and the action is done a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ifquant.errors import IfquantError


class Guard(Protocol):
    """Does actions one at a time, and lets nothing out that they raise."""

    def do(self, act: Callable[[], None]) -> bool:
        """Do it, and return whether that went well."""


_P = ParamSpec("_P")
_G = TypeVar("_G", bound=Guard)


def action(method: Callable[Concatenate[_G, _P], None]) -> Callable[Concatenate[_G, _P], bool]:
    """Make a method fit for keys, buttons and clicks; it returns whether it was done.

    What is raised is shown and goes no further, and what is on view is again what stands. Called in
    the midst of another action (a selection that the other one changed), or after the review has
    ended, it does nothing.
    """

    @wraps(method)
    def guarded(self: _G, /, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        return self.do(lambda: method(self, *args, **kwargs))

    return guarded


def error_text(error: Exception) -> str:
    """Text of an error for the dock; an unexpected one is also shown as napari shows errors."""
    if isinstance(error, IfquantError):
        return str(error)
    from napari.utils.notifications import notification_manager

    with suppress(Exception):  # a window that is closing shows nothing any more
        notification_manager.receive_error(type(error), error, error.__traceback__)
    return f"unexpected {type(error).__name__}: {error}"
