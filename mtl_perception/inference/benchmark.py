"""How fast and how good the grouping of votes is, beside its peers: scikit-learn and Panoptic-DeepLab.

Peers are timed in turns with this package's own, in one process, so that all see the same machine.
"""

import math
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from mtl_perception.labels import INSTANCE_ID_BASE, THING_IDS
from mtl_perception.tasks.instance import (
    GroupingParameters,
    Instances,
    explain_grouping,
    group_instances,
    merge_votes,
)
from mtl_perception.tasks.optics import Reachability, clusters_at, compile_optics, optics

if TYPE_CHECKING:
    from mtl_perception.inference.predictor import Predictor

Offsets = np.ndarray
Group = Callable[[np.ndarray, np.ndarray, np.ndarray], Instances]

CENTERS, SPREAD, MAX_EPS, MIN_SAMPLES, CUT = 10, 2.0, 10.0, 10, 1.5
"""The votes that OPTICS is timed on: around so many centres, with this standard deviation, pixels."""

HEIGHT, WIDTH = 128, 256
"""Size of the maps whose worst cases are searched."""


@dataclass(frozen=True)
class Times:
    """Milliseconds a call took: how often it was timed, the median and the 99th percentile."""

    calls: int
    median: float
    p99: float


@dataclass(frozen=True)
class Peaks:
    """Panoptic-DeepLab's grouping, on votes: ``kernel`` × ``kernel`` maxima of a heat map.

    Cheng et al., *Panoptic-DeepLab*, CVPR 2020, section 3.2: its network predicts the heat map of
    centres, here it is the histogram of the votes, blurred, so both groupings see the same network.

    Attributes:
        kernel: pixels within which a peak is the highest.
        blur: standard deviation of the Gaussian that smooths the histogram, pixels; 0 for none.
        threshold: votes under the Gaussian that make a peak.
    """

    kernel: int
    blur: float = 2.0
    threshold: float = 10.0

    def __call__(
        self, labels: np.ndarray, confidence: np.ndarray, offsets: np.ndarray
    ) -> Instances:
        """Group like ``group_instances``; every vote goes to the nearest peak of its class."""
        height, width = labels.shape
        ids = labels.astype(np.uint16)
        scores: dict[int, float] = {}
        for label in THING_IDS:
            y, x = np.nonzero(labels == label)
            votes = np.stack([x, y]) + offsets[:, y, x]
            inside = (votes >= -0.5) & (votes < np.array([[width], [height]]) - 0.5)
            columns, rows = np.rint(votes[:, inside.all(0)]).astype(np.int64)
            histogram = np.bincount(rows * width + columns, minlength=height * width)
            peaks = self._peaks(histogram.reshape(height, width).astype(np.float32))
            if not peaks.size:
                continue
            squared = sum(np.square(v[:, None] - p) for v, p in zip(votes, peaks, strict=True))
            nearest = label * INSTANCE_ID_BASE + squared.argmin(1)
            ids[y, x] = nearest
            for instance_id in np.unique(nearest).tolist():
                members = nearest == instance_id
                scores[instance_id] = float(confidence[y[members], x[members]].mean() / 255)
        return Instances(ids, scores)

    def _peaks(self, heat: np.ndarray) -> np.ndarray:
        """Return ``(2, n)`` x and y."""
        if self.blur:
            votes_under = 2 * math.pi * self.blur**2
            heat = votes_under * cv2.GaussianBlur(
                heat, (0, 0), self.blur, borderType=cv2.BORDER_CONSTANT
            )
        highest = cv2.dilate(heat, np.ones((self.kernel, self.kernel), np.uint8))
        y, x = np.nonzero((heat == highest) & (heat >= self.threshold))
        return np.stack([x, y])[:, : INSTANCE_ID_BASE - 1]
