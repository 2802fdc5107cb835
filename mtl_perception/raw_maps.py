"""Predictions as files that other programs read."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtl_perception.files import write_file, write_picture
from mtl_perception.visualization import InstanceSummary, summarize_instances

if TYPE_CHECKING:
    from mtl_perception.inference.predictor import Prediction

DEPTH_UNITS = 256
"""Values a metre in the depth picture, those of KITTI's depth maps."""

FAR_CODE = 65535
"""Value of +Inf in the depth picture, and of what is too far for 16 bits; 0 is unknown."""


def write_raw_maps(folder: Path, name: str, prediction: 'Prediction') -> None:
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
