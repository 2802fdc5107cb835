# SPDX-License-Identifier: Apache-2.0
"""Bags of datasets: images, calibration and ground truth at a steady rate."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mtl_perception.bags.messages import (
    Header,
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

FIRST_STAMP = 1_577_836_800 * SECOND
"""Nanoseconds of 2020-01-01: fixed, so that bags are reproducible; a stamp of 0 means no time."""


def write_dataset_bag(
    frames: Iterable[Frame],
    path: Path,
    *,
    rate: float = 10.0,
    image_topic: str = '/camera/image_raw',
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
            for topic, message in _messages(frame, header(stamp, frame_id), image_topic, codec):
                bag.write_message(topic, stamp, message)


def _messages(
    frame: Frame, head: Header, image_topic: str, codec: str | None
) -> Iterator[tuple[str, Any]]:
    if frame.camera is not None:
        height, width = frame.image.shape[:2]
        topic = f'{image_topic.rpartition("/")[0]}/camera_info'
        yield topic, camera_info_message(frame.camera, width, height, head)
    if codec is None:
        yield image_topic, rgb_message(frame.image, head)
    else:
        yield f'{image_topic}/compressed', compressed_message(frame.image, head, codec)
    maps = {'semantic': frame.labels, 'instance': frame.instances, 'depth': frame.depth}
    for task, values in maps.items():
        if values is not None:
            yield TRUTH_TOPICS[task], map_message(values, head)
