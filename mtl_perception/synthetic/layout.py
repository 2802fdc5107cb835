# SPDX-License-Identifier: Apache-2.0
"""Layout of a street: ground, road marks, roadside objects and traffic."""

from random import Random

from mtl_perception.synthetic import ground, marks, paint, roadside, traffic
from mtl_perception.synthetic.street import Side, Street


def lay_out(random: Random, travel: float, duration: float) -> Street:
    """Return a random street for a camera that drives ``travel`` metres in ``duration`` seconds."""
    street = Street(random, travel)
    ground.lay_road(street)
    marks.paint_road(street)
    for sign in (-1, 1):
        _build_side(street, sign)
    roadside.close_view(street)
    traffic.fill_lanes(street, duration)
    return street


def _build_side(street: Street, sign: int) -> None:
    side = _side(street, sign)
    for block in street.blocks():
        ground.lay_side(street, side, block)
        roadside.line_kerb(street, side, block)
        traffic.park(street, side, block)
        roadside.fill_lots(street, side, block)
        traffic.add_pedestrians(street, side, block)
    for gap in street.gaps:
        roadside.furnish_crossing(street, side, gap)


def _side(street: Street, sign: int) -> Side:
    random, style = street.random, street.style
    walk, verge = random.uniform(*style.walk), random.uniform(*style.verge)
    walk = walk if walk >= 1 else 0.0
    verge = verge if verge >= 0.5 and walk else max(verge, 1.2) * (not walk)
    return Side(
        sign=sign,
        verge=verge,
        walk=walk,
        setback=random.uniform(*style.setback),
        front=street.half_width + verge + walk,
        paved=random.random() < style.paved,
        bounds=random.choice(('none', 'wall', 'fence', 'hedge', 'fence', 'wall')),
        fittings=paint.boundary(random),
    )
