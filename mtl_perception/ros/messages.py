# SPDX-License-Identifier: Apache-2.0
"""Makers of ROS messages, and the conversion of received images by cv_bridge."""

import array
import contextlib
import math
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from mtl_perception.frame import Camera, resize_nearest
from mtl_perception.messages import MessageError
from mtl_perception.messages.calibration import calibration_fields
from mtl_perception.messages.pixels import (
    ENCODINGS,
    MAP_ENCODINGS,
    compressed,
    compressed_format,
    image_fields,
    pixels_to_rgb,
)


class Converter:
    """Converts pixels to RGB with cv_bridge where it is sound, elsewhere with ``pixels_to_rgb``.

    NumPy 2 and OpenCV 5 have broken builds of cv_bridge. It is sound for an encoding if it turns a
    random image into the bytes that ``pixels_to_rgb`` returns. Import and check
    take about 13 ms at the first configuration, 1 ms at later ones.

    Attributes:
        encodings: Encodings that cv_bridge converts.
    """

    def __init__(self) -> None:
        self.encodings: frozenset[str] = frozenset()
        # A broken build may raise anything, as early as its import.
        with contextlib.suppress(Exception):
            from cv_bridge import CvBridge

            self._bridge = CvBridge()
            self.encodings = frozenset(filter(self._is_sound, ENCODINGS))

    def __call__(self, pixels: np.ndarray, encoding: str) -> np.ndarray:
        """Return ``(H, W, 3)`` uint8 RGB; arguments and errors are as in ``pixels_to_rgb``."""
        if encoding in self.encodings:
            with contextlib.suppress(Exception):
                return self._bridged(pixels, encoding)
        return pixels_to_rgb(pixels, encoding)

    @property
    def description(self) -> str:
        """Which conversion is used, as text."""
        if not self.encodings:
            return 'own table for all encodings'
        count = f'{len(self.encodings)} of {len(ENCODINGS)}'
        return f'cv_bridge for {count} encodings, own table for the others'

    def _bridged(self, pixels: np.ndarray, encoding: str) -> np.ndarray:
        msg = SimpleNamespace(**image_fields(pixels, encoding), data=pixels)
        return self._bridge.imgmsg_to_cv2(msg, 'rgb8')

    def _is_sound(self, encoding: str) -> bool:
        layout = ENCODINGS[encoding]
        if layout.conversion is None:
            # pixels_to_rgb returns RGB pixels as they are; cv_bridge may copy them.
            return False
        largest, shape = np.iinfo(layout.dtype).max, (34, 66, layout.channels)
        values = np.random.default_rng(0).integers(largest, size=shape, dtype=layout.dtype)
        pixels = values.squeeze()
        expected = pixels_to_rgb(pixels, encoding)
        try:
            found = self._bridged(pixels, encoding)
        except ImportError:
            # Its compiled half is missing: NumPy reports that at length at every further attempt.
            raise
        except Exception:
            return False
        return found.dtype == expected.dtype and np.array_equal(found, expected)


class Memory:
    """A message whose bytes are reused by the next message of its size.

    Large blocks are expensive: allocating a page costs more than filling it with pixels. Making a
    message with this memory overwrites the previous message made with it.
    """

    def __init__(self) -> None:
        self._message: Any = None

    def message(self, message_type: type, size: int) -> Any:
        """Return a message with ``size`` bytes of data; all of its fields must be set."""
        if self._message is None or len(self._message.data) != size:
            # The message is kept, not its bytes: assigning bytes to a new message copies them.
            self._message = message_type(data=array.array('B', bytes(size)))
        return self._message


CLOUD_FIELDS = (
    ('x', 'f4', 0, PointField.FLOAT32),
    ('y', 'f4', 4, PointField.FLOAT32),
    ('z', 'f4', 8, PointField.FLOAT32),
    ('rgb', 'u4', 12, PointField.FLOAT32),
    ('instance', 'u2', 16, PointField.UINT16),
    ('label', 'u1', 18, PointField.UINT8),
)
"""Name, type, offset in bytes and type in ``PointField`` of each field of a point."""

CLOUD_DTYPE = np.dtype([(name, kind) for name, kind, *_ in CLOUD_FIELDS], align=True)
"""A point of ``point_cloud``; ``rgb`` is 0x00RRGGBB in the bits of a float, as in PCL."""


def rgb_to_image(
    rgb: np.ndarray,
    header: Header,
    size: tuple[int, int] | None = None,
    memory: Memory | None = None,
) -> Image:
    """Return an rgb8 message of ``(H, W, 3)`` uint8 RGB; ``size`` is as in ``map_to_image``."""
    return _image(rgb, 'rgb8', header, size, memory)


def rgb_to_compressed(rgb: np.ndarray, header: Header) -> CompressedImage:
    """Return a JPEG message of ``(H, W, 3)`` uint8 RGB.

    Raises:
        MessageError: OpenCV cannot encode the image.
    """
    data = compressed(rgb, 'jpeg')
    return CompressedImage(header=header, format=compressed_format('jpeg'), data=_buffer(data))


def map_to_image(
    values: np.ndarray,
    header: Header,
    size: tuple[int, int] | None = None,
    memory: Memory | None = None,
) -> Image:
    """Return a message of an ``(H, W)`` map: uint8 as mono8, uint16 as mono16, float32 as 32FC1.

    Args:
        values: Map.
        header: Header of the message.
        size: (height, width) to resize to, by nearest neighbour.
        memory: Memory of the message; a new one by default.

    Raises:
        MessageError: The array has another type or shape.
    """
    encoding = MAP_ENCODINGS.get(values.dtype.name)
    if encoding is None or values.ndim != 2:
        text = f'a {values.dtype.name} map of shape {values.shape} has no image encoding'
        raise MessageError(text)
    return _image(values, encoding, header, size, memory)


def camera_info(camera: Camera, width: int, height: int, header: Header) -> CameraInfo:
    """Return the CameraInfo of a rectified image: no distortion, P equal to K."""
    return CameraInfo(header=header, width=width, height=height, **calibration_fields(camera))


def point_cloud(
    depth: np.ndarray,
    labels: np.ndarray,
    instances: np.ndarray,
    rgb: np.ndarray,
    camera: Camera,
    header: Header,
    memory: Memory | None = None,
) -> PointCloud2:
    """Return an organized cloud in the optical frame (x right, y down, z forward; metres).

    Args:
        depth: ``(h, w)`` float32, metres along z; points of non-finite depth are NaN.
        labels: ``(h, w)`` uint8 label IDs.
        instances: ``(h, w)`` uint16 instance IDs.
        rgb: ``(h, w, 3)`` uint8 colours.
        camera: Intrinsics of an ``(h, w)`` image.
        header: Header of the image.
        memory: Memory of the message; a new one by default.
    """
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
            PointField(name=name, offset=offset, datatype=datatype, count=1)
            for name, _, offset, datatype in CLOUD_FIELDS
        ],
        is_bigendian=sys.byteorder == 'big',
        point_step=CLOUD_DTYPE.itemsize,
        row_step=CLOUD_DTYPE.itemsize * width,
        is_dense=False,
    )


def _image(
    values: np.ndarray,
    encoding: str,
    header: Header,
    size: tuple[int, int] | None,
    memory: Memory | None,
) -> Image:
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
    """Return bytes as the only type that rclpy does not convert element by element."""
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(values).view(np.uint8).data)
    return data
