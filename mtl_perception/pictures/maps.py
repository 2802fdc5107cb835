"""Colours for the three maps, the overlay on the camera image, and sheets of pictures."""

import colorsys
import functools
from typing import Protocol

import cv2
import numpy as np

from mtl_perception.frame import resize_nearest
from mtl_perception.labels import COLORS, INSTANCE_ID_BASE
from mtl_perception.objects import Object

MAX_DEPTH = 80.0
"""Metres at which the depth colours end in dark blue; they begin in yellow at 1/40 of it."""

DEPTH_SPAN = 40.0

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (40, 40, 40)
FONT = cv2.FONT_HERSHEY_SIMPLEX

TINT = 0.45
"""Share of the class colour in the overlay."""

MIN_NAMED_SHARE = 0.001
"""Instances smaller than this share of the image are outlined in the overlay and not named."""


class Maps(Protocol):
    """Maps of one size ``(h, w)``, with the objects in them; a ``Prediction`` for example."""

    @property
    def labels(self) -> np.ndarray:
        """``(h, w)`` uint8 label IDs."""
        ...

    @property
    def instances(self) -> np.ndarray | None:
        """``(h, w)`` uint16, ``label · 1000 + k`` on instances."""
        ...

    @property
    def depth(self) -> np.ndarray | None:
        """``(h, w)`` float32 metres."""
        ...

    def objects(self) -> list[Object]:
        """Return the objects by ascending ID."""
        ...


def color_labels(labels: np.ndarray) -> np.ndarray:
    """Return ``(H, W, 3)`` RGB in Cityscapes' colours for ``(H, W)`` uint8 label IDs."""
    return cv2.applyColorMap(labels, _label_palette())


def color_instances(instances: np.ndarray) -> np.ndarray:
    """Return ``(H, W, 3)`` RGB: every instance in a colour of its own, black elsewhere.

    An ID has the same colour in every frame, and neighbouring IDs have colours far apart.

    Args:
        instances: ``(H, W)`` integers, ``label · 1000 + k``; smaller values are no instances.
    """
    return _take(_instance_palette(), instances)


def color_depth(depth: np.ndarray) -> np.ndarray:
    """Return ``(H, W, 3)`` RGB on a logarithmic scale: yellow is near, dark blue far, black NaN.

    Args:
        depth: ``(H, W)`` metres; +Inf is far, NaN unknown.
    """
    with np.errstate(over='ignore'):
        half = depth.astype(np.float16)
    return _take(_depth_palette(), half.view(np.uint16))


def depth_legend(width: int) -> np.ndarray:
    """Return a ``(16, width, 3)`` RGB bar of ``color_depth``'s colours with distances in metres."""
    depth = np.geomspace(MAX_DEPTH / DEPTH_SPAN, MAX_DEPTH, width, dtype=np.float32)
    bar = np.repeat(color_depth(depth[None]), 16, axis=0)
    for metres in (5, 10, 20, 40):
        x = int(np.searchsorted(depth, metres))
        put_text(bar, f'{metres} m', (x - 12, 12), 0.35)
    return bar


def draw_overlay(image: np.ndarray, maps: Maps) -> np.ndarray:
    """Return a copy of ``image`` tinted by class, with instances outlined, named and ranged.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        maps: Maps of any size; they are stretched over the image.
    """
    height, width = image.shape[:2]
    tint = resize_nearest(color_labels(maps.labels), height, width)
    overlay = cv2.addWeighted(image, 1 - TINT, tint, TINT, 0)
    if maps.instances is None:
        return overlay
    edge = np.flatnonzero(_outlines(resize_nearest(maps.instances, height, width)))
    overlay.reshape(-1, 3)[edge] = WHITE  # faster than a mask of pixels that are triples
    _put_captions(overlay, maps.objects())
    return overlay


@functools.cache
def _label_palette() -> np.ndarray:
    palette = np.zeros((256, 1, 3), np.uint8)
    palette[: len(COLORS), 0] = COLORS
    return palette


