# SPDX-License-Identifier: Apache-2.0
"""Conversion between the pixels of image messages and arrays."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from mtl_perception.files import decode_picture
from mtl_perception.messages import MessageError


class Encoding(NamedTuple):
    """Layout of an encoding's pixels.

    Attributes:
        dtype: Type of a value.
        channels: Values per pixel.
        conversion: Code of OpenCV's conversion to RGB; ``None`` if the pixels are RGB.
    """

    dtype: type
    channels: int
    conversion: int | None


ENCODINGS = {
    'rgb8': Encoding(np.uint8, 3, None),
    'rgba8': Encoding(np.uint8, 4, cv2.COLOR_RGBA2RGB),
    'rgb16': Encoding(np.uint16, 3, None),
    'rgba16': Encoding(np.uint16, 4, cv2.COLOR_RGBA2RGB),
    'bgr8': Encoding(np.uint8, 3, cv2.COLOR_BGR2RGB),
    'bgra8': Encoding(np.uint8, 4, cv2.COLOR_BGRA2RGB),
    'bgr16': Encoding(np.uint16, 3, cv2.COLOR_BGR2RGB),
    'bgra16': Encoding(np.uint16, 4, cv2.COLOR_BGRA2RGB),
    'mono8': Encoding(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    'mono16': Encoding(np.uint16, 1, cv2.COLOR_GRAY2RGB),
    # OpenCV names a Bayer pattern after the second and third pixels of the second row.
    'bayer_rggb8': Encoding(np.uint8, 1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': Encoding(np.uint8, 1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': Encoding(np.uint8, 1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': Encoding(np.uint8, 1, cv2.COLOR_BayerGB2RGB),
    'bayer_rggb16': Encoding(np.uint16, 1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr16': Encoding(np.uint16, 1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg16': Encoding(np.uint16, 1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg16': Encoding(np.uint16, 1, cv2.COLOR_BayerGB2RGB),
    'yuv422': Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
}
"""Encodings that the C++ cv_bridge converts to rgb8, and the newer names of two of them."""

MAP_ENCODINGS = {'uint8': 'mono8', 'uint16': 'mono16', 'float32': '32FC1'}

MAP_DTYPES = {encoding: np.dtype(name).type for name, encoding in MAP_ENCODINGS.items()}

JPEG_QUALITY = 95


def pixels_to_rgb(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """Return pixels as ``(H, W, 3)`` uint8 RGB; the array may share the memory of ``pixels``.

    Values of 16 bits are scaled by 255 / 65535, as in cv_bridge.

    Args:
        pixels: ``(H, W)`` or ``(H, W, channels)`` values of the type and channels of ``encoding``.
        encoding: Name in ``ENCODINGS``.

    Raises:
        MessageError: OpenCV cannot convert an image of this size.
    """
    conversion = ENCODINGS[encoding].conversion
    try:
        rgb = pixels if conversion is None else cv2.cvtColor(pixels, conversion)
    except cv2.error as err:
        height, width = pixels.shape[:2]
        text = f'{width}×{height} {encoding} image cannot be converted: {err.err}'
        raise MessageError(text) from err
    return cv2.convertScaleAbs(rgb, alpha=255 / 65535) if rgb.dtype == np.uint16 else rgb


def image_to_rgb(
    msg: Any, convert: Callable[[np.ndarray, str], np.ndarray] = pixels_to_rgb
) -> np.ndarray:
    """Return a ``sensor_msgs/Image`` as ``(height, width, 3)`` uint8 RGB.

    The array may share the memory of the message. Rows may be padded. ``convert`` has the
    arguments, result and errors of ``pixels_to_rgb``.

    Raises:
        MessageError: Unknown encoding, no pixels, rows shorter than the width, or too little data.
    """
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        text = f'encoding {msg.encoding!r} has no conversion to rgb8; known: {", ".join(ENCODINGS)}'
        raise MessageError(text)
    return convert(_pixels(msg, encoding), msg.encoding)


def compressed_to_rgb(msg: Any) -> np.ndarray:
    """Return a ``sensor_msgs/CompressedImage`` as ``(height, width, 3)`` uint8 RGB.

    Raises:
        MessageError: The data is not a whole picture in a format that OpenCV reads.
    """
    # CameraInfo refers to the pixels as stored; an EXIF orientation must not rotate them.
    bgr = decode_picture(msg.data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        text = f'{len(msg.data)} bytes of format {msg.format!r} are not a whole picture'
        raise MessageError(text)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def compressed(rgb: np.ndarray, codec: str) -> np.ndarray:
    """Return ``(H, W, 3)`` uint8 RGB encoded as ``jpeg`` or ``png``: a row of bytes.

    Raises:
        MessageError: OpenCV cannot encode the image.
    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if codec == 'jpeg' else []
    encoded, data = cv2.imencode(f'.{codec}', bgr, options)
    if not encoded:
        text = f'OpenCV cannot encode an image of shape {rgb.shape} as {codec}'
        raise MessageError(text)
    return data


def compressed_format(codec: str) -> str:
    """Return the ``format`` of a CompressedImage as image_transport writes it."""
    return f'rgb8; {codec} compressed bgr8'


def image_to_map(msg: Any) -> np.ndarray:
    """Return the ``(H, W)`` uint8, uint16 or float32 map of a mono8, mono16 or 32FC1 image.

    Raises:
        MessageError: Another encoding, no pixels, rows shorter than the width, or too little data.
    """
    dtype = MAP_DTYPES.get(msg.encoding)
    if dtype is None:
        text = f'encoding {msg.encoding!r} is not a map encoding; expected {", ".join(MAP_DTYPES)}'
        raise MessageError(text)
    return _pixels(msg, Encoding(dtype, 1, None))


def image_fields(values: np.ndarray, encoding: str) -> dict[str, Any]:
    """Return the fields of an Image that describe the layout of its data."""
    height, width = values.shape[:2]
    return {
        'height': height,
        'width': width,
        'encoding': encoding,
        'is_bigendian': sys.byteorder == 'big',
        'step': values.nbytes // height,
    }


def _pixels(msg: Any, encoding: Encoding) -> np.ndarray:
    row = msg.width * encoding.channels * np.dtype(encoding.dtype).itemsize
    data = np.frombuffer(msg.data, np.uint8)
    if row == 0 or msg.height == 0:
        text = f'image of {msg.width}×{msg.height} has no pixels'
        raise MessageError(text)
    if msg.step < row:
        text = f'step {msg.step} is less than the {row} bytes of {msg.width} {msg.encoding} pixels'
        raise MessageError(text)
    if data.size < msg.height * msg.step:
        text = f'{data.size} bytes of data; {msg.height} rows of {msg.step} need more'
        raise MessageError(text)
    rows = data[: msg.height * msg.step].reshape(msg.height, msg.step)[:, :row]
    stored = np.dtype(encoding.dtype).newbyteorder('>' if msg.is_bigendian else '<')
    values: np.ndarray = np.ascontiguousarray(rows).view(stored).astype(encoding.dtype, copy=False)
    return values if encoding.channels == 1 else values.reshape(msg.height, msg.width, -1)
