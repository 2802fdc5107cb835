"""The layout of a street: what stands where along it, who uses it, and where they are later."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

import numpy as np

from mtl_perception.data.synthetic import paint, people, surroundings, vehicles
from mtl_perception.data.synthetic.mesh import Mesh, merged, panel, quads
from mtl_perception.data.synthetic.rendering import Material, Soup
from mtl_perception.labels import INSTANCE_ID_BASE

ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE = 7, 8, 11, 12, 13, 17
LIGHT, SIGN, VEGETATION, TERRAIN, STATIC = 19, 20, 21, 22, 4
PERSON, RIDER, CAR, TRUCK, BUS, MOTORCYCLE, BICYCLE = 24, 25, 26, 27, 28, 32, 33

SIGHT = 190.0
"""Metres of street in front of the camera."""

BEHIND = 18.0
"""Metres of street behind the camera, for its shadows and what reaches beside it."""

UNDERLAP = 0.3
"""Metres by which the road runs on beneath what borders it, so that no crack opens between them."""

UP = np.array((0.0, 1.0, 0.0))

DECAL = 1e-5
"""Gain in the depth test of paint on the road; each layer of paint adds one."""


@dataclass(frozen=True)
class Style:
    """How a street is built; rates are probabilities, or things per metre of either side.

    Attributes:
        lanes: lanes in each direction.
        parked: share of the roadside that is taken by parked vehicles.
        walk: width of the sidewalk in metres; below 1 there is none.
        verge: width of the strip of grass or soil between the road and the sidewalk.
        setback: metres between the sidewalk and the buildings.
        built: share of the lots that carry a building.
        block: share of the buildings that are blocks rather than houses.
        green: trees along the kerb.
        wild: trees and bushes on open lots.
        crowd: pedestrians.
        clutter: street furniture.
        traffic: share of the lane that is taken by vehicles.
        marked: probability of lane marks.
        paved: whether open ground is paved rather than grown over.
    """

    lanes: tuple[int, ...]
    parked: float
    walk: tuple[float, float]
    verge: tuple[float, float]
    setback: tuple[float, float]
    built: float
    block: float
    green: float
    wild: float
    crowd: float
    clutter: float
    traffic: float
    marked: float
    paved: float


STYLES = {
    'centre': Style(
        (1, 1, 2), 0.5, (2, 5), (0, 0), (0, 1), 0.95, 0.95, 0.02, 0.01, 0.14, 0.04, 0.35, 0.85, 0.9
    ),
    'residential': Style(
        (1,), 0.45, (1.5, 3.5), (0, 1.5), (3, 8), 0.8, 0.15, 0.03, 0.05, 0.04, 0.015, 0.25, 0.6, 0.1
    ),
    'avenue': Style(
        (1, 2, 2), 0.3, (2, 4), (0, 3), (2, 8), 0.7, 0.7, 0.07, 0.04, 0.06, 0.02, 0.4, 0.95, 0.4
    ),
    'arterial': Style(
        (2, 3), 0.0, (1, 4), (0, 4), (6, 20), 0.4, 0.7, 0.02, 0.08, 0.02, 0.01, 0.45, 1.0, 0.2
    ),
    'outskirts': Style(
        (1, 1, 2), 0.08, (0, 2), (0, 4), (4, 14), 0.35, 0.3, 0.02, 0.1, 0.04, 0.02, 0.3, 0.5, 0.05
    ),
    'market': Style(
        (1, 2), 0.35, (0, 4), (0, 1), (0, 3), 0.9, 0.85, 0.015, 0.02, 0.13, 0.08, 0.45, 0.3, 0.5
    ),
}
STYLE_WEIGHTS = {
    'centre': 5, 'residential': 4, 'avenue': 4, 'arterial': 3, 'outskirts': 3, 'market': 3,
}  # fmt: skip

TRAFFIC = {'car': 62, 'truck': 10, 'bus': 8, 'motorcycle': 20}
"""How often each kind of vehicle is met on a lane."""


@dataclass(frozen=True)
class Thing:
    """A mesh in the world with its look and its truth; ground has its place in its corners."""

    mesh: Mesh
    palette: paint.Palette
    label: int
    instance: int
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    heading: float = 0.0
    scale: float | tuple[float, float, float] = 1.0
    lean: float = 0.0
    ground: bool = False
    bias: float = 0.0

    def placed(self) -> Mesh:
        """Return the mesh in world coordinates."""
        if self.ground:
            return self.mesh
        return self.mesh.placed(self.position, self.heading, self.scale, self.lean)


@dataclass(frozen=True)
class Mover:
    """Somebody who is on the way: ``things`` returns what they look like at a time in seconds."""

    things: Callable[[float], list[Thing]]


@dataclass(frozen=True)
class Road:
    """An arc of constant curvature (1/metres, positive to the right) that starts at the origin."""

    curvature: float

    def at(self, along: float, right: float) -> tuple[float, float, float]:
        """Return world x, z and the road's heading."""
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
    """A street of a random style, long enough for a camera that travels ``travel`` metres along it.

    Attributes:
        road: its course.
        lane: metres to the right of the centre line at which the camera's lane runs.
        cruise: metres a second, the speed of the traffic in the camera's lane.
    """

    def __init__(self, random: Random, travel: float = 0.0, duration: float = 0.0) -> None:
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
        self.cruise = random.uniform(4, 9)
        self.duration = duration
        self._counts: dict[int, int] = {}
        self.static: list[Thing] = []
        self.movers: list[Mover] = []
        self._leaf = self._leaf_color()
        self.lane = self._lane_centre(random.randrange(self.lanes), ahead=True)
        self.gaps = self._crossings()
        self._lay_ground()
        self._paint_road()
        for side in (-1, 1):
            self._build_side(side)
        self._close_view()
        self._fill_lanes()

    def things(self, time: float) -> Iterable[Thing]:
        """Everything in the street at ``time`` seconds."""
        yield from self.static
        for mover in self.movers:
            yield from mover.things(time)

    def _instance(self, label: int) -> int:
        count = self._counts.get(label, 0)
        self._counts[label] = count + 1
        return label * INSTANCE_ID_BASE + count

    def _add(
        self,
        mesh: Mesh,
        palette: paint.Palette,
        label: int,
        along: float,
        right: float,
        up: float = 0.0,
        turn: float = 0.0,
        scale: float | tuple[float, float, float] = 1.0,
        instance: int | None = None,
    ) -> None:
        x, z, heading = self.road.at(along, right)
        instance = label if instance is None else instance
        thing = Thing(mesh, palette, label, instance, (x, up, z), heading + turn, scale)
        self.static.append(thing)

    def _leaf_color(self) -> paint.Color:
        autumn = self.random.random() < 0.1
        colors = paint.AUTUMN_COLORS if autumn else paint.LEAF_COLORS
        return paint.linear(self.random.choice(colors), self.random)

    def _lane_centre(self, lane: int, ahead: bool) -> float:
        """Lane 0 is next to the centre line; traffic ahead runs on the side that is kept."""
        right = (lane + 0.5) * self.lane_width
        return right if ahead == self.keeps_right else -right

    # The ground

    def _crossings(self) -> list[tuple[float, float]]:
        gaps = []
        along = self.random.uniform(-10, 90)
        while along < self.last - 30:
            if self.random.random() < 0.75:
                gaps.append((along, along + self.random.uniform(6, 15)))
            along += self.random.uniform(45, 110)
        return gaps

    def _blocks(self) -> list[tuple[float, float]]:
        """The stretches between crossings."""
        edges = [self.first, *[edge for gap in self.gaps for edge in gap], self.last + 60]
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 1]

    def _strip(
        self,
        stretch: tuple[float, float],
        left: float,
        right: float,
        material: Material,
        label: int,
        up: float = 0.0,
        tile: float = 4.0,
        layer: int = 0,
    ) -> None:
        """Lay a band along the road; layers above the first are paint on what lies beneath."""
        first, last = stretch
        step = 5.0 if self.road.curvature else 60.0
        along = np.linspace(first, last, max(2, int((last - first) / step) + 1))
        one, other = self.road.points(along, left, up), self.road.points(along, right, up)
        corners = np.stack([one[:-1], one[1:], other[1:], other[:-1]], 1)
        v = along / tile
        low, high = np.full_like(v, left / tile), np.full_like(v, right / tile)
        sides = np.stack([low, v], 1), np.stack([high, v], 1)
        uv = np.stack([sides[0][:-1], sides[0][1:], sides[1][1:], sides[1][:-1]], 1)
        mesh = quads(corners, 'ground', uv, np.broadcast_to(UP, corners.shape))
        palette = {'ground': material}
        self.static.append(Thing(mesh, palette, label, label, ground=True, bias=layer * DECAL))

    def _lay_ground(self) -> None:
        random = self.random
        gray = random.uniform(0.07, 0.26)
        warm = random.uniform(-0.05, 0.12)
        road_color = (gray * (1 + warm), gray, gray * (1 - warm))
        if random.random() < 0.08:
            road_color = paint.linear(random.choice(((150, 130, 105), (130, 90, 75), (70, 70, 80))))
        kind = 'paving' if random.random() < 0.08 else 'asphalt'
        wet = random.random() < 0.12
        self.asphalt = Material(
            road_color, paint.texture(random, kind), gloss=0.6 * wet, macro=random.uniform(0.1, 0.5)
        )
        stretch = (self.first, self.last + 60)
        beneath = self.half_width + UNDERLAP
        self._strip(stretch, -beneath, beneath, self.asphalt, ROAD, tile=3.0)
        self.walk_material = Material(
            paint.linear(random.choice(paint.WALK_COLORS), random, 0.25),
            paint.texture(random, random.choice(('paving', 'paving', 'rough', 'asphalt'))),
            gloss=0.4 * wet,
            macro=random.uniform(0.1, 0.4),
        )
        red, green, blue = self._leaf
        soil = paint.linear(random.choice(paint.SOIL_COLORS))
        grass = Material((red * 0.9, green, blue * 0.7), paint.texture(random, 'grass'), macro=0.4)
        earth = Material(soil, paint.texture(random, 'soil'), macro=0.4)
        self.grown = random.choice((grass, earth))
        self.kerb = random.choice((0.0, 0.1, 0.13, 0.16))
        for first, last in self.gaps:
            for side in (-1, 1):
                edges = sorted((side * self.half_width, side * 70.0))
                stretch = (first - UNDERLAP, last + UNDERLAP)
                self._strip(stretch, edges[0], edges[1], self.asphalt, ROAD, tile=3.0)

    def _paint_road(self) -> None:
        random = self.random
        if random.random() > self.style.marked:
            return
        tone = random.uniform(0.35, 0.8)
        white = Material((tone, tone, tone), paint.texture(random, 'rough'), macro=0.5)
        yellow = Material((tone, tone * 0.62, tone * 0.08), white.layer, macro=0.5)
        middle = random.choice((white, white, yellow))
        width = random.uniform(0.1, 0.18)
        dash, gap = random.choice(((3, 6), (3, 3), (2, 4), (6, 6)))
        solid_edge, double = random.random() < 0.6, random.random() < 0.3
        for first, last in self._blocks():
            stretch = (first + 3, last - 3)
            if stretch[1] - stretch[0] < 6:
                continue
            if double:
                for shift in (-0.13, 0.13):
                    self._strip(
                        stretch, shift - width / 2, shift + width / 2, middle, ROAD, layer=1
                    )
            else:
                self._dashes(stretch, 0.0, width, dash, gap, middle)
            for lane in range(1, self.lanes):
                for side in (-1, 1):
                    self._dashes(stretch, side * lane * self.lane_width, width, dash, gap, white)
            if solid_edge:
                edge = self.half_width - self.parking - 0.25
                for side in (-1, 1):
                    centre = side * edge
                    self._strip(
                        stretch, centre - width / 2, centre + width / 2, white, ROAD, layer=1
                    )
        for first, last in self.gaps:
            for stop, inward in ((first, 1), (last, -1)):
                if random.random() < 0.55:
                    self._zebra(stop - inward * 3.0, white)
                half = self.half_width - self.parking
                edges = (0.0, half) if (inward == 1) == self.keeps_right else (-half, 0.0)
                line = stop - inward * 5.2
                self._strip((line - 0.2, line + 0.2), *edges, white, ROAD, layer=1)
        self._arrows(white)

    def _dashes(
        self, stretch: tuple[float, float], right: float, width: float, dash: float, gap: float,
        material: Material,
    ) -> None:  # fmt: skip
        starts = np.arange(stretch[0], stretch[1] - dash, dash + gap).tolist()
        low = [self.road.at(s, right - width / 2) for s in starts]
        if not low:
            return
        headings = np.array([heading for _, _, heading in low])
        base = np.array([[x, 0, z] for x, z, _ in low])
        forward = np.stack([np.sin(headings), 0 * headings, np.cos(headings)], 1) * dash
        across = np.stack([np.cos(headings), 0 * headings, -np.sin(headings)], 1) * width
        corners = np.stack([base, base + forward, base + forward + across, base + across], 1)
        mesh = quads(corners, 'ground', None, np.broadcast_to(UP, corners.shape), tile=4.0)
        self.static.append(Thing(mesh, {'ground': material}, ROAD, ROAD, ground=True, bias=DECAL))

    def _zebra(self, along: float, material: Material) -> None:
        left = np.arange(-self.half_width + 0.4, self.half_width - 0.6, 1.0)[:, None]
        right, ends = left + 0.5, np.array((along - 1.4, along + 1.4))
        one, other = self.road.points(ends, left, 0.0), self.road.points(ends, right, 0.0)
        corners = np.stack([one[:, 0], one[:, 1], other[:, 1], other[:, 0]], 1)
        across = np.concatenate([left, left, right, right], 1)
        uv = np.stack([across, np.broadcast_to(ends[[0, 1, 1, 0]], across.shape)], 2) / 4.0
        mesh = quads(corners, 'ground', uv, np.broadcast_to(UP, corners.shape))
        bias = 2 * DECAL
        self.static.append(Thing(mesh, {'ground': material}, ROAD, ROAD, ground=True, bias=bias))

    def _arrows(self, material: Material) -> None:
        shaft = [[-0.09, 0, -1.6], [0.09, 0, -1.6], [0.09, 0, 0.5], [-0.09, 0, 0.5]]
        mesh = merged(
            [
                quads([shaft], 'ground'),
                panel([[-0.3, 0, 0.5], [0.3, 0, 0.5], [0, 0, 1.7]], 'ground'),
            ]
        )
        for first, last in self.gaps:
            for along, ahead in ((first - 12, True), (last + 12, False)):
                if self.random.random() < 0.5:
                    for lane in range(self.lanes):
                        x, z, heading = self.road.at(along, self._lane_centre(lane, ahead))
                        turn = heading + (0.0 if ahead else np.pi)
                        placed = mesh.placed((x, 0, z), turn)
                        self.static.append(
                            Thing(placed, {'ground': material}, ROAD, ROAD, ground=True, bias=DECAL)
                        )

    # The sides

    def _build_side(self, side: int) -> None:
        random, style = self.random, self.style
        walk, verge = random.uniform(*style.walk), random.uniform(*style.verge)
        walk = walk if walk >= 1 else 0.0
        verge = verge if verge >= 0.5 and walk else max(verge, 1.2) * (not walk)
        setback = random.uniform(*style.setback)
        front = self.half_width + verge + walk
        paved = random.random() < style.paved
        bounds = random.choice(('none', 'wall', 'fence', 'hedge', 'fence', 'wall'))
        fittings = paint.boundary(random)
        for block in self._blocks():
            self._side_ground(block, side, verge, walk, paved)
            self._line_kerb(block, side, verge, walk)
            self._lots(block, side, front, setback, bounds, fittings)
            self._crowd(block, side, front - walk if walk else self.half_width, max(walk, 1.2))
        for gap in self.gaps:
            self._crossing_furniture(gap, side)

    def _side_ground(
        self, block: tuple[float, float], side: int, verge: float, walk: float, paved: bool
    ) -> None:
        random = self.random
        bands = []
        if verge:
            bands.append((verge, self.grown, TERRAIN))
        if walk:
            bands.append((walk, self.walk_material, SIDEWALK))
        bands.append((90.0, self.walk_material, SIDEWALK) if paved else (90.0, self.grown, TERRAIN))
        kerb = self.kerb if walk or random.random() < 0.5 else 0.0
        tone = random.uniform(0.15, 0.5)
        stone = Material((tone, tone, tone), paint.texture(random, 'rough'))
        label = SIDEWALK if walk and not verge else bands[0][2]
        if kerb:
            self._kerb_face(block, side, kerb, stone, label)
        right = self.half_width
        for layer, (width, material, band_label) in enumerate(bands, 1):
            edges = sorted((side * right, side * (self.half_width + 95)))
            self._strip(block, edges[0], edges[1], material, band_label, kerb, 2.4, layer)
            right += width
        if kerb:
            edges = sorted((side * self.half_width, side * (self.half_width + 0.16)))
            self._strip(block, edges[0], edges[1], stone, label, kerb, layer=len(bands) + 1)

    def _kerb_face(
        self, block: tuple[float, float], side: int, height: float, stone: Material, label: int
    ) -> None:
        first, last = block
        along = np.linspace(first, last, max(2, int((last - first) / 5) + 1))
        low = self.road.points(along, side * self.half_width, 0.0)
        high = low + np.array((0, height, 0))
        corners = [np.stack([low[:-1], low[1:], high[1:], high[:-1]], 1)]
        for end in (first, last):
            points = [self.road.at(end, side * (self.half_width + d)) for d in (0, 90)]
            (x0, z0, _), (x1, z1, _) = points
            corners.append(
                np.array([[[x0, 0, z0], [x1, 0, z1], [x1, height, z1], [x0, height, z0]]])
            )
        mesh = quads(np.concatenate(corners), 'ground')
        self.static.append(Thing(mesh, {'ground': stone}, label, label, ground=True))

    def _line_kerb(self, block: tuple[float, float], side: int, verge: float, walk: float) -> None:
        """Lamp posts, trees, signs, furniture and parked vehicles, one after the other."""
        random, style = self.random, self.style
        first, last = block
        edge = self.half_width + 0.5
        poles, post_style = paint.pole(random), random.randrange(4)
        inward = 0.0 if side < 0 else np.pi
        for along in self._steps(first, last, random.uniform(18, 34)):
            post = surroundings.lamp_post(post_style)
            self._add(post, poles, POLE, along, side * edge, self.kerb, inward)
        kind = random.choice(('round', 'round', 'round', 'tall', 'bare', 'palm', 'conifer'))
        for along in self._scatter(first, last, style.green):
            right = side * (self.half_width + (verge / 2 if verge else 0.9))
            self._tree(kind, along, right, random.uniform(0.6, 1.15))
        for along in self._scatter(first, last, 0.018):
            self._post_sign(along, side * (edge + random.uniform(-0.1, 0.5)), along_faces=side)
        for along in self._scatter(first, last, style.clutter):
            piece = surroundings.furniture(random.choice(surroundings.FURNITURE))
            right = side * (edge + random.uniform(0, max(0.5, walk)))
            turn = inward + np.pi + random.gauss(0, 0.1)
            self._add(piece, paint.furniture(random), STATIC, along, right, self.kerb, turn)
        if random.random() < 0.25:
            pole = surroundings.plain_pole(1.0, 0.07)
            palette = paint.pole(random)
            for along in self._steps(first, last, random.uniform(1.5, 3)):
                if along < 60:
                    self._add(pole, palette, POLE, along, side * (edge - 0.2), self.kerb)
        if self.parking:
            self._park(block, side)
        self._park_bicycles(block, side * (edge + 0.6))

    def _steps(self, first: float, last: float, step: float) -> np.ndarray:
        return np.arange(first + self.random.random() * step, last, step)

    def _scatter(self, first: float, last: float, rate: float) -> list[float]:
        """Random places with ``rate`` things a metre."""
        count = (last - first) * rate
        whole = int(count) + (self.random.random() < count % 1)
        return [self.random.uniform(first, last) for _ in range(whole)]

    def _tree(self, kind: str, along: float, right: float, scale: float) -> None:
        template = surroundings.tree(kind, self.random.randrange(surroundings.TREES))
        stretch = (scale * self.random.uniform(0.85, 1.2), scale, scale)
        turn = self.random.uniform(0, 6.3)
        palette = paint.plant(self.random, self._leaf)
        self._add(template, palette, VEGETATION, along, right, 0.0, turn, stretch)

    def _post_sign(self, along: float, right: float, along_faces: int) -> None:
        random = self.random
        shape, palette = paint.sign(random)
        height = random.uniform(1.9, 2.6)
        ahead = (along_faces > 0) == self.keeps_right
        turn = (0.0 if ahead else np.pi) + random.gauss(0, 0.12)
        x, z, heading = self.road.at(along, right)
        pole = surroundings.plain_pole(3.2, 0.04)
        self._add(
            pole, paint.pole(random), POLE, along, right, self.kerb, 0, (1, (height + 0.7) / 3.2, 1)
        )
        offset = -0.06 if ahead else 0.06
        spot = (x, height + self.kerb, z + offset)
        mesh = surroundings.sign(shape)
        self.static.append(Thing(mesh, palette, SIGN, SIGN, spot, heading + turn))

    def _crossing_furniture(self, gap: tuple[float, float], side: int) -> None:
        """Traffic lights and signs at the corners of a crossing."""
        random = self.random
        if random.random() < 0.25:
            return
        right = side * (self.half_width + 0.6)
        poles, lights = paint.pole(random), paint.traffic_light(random)
        for along, faces_us in ((gap[0] - 1.5, True), (gap[1] + 1.5, False)):
            lit = random.randrange(3)
            turn = 0.0 if faces_us else np.pi
            head = surroundings.traffic_light(lit)
            back = 0.16 if not faces_us else -0.16
            x, z, heading = self.road.at(along, right)
            if random.random() < 0.35:
                reach = min(self.half_width, 6.0)
                arm = surroundings.gantry(reach)
                self._add(arm, poles, POLE, along, right, self.kerb, np.pi if side > 0 else 0.0)
                over = right - side * (reach - 0.2)
                top_x, top_z, _ = self.road.at(along, over)
                spot = (top_x, 4.75 + self.kerb, top_z + back)
                self.static.append(Thing(head, lights, LIGHT, LIGHT, spot, heading + turn))
            else:
                self._add(surroundings.plain_pole(3.4, 0.07), poles, POLE, along, right, self.kerb)
            spot = (x, 2.4 + self.kerb, z + back)
            self.static.append(Thing(head, lights, LIGHT, LIGHT, spot, heading + turn))

    def _lots(
        self, block: tuple[float, float], side: int, front: float, setback: float, bounds: str,
        fittings: paint.Palette,
    ) -> None:  # fmt: skip
        random, style = self.random, self.style
        along, last = block[0] + 1.0, block[1] - 1.0
        turn = np.pi if side < 0 else 0.0
        while along < min(last, self.last):
            if random.random() < style.built:
                is_block = random.random() < style.block
                variants = surroundings.BLOCKS if is_block else surroundings.HOUSES
                mesh, width, _ = surroundings.building(is_block, random.randrange(variants))
                scale = random.uniform(0.85, 1.15)
                back = setback + random.choice((0, 0, 0, random.uniform(0, 3)))
                middle = along + width * scale / 2
                if middle + width * scale / 2 > last + 2 and along > block[0] + 5:
                    break
                palette = paint.building(random)
                self._add(mesh, palette, BUILDING, middle, side * (front + back), 0.0, turn,
                          (scale, scale * random.uniform(0.85, 1.2), scale))  # fmt: skip
                length = width * scale
                if setback > 2.5:
                    self._bound((along, along + length), side * front, bounds, fittings)
                    self._garden((along, along + length), side, front, setback)
                along += length + (
                    random.uniform(2, 9) if not is_block else random.choice((0, 0, 3))
                )
            else:
                length = random.uniform(8, 26)
                self._open_lot((along, along + length), side, front, bounds, fittings)
                along += length

    def _bound(
        self, stretch: tuple[float, float], right: float, kind: str, palette: paint.Palette
    ) -> None:
        random = self.random
        if kind == 'none' or random.random() < 0.15:
            return
        height = random.uniform(0.8, 2.0)
        capped = random.random() < 0.5
        plants = paint.plant(random, self._leaf)
        for along in np.arange(stretch[0] + 2, stretch[1] - 1, 4.0).tolist():
            if kind == 'hedge':
                mesh = surroundings.hedge(random.randrange(4))
                self._add(mesh, plants, VEGETATION, along, right, 0, 0, (1, height / 1.3, 1))
            elif kind == 'wall':
                mesh = surroundings.wall(capped)
                self._add(mesh, palette, WALL, along, right, 0, 0, (1, height, 1))
            else:
                self._add(surroundings.fence(), palette, FENCE, along, right, 0, 0, (1, height, 1))

    def _garden(
        self, stretch: tuple[float, float], side: int, front: float, setback: float
    ) -> None:
        random = self.random
        for along in self._scatter(*stretch, 0.12):
            right = side * (front + random.uniform(0.8, max(1.0, setback - 1)))
            template = surroundings.bush(random.randrange(surroundings.BUSHES))
            palette = paint.plant(random, self._leaf)
            self._add(template, palette, VEGETATION, along, right, 0, 0, random.uniform(0.6, 1.4))

    def _open_lot(
        self, stretch: tuple[float, float], side: int, front: float, bounds: str,
        fittings: paint.Palette,
    ) -> None:  # fmt: skip
        random = self.random
        kind = bounds if bounds != 'none' else random.choice(('wall', 'fence', 'none', 'none'))
        self._bound(stretch, side * (front + 0.2), kind, fittings)
        for along in self._scatter(*stretch, max(0.08, self.style.wild)):
            far = random.uniform(1.5, 22)
            sort = random.choice(('round', 'round', 'round', 'tall', 'conifer'))
            self._tree(sort, along, side * (front + far), random.uniform(0.5, 1.3))
        for along in self._scatter(*stretch, self.style.wild * 1.5):
            template = surroundings.bush(random.randrange(surroundings.BUSHES))
            right = side * (front + random.uniform(0.8, 8))
            scale = random.uniform(0.6, 2.0)
            palette = paint.plant(random, self._leaf)
            self._add(template, palette, VEGETATION, along, right, 0, 0, scale)

    def _close_view(self) -> None:
        """Trees and buildings behind the lots and across the street's end."""
        random = self.random
        for along in self._scatter(0, self.last, 0.08):
            right = random.choice((-1, 1)) * (self.half_width + random.uniform(24, 60))
            if random.random() < 0.6:
                self._tree('round', along, right, random.uniform(0.9, 1.8))
            else:
                self._far_building(along, right)
        for right in range(-90, 91, 14):
            if random.random() < 0.55:
                self._tree(
                    'round', self.last + random.uniform(0, 30), right, random.uniform(0.9, 1.9)
                )
            elif random.random() < 0.6:
                self._far_building(self.last + random.uniform(0, 30), right)

    def _far_building(self, along: float, right: float) -> None:
        random = self.random
        mesh, _, _ = surroundings.building(True, random.randrange(surroundings.BLOCKS))
        turn = random.choice((0, np.pi / 2, np.pi))
        self._add(mesh, paint.building(random), BUILDING, along, right, 0, turn)

    # The users

    def _park(self, block: tuple[float, float], side: int) -> None:
        random = self.random
        along = block[0] + 6
        while along < min(block[1] - 8, self.last - 60):
            if random.random() > self.style.parked:
                along += random.uniform(4, 12)
                continue
            right = side * (self.half_width - 1.0 + random.gauss(0, 0.1))
            kind = random.random()
            turn = 0.0 if (side > 0) == self.keeps_right or random.random() < 0.2 else np.pi
            if kind < 0.1:
                for i in range(random.randint(1, 4)):
                    self._parked_two_wheeler(along + 0.9 * i, right, True)
                along += 4
                continue
            sort = 'car' if kind < 0.92 else 'truck'
            label, name, palette = self._vehicle(sort)
            length = vehicles.length_of(name)
            if along + length > block[1] - 4:
                break
            self._add(vehicles.vehicle(name), palette, label, along + length / 2, right, 0.0,
                      turn + random.gauss(0, 0.03), instance=self._instance(label))  # fmt: skip
            along += length + random.uniform(0.5, 1.6)

    def _park_bicycles(self, block: tuple[float, float], right: float) -> None:
        random = self.random
        for along in self._scatter(block[0], min(block[1], 90), 0.008 + 0.1 * self.style.clutter):
            motor = random.random() < 0.35
            for i in range(random.choice((1, 1, 2, 4, 6))):
                self._parked_two_wheeler(along + i * random.uniform(0.5, 0.8), right, motor)

    def _parked_two_wheeler(self, along: float, right: float, motor: bool) -> None:
        random = self.random
        label = MOTORCYCLE if motor else BICYCLE
        mesh = vehicles.motorcycle(random.random() < 0.5) if motor else vehicles.bicycle()
        turn = np.pi / 2 + random.gauss(0, 0.25) if random.random() < 0.6 else random.gauss(0, 0.1)
        up = self.kerb if abs(right) > self.half_width else 0.0
        x, z, heading = self.road.at(along, right)
        lean = random.uniform(0.05, 0.14)
        palette = paint.vehicle(random, paint.CAR_COLORS)
        instance = self._instance(label)
        thing = Thing(mesh, palette, label, instance, (x, up, z), heading + turn, lean=lean)
        self.static.append(thing)

    def _vehicle(self, sort: str) -> tuple[int, str, paint.Palette]:
        random = self.random
        label, names, colors = {
            'car': (CAR, vehicles.CARS, paint.CAR_COLORS),
            'truck': (TRUCK, vehicles.TRUCKS, paint.TRUCK_COLORS),
            'bus': (BUS, vehicles.BUSES, paint.BUS_COLORS),
        }[sort]
        return label, random.choice(names), paint.vehicle(random, colors)

    def _fill_lanes(self) -> None:
        for ahead in (True, False):
            for lane in range(self.lanes):
                self._fill_lane(self._lane_centre(lane, ahead), ahead)
            self._cyclists(ahead)

    def _fill_lane(self, right: float, ahead: bool) -> None:
        random = self.random
        speed = self.cruise * random.uniform(0.95, 1.1) * (1 if ahead else -1)
        ours = ahead and right == self.lane
        last = self.last - 40 - (0 if ahead else speed * self.duration)
        first = self.first if ahead else self.first - BEHIND
        along = 6.0 if ours else first
        queue = random.random() < 0.2
        along += random.uniform(0, 12 if ours else 25)
        share = self.style.traffic
        while along < last:
            space = random.uniform(1.5, 4) if queue else random.expovariate(share / 12) + 3
            sort = random.choices(list(TRAFFIC), list(TRAFFIC.values()))[0]
            shift = right + random.gauss(0, 0.15)
            if sort == 'motorcycle':
                self._ride(sort, along + 1, shift + random.uniform(-0.8, 0.8), speed)
                length = 2.2
            else:
                label, name, palette = self._vehicle(sort)
                length = vehicles.length_of(name)
                mesh, instance = vehicles.vehicle(name), self._instance(label)
                self._send(mesh, palette, label, instance, along + length / 2, shift, speed)
            along += length + space

    def _send(
        self, mesh: Mesh, palette: paint.Palette, label: int, instance: int, along: float,
        right: float, speed: float,
    ) -> None:  # fmt: skip
        turn = (0.0 if speed > 0 else np.pi) + self.random.gauss(0, 0.02)

        def things(time: float) -> list[Thing]:
            x, z, heading = self.road.at(along + speed * time, right)
            return [Thing(mesh, palette, label, instance, (x, 0, z), heading + turn)]

        self.movers.append(Mover(things))

    def _cyclists(self, ahead: bool) -> None:
        random = self.random
        edge = self.half_width - self.parking - 0.6
        right = edge if ahead == self.keeps_right else -edge
        for along in self._scatter(6, min(self.last, 70), 0.03):
            sort = 'bicycle' if random.random() < 0.8 else 'motorcycle'
            speed = random.uniform(3, 5) * (1 if ahead else -1)
            self._ride(sort, along, right + random.gauss(0, 0.25), speed)

    def _ride(self, sort: str, along: float, right: float, speed: float) -> None:
        """Send a two-wheeler with its rider, sometimes with a second one."""
        random = self.random
        label = MOTORCYCLE if sort == 'motorcycle' else BICYCLE
        if sort == 'motorcycle':
            mesh = vehicles.motorcycle(random.random() < 0.5)
        else:
            mesh = vehicles.bicycle()
        palette = paint.vehicle(random, paint.CAR_COLORS)
        self._send(mesh, palette, label, self._instance(label), along, right, speed)
        seats = [sort]
        if sort == 'motorcycle' and random.random() < 0.25:
            seats.append('pillion')
        for seat in seats:
            rider = people.seated(random.randrange(people.BUILDS), seat)
            self._send(
                rider, paint.person(random), RIDER, self._instance(RIDER), along, right, speed
            )

    def _crowd(self, block: tuple[float, float], side: int, near: float, width: float) -> None:
        random = self.random
        rate = self.style.crowd * random.uniform(0.3, 1.8)
        for along in self._scatter(block[0], min(block[1], self.last - 90), rate * 0.6):
            right = side * (near + random.uniform(0.3, max(0.4, width)))
            speed = random.choice((-1.3, 1.3, -1.1, 1.1, 0.0))
            for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5))):
                spot = along + random.gauss(0, 0.5), right + random.gauss(0, 0.45)
                self._walk(*spot, speed * random.uniform(0.9, 1.1), 0.0, self.kerb)
        for first, last in self.gaps:
            for stop in (first - 3, last + 3):
                if side > 0 and random.random() < 0.35 and 5 < stop < self.last - 90:
                    for _ in range(random.randint(1, 4)):
                        right = random.uniform(-self.half_width, self.half_width)
                        self._walk(
                            stop + random.gauss(0, 0.8), right, 0.0, random.choice((-1.2, 1.2)), 0.0
                        )
        if side > 0 and random.random() < 0.2:
            along = random.uniform(9, 35)
            self._walk(along, random.uniform(-self.half_width, self.half_width), 0, 1.2, 0.0)

    def _walk(self, along: float, right: float, ahead: float, across: float, up: float) -> None:
        random = self.random
        build, palette = random.randrange(people.BUILDS), paint.person(random)
        instance, start = self._instance(PERSON), random.randrange(people.STEPS)
        speed = math.hypot(ahead, across)
        turn = math.atan2(across, ahead) if speed else random.uniform(0, 6.3)
        turn += random.gauss(0, 0.15)
        scale = random.uniform(0.9, 1.1)

        def things(time: float) -> list[Thing]:
            x, z, heading = self.road.at(along + ahead * time, right + across * time)
            phase = start + int(speed * time / people.CYCLE_SPEED * people.STEPS)
            pose = phase % people.STEPS if speed else people.STANDING
            mesh = people.pedestrian(build, pose)
            return [Thing(mesh, palette, PERSON, instance, (x, up, z), heading + turn, scale)]

        self.movers.append(Mover(things))


def soup(things: Iterable[Thing]) -> Soup:
    """Pour things into the arrays that rendering takes."""
    kept = list(things)
    meshes = [thing.placed() for thing in kept]
    counts = [len(mesh.slots) for mesh in meshes]
    starts = np.cumsum([0, *[len(mesh.slot_names) for mesh in meshes]])[:-1].astype(np.int32)
    materials = [
        (*material.color, *material[1:])
        for thing in kept
        for material in (thing.palette[name] for name in thing.mesh.slot_names)
    ]
    return Soup(
        np.concatenate([mesh.corners for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.repeat(np.array([thing.bias for thing in kept], np.float32), counts),
        np.repeat(np.array([thing.ground for thing in kept]), counts),
        np.concatenate([mesh.slots for mesh in meshes]) + np.repeat(starts, counts),
        np.array(materials, np.float32),
        np.repeat(np.array([thing.label for thing in kept], np.uint8), counts),
        np.repeat(np.array([thing.instance for thing in kept], np.int32), counts),
    )
