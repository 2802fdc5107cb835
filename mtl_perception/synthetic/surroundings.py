# SPDX-License-Identifier: Apache-2.0
"""Templates of roadside objects: buildings, plants, boundaries, poles, lights and signs."""

from functools import lru_cache
from itertools import pairwise
from random import Random

import numpy as np

from mtl_perception.synthetic.mesh import Mesh, box, ellipsoid, limb, merged, panel, quads

HOUSES, BLOCKS, TREES, BUSHES = 24, 32, 12, 5
"""Numbers of variants."""


@lru_cache(maxsize=HOUSES + BLOCKS)
def building(block: bool, variant: int) -> tuple[Mesh, float, float]:
    """Return a building and its width (along z) and depth (along x) in metres.

    The front is centred on the origin and the building extends towards +x. A block has a flat roof
    and may have shops; a house has a gable roof.
    """
    random = Random(variant)
    bay, storey = random.uniform(2.2, 4.2), random.uniform(2.8, 3.5)
    if block:
        bays, storeys, depth = random.randint(3, 9), random.randint(2, 8), random.uniform(9, 16)
        ground = random.choice((0, random.uniform(3.2, 4.4), random.uniform(3.0, 4.0)))
    else:
        bays, storeys, depth = random.randint(2, 4), random.randint(1, 2), random.uniform(7, 10)
        ground = 0.0
    width, walls = bays * bay, storeys * storey
    parts = _walls(width, depth, ground, walls, bays, storeys, bay)
    if ground:
        parts += _shop_fronts(random, width, depth, ground)
    else:
        z = (random.randint(0, bays - 1) + 0.12 - bays / 2) * bay
        parts.append(box((0.12, 2.1, 1.0), (-0.02, 0, z), 'door'))
        parts.append(box((0.5, 0.12, 1.6), (-0.2, 2.25, z), 'trim'))
    top = ground + walls
    if block:
        parts += _flat_roof(random, width, depth, top)
    else:
        parts += _gable(random, width, depth, top)
    if storeys > 1 and random.random() < 0.35:
        parts += _balconies(random, bays, storeys, bay, storey, ground)
    return merged(parts), width, depth


def _walls(
    width: float, depth: float, ground: float, walls: float, bays: int, storeys: int, bay: float
) -> list[Mesh]:
    # A facade texture has four by four windows.
    half, top = width / 2, ground + walls
    outline = [(0, -half), (0, half), (depth, half), (depth, -half), (0, -half)]
    parts = []
    for (x0, z0), (x1, z1) in pairwise(outline):
        across = bays if x0 == x1 else max(1, round(depth / bay))
        corners = [[x0, top, z0], [x1, top, z1], [x1, ground, z1], [x0, ground, z0]]
        u, v = across / 4, storeys / 4
        parts.append(quads([corners], 'wall', np.array([[[0, 0], [u, 0], [u, v], [0, v]]])))
    return parts


def _shop_fronts(random: Random, width: float, depth: float, height: float) -> list[Mesh]:
    half, shops = width / 2, max(1, round(width / random.uniform(4, 7)))
    front = [[0, height, -half], [0, height, half], [0, 0, half], [0, 0, -half]]
    uv = np.array([[[0, 0], [shops / 2, 0], [shops / 2, 1], [0, 1]]])
    parts = [quads([front], 'shop', uv)]
    for z in (-half, half):
        side = [[0, height, z], [depth, height, z], [depth, 0, z], [0, 0, z]]
        parts.append(quads([side], 'plinth', tile=2.0))
    pitch = width / shops
    for i in range(shops):
        z, kind = (i + 0.5) * pitch - half, random.random()
        if kind < 0.3:
            reach, drop = random.uniform(0.8, 1.8), random.uniform(0.4, 0.8)
            low, span = height * 0.72, pitch * 0.45
            awning = [[0, low, z - span], [0, low, z + span]]
            awning += [[-reach, low - drop, z + span], [-reach, low - drop, z - span]]
            parts.append(quads([awning], 'awning'))
        elif kind < 0.5:
            size = (0.9, random.uniform(0.5, 1.6), 0.12)
            parts.append(box(size, (-0.5, height * 0.85, z), 'board', tile=1.6))
        elif kind < 0.65:
            parts.append(
                box((0.25, 0.9, pitch * 0.9), (-0.12, height * 0.78, z), 'board', tile=1.2)
            )
    return parts


def _flat_roof(random: Random, width: float, depth: float, top: float) -> list[Mesh]:
    rim = random.uniform(0.2, 0.9)
    parts = [box((depth + 0.3, rim, width + 0.2), (depth / 2, top, 0), 'trim', tile=3.0)]
    for _ in range(random.randint(0, 3)):
        size = (random.uniform(1, 3), random.uniform(0.8, 2.5), random.uniform(1, 3))
        centre = (depth * random.uniform(0.2, 0.7), top + rim, width * random.uniform(-0.35, 0.35))
        parts.append(box(size, centre, 'plinth', tile=2.0))
    return parts


