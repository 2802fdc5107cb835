# SPDX-License-Identifier: Apache-2.0
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mtl_perception.commands import main
from mtl_perception.frame import Camera, Frame
from mtl_perception.messages.pixels import compressed_to_rgb, image_to_rgb
from mtl_perception.ros import camera as camera_node
from mtl_perception.ros.camera import CameraNode
from mtl_perception.synthetic import synthetic_drive

CAMERA = Camera(100.0, 110.0, 31.5, 23.5)
UNKNOWN = [Frame('x', np.zeros((48, 64, 3), np.uint8))]


def pictures(count: int) -> list[Frame]:
    return [
        Frame(str(i), np.full((48, 64, 3), 10 * i, np.uint8), camera=CAMERA) for i in range(count)
    ]


@pytest.fixture
def run(ros) -> Iterator:
    """Return a function that runs a camera in a thread; the camera spins itself."""
    threads = []

    def start(images, **options) -> CameraNode:
        camera = CameraNode(images, context=ros.context, **options)
        thread = threading.Thread(target=camera.run)
        thread.start()
        threads.append((camera, thread))
        return camera

    yield start
    for camera, thread in threads:
        camera.stop()
        thread.join(timeout=10)
        camera.destroy_node()


def test_camera_publishes_every_image_with_its_calibration(ros, run) -> None:
    images = ros.collect(Image, '/robot/image')
    infos = ros.collect(CameraInfo, '/robot/camera_info')
    run(pictures(3), rate=20.0, namespace='robot', frame_id='optical', wait_for_subscriber=True)
    ros.spin_until(lambda: len(images) == 3 and len(infos) == 3)
    assert [image_to_rgb(msg)[0, 0, 0] for msg in images] == [0, 10, 20]
    assert [msg.header for msg in infos] == [msg.header for msg in images]
    assert images[0].header.frame_id == 'optical'
    assert (infos[0].width, infos[0].height) == (64, 48)
    assert infos[0].k.tolist() == [100.0, 0.0, 31.5, 0.0, 110.0, 23.5, 0.0, 0.0, 1.0]


def test_rate_is_held_without_drift(ros, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    times = []

    def wake_late(due: float) -> None:
        nonlocal now
        now = max(now, due) + 0.001

    camera = CameraNode(
        pictures(2),
        rate=50.0,
        loop=True,
        count=101,
        on_published=lambda *_: times.append(now),
        context=ros.context,
    )
    monkeypatch.setattr(camera_node, 'time', SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(camera, '_spin_until', wake_late)
    camera.run()
    camera.destroy_node()
    assert np.subtract(times, times[0]) == pytest.approx(np.arange(101) / 50, abs=0.0011)


def test_nothing_is_published_before_somebody_subscribes(ros, run) -> None:
    camera = run(pictures(5), rate=20.0, wait_for_subscriber=True)
    ros.spin_until(lambda: ros.node.count_publishers('/image'))
    assert camera.published == 0
    images = ros.collect(Image, '/image')
    ros.spin_until(lambda: len(images) == 5)


def test_best_effort_and_reliable_subscribers_both_match(ros, run) -> None:
    reliable = ros.collect(Image, '/image', 1)
    best_effort = ros.collect(Image, '/image', qos_profile_sensor_data)
    run(pictures(2), rate=20.0, loop=True)
    ros.spin_until(lambda: reliable and best_effort)


def test_compressed_images_are_published_where_asked_for(ros, run) -> None:
    images = ros.collect(CompressedImage, '/camera/image/compressed')
    run(pictures(2), topic='/camera/image', rate=20.0, loop=True, compressed=True)
    ros.spin_until(lambda: images)
    assert compressed_to_rgb(images[0]).shape == (48, 64, 3)


def test_camera_info_is_absent_where_no_focal_length_is_known(ros, run) -> None:
    images = ros.collect(Image, '/image')
    infos = ros.collect(CameraInfo, '/camera_info')
    run(UNKNOWN, rate=20.0, loop=True, count=5, wait_for_subscriber=True)
    ros.spin_until(lambda: len(images) == 5)
    assert infos == []


def test_a_stated_focal_length_stands_in(ros, run) -> None:
    infos = ros.collect(CameraInfo, '/camera_info')
    run(UNKNOWN, rate=20.0, loop=True, focal_length=70.0)
    ros.spin_until(lambda: infos)
    assert (infos[0].k[0], infos[0].k[2]) == (70.0, 31.5)


def test_a_source_that_is_too_slow_is_reported_once(ros, run, capfd) -> None:
    def slow() -> Iterator[Frame]:
        for image in pictures(8):
            time.sleep(0.3)
            yield image

    camera = run(slow(), rate=100.0)
    ros.spin_until(lambda: camera.published == 8)
    assert capfd.readouterr().err.count('cannot keep 100 Hz') == 1


def test_a_source_without_images_is_an_error(ros) -> None:
    camera = CameraNode([], loop=True, context=ros.context)
    with pytest.raises(ValueError, match='no image that can be read'):
        camera.run()
    camera.destroy_node()


def test_the_command_publishes_a_folder_once_and_ends(ros, tmp_path: Path) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f'{i}.png'), np.full((48, 64, 3), 10 * i, np.uint8))
    images = ros.collect(Image, '/front/image_raw')
    process = ros.start(
        'mtl_perception',
        'camera',
        str(folder),
        *('--topic', '/front/image_raw', '--frame-id', 'front', '--rate', '10'),
        *('--once', '--wait-for-subscriber'),
    )
    ros.spin_until(lambda: process.poll() is not None, timeout=60)
    ros.spin_until(lambda: len(images) == 3)
    assert process.returncode == 0
    assert images[0].header.frame_id == 'front'


@pytest.mark.usefixtures('ros')
def test_no_more_frames_of_the_street_are_rendered_than_published(monkeypatch) -> None:
    rendered = []

    def drive(*args: Any, **kwargs: Any) -> Iterator[Frame]:
        for frame in synthetic_drive(*args, **kwargs):
            rendered.append(frame.name)
            yield frame

    monkeypatch.setattr('mtl_perception.synthetic.synthetic_drive', drive)
    assert main(['camera', 'synthetic', '--count', '2', '--size', '32x64']) == 0
    assert len(rendered) == 2


def test_the_command_says_in_one_line_what_it_cannot_open(ros, tmp_path: Path) -> None:
    absent = tmp_path / 'absent.mp4'
    process = ros.start('mtl_perception', 'camera', str(absent))
    assert process.wait(timeout=60) == 1
    assert ros.logs().strip() == f'mtl camera: {absent}: no such picture, folder, video or device'


def test_the_command_says_in_one_line_which_topic_cannot_be(capsys, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((32, 32, 3), np.uint8))
    assert main(['camera', str(tmp_path), '--topic', '/camera/image-raw']) == 1
    error = capsys.readouterr().err
    assert error.startswith('mtl camera: ')
    assert '/camera/image-raw' in error
