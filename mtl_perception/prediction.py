# SPDX-License-Identifier: Apache-2.0
"""Prediction of one image: maps, objects, overlay and files."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtl_perception.files import write_json, write_picture
from mtl_perception.frame import resize_nearest
from mtl_perception.objects import Object, find_objects
from mtl_perception.pictures.maps import color_instances, color_labels, draw_overlay


@dataclass(frozen=True)
class NetworkMaps:
    """Maps from the network, before postprocessing; ``Prediction`` describes them.

    A map is ``None`` if it is not a task of the network.
    """

    labels: np.ndarray
    confidence: np.ndarray
    _: KW_ONLY
    offsets: np.ndarray | None = None
    disparity: np.ndarray | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction(NetworkMaps):
    """Maps of one image, all of size ``(h, w)``.

    ``Predictor.predict`` returns maps of the network's output size; ``resized`` scales them to the
    image. A map is ``None`` if it was not requested or is not a task of the network.

    Attributes:
        labels: uint8 label IDs.
        confidence: uint8 probability of the label; 255 is certain.
        instances: uint16, ``label · 1000 + k`` on instances, the bare label ID elsewhere.
        scores: Mean class probability of each instance ID, 0 to 1.
        depth: float32 metres along the optical axis, +Inf beyond the maximum, NaN invalid.
        offsets: ``(2, h, w)`` float32 (dx, dy) to the centroid, pixels of the network's output map.
        disparity: float32 disparity of the reference rig, pixels of the network's output map.
        milliseconds: Duration of each stage.

    Examples:
        >>> import numpy as np
        >>> from mtl_perception import Prediction
        >>> labels = np.full((2, 4), 26, np.uint8)
        >>> instances = np.array([[26000, 26000, 26001, 26001]] * 2, np.uint16)
        >>> depth = np.full((2, 4), 7.5, np.float32)
        >>> prediction = Prediction(labels, labels, instances, depth=depth)
        >>> [(found.name, found.box, found.depth) for found in prediction.objects()]
        [('car', (0, 0, 2, 2), 7.5), ('car', (2, 0, 4, 2), 7.5)]
        >>> prediction.overlay(np.zeros((20, 40, 3), np.uint8)).shape
        (20, 40, 3)
    """

    instances: np.ndarray | None = None
    scores: dict[int, float] = field(default_factory=dict)
    depth: np.ndarray | None = None

    def resized(self, height: int, width: int) -> 'Prediction':
        """Return the maps at another size by nearest neighbour, without offsets and disparity.

        Maps that have this size already are returned unchanged, with offsets and disparity.
        """
        if self.labels.shape == (height, width):
            return self
        maps: dict[str, Any] = {
            name: resize_nearest(values, height, width)
            for name in ('labels', 'confidence', 'instances', 'depth')
            if (values := getattr(self, name)) is not None
        }
        return replace(self, **maps, offsets=None, disparity=None)

    def objects(self) -> list[Object]:
        """Return the objects of the instance map by ascending ID."""
        return find_objects(self.instances, self.depth, self.scores)

    def overlay(self, image: np.ndarray) -> np.ndarray:
        """Return ``image`` tinted by class, with objects outlined, named and ranged.

        Args:
            image: ``(H, W, 3)`` uint8 RGB of any size.
        """
        return draw_overlay(image, self)


class MapTopic(NamedTuple):
    """Topic of a map.

    Attributes:
        name: Name relative to the node.
        task: Task that the network needs.
        picture: Function that returns ``(h, w)`` values or ``(h, w, 3)`` RGB.
    """

    name: str
    task: str
    picture: Callable[[Prediction], np.ndarray | None]


MAP_TOPICS = (
    MapTopic('semantic/image', 'semantic', lambda maps: maps.labels),
    MapTopic('semantic/color', 'semantic', lambda maps: color_labels(maps.labels)),
    MapTopic('instance/image', 'instance', lambda maps: maps.instances),
    MapTopic(
        'instance/color',
        'instance',
        lambda maps: None if maps.instances is None else color_instances(maps.instances),
    ),
    MapTopic('depth/image', 'depth', lambda maps: maps.depth),
)
"""Topics of maps that the node publishes and an offline replay writes."""

DEPTH_UNITS = 256
"""Values per metre in the depth picture, as in KITTI's depth maps."""

FAR_CODE = 65535
"""Value of +Inf and of depths beyond 16 bits in the depth picture; 0 is unknown."""


def write_raw_maps(folder: Path, name: str, prediction: Prediction) -> None:
    """Write the maps of ``prediction`` to ``folder``.

    The files are ``NAME_labels.png`` (8 bits), ``NAME_instances.png`` (16 bits), ``NAME_depth.png``
    (16 bits, ``DEPTH_UNITS``), and ``NAME_instances.json`` with an entry for each instance.

    Raises:
        OSError: ``folder`` cannot be written.
    """
    write_picture(folder / f'{name}_labels.png', prediction.labels)
    if prediction.instances is not None:
        write_picture(folder / f'{name}_instances.png', prediction.instances)
        rows = [
            {'id': found.id, 'class': found.name, 'score': found.score, 'distance_m': found.depth}
            for found in prediction.objects()
        ]
        write_json(folder / f'{name}_instances.json', rows)
    if prediction.depth is not None:
        write_picture(folder / f'{name}_depth.png', encode_depth(prediction.depth))


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """Return ``(H, W)`` metres as the uint16 values of the depth picture."""
    code = np.clip(np.rint(depth * DEPTH_UNITS), 1, FAR_CODE)
    return np.nan_to_num(code, nan=0).astype(np.uint16)
