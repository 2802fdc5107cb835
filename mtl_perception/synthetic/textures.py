# SPDX-License-Identifier: Apache-2.0
"""Bank of procedural textures, generated once per process and tinted by the materials.

A texture is tileable RGB with two more channels: the tint (how much the colour of the material
affects a texel) and the cover (whether the surface exists, for leaves and fences).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import cv2
import numpy as np

SIZE = 256
"""Side of a texture in texels."""

LEVELS = 8
"""Number of mip levels; each halves the size of the previous one."""

GLASS = (0.16, 0.19, 0.22)


@dataclass(frozen=True)
class Bank:
    """All textures.

    Attributes:
        texels: ``(L, S, 2 S, 4)`` uint8, RGB and tint; level k starts at column ``2 S (1 - 2^-k)``.
        covers: ``(L, S, S / 8)`` uint8, one bit per texel, least significant first: the cover.
        layers: First layer and number of layers of each kind.
    """

    texels: np.ndarray
    covers: np.ndarray
    layers: dict[str, tuple[int, int]]

    def pick(self, random: Random, kind: str) -> int:
        """Return the layer of a random texture of a kind."""
        first, count = self.layers[kind]
        return first + int(random.random() * count)


@lru_cache(maxsize=1)
def bank() -> Bank:
    """Return the bank, which is identical in all processes."""
    rng = np.random.default_rng(20180619)
    texels: list[np.ndarray] = []
    covers: list[np.ndarray] = []
    layers = {}
    for kind, (count, make) in _KINDS.items():
        layers[kind] = (len(texels), count)
        for _ in range(count):
            color, tint, cover = make(rng)
            rgba = np.dstack([color, tint]) if color.ndim == 3 else np.dstack([color] * 3 + [tint])
            texels.append(_pyramid(np.round(np.clip(rgba, 0, 1) * 255).astype(np.uint8)))
            covers.append(np.packbits(cover > 0, axis=1, bitorder='little'))
    return Bank(np.stack(texels), np.stack(covers), layers)


def _pyramid(rgba: np.ndarray) -> np.ndarray:
    packed = np.zeros((SIZE, 2 * SIZE, 4), np.uint8)
    column = 0
    for _ in range(LEVELS):
        size = len(rgba)
        packed[:size, column : column + size] = rgba
        column += size
        rgba = cv2.resize(rgba, (size // 2, size // 2), interpolation=cv2.INTER_AREA)
    return packed


_Texture = tuple[np.ndarray, np.ndarray, np.ndarray]
_FULL = np.ones((SIZE, SIZE))


def _noise(rng: np.random.Generator, slope: float, low: float = 0.0) -> np.ndarray:
    """Return tileable noise with mean 0, standard deviation 1 and amplitude f^-slope."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]) * SIZE
    amplitude = np.where(frequency > low, np.maximum(frequency, 1), np.inf) ** -slope
    amplitude[0, 0] = 0
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) * amplitude)
    return noise / noise.std()


def _grain(slope: float, contrast: float, low: float = 0.0) -> Callable[..., _Texture]:
    def make(rng: np.random.Generator) -> _Texture:
        return 0.78 + contrast * _noise(rng, slope, low), _FULL, _FULL

    return make


