# SPDX-License-Identifier: Apache-2.0
"""Roadside of a street: posts, signs, furniture, trees, buildings and boundaries of lots."""

import numpy as np

from mtl_perception.labels import ids
from mtl_perception.synthetic import paint, surroundings
from mtl_perception.synthetic.street import Side, Street, Stretch
from mtl_perception.synthetic.things import Thing

STATIC, BUILDING, WALL, FENCE, POLE = ids('static', 'building', 'wall', 'fence', 'pole')
LIGHT, SIGN, VEGETATION = ids('traffic light', 'traffic sign', 'vegetation')


def line_kerb(street: Street, side: Side, block: Stretch) -> None:
    """Add lamp posts, trees, signs, furniture and bollards along the kerb."""
    random, style = street.random, street.style
    first, last = block
    poles, post_style = paint.pole(random), random.randrange(4)
    inward = 0.0 if side.sign < 0 else np.pi
    for along in street.steps(first, last, random.uniform(18, 34)):
        post = surroundings.lamp_post(post_style)
        street.add(post, poles, POLE, along, side.sign * street.edge, street.kerb, inward)
    kind = random.choice(('round', 'round', 'round', 'tall', 'bare', 'palm', 'conifer'))
    for along in street.scatter(first, last, style.green):
        right = side.sign * (street.half_width + (side.verge / 2 if side.verge else 0.9))
        _tree(street, kind, along, right, random.uniform(0.6, 1.15))
    for along in street.scatter(first, last, 0.018):
        _post_sign(street, side, along, side.sign * (street.edge + random.uniform(-0.1, 0.5)))
    for along in street.scatter(first, last, style.clutter):
        piece = random.choice(surroundings.FURNITURE)
        right = side.sign * (street.edge + random.uniform(0, max(0.5, side.walk)))
        turn = inward + np.pi + random.gauss(0, 0.1)
        street.add(piece, paint.furniture(random), STATIC, along, right, street.kerb, turn)
    if random.random() < 0.25:
        pole = surroundings.plain_pole(1.0, 0.07)
        palette = paint.pole(random)
        for along in street.steps(first, last, random.uniform(1.5, 3)):
            if along < 60:
                right = side.sign * (street.edge - 0.2)
                street.add(pole, palette, POLE, along, right, street.kerb)


def fill_lots(street: Street, side: Side, block: Stretch) -> None:
    """Add buildings and open lots with their boundaries along the road."""
    random, style = street.random, street.style
    along, last = block[0] + 1.0, block[1] - 1.0
    turn = np.pi if side.sign < 0 else 0.0
    while along < min(last, street.last):
        if random.random() < style.built:
            is_block = random.random() < style.block
            variants = surroundings.BLOCKS if is_block else surroundings.HOUSES
            mesh, width, _ = surroundings.building(is_block, random.randrange(variants))
            scale = random.uniform(0.85, 1.15)
            back = side.setback + random.choice((0, 0, 0, random.uniform(0, 3)))
            middle = along + width * scale / 2
            if middle + width * scale / 2 > last + 2 and along > block[0] + 5:
                break
            palette = paint.building(random)
            street.add(mesh, palette, BUILDING, middle, side.sign * (side.front + back), 0.0, turn,
                       (scale, scale * random.uniform(0.85, 1.2), scale))  # fmt: skip
            length = width * scale
            if side.setback > 2.5:
                stretch = (along, along + length)
                _bound(street, stretch, side.sign * side.front, side.bounds, side.fittings)
                _garden(street, side, stretch)
            along += length + (random.uniform(2, 9) if not is_block else random.choice((0, 0, 3)))
        else:
            length = random.uniform(8, 26)
            _open_lot(street, side, (along, along + length))
            along += length


def furnish_crossing(street: Street, side: Side, gap: Stretch) -> None:
    """Add traffic lights at the corners of a crossing, unless it has none."""
    random = street.random
    if random.random() < 0.25:
        return
    right = side.sign * (street.half_width + 0.6)
    poles, lights = paint.pole(random), paint.traffic_light(random)
    for along, faces_us in ((gap[0] - 1.5, True), (gap[1] + 1.5, False)):
        lit = random.randrange(3)
        turn = 0.0 if faces_us else np.pi
        head = surroundings.traffic_light(lit)
        back = 0.16 if not faces_us else -0.16
        x, z, heading = street.road.at(along, right)
        if random.random() < 0.35:
            reach = min(street.half_width, 6.0)
            arm = surroundings.gantry(reach)
            inward = np.pi if side.sign > 0 else 0.0
            street.add(arm, poles, POLE, along, right, street.kerb, inward)
            over = right - side.sign * (reach - 0.2)
            top_x, top_z, _ = street.road.at(along, over)
            spot = (top_x, 4.75 + street.kerb, top_z + back)
            street.static.append(Thing(head, lights, LIGHT, LIGHT, spot, heading + turn))
        else:
            street.add(surroundings.plain_pole(3.4, 0.07), poles, POLE, along, right, street.kerb)
        spot = (x, 2.4 + street.kerb, z + back)
        street.static.append(Thing(head, lights, LIGHT, LIGHT, spot, heading + turn))


