"""Messages of rosbags, which needs no ROS installation.

Their attributes are named as in ROS's classes, so the functions of ``messages`` accept both.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.stores.ros2_humble import (
    builtin_interfaces__msg__Time as Time,
)
from rosbags.typesys.stores.ros2_humble import (
    sensor_msgs__msg__CameraInfo as CameraInfo,
)
from rosbags.typesys.stores.ros2_humble import (
    sensor_msgs__msg__CompressedImage as CompressedImage,
)
from rosbags.typesys.stores.ros2_humble import (
    sensor_msgs__msg__Image as Image,
)
from rosbags.typesys.stores.ros2_humble import (
    sensor_msgs__msg__RegionOfInterest as RegionOfInterest,
)
from rosbags.typesys.stores.ros2_humble import (
    std_msgs__msg__Header as Header,
)

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

TYPESTORE = get_typestore(Stores.ROS2_HUMBLE)
"""Message definitions; the messages used here are equal from Humble to Kilted."""

IMAGE, COMPRESSED_IMAGE, CAMERA_INFO = (
    message.__msgtype__ for message in (Image, CompressedImage, CameraInfo)
)


def serialize(message: Any) -> bytes:
    """Return the message as CDR."""
    return bytes(TYPESTORE.serialize_cdr(message, message.__msgtype__))


def deserialize(data: bytes, type_name: str) -> Any:
    """Return the message in CDR ``data``.

    Args:
        data: Serialized message.
        type_name: Type of the message, ``package/msg/Name``.

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
    return Image(header=header, **image_fields(rgb, 'rgb8'), data=_flat(rgb))


def map_message(values: np.ndarray, header: Header) -> Image:
    """Return an ``(H, W)`` map as a message in the encoding of ``MAP_ENCODINGS``."""
    encoding = MAP_ENCODINGS[values.dtype.name]
    return Image(header=header, **image_fields(values, encoding), data=_flat(values))


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
    """Return the maps that a node published as a prediction of confidence 255.

    Args:
        data: Serialized Image messages by task.

    Raises:
        MessageError: A message is not a map.
    """
    labels, instances, depth = (image_to_map(deserialize(data[task], IMAGE)) for task in TASKS)
    return Prediction(labels, np.full_like(labels, 255), instances, depth=depth)


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint8).ravel()
