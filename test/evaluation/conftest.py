# SPDX-License-Identifier: Apache-2.0
"""Small synthetic street with exact truth, and its perfect prediction."""

from collections.abc import Callable

import numpy as np
import pytest

from mtl_perception.frame import CITYSCAPES_BASELINE, Camera, Frame
from mtl_perception.prediction import Prediction
from mtl_perception.tasks import instance

ROAD, BUILDING, SKY, PERSON, CAR = 7, 11, 23, 24, 26


@pytest.fixture
def make_frame() -> Callable[..., Frame]:
    """Return a function that draws a frame: sky, buildings, road, two cars and a person."""

    def make(name: str = 'aa_000000_000000', height: int = 64, width: int = 96) -> Frame:
        labels = np.full((height, width), ROAD, np.uint8)
        labels[: height // 2] = BUILDING
        labels[: height // 4] = SKY
        labels[:2] = 3
        instances = labels.astype(np.uint16)
        boxes = ((CAR, 0, 8), (CAR, 1, 40), (PERSON, 0, 72))
        for label, k, x in boxes:
            box = slice(height // 2, height // 2 + 16), slice(x, x + 16)
            labels[box] = label
            instances[box] = label * 1000 + k
        depth = np.repeat(np.geomspace(60, 4, height, dtype=np.float32)[:, None], width, axis=1)
        depth[labels == SKY] = np.inf
        depth[-2:] = np.nan
        image = np.repeat(labels[..., None] * 5, 3, axis=2)
        camera = Camera(fx=80, fy=90, cx=width / 2, cy=height / 2)
        return Frame(name, image, labels, instances, depth, camera)

    return make


@pytest.fixture
def repeat_truth() -> Callable[[Frame], Prediction]:
    """Return a function that makes the perfect prediction for a frame, at half its size."""

    def repeat(frame: Frame) -> Prediction:
        labels, instances = frame.labels[::2, ::2], frame.instances[::2, ::2]
        depth = frame.depth[::2, ::2]
        focal_length = frame.focal_length / 2
        return Prediction(
            labels,
            np.full_like(labels, 255),
            instances.astype(np.uint16),
            {26000: 0.9, 26001: 0.8, 24000: 0.7},
            depth,
            offsets=np.nan_to_num(instance.target(instances)),
            disparity=CITYSCAPES_BASELINE * focal_length / depth,
        )

    return repeat
