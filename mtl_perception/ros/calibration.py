# SPDX-License-Identifier: Apache-2.0
"""Camera of an image: from CameraInfo, from a parameter, or assumed."""

import threading
from collections.abc import Callable

from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from mtl_perception.frame import Camera
from mtl_perception.messages import MessageError
from mtl_perception.messages.calibration import (
    camera_info_scaled,
    pinhole_camera,
    region_of_interest,
)
from mtl_perception.ros.messages import camera_info

SHAPE_TOLERANCE = 0.02
"""Tolerance of the aspect ratio of an image and its CameraInfo, as binning rounds both sides."""

PATIENCE = 1.0
"""Longest wait of the first image for an expected CameraInfo, in seconds."""


class Calibration:
    """The latest CameraInfo of each frame_id, and a substitute for a missing one.

    The source of the focal length and problems are logged when they change, not for every image.

    Attributes:
        focal_length: Focal length of the latest image and its source, as text.

    Args:
        logger: Logger of the node.
        expects: Function that returns whether a CameraInfo is to be expected.
    """

    def __init__(self, logger: RcutilsLogger, expects: Callable[[], bool]) -> None:
        self.focal_length = ''
        self._logger = logger
        self._expects = expects
        self._infos: dict[str, CameraInfo] = {}
        self._arrived = threading.Event()
        self._is_first = True
        self._logged: dict[tuple[str, str], str] = {}

    def update(self, info: CameraInfo) -> None:
        """Replace the CameraInfo of its frame_id."""
        self._infos[info.header.frame_id] = info
        self._arrived.set()

    def look_up(
        self, header: Header, width: int, height: int, focal_length: float
    ) -> tuple[CameraInfo, Camera]:
        """Return the CameraInfo of an image, at the image's size, and its pinhole camera.

        Without a CameraInfo, ``focal_length`` is assumed, in pixels. If it is 0, it is unknown, and
        the first call waits for an expected CameraInfo.
        """
        if self._is_first and not focal_length and self._expects():
            # CameraInfo may follow its image, whose depth would be that of an assumed camera.
            self._arrived.wait(PATIENCE)
        self._is_first = False
        frame_id = header.frame_id
        info = self._infos.get(frame_id)
        if info is not None:
            try:
                scaled = camera_info_scaled(info, width, height, header)
                camera = pinhole_camera(scaled)
            except MessageError as err:
                text = f'frame {frame_id!r}: {err}; camera_info is not used'
                self._warn(frame_id, 'unusable', text)
            else:
                self._warn_of_doubts(info, width, height)
                self._note_focal_length(frame_id, 'from camera_info', camera.fy)
                return scaled, camera
        elif self._infos:
            others = ', '.join(map(repr, sorted(self._infos)))
            text = f'camera_info is of frame {others}, not {frame_id!r} as the image'
            self._warn(frame_id, 'other frame', f'{text}; it is not used')
        if focal_length > 0:
            source = f'from the parameter focal_length, {focal_length:g}'
        else:
            source = (
                "from Cityscapes' field of view for lack of camera_info: if the camera's differs, "
                'all depths are wrong; publish camera_info or set the parameter focal_length'
            )
        camera = Camera.assumed(height, width, focal_length)
        self._note_focal_length(frame_id, source, camera.fy)
        return camera_info(camera, width, height, header), camera

    def _warn_of_doubts(self, info: CameraInfo, width: int, height: int) -> None:
        frame_id = info.header.frame_id
        if any(abs(value) > 1e-9 for value in info.d):
            text = (
                f'camera_info of frame {frame_id!r} has distortion coefficients, but images should '
                'be rectified; if they are not, run image_proc before this node'
            )
            self._warn(frame_id, 'distortion', text)
        _, _, region_width, region_height = region_of_interest(info)
        if abs(width * region_height / (height * region_width) - 1) > SHAPE_TOLERANCE:
            text = (
                f'camera_info of frame {frame_id!r} is for {region_width}×{region_height} pixels, '
                f'the image has {width}×{height}, another aspect ratio: depth and points will be '
                'wrong; calibrate the camera in the mode it runs in'
            )
            self._warn(frame_id, 'shape', text)

    def _note_focal_length(self, frame_id: str, source: str, pixels: float) -> None:
        self.focal_length = f'{pixels:.1f} px, {source}'
        if self._logged.get((frame_id, 'focal length')) != source:
            self._logger.info(f'focal length of frame {frame_id!r}: {self.focal_length}')
        self._logged[frame_id, 'focal length'] = source

    def _warn(self, frame_id: str, subject: str, text: str) -> None:
        if self._logged.get((frame_id, subject)) != text:
            self._logger.warning(text)
        self._logged[frame_id, subject] = text
