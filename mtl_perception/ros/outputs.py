"""The table of output topics: what each carries, and what has to be computed for it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from mtl_perception import visualization
from mtl_perception.inference.predictor import Prediction
from mtl_perception.ros.messages import (
    camera_info_scaled,
    intrinsics,
    map_to_image,
    point_cloud,
    rgb_to_image,
)


@dataclass(frozen=True)
class Result:
    """One image and what the network sees in it.

    Attributes:
        header: of the image; every output carries it untouched.
        image: ``(H, W, 3)`` uint8 RGB.
        info: CameraInfo of the image.
        prediction: at the network's output size.
        at_input_size: whether to publish maps at the image's size instead of the network's.
    """

    header: Header
    image: np.ndarray
    info: CameraInfo
    prediction: Prediction
    at_input_size: bool

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of what is published."""
        maps = self.image if self.at_input_size else self.prediction.labels
        return maps.shape[0], maps.shape[1]

    @cached_property
    def published(self) -> Prediction:
        """The prediction at the size that is published."""
        return self.prediction.resized(*self.size)

    def image_at(self, height: int, width: int) -> np.ndarray:
        """The image at another size."""
        if self.image.shape[:2] == (height, width):
            return self.image
        return cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Output:
    """One topic: name relative to the node, type, what it needs beside labels, how it is built."""

    topic: str
    type: type
    build: Callable[[Result], Any]
    instances: bool = False
    depth: bool = False


def _semantic_image(result: Result) -> Image:
    return map_to_image(result.published.labels, result.header)


def _semantic_color(result: Result) -> Image:
    return rgb_to_image(visualization.color_labels(result.published.labels), result.header)


def _semantic_confidence(result: Result) -> Image:
    return map_to_image(result.published.confidence, result.header)


def _instance_image(result: Result) -> Image:
    return map_to_image(_computed(result.published.instances), result.header)


def _instance_color(result: Result) -> Image:
    return rgb_to_image(
        visualization.color_instances(_computed(result.published.instances)), result.header
    )


def _depth_image(result: Result) -> Image:
    return map_to_image(_computed(result.published.depth), result.header)


def _depth_camera_info(result: Result) -> CameraInfo:
    height, width = result.size
    return camera_info_scaled(result.info, width, height, result.header)


def _overlay(result: Result) -> Image:
    image = result.image_at(*result.size)
    return rgb_to_image(visualization.draw_overlay(image, result.prediction), result.header)


def _points(result: Result) -> PointCloud2:
    maps = result.prediction
    height, width = maps.labels.shape
    return point_cloud(
        _computed(maps.depth),
        maps.labels,
        _computed(maps.instances),
        result.image_at(height, width),
        intrinsics(result.info, width, height),
        result.header,
    )


def _computed(values: np.ndarray | None) -> np.ndarray:
    if values is None:
        msg = 'this output needs a map that its row in OUTPUTS does not ask for'
        raise ValueError(msg)
    return values


OUTPUTS = (
    Output('semantic/image', Image, _semantic_image),
    Output('semantic/color', Image, _semantic_color),
    Output('semantic/confidence', Image, _semantic_confidence),
    Output('instance/image', Image, _instance_image, instances=True),
    Output('instance/color', Image, _instance_color, instances=True),
    Output('depth/image', Image, _depth_image, depth=True),
    Output('depth/camera_info', CameraInfo, _depth_camera_info),
    Output('overlay/image', Image, _overlay, instances=True, depth=True),
    Output('points', PointCloud2, _points, instances=True, depth=True),
)
