# SPDX-License-Identifier: Apache-2.0
"""Camera, node and test in three processes that communicate only over DDS."""

import signal
from pathlib import Path

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from mtl_perception.labels import COLORS, IS_EVALUATED
from mtl_perception.messages.stamps import nanoseconds
from mtl_perception.ros.messages import CLOUD_DTYPE
from mtl_perception.ros.outputs import OUTPUTS

HEIGHT, WIDTH = 720, 1280
NETWORK = (32, 64)
FOCAL_LENGTH = 1000.0

ENCODINGS = {
    'semantic/image': ('mono8', 1),
    'semantic/color': ('rgb8', 3),
    'semantic/confidence': ('mono8', 1),
    'instance/image': ('mono16', 2),
    'instance/color': ('rgb8', 3),
    'depth/image': ('32FC1', 4),
    'overlay/image': ('rgb8', 3),
}


def pixels(msg: Image) -> np.ndarray:
    dtype = {'mono8': np.uint8, 'rgb8': np.uint8, 'mono16': np.uint16, '32FC1': np.float32}
    values = np.frombuffer(msg.data, dtype[msg.encoding])
    return values.reshape(msg.height, msg.width, -1).squeeze()


def complete_frame(found: dict[str, list]) -> dict | None:
    """Return the messages of the first stamp that arrived on every topic."""
    by_topic = {
        topic: {nanoseconds(msg.header): msg for msg in messages}
        for topic, messages in found.items()
    }
    common = set.intersection(*(set(messages) for messages in by_topic.values()))
    if not common:
        return None
    return {topic: messages[min(common)] for topic, messages in by_topic.items()}


def test_every_output_of_a_720p_camera_arrives_with_the_images_header(
    ros, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i in range(2):
        noise = generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), cv2.GaussianBlur(noise, (0, 0), 5))
    found = {
        output.topic: ros.collect(output.type, f'/mtl_perception/{output.topic}')
        for output in OUTPUTS
    }
    found['input'] = ros.collect(Image, '/camera/image_raw')
    diagnostics = ros.collect(DiagnosticArray, '/diagnostics')
    node = ros.start(
        'mtl_perception.ros.node',
        *('--ros-args', '-p', f'checkpoint:={tiny_checkpoint}'),
        *('-r', '~/image:=/camera/image_raw', '-r', '~/camera_info:=/camera/camera_info'),
    )
    ros.start(
        *('mtl_perception', 'camera', str(folder), '--topic', '/camera/image_raw'),
        *('--frame-id', 'optical', '--focal-length', str(FOCAL_LENGTH), '--rate', '2'),
    )
    ros.spin_until(lambda: complete_frame(found), timeout=90)
    frame = complete_frame(found)
    assert frame is not None
    for topic, msg in frame.items():
        assert msg.header == frame['input'].header, topic
        assert msg.header.frame_id == 'optical'
    check_images(frame)
    check_values(frame)
    check_geometry(frame['depth/camera_info'], frame['points'], pixels(frame['depth/image']))

    ros.spin_until(lambda: 'results/s out' in diagnostics[-1].status[0].message)
    node.send_signal(signal.SIGINT)
    assert node.wait(timeout=30) == 0


def check_images(frame: dict) -> None:
    for topic, (encoding, size) in ENCODINGS.items():
        msg = frame[topic]
        assert (msg.encoding, msg.height, msg.width) == (encoding, HEIGHT, WIDTH), topic
        assert (msg.step, len(msg.data)) == (WIDTH * size, HEIGHT * WIDTH * size), topic


def check_values(frame: dict) -> None:
    labels = pixels(frame['semantic/image'])
    instances = pixels(frame['instance/image'])
    depth = pixels(frame['depth/image'])
    assert IS_EVALUATED[labels].all()
    np.testing.assert_array_equal(pixels(frame['semantic/color']), COLORS[labels])
    np.testing.assert_array_equal(np.where(instances < 1000, instances, instances // 1000), labels)
    assert not (depth <= 0).any()
    assert not np.array_equal(pixels(frame['overlay/image']), pixels(frame['input']))


def check_geometry(info: CameraInfo, cloud: PointCloud2, depth: np.ndarray) -> None:
    assert (info.width, info.height, info.k[0]) == (WIDTH, HEIGHT, FOCAL_LENGTH)
    assert (cloud.height, cloud.width) == NETWORK
    points = np.frombuffer(cloud.data, CLOUD_DTYPE).reshape(NETWORK)
    # A point projects onto the pixel of the full-size map that holds its depth.
    finite = np.isfinite(points['z'])
    assert finite.any()
    x, y, z = (points[name][finite] for name in 'xyz')
    column = np.rint(info.k[0] * x / z + info.k[2]).astype(int)
    row = np.rint(info.k[4] * y / z + info.k[5]).astype(int)
    np.testing.assert_allclose(depth[row, column], z, rtol=1e-6)


def test_a_busy_node_survives_transitions(ros, tiny_checkpoint: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'picture.png'), np.zeros((72, 128, 3), np.uint8))
    results = ros.collect(Image, '/mtl_perception/semantic/image')
    node = ros.start(
        'mtl_perception.ros.node',
        *('--ros-args', '-p', f'checkpoint:={tiny_checkpoint}', '-r', '~/image:=/image'),
    )
    ros.start('mtl_perception', 'camera', str(tmp_path / 'picture.png'))
    ros.spin_until(lambda: results, timeout=90)
    client = ros.node.create_client(ChangeState, '/mtl_perception/change_state')
    ros.spin_until(client.service_is_ready)
    steps = ('deactivate', 'activate', 'deactivate', 'cleanup', 'configure', 'activate')
    for step in steps * 5:
        number = getattr(Transition, f'TRANSITION_{step.upper()}')
        request = ChangeState.Request(transition=Transition(id=number))
        answer = client.call_async(request)
        ros.spin_until(lambda answer=answer: answer.done() or node.poll() is not None)
        assert answer.done(), ros.logs()
        assert answer.result().success
    results.clear()
    ros.spin_until(lambda: results)
