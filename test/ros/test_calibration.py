# SPDX-License-Identifier: Apache-2.0
import pytest
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from mtl_perception.frame import CITYSCAPES_FOCAL_RATIO, Camera
from mtl_perception.messages.calibration import intrinsics
from mtl_perception.ros.calibration import Calibration
from mtl_perception.ros.messages import camera_info


class Log:
    """Stand-in for the logger of a node."""

    def __init__(self) -> None:
        self.infos: list[str] = []
        self.warnings: list[str] = []
        self.info, self.warning = self.infos.append, self.warnings.append


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def calibration(log: Log) -> Calibration:
    return Calibration(log, expects=lambda: False)


def of_frame(frame_id: str, focal_length: float) -> CameraInfo:
    camera = Camera(focal_length, focal_length, 640.0, 360.0)
    return camera_info(camera, 1280, 720, Header(frame_id=frame_id))


def focal_length(calibration: Calibration, frame_id: str, parameter: float = 0.0) -> float:
    info, camera = calibration.look_up(Header(frame_id=frame_id), 640, 360, parameter)
    assert intrinsics(info, 640, 360) == camera
    return camera.fy


def test_the_latest_camera_info_of_the_images_frame_counts(calibration: Calibration) -> None:
    for frame_id, pixels in (('left', 1000.0), ('left', 1200.0), ('right', 800.0)):
        calibration.update(of_frame(frame_id, pixels))
    assert focal_length(calibration, 'left', parameter=5.0) == pytest.approx(600.0)
    assert focal_length(calibration, 'right') == pytest.approx(400.0)


def test_without_camera_info_the_parameter_counts_then_cityscapes(calibration: Calibration) -> None:
    assert focal_length(calibration, 'camera', parameter=500.0) == 500.0
    assert focal_length(calibration, 'camera') == pytest.approx(360 * CITYSCAPES_FOCAL_RATIO)
    info, _ = calibration.look_up(Header(frame_id='camera'), 640, 360, 500.0)
    assert (info.k[2], info.k[5]) == (319.5, 179.5)


def test_a_calibration_of_another_shape_is_warned_of(calibration: Calibration, log: Log) -> None:
    calibration.update(of_frame('camera', 1000.0))
    calibration.look_up(Header(frame_id='camera'), 641, 360, 0.0)
    assert not log.warnings
    for _ in range(2):
        calibration.look_up(Header(frame_id='camera'), 640, 480, 0.0)
    (warning,) = log.warnings
    assert '1280×720' in warning
    assert '640×480' in warning


def test_which_focal_length_is_used_is_said_once(calibration: Calibration, log: Log) -> None:
    for _ in range(3):
        focal_length(calibration, 'camera')
    calibration.update(of_frame('camera', 1000.0))
    for _ in range(3):
        focal_length(calibration, 'camera')
    assert len(log.infos) == 2
    assert "Cityscapes' field of view" in log.infos[0]
    assert '500.0 px, from camera_info' in log.infos[1]


@pytest.mark.parametrize(
    ('info', 'reason'),
    [
        (of_frame('right', 800.0), "of frame 'right', not 'left' as the image; it is not used"),
        (CameraInfo(header=Header(frame_id='left'), width=1280, height=720), 'no calibration'),
    ],
)
def test_camera_info_of_another_frame_or_without_calibration_is_left_out_with_a_warning(
    calibration: Calibration, log: Log, info: CameraInfo, reason: str
) -> None:
    calibration.update(info)
    for _ in range(3):
        assert focal_length(calibration, 'left', parameter=500.0) == 500.0
    (warning,) = log.warnings
    assert reason in warning


def test_distortion_is_warned_of_once(calibration: Calibration, log: Log) -> None:
    info = of_frame('camera', 1000.0)
    info.d = [0.1, 0.0, 0.0, 0.0, 0.0]
    calibration.update(info)
    for _ in range(3):
        focal_length(calibration, 'camera')
    (warning,) = log.warnings
    assert 'distortion' in warning
