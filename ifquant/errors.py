"""Every error ifquant raises on purpose. Each message says what was found, what was expected and
what to do.

Each class also inherits the builtin it stands for, so that callers who know nothing of ifquant can
catch it. `exit_code` is what `ifquant run` ends with when the error stops the whole run; an error
about one slide's content never does (design, section 1).
"""

from __future__ import annotations


class IfquantError(Exception):
    """Base of all deliberate errors."""

    exit_code = 1


class RequestError(IfquantError, ValueError):
    """The request is wrong: an option, a recipe, a sample sheet, an argument."""

    exit_code = 2


class RecipeError(RequestError):
    """A recipe that does not validate; the message lists every problem with its place."""


class SlideError(IfquantError, ValueError):
    """One slide's content cannot be used as it is (no pixel size, RGB, duplicated channels, ...);
    other slides go on.
    """

    exit_code = 3


class UnreadableImage(SlideError, OSError):
    """A file that is not an image ifquant reads, or is damaged."""


class TileError(SlideError):
    """A tile could not be computed, or an object did not fit into its halo."""


class ResourceError(IfquantError, OSError):
    """Disk or memory ran out."""

    exit_code = 4


class MissingDependency(IfquantError, ImportError):
    """An optional package or a model file that the request needs is not installed."""

    exit_code = 2
