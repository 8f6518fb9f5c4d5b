"""Segmentation methods by name: where their factories and model files are, loaded on demand.

A third-party package adds a segmenter by an entry point in the group ``ifquant.segmenters`` that
names its factory, ``factory(options, *, pixel_size_um, calibration) -> Segmenter``; nothing in
ifquant changes.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ifquant.errors import MissingDependency, RequestError

SEGMENTERS = {
    "classical": "ifquant.nuclei.classical:make",
    "unet": "ifquant.nuclei.unet:make",
    "labels": "ifquant.nuclei.label_segmenter:make",
    "cellpose": "ifquant.nuclei.cellpose:make",
}
"""Segmentation methods that ship with ifquant: name > ``module:factory``."""

CELL_SEGMENTERS = {"cellpose": "ifquant.nuclei.cellpose:make_cells"}
"""Methods that can also find whole cells; the factory returns None where the recipe does not."""

MODEL_FILES = {"cellpose": "ifquant.nuclei.cellpose_models:model_files"}
"""Methods whose model files the user chooses: the function maps options to `ModelFile` values."""

IDENTITIES = {"unet": "ifquant.nuclei.unet:identity"}
"""Methods with a model that ships with ifquant: the function returns what identifies it."""


def segmenter_names() -> tuple[str, ...]:
    """Names of all segmentation methods, those of installed plugins last."""
    return (
        *SEGMENTERS,
        *sorted(
            point.name
            for point in entry_points(group="ifquant.segmenters")
            if point.name not in SEGMENTERS
        ),
    )


def segmenter_factory(name: str) -> Callable[..., Any]:
    """Return the factory of a segmentation method, refusing unknown names."""
    if name in SEGMENTERS:
        factory = _load(SEGMENTERS[name], name)
    else:
        points = entry_points(group="ifquant.segmenters", name=name)
        if not points:
            known = segmenter_names()
            near = get_close_matches(name, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise RequestError(
                f'found segmentation method "{name}"; expected one of {", ".join(known)}{hint}'
            )
        try:
            factory = next(iter(points)).load()
        except ImportError as error:
            raise MissingDependency(
                f'the plugin of segmentation method "{name}" cannot be loaded: {error}.'
                " Reinstall it."
            ) from error
    assert callable(factory)
    return factory


def cell_segmenter_factory(name: str) -> Callable[..., Any] | None:
    """Return the factory of the method's cell segmenter, None when it has none."""
    return _load(CELL_SEGMENTERS[name], name) if name in CELL_SEGMENTERS else None


def model_files_of(name: str) -> Callable[..., Any] | None:
    """Return what lists the model files a method reads, None when it reads none of the user's."""
    return _load(MODEL_FILES[name], name) if name in MODEL_FILES else None


def segmenter_identity(name: str) -> Any:
    """Return what decides a method's result beside the recipe and the version of ifquant.

    That is the model card of a shipped network, or the versions of a plugin. It is known before a
    segmenter is made: digests tell whether a slide must be calibrated at all.
    """
    if name in IDENTITIES:
        return _load(IDENTITIES[name], name)()
    points = [] if name in SEGMENTERS else entry_points(group="ifquant.segmenters", name=name)
    return [[point.value, point.dist.version if point.dist else None] for point in points]


def _load(place: str, name: str) -> Callable[..., Any]:
    """Import ``module:function``."""
    module, _, attribute = place.partition(":")
    try:
        function: Callable[..., Any] = getattr(import_module(module), attribute)
        return function
    except ImportError as error:
        raise MissingDependency(
            f'the segmentation method "{name}" cannot be loaded: {error}. Install what it names, or'
            " choose another method."
        ) from error
