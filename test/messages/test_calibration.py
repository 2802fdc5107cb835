# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.bags.messages import camera_info_message, header
from mtl_perception.frame import Camera
from mtl_perception.messages import MessageError
from mtl_perception.messages.calibration import (
    camera_info_scaled,
    intrinsics,
    region_of_interest,
)

HEADER = header(1, 'optical')


def test_camera_info_is_scaled_about_the_corner_of_the_image() -> None:
    info = camera_info_message(Camera(1000.0, 900.0, 630.0, 350.0), 1280, 720, header(0, ''))
    half = camera_info_scaled(info, 640, 360, HEADER)
    # The corner is at pixel (-0.5, -0.5), so the centre is at (630 + 0.5) / 2 - 0.5.
    assert half.k.tolist() == [500.0, 0.0, 314.75, 0.0, 450.0, 174.75, 0.0, 0.0, 1.0]
    assert half.p.reshape(3, 4)[:, :3].tolist() == half.k.reshape(3, 3).tolist()
    assert (half.width, half.height, half.header) == (640, 360, HEADER)
    assert (info.width, info.k[0]) == (1280, 1000.0)


def test_stereo_baseline_in_p_scales_with_the_focal_length() -> None:
    info = camera_info_message(Camera(1000.0, 1000.0, 640.0, 360.0), 1280, 720, HEADER)
    info.p[3] = -120.0
    assert camera_info_scaled(info, 320, 180, HEADER).p[3] == pytest.approx(-30.0)


def test_region_of_interest_and_binning_are_folded_into_the_intrinsics() -> None:
    info = camera_info_message(Camera(1000.0, 1000.0, 639.5, 359.5), 1280, 720, HEADER)
    assert region_of_interest(info) == (0, 0, 1280, 720)
    info.roi = type(info.roi)(320, 180, 360, 640, do_rectify=False)
    info.binning_x = info.binning_y = 2
    assert region_of_interest(info) == (320, 180, 640, 360)
    scaled = camera_info_scaled(info, 320, 180, HEADER)
    assert intrinsics(info, 320, 180) == Camera(500.0, 500.0, 159.5, 89.5)
    assert (scaled.binning_x, scaled.roi.width) == (0, 0)
    assert intrinsics(scaled, 320, 180) == Camera(500.0, 500.0, 159.5, 89.5)


def test_intrinsics_are_those_of_p_and_of_k_where_p_is_zero() -> None:
    info = camera_info_message(Camera(1000.0, 1000.0, 640.0, 360.0), 1280, 720, HEADER)
    info.p[0], info.p[5] = 800.0, 700.0
    assert intrinsics(info, 1280, 720).fy == 700.0
    info.p = np.zeros(12)
    assert intrinsics(info, 1280, 720).fy == 1000.0
    info.k = np.zeros(9)
    with pytest.raises(MessageError, match='no calibration'):
        intrinsics(info, 1280, 720)
    info.width = info.height = 0
    with pytest.raises(MessageError, match='size of 0×0'):
        intrinsics(info, 1280, 720)
