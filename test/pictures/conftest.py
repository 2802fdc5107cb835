# SPDX-License-Identifier: Apache-2.0
"""A prediction with two cars, for pictures of it."""

import numpy as np
import pytest

from mtl_perception.prediction import Prediction

ROAD, CAR = 7, 26


@pytest.fixture
def prediction() -> Prediction:
    """Return two cars of 10 × 10 pixels on a road, 12 and 30 metres away."""
    labels = np.full((40, 60), ROAD, np.uint8)
    instances = labels.astype(np.uint16)
    depth = np.full((40, 60), 5, np.float32)
    for k, (x, metres) in enumerate([(10, 12), (40, 30)]):
        box = slice(20, 30), slice(x, x + 10)
        labels[box], instances[box], depth[box] = CAR, CAR * 1000 + k, metres
    return Prediction(labels, labels, instances, {26000: 0.9}, depth)
