# SPDX-License-Identifier: Apache-2.0
"""Colours of maps and the overlay on the camera image."""

import colorsys
import functools
from typing import Protocol

import cv2
import numpy as np

from mtl_perception.frame import resize_nearest
from mtl_perception.labels import COLORS, INSTANCE_ID_BASE
from mtl_perception.objects import Object
from mtl_perception.pictures.text import BLACK, WHITE, draw_text, text_box

NEAR, FAR = 2.0, 80.0
"""Depths in metres at which the colours begin in yellow and end in dark blue."""

LONGEST_OFFSET = 1 / 16
"""Offset with the most saturated colour, as a share of the map's width."""

TINT = 0.45
"""Share of the class colour in the overlay."""

MIN_NAMED_SHARE = 0.001
"""Share of the image below which the overlay outlines an instance without naming it."""


class Maps(Protocol):
    """Maps of one size and the objects in them, with types and units as in ``Prediction``."""

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def instances(self) -> np.ndarray | None: ...
    @property
    def depth(self) -> np.ndarray | None: ...
    def objects(self) -> list[Object]: ...


def color_labels(labels: np.ndarray) -> np.ndarray:
    """Return ``(H, W, 3)`` RGB in Cityscapes' colours for ``(H, W)`` uint8 label IDs.

    Examples:
        >>> color_labels(np.array([[7, 26]], np.uint8)).tolist()  # road, car
        [[[128, 64, 128], [0, 0, 142]]]
    """
    return cv2.applyColorMap(labels, _label_palette())


def color_instances(instances: np.ndarray) -> np.ndarray:
    """Return ``(H, W, 3)`` RGB with a colour for each instance, black elsewhere.

    An ID has the same colour in every frame. Colours of neighbouring IDs differ strongly. Instances
    are ``(H, W)`` integers, ``label · 1000 + k``; smaller values are no instances.
    """
    return _look_up(_instance_palette(), instances)


def color_depth(depth: np.ndarray) -> np.ndarray:
    """Return ``(H, W, 3)`` RGB on a logarithmic scale for ``(H, W)`` metres.

    Near is yellow, far (also +Inf) dark blue, and unknown (NaN) black.

    Examples:
        >>> color_depth(np.array([[2.0, np.inf, np.nan]], np.float32)).tolist()
        [[[240, 249, 33], [13, 8, 135], [0, 0, 0]]]
    """
    with np.errstate(over='ignore'):
        half = depth.astype(np.float16)
    return _look_up(_depth_palette(), half.view(np.uint16))


def depth_legend(width: int) -> np.ndarray:
    """Return a ``(16, width, 3)`` RGB bar of ``color_depth``'s colours with distances in metres."""
    depth = np.geomspace(NEAR, FAR, width, dtype=np.float32)
    bar = np.repeat(color_depth(depth[None]), 16, axis=0)
    for metres in (5, 10, 20, 40):
        x = int(np.searchsorted(depth, metres))
        draw_text(bar, f'{metres} m', (x - 12, 12), 0.35)
    return bar


def color_offsets(offsets: np.ndarray) -> np.ndarray:
    """Return ``(h, w, 3)`` RGB for ``(2, h, w)`` (dx, dy) pixels; NaN is black.

    The hue is the direction of an offset, the saturation its length.
    """
    known = np.isfinite(offsets).all(0)
    dx, dy = np.where(known, offsets, 0)
    hue = np.arctan2(dy, dx) % (2 * np.pi) * (90 / np.pi)
    saturation = np.minimum(np.hypot(dx, dy) / (LONGEST_OFFSET * offsets.shape[2]), 1) * 255
    hsv = np.stack([hue % 180, saturation, known * 255], -1).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def draw_overlay(image: np.ndarray, maps: Maps) -> np.ndarray:
    """Return a copy of ``image`` tinted by class, with instances outlined, named and ranged.

    Maps of any size are stretched over the image, ``(H, W, 3)`` uint8 RGB.
    """
    height, width = image.shape[:2]
    tint = resize_nearest(color_labels(maps.labels), height, width)
    overlay = cv2.addWeighted(image, 1 - TINT, tint, TINT, 0)
    if maps.instances is None:
        return overlay
    edge = np.flatnonzero(_outlines(resize_nearest(maps.instances, height, width)))
    overlay.reshape(-1, 3)[edge] = WHITE  # faster than a boolean mask of pixels
    _draw_captions(overlay, maps.objects())
    return overlay


