"""Instances as objects: class, score, box, mask and distance of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mtl_perception.labels import INSTANCE_ID_BASE, LABELS


@dataclass(frozen=True)
class Object:
    """One instance in an image; positions are in pixels of the instance map.

    Attributes:
        id: Instance ID, ``label · 1000 + k``.
        label: Label ID of its class.
        name: Name of its class.
        score: Mean probability of its class, 0 to 1; ``None`` where the map came without scores.
        box: (left, top, right, bottom) of its pixels; right and bottom are exclusive.
        center: (x, y), mean of its pixels' centres.
        area: Number of its pixels.
        depth: Median depth in metres, +Inf beyond the maximum; ``None`` where it is unknown.
        instances: ``(h, w)`` map that it was found in.
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
        """``(h, w)`` bool, true on its pixels."""
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
        scores: Score of each ID.
    """
    if instances is None:
        return []
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
