"""ROS messages from and to arrays: pure functions, the only place that knows how pixels are packed.

ROS's own classes are imported where a message is made. What reads one takes any class with the same
attributes, so that a bag can be read where no ROS is installed.

Pixel centres have integer coordinates, as in OpenCV and image_geometry: the image reaches from −0.5
to ``width`` − 0.5, so scaling a principal point by s gives ``(c + 0.5) · s − 0.5``.
"""

import array
import copy
import math
import struct
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from mtl_perception.data.frame import Camera, resize_nearest
from mtl_perception.files import decode_picture

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
    from std_msgs.msg import Header


class MessageError(ValueError):
    """A message that cannot be used; the text says what it holds and what was expected."""


class Memory:
    """Keeps a message, so that the bytes of the next one need not be allocated.

    Large blocks are expensive to come by: a new page costs more than the pixels that fill it. Who
    makes a message with this overwrites the one that was made with it before.
    """

    def __init__(self) -> None:
        self._message: Any = None

    def message(self, message_type: type, size: int) -> Any:
        """Return a message with so many bytes of data; what it holds has to be overwritten."""
        if self._message is None or len(self._message.data) != size:
            # Not a message of bytes that are kept here: it would copy them.
            self._message = message_type(data=array.array('B', bytes(size)))
        return self._message


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

CLOUD_DTYPE = np.dtype(
    {
        'names': ['x', 'y', 'z', 'rgb', 'instance', 'label'],
        'formats': ['f4', 'f4', 'f4', 'u4', 'u2', 'u1'],
        'offsets': [0, 4, 8, 12, 16, 18],
        'itemsize': 20,
    }
)
"""A point of ``point_cloud``; ``rgb`` is 0x00RRGGBB in the bits of a float, as PCL has it."""

CLOUD_FIELDS = (
    ('x', 0, 'FLOAT32'),
    ('y', 4, 'FLOAT32'),
    ('z', 8, 'FLOAT32'),
    ('rgb', 12, 'FLOAT32'),
    ('instance', 16, 'UINT16'),
    ('label', 18, 'UINT8'),
)
"""Name, offset and type of each field, the type as ``sensor_msgs/PointField`` calls it."""

MAP_ENCODINGS = {'uint8': 'mono8', 'uint16': 'mono16', 'float32': '32FC1'}
MAP_DTYPES = {encoding: np.dtype(name).type for name, encoding in MAP_ENCODINGS.items()}


JPEG_QUALITY = 95

SECOND = 1_000_000_000
"""Nanoseconds."""


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


def rgb_to_image(
    rgb: np.ndarray,
    header: 'Header',
    size: tuple[int, int] | None = None,
    memory: Memory | None = None,
) -> 'Image':
    """Return an rgb8 message of ``(H, W, 3)`` uint8 RGB.

    Args:
        rgb: the image.
        header: of the message.
        size: (height, width) to resize to by nearest neighbour.
        memory: for the message's bytes; without it they are new.
    """
    return _image(rgb, 'rgb8', header, size, memory)


def rgb_to_compressed(rgb: np.ndarray, header: 'Header') -> 'CompressedImage':
    """Return a JPEG message of ``(H, W, 3)`` uint8 RGB.

    Raises:
        MessageError: OpenCV could not encode it.
    """
    from sensor_msgs.msg import CompressedImage

    data = compressed(rgb, 'jpeg')
    return CompressedImage(header=header, format=compressed_format('jpeg'), data=_buffer(data))


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


def map_to_image(
    values: np.ndarray,
    header: 'Header',
    size: tuple[int, int] | None = None,
    memory: Memory | None = None,
) -> 'Image':
    """Return an ``(H, W)`` map as a message: uint8 is mono8, uint16 mono16, float32 32FC1.

    Args:
        values: the map.
        header: of the message.
        size: (height, width) to resize to by nearest neighbour.
        memory: for the message's bytes; without it they are new.

    Raises:
        MessageError: no such map.
    """
    encoding = MAP_ENCODINGS.get(values.dtype.name)
    if encoding is None or values.ndim != 2:
        text = f'a {values.dtype.name} map of shape {values.shape} has no image encoding'
        raise MessageError(text)
    return _image(values, encoding, header, size, memory)


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


def camera_info(camera: Camera, width: int, height: int, header: 'Header') -> 'CameraInfo':
    """Return the CameraInfo of a rectified image of that size: no distortion, P equal to K."""
    from sensor_msgs.msg import CameraInfo

    return CameraInfo(header=header, width=width, height=height, **calibration_fields(camera))