def _asphalt(rng: np.random.Generator) -> _Texture:
    color = 0.8 + 0.06 * _noise(rng, 0.15) + 0.05 * _noise(rng, 1.2)
    for _ in range(rng.integers(0, 5)):
        path = np.cumsum(rng.normal(0, 6, (12, 2)), 0) + rng.uniform(40, SIZE - 40, 2)
        cv2.polylines(color, [path.astype(np.int32)], False, float(rng.uniform(0.45, 0.62)), 1)
    for _ in range(rng.integers(0, 3)):
        x, y, w, h = rng.integers(20, SIZE // 2, 4)
        color[y : y + h, x : x + w] *= rng.uniform(0.82, 1.1)
    return color, _FULL, _FULL


def _blocks(rows: tuple[int, int], columns: tuple[int, int], joint: float, spread: float):
    """Return a texture of stones, bricks or tiles; every second row is shifted by half a stone."""

    def make(rng: np.random.Generator) -> _Texture:
        count_y = int(rng.integers(*rows)) * 2
        count_x = int(rng.integers(*columns))
        y, x = np.mgrid[:SIZE, :SIZE] / SIZE
        row = np.floor(y * count_y).astype(int)
        shifted = x * count_x + 0.5 * (row % 2)
        column = np.floor(shifted).astype(int) % count_x
        tone = 0.8 + spread * rng.standard_normal((count_y, count_x))
        color = tone[row, column] + 0.04 * _noise(rng, 0.6)
        gap = 1.6 / SIZE
        edge = ((y * count_y) % 1 < gap * count_y) | (shifted % 1 < gap * count_x)
        return np.where(edge, joint, color), _FULL, _FULL

    return make


def _grass(rng: np.random.Generator) -> _Texture:
    tone = 0.72 + 0.13 * _noise(rng, 0.3) + 0.1 * _noise(rng, 1.3)
    dry = np.clip(0.5 + 0.5 * _noise(rng, 1.5), 0, 1)[..., None]
    return tone[..., None] * (1 + dry * [0.25, 0.02, -0.1]), _FULL, _FULL


def _leaves(low: float, density: float) -> Callable[..., _Texture]:
    """Return a texture of leaves, a ragged disc with holes."""

    def make(rng: np.random.Generator) -> _Texture:
        y, x = np.mgrid[:SIZE, :SIZE] / (SIZE / 2) - 1
        leaf = _noise(rng, 1.0, low)
        radius = np.hypot(x, y) + 0.16 * _noise(rng, 1.6)
        cover = (radius + 0.12 * leaf < 0.82) & (leaf < density)
        return 0.7 + 0.2 * _noise(rng, 0.7, 6) - 0.1 * radius, _FULL, cover

    return make


def _branches(rng: np.random.Generator) -> _Texture:
    """Return bare twigs that fork from the middle of the lower edge."""
    cover = np.zeros((SIZE, SIZE), np.uint8)
    tips = [(SIZE / 2, SIZE - 1.0, -np.pi / 2, SIZE * 0.23, 5)]
    while tips:
        x, y, angle, length, thick = tips.pop()
        end_x, end_y = x + np.cos(angle) * length, y + np.sin(angle) * length
        cv2.line(cover, (int(x), int(y)), (int(end_x), int(end_y)), 1, max(1, thick))
        if length > 9:
            forks = rng.normal(0, 0.55, 3)
            tips += [(end_x, end_y, angle + fork, length * 0.76, thick - 1) for fork in forks]
    return 0.75 + 0.1 * _noise(rng, 0.5), _FULL, cover > 0


def _facade(rng: np.random.Generator) -> _Texture:
    """Return four bays by four storeys of windows in a tinted wall."""
    base = _blocks((16, 26), (9, 14), 0.72, 0.05) if rng.random() < 0.4 else _grain(0.9, 0.05)
    color, tint, _ = base(rng)
    color = np.dstack([color] * 3)
    tint = tint.copy()
    cell = SIZE // 4
    width, height = int(rng.uniform(0.35, 0.92) * cell), int(rng.uniform(0.42, 0.75) * cell)
    left, top = (cell - width) // 2, int((cell - height) * rng.uniform(0.25, 0.6))
    frame = rng.uniform(0.15, 0.95, 3) * 0.4 + rng.uniform(0.1, 0.6)
    border, bars, sill = int(rng.integers(1, 5)), int(rng.integers(0, 3)), rng.random() < 0.5
    shutters = rng.random() < 0.2
    for row in range(4):
        for column in range(4):
            x, y = column * cell + left, row * cell + top
            if shutters:
                cv2.rectangle(
                    color, (x - 8, y), (x + width + 8, y + height), (frame * 0.6).tolist(), -1
                )
            cv2.rectangle(color, (x, y), (x + width, y + height), frame.tolist(), -1)
            _pane(rng, color[y + border : y + height - border, x + border : x + width - border])
            for bar in range(1, bars + 1):
                mid = x + width * bar // (bars + 1)
                cv2.line(color, (mid, y), (mid, y + height), frame.tolist(), 2)
            tint[y : y + height, x - 8 * shutters : x + width + 8 * shutters] = 0
            if sill:
                color[y + height : y + height + 3, x - 2 : x + width + 2] *= 1.2
                color[y + height + 3 : y + height + 6, x - 2 : x + width + 2] *= 0.6
    if rng.random() < 0.5:
        color[::cell] *= 0.6
        color[1::cell] *= 1.15
    return color, tint, _FULL


def _pane(rng: np.random.Generator, pane: np.ndarray) -> None:
    """Draw a window with dark glass and sometimes a curtain or a blind, in place."""
    shade = np.linspace(rng.uniform(0.8, 2.2), 0.7, len(pane))[:, None, None]
    pane[:] = np.array(GLASS) * shade * rng.uniform(0.6, 1.4)
    style = rng.random()
    if style < 0.2:
        pane[: int(len(pane) * rng.uniform(0.2, 1))] = rng.uniform(0.35, 0.75)
    elif style < 0.4:
        edge = int(pane.shape[1] * rng.uniform(0.1, 0.3))
        pane[:, :edge] = pane[:, pane.shape[1] - edge :] = rng.uniform(0.3, 0.7)


def _shop(rng: np.random.Generator) -> _Texture:
    """Return two adjacent shop fronts with lettering, display windows and a door."""
    color, tint = np.full((SIZE, SIZE, 3), 0.75), _FULL.copy()
    color += 0.04 * _noise(rng, 0.9)[..., None]
    for x in (0, SIZE // 2):
        width = SIZE // 2
        fascia = int(rng.integers(36, 64))
        back, ink = _sign_colors(rng)
        color[10:fascia, x + 2 : x + width - 2] = back
        _lettering(rng, color[10:fascia, x + 8 : x + width - 8], ink)
        tint[10:fascia, x + 2 : x + width - 2] = 0
        door = int(rng.integers(8, 80))
        for start, end, foot in (
            (6, door, 26),
            (door + 4, door + 34, 4),
            (door + 38, width - 6, 26),
        ):
            if end - start > 10:
                pane = color[fascia + 4 : SIZE - foot, x + start : x + min(end, width - 4)]
                _pane(rng, pane)
                goods = rng.uniform(0, 0.8, (9, 7, 1)) + rng.uniform(0, 0.3, (9, 7, 3))
                pane += cv2.resize(goods, pane.shape[1::-1]) * rng.uniform(0, 0.4)
                tint[fascia + 4 : SIZE - foot, x + start : x + min(end, width - 4)] = 0
        if rng.random() < 0.15:
            color[fascia + 4 :, x + 4 : x + width - 4] = rng.uniform(0.3, 0.7)
            color[fascia + 4 :: 6, x + 4 : x + width - 4] *= 0.7
    return color, tint, _FULL


def _sign_colors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    back = rng.uniform(0.05, 0.95, 3)
    ink = np.full(3, 0.95) if back.mean() < 0.5 else rng.uniform(0, 0.3, 3)
    return back, ink


def _lettering(rng: np.random.Generator, board: np.ndarray, ink: np.ndarray) -> None:
    """Draw strokes that look like letters from a distance, in place."""
    height, width = board.shape[:2]
    size = int(height * rng.uniform(0.4, 0.75))
    top, x = (height - size) // 2, int(rng.integers(2, 12))
    while x < width - size * 0.6:
        points = rng.integers(0, 3, (4, 2)) * [size * 0.3, size * 0.5] + [x, top]
        canvas = np.ascontiguousarray(board)
        cv2.polylines(canvas, [points.astype(np.int32)], False, ink.tolist(), max(2, size // 9))
        board[:] = canvas
        x += int(size * (0.75 if rng.random() < 0.85 else 1.3))


def _board(rng: np.random.Generator) -> _Texture:
    """Return an advertisement: a coloured board with lettering and sometimes a picture."""
    color = np.empty((SIZE, SIZE, 3))
    back, ink = _sign_colors(rng)
    color[:] = back
    if rng.random() < 0.5:
        picture = rng.uniform(0, 0.6, (5, 5, 1)) + rng.uniform(0, 0.4, (5, 5, 3))
        color[SIZE // 2 :] = cv2.resize(picture, (SIZE, SIZE // 2))
    for top in (12, 72):
        _lettering(rng, color[top : top + 52, 8 : SIZE - 8], ink)
    return color, np.zeros((SIZE, SIZE)), _FULL


def _bars(rng: np.random.Generator) -> _Texture:
    """Return upright bars between two rails."""
    cover = np.zeros((SIZE, SIZE))
    step = int(rng.choice([16, 32]))
    thick = int(step * rng.uniform(0.35, 0.7))
    x = np.arange(SIZE)
    cover[:, x % step < thick] = 1
    cover[24:44] = cover[-44:-24] = 1
    return 0.8 + 0.05 * _noise(rng, 0.7), _FULL, cover


def _wire(rng: np.random.Generator) -> _Texture:
    """Return diagonal wires with a post at the edge of the tile."""
    y, x = np.mgrid[:SIZE, :SIZE]
    cover = ((x + y) % 32 < 9) | ((x - y) % 32 < 9) | (x < 10) | (y < 12)
    return 0.8 + 0.05 * _noise(rng, 0.7), _FULL, cover.astype(float)


def _planks(rng: np.random.Generator) -> _Texture:
    count = int(rng.choice([8, 16]))
    x = np.arange(SIZE) * count // SIZE
    color = (0.78 + 0.07 * rng.standard_normal(count))[x][None] + 0.05 * _noise(rng, 0.8)
    color[:, np.arange(SIZE) % (SIZE // count) < 3] = 0.4
    return color, _FULL, _FULL


def _clouds(rng: np.random.Generator) -> _Texture:
    return np.clip(0.5 + 0.28 * _noise(rng, 1.7), 0, 1), _FULL, _FULL


_KINDS: dict[str, tuple[int, Callable[..., _Texture]]] = {
    'plain': (1, _grain(1.0, 0.012)),
    'rough': (3, _grain(0.7, 0.05)),
    'macro': (3, _grain(1.5, 0.1)),
    'asphalt': (5, _asphalt),
    'paving': (4, _blocks((2, 6), (3, 8), 0.55, 0.05)),
    'brick': (3, _blocks((8, 14), (8, 13), 0.66, 0.07)),
    'roof': (2, _blocks((8, 12), (14, 20), 0.45, 0.08)),
    'grass': (4, _grass),
    'soil': (3, _grain(0.8, 0.1)),
    'hedge': (2, _grain(0.5, 0.16, 8)),
    'leaves': (8, _leaves(14, 0.85)),
    'thin leaves': (3, _leaves(10, 0.25)),
    'branches': (3, _branches),
    'facade': (22, _facade),
    'shop': (10, _shop),
    'board': (10, _board),
    'bars': (4, _bars),
    'wire': (2, _wire),
    'planks': (3, _planks),
    'clouds': (4, _clouds),
}
