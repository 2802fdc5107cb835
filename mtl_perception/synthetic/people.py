# SPDX-License-Identifier: Apache-2.0
"""Templates of people: tubes around a skeleton posed by its hips, hands and feet."""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np

from mtl_perception.synthetic.mesh import Mesh, box, ellipsoid, limb, merged

BUILDS = 10
"""Number of different bodies with their outfits."""

STEPS = 8
"""Number of phases of a walking cycle."""

STANDING = STEPS
"""Phase of a person who stands."""

CYCLE_SPEED = 1.4
"""Metres per walking cycle."""

SEATS = {
    'bicycle': ((0, 0.98, -0.2), (0.22, 1.02, 0.28), ((0.12, 0.22, 0.08), (0.12, 0.5, 0.0))),
    'motorcycle': ((0, 0.82, -0.18), (0.3, 1.05, 0.28), ((0.2, 0.32, 0.1), (0.2, 0.32, 0.1))),
    'pillion': ((0, 0.86, -0.5), (0.18, 0.98, -0.2), ((0.22, 0.36, -0.3), (0.22, 0.36, -0.3))),
}
"""Hips, right hand, right foot and left foot of a rider 1.7 m tall: (x, y, z) in metres."""


@dataclass(frozen=True)
class _Build:
    height: float
    bulk: float
    legs: str
    torso: str
    hair: str
    bag: str


def _build(number: int) -> _Build:
    random = Random(number)
    return _Build(
        height=1.7 if number % 5 else 1.15,
        bulk=random.uniform(0.85, 1.25),
        legs=random.choice(('trousers', 'trousers', 'trousers', 'skirt', 'shorts')),
        torso=random.choice(('shirt', 'jacket', 'jacket', 'coat')),
        hair=random.choice(('short', 'short', 'long', 'hat', 'bald')),
        bag=random.choice(('', '', 'backpack', 'handbag')),
    )


@lru_cache(maxsize=256)
def pedestrian(build: int, phase: int) -> Mesh:
    """Return a person who walks (``phase`` below ``STEPS``) or stands; every fifth is a child."""
    shape = _build(build)
    walks = phase < STEPS
    swing = np.sin(2 * np.pi * phase / STEPS) if walks else 0.12
    lift = np.cos(2 * np.pi * phase / STEPS) if walks else 0.0
    stride = 0.36 if walks else 0.1
    hips = np.array([0, 0.93 - 0.03 * abs(swing) * walks, 0])
    feet = [
        np.array([side * 0.1, 0.07 + max(0, side * lift) * 0.13 * walks, side * swing * stride])
        for side in (1, -1)
    ]
    hands = [np.array([side * 0.27, 0.83, -side * swing * 0.28 + 0.05]) for side in (1, -1)]
    if not walks and build % 3 == 0:
        hands[0] = np.array([0.12, 1.28, 0.28])
    return _figure(shape, hips, hands, feet, 0.04).placed((0, 0, 0), scale=shape.height / 1.7)


@lru_cache(maxsize=64)
def seated(build: int, seat: str) -> Mesh:
    """Return a rider on one of ``SEATS``, in the frame of the vehicle."""
    shape = _build(build if build % 5 else build + 1)
    hips, hand, (right, left) = (np.array(point) for point in SEATS[seat])
    mirror = np.array([-1, 1, 1])
    lean = 0.22 if seat == 'bicycle' else 0.1
    return _figure(shape, hips, [hand, hand * mirror], [right, left * mirror], lean, seat)


