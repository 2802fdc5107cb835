"""Turn a dataset into a bag: images, calibration and ground truth, with stamps at a steady rate."""

from collections.abc import Iterable
from pathlib import Path

from mtl_perception.bags.messages import (
    camera_info_message,
    compressed_message,
    header,
    map_message,
    rgb_message,
)
from mtl_perception.bags.topics import TRUTH_TOPICS
from mtl_perception.bags.writer import BagWriter
from mtl_perception.frame import Frame
from mtl_perception.messages.stamps import SECOND

IMAGE_TOPIC = '/camera/image_raw'

FIRST_STAMP = 1_577_836_800 * SECOND
"""The beginning of 2020: the same dataset makes the same bag, and a stamp of 0 means no time."""


def write_dataset_bag(
    frames: Iterable[Frame],
    path: Path,
    *,
    rate: float = 10.0,
    image_topic: str = IMAGE_TOPIC,
    frame_id: str = 'camera',
    codec: str | None = None,
) -> None:
    """Write a bag of ``frames``, each at the time of its stamp.

    Depth is in metres; a frame without a camera has no CameraInfo.

    Args:
        frames: in order.
        path: the bag's folder.
        rate: frames a second.
        image_topic: of raw images; camera_info lies beside it, compressed images below it.
        frame_id: of the camera.
        codec: ``jpeg`` or ``png`` instead of raw images.

    Raises:
        OSError: the bag cannot be written.
    """
    with BagWriter(path) as bag:
        for i, frame in enumerate(frames):
            stamp = FIRST_STAMP + round(i * SECOND / rate)
            write_frame(bag, frame, stamp, image_topic=image_topic, frame_id=frame_id, codec=codec)


def write_frame(
    bag: BagWriter,
    frame: Frame,
    stamp: int,
    *,
    image_topic: str,
    frame_id: str,
    codec: str | None = None,
) -> None:
    """Write the image, its CameraInfo and its ground truth as far as the frame has them.

    Args:
        bag: Bag to write to.
        frame: Frame with depth in metres.
        stamp: Stamp and time of reception, in nanoseconds.
        image_topic: Topic of raw images; ``camera_info`` is its neighbour, compressed images are
            on its subtopic ``compressed``.
        frame_id: Optical frame of the camera.
        codec: ``jpeg`` or ``png`` for compressed images.

    Raises:
        OSError: The bag cannot be written.
    """
    head = header(stamp, frame_id)
    height, width = frame.image.shape[:2]
    if frame.camera is not None:
        topic = f'{image_topic.rpartition("/")[0]}/camera_info'
        info = camera_info_message(frame.camera, width, height, head)
        bag.write_message(topic, stamp, info)
    if codec is None:
        bag.write_message(image_topic, stamp, rgb_message(frame.image, head))
    else:
        compressed = compressed_message(frame.image, head, codec)
        bag.write_message(f'{image_topic}/compressed', stamp, compressed)
    maps = {'semantic': frame.labels, 'instance': frame.instances, 'depth': frame.depth}
    for task, values in maps.items():
        if values is not None:
            bag.write_message(TRUTH_TOPICS[task], stamp, map_message(values, head))
