"""The instance task: every pixel of a countable object votes for the centroid of its object."""

from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from mtl_perception.labels import INSTANCE_ID_BASE, IS_THING, THING_IDS
from mtl_perception.tasks.loss import LossSum
from mtl_perception.tasks.optics import clusters_at, optics

CHANNELS = 2
MAX_INSTANCES = INSTANCE_ID_BASE
"""Instances of one class that the encoding ``label · 1000 + k`` can tell apart in a frame."""


def target(instances: np.ndarray) -> np.ndarray:
    """Return the offset (dx, dy) from each pixel to its instance's centroid, ``(2, H, W)`` float32.

    The centroid is that of the pixels visible in ``instances``. NaN where there is none: outside
    the evaluated thing classes and on group regions, whose IDs are below 1000.

    Args:
        instances: ``(H, W)`` instance IDs, ``label · 1000 + k``.
    """
    offsets = np.full((2, *instances.shape), np.nan, np.float32)
    y, x = np.nonzero(
        (instances >= INSTANCE_ID_BASE) & IS_THING[np.minimum(instances // INSTANCE_ID_BASE, 255)]
    )
    if not x.size:
        return offsets
    _, index, count = np.unique(instances[y, x], return_inverse=True, return_counts=True)
    offsets[0, y, x] = (np.bincount(index, x) / count)[index] - x
    offsets[1, y, x] = (np.bincount(index, y) / count)[index] - y
    return offsets


def loss(offsets: Tensor, target: Tensor) -> LossSum:
    """Return the L1 norm of the error, summed over pixels with a centroid.

    Args:
        offsets: ``(N, 2, H, W)`` pixels.
        target: ``(N, 2, H, W)`` pixels, NaN where there is no centroid.
    """
    known = ~target.isnan()
    error = (offsets.float() - target.nan_to_num()).abs()
    return LossSum(torch.where(known, error, 0).sum(), known[:, 0].sum())


def _parameter(default: float, minimum: float, maximum: float, text: str):
    metadata = {'minimum': minimum, 'maximum': maximum, 'help': text}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class GroupingParameters:
    """How votes become instances; distances are pixels of the network's output map.

    Raises:
        ValueError: a value is out of the range its metadata states.
    """

    max_eps: float = _parameter(
        8.0, 0.5, 100.0, 'largest distance between votes that OPTICS regards as neighbours'
    )
    min_samples: int = _parameter(
        10, 1, 10000, 'votes within reach that make a vote the core of a cluster'
    )
    cut: float = _parameter(
        1.5, 0.1, 100.0, 'reachability at which the plot is cut into clusters; lower splits more'
    )
    min_pixels: int = _parameter(20, 1, 100000, 'clusters of fewer votes are dropped')
    max_distance: float = _parameter(
        10.0, 0.0, 1000.0, 'farthest that a vote outside all clusters lies from the one it joins'
    )

    def __post_init__(self) -> None:
        for parameter in fields(self):
            value, limits = getattr(self, parameter.name), parameter.metadata
            if not limits['minimum'] <= value <= limits['maximum']:
                msg = (
                    f'{parameter.name} must be from {limits["minimum"]} to {limits["maximum"]}, '
                    f'got {value}'
                )
                raise ValueError(msg)


@dataclass(frozen=True)
class Instances:
    """Instances of one frame.

    Attributes:
        ids: ``(H, W)`` uint16, ``label · 1000 + k`` with k = 0 the largest of its class; the bare
            label ID on stuff and on thing pixels that belong to no instance.
        scores: for each instance ID the mean probability of its class on its pixels.
    """

    ids: np.ndarray
    scores: dict[int, float]


def group_instances(
    labels: np.ndarray,
    confidence: np.ndarray,
    offsets: np.ndarray,
    parameters: GroupingParameters = GroupingParameters(),
) -> Instances:
    """Group the pixels of each thing class by where their votes meet.

    Args:
        labels: ``(H, W)`` uint8 label IDs.
        confidence: ``(H, W)`` uint8, 255 is certain.
        offsets: ``(2, H, W)`` float32 (dx, dy) pixels. Votes that are not finite belong to nothing.
        parameters: see ``GroupingParameters``.
    """
    ids = labels.astype(np.uint16)
    scores: dict[int, float] = {}
    y, x = np.nonzero(IS_THING[labels])
    votes = np.stack([x, y], 1) + offsets[:, y, x].T.astype(np.float64)
    finite = np.isfinite(votes).all(1)
    y, x, votes = y[finite], x[finite], votes[finite]
    of_pixel = labels[y, x]
    for label in THING_IDS:
        pixels = np.nonzero(of_pixel == label)[0]
        if pixels.size < parameters.min_pixels:
            continue
        clusters = _largest_first(_cluster(votes[pixels], parameters))
        for k in range(min(clusters.max() + 1, MAX_INSTANCES)):
            members = pixels[clusters == k]
            instance_id = label * INSTANCE_ID_BASE + k
            ids[y[members], x[members]] = instance_id
            scores[instance_id] = float(confidence[y[members], x[members]].mean() / 255)
    return Instances(ids, scores)


def _cluster(votes: np.ndarray, parameters: GroupingParameters) -> np.ndarray:
    """Return the cluster number of each of the ``(n, 2)`` votes, −1 for none."""
    cells, cell_of_vote, weights = np.unique(
        np.floor(votes), axis=0, return_inverse=True, return_counts=True
    )
    n = len(cells)
    points = np.stack([np.bincount(cell_of_vote, v, n) for v in votes.T], 1) / weights[:, None]
    plot = optics(
        points,
        weights=weights,
        min_samples=parameters.min_samples,
        max_eps=parameters.max_eps,
    )
    clusters = clusters_at(plot, parameters.cut)[cell_of_vote]
    clusters = _without_small(clusters, parameters.min_pixels)
    return _join_nearest(votes, clusters, parameters.max_distance)


def _without_small(clusters: np.ndarray, min_pixels: int) -> np.ndarray:
    sizes = np.bincount(clusters[clusters >= 0])
    number = np.full(sizes.size + 1, -1)
    kept = np.nonzero(sizes >= min_pixels)[0]
    number[kept] = np.arange(kept.size)
    return number[clusters]


def _join_nearest(votes: np.ndarray, clusters: np.ndarray, max_distance: float) -> np.ndarray:
    """Give each vote outside all clusters to the one whose centre is nearest."""
    n = clusters.max() + 1
    loose = np.nonzero(clusters < 0)[0]
    if not n or not loose.size:
        return clusters
    inside = clusters >= 0
    sizes = np.bincount(clusters[inside], minlength=n)
    centres = [np.bincount(clusters[inside], v[inside], n) / sizes for v in votes.T]
    distance = np.hypot(*(v[loose, None] - c for v, c in zip(votes.T, centres, strict=True)))
    nearest = distance.argmin(1)
    near = distance[np.arange(loose.size), nearest] <= max_distance
    joined = clusters.copy()
    joined[loose[near]] = nearest[near]
    return joined


def _largest_first(clusters: np.ndarray) -> np.ndarray:
    sizes = np.bincount(clusters[clusters >= 0])
    rank = np.full(sizes.size + 1, -1)
    rank[np.argsort(-sizes, kind='stable')] = np.arange(sizes.size)
    return rank[clusters]
