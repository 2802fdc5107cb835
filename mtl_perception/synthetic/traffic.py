# SPDX-License-Identifier: Apache-2.0
"""Road users: parked and moving vehicles, riders and pedestrians."""

import math

import numpy as np

from mtl_perception.labels import ids
from mtl_perception.synthetic import paint, people, vehicles
from mtl_perception.synthetic.mesh import Mesh
from mtl_perception.synthetic.street import BEHIND, Side, Street, Stretch
from mtl_perception.synthetic.things import Thing

PERSON, RIDER, CAR, TRUCK, BUS = ids('person', 'rider', 'car', 'truck', 'bus')
MOTORCYCLE, BICYCLE = ids('motorcycle', 'bicycle')

TRAFFIC = {'car': 62, 'truck': 10, 'bus': 8, 'motorcycle': 20}
"""Weight of each kind of vehicle on a lane."""

_FLEETS = {
    'car': (CAR, vehicles.CARS, paint.CAR_COLORS),
    'truck': (TRUCK, vehicles.TRUCKS, paint.TRUCK_COLORS),
    'bus': (BUS, vehicles.BUSES, paint.BUS_COLORS),
}
"""Label, templates and body colours of each kind of vehicle."""


def park(street: Street, side: Side, block: Stretch) -> None:
    """Add parked vehicles next to the lanes, if space permits, and two-wheelers beyond the kerb."""
    if street.parking:
        _park_vehicles(street, side, block)
    _park_two_wheelers(street, side, block)


def add_pedestrians(street: Street, side: Side, block: Stretch) -> None:
    """Add pedestrians along the road and, from the right side, people who cross it."""
    random = street.random
    near = side.front - side.walk if side.walk else street.half_width
    width = max(side.walk, 1.2)
    rate = street.style.crowd * random.uniform(0.3, 1.8)
    for along in street.scatter(block[0], min(block[1], street.last - 90), rate * 0.6):
        right = side.sign * (near + random.uniform(0.3, max(0.4, width)))
        speed = random.choice((-1.3, 1.3, -1.1, 1.1, 0.0))
        for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5))):
            spot = along + random.gauss(0, 0.5), right + random.gauss(0, 0.45)
            _walk(street, *spot, speed * random.uniform(0.9, 1.1), 0.0, street.kerb)
    if side.sign > 0:
        _cross(street)


def fill_lanes(street: Street, duration: float) -> None:
    """Add enough moving vehicles and cyclists on all lanes for ``duration`` seconds."""
    for ahead in (True, False):
        for lane in range(street.lanes):
            _fill_lane(street, street.lane_centre(lane, ahead), ahead, duration)
        _cyclists(street, ahead)


def _park_vehicles(street: Street, side: Side, block: Stretch) -> None:
    random = street.random
    along = block[0] + 6
    while along < min(block[1] - 8, street.last - 60):
        if random.random() > street.style.parked:
            along += random.uniform(4, 12)
            continue
        right = side.sign * (street.half_width - 1.0 + random.gauss(0, 0.1))
        kind = random.random()
        ahead = (side.sign > 0) == street.keeps_right
        turn = 0.0 if ahead or random.random() < 0.2 else np.pi
        if kind < 0.1:
            for i in range(random.randint(1, 4)):
                _park_two_wheeler(street, along + 0.9 * i, right, True)
            along += 4
            continue
        sort = 'car' if kind < 0.92 else 'truck'
        label, name, palette = _vehicle(street, sort)
        length = vehicles.length_of(name)
        if along + length > block[1] - 4:
            break
        street.add(vehicles.vehicle(name), palette, label, along + length / 2, right, 0.0,
                   turn + random.gauss(0, 0.03), instance=street.instance(label))  # fmt: skip
        along += length + random.uniform(0.5, 1.6)


def _park_two_wheelers(street: Street, side: Side, block: Stretch) -> None:
    random = street.random
    right = side.sign * (street.edge + 0.6)
    for along in street.scatter(block[0], min(block[1], 90), 0.008 + 0.1 * street.style.clutter):
        motor = random.random() < 0.35
        for i in range(random.choice((1, 1, 2, 4, 6))):
            _park_two_wheeler(street, along + i * random.uniform(0.5, 0.8), right, motor)


def _park_two_wheeler(street: Street, along: float, right: float, motor: bool) -> None:
    random = street.random
    label, mesh = _two_wheeler(street, motor)
    turn = np.pi / 2 + random.gauss(0, 0.25) if random.random() < 0.6 else random.gauss(0, 0.1)
    up = street.kerb if abs(right) > street.half_width else 0.0
    lean = random.uniform(0.05, 0.14)
    palette = paint.vehicle(random, paint.CAR_COLORS)
    street.add(mesh, palette, label, along, right, up, turn, lean=lean,
               instance=street.instance(label))  # fmt: skip