def _gable(random: Random, width: float, depth: float, top: float) -> list[Mesh]:
    rise, over, half = random.uniform(0.3, 0.55) * depth, 0.35, width / 2
    ridge, fall = depth / 2, rise * over / (depth / 2)
    parts = []
    for x, out in ((0, -over), (depth, over)):
        slope = [
            [x + out, top - fall, -half - 0.2],
            [x + out, top - fall, half + 0.2],
            [ridge, top + rise, half + 0.2],
            [ridge, top + rise, -half - 0.2],
        ]
        parts.append(quads([slope], 'roof', tile=3.0))
    parts += [
        panel([[0, top, z], [depth, top, z], [ridge, top + rise, z]], 'plinth')
        for z in (-half, half)
    ]
    if random.random() < 0.6:
        z = half * random.uniform(-0.8, 0.8)
        parts.append(box((0.7, 1.4, 0.9), (ridge, top + rise - 0.5, z), 'chimney', tile=1.5))
    return parts


def _balconies(
    random: Random, bays: int, storeys: int, bay: float, storey: float, ground: float
) -> list[Mesh]:
    parts = []
    for column in range(bays):
        if random.random() < 0.5:
            continue
        z = (column + 0.5 - bays / 2) * bay
        for row in range(1 if not ground else 0, storeys):
            y = ground + row * storey
            parts.append(box((1.1, 0.15, bay * 0.8), (-0.55, y, z), 'trim'))
            parts.append(box((0.06, 0.95, bay * 0.8), (-1.07, y + 0.15, z), 'balcony'))
    return parts


@lru_cache(maxsize=64)
def tree(kind: str, variant: int) -> Mesh:
    """Return a tree 7 to 11 m high: ``round``, ``tall``, ``conifer``, ``palm`` or ``bare``."""
    random = Random(variant)
    height = random.uniform(7, 11)
    bole = height * {'round': 0.3, 'tall': 0.15, 'conifer': 0.1}.get(kind, 0.4)
    thick = random.uniform(0.12, 0.26)
    lean = (random.uniform(-0.3, 0.3), random.uniform(-0.3, 0.3))
    top = (lean[0], height * (0.93 if kind == 'palm' else 0.8), lean[1])
    parts = [limb((0, -0.1, 0), top, (thick, thick * 0.35), 'trunk', 7)]
    if kind == 'bare':
        return merged(parts + _twigs(random, bole, height))
    if kind == 'palm':
        fronds = [
            _clump(random, np.array(top), 1.7, np.array([lean[0], 0, lean[1]])) for _ in range(9)
        ]
        return merged(parts + fronds)
    spread = height * {'round': 0.32, 'tall': 0.14}.get(kind, 0.2)
    middle = np.array([lean[0], (bole + height) / 2, lean[1]])
    for _ in range(5):
        angle = random.uniform(0, 2 * np.pi)
        reach = np.array([np.cos(angle), 0.3, np.sin(angle)]) * spread * 0.7
        parts.append(limb((0, bole, 0), middle + reach, (thick * 0.5, 0.03), 'trunk', 5))
    for i in range(46):
        up = (i + 0.5) / 46
        share = np.sqrt(1 - (2 * up - 1) ** 2) if kind != 'conifer' else 1.05 - up
        angle, out = i * 2.4 + random.uniform(-0.4, 0.4), random.uniform(0.55, 1.0)
        x, z = np.cos(angle) * spread * share * out, np.sin(angle) * spread * share * out
        centre = np.array([lean[0] + x, bole + up * (height - bole), lean[1] + z])
        size = spread * random.uniform(0.34, 0.52) * (1.0 if kind == 'round' else 1.4)
        parts.append(_clump(random, centre, size, middle))
    return merged(parts)


def _clump(random: Random, centre: np.ndarray, size: float, middle: np.ndarray) -> Mesh:
    """Return leaves on a randomly turned card, with the normals of a crown around ``middle``."""
    axes = np.linalg.qr(np.array([[random.gauss(0, 1) for _ in range(3)] for _ in range(3)]))[0]
    a, b = axes[0] * size, axes[1] * size
    corners = centre + np.array([-a - b, a - b, a + b, b - a])
    outward = corners - middle + np.array([0, 0.4 * size, 0])
    normals = outward / np.linalg.norm(outward, axis=1, keepdims=True)
    uv = np.array([[[0, 0], [1, 0], [1, 1], [0, 1]]])
    return quads([corners], f'leaves {random.randint(0, 2)}', uv, normals[None])


