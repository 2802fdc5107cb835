# SPDX-License-Identifier: Apache-2.0
"""Metrics pooled over the pixels of all frames.

Averages of averages per image would give more weight to pixels of frames with few valid pixels.
Each metric keeps ``totals`` in an array, so that processes can add up their shares of a dataset.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from mtl_perception.labels import EVALUATED_IDS, IS_EVALUATED, LABELS, NUM_LABELS

MIN_DEPTH = 1e-3
MAX_DEPTH = 80.0
"""Range of evaluated depth in metres, as in Eigen, Puhrsch, Fergus, NIPS 2014."""

DELTA_THRESHOLD = 1.25

CLASSES: Mapping[str, tuple[int, ...]] = {LABELS[i].name: (i,) for i in EVALUATED_IDS}


class OffsetScores(TypedDict):
    """Length of the errors of offsets to the centroid, in pixels of the output map."""

    mean_error_px: float
    rms_error_px: float


class DepthScores(TypedDict):
    """Relative error, error in metres, share of pixels, errors in pixels of the output map."""

    abs_rel: float | None
    rmse: float | None
    delta1: float | None
    mean_disparity_error_px: float | None
    rms_disparity_error_px: float | None


class GroupScores(TypedDict):
    """Intersection over union of groups of labels, ``None`` for groups absent from the truth."""

    iou: float | None
    per_group: dict[str, float | None]


class OffsetMetrics:
    """Errors of offsets; ``totals`` are pixels, sum of lengths and sum of squared lengths."""

    def __init__(self) -> None:
        self.totals = np.zeros(3)

    def update(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Add ``(2, h, w)`` (dx, dy) of a frame, pixels of the output map; true NaN is ignored."""
        valid = np.isfinite(true).all(0)
        self.totals += _error_sums(np.hypot(*(predicted[:, valid] - true[:, valid].astype(float))))

    def compute(self) -> OffsetScores | None:
        """Return the scores, ``None`` without a pixel on an instance."""
        mean, rms = _mean_and_rms(self.totals)
        if mean is None or rms is None:
            return None
        return {'mean_error_px': mean, 'rms_error_px': rms}


class DepthMetrics:
    """Errors of depth and of disparity.

    ``totals`` are the pixels with depth, the sum of relative errors, the sum of squared errors and
    the pixels within δ < 1.25. ``disparity_totals`` are the pixels with a disparity, the sum of
    absolute errors and the sum of squared errors.
    """

    def __init__(self) -> None:
        self.totals = np.zeros(4)
        self.disparity_totals = np.zeros(3)

    def update(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Add the depth of one frame, over pixels with a true depth in (0, 80] metres.

        Predictions are clipped to this range, so +Inf (beyond the maximum) counts as 80 m. NaN (no
        prediction) counts as 0 m, a relative error of 1. Predictions are not scaled to the truth.
        """
        valid = (true > 0) & (true <= MAX_DEPTH)
        z = true[valid].astype(float)
        answer = predicted[valid]
        # fmax of NaN and a number is the number. In place, because allocation is slower than sums.
        np.minimum(np.fmax(answer, MIN_DEPTH, out=answer), MAX_DEPTH, out=answer)
        error = np.abs(answer - z)
        relative = (error / z).sum()
        squares = np.square(error, out=error).sum()
        low = np.minimum(answer, z, out=error)
        ratio = np.divide(np.maximum(answer, z, out=z), low, out=low)
        close = np.count_nonzero(ratio < DELTA_THRESHOLD)
        self.totals += (valid.sum(), relative, squares, close)

    def update_disparity(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Add ``(h, w)`` disparity of a frame, pixels of the output map; true NaN is ignored."""
        valid = np.isfinite(true)
        self.disparity_totals += _error_sums(np.abs(predicted[valid] - true[valid].astype(float)))

    def compute(self) -> DepthScores | None:
        """Return the scores, ``None`` without a pixel of known depth or disparity."""
        if not self.totals[0] and not self.disparity_totals[0]:
            return None
        pixels, relative, squares, close = self.totals
        mean_disparity_error, rms_disparity_error = _mean_and_rms(self.disparity_totals)
        return {
            'abs_rel': relative / pixels if pixels else None,
            'rmse': math.sqrt(squares / pixels) if pixels else None,
            'delta1': close / pixels if pixels else None,
            'mean_disparity_error_px': mean_disparity_error,
            'rms_disparity_error_px': rms_disparity_error,
        }


def confusion_matrix(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Count the pixels of two uint8 label maps, ``(34, 34)`` indexed ``[truth, prediction]``."""
    pairs = true.astype(np.uint16) * NUM_LABELS + predicted
    return np.bincount(pairs.ravel(), minlength=NUM_LABELS**2).reshape(NUM_LABELS, NUM_LABELS)


def group_scores(confusion: np.ndarray, groups: Mapping[str, Sequence[int]]) -> GroupScores:
    """Score a confusion matrix by groups of labels, for example ``GROUPS['camvid']``.

    Confusions within a group are correct. The matrix is ``(34, 34)``, as ``confusion_matrix``.
    """
    labelled = np.where(IS_EVALUATED[:NUM_LABELS, None], confusion, 0)
    per_group = {
        name: _iou(labelled, list(members)) if labelled[list(members)].any() else None
        for name, members in groups.items()
    }
    return {'iou': mean_of_known(per_group.values()), 'per_group': per_group}


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values other than ``None``, ``None`` without such a value."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _iou(confusion: np.ndarray, members: list[int]) -> float:
    intersection = confusion[np.ix_(members, members)].sum()
    union = confusion[members].sum() + confusion[:, members].sum() - intersection
    return float(intersection / union)


def _error_sums(errors: np.ndarray) -> tuple[float, float, float]:
    return errors.size, errors.sum(), np.square(errors).sum()


def _mean_and_rms(totals: np.ndarray) -> tuple[float | None, float | None]:
    pixels, total, squares = totals.tolist()
    if not pixels:
        return None, None
    return total / pixels, math.sqrt(squares / pixels)
