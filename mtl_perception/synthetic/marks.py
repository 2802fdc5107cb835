# SPDX-License-Identifier: Apache-2.0
"""Road marks: lines, zebra crossings, stop lines and arrows."""

import numpy as np

from mtl_perception.synthetic import paint
from mtl_perception.synthetic.ground import ROAD, lay, lay_band, level
from mtl_perception.synthetic.mesh import merged, panel, quads
from mtl_perception.synthetic.rendering import Material
from mtl_perception.synthetic.street import Street, Stretch


def paint_road(street: Street) -> None:
    """Add the road marks, unless the street has none."""
    random = street.random
    if random.random() > street.style.marked:
        return
    tone = random.uniform(0.35, 0.8)
    white = Material((tone, tone, tone), paint.texture(random, 'rough'), macro=0.5)
    yellow = Material((tone, tone * 0.62, tone * 0.08), white.layer, macro=0.5)
    middle = random.choice((white, white, yellow))
    _lines(street, middle, white)
    for first, last in street.gaps:
        for stop, inward in ((first, 1), (last, -1)):
            if random.random() < 0.55:
                _zebra(street, stop - inward * 3.0, white)
            half = street.half_width - street.parking
            edges = (0.0, half) if (inward == 1) == street.keeps_right else (-half, 0.0)
            line = stop - inward * 5.2
            lay_band(street, (line - 0.2, line + 0.2), *edges, white, ROAD, layer=1)
    _arrows(street, white)


def _lines(street: Street, middle: Material, white: Material) -> None:
    """Add the centre line, lane lines and edge lines of each block."""
    random = street.random
    width = random.uniform(0.1, 0.18)
    dash, gap = random.choice(((3, 6), (3, 3), (2, 4), (6, 6)))
    solid_edge, double = random.random() < 0.6, random.random() < 0.3
    for first, last in street.blocks():
        stretch = (first + 3, last - 3)
        if stretch[1] - stretch[0] < 6:
            continue
        if double:
            for shift in (-0.13, 0.13):
                _line(street, stretch, shift, width, middle)
        else:
            _dashes(street, stretch, 0.0, width, dash, gap, middle)
        for lane in range(1, street.lanes):
            for sign in (-1, 1):
                _dashes(street, stretch, sign * lane * street.lane_width, width, dash, gap, white)
        if solid_edge:
            edge = street.half_width - street.parking - 0.25
            for sign in (-1, 1):
                _line(street, stretch, sign * edge, width, white)


def _line(
    street: Street, stretch: Stretch, centre: float, width: float, material: Material
) -> None:
    lay_band(street, stretch, centre - width / 2, centre + width / 2, material, ROAD, layer=1)


def _dashes(
    street: Street, stretch: Stretch, right: float, width: float, dash: float, gap: float,
    material: Material,
) -> None:  # fmt: skip
    starts = np.arange(stretch[0], stretch[1] - dash, dash + gap).tolist()
    low = [street.road.at(s, right - width / 2) for s in starts]
    if not low:
        return
    headings = np.array([heading for _, _, heading in low])
    base = np.array([[x, 0, z] for x, z, _ in low])
    forward = np.stack([np.sin(headings), 0 * headings, np.cos(headings)], 1) * dash
    across = np.stack([np.cos(headings), 0 * headings, -np.sin(headings)], 1) * width
    corners = np.stack([base, base + forward, base + forward + across, base + across], 1)
    lay(street, level(corners), material, ROAD, layer=1)


def _zebra(street: Street, along: float, material: Material) -> None:
    left = np.arange(-street.half_width + 0.4, street.half_width - 0.6, 1.0)[:, None]
    right, ends = left + 0.5, np.array((along - 1.4, along + 1.4))
    one, other = street.road.points(ends, left, 0.0), street.road.points(ends, right, 0.0)
    corners = np.stack([one[:, 0], one[:, 1], other[:, 1], other[:, 0]], 1)
    across = np.concatenate([left, left, right, right], 1)
    uv = np.stack([across, np.broadcast_to(ends[[0, 1, 1, 0]], across.shape)], 2) / 4.0
    lay(street, level(corners, uv), material, ROAD, layer=2)


def _arrows(street: Street, material: Material) -> None:
    shaft = [[-0.09, 0, -1.6], [0.09, 0, -1.6], [0.09, 0, 0.5], [-0.09, 0, 0.5]]
    mesh = merged(
        [quads([shaft], 'ground'), panel([[-0.3, 0, 0.5], [0.3, 0, 0.5], [0, 0, 1.7]], 'ground')]
    )
    for first, last in street.gaps:
        for along, ahead in ((first - 12, True), (last + 12, False)):
            if street.random.random() < 0.5:
                for lane in range(street.lanes):
                    x, z, heading = street.road.at(along, street.lane_centre(lane, ahead))
                    turn = heading + (0.0 if ahead else np.pi)
                    lay(street, mesh.placed((x, 0, z), turn), material, ROAD, layer=1)
