# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from mtl_perception.evaluation.stability import TemporalStability
from mtl_perception.prediction import Prediction

HEIGHT, WIDTH = 64, 128


@pytest.fixture
def picture() -> np.ndarray:
    """Return a picture wide enough to be panned over, with structure for the flow to follow."""
    noise = np.random.default_rng(0).integers(0, 256, (2 * HEIGHT, 4 * WIDTH, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4) // 2 * 2


def seen(picture: np.ndarray, shift: int, depth: float = 10.0) -> tuple[np.ndarray, Prediction]:
    """Return the view that begins at column ``shift``, its labels in stripes of the picture."""
    image = picture[:, shift : shift + 2 * WIDTH]
    columns = (np.arange(WIDTH) + shift // 2) // 16 % 2
    labels = np.repeat((7 + columns)[None].astype(np.uint8), HEIGHT, axis=0)
    metres = np.full((HEIGHT, WIDTH), depth, np.float32)
    return image, Prediction(labels, np.full_like(labels, 255), depth=metres)


def test_labels_that_move_with_the_picture_are_steady(picture):
    stability = TemporalStability()
    assert stability.add(*seen(picture, 0)) is None
    change = stability.add(*seen(picture, 8))
    assert change.label < 0.02
    assert change.depth == 0
    assert stability.compute()['valid'] > 0.85


def test_labels_that_stay_while_the_picture_moves_change(picture):
    stability = TemporalStability()
    image, prediction = seen(picture, 0)
    stability.add(image, prediction)
    moved, _ = seen(picture, 8)
    # Stripes of 16 columns, 4 of which lie over the next stripe.
    assert stability.add(moved, prediction).label == pytest.approx(4 / 16, abs=0.03)


def test_the_depth_change_is_a_mean_logarithm_of_finite_depths(picture):
    stability = TemporalStability()
    image, before = seen(picture, 0)
    stability.add(image, before)
    _, after = seen(picture, 0, depth=20.0)
    after.depth[: HEIGHT // 2] = np.inf
    after.depth[0] = np.nan
    assert stability.add(image, after).depth == pytest.approx(np.log(2))


def test_figures_are_pooled_over_pixels(picture):
    stability = TemporalStability()
    image, steady = seen(picture, 0)
    other = Prediction(steady.labels + 1, steady.confidence)
    changes = [stability.add(image, p) for p in (steady, steady, other)]
    assert [change and change.label for change in changes] == [None, 0, 1]
    scores = stability.compute()
    assert scores['pairs'] == 2
    assert scores['label_change'] == pytest.approx(0.5)


def test_a_picture_that_flow_cannot_follow_does_not_count(picture):
    stability = TemporalStability()
    random = np.random.default_rng(1)
    for _ in range(2):
        image = random.integers(0, 256, (2 * HEIGHT, 2 * WIDTH, 3)).astype(np.uint8)
        stability.add(image, seen(picture, 0)[1])
    assert stability.compute()['valid'] < 0.5


def test_a_frame_that_follows_none_is_compared_with_none(picture):
    stability = TemporalStability()
    stability.add(*seen(picture, 0))
    stability.restart()
    assert stability.add(*seen(picture, 100)) is None
    image, prediction = seen(picture, 100)
    assert stability.add(image, prediction.resized(HEIGHT // 2, WIDTH // 2)) is None
    assert stability.compute() is None
