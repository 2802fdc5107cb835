"""ROS messages from and to arrays: pure functions, the only place that knows how pixels are packed.

ROS's own classes are imported where a message is made. What reads one takes any class with the same
attributes, so that a bag can be read where no ROS is installed.

Pixel centres have integer coordinates, as in OpenCV and image_geometry: the image reaches from −0.5
to ``width`` − 0.5, so scaling a principal point by s gives ``(c + 0.5) · s − 0.5``.
"""

import array
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_perception.frame import Camera, resize_nearest
from mtl_perception.messages import MessageError
from mtl_perception.messages.calibration import calibration_fields
from mtl_perception.messages.pixels import (
    MAP_ENCODINGS,
    compressed,
    compressed_format,
    image_fields,
)

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
    from std_msgs.msg import Header


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


def camera_info(camera: Camera, width: int, height: int, header: 'Header') -> 'CameraInfo':
    """Return the CameraInfo of a rectified image of that size: no distortion, P equal to K."""
    from sensor_msgs.msg import CameraInfo

    return CameraInfo(header=header, width=width, height=height, **calibration_fields(camera))


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
