"""Colours for the three maps, the overlay on the camera image, and sheets of pictures."""

import colorsys
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mtl_perception.data.frame import resize_nearest
from mtl_perception.labels import COLORS, INSTANCE_ID_BASE, LABELS

if TYPE_CHECKING:
    from mtl_perception.inference.predictor import Prediction

MAX_DEPTH = 80.0
"""Metres at which the depth colours end in dark blue; they begin in yellow at 1/40 of it."""

DEPTH_SPAN = 40.0

OVERVIEW_TITLES = ('input', 'semantic', 'instance', 'depth', 'overlay')

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (40, 40, 40)
FONT = cv2.FONT_HERSHEY_SIMPLEX

TINT = 0.45
"""Share of the class colour in the overlay."""

MIN_NAMED_SHARE = 0.001
"""Instances smaller than this share of the image are outlined in the overlay and not named."""


@dataclass(frozen=True)
class InstanceSummary:
    """One predicted instance.

    Attributes:
        id: ``label · 1000 + k``.
        name: of its class.
        score: how sure its class is, 0 to 1; ``None`` if not known.
        distance: median depth of its pixels in metres, +Inf too far to tell; ``None`` if not known.
        center: (x, y), the mean of its pixels, as shares of the image's width and height.
        area: its pixels as a share of the image.
    """

    id: int
    name: str
    score: float | None
    distance: float | None
    center: tuple[float, float]
    area: float


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
        _put_text(bar, f'{metres} m', (x - 12, 12), 0.35)
    return bar


def draw_overlay(image: np.ndarray, prediction: 'Prediction') -> np.ndarray:
    """Return a copy of ``image`` tinted by class, with instances outlined, named and ranged.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        prediction: of any size; it is stretched over the image.
    """
    height, width = image.shape[:2]
    tint = resize_nearest(color_labels(prediction.labels), height, width)
    overlay = cv2.addWeighted(image, 1 - TINT, tint, TINT, 0)
    if prediction.instances is None:
        return overlay
    edge = np.flatnonzero(_outlines(resize_nearest(prediction.instances, height, width)))
    overlay.reshape(-1, 3)[edge] = WHITE  # faster than a mask of pixels that are triples
    _put_captions(overlay, summarize_instances(prediction))
    return overlay


def summarize_instances(prediction: 'Prediction') -> list[InstanceSummary]:
    """Return what is known of each predicted instance, by rising ID."""
    if prediction.instances is None:
        return []
    height, width = prediction.instances.shape
    ids = prediction.instances.ravel()
    pixels = np.nonzero(ids >= INSTANCE_ID_BASE)[0]
    pixels = pixels[np.argsort(ids[pixels], kind='stable')]
    found, starts = np.unique(ids[pixels], return_index=True)
    summaries = []
    for instance_id, members in zip(found.tolist(), np.split(pixels, starts[1:]), strict=False):
        y, x = np.divmod(members, width)
        summaries.append(
            InstanceSummary(
                id=instance_id,
                name=LABELS[instance_id // INSTANCE_ID_BASE].name,
                score=prediction.scores.get(instance_id),
                distance=_median_depth(prediction, members),
                center=((x.mean() + 0.5) / width, (y.mean() + 0.5) / height),
                area=members.size / ids.size,
            )
        )
    return summaries


def overview_row(
    image: np.ndarray, prediction: 'Prediction', *, width: int = 480
) -> list[np.ndarray]:
    """Return the pictures of ``OVERVIEW_TITLES`` for one image, RGB, ``width`` pixels wide."""
    height = max(1, round(width * image.shape[0] / image.shape[1]))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return [
        small,
        *map_row(prediction.labels, prediction.instances, prediction.depth, height, width),
        draw_overlay(small, prediction),
    ]


def map_row(
    labels: np.ndarray | None,
    instances: np.ndarray | None,
    depth: np.ndarray | None,
    height: int,
    width: int,
) -> list[np.ndarray]:
    """Return the three maps coloured, ``(height, width, 3)`` RGB; one that is ``None`` is grey."""
    panels = [
        _empty_panel(height, width)
        if values is None
        else resize_nearest(color(values), height, width)
        for values, color in (
            (labels, color_labels),
            (instances, color_instances),
            (depth, color_depth),
        )
    ]
    if depth is not None:
        bar = depth_legend(width)[:height]
        panels[2][-bar.shape[0] :] = bar
    return panels


def overview_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    captions: Sequence[str] | None = None,
) -> np.ndarray:
    """Return one RGB picture of all ``rows`` under a line of column titles.

    Args:
        rows: pictures, RGB; those of a row have one height, those of a column one width.
        titles: one for each column.
        captions: one for each row, written above it.
    """
    gap = 4
    widths = [panel.shape[1] for panel in rows[0]]
    total = sum(widths) + gap * (len(widths) - 1)
    heading = np.full((28, total, 3), GREY, np.uint8)
    x = 0
    for title, width in zip(titles, widths, strict=True):
        _put_text(heading, title, (x + 6, 20), 0.55)
        x += width + gap
    lines = [heading]
    for i, row in enumerate(rows):
        if captions is not None:
            caption = np.full((22, total, 3), GREY, np.uint8)
            _put_text(caption, captions[i], (6, 16), 0.45)
            lines.append(caption)
        lines.append(_side_by_side(row, gap))
    return np.vstack(lines)


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