def _fill_lane(street: Street, right: float, ahead: bool, duration: float) -> None:
    random = street.random
    speed = street.cruise * random.uniform(0.95, 1.1) * (1 if ahead else -1)
    ours = ahead and right == street.lane
    last = street.last - 40 - (0 if ahead else speed * duration)
    first = street.first if ahead else street.first - BEHIND
    along = 6.0 if ours else first
    queue = random.random() < 0.2
    along += random.uniform(0, 12 if ours else 25)
    share = street.style.traffic
    while along < last:
        space = random.uniform(1.5, 4) if queue else random.expovariate(share / 12) + 3
        sort = random.choices(list(TRAFFIC), list(TRAFFIC.values()))[0]
        shift = right + random.gauss(0, 0.15)
        if sort == 'motorcycle':
            _ride(street, sort, along + 1, shift + random.uniform(-0.8, 0.8), speed)
            length = 2.2
        else:
            label, name, palette = _vehicle(street, sort)
            length = vehicles.length_of(name)
            _send(street, vehicles.vehicle(name), palette, label, along + length / 2, shift, speed)
        along += length + space


def _cyclists(street: Street, ahead: bool) -> None:
    random = street.random
    edge = street.half_width - street.parking - 0.6
    right = edge if ahead == street.keeps_right else -edge
    for along in street.scatter(6, min(street.last, 70), 0.03):
        sort = 'bicycle' if random.random() < 0.8 else 'motorcycle'
        speed = random.uniform(3, 5) * (1 if ahead else -1)
        _ride(street, sort, along, right + random.gauss(0, 0.25), speed)


def _ride(street: Street, sort: str, along: float, right: float, speed: float) -> None:
    """Add a moving two-wheeler with a rider and sometimes a pillion rider."""
    random = street.random
    label, mesh = _two_wheeler(street, sort == 'motorcycle')
    _send(street, mesh, paint.vehicle(random, paint.CAR_COLORS), label, along, right, speed)
    seats = [sort]
    if sort == 'motorcycle' and random.random() < 0.25:
        seats.append('pillion')
    for seat in seats:
        rider = people.seated(random.randrange(people.BUILDS), seat)
        _send(street, rider, paint.person(random), RIDER, along, right, speed)


def _send(
    street: Street, mesh: Mesh, palette: paint.Palette, label: int, along: float, right: float,
    speed: float,
) -> None:  # fmt: skip
    instance = street.instance(label)
    turn = (0.0 if speed > 0 else np.pi) + street.random.gauss(0, 0.02)

    def thing(time: float) -> Thing:
        x, z, heading = street.road.at(along + speed * time, right)
        return Thing(mesh, palette, label, instance, (x, 0, z), heading + turn)

    street.movers.append(thing)


def _two_wheeler(street: Street, motor: bool) -> tuple[int, Mesh]:
    if motor:
        return MOTORCYCLE, vehicles.motorcycle(street.random.random() < 0.5)
    return BICYCLE, vehicles.bicycle()


def _vehicle(street: Street, sort: str) -> tuple[int, str, paint.Palette]:
    label, names, colors = _FLEETS[sort]
    return label, street.random.choice(names), paint.vehicle(street.random, colors)


def _cross(street: Street) -> None:
    """Add people who cross the road at crossings and sometimes one elsewhere."""
    random = street.random
    for first, last in street.gaps:
        for stop in (first - 3, last + 3):
            if random.random() < 0.35 and 5 < stop < street.last - 90:
                for _ in range(random.randint(1, 4)):
                    right = random.uniform(-street.half_width, street.half_width)
                    along = stop + random.gauss(0, 0.8)
                    _walk(street, along, right, 0.0, random.choice((-1.2, 1.2)), 0.0)
    if random.random() < 0.2:
        along = random.uniform(9, 35)
        _walk(street, along, random.uniform(-street.half_width, street.half_width), 0, 1.2, 0.0)


def _walk(
    street: Street, along: float, right: float, ahead: float, across: float, up: float
) -> None:
    random = street.random
    build, palette = random.randrange(people.BUILDS), paint.person(random)
    instance, start = street.instance(PERSON), random.randrange(people.STEPS)
    speed = math.hypot(ahead, across)
    turn = math.atan2(across, ahead) if speed else random.uniform(0, 6.3)
    turn += random.gauss(0, 0.15)
    scale = random.uniform(0.9, 1.1)

    def thing(time: float) -> Thing:
        x, z, heading = street.road.at(along + ahead * time, right + across * time)
        phase = start + int(speed * time / people.CYCLE_SPEED * people.STEPS)
        pose = phase % people.STEPS if speed else people.STANDING
        mesh = people.pedestrian(build, pose)
        return Thing(mesh, palette, PERSON, instance, (x, up, z), heading + turn, scale)

    street.movers.append(thing)
