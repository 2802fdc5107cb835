# SPDX-License-Identifier: Apache-2.0
"""Pictures of the best and the worst frames of an evaluation."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.frame import Frame, resize_nearest
from mtl_perception.pictures.maps import Maps
from mtl_perception.pictures.sheets import (
    PANEL_WIDTH,
    MapsByKind,
    by_kind,
    comparison_row,
    overview_sheet,
    shrunk,
)

PICTURED = 3
"""Number of the best frames on the sheet, and of the worst."""


class FrameGallery:
    """Collect the best and the worst frames with truth and prediction."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, frame: Frame, prediction: Maps, score: float | None) -> None:
        """Keep the frame if its score is among the best or the worst so far."""
        if score is None:
            return
        if len(self._entries) == 2 * PICTURED:
            low, high = (self._entries[i].score for i in (PICTURED - 1, PICTURED))
            if low <= score <= high:
                return
            del self._entries[PICTURED - 1 if score < low else PICTURED]
        image = shrunk(frame.image, PANEL_WIDTH)
        truth, predicted = (_shrunk(maps, *image.shape[:2]) for maps in (frame, prediction))
        entry = _Entry(score, frame.name, frame.has_truth, image, truth, predicted)
        self._entries.append(entry)
        self._entries.sort(key=lambda entry: entry.score)

    def sheet(self) -> np.ndarray | None:
        """Return the sheet, RGB, with the worst frame first; ``None`` without a frame."""
        if not self._entries:
            return None
        captions = [f'{entry.name}   score {entry.score:.3f}' for entry in self._entries]
        has_truth = any(entry.has_truth for entry in self._entries)
        rows = [
            comparison_row(entry.image, entry.prediction, entry.truth if has_truth else None)
            for entry in self._entries
        ]
        return overview_sheet(rows, captions)


@dataclass(frozen=True)
class _Entry:
    """A frame at the size of its pictures, which are coloured once it is known to stay."""

    score: float
    name: str
    has_truth: bool
    image: np.ndarray
    truth: MapsByKind
    prediction: MapsByKind


def _shrunk(maps: Frame | Maps, height: int, width: int) -> MapsByKind:
    return {
        kind: None if values is None else resize_nearest(values, height, width)
        for kind, values in by_kind(maps).items()
    }
