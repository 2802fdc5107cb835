# SPDX-License-Identifier: Apache-2.0
import array
import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mtl_perception.frame import Camera, resize_nearest
from mtl_perception.messages import MessageError
from mtl_perception.messages.calibration import camera_info_scaled, intrinsics
from mtl_perception.messages.pixels import ENCODINGS, compressed_to_rgb, image_to_rgb, pixels_to_rgb
from mtl_perception.pictures.maps import color_instances, color_labels
from mtl_perception.ros.messages import (
    CLOUD_DTYPE,
    Converter,
    Memory,
    camera_info,
    map_to_image,
    point_cloud,
    rgb_to_compressed,
    rgb_to_image,
)

HEADER = Header(frame_id='optical')
COLOR = (200, 100, 50)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def message(values: np.ndarray, encoding: str, **fields) -> Image:
    height, width = values.shape[:2]
    fields = {'height': height, 'width': width, 'step': values.nbytes // height, **fields}
    return Image(encoding=encoding, data=array.array('B', values.tobytes()), **fields)


def test_rgb_survives_the_way_through_a_message(picture: np.ndarray) -> None:
    msg = rgb_to_image(picture, HEADER)
    assert (msg.header, msg.encoding, msg.step) == (HEADER, 'rgb8', 24)
    np.testing.assert_array_equal(image_to_rgb(msg), picture)


def random_pixels(encoding: str, size: tuple[int, int] = (8, 10)) -> np.ndarray:
    layout = ENCODINGS[encoding]
    shape = size if layout.channels == 1 else (*size, layout.channels)
    return np.random.default_rng(0).integers(0, 256, shape).astype(layout.dtype) * (
        257 if layout.dtype is np.uint16 else 1
    )


class FakeBridge:
    """Stand-in for cv_bridge that fails for images with an odd number of rows."""

    wrong: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.converted: list[str] = []

    def imgmsg_to_cv2(self, msg: Image, encoding: str) -> np.ndarray:
        assert encoding == 'rgb8'
        self.converted.append(msg.encoding)
        if msg.height % 2:
            raise ArithmeticError
        rgb = image_to_rgb(msg)
        return rgb[::-1] if msg.encoding in self.wrong else rgb


def install(monkeypatch: pytest.MonkeyPatch, bridge: type) -> None:
    monkeypatch.setitem(sys.modules, 'cv_bridge', SimpleNamespace(CvBridge=bridge))


def test_conversion_is_that_of_cv_bridge() -> None:
    cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is not installed')
    converter = Converter()
    # Encodings that the Python port on PyPI converts.
    encodings = {'rgb8', 'rgba8', 'bgr8', 'bgra8', 'mono8'}
    encodings |= {'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8'}
    assert converter.encodings >= encodings - {'rgb8'}
    for encoding in encodings | converter.encodings:
        msg = message(random_pixels(encoding), encoding)
        expected = cv_bridge.CvBridge().imgmsg_to_cv2(msg, 'rgb8')
        for convert in (pixels_to_rgb, converter):
            np.testing.assert_array_equal(image_to_rgb(msg, convert), expected, err_msg=encoding)


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_cv_bridge_need_not_know_of_padding_and_byte_order(encoding: str, order: str) -> None:
    pixels = random_pixels(encoding)
    stored = pixels.astype(pixels.dtype.newbyteorder(order)).view(np.uint8).reshape(8, -1)
    padded = np.pad(stored, ((0, 0), (0, 3)), constant_values=77)
    msg = message(padded, encoding, width=10, is_bigendian=order == '>')
    np.testing.assert_array_equal(image_to_rgb(msg, Converter()), pixels_to_rgb(pixels, encoding))


def test_an_encoding_that_cv_bridge_converts_otherwise_is_left_to_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeBridge, 'wrong', ('bgr8',))
    install(monkeypatch, FakeBridge)
    converter = Converter()
    assert set(ENCODINGS) - converter.encodings == {'rgb8', 'rgb16', 'bgr8'}
    assert converter.description == 'cv_bridge for 19 of 22 encodings, own table for the others'
    converter._bridge.converted.clear()
    for encoding in ('mono8', 'bgr8'):
        pixels = random_pixels(encoding)
        np.testing.assert_array_equal(converter(pixels, encoding), pixels_to_rgb(pixels, encoding))
    assert converter._bridge.converted == ['mono8']


def test_an_image_that_cv_bridge_refuses_is_left_to_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, FakeBridge)
    pixels = random_pixels('bgr8', (7, 10))
    np.testing.assert_array_equal(Converter()(pixels, 'bgr8'), pixels[..., ::-1])
    with pytest.raises(MessageError, match='9×7 yuyv image cannot be converted'):
        Converter()(random_pixels('yuyv', (7, 9)), 'yuyv')


