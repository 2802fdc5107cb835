import array

import cv2
import numpy as np
import pytest

pytest.importorskip('sensor_msgs', reason='sensor_msgs is not installed')

from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from mtl_perception.frame import Camera, resize_nearest
from mtl_perception.messages import MessageError
from mtl_perception.messages.calibration import camera_info_scaled, intrinsics
from mtl_perception.messages.pixels import ENCODINGS, compressed_to_rgb, image_to_rgb
from mtl_perception.pictures.maps import color_instances, color_labels
from mtl_perception.ros.messages import (
    CLOUD_DTYPE,
    Memory,
    camera_info,
    map_to_image,
    point_cloud,
    rgb_to_compressed,
    rgb_to_image,
)

HEADER = Header(frame_id='optical')
COLOR = (200, 100, 50)
BAYER = {'rggb': ((0, 1), (1, 2)), 'bggr': ((2, 1), (1, 0)), 'gbrg': ((1, 2), (0, 1))}
BAYER['grbg'] = ((1, 0), (2, 1))


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


def test_padding_at_the_end_of_rows_is_no_picture(picture: np.ndarray) -> None:
    padded = np.concatenate([picture.reshape(6, 24), np.full((6, 8), 255, np.uint8)], 1)
    msg = message(picture, 'rgb8', step=32)
    msg.data = array.array('B', padded.tobytes())
    np.testing.assert_array_equal(image_to_rgb(msg), picture)


@pytest.mark.parametrize(
    ('encoding', 'channels'),
    [('rgb', [0, 1, 2]), ('bgr', [2, 1, 0]), ('rgba', [0, 1, 2, 1]), ('bgra', [2, 1, 0, 1])],
)
@pytest.mark.parametrize('bits', [8, 16])
def test_channels_come_in_any_order_and_either_depth(
    picture: np.ndarray, encoding: str, channels: list[int], bits: int
) -> None:
    values = picture[..., channels]
    if bits == 16:
        values = values.astype('<u2') * 257
    np.testing.assert_array_equal(image_to_rgb(message(values, f'{encoding}{bits}')), picture)


def test_big_endian_values_are_understood(picture: np.ndarray) -> None:
    gray = picture[..., 0]
    msg = message(gray.astype('>u2') * 257, 'mono16', is_bigendian=1)
    np.testing.assert_array_equal(image_to_rgb(msg), np.stack([gray] * 3, 2))


def test_gray_becomes_three_equal_channels(picture: np.ndarray) -> None:
    gray = picture[..., 0]
    np.testing.assert_array_equal(image_to_rgb(message(gray, 'mono8')), np.stack([gray] * 3, 2))


@pytest.mark.parametrize('pattern', BAYER)
@pytest.mark.parametrize('bits', [8, 16])
def test_every_bayer_pattern_gives_the_colour_that_was_filmed(pattern: str, bits: int) -> None:
    mosaic = np.array(COLOR, np.uint8)[np.tile(BAYER[pattern], (4, 4))]
    if bits == 16:
        mosaic = mosaic.astype('<u2') * 257
    rgb = image_to_rgb(message(mosaic, f'bayer_{pattern}{bits}'))
    np.testing.assert_array_equal(rgb, np.full((8, 8, 3), COLOR))


@pytest.mark.parametrize(
    ('encoding', 'order'), [('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuyv', 'yuyv')]
)
def test_yuv_is_converted(encoding: str, order: str) -> None:
    # Full red in the BT.601 studio range.
    red = {'y': 81, 'u': 90, 'v': 240}
    row = np.array([red[letter] for letter in order] * 4, np.uint8)
    msg = message(np.tile(row, (4, 1)).reshape(4, 8, 2), encoding)
    np.testing.assert_allclose(image_to_rgb(msg), np.full((4, 8, 3), (255, 0, 0)), atol=3)


def test_conversion_is_that_of_cv_bridge() -> None:
    cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is not installed')
    generator = np.random.default_rng(0)
    # Those that its Python port on PyPI converts.
    for encoding in (
        *('rgb8', 'rgba8', 'bgr8', 'bgra8', 'mono8'),
        *('bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8'),
    ):
        values = generator.integers(0, 256, (8, 8, ENCODINGS[encoding].channels), np.uint8)
        msg = message(values, encoding)
        expected = cv_bridge.CvBridge().imgmsg_to_cv2(msg, 'rgb8')
        np.testing.assert_array_equal(image_to_rgb(msg), expected, err_msg=encoding)


