# SPDX-License-Identifier: Apache-2.0
"""Rows of pictures with titles, and sheets of rows."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from mtl_perception.frame import Frame, resize_nearest
from mtl_perception.pictures.maps import (
    Maps,
    color_depth,
    color_instances,
    color_labels,
    color_offsets,
    depth_legend,
    draw_overlay,
)
from mtl_perception.pictures.text import GREY, draw_text, text_box

PANEL_WIDTH = 320
"""Default width of each picture in a comparison, in pixels."""

GAP = 4
"""Pixels between two pictures of a row."""

COLORINGS = {
    'semantic': color_labels,
    'instance': color_instances,
    'offset': color_offsets,
    'depth': color_depth,
}
"""Colours of the kinds of maps."""

MapsByKind = Mapping[str, np.ndarray | None]
"""Maps by their keys in ``COLORINGS``; ``None`` where a map is absent."""

Row = dict[str, np.ndarray]
"""Pictures of one height, RGB, by title."""


def overview_row(image: np.ndarray, maps: Maps, *, width: int = 480) -> Row:
    """Return the image, its maps in colour and its overlay, ``width`` pixels wide each."""
    row = comparison_row(image, by_kind(maps), width=width)
    row['overlay'] = draw_overlay(row['input'], maps)
    return row


def comparison_row(
    image: np.ndarray,
    prediction: MapsByKind,
    truth: MapsByKind | None = None,
    *,
    width: int = PANEL_WIDTH,
) -> Row:
    """Return the image and its maps in colour, ``width`` pixels wide each.

    Truth and prediction of a kind are side by side; without ``truth`` its columns are left out.
    Maps have any size. The image is ``(H, W, 3)`` uint8 RGB.
    """
    row = {'input': shrunk(image, width)}
    height = len(row['input'])
    for kind, values in prediction.items():
        panel = _panel(kind, values, height, width)
        if truth is None:
            row[kind] = panel
        else:
            row[f'{kind} truth'] = _panel(kind, truth[kind], height, width)
            row[f'{kind} prediction'] = panel
    return row


def by_kind(maps: Frame | Maps) -> MapsByKind:
    """Return labels, instances and depth of ``maps`` for ``comparison_row``."""
    return {'semantic': maps.labels, 'instance': maps.instances, 'depth': maps.depth}


def shrunk(image: np.ndarray, width: int) -> np.ndarray:
    """Return the image at ``width`` pixels, with its aspect ratio."""
    height = max(1, round(width * image.shape[0] / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def overview_sheet(rows: Sequence[Row], captions: Sequence[str] | None = None) -> np.ndarray:
    """Return one RGB picture of all ``rows``, each below its caption, under a line of titles.

    All rows have the titles and widths of the first row.
    """
    widths = [panel.shape[1] for panel in rows[0].values()]
    total = sum(widths) + GAP * (len(widths) - 1)
    heading = np.full((28, total, 3), GREY, np.uint8)
    x = 0
    for title, width in zip(rows[0], widths, strict=True):
        draw_text(heading, title, (x + 6, 20), 0.55)
        x += width + GAP
    lines = [heading]
    for i, row in enumerate(rows):
        if captions is not None:
            caption = np.full((22, total, 3), GREY, np.uint8)
            draw_text(caption, captions[i], (6, 16), 0.45)
            lines.append(caption)
        lines.append(_side_by_side(list(row.values())))
    return np.vstack(lines)


def _panel(kind: str, values: np.ndarray | None, height: int, width: int) -> np.ndarray:
    if values is None:
        panel = np.full((height, width, 3), GREY, np.uint8)
        origin, _ = text_box(panel, 'none', (0.5, 0.5), 0.5)
        draw_text(panel, 'none', origin, 0.5)
        return panel
    panel = resize_nearest(COLORINGS[kind](values), height, width)
    if kind == 'depth':
        legend = depth_legend(width)[:height]
        panel[-len(legend) :] = legend
    return panel


def _side_by_side(panels: Sequence[np.ndarray]) -> np.ndarray:
    spacer = np.full((panels[0].shape[0], GAP, 3), GREY, np.uint8)
    parts = [part for panel in panels for part in (panel, spacer)]
    return np.hstack(parts[:-1])