def _twigs(random: Random, bole: float, height: float) -> list[Mesh]:
    parts = []
    for _ in range(9):
        angle = random.uniform(0, 2 * np.pi)
        side = np.array([np.cos(angle), 0, np.sin(angle)])
        base = np.array([0, random.uniform(bole * 0.8, height * 0.55), 0])
        half, rise = side * height * 0.3, np.array([0, height * 0.5, 0])
        fall = side * random.uniform(0, 0.25) * height
        corners = [base - half + rise + fall, base + half + rise + fall, base + half, base - half]
        uv = np.array([[[0, 0], [1, 0], [1, 1], [0, 1]]])
        parts.append(quads([corners], 'twigs', uv))
    return parts


@lru_cache(maxsize=BUSHES)
def bush(variant: int) -> Mesh:
    """Return a bush about 1.2 m high."""
    random = Random(variant)
    middle = np.array([0, 0.4, 0])
    parts = []
    for _ in range(14):
        centre = np.array([random.gauss(0, 0.4), random.uniform(0.2, 0.9), random.gauss(0, 0.4)])
        parts.append(_clump(random, centre, random.uniform(0.35, 0.55), middle))
    return merged(parts)


@lru_cache(maxsize=4)
def hedge(variant: int) -> Mesh:
    """Return a hedge 4 m long (along z) and about 1.3 m high."""
    random = Random(variant)
    parts = [box((0.7, 1.15, 4.0), (0, 0, 0), 'hedge', top=0.95, tile=1.3)]
    for _ in range(16):
        centre = np.array([random.gauss(0, 0.25), random.uniform(0.7, 1.2), random.uniform(-2, 2)])
        parts.append(_clump(random, centre, random.uniform(0.25, 0.4), np.array([0, 0.2, 0])))
    return merged(parts)


@lru_cache(maxsize=2)
def wall(capped: bool) -> Mesh:
    """Return a wall 4 m long (along z) and 1 m high."""
    parts = [box((0.25, 1.0, 4.0), (0, 0, 0), 'wall', tile=1.5)]
    if capped:
        parts.append(box((0.35, 0.08, 4.0), (0, 1.0, 0), 'cap'))
        parts.append(box((0.4, 1.2, 0.4), (0, 0, -1.8), 'wall', tile=1.5))
    return merged(parts)


@lru_cache(maxsize=1)
def fence() -> Mesh:
    """Return a fence 4 m long (along z) and 1 m high, masked by its texture."""
    corners = [[[0, 1, -2], [0, 1, 2], [0, 0, 2], [0, 0, -2]]]
    sheet = quads(corners, 'fence', np.array([[[0, 0], [2.0, 0], [2.0, 1], [0, 1]]]))
    posts = [box((0.08, 1.06, 0.08), (0, 0, z), 'post') for z in (-2, 0)]
    return merged([sheet, *posts])


@lru_cache(maxsize=8)
def lamp_post(style: int) -> Mesh:
    """Return a street lamp (styles 0 to 2) or a utility pole (3) with its arm towards +x."""
    height = (7.5, 9.0, 4.5, 8.0)[style]
    radii = (0.11, 0.13)[style == 3], (0.06, 0.1)[style == 3]
    parts = [limb((0, 0, 0), (0, height, 0), radii, 'pole', 6)]
    if style == 2:
        return merged([*parts, ellipsoid((0, height + 0.2, 0), (0.22, 0.3, 0.22), 'lamp')])
    if style == 3:
        bars = [box((1.8, 0.1, 0.1), (0, height - drop, 0), 'pole') for drop in (0.3, 1.0)]
        return merged([*parts, *bars, limb((0.3, 5.6, 0), (0.3, 6.4, 0), (0.2, 0.2), 'pole', 8)])
    reach = (1.4, 2.6)[style]
    arm = limb((0, height - 0.1, 0), (reach, height + 0.3, 0), (0.05, 0.04), 'pole')
    head = box((0.8, 0.12, 0.26), (reach + 0.2, height + 0.25, 0), 'lamp')
    return merged([*parts, arm, head])


@lru_cache(maxsize=8)
def plain_pole(height: float, radius: float) -> Mesh:
    """Return an upright pole; height and radius are in metres."""
    return limb((0, 0, 0), (0, height, 0), (radius, radius), 'pole', 8, closed=True)


@lru_cache(maxsize=2)
def gantry(reach: float) -> Mesh:
    """Return a pole 5.6 m high with an arm of ``reach`` metres towards +x, over the road."""
    arm = limb((0, 5.4, 0), (reach, 5.7, 0), (0.09, 0.06), 'pole')
    return merged([limb((0, 0, 0), (0, 5.6, 0), (0.13, 0.1), 'pole', 8), arm])


