# SPDX-License-Identifier: Apache-2.0
"""Things in a street and their triangles for the renderer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic.mesh import Mesh
from mtl_perception.synthetic.paint import Palette
from mtl_perception.synthetic.rendering import Soup


@dataclass(frozen=True)
class Thing:
    """Mesh with position, materials and ground truth; ``ground`` meshes are already placed."""

    mesh: Mesh
    palette: Palette
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


Mover = Callable[[float], Thing]
"""Thing that moves, as a function of the time in seconds."""


def soup(things: Iterable[Thing]) -> Soup:
    """Return the triangles of all things in world coordinates."""
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
