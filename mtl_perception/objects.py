# SPDX-License-Identifier: Apache-2.0
"""Objects in an instance map: class, score, box, mask and distance."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mtl_perception.labels import INSTANCE_ID_BASE, LABELS, NUM_LABELS


@dataclass(frozen=True)
class Object:
    """One instance of an image; positions are in pixels of the instance map.

    Attributes:
        id: Instance ID, ``label · 1000 + k``.
        label: Label ID of the class.
        name: Name of the class.
        score: Mean probability of the class, 0 to 1; ``None`` if unknown.
        box: (left, top, right, bottom); right and bottom are exclusive.
        center: (x, y), mean position of the pixels.
        area: Number of pixels.
        depth: Median depth in metres, +Inf beyond the maximum; ``None`` if unknown.
        instances: ``(h, w)`` instance map.
    """

    id: int
    label: int
    name: str
    score: float | None
    box: tuple[int, int, int, int]
    center: tuple[float, float]
    area: int
    depth: float | None
    instances: np.ndarray = field(repr=False, compare=False)

    @property
    def mask(self) -> np.ndarray:
        """``(h, w)`` bool, true on the object."""
        return self.instances == self.id


def find_objects(
    instances: np.ndarray | None,
    depth: np.ndarray | None = None,
    scores: Mapping[int, float] | None = None,
) -> list[Object]:
    """Return the objects of an instance map by ascending ID; none without a map.

    Args:
        instances: ``(h, w)`` integers, ``label · 1000 + k``; smaller values belong to no object.
        depth: ``(h, w)`` metres, +Inf beyond the maximum, NaN unknown.
        scores: Score of each instance ID.

    Raises:
        ValueError: An ID has no label, or the maps differ in size.

    Examples:
        >>> instances = np.array([[7, 26000, 26000], [7, 26000, 26000]], np.uint16)
        >>> (car,) = find_objects(instances, np.full((2, 3), 12.5, np.float32), {26000: 0.75})
        >>> car.name, car.score, car.box, car.area, car.depth
        ('car', 0.75, (1, 0, 3, 2), 4, 12.5)
        >>> car.mask.astype(int).tolist()
        [[0, 1, 1], [0, 1, 1]]
    """
    if instances is None:
        return []
    if depth is not None and depth.shape != instances.shape:
        msg = f'the instance map has the shape {instances.shape}, the depth map {depth.shape}'
        raise ValueError(msg)
    if (highest := instances.max(initial=0)) >= NUM_LABELS * INSTANCE_ID_BASE:
        msg = f'{highest} is not an instance ID: label · 1000 + k with a label below {NUM_LABELS}'
        raise ValueError(msg)
    ids = instances.ravel()
    pixels = np.nonzero(ids >= INSTANCE_ID_BASE)[0]
    pixels = pixels[np.argsort(ids[pixels], kind='stable')]
    found, starts = np.unique(ids[pixels], return_index=True)
    objects = []
    for instance_id, members in zip(found.tolist(), np.split(pixels, starts[1:]), strict=False):
        y, x = np.divmod(members, instances.shape[1])
        label = instance_id // INSTANCE_ID_BASE
        objects.append(
            Object(
                id=instance_id,
                label=label,
                name=LABELS[label].name,
                score=(scores or {}).get(instance_id),
                box=(int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1),
                center=(float(x.mean()), float(y.mean())),
                area=members.size,
                depth=None if depth is None else _median(depth.ravel()[members]),
                instances=instances,
            )
        )
    return objects


def _median(depth: np.ndarray) -> float | None:
    known = depth[~np.isnan(depth)]
    return float(np.median(known)) if known.size else None