@pytest.mark.parametrize('error', [ImportError, SystemError])
def test_a_broken_cv_bridge_is_not_used(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    class BrokenBridge:
        attempts = 0

        def imgmsg_to_cv2(self, *_: Any) -> np.ndarray:
            BrokenBridge.attempts += 1
            raise error

    install(monkeypatch, BrokenBridge)
    assert Converter().description == 'own table for all encodings'
    # A missing module concerns every encoding, another error perhaps only one.
    assert BrokenBridge.attempts == (1 if error is ImportError else 20)


def test_cv_bridge_may_be_absent(monkeypatch: pytest.MonkeyPatch, picture: np.ndarray) -> None:
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    converter = Converter()
    assert converter.description == 'own table for all encodings'
    np.testing.assert_array_equal(converter(picture, 'bgr8'), picture[..., ::-1])


def test_rgb_is_not_copied(picture: np.ndarray) -> None:
    msg = rgb_to_image(picture, HEADER)
    assert np.shares_memory(image_to_rgb(msg, Converter()), np.frombuffer(msg.data, np.uint8))


def test_a_compressed_image_is_decoded() -> None:
    smooth = cv2.resize(np.array([[COLOR, COLOR[::-1]]], np.uint8), (64, 48))
    msg = rgb_to_compressed(smooth, HEADER)
    assert msg.header == HEADER
    assert np.abs(compressed_to_rgb(msg).astype(int) - smooth).max() < 12


@pytest.mark.parametrize(
    ('dtype', 'encoding'), [('uint8', 'mono8'), ('uint16', 'mono16'), ('float32', '32FC1')]
)
def test_a_map_keeps_its_values(dtype: str, encoding: str) -> None:
    values = np.arange(48).reshape(6, 8).astype(dtype)[:, ::2]
    msg = map_to_image(values, HEADER)
    assert (msg.encoding, msg.height, msg.width) == (encoding, 6, 4)
    np.testing.assert_array_equal(np.frombuffer(msg.data, dtype).reshape(6, 4), values)


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_a_map_is_stretched_to_the_size_asked_for(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 200, (5, 7)).astype(dtype)
    msg = map_to_image(values, HEADER, (12, 23))
    assert (msg.height, msg.width, msg.step) == (12, 23, 23 * values.itemsize)
    expected = resize_nearest(values, 12, 23)
    np.testing.assert_array_equal(np.frombuffer(msg.data, dtype).reshape(12, 23), expected)


def test_colours_stretched_are_the_colours_of_the_stretched_map() -> None:
    labels = np.random.default_rng(0).integers(0, 34, (5, 7), np.uint8)
    instances = labels.astype(np.uint16) * 1000
    for values, color in ((labels, color_labels), (instances, color_instances)):
        msg = rgb_to_image(color(values), HEADER, (12, 23))
        np.testing.assert_array_equal(image_to_rgb(msg), color(resize_nearest(values, 12, 23)))


def test_memory_is_used_again_for_a_message_of_the_same_size() -> None:
    memory = Memory()
    first = map_to_image(np.zeros((4, 6), np.uint8), HEADER, memory=memory)
    second = map_to_image(np.ones((4, 6), np.uint8), HEADER, memory=memory)
    assert second.data is first.data
    assert set(first.data) == {1}
    larger = map_to_image(np.zeros((4, 6), np.uint8), HEADER, (8, 12), memory)
    assert (len(larger.data), larger.step, len(first.data)) == (96, 12, 24)
    same_size = map_to_image(np.zeros((2, 24), np.uint16), HEADER, memory=memory)
    assert (same_size.height, same_size.width, same_size.encoding) == (2, 24, 'mono16')


def test_a_map_of_another_type_is_refused() -> None:
    with pytest.raises(MessageError, match='float64 map'):
        map_to_image(np.zeros((2, 2)), HEADER)


def test_camera_info_describes_a_rectified_image_of_the_camera() -> None:
    camera = Camera(1000.0, 900.0, 630.0, 350.0)
    info = camera_info(camera, 1280, 720, HEADER)
    assert (info.header, info.width, info.height) == (HEADER, 1280, 720)
    assert not any(info.d)
    assert info.p.reshape(3, 4)[:, :3].tolist() == info.k.reshape(3, 3).tolist()
    assert intrinsics(info, 1280, 720) == camera
    half = camera_info_scaled(info, 640, 360, Header())
    assert (half.header, half.width, half.k[4]) == (Header(), 640, 450.0)
    assert (info.header, info.width, info.k[4]) == (HEADER, 1280, 900.0)


def test_points_lie_where_depth_and_camera_say() -> None:
    depth = np.full((4, 6), 2.0, np.float32)
    depth[0, 0], depth[0, 1] = np.inf, np.nan
    labels = np.full((4, 6), 26, np.uint8)
    instances = np.full((4, 6), 26003, np.uint16)
    rgb = np.full((4, 6, 3), COLOR, np.uint8)
    cloud = point_cloud(depth, labels, instances, rgb, Camera(2.0, 4.0, 2.0, 1.0), HEADER)
    assert (cloud.header, cloud.height, cloud.width, cloud.is_dense) == (HEADER, 4, 6, False)
    assert cloud.row_step == 6 * cloud.point_step
    offsets = {field.name: field.offset for field in cloud.fields}
    assert offsets == {name: CLOUD_DTYPE.fields[name][1] for name in CLOUD_DTYPE.names}
    points = np.frombuffer(cloud.data, CLOUD_DTYPE).reshape(4, 6)
    x, y, z, rgb, instance, label = (points[3, 5][name] for name in CLOUD_DTYPE.names)
    assert (x, y, z) == (3.0, 1.0, 2.0)
    assert rgb == 200 << 16 | 100 << 8 | 50
    assert (instance, label) == (26003, 26)
    assert np.isnan(points['x'][0, :2]).all()
    assert np.isnan(points['z'][0, :2]).all()
