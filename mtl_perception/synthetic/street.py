# SPDX-License-Identifier: Apache-2.0
"""Street: course, dimensions and the things placed in it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from mtl_perception.labels import INSTANCE_ID_BASE
from mtl_perception.synthetic import paint
from mtl_perception.synthetic.mesh import Mesh
from mtl_perception.synthetic.styles import STYLE_WEIGHTS, STYLES
from mtl_perception.synthetic.things import Mover, Thing

SIGHT = 190.0
"""Metres of street in front of the last camera position."""

BEHIND = 18.0
"""Metres of street behind the first camera position, for shadows and wide objects."""

Stretch = tuple[float, float]
"""Start and end of a part of a street, in metres along it."""


@dataclass(frozen=True)
class Road:
    """Arc of constant curvature (1/metres, positive to the right) that starts at the origin."""

    curvature: float

    def at(self, along: float, right: float) -> tuple[float, float, float]:
        """Return world x and z in metres and the heading of the road in radians."""
        bend = self.curvature
        if not bend:
            return right, along, 0.0
        heading = bend * along
        cos, sin = math.cos(heading), math.sin(heading)
        return (1 - cos) / bend + right * cos, sin / bend - right * sin, heading

    def points(self, along: np.ndarray, right: float | np.ndarray, up: float) -> np.ndarray:
        """Return ``(..., 3)`` world points, broadcast over ``along`` and ``right``."""
        points = np.empty((*np.broadcast(along, right).shape, 3))
        points[..., 1] = up
        bend = self.curvature
        if not bend:
            points[..., 0], points[..., 2] = right, along
            return points
        cos, sin = np.cos(bend * along), np.sin(bend * along)
        points[..., 0] = (1 - cos) / bend + right * cos
        points[..., 2] = sin / bend - right * sin
        return points


class Street:
    """Street of a random style for a camera that drives ``travel`` metres.

    Attributes:
        random: Source of all random choices in the street.
        style: Style of the street.
        first: Start in metres along the road.
        last: End in metres along the road.
        road: Course of the road.
        keeps_right: Whether traffic keeps to the right.
        lanes: Lanes in each direction.
        lane_width: Width of a lane in metres.
        parking: Metres between the lanes and the kerb.
        half_width: Metres from the centre line to the kerb.
        edge: Metres from the centre line to the posts at the kerb.
        cruise: Speed of the traffic in the lane of the camera, in metres per second.
        leaf: Mean linear colour of the leaves.
        lane: Centre of the lane of the camera, in metres to the right of the centre line.
        gaps: Stretches that belong to crossing roads.
        paints: Palette of the ground.
        kerb: Height of the kerb in metres.
        static: Things that stay in place.
        movers: Things that move.
    """

    def __init__(self, random: Random, travel: float) -> None:
        self.random = random
        name = random.choices(list(STYLE_WEIGHTS), list(STYLE_WEIGHTS.values()))[0]
        self.style = STYLES[name]
        self.first, self.last = -BEHIND, travel + SIGHT
        bend = random.choice((0, 0, 1, -1)) * random.uniform(1 / 500, 1 / 110)
        self.road = Road(max(-1.1, min(1.1, bend * self.last)) / self.last)
        self.keeps_right = random.random() < 0.5
        self.lanes = random.choice(self.style.lanes)
        self.lane_width = random.uniform(2.8, 3.7)
        self.parking = 2.3 if random.random() < self.style.parked * 1.6 else 0.0
        self.half_width = self.lanes * self.lane_width + self.parking
        self.edge = self.half_width + 0.5
        self.cruise = random.uniform(4, 9)
        self.leaf = self._leaf_color()
        self.lane = self.lane_centre(random.randrange(self.lanes), ahead=True)
        self.gaps = self._crossings()
        self.paints = paint.ground(random, self.leaf)
        self.kerb = random.choice((0.0, 0.1, 0.13, 0.16))
        self.static: list[Thing] = []
        self.movers: list[Mover] = []
        self._counts: dict[int, int] = {}

    def things(self, time: float) -> Iterator[Thing]:
        """Yield all things in the street at ``time`` in seconds."""
        yield from self.static
        for mover in self.movers:
            yield mover(time)

    def blocks(self) -> list[Stretch]:
        """Return the stretches between crossings."""
        edges = [self.first, *[edge for gap in self.gaps for edge in gap], self.last + 60]
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 1]

    def lane_centre(self, lane: int, ahead: bool) -> float:
        """Return the centre of a lane in metres to the right of the centre line, next to lane 0."""
        right = (lane + 0.5) * self.lane_width
        return right if ahead == self.keeps_right else -right

    def steps(self, first: float, last: float, step: float) -> np.ndarray:
        """Return positions ``step`` metres apart with a random offset."""
        return np.arange(first + self.random.random() * step, last, step)

    def scatter(self, first: float, last: float, rate: float) -> list[float]:
        """Return random positions, ``rate`` per metre on average."""
        count = (last - first) * rate
        whole = int(count) + (self.random.random() < count % 1)
        return [self.random.uniform(first, last) for _ in range(whole)]

    def add(
        self,
        mesh: Mesh,
        palette: paint.Palette,
        label: int,
        along: float,
        right: float,
        up: float = 0.0,
        turn: float = 0.0,
        scale: float | tuple[float, float, float] = 1.0,
        lean: float = 0.0,
        instance: int | None = None,
    ) -> None:
        """Add a static thing, turned by ``turn`` radians relative to the road."""
        x, z, heading = self.road.at(along, right)
        instance = label if instance is None else instance
        thing = Thing(mesh, palette, label, instance, (x, up, z), heading + turn, scale, lean)
        self.static.append(thing)

    def instance(self, label: int) -> int:
        """Return an unused instance ID of ``label``."""
        count = self._counts.get(label, 0)
        self._counts[label] = count + 1
        return label * INSTANCE_ID_BASE + count

    def _leaf_color(self) -> paint.Color:
        autumn = self.random.random() < 0.1
        colors = paint.AUTUMN_COLORS if autumn else paint.LEAF_COLORS
        return paint.linear(self.random.choice(colors), self.random)

    def _crossings(self) -> list[Stretch]:
        gaps = []
        along = self.random.uniform(-10, 90)
        while along < self.last - 30:
            if self.random.random() < 0.75:
                gaps.append((along, along + self.random.uniform(6, 15)))
            along += self.random.uniform(45, 110)
        return gaps


@dataclass(frozen=True)
class Side:
    """Side of a street, equal along all blocks.

    Attributes:
        sign: 1 to the right of the centre line, -1 to the left.
        verge: Width of the verge in metres; 0 for none.
        walk: Width of the sidewalk in metres; 0 for none.
        setback: Metres between the sidewalk and the buildings.
        front: Metres from the centre line to the lots.
        paved: Whether open ground is paved; otherwise it is overgrown.
        bounds: Boundary of the lots: wall, fence, hedge or none.
        fittings: Palette of the boundaries.
    """

    sign: int
    verge: float
    walk: float
    setback: float
    front: float
    paved: bool
    bounds: str
    fittings: paint.Palette
