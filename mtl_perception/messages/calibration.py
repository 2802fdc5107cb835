# SPDX-License-Identifier: Apache-2.0
"""Conversion between ``sensor_msgs/CameraInfo`` and pinhole cameras.

Pixel centres have integer coordinates, as in OpenCV and image_geometry: the image reaches from −0.5
to ``width`` − 0.5, so scaling a principal point c by s gives ``(c + 0.5) · s − 0.5``.
"""

import copy
from typing import Any

import numpy as np

from mtl_perception.frame import Camera
from mtl_perception.messages import MessageError


def calibration_fields(camera: Camera) -> dict[str, Any]:
    """Return the calibration fields of the CameraInfo of a rectified image: all but its size."""
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    return {
        'distortion_model': 'plumb_bob',
        'd': [0.0] * 5,
        'k': k,
        'r': [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        'p': [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0],
    }


def camera_info_scaled(info: Any, width: int, height: int, header: Any) -> Any:
    """Return a copy of ``info`` for an image of another size that shows the same region.

    K and P refer to the full sensor. The published image is the region of interest (the whole
    sensor if it is empty), binned. Both are folded into K and P of the copy, whose binning and
    region of interest are cleared. Reads ``width``, ``height``, ``roi``, ``k`` and ``p``.

    Raises:
        MessageError: ``info`` has no size.
    """
    x, y, region_width, region_height = region_of_interest(info)
    if not (region_width and region_height):
        text = f'camera_info states a size of {info.width}×{info.height}'
        raise MessageError(text)
    scale = np.diag([width / region_width, height / region_height, 1.0])
    shift = np.array([[1.0, 0.0, 0.5 - x], [0.0, 1.0, 0.5 - y], [0.0, 0.0, 1.0]])
    back = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
    to_image = back @ scale @ shift
    result = copy.copy(info)
    result.header = header
    result.width, result.height = width, height
    result.binning_x = result.binning_y = 0
    result.roi = type(info.roi)(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    # A matrix of zeros means "not calibrated"; the product leaves it zero.
    result.k = (to_image @ np.reshape(info.k, (3, 3))).ravel()
    result.p = (to_image @ np.reshape(info.p, (3, 4))).ravel()
    return result


def intrinsics(info: Any, width: int, height: int) -> Camera:
    """Return the pinhole camera of a rectified image of ``width`` × ``height`` pixels.

    Raises:
        MessageError: ``info`` has no size or no calibration.
    """
    return pinhole_camera(camera_info_scaled(info, width, height, info.header))


def pinhole_camera(info: Any) -> Camera:
    """Return the camera of a CameraInfo that has neither binning nor a region of interest.

    The focal lengths and the principal point come from P, or from K if P is zero.

    Raises:
        MessageError: ``info`` has no calibration.
    """
    for fx, fy, cx, cy in (
        (info.p[0], info.p[5], info.p[2], info.p[6]),
        (info.k[0], info.k[4], info.k[2], info.k[5]),
    ):
        if np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0:
            return Camera(fx, fy, cx, cy)
    text = 'camera_info holds no calibration: neither P nor K has positive focal lengths'
    raise MessageError(text)


def region_of_interest(info: Any) -> tuple[int, int, int, int]:
    """Return (x, y, width, height) of the image on the sensor, in pixels of the sensor.

    An empty region of interest stands for the whole sensor.
    """
    roi = info.roi
    if roi.width and roi.height:
        return roi.x_offset, roi.y_offset, roi.width, roi.height
    return 0, 0, info.width, info.height
