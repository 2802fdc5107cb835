"""What the network says of one image, and the files that it can be written to."""

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mtl_perception.files import write_file, write_picture
from mtl_perception.frame import resize_nearest
from mtl_perception.objects import InstanceSummary, summarize_instances

DEPTH_UNITS = 256
"""Values a metre in the depth picture, those of KITTI's depth maps."""

FAR_CODE = 65535
"""Value of +Inf in the depth picture, and of what is too far for 16 bits; 0 is unknown."""


@dataclass(frozen=True)
class Prediction:
    """What the network sees in one image, as maps of one size ``(h, w)``.

    Attributes:
        labels: uint8 label IDs.
        confidence: uint8, 255 is certain.
        instances: uint16, ``label · 1000 + k``, the bare label elsewhere; ``None`` when not asked
            for, or not a task of the network.
        scores: for each instance ID how sure its class is, 0 to 1.
        depth: float32 metres along the optical axis, +Inf beyond the maximum, NaN invalid; ``None``
            likewise.
        offsets: ``(2, h, w)`` float32 (dx, dy), pixels of the network's output map.
        disparity: float32, of the reference rig, pixels of the network's output map.
        milliseconds: how long each stage took.
    """

    labels: np.ndarray
    confidence: np.ndarray
    instances: np.ndarray | None = None
    scores: dict[int, float] = field(default_factory=dict)
    depth: np.ndarray | None = None
    offsets: np.ndarray | None = None
    disparity: np.ndarray | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)

    def resized(self, height: int, width: int) -> 'Prediction':
        """Return the maps resized by nearest neighbour, without offsets and disparity.

        At their own size they are returned as they are, with both.
        """
        if self.labels.shape == (height, width):
            return self

        def resized(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else resize_nearest(values, height, width)

        return replace(
            self,
            labels=resize_nearest(self.labels, height, width),
            confidence=resize_nearest(self.confidence, height, width),
            instances=resized(self.instances),
            depth=resized(self.depth),
            offsets=None,
            disparity=None,
        )


@dataclass(frozen=True)
class NetworkMaps:
    """What the network says of one image, at its output size ``(h, w)``.

    Attributes:
        labels: uint8 label IDs.
        confidence: uint8, 255 is certain.
        offsets: ``(2, h, w)`` float32 (dx, dy), pixels of this map; ``None``: not a task of it.
        disparity: float32, of the reference rig, pixels of this map; ``None`` likewise.
        milliseconds: how long each stage took.
    """

    labels: np.ndarray
    confidence: np.ndarray
    milliseconds: dict[str, float]
    offsets: np.ndarray | None = None
    disparity: np.ndarray | None = None


def write_raw_maps(folder: Path, name: str, prediction: Prediction) -> None:
    """Write ``prediction``'s maps to ``folder``, at their size.

    ``NAME_labels.png`` (8 bits), ``NAME_instances.png`` (16 bits), ``NAME_depth.png`` (16 bits,
    ``DEPTH_UNITS``), and ``NAME_instances.json`` with a row for each instance.

    Raises:
        OSError: ``folder`` cannot be written.
    """
    write_picture(folder / f'{name}_labels.png', prediction.labels)
    if prediction.instances is not None:
        write_picture(folder / f'{name}_instances.png', prediction.instances)
        rows = [_row(instance) for instance in summarize_instances(prediction)]
        text = json.dumps(rows, indent=2) + '\n'
        write_file(folder / f'{name}_instances.json', text.encode())
    if prediction.depth is not None:
        write_picture(folder / f'{name}_depth.png', encode_depth(prediction.depth))


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """Return ``(H, W)`` metres as the uint16 values of the depth picture."""
    code = np.clip(np.rint(depth * DEPTH_UNITS), 1, FAR_CODE)
    return np.nan_to_num(code, nan=0).astype(np.uint16)


def _row(instance: InstanceSummary) -> dict[str, object]:
    """Return the JSON row; a distance that is unknown or infinite is null."""
    known = instance.distance is not None and math.isfinite(instance.distance)
    return {
        'id': instance.id,
        'class': instance.name,
        'score': instance.score,
        'distance_m': instance.distance if known else None,
    }
