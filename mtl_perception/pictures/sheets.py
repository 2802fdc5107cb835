"""Rows and sheets of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mtl_perception.frame import Frame, resize_nearest
from mtl_perception.pictures.maps import (
    GREY,
    Maps,
    centered,
    color_depth,
    color_instances,
    color_labels,
    depth_legend,
    draw_overlay,
    put_text,
)

OVERVIEW_TITLES = ('input', 'semantic', 'instance', 'depth', 'overlay')


def overview_row(image: np.ndarray, prediction: Maps, *, width: int = 480) -> list[np.ndarray]:
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
        put_text(heading, title, (x + 6, 20), 0.55)
        x += width + gap
    lines = [heading]
    for i, row in enumerate(rows):
        if captions is not None:
            caption = np.full((22, total, 3), GREY, np.uint8)
            put_text(caption, captions[i], (6, 16), 0.45)
            lines.append(caption)
        lines.append(_side_by_side(row, gap))
    return np.vstack(lines)


def _empty_panel(height: int, width: int) -> np.ndarray:
    panel = np.full((height, width, 3), GREY, np.uint8)
    left, bottom, _ = centered(panel, 'none', (0.5, 0.5), 0.5)
    put_text(panel, 'none', (left, bottom), 0.5)
    return panel


def _side_by_side(panels: Sequence[np.ndarray], gap: int) -> np.ndarray:
    spacer = np.full((panels[0].shape[0], gap, 3), GREY, np.uint8)
    parts = [part for panel in panels for part in (panel, spacer)]
    return np.hstack(parts[:-1])


PANEL_WIDTH = 320

PICTURED = 3
"""How many of the best frames, and as many of the worst, are shown."""

TITLES = (
    'input',
    'semantic truth',
    'semantic prediction',
    'instance truth',
    'instance prediction',
    'depth truth',
    'depth prediction',
)


class FrameGallery:
    """Keeps pictures of the best and the worst frames, truth beside prediction."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    def add(self, frame: Frame, prediction: Maps, score: float | None) -> None:
        """Keep the frame if it is among the best or the worst so far.

        Args:
            frame: with its truth, if it has one.
            prediction: of any size.
            score: how good it is; a frame without one has no place here.
        """
        if score is None:
            return
        if len(self._rows) == 2 * PICTURED:
            if self._rows[PICTURED - 1].score <= score <= self._rows[PICTURED].score:
                return
            del self._rows[PICTURED - 1 if score < self._rows[PICTURED - 1].score else PICTURED]
        self._rows.append(_row(score, frame, prediction))
        self._rows.sort(key=lambda row: row.score)

    def sheet(self) -> np.ndarray | None:
        """Return the page, RGB, worst frame first; ``None`` if there is no frame to show."""
        if not self._rows:
            return None
        captions = [f'{row.name}   score {row.score:.3f}' for row in self._rows]
        has_truth = any(row.has_truth for row in self._rows)
        shown = [i for i, title in enumerate(TITLES) if has_truth or not title.endswith(' truth')]
        pictures = (row.panels() for row in self._rows)
        rows = [[panels[i] for i in shown] for panels in pictures]
        return overview_sheet(rows, [TITLES[i] for i in shown], captions)


_Maps = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]


@dataclass(frozen=True)
class _Row:
    """A frame at the size of its panels, which are drawn when it is known to stay."""

    score: float
    name: str
    has_truth: bool
    image: np.ndarray
    truth: _Maps
    answer: _Maps

    def panels(self) -> list[np.ndarray]:
        size = self.image.shape[:2]
        truth, answer = map_row(*self.truth, *size), map_row(*self.answer, *size)
        pairs = zip(truth, answer, strict=True)
        return [self.image, *(panel for pair in pairs for panel in pair)]


def _row(score: float, frame: Frame, prediction: Maps) -> _Row:
    height = max(1, round(PANEL_WIDTH * frame.image.shape[0] / frame.image.shape[1]))

    def small(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else resize_nearest(values, height, PANEL_WIDTH)

    return _Row(
        score,
        frame.name,
        frame.has_truth,
        cv2.resize(frame.image, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA),
        (small(frame.labels), small(frame.instances), small(frame.depth)),
        (small(prediction.labels), small(prediction.instances), small(prediction.depth)),
    )
