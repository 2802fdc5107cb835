# SPDX-License-Identifier: Apache-2.0
"""Predict images and write overviews, raw maps and explanations."""

import itertools
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from mtl_perception.files import write_picture
from mtl_perception.frame import Frame
from mtl_perception.inference.predictor import Predictor
from mtl_perception.pictures.sheets import overview_row, overview_sheet
from mtl_perception.prediction import write_raw_maps
from mtl_perception.tasks.instance import group_instances


@dataclass(frozen=True)
class PredictedImages:
    """Seconds of each prediction, and whether the focal length of an image was unknown."""

    seconds: list[float]
    is_assumed: bool


def predict_images(
    predictor: Predictor,
    images: Iterable[Frame],
    output: Path,
    *,
    focal_length: float | None = None,
    raw: bool = True,
    explain: bool = False,
) -> PredictedImages:
    """Write ``NAME.png``, an overview, for each image to the folder ``output``.

    Args:
        predictor: Predictor.
        images: Images, with cameras if known.
        output: Folder of the pictures.
        focal_length: Vertical focal length in pixels that replaces the cameras'.
        raw: Whether to write the maps at the size of the image to the folder ``raw``.
        explain: Whether to write ``NAME_explained.png``, the grouping of votes into instances.

    Raises:
        OSError: ``output`` cannot be written.
    """
    if explain:
        # Not above: matplotlib takes a while to import.
        from mtl_perception.pictures.grouping import draw_explanation
    seconds: list[float] = []
    names: set[str] = set()
    is_assumed = False
    for image in images:
        pixels = focal_length or (image.camera.fy if image.camera else None)
        start = time.perf_counter()
        prediction = predictor.predict(image.image, pixels)
        seconds.append(time.perf_counter() - start)
        is_assumed |= pixels is None
        name = unused_name(image.name, names)
        names.add(name)
        sheet = overview_sheet([overview_row(image.image, prediction)])
        write_picture(output / f'{name}.png', sheet)
        if raw:
            write_raw_maps(output / 'raw', name, prediction.resized(*image.image.shape[:2]))
        if explain and prediction.offsets is not None:
            grouping = group_instances(
                prediction.labels, prediction.confidence, prediction.offsets, predictor.grouping
            )
            picture = draw_explanation(image.image, grouping)
            write_picture(output / f'{name}_explained.png', picture)
    return PredictedImages(seconds, is_assumed)


def unused_name(name: str, used: Collection[str]) -> str:
    """Return ``name``, or ``name_2``, ``name_3`` and so on if it is used."""
    candidates = itertools.chain([name], (f'{name}_{i}' for i in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in used)
