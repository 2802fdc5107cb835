# SPDX-License-Identifier: Apache-2.0
"""Steadiness of predictions from frame to frame along dense optical flow, without ground truth.

A pixel x of a frame was at x + b(x) in the previous frame, where b is the backward flow (OpenCV's
DIS: Kroeger, Timofte, Dai, Van Gool, ECCV 2016). A pixel is valid if x + b(x) is inside the picture
and the forward flow f leads back: |b(x) + f(x + b(x))|² < 0.01 · (|b|² + |f|²) + 0.5, in pixels
(Sundaram, Brox, Keutzer, ECCV 2010). Other pixels were occluded or the flow failed. Over the valid
pixels of all pairs of frames:

- the label change is the share of pixels whose label differs from the previous label at x + b(x);
- the depth change is the mean of |ln(Z(x) / Z'(x + b(x)))| where both depths are finite. It
  includes the motion of the camera, so it compares predictions of one drive only.
"""

from dataclasses import dataclass
from typing import TypedDict

import cv2
import numpy as np

from mtl_perception.prediction import Prediction

FLOW_SCALE = 2
"""Size of the picture for optical flow, as a multiple of the maps' size."""


class StabilityScores(TypedDict):
    """Number of pairs, share of valid pixels, and changes; 0 is steady."""

    pairs: int
    valid: float
    label_change: float | None
    depth_change: float | None


@dataclass(frozen=True)
class Change:
    """Label and depth change of one pair, ``None`` without a valid pixel."""

    label: float | None
    depth: float | None


class TemporalStability:
    """Comparison of each prediction with the previous one."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._before: _View | None = None
        self._pairs = 0
        self._pixels = 0
        # Valid pixels, pixels with another label, pixels with two depths, sum of depth changes.
        self._totals = np.zeros(4)

    def add(self, image: np.ndarray, prediction: Prediction) -> Change | None:
        """Compare one frame with the previous one, if any, and return the change.

        The image is ``(H, W, 3)`` uint8 RGB. The maps have one size in all frames; the network's
        output size is sufficient.
        """
        view = _view(image, prediction)
        before, self._before = self._before, view
        if before is None or before.labels.shape != view.labels.shape:
            return None
        totals = self._compare(before, view)
        self._pairs += 1
        self._pixels += view.labels.size
        self._totals += totals
        return Change(*_changes(totals))

    def restart(self) -> None:
        """Forget the previous frame, because the next one does not follow it."""
        self._before = None

    def compute(self) -> StabilityScores | None:
        """Return the scores, ``None`` without a pair of frames."""
        if not self._pairs:
            return None
        label, depth = _changes(self._totals)
        return {
            'pairs': self._pairs,
            'valid': float(self._totals[0]) / self._pixels,
            'label_change': label,
            'depth_change': depth,
        }

    def _compare(self, before: '_View', now: '_View') -> np.ndarray:
        shape = now.labels.shape
        back = self._flow_at_map(now, before)
        forth = self._flow_at_map(before, now)
        y, x = np.indices(shape, np.float32)
        x, y = x + back[..., 0], y + back[..., 1]
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
        forth = cv2.remap(forth, x, y, cv2.INTER_LINEAR)
        gap = _squared(back + forth)
        valid = inside & (gap < 0.01 * (_squared(back) + _squared(forth)) + 0.5)
        source = row[valid], column[valid]
        changed = np.count_nonzero(now.labels[valid] != before.labels[source])
        if now.depth is None or before.depth is None:
            return np.array([np.count_nonzero(valid), changed, 0, 0])
        depths = now.depth[valid], before.depth[source]
        known = np.isfinite(depths[0]) & np.isfinite(depths[1])
        ratio = depths[0][known].astype(float) / depths[1][known]
        return np.array([np.count_nonzero(valid), changed, ratio.size, np.abs(np.log(ratio)).sum()])

    def _flow_at_map(self, start: '_View', end: '_View') -> np.ndarray:
        """Return ``(h, w, 2)`` flow in pixels of the maps."""
        # mypy requires an output array, which OpenCV does not.
        flow = self._flow.calc(start.gray, end.gray, None)  # type: ignore[call-overload]
        height, width = start.labels.shape
        return cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / FLOW_SCALE


@dataclass(frozen=True)
class _View:
    """A frame at the size of the comparison."""

    gray: np.ndarray
    labels: np.ndarray
    depth: np.ndarray | None


def _view(image: np.ndarray, prediction: Prediction) -> _View:
    height, width = prediction.labels.shape
    size = FLOW_SCALE * width, FLOW_SCALE * height
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return _View(gray, prediction.labels, prediction.depth)


def _squared(flow: np.ndarray) -> np.ndarray:
    x, y = flow[..., 0], flow[..., 1]
    return x * x + y * y


def _changes(totals: np.ndarray) -> tuple[float | None, float | None]:
    pixels, changed, with_depth, change = totals.tolist()
    return changed / pixels if pixels else None, change / with_depth if with_depth else None
