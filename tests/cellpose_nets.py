"""Small networks for the installed cellpose, trained at test time by its own training loop on
simulated nuclei.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from nuclei_phantom import phantom
from numpy.typing import NDArray

from ifquant.nuclei.cellpose_models import installed_major
from ifquant.nuclei.cellpose_package import import_cellpose, one_thread

DIAMETER_PX = 17.0
CROWDING = 0.35


def nuclei(seed: int, side: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    return phantom(seed, (side, side), diameter_px=DIAMETER_PX, crowding=CROWDING)


def train_network(folder: Path, name: str = "network") -> Path:
    """Train a network of the installed version's kind and return its file: a real CP4 or CP3 file,
    saved by cellpose.
    """
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        return _train_sam(folder, name) if installed_major() == 4 else _train_unet(folder, name)


def _data(n: int, planes: int, side: int = 256) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    images, labels = [], []
    for seed in range(n):
        image, truth = nuclei(seed, side)
        low, high = np.quantile(image, [0.01, 0.998])
        plane = ((image - low) / (high - low)).astype(np.float32)
        images.append(np.stack([plane, np.zeros_like(plane)])[:planes])
        labels.append(truth)
    return images, labels


def sam_network(
    depth: int = 1, width: int = 64, heads: int = 1, out: int = 64, whole: tuple[int, ...] = ()
) -> Any:
    """Cellpose's own CPSAM with a smaller transformer of segment_anything in it (304 million
    parameters otherwise).
    """
    import torch

    models = import_cellpose()
    from segment_anything.modeling import ImageEncoderViT

    class Sam:
        image_encoder = ImageEncoderViT(
            depth=depth,
            embed_dim=width,
            img_size=1024,
            mlp_ratio=4,
            norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=heads,
            patch_size=16,
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=whole,
            out_chans=out,
        )

    with mock.patch("cellpose.vit.sam_model_registry", {"vit_l": lambda _: Sam}):
        return models.CPSAM(dtype=torch.float32, rdrop=0.0)


def _train_sam(folder: Path, name: str) -> Path:
    import torch

    torch.manual_seed(0)
    net = sam_network()
    from cellpose import train

    images, labels = _data(12, 1)
    path, _, _ = train.train_seg(
        net,
        images,
        labels,
        channel_axis=0,
        batch_size=2,
        nimg_per_epoch=2,
        n_epochs=240,
        learning_rate=3e-3,
        weight_decay=0.01,
        normalize=False,
        rescale=False,
        scale_range=0.2,
        min_train_masks=1,
        save_every=10**6,
        save_path=str(folder),
        model_name=name,
    )
    return Path(path)


def _train_unet(folder: Path, name: str) -> Path:
    import torch

    torch.manual_seed(0)
    model = import_cellpose().CellposeModel(
        gpu=False, pretrained_model=False, nchan=2, diam_mean=DIAMETER_PX
    )
    model.net.mkldnn = False
    for layer in model.net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.3  # few steps: the running statistics must keep up
    from cellpose import train

    images, labels = _data(8, 2)
    path, _, _ = train.train_seg(
        model.net,
        images,
        labels,
        channel_axis=0,
        batch_size=2,
        nimg_per_epoch=2,
        n_epochs=60,
        learning_rate=5e-3,
        normalize=False,
        rescale=True,
        bsize=96,
        min_train_masks=1,
        save_every=10**6,
        save_path=str(folder),
        model_name=name,
    )
    return Path(path)