def _median_depth(prediction: 'Prediction', members: np.ndarray) -> float | None:
    if prediction.depth is None:
        return None
    depth = prediction.depth.ravel()[members]
    depth = depth[~np.isnan(depth)]
    return float(np.median(depth)) if depth.size else None


def _put_captions(picture: np.ndarray, instances: list[InstanceSummary]) -> None:
    """Write what each instance is, the largest first, and nothing over what is written already."""
    scale = max(0.35, picture.shape[0] / 1200)
    free = np.ones(picture.shape[:2], bool)
    for instance in sorted(instances, key=lambda instance: -instance.area):
        if instance.area < MIN_NAMED_SHARE:
            break
        text = _caption(instance)
        left, bottom, box = _centered(picture, text, instance.center, scale)
        if free[box].all():
            _put_text(picture, text, (left, bottom), scale)
            free[box] = False


def _caption(instance: InstanceSummary) -> str:
    if instance.distance is None:
        return instance.name
    if np.isinf(instance.distance):
        return f'{instance.name} far'
    return f'{instance.name} {instance.distance:.1f} m'


def _centered(
    picture: np.ndarray, text: str, center: tuple[float, float], scale: float
) -> tuple[int, int, tuple[slice, slice]]:
    """Return the left and bottom of ``text`` around ``center``, inside ``picture``, and its box."""
    height, width = picture.shape[:2]
    (text_width, text_height), _ = cv2.getTextSize(text, FONT, scale, 1)
    left = min(int(center[0] * width - text_width / 2), width - text_width - 2)
    bottom = min(int(center[1] * height + text_height / 2), height - 3)
    left, bottom = max(2, left), max(text_height + 2, bottom)
    return left, bottom, (slice(bottom - text_height, bottom), slice(left, left + text_width))


def _put_text(picture: np.ndarray, text: str, origin: tuple[int, int], scale: float) -> None:
    thickness = max(1, round(scale))
    cv2.putText(picture, text, origin, FONT, scale, BLACK, thickness + 2, cv2.LINE_AA)
    cv2.putText(picture, text, origin, FONT, scale, WHITE, thickness, cv2.LINE_AA)


def _empty_panel(height: int, width: int) -> np.ndarray:
    panel = np.full((height, width, 3), GREY, np.uint8)
    left, bottom, _ = _centered(panel, 'none', (0.5, 0.5), 0.5)
    _put_text(panel, 'none', (left, bottom), 0.5)
    return panel


def _side_by_side(panels: Sequence[np.ndarray], gap: int) -> np.ndarray:
    spacer = np.full((panels[0].shape[0], gap, 3), GREY, np.uint8)
    parts = [part for panel in panels for part in (panel, spacer)]
    return np.hstack(parts[:-1])