@functools.cache
def _instance_palette() -> np.ndarray:
    """Return packed colours for every 16-bit value: hues a golden section apart, in two shades."""
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

    A half has three digits, more than 256 colours can show, and so few values that a table does the
    logarithm, infinity and NaN at once.
    """
    depth = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    unknown = np.isnan(depth)
    clipped = np.clip(np.where(unknown, MAX_DEPTH, depth), MAX_DEPTH / DEPTH_SPAN, MAX_DEPTH)
    nearness = np.log(MAX_DEPTH / clipped) / np.log(DEPTH_SPAN)
    colors = cv2.applyColorMap(np.rint(nearness * 255).astype(np.uint8), cv2.COLORMAP_PLASMA)
    palette = colors[:, 0, ::-1].copy()
    palette[unknown] = BLACK
    return _packed(palette)


def _packed(palette: np.ndarray) -> np.ndarray:
    """Return ``(n, 3)`` colours as ``(n,)`` uint32: one number is looked up faster than three."""
    return np.pad(palette, ((0, 0), (0, 1))).view(np.uint32)[:, 0]


def _take(packed_palette: np.ndarray, values: np.ndarray) -> np.ndarray:
    colors = packed_palette[values].view(np.uint8).reshape(*values.shape, 4)
    return cv2.cvtColor(colors, cv2.COLOR_RGBA2RGB)


def _outlines(instances: np.ndarray) -> np.ndarray:
    """Return where an instance's pixel has another value to its right or below."""
    edge = np.zeros(instances.shape, bool)
    edge[:, :-1] = instances[:, :-1] != instances[:, 1:]
    edge[:-1] |= instances[:-1] != instances[1:]
    highest = cv2.dilate(instances, np.ones((2, 2), np.uint8), anchor=(0, 0))
    return edge & (highest >= INSTANCE_ID_BASE)


def _put_captions(picture: np.ndarray, objects: list[Object]) -> None:
    """Write what each instance is, the largest first, and nothing over what is written already."""
    scale = max(0.35, picture.shape[0] / 1200)
    free = np.ones(picture.shape[:2], bool)
    for found in sorted(objects, key=lambda found: -found.area):
        height, width = found.instances.shape
        if found.area / found.instances.size < MIN_NAMED_SHARE:
            break
        text = _caption(found)
        center = (found.center[0] + 0.5) / width, (found.center[1] + 0.5) / height
        left, bottom, box = centered(picture, text, center, scale)
        if free[box].all():
            put_text(picture, text, (left, bottom), scale)
            free[box] = False


def _caption(found: Object) -> str:
    if found.depth is None:
        return found.name
    return f'{found.name} far' if np.isinf(found.depth) else f'{found.name} {found.depth:.1f} m'


def centered(
    picture: np.ndarray, text: str, center: tuple[float, float], scale: float
) -> tuple[int, int, tuple[slice, slice]]:
    """Return the left and bottom of ``text`` around ``center``, inside ``picture``, and its box."""
    height, width = picture.shape[:2]
    (text_width, text_height), _ = cv2.getTextSize(text, FONT, scale, 1)
    left = min(int(center[0] * width - text_width / 2), width - text_width - 2)
    bottom = min(int(center[1] * height + text_height / 2), height - 3)
    left, bottom = max(2, left), max(text_height + 2, bottom)
    return left, bottom, (slice(bottom - text_height, bottom), slice(left, left + text_width))


def put_text(picture: np.ndarray, text: str, origin: tuple[int, int], scale: float) -> None:
    """Write ``text`` in white on a black edge."""
    thickness = max(1, round(scale))
    cv2.putText(picture, text, origin, FONT, scale, BLACK, thickness + 2, cv2.LINE_AA)
    cv2.putText(picture, text, origin, FONT, scale, WHITE, thickness, cv2.LINE_AA)


LONGEST_OFFSET = 1 / 16
"""Share of the map's width at which the colours of offsets are full."""


def color_offsets(offsets: np.ndarray) -> np.ndarray:
    """Return ``(h, w, 3)`` RGB: the hue is the direction, the saturation the length of an offset.

    Args:
        offsets: ``(2, h, w)`` (dx, dy) pixels; black where they are NaN.
    """
    known = np.isfinite(offsets).all(0)
    dx, dy = np.where(known, offsets, 0)
    hue = np.arctan2(dy, dx) % (2 * np.pi) * (90 / np.pi)
    saturation = np.minimum(np.hypot(dx, dy) / (LONGEST_OFFSET * offsets.shape[2]), 1) * 255
    hsv = np.stack([hue % 180, saturation, known * 255], -1).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
