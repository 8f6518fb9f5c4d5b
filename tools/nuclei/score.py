"""AP of labels against truth, kept apart from `ifquant.evaluate` so that tuning needs no more than
counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def overlaps(predicted: NDArray[np.int32], truth: NDArray[np.int32]) -> NDArray[np.float64]:
    """IoU of every predicted with every true object, (n predicted, n true)."""
    n, m = int(predicted.max(initial=0)) + 1, int(truth.max(initial=0)) + 1
    shared = np.bincount(
        predicted.ravel().astype(np.int64) * m + truth.ravel(), minlength=n * m
    ).reshape(n, m)
    rows, columns = shared.sum(1), shared.sum(0)
    union = rows[:, None] + columns[None, :] - shared
    iou = shared / np.maximum(union, 1)
    return iou[1:][rows[1:] > 0][:, 1:][:, columns[1:] > 0]


def counts(predicted: NDArray[np.int32], truth: NDArray[np.int32]) -> NDArray[np.int64]:
    """TP, FP and FN at each IoU of `THRESHOLDS`, (5, 3). At IoU >= 0.5 a match is unique but for
    ties at exactly 0.5.
    """
    iou = overlaps(predicted, truth)
    rows = []
    for threshold in THRESHOLDS:
        hits = iou >= threshold
        found = int(min(hits.any(1).sum(), hits.any(0).sum())) if hits.size else 0
        rows.append((found, iou.shape[0] - found, iou.shape[1] - found))
    return np.array(rows, np.int64)


def average_precision(
    all_counts: list[NDArray[np.int64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AP = TP / (TP + FP + FN) at each threshold: mean over images (an empty image rightly found
    empty counts 1), and pooled.
    """
    table = np.array(all_counts, float)
    total = table.sum(2)
    per_image = np.where(total > 0, table[..., 0] / np.maximum(total, 1), 1.0).mean(0)
    pooled = table.sum(0)
    return per_image, pooled[:, 0] / np.maximum(pooled.sum(1), 1)
