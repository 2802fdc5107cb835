# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes and primitives, the parts of all objects in a synthetic street.

World coordinates are in metres: x right, y up, z forward along the street. The frame of an object
has its origin on the ground and z along its heading. Surfaces are two-sided, so the order of
corners does not matter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Point = Sequence[float] | np.ndarray
"""x, y and z in metres."""


@dataclass(frozen=True)
class Mesh:
    """Triangles with named slots for materials; a palette assigns a material to each slot.

    Attributes:
        corners: ``(F, 3, 3)`` float32, metres.
        normals: ``(F, 3, 3)`` float32, one unit vector per corner.
        uv: ``(F, 3, 2)`` float32, texture coordinates; a texture tile spans one unit.
        slots: ``(F,)`` int32, index into ``slot_names``.
        slot_names: Names of the slots.
    """

    corners: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    slots: np.ndarray
    slot_names: tuple[str, ...]

    def placed(
        self, position: Point, heading: float = 0.0, scale: float | Point = 1.0, lean: float = 0.0
    ) -> 'Mesh':
        """Return the mesh scaled, leaned and turned to the right (radians), then moved."""
        cos, sin = float(np.cos(heading)), float(np.sin(heading))
        turn = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
        if lean:
            cos, sin = float(np.cos(lean)), float(np.sin(lean))
            turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ turn
        turn = turn.astype(np.float32)
        stretched = turn * np.asarray(scale, np.float32).reshape(-1, 1)
        corners = self.corners.reshape(-1, 3) @ stretched
        corners += np.asarray(position, np.float32)
        normals = self.normals.reshape(-1, 3) @ turn
        shape = self.corners.shape
        return Mesh(
            corners.reshape(shape), normals.reshape(shape), self.uv, self.slots, self.slot_names
        )


def merged(meshes: Iterable[Mesh]) -> Mesh:
    """Return the union of meshes; equal slot names become one slot."""
    parts = list(meshes)
    names = tuple(dict.fromkeys(name for part in parts for name in part.slot_names))
    slots = [
        np.array([names.index(name) for name in part.slot_names], np.int32)[part.slots]
        for part in parts
    ]
    return Mesh(
        np.concatenate([part.corners for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.uv for part in parts]),
        np.concatenate(slots),
        names,
    )


def triangles(
    corners: np.ndarray, slot: str, uv: np.ndarray, normals: np.ndarray | None = None
) -> Mesh:
    """Return a mesh of ``(F, 3, 3)`` corners and ``(F, 3, 2)`` uv; normals are flat by default."""
    if normals is None:
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.repeat(_unit(flat)[:, None], 3, axis=1)
    return Mesh(
        np.asarray(corners, np.float32),
        np.asarray(normals, np.float32),
        np.asarray(uv, np.float32),
        np.zeros(len(corners), np.int32),
        (slot,),
    )


def quads(
    corners: np.ndarray | Sequence,
    slot: str,
    uv: np.ndarray | None = None,
    normals: np.ndarray | None = None,
    tile: float = 1.0,
) -> Mesh:
    """Return a mesh of planar ``(N, 4, 3)`` quads.

    By default u follows the first edge and v the last edge, one unit per ``tile`` metres.
    """
    corners = np.asarray(corners, np.float64)
    if uv is None:
        along = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1) / tile
        across = np.linalg.norm(corners[:, 3] - corners[:, 0], axis=1) / tile
        zero = np.zeros_like(along)
        uv = np.stack([zero, zero, along, zero, along, across, zero, across], 1).reshape(-1, 4, 2)
    split = np.array([[0, 1, 2], [0, 2, 3]])
    return triangles(
        corners[:, split].reshape(-1, 3, 3),
        slot,
        np.asarray(uv)[:, split].reshape(-1, 3, 2),
        None if normals is None else np.asarray(normals)[:, split].reshape(-1, 3, 3),
    )


