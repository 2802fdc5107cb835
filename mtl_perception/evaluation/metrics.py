"""Pooled metrics: every pixel of every frame counts once, whichever frame it lies in.

Averages of per-image averages would weigh a pixel by how few others its frame has. Each metric has
its ``totals`` in an array, so that processes that share a dataset can add theirs up.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from mtl_perception.labels import EVALUATED_IDS, IS_EVALUATED, LABELS, NUM_LABELS

MIN_DEPTH = 1e-3
MAX_DEPTH = 80.0
"""Metres between which depth is evaluated, as is usual since Eigen, Puhrsch, Fergus, NIPS 2014."""

DELTA_THRESHOLD = 1.25

CATEGORIES = tuple(dict.fromkeys(label.category for label in LABELS if label.evaluated))

CLASSES: Mapping[str, tuple[int, ...]] = {LABELS[i].name: (i,) for i in EVALUATED_IDS}


class OffsetScores(TypedDict):
    """Length of the error of the offset to the centroid, in pixels of the output map."""

    mean_error_px: float
    rms_error_px: float


class DepthScores(TypedDict):
    """Relative error, metres, share of pixels, and disparity error in pixels of the output map."""

    abs_rel: float | None
    rmse: float | None
    delta1: float | None
    mean_disparity_error_px: float | None
    rms_disparity_error_px: float | None


class GroupScores(TypedDict):
    """Intersection over union of groups of labels; ``None`` for what the truth does not hold."""

    iou: float | None
    per_group: dict[str, float | None]


class OffsetMetrics:
    """Errors of the offsets; ``totals`` are pixels, the sum of lengths and that of squares."""

    def __init__(self) -> None:
        self.totals = np.zeros(3)

    def update(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Count one frame.

        Args:
            predicted: ``(2, h, w)`` (dx, dy), pixels of the output map.
            true: likewise, NaN where the pixel belongs to no instance.
        """
        valid = np.isfinite(true).all(0)
        self.totals += _error_sums(np.hypot(*(predicted[:, valid] - true[:, valid].astype(float))))

    def compute(self) -> OffsetScores | None:
        """Return the scores, ``None`` if no pixel with a centroid was seen."""
        mean, rms = _mean_and_rms(self.totals)
        if mean is None or rms is None:
            return None
        return {'mean_error_px': mean, 'rms_error_px': rms}


class DepthMetrics:
    """Errors of depth and of disparity.

    ``totals`` are, for depth: pixels, the sum of relative errors, of squared errors and the pixels
    within δ < 1.25; ``disparity_totals``: pixels, the sum of absolute errors and of their squares.
    """

    def __init__(self) -> None:
        self.totals = np.zeros(4)
        self.disparity_totals = np.zeros(3)

    def update(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Count one frame's depth over the pixels whose truth lies in (0, 80] metres.

        The prediction is clipped to that range, so +Inf (too far to tell) counts as 80 m. NaN (no
        answer) counts as a depth of 0: a relative error of 1. Nothing is scaled to the truth.

        Args:
            predicted: ``(H, W)`` metres.
            true: ``(H, W)`` metres; NaN and +Inf are left out.
        """
        valid = (true > 0) & (true <= MAX_DEPTH)
        z = true[valid].astype(float)
        answer = predicted[valid]
        # Of NaN and a number, fmax is the number. In place: new memory takes longer than sums.
        np.minimum(np.fmax(answer, MIN_DEPTH, out=answer), MAX_DEPTH, out=answer)
        error = np.abs(answer - z)
        relative = (error / z).sum()
        squares = np.square(error, out=error).sum()
        low = np.minimum(answer, z, out=error)
        ratio = np.divide(np.maximum(answer, z, out=z), low, out=low)
        close = np.count_nonzero(ratio < DELTA_THRESHOLD)
        self.totals += (valid.sum(), relative, squares, close)

    def update_disparity(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Count one frame's disparity.

        Args:
            predicted: ``(h, w)`` pixels of the output map.
            true: likewise, NaN where unknown.
        """
        valid = np.isfinite(true)
        self.disparity_totals += _error_sums(np.abs(predicted[valid] - true[valid].astype(float)))

    def compute(self) -> DepthScores | None:
        """Return the scores, ``None`` if no pixel with a known depth or disparity was seen."""
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
    """Score a confusion matrix by groups of labels; a confusion within a group is none.

    Args:
        confusion: ``(34, 34)`` pixels, indexed ``[truth, prediction]`` by label ID.
        groups: the label IDs of each, ``GROUPS['camvid']`` for example.
    """
    labelled = np.where(IS_EVALUATED[:NUM_LABELS, None], confusion, 0)
    per_group = {
        name: _iou(labelled, list(members)) if labelled[list(members)].any() else None
        for name, members in groups.items()
    }
    return {'iou': mean_of_known(per_group.values()), 'per_group': per_group}


def category_members(category: str) -> list[int]:
    """Return the evaluated label IDs of a category."""
    return [label.id for label in LABELS if label.evaluated and label.category == category]


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not ``None``, ``None`` if there is no such value."""
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
