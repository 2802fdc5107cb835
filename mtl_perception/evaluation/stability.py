"""How steady predictions are from frame to frame, measured along dense optical flow; no truth.

A pixel x of a frame was at x + b(x) in the frame before, b being the flow from the one to the other
(OpenCV's DIS: Kroeger, Timofte, Dai, Van Gool, ECCV 2016). It counts where that lies in the picture
and the flow f the other way leads back: |b(x) + f(x + b(x))|² < 0.01 · (|b|² + |f|²) + 0.5, in
pixels (Sundaram, Brox, Keutzer, ECCV 2010); elsewhere something was covered or the flow failed.
Over all pixels that count, of all pairs of frames:

- the label change is the share whose label is another one than that at x + b(x) before;
- the depth change is the mean of |ln(Z(x) / Z'(x + b(x)))|, where both depths are finite. What the
  camera's own motion does to depth is part of it, so it compares predictions of the same drive.
"""

from dataclasses import dataclass
from typing import TypedDict

import cv2
import numpy as np

from mtl_perception.prediction import Prediction

FLOW_SCALE = 2
"""Rows of the picture that flow is computed on, for each row of the maps."""


class StabilityScores(TypedDict):
    """Pairs of frames, and of their pixels the share that counts; the changes, 0 is steady."""

    pairs: int
    valid: float
    label_change: float | None
    depth_change: float | None


@dataclass(frozen=True)
class Change:
    """One pair's share of labels that changed and mean depth change; ``None``: no pixel counts."""

    label: float | None
    depth: float | None


class TemporalStability:
    """Compares each prediction with the one before it."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._before: _View | None = None
        self._pairs = 0
        self._pixels = 0
        # Pixels that count, those with another label; those with two depths, sum of their changes.
        self._totals = np.zeros(4)

    def add(self, image: np.ndarray, prediction: Prediction) -> Change | None:
        """Measure one frame against the one before; return ``None`` where there is none.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            prediction: of one size for all frames, the network's output size being enough.
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
        """Compare the next frame with none: it does not follow the one before."""
        self._before = None

    def compute(self) -> StabilityScores | None:
        """Return the scores, ``None`` if no two frames were compared."""
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
        # mypy does not know that the result may be left to OpenCV.
        flow = self._flow.calc(start.gray, end.gray, None)  # type: ignore[call-overload]
        height, width = start.labels.shape
        return cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / FLOW_SCALE


@dataclass(frozen=True)
class _View:
    """A frame as the next one needs it."""

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