def close_view(street: Street) -> None:
    """Add trees and buildings behind the lots and across the end of the street."""
    random = street.random
    for along in street.scatter(0, street.last, 0.08):
        right = random.choice((-1, 1)) * (street.half_width + random.uniform(24, 60))
        if random.random() < 0.6:
            _tree(street, 'round', along, right, random.uniform(0.9, 1.8))
        else:
            _far_building(street, along, right)
    for right in range(-90, 91, 14):
        if random.random() < 0.55:
            along = street.last + random.uniform(0, 30)
            _tree(street, 'round', along, right, random.uniform(0.9, 1.9))
        elif random.random() < 0.6:
            _far_building(street, street.last + random.uniform(0, 30), right)


def _post_sign(street: Street, side: Side, along: float, right: float) -> None:
    random = street.random
    shape, palette = paint.sign(random)
    height = random.uniform(1.9, 2.6)
    ahead = (side.sign > 0) == street.keeps_right
    turn = (0.0 if ahead else np.pi) + random.gauss(0, 0.12)
    x, z, heading = street.road.at(along, right)
    pole = surroundings.plain_pole(3.2, 0.04)
    scale = (1, (height + 0.7) / 3.2, 1)
    street.add(pole, paint.pole(random), POLE, along, right, street.kerb, 0, scale)
    offset = -0.06 if ahead else 0.06
    spot = (x, height + street.kerb, z + offset)
    mesh = surroundings.sign(shape)
    street.static.append(Thing(mesh, palette, SIGN, SIGN, spot, heading + turn))


def _bound(
    street: Street, stretch: Stretch, right: float, kind: str, palette: paint.Palette
) -> None:
    random = street.random
    if kind == 'none' or random.random() < 0.15:
        return
    height = random.uniform(0.8, 2.0)
    capped = random.random() < 0.5
    plants = paint.plant(random, street.leaf)
    for along in np.arange(stretch[0] + 2, stretch[1] - 1, 4.0).tolist():
        if kind == 'hedge':
            mesh = surroundings.hedge(random.randrange(4))
            street.add(mesh, plants, VEGETATION, along, right, 0, 0, (1, height / 1.3, 1))
        elif kind == 'wall':
            mesh = surroundings.wall(capped)
            street.add(mesh, palette, WALL, along, right, 0, 0, (1, height, 1))
        else:
            street.add(surroundings.fence(), palette, FENCE, along, right, 0, 0, (1, height, 1))


def _garden(street: Street, side: Side, stretch: Stretch) -> None:
    random = street.random
    for along in street.scatter(*stretch, 0.12):
        right = side.sign * (side.front + random.uniform(0.8, max(1.0, side.setback - 1)))
        template = surroundings.bush(random.randrange(surroundings.BUSHES))
        palette = paint.plant(random, street.leaf)
        street.add(template, palette, VEGETATION, along, right, 0, 0, random.uniform(0.6, 1.4))


def _open_lot(street: Street, side: Side, stretch: Stretch) -> None:
    random = street.random
    kind = side.bounds
    if kind == 'none':
        kind = random.choice(('wall', 'fence', 'none', 'none'))
    _bound(street, stretch, side.sign * (side.front + 0.2), kind, side.fittings)
    for along in street.scatter(*stretch, max(0.08, street.style.wild)):
        far = random.uniform(1.5, 22)
        sort = random.choice(('round', 'round', 'round', 'tall', 'conifer'))
        right = side.sign * (side.front + far)
        _tree(street, sort, along, right, random.uniform(0.5, 1.3))
    for along in street.scatter(*stretch, street.style.wild * 1.5):
        template = surroundings.bush(random.randrange(surroundings.BUSHES))
        right = side.sign * (side.front + random.uniform(0.8, 8))
        scale = random.uniform(0.6, 2.0)
        palette = paint.plant(random, street.leaf)
        street.add(template, palette, VEGETATION, along, right, 0, 0, scale)


def _tree(street: Street, kind: str, along: float, right: float, scale: float) -> None:
    template = surroundings.tree(kind, street.random.randrange(surroundings.TREES))
    stretch = (scale * street.random.uniform(0.85, 1.2), scale, scale)
    turn = street.random.uniform(0, 6.3)
    palette = paint.plant(street.random, street.leaf)
    street.add(template, palette, VEGETATION, along, right, 0.0, turn, stretch)


def _far_building(street: Street, along: float, right: float) -> None:
    random = street.random
    mesh, _, _ = surroundings.building(True, random.randrange(surroundings.BLOCKS))
    turn = random.choice((0, np.pi / 2, np.pi))
    street.add(mesh, paint.building(random), BUILDING, along, right, 0, turn)
