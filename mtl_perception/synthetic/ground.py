# SPDX-License-Identifier: Apache-2.0
"""Ground of a street: road, crossings, kerbs, sidewalks, verges and open ground."""

import numpy as np

from mtl_perception.labels import ids
from mtl_perception.synthetic import paint
from mtl_perception.synthetic.mesh import Mesh, quads
from mtl_perception.synthetic.rendering import Material
from mtl_perception.synthetic.street import Side, Street, Stretch
from mtl_perception.synthetic.things import Thing

ROAD, SIDEWALK, TERRAIN = ids('road', 'sidewalk', 'terrain')

UNDERLAP = 0.3
"""Metres by which the road extends below its borders, to avoid cracks between them."""

UP = np.array((0.0, 1.0, 0.0))

DECAL = 1e-5
"""Relative gain in the depth test of each layer of coplanar ground."""


def lay_road(street: Street) -> None:
    """Add the road and the roads that cross it."""
    asphalt = street.paints['road']
    beneath = street.half_width + UNDERLAP
    lay_band(street, (street.first, street.last + 60), -beneath, beneath, asphalt, ROAD, tile=3.0)
    for first, last in street.gaps:
        for sign in (-1, 1):
            left, right = sorted((sign * street.half_width, sign * 70.0))
            stretch = (first - UNDERLAP, last + UNDERLAP)
            lay_band(street, stretch, left, right, asphalt, ROAD, tile=3.0)


def lay_side(street: Street, side: Side, block: Stretch) -> None:
    """Add the kerb, the verge, the sidewalk and the ground of the lots."""
    random = street.random
    walk, grown = street.paints['walk'], street.paints['grown']
    bands = []
    if side.verge:
        bands.append((side.verge, grown, TERRAIN))
    if side.walk:
        bands.append((side.walk, walk, SIDEWALK))
    bands.append((90.0, walk, SIDEWALK) if side.paved else (90.0, grown, TERRAIN))
    kerb = street.kerb if side.walk or random.random() < 0.5 else 0.0
    tone = random.uniform(0.15, 0.5)
    stone = Material((tone, tone, tone), paint.texture(random, 'rough'))
    label = SIDEWALK if side.walk and not side.verge else bands[0][2]
    if kerb:
        _kerb_face(street, side, block, kerb, stone, label)
    near = street.half_width
    for layer, (width, material, band_label) in enumerate(bands, 1):
        left, right = sorted((side.sign * near, side.sign * (street.half_width + 95)))
        lay_band(street, block, left, right, material, band_label, kerb, 2.4, layer)
        near += width
    if kerb:
        left, right = sorted(
            (side.sign * street.half_width, side.sign * (street.half_width + 0.16))
        )
        lay_band(street, block, left, right, stone, label, kerb, layer=len(bands) + 1)


def lay_band(
    street: Street,
    stretch: Stretch,
    left: float,
    right: float,
    material: Material,
    label: int,
    up: float = 0.0,
    tile: float = 4.0,
    layer: int = 0,
) -> None:
    """Add a band of ground; its edges are in metres to the right of the centre line.

    A coplanar band of a higher ``layer`` covers the lower ones.
    """
    first, last = stretch
    step = 5.0 if street.road.curvature else 60.0
    along = np.linspace(first, last, max(2, int((last - first) / step) + 1))
    one, other = street.road.points(along, left, up), street.road.points(along, right, up)
    corners = np.stack([one[:-1], one[1:], other[1:], other[:-1]], 1)
    v = along / tile
    low, high = np.full_like(v, left / tile), np.full_like(v, right / tile)
    sides = np.stack([low, v], 1), np.stack([high, v], 1)
    uv = np.stack([sides[0][:-1], sides[0][1:], sides[1][1:], sides[1][:-1]], 1)
    lay(street, level(corners, uv), material, label, layer)


def level(corners: np.ndarray, uv: np.ndarray | None = None) -> Mesh:
    """Return ``(N, 4, 3)`` quads that face upwards; the default texture tile is 4 m wide."""
    return quads(corners, 'ground', uv, np.broadcast_to(UP, corners.shape), tile=4.0)


def lay(street: Street, mesh: Mesh, material: Material, label: int, layer: int = 0) -> None:
    """Add a mesh in world coordinates with the single slot ``ground``."""
    palette = {'ground': material}
    street.static.append(Thing(mesh, palette, label, label, ground=True, bias=layer * DECAL))


def _kerb_face(
    street: Street, side: Side, block: Stretch, height: float, stone: Material, label: int
) -> None:
    first, last = block
    along = np.linspace(first, last, max(2, int((last - first) / 5) + 1))
    low = street.road.points(along, side.sign * street.half_width, 0.0)
    high = low + np.array((0, height, 0))
    corners = [np.stack([low[:-1], low[1:], high[1:], high[:-1]], 1)]
    for end in (first, last):
        points = [street.road.at(end, side.sign * (street.half_width + d)) for d in (0, 90)]
        (x0, z0, _), (x1, z1, _) = points
        corners.append(np.array([[[x0, 0, z0], [x1, 0, z1], [x1, height, z1], [x0, height, z0]]]))
    lay(street, quads(np.concatenate(corners), 'ground'), stone, label)