@pytest.mark.parametrize(
    ('fields', 'reason'),
    [
        ({'encoding': 'nonsense'}, "encoding 'nonsense' has no conversion"),
        ({'encoding': '32FC1'}, "encoding '32FC1' has no conversion"),
        ({'height': 0}, 'image of 8×0 has no pixels'),
        ({'width': 0}, 'image of 0×6 has no pixels'),
        ({'step': 23}, 'step 23 is less than the 24 bytes'),
        ({'step': 0}, 'step 0 is less than the 24 bytes'),
        ({'height': 7}, '144 bytes of data; 7 rows of 24 need more'),
        ({'data': array.array('B')}, '0 bytes of data'),
        ({'encoding': 'yuyv', 'width': 7, 'step': 14}, 'cannot be converted'),
    ],
)
def test_a_broken_image_is_refused_with_the_reason(
    picture: np.ndarray, fields: dict, reason: str
) -> None:
    msg = rgb_to_image(picture, HEADER)
    for name, value in fields.items():
        setattr(msg, name, value)
    with pytest.raises(MessageError, match=reason):
        image_to_rgb(msg)


def test_a_compressed_image_is_decoded() -> None:
    smooth = cv2.resize(np.array([[COLOR, COLOR[::-1]]], np.uint8), (64, 48))
    msg = rgb_to_compressed(smooth, HEADER)
    assert msg.header == HEADER
    assert np.abs(compressed_to_rgb(msg).astype(int) - smooth).max() < 12


def test_a_16_bit_png_is_decoded(picture: np.ndarray) -> None:
    _, png = cv2.imencode('.png', picture[..., ::-1].astype(np.uint16) * 257)
    msg = CompressedImage(format='rgb16; png compressed', data=array.array('B', png.tobytes()))
    np.testing.assert_array_equal(compressed_to_rgb(msg), picture)


@pytest.mark.parametrize('data', [b'', b'garbage', b'\xff\xd8\xff\xe0 and no more'])
def test_a_broken_compressed_image_is_refused(data: bytes) -> None:
    msg = CompressedImage(format='jpeg', data=array.array('B', data))
    with pytest.raises(MessageError, match="of format 'jpeg' are not a whole picture"):
        compressed_to_rgb(msg)


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


def test_camera_info_is_scaled_about_the_corner_of_the_image() -> None:
    info = camera_info(Camera(1000.0, 900.0, 630.0, 350.0), 1280, 720, HEADER)
    half = camera_info_scaled(info, 640, 360, HEADER)
    # The corner is at pixel (-0.5, -0.5), so the centre is at (630 + 0.5) / 2 - 0.5.
    assert half.k.tolist() == [500.0, 0.0, 314.75, 0.0, 450.0, 174.75, 0.0, 0.0, 1.0]
    assert half.p.reshape(3, 4)[:, :3].tolist() == half.k.reshape(3, 3).tolist()
    assert (half.width, half.height, half.header) == (640, 360, HEADER)
    assert (info.width, info.k[0]) == (1280, 1000.0)


def test_stereo_baseline_in_p_scales_with_the_focal_length() -> None:
    info = camera_info(Camera(1000.0, 1000.0, 640.0, 360.0), 1280, 720, HEADER)
    info.p[3] = -120.0
    assert camera_info_scaled(info, 320, 180, HEADER).p[3] == pytest.approx(-30.0)


def test_region_of_interest_and_binning_are_folded_into_the_intrinsics() -> None:
    info = camera_info(Camera(1000.0, 1000.0, 639.5, 359.5), 1280, 720, HEADER)
    info.roi = RegionOfInterest(x_offset=320, y_offset=180, width=640, height=360)
    info.binning_x = info.binning_y = 2
    scaled = camera_info_scaled(info, 320, 180, HEADER)
    assert intrinsics(info, 320, 180) == Camera(500.0, 500.0, 159.5, 89.5)
    assert (scaled.binning_x, scaled.roi.width) == (0, 0)
    assert intrinsics(scaled, 320, 180) == Camera(500.0, 500.0, 159.5, 89.5)


def test_intrinsics_are_those_of_p_and_of_k_where_p_is_zero() -> None:
    info = camera_info(Camera(1000.0, 1000.0, 640.0, 360.0), 1280, 720, HEADER)
    info.p[0], info.p[5] = 800.0, 700.0
    assert intrinsics(info, 1280, 720).fy == 700.0
    info.p = np.zeros(12)
    assert intrinsics(info, 1280, 720).fy == 1000.0
    info.k = np.zeros(9)
    with pytest.raises(MessageError, match='no calibration'):
        intrinsics(info, 1280, 720)
    with pytest.raises(MessageError, match='size of 0×0'):
        intrinsics(CameraInfo(), 1280, 720)


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