@functools.cache
def _label_palette() -> np.ndarray:
    palette = np.zeros((256, 1, 3), np.uint8)
    palette[: len(COLORS), 0] = COLORS
    return palette


@functools.cache
def _instance_palette() -> np.ndarray:
    """Return packed colours of all 16-bit values: hues a golden section apart, in two shades."""
    golden = (5**0.5 - 1) / 2
    palette = np.zeros((65536, 3), np.uint8)
    for instance_id in range(INSTANCE_ID_BASE, len(palette)):
        label, k = divmod(instance_id, INSTANCE_ID_BASE)
        hue = (label * 0.37 + k * golden) % 1
        palette[instance_id] = np.multiply(colorsys.hsv_to_rgb(hue, 0.65 + 0.3 * (k % 2), 1), 255)
    return _packed(palette)


@functools.cache
def _depth_palette() -> np.ndarray:
    """Return packed colours for the bits of every half-precision float.

    Half precision has three digits, more than 256 colours can show, and few enough values for one
    table that covers the logarithm, infinity and NaN.
    """
    depth = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    unknown = np.isnan(depth)
    clipped = np.clip(np.where(unknown, FAR, depth), NEAR, FAR)
    nearness = np.log(FAR / clipped) / np.log(FAR / NEAR)
    colors = cv2.applyColorMap(np.rint(nearness * 255).astype(np.uint8), cv2.COLORMAP_PLASMA)
    palette = colors[:, 0, ::-1].copy()
    palette[unknown] = BLACK
    return _packed(palette)


def _packed(palette: np.ndarray) -> np.ndarray:
    """Return ``(n, 3)`` colours as ``(n,)`` uint32, because one lookup is faster than three."""
    return np.pad(palette, ((0, 0), (0, 1))).view(np.uint32)[:, 0]


def _look_up(packed_palette: np.ndarray, values: np.ndarray) -> np.ndarray:
    colors = packed_palette[values].view(np.uint8).reshape(*values.shape, 4)
    return cv2.cvtColor(colors, cv2.COLOR_RGBA2RGB)


def _outlines(instances: np.ndarray) -> np.ndarray:
    """Return a mask of pixels on or next to an instance with another value right or below."""
    edge = np.zeros(instances.shape, bool)
    edge[:, :-1] = instances[:, :-1] != instances[:, 1:]
    edge[:-1] |= instances[:-1] != instances[1:]
    highest = cv2.dilate(instances, np.ones((2, 2), np.uint8), anchor=(0, 0))
    return edge & (highest >= INSTANCE_ID_BASE)


def _draw_captions(picture: np.ndarray, objects: list[Object]) -> None:
    """Name the objects by decreasing size, except where a caption would cover another one."""
    scale = max(0.35, picture.shape[0] / 1200)
    free = np.ones(picture.shape[:2], bool)
    for found in sorted(objects, key=lambda found: -found.area):
        height, width = found.instances.shape
        if found.area / found.instances.size < MIN_NAMED_SHARE:
            break
        text = _caption(found)
        center = (found.center[0] + 0.5) / width, (found.center[1] + 0.5) / height
        origin, box = text_box(picture, text, center, scale)
        if free[box].all():
            draw_text(picture, text, origin, scale)
            free[box] = False


def _caption(found: Object) -> str:
    if found.depth is None:
        return found.name
    return f'{found.name} far' if np.isinf(found.depth) else f'{found.name} {found.depth:.1f} m'
