# SPDX-License-Identifier: Apache-2.0
"""Text in pictures."""

import cv2
import numpy as np

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (40, 40, 40)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_text(picture: np.ndarray, text: str, origin: tuple[int, int], scale: float) -> None:
    """Draw ``text`` in white with a black edge; ``origin`` is its (left, bottom) in pixels."""
    thickness = max(1, round(scale))
    cv2.putText(picture, text, origin, FONT, scale, BLACK, thickness + 2, cv2.LINE_AA)
    cv2.putText(picture, text, origin, FONT, scale, WHITE, thickness, cv2.LINE_AA)


def text_box(
    picture: np.ndarray, text: str, center: tuple[float, float], scale: float
) -> tuple[tuple[int, int], tuple[slice, slice]]:
    """Return origin and box of ``text`` around ``center``, moved inside the picture.

    ``center`` is (x, y) as shares of the picture's width and height.
    """
    height, width = picture.shape[:2]
    (text_width, text_height), _ = cv2.getTextSize(text, FONT, scale, 1)
    left = min(int(center[0] * width - text_width / 2), width - text_width - 2)
    bottom = min(int(center[1] * height + text_height / 2), height - 3)
    left, bottom = max(2, left), max(text_height + 2, bottom)
    return (left, bottom), (slice(bottom - text_height, bottom), slice(left, left + text_width))
