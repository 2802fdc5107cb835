"""Pixels of image messages from and to arrays."""

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from mtl_perception.files import decode_picture
from mtl_perception.messages import MessageError

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image


class Encoding(NamedTuple):
    """How an encoding packs its pixels, and OpenCV's conversion to RGB where one is needed."""

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
    # OpenCV names a Bayer pattern after the second row's second and third pixel.
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
"""What the C++ cv_bridge converts to rgb8, and the later names of two of them. cv_bridge itself is
not used: its Python port on PyPI knows half of these, and a distribution's own is bound to that
distribution's NumPy."""

MAP_ENCODINGS = {'uint8': 'mono8', 'uint16': 'mono16', 'float32': '32FC1'}

MAP_DTYPES = {encoding: np.dtype(name).type for name, encoding in MAP_ENCODINGS.items()}


JPEG_QUALITY = 95


def image_to_rgb(msg: 'Image') -> np.ndarray:
    """Return the image as ``(height, width, 3)`` uint8 RGB; it may share the message's memory.

    Rows may be padded; 16-bit values are scaled by 255 / 65535, as cv_bridge does.

    Raises:
        MessageError: unknown encoding, no pixels, rows shorter than the width, or too little data.
    """
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        text = f'encoding {msg.encoding!r} has no conversion to rgb8; known: {", ".join(ENCODINGS)}'
        raise MessageError(text)
    pixels = _pixels(msg, encoding)
    try:
        rgb = pixels if encoding.conversion is None else cv2.cvtColor(pixels, encoding.conversion)
    except cv2.error as err:
        text = f'{msg.width}×{msg.height} {msg.encoding} image cannot be converted: {err.err}'
        raise MessageError(text) from err
    if rgb.dtype == np.uint16:
        rgb = cv2.convertScaleAbs(rgb, alpha=255 / 65535)
    return rgb


def compressed_to_rgb(msg: 'CompressedImage') -> np.ndarray:
    """Return the decoded picture as ``(height, width, 3)`` uint8 RGB.

    Raises:
        MessageError: the data is not a picture that OpenCV reads.
    """
    # A camera's pixels are where its CameraInfo says; an EXIF orientation must not turn them.
    bgr = decode_picture(msg.data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        text = f'{len(msg.data)} bytes of format {msg.format!r} are not a whole picture'
        raise MessageError(text)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def compressed(rgb: np.ndarray, codec: str) -> np.ndarray:
    """Return the bytes of ``(H, W, 3)`` uint8 RGB as ``jpeg`` or as ``png``.

    Raises:
        MessageError: OpenCV could not encode it.
    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if codec == 'jpeg' else []
    encoded, data = cv2.imencode(f'.{codec}', bgr, options)
    if not encoded:
        text = f'OpenCV could not encode an image of shape {rgb.shape} as {codec}'
        raise MessageError(text)
    return data


def compressed_format(codec: str) -> str:
    """Return the ``format`` of a CompressedImage, in image_transport's words."""
    return f'rgb8; {codec} compressed bgr8'


def image_to_map(msg: 'Image') -> np.ndarray:
    """Return the ``(H, W)`` map that ``map_to_image`` made a message of.

    Raises:
        MessageError: another encoding, no pixels, or too little data.
    """
    dtype = MAP_DTYPES.get(msg.encoding)
    if dtype is None:
        text = f'encoding {msg.encoding!r} is no map; expected {", ".join(MAP_DTYPES)}'
        raise MessageError(text)
    return _pixels(msg, Encoding(dtype, 1, None))


def image_fields(values: np.ndarray, encoding: str) -> dict[str, Any]:
    """Return what an Image says of the layout of its data."""
    height, width = values.shape[:2]
    return {
        'height': height,
        'width': width,
        'encoding': encoding,
        'is_bigendian': sys.byteorder == 'big',
        'step': values.nbytes // height,
    }


def _pixels(msg: 'Image', encoding: Encoding) -> np.ndarray:
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
    if encoding.channels == 1:
        return values
    return values.reshape(msg.height, msg.width, encoding.channels)
