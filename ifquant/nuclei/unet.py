"""Nuclei by the network that ships with ifquant: maps on a fixed lattice, then the shared decoder.

The network sees 0.5 um per pixel. Its output at a pixel depends on pixels at most 107 away and,
because it pools four times, on where the pixel lies in a grid of 16: so every call covers one core
of a lattice anchored at the image's first pixel, with 112 px around it and edges on multiples of
16. At the image's own border the window ends, and the image is continued by its mirror image up to
the next multiple of 16. A pixel's maps thus follow from image and lattice alone; quantised to 8
bits they go through the decoder, whose reach is bounded.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.errors import MissingDependency, RequestError
from ifquant.geometry import filters
from ifquant.geometry.windows import Window
from ifquant.nuclei.channel_levels import ChannelLevels, nucleus_levels
from ifquant.nuclei.decoder import DecodeOptions, decode
from ifquant.nuclei.working_scale import (
    nearest_ratio,
    source_range,
    to_image,
    to_working,
    working_shape,
)
from ifquant.recipe.model import Segmentation

WORKING_UM = 0.5
"""Pixel size the network works at (um)."""
REACH_PX = 107
"""Working pixels around a pixel that can change its maps, at worst (tests/test_unet.py)."""
HALO_PX = 112
"""Working pixels around a core that the network is given: its reach and the smoothing after it."""
CORE_PX = 2048
"""Side of a lattice core in working pixels, about: a multiple of 16 that is also whole image
pixels. The halo adds a quarter to its area (at 1536 px a third); the network then holds about 1.2
GB."""
CLIP = (-0.2, 2.0)
"""Range of the normalised image, as in training."""
MODEL = Path(__file__).parent / "models" / "nuclei.onnx"


@dataclass(frozen=True)
class Card:
    """What the decoder needs to know of the model, tuned on held-out training images.

    Attributes
    ----------
    sha256
        Of the model file.
    foreground
        Threshold of the foreground map (0 to 255).
    contact
        How strongly the contact map lowers the relief (0: not at all, 1: to nothing).
    cap
        Relief above this is cut off, so that the core of a nucleus is flat ground and cannot be
        split (0 to 255).
    smooth_px
        Standard deviation of the smoothing of the distance (working px).
    min_peak, merge_ratio
        As in `DecodeOptions`.
    """

    sha256: str
    foreground: int
    contact: float
    cap: int
    smooth_px: float
    min_peak: int
    merge_ratio: float


@dataclass(frozen=True)
class UNetSegmenter:
    """The network with one slide's levels; made by `make`.

    Attributes
    ----------
    model
        Path of the ONNX file.
    low, high
        Raw values that become 0 and 1.
    ratio
        Working pixels per image pixel.
    """

    model: str
    card: Card
    low: float
    high: float
    ratio: Fraction
    options: DecodeOptions
    core_px: int = CORE_PX
    name: str = "unet"

    @property
    def reach_px(self) -> int:
        """The decoder's: maps are the same in every window."""
        return self.options.reach_px

    @property
    def lattice_px(self) -> int:
        """Side of a lattice core in image pixels: a whole multiple of 16 working pixels."""
        step = 16 * self.ratio.denominator // math.gcd(16, self.ratio.numerator)
        return max(1, round(self.core_px / self.ratio / step)) * step

    def core_maps(self, read: Any, core: Window, image_shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Foreground and relief (2, Y, X) of one lattice core at full resolution."""
        if core.y0 % self.lattice_px or core.x0 % self.lattice_px:
            raise RequestError(
                f"found a cell at y={core.y0}, x={core.x0}; expected multiples of {self.lattice_px}"
                " px: maps are made on one lattice"
            )
        height, width = working_shape(image_shape, self.ratio)
        y0, y1 = self._axis(core.y0, core.y1, height)
        x0, x1 = self._axis(core.x0, core.x1, width)
        top, bottom = source_range(y0, y1, self.ratio, image_shape[0])
        left, right = source_range(x0, x1, self.ratio, image_shape[1])
        pixels = np.asarray(read(Window(top, left, bottom, right)))
        pixels = to_working(pixels, top, y0, y1, self.ratio, image_shape[0], 0)
        pixels = to_working(pixels, left, x0, x1, self.ratio, image_shape[1], 1)
        maps = self.working_maps(pixels)
        maps = to_image(maps, y0, core.y0, core.y1, self.ratio, 1)
        return to_image(maps, x0, core.x0, core.x1, self.ratio, 2)

    def working_maps(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Foreground and relief (2, Y, X) of raw pixels (Y, X) at the working scale."""
        scale = np.float32(1 / (self.high - self.low))
        prepared = _normalise(
            np.ascontiguousarray(pixels), np.float32(self.low), scale, *map(np.float32, CLIP)
        )
        foreground, distance, contact = probabilities(self.model, self.card.sha256, prepared)
        return np.stack(
            [_quantise(foreground, np.float32(255)), relief(distance, contact, self.card)]
        )

    def nuclei(
        self, read: Any, read_maps: Any, window: Window, image_shape: tuple[int, int]
    ) -> NDArray[np.int32]:
        """Labels (Y, X) of a window."""
        foreground, heights = read_maps(window)
        return decode(foreground, heights, self.options)

    def release(self) -> None:
        """Free the memory of the network."""
        _session.cache_clear()

    def _axis(self, start: int, stop: int, size: int) -> tuple[int, int]:
        """Working pixels, of `size` along an axis, that the network needs for a core's pixels."""
        first = start * self.ratio.numerator // self.ratio.denominator
        last = -(-stop * self.ratio.numerator // (16 * self.ratio.denominator)) * 16
        return max(first - HALO_PX, 0), min(last + HALO_PX, size)


def make(
    options: Segmentation,
    *,
    pixel_size_um: float,
    calibration: ChannelLevels | None,
    model: Path = MODEL,
) -> UNetSegmenter:
    """Make the segmenter from the recipe and the nucleus channel's levels."""
    levels = nucleus_levels(calibration, "unet")
    card = read_card(model)
    largest = options.max_diameter_um / pixel_size_um
    return UNetSegmenter(
        model=str(model),
        card=card,
        low=float(levels.low),
        high=float(levels.high if levels.high > levels.low else levels.low + 1),
        ratio=nearest_ratio(pixel_size_um / WORKING_UM),
        options=DecodeOptions(
            foreground=min(max(round(card.foreground / options.sensitivity), 1), 255),
            min_peak=card.min_peak,
            merge_ratio=card.merge_ratio,
            chain_px=math.ceil(largest / 2) + 2,
            merge_px=math.ceil(0.35 * largest),
            min_area_px=max(1, math.ceil(options.min_area_um2 / pixel_size_um**2)),
        ),
    )


def relief(
    distance: NDArray[np.float32], contact: NDArray[np.float32], card: Card
) -> NDArray[np.uint8]:
    """Smoothed distance lowered by the contact map: flat in nuclei, low where two meet."""
    low = _lower(distance, contact, np.float32(card.contact))
    if card.smooth_px > 0:
        low = filters.gaussian(low, card.smooth_px, int(2 * card.smooth_px + 0.5))
    return np.asarray(_quantise(low, np.float32(card.cap)))


def probabilities(model: str, sha256: str, normalised: NDArray[np.float32]) -> NDArray[np.float32]:
    """Foreground, normalised distance, contact (3, Y, X), 0 to 1; mirrored to multiples of 16."""
    height, width = normalised.shape
    if height % 16 or width % 16:
        normalised = np.pad(normalised, ((0, -height % 16), (0, -width % 16)), mode="symmetric")
    (maps,) = _session(model, sha256).run(None, {"image": normalised[None, None]})
    return np.asarray(maps[0, :, :height, :width], np.float32)


@lru_cache(maxsize=2)
def read_card(model: Path) -> Card:
    """Read the thresholds in the model card beside the model file; both must be there."""
    card = model.with_suffix(".json")
    missing = [str(path) for path in (model, card) if not path.is_file()]
    if missing:
        raise MissingDependency(
            f"found no {' and no '.join(missing)}; expected the network that ships with ifquant:"
            " install ifquant again"
        )
    content = json.loads(card.read_text(encoding="utf-8"))
    return Card(sha256=content["sha256"], **content["decoder"])


def identity() -> dict[str, Any]:
    """Return what identifies the shipped network in digests: its model card."""
    return asdict(read_card(MODEL))


@lru_cache(maxsize=2)
def _session(model: str, sha256: str) -> Any:
    """Return the model, loaded once per process, with one thread."""
    import onnxruntime

    path = Path(model)
    # a worker elsewhere has its own copy, proven equal by its hash
    content = (path if path.is_file() else MODEL).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise MissingDependency(
            f"found a model {model} with SHA-256 {digest}; its card says {sha256}: the file is"
            " damaged, install ifquant again"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # it plans memory anew for every shape of window, and keeps all of the plans
    options.enable_mem_pattern = False
    available = onnxruntime.get_available_providers()
    known = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in known if name in available]
    return onnxruntime.InferenceSession(content, options, providers=providers)


@njit(cache=True)
def _normalise(pixels, low, scale, least, most):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Scale pixels (Y, X) to the range the network was trained on; float32."""
    out = np.empty(pixels.shape, np.float32)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = min(max((np.float32(pixels[y, x]) - low) * scale, least), most)
    return out


@njit(cache=True)
def _lower(distance, contact, strength):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Distance lowered by the contact map; float32 (Y, X)."""
    out = np.empty(distance.shape, np.float32)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = distance[y, x] * (np.float32(1) - strength * contact[y, x])
    return out


@njit(cache=True)
def _quantise(values, most):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Quantise 0..1 to 0..255, rounded, cut off at `most`; uint8 (Y, X)."""
    out = np.empty(values.shape, np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = np.uint8(min(values[y, x] * np.float32(255) + np.float32(0.5), most))
    return out