@lru_cache(maxsize=4)
def traffic_light(lit: int) -> Mesh:
    """Return the head of a traffic light above the origin, facing -z, with lamp ``lit`` on."""
    parts = [box((0.34, 0.98, 0.24), (0, 0, 0), 'case')]
    for i in range(3):
        y = 0.8 - 0.31 * i
        slot = ('red', 'amber', 'green')[i] if i == lit else 'off'
        circle = [
            [0.11 * np.cos(a), y + 0.11 * np.sin(a), -0.13] for a in np.arange(10) * np.pi / 5
        ]
        parts.append(panel(circle, slot))
        parts.append(box((0.26, 0.02, 0.18), (0, y + 0.12, -0.2), 'case'))
    parts.append(
        panel([[-0.3, -0.1, 0.02], [0.3, -0.1, 0.02], [0.3, 1.1, 0.02], [-0.3, 1.1, 0.02]], 'back')
    )
    return merged(parts)


_SIGNS = {
    'round': (16, 0.0, (1, 1)),
    'triangle': (3, np.pi / 2, (1.15, 1.15)),
    'diamond': (4, 0.0, (1.1, 1.1)),
    'octagon': (8, np.pi / 8, (1, 1)),
    'square': (4, np.pi / 4, (1.2, 1.2)),
    'plate': (4, np.pi / 4, (1.1, 1.8)),
    'guide': (4, np.pi / 4, (3.4, 2.0)),
}
"""Number of sides, rotation in radians and stretch (horizontal, vertical) of each shape."""


@lru_cache(maxsize=len(_SIGNS))
def sign(shape: str) -> Mesh:
    """Return a traffic sign that faces -z, with its lower edge at the origin."""
    sides, turn, stretch = _SIGNS[shape]
    angle = turn + np.arange(sides) * (2 * np.pi / sides)
    outline = np.stack([np.cos(angle) * stretch[0], np.sin(angle) * stretch[1]], 1) * 0.36
    outline[:, 1] -= outline[:, 1].min()
    middle = outline.mean(0)

    def plate(scale: float, z: float, slot: str) -> Mesh:
        points = np.column_stack([middle + (outline - middle) * scale, np.full(sides, z)])
        return panel(points, slot)

    parts = [plate(1.0, 0, 'edge'), plate(0.8, -0.012, 'face'), plate(1.0, 0.012, 'back')]
    low, high = outline.min(0), outline.max(0)
    mid, size = (low + high) / 2, (high - low) * ((0.6, 0.5) if shape == 'guide' else (0.34, 0.4))
    corners = [[mid[0] + x * size[0], mid[1] + y * size[1], -0.02] for x, y in
               ((-0.5, 0.5), (0.5, 0.5), (0.5, -0.5), (-0.5, -0.5))]  # fmt: skip
    parts.append(quads([corners], 'mark', np.array([[[0, 0], [0.7, 0], [0.7, 0.45], [0, 0.45]]])))
    return merged(parts)


_PIECES = {
    'bin': [limb((0, 0, 0), (0, 0.95, 0), (0.25, 0.28), 'paint', 8, closed=True)],
    'bench': [
        *(box((0.45, 0.45, 0.08), (0, 0, z), 'metal') for z in (-0.7, 0.7)),
        box((0.5, 0.06, 1.8), (0, 0.45, 0), 'wood'),
        box((0.06, 0.4, 1.8), (0.25, 0.5, 0), 'wood'),
    ],
    'cabinet': [box((0.5, 1.3, 1.0), (0, 0, 0), 'paint')],
    'kiosk': [
        box((1.8, 2.3, 2.4), (0.9, 0, 0), 'paint'),
        box((2.4, 0.2, 2.8), (0.8, 2.3, 0), 'roof'),
        box((0.06, 1.1, 2.0), (-0.02, 0.9, 0), 'board', tile=1.2),
    ],
    'crates': [
        box((0.55, 0.5, 0.6), (0, 0, 0.9), 'wood'),
        box((0.55, 0.5, 0.6), (0.1, 0, -0.2), 'paint'),
        box((0.55, 0.5, 0.6), (0, 0.5, 0.4), 'wood'),
        box((0.55, 0.5, 0.6), (0.6, 0, 0.4), 'paint'),
    ],
    'cone': [
        box((0.36, 0.04, 0.36), (0, 0, 0), 'metal'),
        limb((0, 0.04, 0), (0, 0.7, 0), (0.15, 0.03), 'orange', 8),
    ],
    'barrier': [
        box((0.05, 0.25, 1.8), (0, 0.75, 0), 'orange'),
        *(box((0.5, 0.95, 0.06), (0, 0, z), 'metal') for z in (0.8, -0.8)),
    ],
    'hydrant': [limb((0, 0, 0), (0, 0.75, 0), (0.13, 0.11), 'orange', 8, closed=True)],
}
FURNITURE = [merged(parts) for parts in _PIECES.values()]
"""Pieces of street furniture."""
