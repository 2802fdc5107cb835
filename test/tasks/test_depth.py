# SPDX-License-Identifier: Apache-2.0
"""The depth task: disparity of the reference rig, its loss by hand, and decoded metres."""

import math

import numpy as np
import torch

from mtl_perception.frame import CITYSCAPES_BASELINE
from mtl_perception.tasks import depth


def test_the_target_is_what_the_reference_rig_would_see():
    metres = np.array([[10.0, 20.0, np.inf, np.nan]], np.float32)
    disparity = depth.target(metres, None, focal_length=282.8)
    expected = CITYSCAPES_BASELINE * 282.8 / np.array([10.0, 20.0])
    np.testing.assert_allclose(disparity[0, :2], expected, rtol=1e-6)
    assert disparity[0, 2] == 0
    assert np.isnan(disparity[0, 3])


def test_cityscapes_disparity_is_divided_by_eight_on_the_tiny_map():
    """2048×1024 pixels with fx 2262.52, compared with maps of 256×128."""
    d, fx = 40.0, 2262.52
    metres = np.array([[CITYSCAPES_BASELINE * fx / d]])
    np.testing.assert_allclose(depth.target(metres, None, fx / 8), [[d / 8]], rtol=1e-6)


def test_sky_is_infinitely_far_whatever_the_disparity_file_says():
    metres = np.array([[np.nan, 5.0, np.nan]], np.float32)
    labels = np.array([[23, 23, 7]], np.uint8)
    disparity = depth.target(metres, labels, 100.0)
    assert disparity[0, :2].tolist() == [0, 0]
    assert np.isnan(disparity[0, 2])


def test_decoding_inverts_the_target_for_any_focal_length():
    metres = np.array([[3.0, 17.0, 99.0]], np.float32)
    for focal_length in (90.0, 282.8, 500.0):
        disparity = depth.target(metres, None, focal_length)
        decoded = depth.decode(disparity, focal_length, max_depth=100.0)
        np.testing.assert_allclose(decoded, metres, rtol=1e-5)


def test_far_is_infinite_and_not_a_number_stays_so():
    focal_length = 100.0
    rig = CITYSCAPES_BASELINE * focal_length
    disparity = np.array([[rig / 101, 0.0, -1.0, np.nan, rig / 99]], np.float32)
    metres = depth.decode(disparity, focal_length, max_depth=100.0)[0]
    assert np.isposinf(metres[:3]).all()
    assert np.isnan(metres[3])
    assert np.isfinite(metres[4])


def test_the_disparity_loss_counts_known_pixels_only():
    disparity = torch.tensor([[[[1.0, 2.0, -3.0]]]])
    target = torch.tensor([[[1.5, math.nan, 0.0]]])
    loss = depth.loss(disparity, target)
    assert loss.count == 2
    assert loss.total == 3.5


def test_unknown_disparity_passes_no_gradient():
    disparity = torch.ones(1, 1, 1, 2, requires_grad=True)
    depth.loss(disparity, torch.tensor([[[0.0, math.nan]]])).total.backward()
    assert disparity.grad.tolist() == [[[[1, 0]]]]


def test_a_frame_without_depth_has_no_loss_and_no_count():
    loss = depth.loss(torch.rand(1, 1, 2, 2), torch.full((1, 2, 2), math.nan))
    assert loss.count == 0
    assert loss.total == 0