def calibration_fields(camera: Camera) -> dict[str, Any]:
    """Return what a CameraInfo says of a rectified image beyond its size."""
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    return {
        'distortion_model': 'plumb_bob',
        'd': [0.0] * 5,
        'k': k,
        'r': [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        'p': [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0],
    }


def camera_info_scaled(
    info: 'CameraInfo', width: int, height: int, header: 'Header'
) -> 'CameraInfo':
    """Return ``info`` for an image of ``width`` × ``height`` that shows the same region.

    K and P are those of the full sensor; what was published is the region of interest (all of it
    where it is empty), binned. Both are folded into K and P, so binning and region are cleared.

    Raises:
        MessageError: ``info`` has no size.
    """
    x, y, region_width, region_height = region_of_interest(info)
    if not (region_width and region_height):
        text = f'camera_info states a size of {info.width}×{info.height}'
        raise MessageError(text)
    scale = np.diag([width / region_width, height / region_height, 1.0])
    shift = np.array([[1.0, 0.0, 0.5 - x], [0.0, 1.0, 0.5 - y], [0.0, 0.0, 1.0]])
    back = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
    to_image = back @ scale @ shift
    result = copy.copy(info)
    result.header = header
    result.width, result.height = width, height
    result.binning_x = result.binning_y = 0
    result.roi = type(info.roi)(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    # A matrix of zeros says that there is no calibration, and stays one.
    result.k = (to_image @ np.reshape(info.k, (3, 3))).ravel()
    result.p = (to_image @ np.reshape(info.p, (3, 4))).ravel()
    return result


def intrinsics(info: 'CameraInfo', width: int, height: int) -> Camera:
    """Return the pinhole camera of a rectified image of that size: from P, from K where P is zero.

    Raises:
        MessageError: ``info`` has no size or no calibration.
    """
    scaled = camera_info_scaled(info, width, height, info.header)
    for fx, fy, cx, cy in (
        (scaled.p[0], scaled.p[5], scaled.p[2], scaled.p[6]),
        (scaled.k[0], scaled.k[4], scaled.k[2], scaled.k[5]),
    ):
        if np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0:
            return Camera(fx, fy, cx, cy)
    text = 'camera_info holds no calibration: neither P nor K has positive focal lengths'
    raise MessageError(text)


def point_cloud(
    depth: np.ndarray,
    labels: np.ndarray,
    instances: np.ndarray,
    rgb: np.ndarray,
    camera: Camera,
    header: 'Header',
    memory: Memory | None = None,
) -> 'PointCloud2':
    """Return an organized cloud in the optical frame (x right, y down, z forward; metres).

    Args:
        depth: ``(h, w)`` float32, metres along z; the point is NaN where it is not finite.
        labels: ``(h, w)`` uint8.
        instances: ``(h, w)`` uint16.
        rgb: ``(h, w, 3)`` uint8.
        camera: intrinsics of an image of that size.
        header: of the image.
        memory: for the message's bytes; without it they are new.
    """
    from sensor_msgs.msg import PointCloud2, PointField

    height, width = depth.shape
    msg = (memory or Memory()).message(PointCloud2, depth.size * CLOUD_DTYPE.itemsize)
    points = np.frombuffer(msg.data, CLOUD_DTYPE).reshape(depth.shape)
    z = np.where(np.isfinite(depth), depth, np.nan)
    points['x'] = z * ((np.arange(width, dtype=np.float32) - camera.cx) / camera.fx)
    points['y'] = z * ((np.arange(height, dtype=np.float32) - camera.cy) / camera.fy)[:, None]
    points['z'] = z
    red, green, blue = (rgb[..., i].astype(np.uint32) for i in range(3))
    points['rgb'] = red << 16 | green << 8 | blue
    points['instance'] = instances
    points['label'] = labels
    return _filled(
        msg,
        header=header,
        height=height,
        width=width,
        fields=[
            PointField(name=name, offset=offset, datatype=getattr(PointField, kind), count=1)
            for name, offset, kind in CLOUD_FIELDS
        ],
        is_bigendian=sys.byteorder == 'big',
        point_step=CLOUD_DTYPE.itemsize,
        row_step=CLOUD_DTYPE.itemsize * width,
        is_dense=False,
    )


def nanoseconds(header: 'Header') -> int:
    """Return the header's stamp."""
    return header.stamp.sec * SECOND + header.stamp.nanosec


def header_stamp(data: bytes) -> int:
    """Return the stamp, in nanoseconds, of a serialized message that begins with a header.

    CDR has four bytes of its own, the second of which says whether numbers are little endian; the
    stamp's seconds and nanoseconds follow.

    Raises:
        MessageError: it is shorter than a stamp.
    """
    if len(data) < 12:
        text = f'{len(data)} bytes are too few for a header'
        raise MessageError(text)
    order = '<' if data[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
    return seconds * SECOND + nanoseconds


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


def _image(
    values: np.ndarray,
    encoding: str,
    header: 'Header',
    size: tuple[int, int] | None,
    memory: Memory | None,
) -> 'Image':
    from sensor_msgs.msg import Image

    height, width = size or values.shape[:2]
    shape = (height, width, *values.shape[2:])
    msg = (memory or Memory()).message(Image, math.prod(shape) * values.itemsize)
    pixels = np.frombuffer(msg.data, values.dtype).reshape(shape)
    resize_nearest(values, height, width, out=pixels)
    return _filled(msg, header=header, **image_fields(pixels, encoding))


def _filled(msg: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        setattr(msg, name, value)
    return msg


def _buffer(values: np.ndarray) -> array.array:
    """Return the bytes as the one type that rclpy takes without converting element by element."""
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(values).view(np.uint8).data)
    return data


def region_of_interest(info: 'CameraInfo') -> tuple[int, int, int, int]:
    """Return (x, y, width, height) of the sensor's pixels in the image: all where none is named."""
    roi = info.roi
    if roi.width and roi.height:
        return roi.x_offset, roi.y_offset, roi.width, roi.height
    return 0, 0, info.width, info.height
