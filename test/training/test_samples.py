# SPDX-License-Identifier: Apache-2.0
"""Samples: targets of all tasks at half the size of the image."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.data.augmentation import resize_frame
from mtl_perception.frame import CITYSCAPES_BASELINE
from mtl_perception.tasks import instance, semantic
from mtl_perception.training.samples import to_sample


def test_zooming_multiplies_the_disparity_to_learn(frame):
    large = resize_frame(frame, 128, 256)
    ratio = to_sample(large)['depth'].max() / to_sample(frame)['depth'].max()
    assert ratio == pytest.approx(2.0)


def test_targets_are_those_of_the_resized_maps(frame):
    sample = to_sample(frame)
    small = resize_frame(frame, 32, 64)
    np.testing.assert_array_equal(sample['semantic'], semantic.target(small.labels))
    np.testing.assert_array_equal(sample['instance'], instance.target(small.instances))
    finite = np.isfinite(small.depth)
    np.testing.assert_allclose(
        sample['depth'][finite], CITYSCAPES_BASELINE * 70.0 / small.depth[finite], rtol=1e-6
    )
    assert (sample['depth'][small.labels == 23] == 0).all()
    assert sample['focal_length'] == 70.0


def test_missing_ground_truth_gives_targets_without_a_valid_pixel(frame):
    bare = replace(frame, labels=None, instances=None, depth=None)
    sample = to_sample(bare)
    assert (sample['semantic'] == semantic.IGNORE).all()
    assert np.isnan(sample['instance']).all()
    assert np.isnan(sample['depth']).all()


def test_sky_alone_is_no_ground_truth_of_depth(frame):
    assert np.isnan(to_sample(replace(frame, depth=None))['depth']).all()
