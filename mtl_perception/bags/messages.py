"""Messages as rosbags has them, for bags; they need no ROS installation.

They have the attributes of ROS's own classes, so ``ros/messages`` reads them as well.
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
"""Of its messages those that are used here are the same from Humble to Kilted."""

IMAGE, COMPRESSED_IMAGE, CAMERA_INFO = (
    message.__msgtype__ for message in (Image, CompressedImage, CameraInfo)
)


def serialize(message: Any) -> bytes:
    """Return the message in CDR."""
    return bytes(TYPESTORE.serialize_cdr(message, message.__msgtype__))


def deserialize(data: bytes, type_name: str) -> Any:
    """Return the message of that type, ``package/msg/Name``, in CDR.

    Raises:
        MessageError: the data is no such message.
    """
    try:
        return TYPESTORE.deserialize_cdr(data, type_name)
    except Exception as err:  # rosbags raises whatever the damage leads it to
        text = f'{len(data)} bytes are no {type_name} ({type(err).__name__}: {err})'
        raise MessageError(text) from err


def header(nanoseconds: int, frame_id: str) -> Header:
    """Return a header with that stamp."""
    return Header(Time(*divmod(nanoseconds, SECOND)), frame_id)


def rgb_message(rgb: np.ndarray, header: Header) -> Image:
    """Return an rgb8 message of ``(H, W, 3)`` uint8 RGB."""
    return Image(header=header, **image_fields(rgb, 'rgb8'), data=_flat(rgb))


def map_message(values: np.ndarray, header: Header) -> Image:
    """Return an ``(H, W)`` map as a message, encoded as ``messages.map_to_image`` does."""
    encoding = MAP_ENCODINGS[values.dtype.name]
    return Image(header=header, **image_fields(values, encoding), data=_flat(values))


def compressed_message(rgb: np.ndarray, header: Header, codec: str) -> CompressedImage:
    """Return a message of ``(H, W, 3)`` uint8 RGB, compressed by ``jpeg`` or ``png``."""
    return CompressedImage(header, compressed_format(codec), compressed(rgb, codec))


def camera_info_message(camera: Camera, width: int, height: int, header: Header) -> CameraInfo:
    """Return the CameraInfo of a rectified image of that size."""
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
    """Return the maps that a node published; their confidence counts as certain.

    Args:
        data: Serialized Image of each task.

    Raises:
        MessageError: A message is not a map.
    """
    labels, instances, depth = (image_to_map(deserialize(data[task], IMAGE)) for task in TASKS)
    return Prediction(labels, np.full_like(labels, 255), instances, depth=depth)


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint8).ravel()
