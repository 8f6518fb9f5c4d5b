"""The installed cellpose, 4 or 3.1: import, safe loading of networks, segmentation of one image.

What is worked around, each with its reason:

- torchvision from PyPI links CUDA libraries that a CPU torch does not have. Its operators are then
  missing, and its import fails (``operator torchvision::nms does not exist``). cellpose imports
  torchvision but never calls those operators, so declaring their names is enough; the library
  object must stay alive.
- cellpose loads files with ``strict=False``: weights that are missing from a file stay random. The
  names are compared here.
- ``CellposeModel.eval(normalize=<bool>)`` writes into a module-wide dictionary: a whole dictionary
  is passed.
- ``max_size_fraction`` is relative to the window: it is switched off, the caller has a limit in um.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.errors import MissingDependency, RequestError
from ifquant.nuclei.cellpose_models import installed_major

REMEDY = (
    "install torch and torchvision that belong together, e.g. for a CPU: pip install torch==2.13.0"
    " torchvision==0.28.0 --index-url https://download.pytorch.org/whl/cpu (see docs/cellpose.md)"
)
OPERATORS = ("nms", "qnms")
"""Operators that torchvision expects when it is imported."""
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
SMALLEST_PX = 64
"""Smaller images are padded with their edge: rescaled, cellpose cannot tile less than a pixel."""
WINDOW = 14
"""Side of the windows of Segment Anything's other blocks, in its tokens."""
_libraries: list[Any] = []
"""Keeps the declared operators of torchvision alive."""


@dataclass(frozen=True, eq=False)
class Network:
    """A `CellposeModel` in memory, and the version of cellpose it belongs to, 3 or 4."""

    model: Any
    major: int

    def masks(
        self,
        image: NDArray[np.float32],
        *,
        diameter_px: float,
        cellprob_threshold: float,
        flow_threshold: float,
        min_area_px: int,
    ) -> NDArray[np.int32]:
        """Segment a normalised image (C, Y, X), cytoplasm before nuclei, with cellpose's dynamics.

        `diameter_px` is the size of objects; CP3 networks are given the image at the scale they
        were trained at, CP4 networks as it is.
        """
        height, width = image.shape[1:]
        missing_px = ((0, 0), (0, max(SMALLEST_PX - height, 0)), (0, max(SMALLEST_PX - width, 0)))
        planes = np.pad(image, missing_px, mode="edge")
        missing = self.model.nchan - len(planes) if self.major == 3 else 0
        if missing > 0:
            planes = np.concatenate([planes, np.zeros((missing, *planes.shape[1:]), np.float32)])
        defaults = import_module("cellpose.models").normalize_default
        with warnings.catch_warnings(action="ignore"), one_thread():
            masks = self.model.eval(
                planes,
                channel_axis=0,
                normalize={**defaults, "normalize": False},
                diameter=diameter_px if self.major == 3 else None,
                cellprob_threshold=cellprob_threshold,
                flow_threshold=flow_threshold,
                min_size=min_area_px,
                max_size_fraction=1.0,
            )[0]
        return np.asarray(masks, np.int32).reshape(planes.shape[1:])[:height, :width]


def import_cellpose() -> Any:
    """Return the module ``cellpose.models``; what is missing or does not fit is refused."""
    major = installed_major()
    # it reports optional networks and every file as warnings
    logging.getLogger("cellpose").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        try:
            torch = import_module("torch")
        except ImportError as error:
            raise MissingDependency(
                f"cellpose is installed, but torch cannot be imported ({error}); {REMEDY}"
            ) from error
        if tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2]) < (2, 6):
            raise MissingDependency(
                f"found torch {torch.__version__}; expected 2.6 or newer, which loads no code from"
                f" files; {REMEDY}"
            )
        if major == 4:
            _import_torchvision(torch)
        try:
            return import_module("cellpose.models")
        except (ImportError, RuntimeError, AttributeError, OSError) as error:
            raise MissingDependency(
                f'cellpose cannot be imported ({error}): pip install "ifquant[cellpose]" (see'
                " docs/cellpose.md)"
            ) from error


def _import_torchvision(torch: Any) -> None:
    """Import torchvision, on a torch without CUDA too."""
    if importlib.util.find_spec("torchvision") is None:
        raise MissingDependency(f"cellpose 4 needs torchvision, which is not installed; {REMEDY}")
    if not _libraries and not _operators_load(torch):
        library = torch.library.Library("torchvision", "DEF")
        for name in OPERATORS:
            library.define(name + _SCHEMA)
        _libraries.append(library)
    try:
        import_module("torchvision")
    except Exception as error:
        raise MissingDependency(
            f"torchvision does not fit torch {torch.__version__} ({error}); {REMEDY}"
        ) from error


