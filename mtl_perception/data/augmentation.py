# SPDX-License-Identifier: Apache-2.0
"""Random views of a frame, with ground truth and camera to match."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from mtl_perception.frame import Camera, Frame, resize_depth, resize_nearest
from mtl_perception.labels import IS_EVALUATED


@dataclass(frozen=True)
class Augmentation:
    """Strength of the random changes.

    Attributes:
        scale: Range of the zoom, relative to the input height; drawn log-uniformly.
        flip: Probability of a horizontal flip.
        photometric: Strength of brightness, contrast, saturation, hue, blur and noise; 0 keeps the
            colours, 1 is strong.
        balanced: Probability that a crop shows a class drawn uniformly from the frame's classes, so
            that rare and small classes appear as often as roads and buildings.
    """

    scale: tuple[float, float] = (0.7, 2.0)
    flip: float = 0.5
    photometric: float = 0.0
    balanced: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            msg = f'scale must be a rising range of positive numbers, got {self.scale}'
            raise ValueError(msg)
        if not (0 <= self.flip <= 1 and 0 <= self.balanced <= 1) or self.photometric < 0:
            msg = (
                'flip and balanced must be from 0 to 1 and photometric at least 0, '
                f'got {self.flip}, {self.balanced} and {self.photometric}'
            )
            raise ValueError(msg)


def augment(
    frame: Frame,
    settings: Augmentation,
    input_height: int,
    crop: tuple[int, int],
    rng: np.random.Generator,
) -> Frame:
    """Return a random view of ``frame``; pixels beyond it are grey, void and of unknown depth.

    ``input_height`` is the height of the whole frame at scale 1, ``crop`` the (height, width) of
    the view, both in pixels.
    """
    zoom = np.exp(rng.uniform(*np.log(settings.scale)))
    factor = zoom * input_height / frame.image.shape[0]
    # Crop first: resizing a whole frame of 2048×1024 pixels is slow, and most of it is cut off.
    window = max(1, round(crop[0] / factor)), max(1, round(crop[1] / factor))
    target = _random_class_pixel(frame.labels, rng) if rng.random() < settings.balanced else None
    frame = resize_frame(_random_crop(frame, window, target, rng), *crop)
    if rng.random() < settings.flip:
        frame = flip_frame(frame)
    if settings.photometric:
        frame = replace(frame, image=_change_colors(frame.image, settings.photometric, rng))
    return frame


def resize_frame(frame: Frame, height: int, width: int) -> Frame:
    """Return ``frame`` at another size: the image smoothed, the maps by nearest neighbour."""
    rows, columns = frame.image.shape[:2]
    camera = frame.known_camera  # an assumed one would change with the height
    if (rows, columns) == (height, width):
        return replace(frame, camera=camera)
    smooth = cv2.INTER_AREA if height < rows else cv2.INTER_LINEAR
    image = cv2.resize(frame.image, (width, height), interpolation=smooth)
    sx, sy = width / columns, height / rows
    camera = replace(
        camera,
        fx=camera.fx * sx,
        fy=camera.fy * sy,
        # Pixel centres are at whole numbers, so the image starts at −½.
        cx=(camera.cx + 0.5) * sx - 0.5,
        cy=(camera.cy + 0.5) * sy - 0.5,
    )

    def resized(values: np.ndarray) -> np.ndarray:
        resize = resize_depth if values.dtype.kind == 'f' else resize_nearest
        return resize(values, height, width)

    return _changed(frame, image, camera, resized)


def flip_frame(frame: Frame) -> Frame:
    """Return ``frame`` mirrored left to right."""

    def flipped(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values[:, ::-1])

    camera = frame.known_camera
    camera = replace(camera, cx=frame.image.shape[1] - 1 - camera.cx)
    return _changed(frame, flipped(frame.image), camera, flipped)


def crop_frame(frame: Frame, top: int, left: int, height: int, width: int) -> Frame:
    """Return a window of ``frame``; pixels beyond it are grey, void and of unknown depth."""

    def window(values: np.ndarray, outside: float) -> np.ndarray:
        result = np.full((height, width, *values.shape[2:]), outside, values.dtype)
        rows, columns = values.shape[:2]
        y0, y1 = max(0, top), min(rows, top + height)
        x0, x1 = max(0, left), min(columns, left + width)
        result[y0 - top : y1 - top, x0 - left : x1 - left] = values[y0:y1, x0:x1]
        return result

    camera = frame.known_camera
    camera = replace(camera, cx=camera.cx - left, cy=camera.cy - top)
    return _changed(
        frame,
        window(frame.image, 127),
        camera,
        lambda values: window(values, np.nan if values.dtype.kind == 'f' else 0),
    )


def _changed(
    frame: Frame, image: np.ndarray, camera: Camera, change: Callable[[np.ndarray], np.ndarray]
) -> Frame:
    """Return the frame with ``change`` applied to each map."""
    maps: dict[str, Any] = {
        name: change(values)
        for name in ('labels', 'instances', 'depth')
        if (values := getattr(frame, name)) is not None
    }
    return Frame(frame.name, image, camera=camera, **maps)


def _random_class_pixel(
    labels: np.ndarray | None, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Return a pixel (row, column) of an evaluated class; all classes are equally likely."""
    if labels is None:
        return None
    counts = np.bincount(labels.ravel(), minlength=len(IS_EVALUATED))
    classes = np.flatnonzero((counts > 0) & IS_EVALUATED)
    if not classes.size:
        return None
    pixel = int(rng.choice(np.flatnonzero(labels == rng.choice(classes))))
    return divmod(pixel, labels.shape[1])


def _random_crop(
    frame: Frame, crop: tuple[int, int], target: tuple[int, int] | None, rng: np.random.Generator
) -> Frame:
    """Return a random crop that shows the ``target`` pixel, if given."""

    def corner(axis: int) -> int:
        size, part = frame.image.shape[axis], crop[axis]
        low, high = min(0, size - part), max(0, size - part)
        if target is not None and size > part:
            low, high = max(low, target[axis] - part + 1), min(high, target[axis])
        return int(rng.integers(low, high + 1))

    return crop_frame(frame, corner(0), corner(1), *crop)


def _change_colors(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Change exposure, contrast, colour cast and saturation; sometimes blur or add noise."""
    values = image.astype(np.float32) / 255
    if rng.random() < 0.8:
        values = values ** np.float32(np.exp(rng.normal(0, 0.25 * strength)))
    mean = values.mean((0, 1), keepdims=True)
    grey = values.mean(2, keepdims=True)
    cast = np.exp(rng.normal(0, 0.08 * strength, 3)).astype(np.float32)
    gain = np.float32(np.exp(rng.normal(0, 0.2 * strength)))
    contrast = np.float32(np.exp(rng.normal(0, 0.2 * strength)))
    saturation = np.float32(rng.uniform(max(0, 1 - 0.7 * strength), 1 + 0.5 * strength))
    values = grey + (values - grey) * saturation
    values = ((values - mean) * contrast + mean) * gain * cast
    if rng.random() < 0.2 * strength:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.3 * strength:
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        values = values + noise * np.float32(rng.uniform(0, 0.05))
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)
