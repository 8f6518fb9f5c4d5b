"""What the network learns at each pixel, and how far off it is."""

from __future__ import annotations

import cv2
import edt
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

CONTACT_PX = 2
"""A pixel belongs to the contact map when another nucleus lies within this many pixels (5 x 5
window)."""


def target_maps(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Foreground, distance normalised to 1 at each nucleus' deepest pixel, and contact: (3, Y, X)
    float32.
    """
    inside = labels > 0
    maps = np.zeros((3, *labels.shape), np.float32)
    if not inside.any():
        return maps
    depth = edt.edt(np.ascontiguousarray(labels, np.uint32), black_border=False)
    deepest = np.ones(int(labels.max()) + 1, np.float32)
    np.maximum.at(deepest, labels[inside], depth[inside])
    window = np.ones((2 * CONTACT_PX + 1, 2 * CONTACT_PX + 1), np.uint8)
    values = labels.astype(np.float32)
    highest = cv2.dilate(values, window)
    lowest = cv2.erode(np.where(inside, values, np.float32(1e9)), window)
    maps[0] = inside
    maps[1] = np.where(inside, depth / deepest[labels], 0)
    maps[2] = inside & (highest != lowest)
    return maps


def loss(logits: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Scalar loss: weighted BCE + Dice (foreground), smooth L1 (distance), weighted BCE
    (contact).
    """
    foreground, distance, contact = maps[:, 0], maps[:, 1], maps[:, 2]
    cross_entropy = (
        F.binary_cross_entropy_with_logits(logits[:, 0], foreground, reduction="none")
        * (1 + 2 * contact)
    ).mean()
    p = torch.sigmoid(logits[:, 0])
    dice = 1 - (2 * (p * foreground).sum() + 1) / ((p + foreground).sum() + 1)
    l1 = F.smooth_l1_loss(torch.sigmoid(logits[:, 1]), distance, reduction="none", beta=0.1)
    touching = F.binary_cross_entropy_with_logits(
        logits[:, 2], contact, pos_weight=logits.new_tensor(3.0)
    )
    return cross_entropy + 0.5 * dice + 4 * (l1 * (0.2 + 0.8 * foreground)).mean() + 0.5 * touching