def _figure(
    build: _Build,
    hips: np.ndarray,
    hands: list[np.ndarray],
    feet: list[np.ndarray],
    lean: float,
    seat: str = '',
) -> Mesh:
    """Return the limbs of a skeleton; hands and feet are in the order right, left."""
    bulk = build.bulk
    neck = _moved(hips, 0, 0.52, lean)
    head = _moved(neck, 0, 0.17, 0.03 + 0.2 * lean)
    waist = _moved(hips, 0, 0.26, 0.5 * lean)
    top = 'shirt' if build.torso == 'shirt' else 'jacket'
    parts = [
        limb(_moved(hips, 0, -0.06, 0), waist, (0.165 * bulk, 0.15 * bulk), top, 8, 0.68),
        limb(waist, _moved(neck, 0, -0.03, 0), (0.155 * bulk, 0.19), top, 8, 0.6),
        limb(_moved(neck, 0, -0.04, 0), _moved(neck, 0, 0.02, 0), (0.19, 0.07), top, 8, 0.6),
        limb(neck, head, (0.055, 0.055), 'skin'),
        ellipsoid(head, (0.085, 0.12, 0.1), 'skin', 6),
    ]
    for side, hand in zip((1, -1), hands, strict=True):
        shoulder = _moved(neck, side * 0.19, -0.06, 0)
        elbow = _joint(shoulder, hand, 0.29, 0.28, np.array([side * 0.6, -0.3, -1.0]))
        sleeve = 'skin' if top == 'shirt' else top
        parts += [
            limb(shoulder, elbow, (0.062 * bulk, 0.05), top),
            limb(elbow, hand, (0.047, 0.038), sleeve),
            ellipsoid(hand, (0.04, 0.06, 0.045), 'skin', 4),
        ]
    for side, foot in zip((1, -1), feet, strict=True):
        hip = _moved(hips, side * 0.085, -0.03, 0)
        knee = _joint(hip, foot, 0.44, 0.43, np.array([0, 0.1, 1.0]))
        shin = 'legs' if build.legs == 'trousers' or seat else 'skin'
        parts += [
            limb(hip, knee, (0.092 * bulk, 0.065 * bulk), 'legs'),
            limb(knee, foot, (0.062 * bulk, 0.045), shin),
            box((0.09, 0.08, 0.26), _moved(foot, 0, -0.07, 0.06), 'shoes', top=0.8),
        ]
    if build.legs == 'skirt' and not seat:
        hem = _moved(hips, 0, -0.45, 0)
        parts.append(limb(_moved(hips, 0, 0.08, 0), hem, (0.16, 0.27), 'legs', 8, 0.8))
    if build.torso == 'coat' and not seat:
        hem = _moved(hips, 0, -0.3, 0)
        parts.append(limb(_moved(hips, 0, 0.1, 0), hem, (0.17, 0.22), top, 8, 0.75))
    return merged(parts + _accessories(build, hips, neck, head, hands[0], seat))


def _accessories(
    build: _Build, hips: np.ndarray, neck: np.ndarray, head: np.ndarray, hand: np.ndarray, seat: str
) -> list[Mesh]:
    parts = []
    if seat and build.hair != 'bald':
        parts.append(ellipsoid(_moved(head, 0, 0.04, 0), (0.125, 0.13, 0.14), 'helmet', 6))
    elif build.hair == 'hat':
        parts.append(ellipsoid(_moved(head, 0, 0.08, 0), (0.13, 0.06, 0.14), 'helmet', 6))
    elif build.hair != 'bald':
        parts.append(ellipsoid(_moved(head, 0, 0.035, -0.025), (0.098, 0.105, 0.1), 'hair', 6))
    if build.hair == 'long':
        ends = _moved(neck, 0, -0.1, -0.09)
        parts.append(limb(_moved(head, 0, 0, -0.06), ends, (0.09, 0.07), 'hair'))
    if build.bag == 'backpack':
        back = _moved((hips + neck) / 2, 0, -0.1, -0.2)
        parts.append(box((0.3, 0.42, 0.17), back, 'bag', top=0.8))
    elif build.bag == 'handbag' and not seat:
        parts.append(box((0.12, 0.26, 0.3), _moved(hand, 0.03, -0.32, 0), 'bag'))
    return parts


def _moved(point: np.ndarray, right: float, up: float, ahead: float) -> np.ndarray:
    return point + np.array((right, up, ahead))


def _joint(
    start: np.ndarray, end: np.ndarray, upper: float, lower: float, toward: np.ndarray
) -> np.ndarray:
    """Return the position of a knee or elbow between both ends of a limb, bent ``toward``."""
    reach = end - start
    distance = np.linalg.norm(reach)
    axis = reach / distance
    along = np.clip((upper**2 - lower**2 + distance**2) / (2 * distance), 0, upper)
    side = toward - axis * (toward @ axis)
    side /= np.linalg.norm(side)
    return start + axis * along + side * np.sqrt(max(upper**2 - along**2, 0))
