"""Which camera took an image: known from CameraInfo or a parameter, or assumed; said once."""

import threading

from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from mtl_perception.frame import CITYSCAPES_FOCAL_RATIO, Camera
from mtl_perception.messages import MessageError
from mtl_perception.messages.calibration import camera_info_scaled, intrinsics, region_of_interest
from mtl_perception.ros.messages import camera_info

SHAPE_TOLERANCE = 0.02
"""By how much an image may be stretched beside its CameraInfo; binning rounds its sides."""


class Calibration:
    """The latest CameraInfo of each frame_id, and what stands in for it.

    What a user should know is logged when it begins to hold, not for every image.

    Attributes:
        focal_length: that of the latest image and where it is from, in words.
    """

    def __init__(self, logger: RcutilsLogger) -> None:
        self.focal_length = ''
        self._logger = logger
        self._infos: dict[str, CameraInfo] = {}
        self._has_some = threading.Event()
        self._said: dict[tuple[str, str], str] = {}

    def update(self, info: CameraInfo) -> None:
        """Take note of a CameraInfo."""
        self._infos[info.header.frame_id] = info
        self._has_some.set()

    def wait_for_camera_info(self, seconds: float) -> None:
        """Return when there is a CameraInfo, of whatever frame, or so much time has passed."""
        self._has_some.wait(seconds)

    def look_up(self, header: Header, width: int, height: int, focal_length: float) -> CameraInfo:
        """Return the CameraInfo of an image of that size; it holds a calibration.

        Args:
            header: of the image.
            width: of the image.
            height: of the image.
            focal_length: what to assume without a CameraInfo, in pixels of the image; 0 is unknown.
        """
        frame_id = header.frame_id
        info = self._infos.get(frame_id)
        if info is not None:
            try:
                focal = intrinsics(info, width, height).fy
            except MessageError as err:
                self._warn(frame_id, 'unusable', f'frame {frame_id!r}: {err}; it is not used')
            else:
                self._warn_of_distortion(info)
                self._warn_of_shape(info, width, height)
                self._say_focal_length(frame_id, 'from camera_info', focal)
                return camera_info_scaled(info, width, height, header)
        elif self._infos:
            others = ', '.join(map(repr, sorted(self._infos)))
            text = f'camera_info is of frame {others}, the image of {frame_id!r}; it is not used'
            self._warn(frame_id, 'other frame', text)
        if focal_length > 0:
            source = f'from the parameter focal_length, {focal_length:g}'
        else:
            focal_length = CITYSCAPES_FOCAL_RATIO * height
            source = (
                "that of Cityscapes' field of view, as there is no camera_info: if the camera's "
                'differs, so do all depths; publish camera_info or set the parameter focal_length'
            )
        self._say_focal_length(frame_id, source, focal_length)
        camera = Camera.assumed(height, width, focal_length)
        return camera_info(camera, width, height, header)

    def _warn_of_distortion(self, info: CameraInfo) -> None:
        if any(abs(value) > 1e-9 for value in info.d):
            text = (
                f'camera_info of frame {info.header.frame_id!r} has distortion coefficients, but '
                'images are taken for rectified ones; if not, put image_proc before this node'
            )
            self._warn(info.header.frame_id, 'distortion', text)

    def _warn_of_shape(self, info: CameraInfo, width: int, height: int) -> None:
        _, _, region_width, region_height = region_of_interest(info)
        if abs(width * region_height / (height * region_width) - 1) > SHAPE_TOLERANCE:
            frame_id = info.header.frame_id
            text = (
                f'camera_info of frame {frame_id!r} is of {region_width}×{region_height} pixels, '
                f'the image of {width}×{height}, which is another shape: depth and points will be '
                'wrong; calibrate the camera in the mode that it runs in'
            )
            self._warn(frame_id, 'shape', text)

    def _say_focal_length(self, frame_id: str, source: str, pixels: float) -> None:
        self.focal_length = f'{pixels:.1f} px, {source}'
        if self._is_new(frame_id, 'focal length', source):
            self._logger.info(f'focal length of frame {frame_id!r}: {self.focal_length}')

    def _warn(self, frame_id: str, subject: str, text: str) -> None:
        if self._is_new(frame_id, subject, text):
            self._logger.warning(text)

    def _is_new(self, frame_id: str, subject: str, text: str) -> bool:
        before = self._said.get((frame_id, subject))
        self._said[frame_id, subject] = text
        return before != text
