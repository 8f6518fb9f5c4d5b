"""The one place where what goes wrong in an action ends.

No exception may leave a function that a key is bound to: under PySide6 Qt takes a key whose handler raised on the canvas for one that
nobody wanted and hands it on to the window, where napari looks it up again, and the action is done a second time.
"""

from __future__ import annotations

from contextlib import suppress

from ifquant.errors import IfquantError


def told(error: Exception) -> str:
    """Say what went wrong; what nobody expected is shown as napari shows errors, too."""
    if isinstance(error, IfquantError):
        return str(error)
    from napari.utils.notifications import notification_manager

    with suppress(Exception):  # a window that is closing shows nothing any more
        notification_manager.receive_error(type(error), error, error.__traceback__)
    return f"unexpected {type(error).__name__}: {error}"
