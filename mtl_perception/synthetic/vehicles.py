# SPDX-License-Identifier: Apache-2.0
"""Templates of cars, trucks, buses, motorcycles and bicycles, centred on the ground.

Positions along a vehicle are fractions from the front bumper (0) to the rear (1); heights are
fractions of the height of the vehicle.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from mtl_perception.synthetic.mesh import Mesh, box, disc, hoop, limb, merged, panel, quads

_Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """Side view and windows of a car, van, truck cab or bus.

    Attributes:
        size: Width, height and length in metres.
        clearance: Metres below the body.
        front: Outline from the front bumper over the bonnet to the belt line, as (along, up).
        roof: Outline over the cabin, as (along, up).
        rear: Outline from the belt line to the rear bumper, as (along, up).
        side_windows: Start and end of each window along the vehicle.
        glass: Height of the windows as a share of the height from belt line to roof.
        rear_window: Whether the rear slope of the cabin is glass.
        taper: Width of the roof relative to the body.
        wheels: Positions of the axles along the vehicle.
        wheel_radius: Radius of the wheels in metres.
    """

    size: tuple[float, float, float]
    clearance: float
    front: _Points
    roof: _Points
    rear: _Points
    side_windows: tuple[tuple[float, float], ...]
    glass: float = 0.86
    rear_window: bool = True
    taper: float = 0.78
    wheels: tuple[float, ...] = (0.19, 0.79)
    wheel_radius: float = 0.32


SHAPES = {
    'hatchback': Shape(
        (1.74, 1.48, 4.0), 0.2,
        ((0, 0.22), (0, 0.42), (0.03, 0.52), (0.22, 0.62)),
        ((0.22, 0.62), (0.41, 0.96), (0.6, 1.0), (0.86, 0.95), (0.96, 0.64)),
        ((0.96, 0.64), (1, 0.58), (1, 0.24)),
        ((0.34, 0.56), (0.58, 0.8)),
    ),
    'sedan': Shape(
        (1.8, 1.44, 4.6), 0.2,
        ((0, 0.2), (0, 0.42), (0.03, 0.52), (0.26, 0.63)),
        ((0.26, 0.63), (0.42, 0.96), (0.58, 1.0), (0.7, 0.96), (0.84, 0.66)),
        ((0.84, 0.66), (0.98, 0.64), (1, 0.55), (1, 0.24)),
        ((0.36, 0.54), (0.555, 0.74)),
    ),
    'estate': Shape(
        (1.78, 1.5, 4.6), 0.2,
        ((0, 0.2), (0, 0.42), (0.03, 0.52), (0.24, 0.62)),
        ((0.24, 0.62), (0.4, 0.96), (0.6, 1.0), (0.92, 0.95), (0.97, 0.62)),
        ((0.97, 0.62), (1, 0.58), (1, 0.24)),
        ((0.34, 0.52), (0.54, 0.72), (0.74, 0.9)),
    ),
    'suv': Shape(
        (1.88, 1.74, 4.5), 0.28,
        ((0, 0.24), (0, 0.46), (0.03, 0.56), (0.23, 0.64)),
        ((0.23, 0.64), (0.37, 0.96), (0.6, 1.0), (0.92, 0.96), (0.98, 0.64)),
        ((0.98, 0.64), (1, 0.6), (1, 0.24)),
        ((0.32, 0.52), (0.54, 0.74), (0.76, 0.9)),
        wheel_radius=0.37,
    ),
    'small': Shape(
        (1.6, 1.5, 3.5), 0.18,
        ((0, 0.2), (0, 0.44), (0.04, 0.54), (0.17, 0.62)),
        ((0.17, 0.62), (0.36, 0.95), (0.6, 1.0), (0.92, 0.96), (0.98, 0.6)),
        ((0.98, 0.6), (1, 0.55), (1, 0.22)),
        ((0.3, 0.56), (0.59, 0.86)),
        wheel_radius=0.28,
    ),
    'van': Shape(
        (1.95, 2.1, 5.0), 0.22,
        ((0, 0.16), (0, 0.34), (0.03, 0.42), (0.12, 0.52)),
        ((0.12, 0.52), (0.25, 0.94), (0.4, 1.0), (0.97, 0.99), (0.99, 0.5)),
        ((0.99, 0.5), (1, 0.46), (1, 0.16)),
        ((0.2, 0.38),),
        rear_window=False, taper=0.9, wheel_radius=0.34,
    ),
    'minibus': Shape(
        (1.9, 1.95, 4.8), 0.22,
        ((0, 0.18), (0, 0.36), (0.03, 0.44), (0.13, 0.52)),
        ((0.13, 0.52), (0.27, 0.94), (0.42, 1.0), (0.95, 0.98), (0.99, 0.52)),
        ((0.99, 0.52), (1, 0.48), (1, 0.16)),
        ((0.22, 0.4), (0.43, 0.65), (0.68, 0.93)),
        taper=0.88, wheel_radius=0.33,
    ),
    'pickup cab': Shape(
        (1.85, 1.75, 5.2), 0.3,
        ((0, 0.26), (0, 0.48), (0.03, 0.56), (0.22, 0.62)),
        ((0.22, 0.62), (0.33, 0.96), (0.42, 1.0), (0.54, 0.97), (0.58, 0.62)),
        ((0.58, 0.62), (0.59, 0.5), (0.99, 0.5), (1, 0.5), (1, 0.28)),
        ((0.29, 0.4), (0.42, 0.54)),
        wheel_radius=0.38,
    ),
    'light cab': Shape(
        (2.0, 2.25, 2.1), 0.35,
        ((0, 0.16), (0, 0.46), (0.06, 0.55)),
        ((0.06, 0.55), (0.3, 0.95), (0.5, 1.0), (0.96, 0.98), (1, 0.55)),
        ((1, 0.55), (1, 0.16)),
        ((0.3, 0.85),),
        rear_window=False, taper=0.9, wheels=(0.45,), wheel_radius=0.4,
    ),
    'heavy cab': Shape(
        (2.45, 2.95, 2.2), 0.45,
        ((0, 0.14), (0, 0.5)),
        ((0, 0.5), (0.05, 0.86), (0.2, 1.0), (0.98, 1.0), (1, 0.5)),
        ((1, 0.5), (1, 0.14)),
        ((0.16, 0.72),),
        glass=0.62, rear_window=False, taper=0.97, wheels=(0.55,), wheel_radius=0.5,
    ),
    'city bus': Shape(
        (2.5, 3.0, 11.5), 0.3,
        ((0, 0.1), (0, 0.36)),
        ((0, 0.36), (0.012, 0.9), (0.03, 1.0), (0.98, 1.0), (0.997, 0.9), (1, 0.4)),
        ((1, 0.4), (1, 0.1)),
        ((0.03, 0.1), (0.115, 0.24), (0.25, 0.37), (0.38, 0.42), (0.43, 0.56), (0.57, 0.7),
         (0.71, 0.83), (0.84, 0.95)),
        glass=0.74, taper=0.96, wheels=(0.22, 0.74), wheel_radius=0.5,
    ),
    'old bus': Shape(
        (2.45, 3.1, 9.5), 0.5,
        ((0, 0.14), (0, 0.5)),
        ((0, 0.5), (0.015, 0.86), (0.04, 0.97), (0.5, 1.0), (0.97, 0.97), (1, 0.85), (1, 0.5)),
        ((1, 0.5), (1, 0.14)),
        ((0.08, 0.17), (0.185, 0.275), (0.29, 0.38), (0.395, 0.485), (0.5, 0.59), (0.605, 0.695),
         (0.71, 0.8), (0.815, 0.93)),
        glass=0.6, taper=0.95, wheels=(0.2, 0.72), wheel_radius=0.52,
    ),
}  # fmt: skip
"""Shapes with typical dimensions."""

CARS = ('hatchback', 'sedan', 'estate', 'suv', 'small', 'van', 'minibus')
TRUCKS = ('box truck', 'heavy truck', 'tarpaulin', 'tipper', 'tanker', 'pickup')
BUSES = ('city bus', 'old bus', 'double decker')

_LOADS = {
    'box truck': ('light cab', (2.1, 2.2, 4.0), 'cargo'),
    'heavy truck': ('heavy cab', (2.5, 2.7, 6.5), 'cargo'),
    'tarpaulin': ('heavy cab', (2.45, 2.3, 5.5), 'tarpaulin'),
    'tipper': ('heavy cab', (2.4, 1.2, 4.6), 'tipper'),
    'tanker': ('heavy cab', (2.3, 2.0, 6.5), 'tank'),
}
"""Cab, size of the load (width, height, length in metres) and kind of load of each truck."""


def length_of(kind: str) -> float:
    """Return the length of a car, truck or bus in metres."""
    if kind in _LOADS:
        cab, load, _ = _LOADS[kind]
        return SHAPES[cab].size[2] + 0.15 + load[2]
    return SHAPES[{'pickup': 'pickup cab', 'double decker': 'city bus'}.get(kind, kind)].size[2]


@lru_cache(maxsize=64)
def vehicle(kind: str) -> Mesh:
    """Return a car, truck or bus."""
    if kind in _LOADS:
        return _truck(*_LOADS[kind])
    if kind == 'double decker':
        lower = _shaped(SHAPES['city bus'])
        upper = _shaped(SHAPES['city bus'], wheels=False).placed((0, 1.25, 0))
        return merged([lower, upper])
    return _shaped(SHAPES['pickup cab' if kind == 'pickup' else kind])


def _shaped(shape: Shape, wheels: bool = True) -> Mesh:
    parts = [*_body(shape), *_cabin(shape), *_ends(shape)]
    if wheels:
        width, _, length = shape.size
        for along in shape.wheels:
            parts += _wheel_pair(width / 2, (0.5 - along) * length, shape.wheel_radius)
    return merged(parts)


def _body(shape: Shape) -> list[Mesh]:
    """Return the lower body: two bands on each side, a top, a dark floor and sills."""
    width, height, length = shape.size
    belt = shape.roof[0], shape.roof[-1]
    outline = np.array([*shape.front, *belt, *shape.rear])
    along, top = outline[:, 0], outline[:, 1] * height
    z = (0.5 - along) * length
    ends = np.clip(np.minimum(along, 1 - along) / 0.08, 0, 1)
    half = width / 2 * (0.86 + 0.14 * np.sqrt(ends))
    bottom = np.full_like(z, shape.clearance)
    levels = [(bottom, 0.95), (0.45 * bottom + 0.55 * top, 1.0), (top, 0.95)]
    parts = []
    for (low, inner), (high, outer) in pairwise(levels):
        for side in (-1, 1):
            lower = np.stack([side * half * inner, np.minimum(low, top), z], 1)
            upper = np.stack([side * half * outer, np.minimum(high, top), z], 1)
            parts.append(_strip(lower, upper, 'body'))
    left = np.stack([-half * 0.95, top, z], 1)
    parts.append(_strip(left, left * [-1, 1, 1], 'body'))
    floor = np.stack([-half * 0.95, bottom, z], 1)
    parts.append(_strip(floor, floor * [-1, 1, 1], 'dark'))
    sill = np.array([[x * 0.955, y, s] for x, y, s in ((1, 0, 0.42), (1, 0, -0.42))])
    sill = sill * [width / 2, 1, length] + [0.012, shape.clearance, 0]
    skirt = sill + np.array((0, 0.1, 0))
    parts += [_strip(sill * [s, 1, 1], skirt * [s, 1, 1], 'trim') for s in (-1, 1)]
    return parts


def _cabin(shape: Shape) -> list[Mesh]:
    width, height, length = shape.size
    outline = np.array(shape.roof)
    belt = np.interp(outline[:, 0], outline[[0, -1], 0], outline[[0, -1], 1])
    roof = outline[:, 1].max()

    def half(up: np.ndarray) -> np.ndarray:
        share = np.clip((up - belt.min()) / (roof - belt.min()), 0, 1)
        return width / 2 * (0.93 + (shape.taper - 0.93) * share)

    def points(along: np.ndarray, up: np.ndarray, out: float = 0.0) -> np.ndarray:
        return np.stack([half(up) + out, up * height, (0.5 - along) * length], 1)

    rim, foot = points(*outline.T), points(outline[:, 0], belt)
    mirror = np.array([-1, 1, 1])
    parts = [_strip(rim * mirror, rim, 'body')]
    parts += [_strip(foot * side, rim * side, 'body') for side in (mirror, 1)]
    for first, last in shape.side_windows:
        along = np.array([first, *[p for p in outline[:, 0] if first < p < last], last])
        line = np.interp(along, *outline.T)
        low = np.interp(along, outline[:, 0], belt) + 0.02
        high = np.maximum(low + shape.glass * (line - low), low)
        window = np.concatenate([points(along, low, 0.012), points(along, high, 0.012)[::-1]])
        parts += [panel(window * side, 'glass') for side in (mirror, 1)]
    slopes = [(rim[0], rim[1], 0.06)]
    if shape.rear_window:
        slopes.append((rim[-1], rim[-2], -0.06))
    for low, high, out in slopes:
        parts.append(_slope_glass(low, high, np.sign(out) * 0.02))
    return parts


def _slope_glass(low: np.ndarray, high: np.ndarray, out: float) -> Mesh:
    """Return a windscreen slightly in front of the slope from ``low`` to ``high``."""
    bottom, top = low + 0.1 * (high - low), low + 0.92 * (high - low)
    left, right, shift = np.array((-0.92, 1, 1)), np.array((0.92, 1, 1)), np.array((0, 0.01, out))
    corners = np.array([bottom * left, bottom * right, top * right, top * left])
    return panel(corners + shift, 'glass')


def _ends(shape: Shape) -> list[Mesh]:
    """Return lamps, plates, grille, bumpers and mirrors."""
    width, height, length = shape.size
    parts = []
    ends = ((1, shape.front, 'lamp', 0.66, 0.93), (-1, shape.rear, 'tail', 0.74, 0.97))
    for sign, outline, lamp, inner, outer in ends:
        top = max(up for along, up in outline if along in (0, 1)) * height
        low = shape.clearance

        def patch(left, right, bottom, up, slot, z=sign * (length / 2 + 0.015)):
            corners = [[left, bottom, z], [right, bottom, z], [right, up, z], [left, up, z]]
            return quads([np.array(corners) * [width / 2 * 0.86, 1, 1]], slot)

        span = top - low
        parts += [
            patch(-1, 1, low, low + 0.3 * span, 'trim'),
            patch(-0.3, 0.3, low + 0.36 * span, low + 0.36 * span + 0.12, 'plate'),
            patch(inner, outer, top - 0.42 * span, top - 0.08 * span, lamp),
            patch(-outer, -inner, top - 0.42 * span, top - 0.08 * span, lamp),
        ]
        if sign == 1:
            parts.append(patch(-0.6, 0.6, top - 0.34 * span, top - 0.12 * span, 'trim'))
    mirror_z, mirror_y = (0.5 - shape.roof[0][0] - 0.1) * length, shape.roof[0][1] * height
    for side in (-1, 1):
        parts.append(
            box((0.18, 0.14, 0.1), (side * (width / 2 + 0.04), mirror_y, mirror_z), 'body')
        )
    return parts


def _wheel_pair(half: float, z: float, radius: float) -> list[Mesh]:
    parts = []
    for side in (-1, 1):
        outer = side * (half + 0.005)
        inner = side * (half - 0.22)
        parts += [
            disc((outer, radius * 1.02, z), radius * 1.16, 'dark', 10),
            limb((inner, radius, z), (outer, radius, z), (radius, radius), 'tyre', 10),
            disc((outer + side * 0.012, radius, z), radius, 'tyre', 12),
            disc((outer + side * 0.02, radius, z), radius * 0.64, 'rim', 10),
            disc((outer + side * 0.028, radius, z), radius * 0.2, 'trim', 5),
        ]
    return parts


def _truck(cab: str, load: tuple[float, float, float], build: str) -> Mesh:
    shape = SHAPES[cab]
    cab_length = shape.size[2]
    total = cab_length + 0.15 + load[2]
    parts = [_shaped(shape).placed((0, 0, (total - cab_length) / 2))]
    deck = shape.clearance + shape.wheel_radius + 0.2
    middle = -(total - load[2]) / 2
    parts.append(box((1.0, 0.3, total - 0.6), (0, deck - 0.3, -0.2), 'dark'))
    for share in (0.3, 0.16) if cab == 'heavy cab' else (0.25,):
        z = middle - load[2] / 2 + share * load[2] * 1.2
        parts += _wheel_pair(load[0] / 2 - 0.05, z, shape.wheel_radius)
    parts += _load(build, load, deck, middle)
    rear = middle - load[2] / 2 - 0.02
    for x in (-0.42, 0.42):
        size = (0.3, 0.14, 0.04)
        parts.append(box(size, (x * load[0], deck - 0.2, rear), 'tail'))
    parts.append(box((0.5, 0.12, 0.04), (0, deck - 0.2, rear), 'plate'))
    parts.append(box((load[0], 0.1, 0.08), (0, deck - 0.42, rear + 0.05), 'trim'))
    return merged(parts)


def _load(build: str, size: tuple[float, float, float], deck: float, z: float) -> list[Mesh]:
    width, height, length = size
    if build == 'tank':
        radius = width / 2
        start, end = (0, deck + radius, z - length / 2), (0, deck + radius, z + length / 2)
        tank = limb(start, end, (radius, radius), 'cargo', 14, closed=True)
        return [tank, box((0.8, 0.3, length), (0, deck - 0.05, z), 'trim')]
    if build == 'tipper':
        heap = box((width * 0.9, 0.35, length * 0.9), (0, deck + height, z), 'heap', top=0.5)
        return [box(size, (0, deck, z), 'cargo', top=1.04), heap]
    parts = [box(size, (0, deck, z), 'cargo', tile=2.5)]
    if build == 'tarpaulin':
        boards = (width + 0.03, 0.5, length + 0.03)
        parts.append(box(boards, (0, deck, z), 'stripe', tile=0.5))
    else:
        band = (width + 0.02, height * 0.28, length * 0.7)
        parts.append(box(band, (0, deck + height * 0.4, z), 'stripe', tile=2.5))
        line = np.array([[-0.01, 0, 0], [0.01, 0, 0], [0.01, height, 0], [-0.01, height, 0]])
        doors = line + np.array((0, deck, z - length / 2 - 0.01))
        parts.append(quads([doors], 'dark'))
    return parts


@lru_cache(maxsize=4)
def motorcycle(scooter: bool) -> Mesh:
    """Return a motorcycle or a scooter 2 m long, without a rider."""
    radius = 0.24 if scooter else 0.31
    front, rear = 0.66, -0.62
    parts = []
    for z in (front, rear):
        parts += [
            hoop((0, radius, z), radius, 0.11, 'tyre', 10),
            disc((0, radius, z), radius * 0.66, 'metal'),
        ]
    parts += [
        limb((0, radius, front), (0, 0.98, front - 0.3), (0.05, 0.05), 'metal'),
        limb((-0.34, 1.02, front - 0.4), (0.34, 1.02, front - 0.4), (0.025, 0.025), 'trim'),
        limb((0, 0.86, front - 0.22), (0, 0.86, front - 0.1), (0.06, 0.1), 'lamp', closed=True),
        limb(
            (0, 0.72, -0.1), (0, 0.68, rear - 0.15), (0.13, 0.1), 'seat', flatness=0.6, closed=True
        ),
        box((0.2, 0.14, 0.06), (0, 0.62, rear - 0.28), 'tail'),
        box((0.2, 0.12, 0.02), (0, 0.46, rear - 0.32), 'plate'),
    ]
    if scooter:
        parts += [
            box((0.36, 0.6, 0.08), (0, 0.3, front - 0.28), 'body', top=0.8),
            box((0.3, 0.06, 0.5), (0, 0.25, 0.15), 'body'),
            box((0.34, 0.42, 0.7), (0, 0.26, -0.42), 'body', top=0.75),
        ]
    else:
        parts += [
            box((0.34, 0.34, 0.5), (0, 0.28, 0.05), 'metal'),
            limb((0, 0.8, 0.32), (0, 0.76, -0.1), (0.17, 0.13), 'body', closed=True),
            limb((0, 0.6, -0.1), (0, 0.62, rear - 0.1), (0.12, 0.1), 'body'),
            limb((0.16, 0.3, 0.0), (0.16, 0.36, rear - 0.1), (0.05, 0.06), 'metal'),
        ]
    return merged(parts)


@lru_cache(maxsize=1)
def bicycle() -> Mesh:
    """Return a bicycle 1.75 m long, without a rider."""
    radius, front, rear = 0.34, 0.52, -0.5
    hub_front, hub_rear = (0, radius, front), (0, radius, rear)
    crank, seat, head = (0, 0.3, -0.05), (0, 0.82, -0.2), (0, 0.8, 0.36)
    tubes = (
        (crank, seat), (crank, head), (seat, head), (seat, hub_rear), (crank, hub_rear),
        (head, hub_front), ((0, 0.8, 0.36), (0, 0.98, 0.32)),
    )  # fmt: skip
    parts = [limb(a, b, (0.024, 0.024), 'body', 4) for a, b in tubes]
    for hub in (hub_front, hub_rear):
        parts.append(hoop(hub, radius, 0.045, 'tyre', 14))
        for angle in np.arange(4) * np.pi / 4:
            spoke = np.array([0, np.cos(angle), np.sin(angle)]) * (radius - 0.03)
            parts.append(limb(spoke + hub, np.asarray(hub) - spoke, (0.006, 0.006), 'metal', 3))
    parts += [
        limb((-0.28, 1.0, 0.26), (0.28, 1.0, 0.26), (0.018, 0.018), 'trim', 5),
        limb((0, 0.9, -0.08), (0, 0.9, -0.34), (0.05, 0.09), 'seat', flatness=0.5),
        limb((-0.12, 0.2, -0.05), (0.12, 0.4, -0.05), (0.02, 0.02), 'trim', 4),
        box((0.05, 0.05, 0.03), (0, 0.6, -0.5), 'tail'),
    ]
    return merged(parts)


def _strip(one: np.ndarray, other: np.ndarray, slot: str) -> Mesh:
    """Return the quads between two polylines, without degenerate ones."""
    corners = np.stack([one[:-1], one[1:], other[1:], other[:-1]], 1)
    diagonals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    return quads(corners[np.linalg.norm(diagonals, axis=1) > 1e-4], slot)
