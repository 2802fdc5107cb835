# SPDX-License-Identifier: Apache-2.0
"""Messages of rosbags, which needs no ROS installation.

Their attributes are named as in ROS's classes, so the functions of ``messages`` accept both.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.stores import ros2_humble

from mtl_perception.frame import Camera
from mtl_perception.messages import MessageError
from mtl_perception.messages.calibration import calibration_fields
from mtl_perception.messages.pixels import (
    MAP_ENCODINGS,
    compressed,
    compressed_format,
    image_fields,
    image_to_map,
)
from mtl_perception.messages.stamps import SECOND
from mtl_perception.prediction import Prediction
from mtl_perception.tasks import TASKS

Time = ros2_humble.builtin_interfaces__msg__Time
Header = ros2_humble.std_msgs__msg__Header
CameraInfo = ros2_humble.sensor_msgs__msg__CameraInfo
CompressedImage = ros2_humble.sensor_msgs__msg__CompressedImage
Image = ros2_humble.sensor_msgs__msg__Image
RegionOfInterest = ros2_humble.sensor_msgs__msg__RegionOfInterest

TYPESTORE = get_typestore(Stores.ROS2_HUMBLE)
"""Message definitions; the messages used here are equal from Humble to Kilted."""

IMAGE, COMPRESSED_IMAGE, CAMERA_INFO = (
    message.__msgtype__ for message in (Image, CompressedImage, CameraInfo)
)


def serialize(message: Any) -> bytes:
    """Return the message as CDR."""
    return bytes(TYPESTORE.serialize_cdr(message, message.__msgtype__))


def deserialize(data: bytes, type_name: str) -> Any:
    """Return the message of type ``package/msg/Name`` from CDR.

    Raises:
        MessageError: The data is not a message of the type.
    """
    try:
        return TYPESTORE.deserialize_cdr(data, type_name)
    except Exception as err:  # damaged data makes rosbags raise errors of any type
        text = f'{len(data)} bytes are not a {type_name} ({type(err).__name__}: {err})'
        raise MessageError(text) from err


def header(nanoseconds: int, frame_id: str) -> Header:
    """Return a header with a stamp in nanoseconds."""
    return Header(Time(*divmod(nanoseconds, SECOND)), frame_id)


def rgb_message(rgb: np.ndarray, header: Header) -> Image:
    """Return ``(H, W, 3)`` uint8 RGB as an rgb8 message."""
    return _image(rgb, 'rgb8', header)


def map_message(values: np.ndarray, header: Header) -> Image:
    """Return an ``(H, W)`` map as a message in the encoding of ``MAP_ENCODINGS``."""
    return _image(values, MAP_ENCODINGS[values.dtype.name], header)


def compressed_message(rgb: np.ndarray, header: Header, codec: str) -> CompressedImage:
    """Return ``(H, W, 3)`` uint8 RGB as a message compressed with ``jpeg`` or ``png``."""
    return CompressedImage(header, compressed_format(codec), compressed(rgb, codec))


def camera_info_message(camera: Camera, width: int, height: int, header: Header) -> CameraInfo:
    """Return the CameraInfo of a rectified image of ``width`` by ``height`` pixels."""
    fields = calibration_fields(camera)
    for name in 'dkrp':
        fields[name] = np.asarray(fields[name])
    return CameraInfo(
        header=header,
        width=width,
        height=height,
        **fields,
        binning_x=0,
        binning_y=0,
        roi=RegionOfInterest(0, 0, 0, 0, False),
    )


def published_prediction(data: Mapping[str, bytes]) -> Prediction:
    """Return the maps that a node published, Image messages in CDR by task, as a prediction.

    Its confidence is 255.

    Raises:
        MessageError: A message is not a map.
    """
    labels, instances, depth = (image_to_map(deserialize(data[task], IMAGE)) for task in TASKS)
    return Prediction(labels, np.full_like(labels, 255), instances, depth=depth)


def _image(values: np.ndarray, encoding: str, header: Header) -> Image:
    data = np.ascontiguousarray(values).view(np.uint8).ravel()
    return Image(header=header, **image_fields(values, encoding), data=data)
