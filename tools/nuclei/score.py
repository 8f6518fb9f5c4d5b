"""AP of labels against truth, kept apart from `ifquant.evaluate` so that tuning needs no more than counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def overlaps(predicted: NDArray[np.int32], truth: NDArray[np.int32]) -> NDArray[np.float64]:
    """IoU of every predicted with every true object, (n predicted, n true)."""
    predicted, truth = (np.unique(labels, return_inverse=True)[1].reshape(labels.shape) + int(labels.min() > 0) for labels in (predicted, truth))
    n, m = int(predicted.max()) + 1, int(truth.max()) + 1
    shared = np.bincount(predicted.ravel() * m + truth.ravel(), minlength=n * m).reshape(n, m).astype(np.float64)
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    return (shared / np.maximum(union, 1))[1:, 1:]


def counts(predicted: NDArray[np.int32], truth: NDArray[np.int32]) -> NDArray[np.int64]:
    """TP, FP and FN at each IoU of `THRESHOLDS`, (5, 3). At IoU >= 0.5 a match is unique but for ties at exactly 0.5."""
    iou = overlaps(predicted, truth)
    rows = []
    for threshold in THRESHOLDS:
        hits = iou >= threshold
        found = int(min(hits.any(1).sum(), hits.any(0).sum())) if hits.size else 0
        rows.append((found, iou.shape[0] - found, iou.shape[1] - found))
    return np.array(rows, np.int64)


def average_precision(all_counts: list[NDArray[np.int64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AP = TP / (TP + FP + FN) at each threshold: mean over images (an empty image rightly found empty counts 1), and pooled."""
    table = np.array(all_counts, float)
    total = table.sum(2)
    per_image = np.where(total > 0, table[..., 0] / np.maximum(total, 1), 1.0).mean(0)
    pooled = table.sum(0)
    return per_image, pooled[:, 0] / np.maximum(pooled.sum(1), 1)
