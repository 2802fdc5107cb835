"""Bags of datasets: images, calibration and ground truth at a steady rate."""

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
"""Nanoseconds of 2020-01-01: fixed, so that bags are reproducible; a stamp of 0 means no time."""


def write_dataset_bag(
    frames: Iterable[Frame],
    path: Path,
    *,
    rate: float = 10.0,
    image_topic: str = IMAGE_TOPIC,
    frame_id: str = 'camera',
    codec: str | None = None,
) -> None:
    """Write a bag of ``frames`` with stamps at a steady rate.

    Args:
        frames: Frames in order, with depth in metres; CameraInfo is written if a camera is known.
        path: Folder of the bag.
        rate: Frames per second.
        image_topic: Topic of raw images; ``camera_info`` is in its namespace, and compressed
            images are on its subtopic ``compressed``.
        frame_id: Optical frame of the camera.
        codec: ``jpeg`` or ``png`` for compressed images.

    Raises:
        OSError: The bag cannot be written.
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
    """Write an image with the CameraInfo and ground truth that its frame has.

    ``stamp`` is also the time of reception, in nanoseconds. For the other arguments and errors see
    ``write_dataset_bag``.
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