def panel(points: np.ndarray | Sequence, slot: str) -> Mesh:
    """Return one convex planar polygon of ``(N, 3)`` points."""
    points = np.asarray(points, np.float64)
    fan = np.array([[0, i, i + 1] for i in range(1, len(points) - 1)])
    corners = points[fan]
    return triangles(corners, slot, np.zeros((len(corners), 3, 2)))


def box(size: Point, centre: Point, slot: str, top: float = 1.0, tile: float = 1.0) -> Mesh:
    """Return a box of ``size`` (x, y, z) with the centre of its bottom face at ``centre``.

    ``top`` scales the top face, to taper the box.
    """
    x, y, z = size[0] / 2, size[1], size[2] / 2
    low = np.array([[-x, 0, -z], [x, 0, -z], [x, 0, z], [-x, 0, z]])
    high = low * [top, 1, top] + [0, y, 0]
    sides = [[low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]] for i in range(4)]
    return quads(np.array([*sides, high, low]) + np.asarray(centre), slot, tile=tile)


def limb(
    start: Point,
    end: Point,
    radii: tuple[float, float],
    slot: str,
    sides: int = 6,
    flatness: float = 1.0,
    closed: bool = False,
) -> Mesh:
    """Return a tapered tube; ``flatness`` scales its radius towards the front."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    axis = _unit((b - a)[None])[0]
    helper = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    side = _unit(np.cross(axis, helper)[None])[0]
    front = np.cross(side, axis) * flatness
    angle = np.arange(sides + 1) * (2 * np.pi / sides)
    around = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * front
    low, high = a + around * radii[0], b + around * radii[1]
    normal = _unit(around)
    skin = np.stack([low[:-1], low[1:], high[1:], high[:-1]], 1)
    normals = np.stack([normal[:-1], normal[1:], normal[1:], normal[:-1]], 1)
    tube = quads(skin, slot, normals=normals)
    if not closed:
        return tube
    return merged([tube, panel(low[:-1], slot), panel(high[:-1], slot)])


def ellipsoid(centre: Point, radii: Point, slot: str, sides: int = 8) -> Mesh:
    """Return an ellipsoid with smooth normals and ``sides`` facets around its vertical axis."""
    around = np.arange(sides + 1) * (2 * np.pi / sides)
    down = np.linspace(0, np.pi, sides // 2 + 1)
    sphere = np.stack(
        [
            np.sin(down)[:, None] * np.cos(around),
            np.repeat(np.cos(down)[:, None], sides + 1, 1),
            np.sin(down)[:, None] * np.sin(around),
        ],
        -1,
    )
    cells = [sphere[:-1, :-1], sphere[:-1, 1:], sphere[1:, 1:], sphere[1:, :-1]]
    unit = np.stack(cells, 2).reshape(-1, 4, 3)
    corners = unit * np.asarray(radii) + np.asarray(centre)
    return quads(corners, slot, normals=_unit(unit / np.asarray(radii)))


def disc(centre: Point, radius: float, slot: str, sides: int = 12) -> Mesh:
    """Return a disc perpendicular to the x axis."""
    angle = np.arange(sides) * (2 * np.pi / sides)
    rim = np.stack([np.zeros(sides), np.cos(angle) * radius, np.sin(angle) * radius], 1)
    return panel(rim + np.asarray(centre), slot)


def hoop(centre: Point, radius: float, thickness: float, slot: str, sides: int = 12) -> Mesh:
    """Return a ring around the x axis with a square section of side ``thickness``."""
    angle = np.arange(sides + 1) * (2 * np.pi / sides)
    circle = np.stack([np.zeros(sides + 1), np.cos(angle), np.sin(angle)], 1)
    half = np.array([thickness / 2, 0, 0])
    rails = [
        circle * radius - half,
        circle * radius + half,
        circle * (radius - thickness) + half,
        circle * (radius - thickness) - half,
    ]
    bands = [
        np.stack([one[:-1], one[1:], other[1:], other[:-1]], 1)
        for one, other in zip(rails, rails[1:] + rails[:1], strict=True)
    ]
    return quads(np.concatenate(bands) + np.asarray(centre), slot)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
