# SPDX-License-Identifier: Apache-2.0
"""Augmentation changes the picture and keeps ground truth and camera consistent with it."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.data.augmentation import (
    Augmentation,
    augment,
    crop_frame,
    flip_frame,
    resize_frame,
)
from mtl_perception.tasks import instance


def test_flipping_negates_dx_and_mirrors_everything(frame):
    before, after = instance.target(frame.instances), instance.target(flip_frame(frame).instances)
    np.testing.assert_allclose(after[0], -before[0][:, ::-1], atol=1e-4)
    np.testing.assert_allclose(after[1], before[1][:, ::-1], atol=1e-4)
    np.testing.assert_array_equal(flip_frame(frame).depth, frame.depth[:, ::-1])


def test_flipping_twice_gives_the_frame_back(frame):
    twice = flip_frame(flip_frame(frame))
    for field in ('image', 'labels', 'instances', 'depth'):
        np.testing.assert_array_equal(getattr(twice, field), getattr(frame, field))
    assert twice.camera == frame.camera


def test_resizing_keeps_labels_whole_and_metric_depth(frame):
    small = resize_frame(frame, 32, 64)
    np.testing.assert_array_equal(small.labels, frame.labels[::2, ::2])
    np.testing.assert_array_equal(small.instances, frame.instances[::2, ::2])
    np.testing.assert_array_equal(small.depth, frame.depth[::2, ::2])
    assert small.camera.fy == frame.camera.fy / 2
    # The ray through a scene point stays the same: pixel (u + ½)·½ − ½.
    u = 17.0
    ray = (u - frame.camera.cx) / frame.camera.fx
    assert ((u + 0.5) / 2 - 0.5 - small.camera.cx) / small.camera.fx == pytest.approx(ray)


def test_a_crop_beyond_the_frame_is_void_there(frame):
    window = crop_frame(frame, -8, 120, 80, 32)
    assert window.image.shape == (80, 32, 3)
    np.testing.assert_array_equal(window.labels[8:72, :8], frame.labels[:, 120:])
    assert (window.labels[:8] == 0).all()
    assert np.isnan(window.depth[:, 8:]).all()
    assert window.camera.cx == frame.camera.cx - 120


def test_a_frame_without_camera_keeps_its_assumed_focal_length_when_cropped(frame):
    unknown = replace(frame, camera=None)
    assert crop_frame(unknown, 0, 0, 16, 16).focal_length == unknown.focal_length


def test_random_views_keep_colour_label_instance_and_depth_together(frame):
    settings = Augmentation(scale=(0.5, 2.0), flip=0.5, photometric=0.0)
    rng = np.random.default_rng(1)
    for _ in range(20):
        view = augment(frame, settings, 64, (64, 96), rng)
        assert view.image.shape == (64, 96, 3)
        for label, instance_id, depth in ((7, 7, 4.0), (26, 26000, 12.0), (24, 24005, 30.0)):
            pixels = view.labels == label
            assert (view.instances[pixels] == instance_id).all()
            assert (view.depth[pixels] == np.float32(depth)).all()


def test_balanced_crops_show_a_rare_class_as_often_as_the_others(frame):
    rng = np.random.default_rng(2)
    labels = np.full((64, 128), 7, np.uint8)
    labels[5:7, 100:102] = 20  # a traffic sign
    labels[40:, :] = 0  # void is no class
    street = replace(frame, labels=labels)
    seen = {
        share: sum(
            (
                augment(street, Augmentation((2.0, 2.0), balanced=share), 64, (32, 32), rng).labels
                == 20
            ).any()
            for _ in range(200)
        )
        for share in (0.0, 1.0)
    }
    assert seen[0.0] < 30
    assert 80 <= seen[1.0] <= 130  # one half and a little more, by chance


def test_a_balanced_crop_needs_no_labels(frame):
    view = augment(
        replace(frame, labels=None),
        Augmentation(balanced=1.0),
        64,
        (64, 96),
        np.random.default_rng(0),
    )
    assert view.image.shape == (64, 96, 3)


def test_what_is_drawn_follows_from_the_generator_alone(frame):
    settings = Augmentation(photometric=1.0)
    first, second, other = (
        augment(frame, settings, 64, (64, 96), np.random.default_rng(seed)).image
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize(
    'wrong', [{'scale': (2.0, 1.0)}, {'scale': (0.0, 1.0)}, {'flip': 2.0}, {'balanced': -1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match='must be'):
        Augmentation(**wrong)
