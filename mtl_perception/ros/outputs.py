# SPDX-License-Identifier: Apache-2.0
"""Table of the output topics: their contents and the tasks that they need."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from mtl_perception.messages.calibration import camera_info_scaled, pinhole_camera
from mtl_perception.prediction import MAP_TOPICS, Prediction
from mtl_perception.ros.messages import Memory, map_to_image, point_cloud, rgb_to_image


@dataclass(frozen=True)
class Result:
    """One image and its prediction.

    Attributes:
        header: Header of the image; every output carries it unchanged.
        image: ``(H, W, 3)`` uint8 RGB.
        info: CameraInfo of the image, at the image's size and with its header.
        prediction: Prediction, at the output size of the network.
        at_input_size: Whether to publish maps at the size of the image, not of the network.
    """

    header: Header
    image: np.ndarray
    info: CameraInfo
    prediction: Prediction
    at_input_size: bool

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the published maps."""
        maps = self.image if self.at_input_size else self.prediction.labels
        return maps.shape[0], maps.shape[1]

    def image_at(self, height: int, width: int) -> np.ndarray:
        """Return the image at another size."""
        if self.image.shape[:2] == (height, width):
            return self.image
        return cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)

    def info_at(self, height: int, width: int) -> CameraInfo:
        """Return the CameraInfo of the image at another size."""
        if (self.info.height, self.info.width) == (height, width):
            return self.info
        return camera_info_scaled(self.info, width, height, self.header)


@dataclass(frozen=True)
class Output:
    """One topic.

    Attributes:
        topic: Name relative to the node.
        type: Message type.
        build: Function that makes a message in the given memory.
        tasks: Tasks that it shows, in addition to labels.
        partial: Whether it can do without tasks that the network lacks.
    """

    topic: str
    type: type
    build: Callable[[Result, Memory], Any]
    tasks: tuple[str, ...] = ()
    partial: bool = False


def _map(picture: Callable[[Prediction], np.ndarray | None]) -> Callable[[Result, Memory], Image]:
    """Return the ``build`` of a topic with ``(h, w)`` values or ``(h, w, 3)`` RGB."""

    def build(result: Result, memory: Memory) -> Image:
        values = _computed(picture(result.prediction))
        make = map_to_image if values.ndim == 2 else rgb_to_image
        return make(values, result.header, result.size, memory)

    return build


def _overlay(result: Result, memory: Memory) -> Image:
    overlay = result.prediction.overlay(result.image_at(*result.size))
    return rgb_to_image(overlay, result.header, memory=memory)


def _points(result: Result, memory: Memory) -> PointCloud2:
    maps = result.prediction
    height, width = maps.labels.shape
    return point_cloud(
        _computed(maps.depth),
        maps.labels,
        _computed(maps.instances),
        result.image_at(height, width),
        pinhole_camera(result.info_at(height, width)),
        result.header,
        memory,
    )


def _computed(values: np.ndarray | None) -> np.ndarray:
    if values is None:
        msg = 'this output needs a map of a task that its row in OUTPUTS does not list'
        raise ValueError(msg)
    return values


OUTPUTS = (
    *(Output(name, Image, _map(picture), (task,)) for name, task, picture in MAP_TOPICS),
    Output('semantic/confidence', Image, _map(lambda maps: maps.confidence)),
    Output('depth/camera_info', CameraInfo, lambda a, _: a.info_at(*a.size), ('depth',)),
    Output('overlay/image', Image, _overlay, ('instance', 'depth'), partial=True),
    Output('points', PointCloud2, _points, ('instance', 'depth')),
)


def available_outputs(tasks: Collection[str]) -> list[Output]:
    """Return the outputs that a network for ``tasks`` can fill."""
    return [output for output in OUTPUTS if output.partial or set(output.tasks) <= set(tasks)]