def _operators_load(torch: Any) -> bool:
    """Whether torchvision's compiled operators can be loaded."""
    package = importlib.util.find_spec("torchvision")
    folders = package.submodule_search_locations or [] if package is not None else []
    patterns = ("_C*.so", "_C*.pyd", "_C*.dylib")
    files = [file for folder in folders for p in patterns for file in sorted(Path(folder).glob(p))]
    try:
        for file in files:
            torch.ops.load_library(str(file))
    except (OSError, RuntimeError):
        return False
    return bool(files)


@lru_cache(maxsize=2)
def load(path: str, sha256: str) -> Network:
    """Load a network file, once per process; only a whole one with the recorded SHA-256."""
    models = import_cellpose()
    with open(path, "rb") as file:
        now = hashlib.file_digest(file, "sha256").hexdigest()
    if now != sha256:
        raise RequestError(
            f"{path} has changed during the run (SHA-256 {now}, at the start {sha256}); run again"
        )
    state = read_state(path)
    major = kind_of(state, path)
    torch = import_module("torch")
    cuda = bool(torch.cuda.is_available())
    try:
        with warnings.catch_warnings(action="ignore"), one_thread():
            if major == 4:
                with _encoder_of(state):
                    model = models.CellposeModel(gpu=cuda, pretrained_model=path, use_bfloat16=cuda)
            else:
                channels = int(state["downsample.down.res_down_0.conv.conv_0.2.weight"].shape[1])
                model = models.CellposeModel(gpu=cuda, pretrained_model=path, nchan=channels)
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(
            f"{path} lacks weights of the network, or has them in other sizes ({reason}); expected"
            " a whole network file"
        ) from error
    absent = set(model.net.state_dict()) - set(state)
    if absent - {"diam_mean", "diam_labels"}:
        raise RequestError(
            f"{path} lacks weights of the network ({', '.join(sorted(absent)[:3])}, ...); expected"
            " a whole network file"
        )
    model.net.eval()
    return Network(model, major)


def read_state(path: str) -> dict[str, Any]:
    """Read the weights of a file as plain tensors; never runs code from it."""
    torch = import_module("torch")
    try:
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:  # pickle, zip and torch errors of every kind
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RequestError(
            f"{path} is no network file that loads safely (weights only): {reason}"
        ) from error
    if not isinstance(state, Mapping) or not all(
        hasattr(value, "shape") for value in state.values()
    ):
        raise RequestError(
            f"{path} holds no table of weights; expected a network file saved by cellpose"
        )
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def kind_of(state: Mapping[str, Any], path: str) -> int:
    """Return the version of cellpose a network belongs to, 3 or 4; it must be the installed one."""
    major = 4 if "W2" in state else 3 if "output.2.weight" in state else None
    if major is None:
        raise RequestError(
            f"{path} is no network of cellpose (neither CP3 nor CP4); expected one trained or"
            " published for cellpose"
        )
    if major != installed_major():
        wanted = '"cellpose>=4.2,<5"' if major == 4 else '"cellpose>=3.1,<4"'
        raise RequestError(
            f"{path} is a CP{major} network, installed is cellpose {installed_major()}: pip install"
            f" {wanted}"
        )
    if major == 4 and "encoder.cls_token" in state and importlib.util.find_spec("dinov3") is None:
        raise RequestError(
            f"{path} is a CPDINO network, which needs the package dinov3; install it, or take a"
            " Cellpose-SAM network"
        )
    return major


@contextmanager
def _encoder_of(state: Mapping[str, Any]) -> Iterator[None]:
    """Let cellpose build the transformer with the sizes in the file.

    It assumes ViT-L; a smaller one has the same layers. In Segment Anything some blocks attend to
    the whole image and have as many relative positions; cellpose makes all of them global.
    """
    if "encoder.cls_token" in state:
        yield
        return
    vit: Any = import_module("cellpose.vit")
    anything = import_module("segment_anything.modeling")
    nn = import_module("torch").nn
    width = state["encoder.patch_embed.proj.weight"].shape[0]
    depth = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.blocks."))
    positions = [state[f"encoder.blocks.{i}.attn.rel_pos_h"] for i in range(depth)]
    is_global = [len(table) != 2 * WINDOW - 1 for table in positions]

    def build(_: Any) -> Any:
        encoder = anything.ImageEncoderViT(
            depth=depth,
            embed_dim=width,
            img_size=1024,
            mlp_ratio=state["encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=width // positions[0].shape[1],
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            window_size=WINDOW,
            global_attn_indexes=[i for i in range(depth) if is_global[i]],
            out_chans=state["encoder.neck.0.weight"].shape[0],
        )
        return SimpleNamespace(image_encoder=encoder)

    original = vit.sam_model_registry
    vit.sam_model_registry = {**original, "vit_l": build}
    try:
        yield
    finally:
        vit.sam_model_registry = original


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: one worker is one thread, and sums do not depend on the machine."""
    torch = import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
