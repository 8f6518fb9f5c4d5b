"""Agreement of predicted with true objects: against brute force, and cases worked out by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.nuclei.evaluation import evaluate, match, overlaps
from ifquant.nuclei.evaluation_picture import COLORS, draw, paint


def brute_force(
    predicted: NDArray[Any], truth: NDArray[Any], threshold: float
) -> tuple[int, float]:
    """Matches and their sum of IoU by sets of pixels and, up to 0.5, by trying every assignment."""
    p = [set(zip(*np.nonzero(predicted == k), strict=True)) for k in np.unique(predicted) if k]
    t = [set(zip(*np.nonzero(truth == k), strict=True)) for k in np.unique(truth) if k]
    iou = np.array([[len(a & b) / len(a | b) for b in t] for a in p]).reshape(len(p), len(t))
    few, many = (iou, iou.T)[len(p) > len(t)], max(len(p), len(t))
    best = (0, 0.0)
    for order in itertools.permutations(range(many), min(len(p), len(t))):
        values = [few[r, c] for r, c in enumerate(order) if few[r, c] >= threshold]
        best = max(best, (len(values), float(sum(values))))
    return best


def random_labels(rng: np.random.Generator, n: int) -> NDArray[np.int32]:
    labels = np.zeros((12, 14), np.int32)
    for k in rng.choice(np.arange(1, 40), n, replace=False):
        y, x, h, w = rng.integers(0, 9), rng.integers(0, 10), rng.integers(2, 6), rng.integers(2, 6)
        labels[y : y + h, x : x + w] = k
    return labels


@pytest.mark.parametrize("seed", range(25))
def test_agrees_with_brute_force_on_random_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = random_labels(rng, int(rng.integers(0, 6)))
    predicted = random_labels(rng, int(rng.integers(0, 6)))
    if seed % 2:  # mostly right, so that high thresholds match too
        predicted = np.where(rng.random(truth.shape) < 0.15, predicted, truth)
    thresholds = (0.1, 0.25, 0.5, 0.6, 0.75, 0.9)
    table = evaluate(predicted, truth, thresholds)
    n_p, n_t = len(np.unique(predicted[predicted > 0])), len(np.unique(truth[truth > 0]))
    for threshold, row in zip(thresholds, table.itertuples(), strict=True):
        tp, total = brute_force(predicted, truth, threshold)
        assert (row.tp, row.fp, row.fn) == (tp, n_p - tp, n_t - tp)
        if n_p + n_t:
            assert row.ap == pytest.approx(tp / (n_p + n_t - tp))
            assert row.f1 == pytest.approx(2 * tp / (n_p + n_t))
            assert row.pq == pytest.approx(total / (tp + (n_p - tp) / 2 + (n_t - tp) / 2))
        if tp:
            assert row.mean_matched_iou == pytest.approx(total / tp)


def test_hand_worked_split_merge_and_rates() -> None:
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 3, 3, 0, 4, 4]])
    predicted = np.array([[7, 7, 8, 8, 0, 9, 9, 9, 9, 5, 6, 6]])
    row = evaluate(predicted, truth, [0.6]).iloc[0]
    # 7 and 8 are halves of object 1, 9 holds 2 and 3 (IoU 0.5 each), 5 lies on background, 6 is
    # right
    assert (row.tp, row.fp, row.fn, row.splits, row.merges) == (1, 4, 3, 1, 1)
    assert row.ap == pytest.approx(1 / 8)
    assert row.precision == pytest.approx(1 / 5)
    assert row.recall == pytest.approx(1 / 4)
    assert row.pq == pytest.approx(1 / 4.5)


def test_an_object_matches_once_at_exactly_half() -> None:
    truth = np.array([[1, 1, 2, 2]])
    merged = np.array([[5, 5, 5, 5]])
    assert evaluate(merged, truth, [0.5])[["tp", "fp", "fn"]].to_numpy().tolist() == [[1, 0, 1]]
    assert evaluate(truth, merged, [0.5])[["tp", "fp", "fn"]].to_numpy().tolist() == [[1, 1, 0]]


def test_below_half_most_pairs_win_over_the_best_pair() -> None:
    """A chain: greedy by IoU would take the middle pair and lose the two others."""
    truth = np.zeros((1, 30), int)
    predicted = np.zeros((1, 30), int)
    truth[0, 0:10], truth[0, 10:20] = 1, 2
    predicted[0, 5:15], predicted[0, 15:25] = 1, 2
    found = match(overlaps(predicted, truth), 0.2)
    assert sorted(zip(found.predicted.tolist(), found.truth.tolist(), strict=True)) == [
        (0, 0),
        (1, 1),
    ]


@pytest.mark.parametrize(("p", "t", "rate"), [(0, 0, 1.0), (1, 0, 0.0), (0, 1, 0.0), (1, 1, 1.0)])
def test_empty_images(p: int, t: int, rate: float) -> None:
    row = evaluate(np.full((3, 3), p), np.full((3, 3), t), [0.5]).iloc[0]
    assert [row.ap, row.precision, row.recall, row.f1, row.pq] == [rate] * 5
    assert np.isnan(row.mean_matched_iou) == (p * t == 0)


def test_label_numbers_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = random_labels(rng, 5), random_labels(rng, 5)
    huge = predicted.astype(np.uint64) * 1_000_000_007
    assert evaluate(predicted, truth).equals(evaluate(huge, truth.astype(np.uint16)))


def test_a_large_image_is_sparse() -> None:
    """30,000 objects: a dense table of pairs would need 7 GB."""
    labels = np.kron(np.arange(1, 30_001).reshape(150, 200), np.ones((6, 6), int))
    labels[::6] = labels[:, ::6] = 0
    shifted = np.roll(labels, 2, axis=1)
    assert evaluate(shifted, labels, [0.3]).tp.tolist() == [30_000]


def test_refusals() -> None:
    good = np.ones((2, 2), int)
    for wrong, message in [
        (good.astype(float), "type float64"),
        (good > 0, "type bool"),
        (good[0], "shape \\(2,\\)"),
        (-good, "negative"),
    ]:
        with pytest.raises(RequestError, match=message):
            evaluate(wrong, good)
    for thresholds in ([], [0.0], [1.2], [0.5, 0.5]):
        with pytest.raises(RequestError, match="IoU thresholds"):
            evaluate(good, good, thresholds)


def test_picture_colors_each_fate() -> None:
    truth = np.array([[1, 1, 0, 2, 2, 0, 3, 3, 0, 4, 5, 0, 0]] * 2)
    predicted = np.array([[1, 1, 0, 0, 0, 0, 6, 7, 0, 8, 8, 0, 9]] * 2)
    rgb = paint(predicted, truth)[0]
    hit, miss, false_find, split, merge = (
        (np.array(c) * 255).round().astype(np.uint8).tolist() for c in COLORS.values()
    )
    assert rgb[1].tolist() == hit
    assert rgb[4].tolist() == miss
    assert rgb[2].tolist() == [0, 0, 0]
    assert rgb[10].tolist() in (hit, merge)
    assert (rgb[6] == (np.array(COLORS["split"]) * 0.45 * 255).round()).all()  # a border, darkened
    assert (rgb[12] == (np.array(COLORS["false find"]) * 0.45 * 255).round()).all()
    assert split != false_find
    png = draw(predicted, truth)
    assert png.startswith(b"\x89PNG")
    assert draw(0 * truth, 0 * truth).startswith(b"\x89PNG")
