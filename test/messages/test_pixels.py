# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mtl_perception.messages import MessageError
from mtl_perception.messages.pixels import (
    compressed,
    compressed_format,
    compressed_to_rgb,
    image_fields,
    image_to_map,
    image_to_rgb,
)

COLOR = (200, 100, 50)
BAYER = {'rggb': ((0, 1), (1, 2)), 'bggr': ((2, 1), (1, 0)), 'gbrg': ((1, 2), (0, 1))}
BAYER['grbg'] = ((1, 0), (2, 1))


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def message(values: np.ndarray, encoding: str, **fields) -> SimpleNamespace:
    fields = {**image_fields(values, encoding), 'data': values.tobytes(), **fields}
    return SimpleNamespace(**fields)


def test_rgb_survives_the_way_through_a_message(picture: np.ndarray) -> None:
    msg = message(picture, 'rgb8')
    assert (msg.height, msg.width, msg.step) == (6, 8, 24)
    np.testing.assert_array_equal(image_to_rgb(msg), picture)


def test_padding_at_the_end_of_rows_is_no_picture(picture: np.ndarray) -> None:
    padded = np.concatenate([picture.reshape(6, 24), np.full((6, 8), 255, np.uint8)], 1)
    msg = message(picture, 'rgb8', step=32, data=padded.tobytes())
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
        ({'data': b''}, '0 bytes of data'),
        ({'encoding': 'yuyv', 'width': 7, 'step': 14}, '7×6 yuyv image cannot be converted'),
    ],
)
def test_a_broken_image_is_refused_with_the_reason(
    picture: np.ndarray, fields: dict, reason: str
) -> None:
    msg = message(picture, 'rgb8')
    vars(msg).update(fields)
    with pytest.raises(MessageError, match=reason):
        image_to_rgb(msg)


@pytest.mark.parametrize('codec', ['jpeg', 'png'])
def test_a_compressed_image_is_decoded(codec: str) -> None:
    smooth = cv2.resize(np.array([[COLOR, COLOR[::-1]]], np.uint8), (64, 48))
    msg = SimpleNamespace(format=compressed_format(codec), data=compressed(smooth, codec))
    assert msg.format == f'rgb8; {codec} compressed bgr8'
    largest = 12 if codec == 'jpeg' else 1
    assert np.abs(compressed_to_rgb(msg).astype(int) - smooth).max() < largest


def test_a_16_bit_png_is_decoded(picture: np.ndarray) -> None:
    _, png = cv2.imencode('.png', picture[..., ::-1].astype(np.uint16) * 257)
    msg = SimpleNamespace(format='rgb16; png compressed', data=png.tobytes())
    np.testing.assert_array_equal(compressed_to_rgb(msg), picture)


@pytest.mark.parametrize('data', [b'', b'garbage', b'\xff\xd8\xff\xe0 and no more'])
def test_a_broken_compressed_image_is_refused(data: bytes) -> None:
    msg = SimpleNamespace(format='jpeg', data=data)
    with pytest.raises(MessageError, match="of format 'jpeg' are not a whole picture"):
        compressed_to_rgb(msg)


@pytest.mark.parametrize(
    ('dtype', 'encoding'), [('uint8', 'mono8'), ('uint16', 'mono16'), ('float32', '32FC1')]
)
def test_a_map_survives_the_way_through_a_message(dtype: str, encoding: str) -> None:
    values = np.arange(48).reshape(6, 8).astype(dtype)
    found = image_to_map(message(values, encoding))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


def test_an_image_of_colours_is_no_map(picture: np.ndarray) -> None:
    with pytest.raises(MessageError, match="'rgb8' is not a map encoding; expected mono8"):
        image_to_map(message(picture, 'rgb8'))
