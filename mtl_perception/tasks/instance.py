# SPDX-License-Identifier: Apache-2.0
"""The instance task: each pixel of an object votes for the object's centroid."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from mtl_perception.labels import INSTANCE_ID_BASE, IS_THING
from mtl_perception.tasks.loss import LossSum
from mtl_perception.tasks.optics import Reachability, clusters_at, optics

CHANNELS = 2
MAX_INSTANCES = INSTANCE_ID_BASE
"""Instances of one class in a frame that ``label · 1000 + k`` can encode."""

MAX_CELLS = 800
"""Most cells in a frame; the slowest map found then takes 10 ms on one core."""
MIN_GROWTH = 1.1
"""Minimum growth factor of the cell size per iteration."""
MARGIN = 0.25
"""Largest distance of a vote outside the image, as a share of the image's longer side."""


def target(instances: np.ndarray) -> np.ndarray:
    """Return the offset (dx, dy) from each pixel to its instance's centroid, ``(2, H, W)`` float32.

    The centroid is the mean of the pixels with one ID, ``label · 1000 + k``. Offsets are NaN
    outside the evaluated thing classes and on group regions, whose IDs are below 1000.
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

    Offsets and target are ``(N, 2, H, W)`` pixels; the target is NaN without a centroid.
    """
    known = ~target.isnan()
    error = (offsets.float() - target.nan_to_num()).abs()
    return LossSum(torch.where(known, error, 0).sum(), known[:, 0].sum())


def _parameter(default: float, minimum: float, maximum: float, text: str):
    return field(default=default, metadata={'range': (minimum, maximum), 'help': text})


@dataclass(frozen=True)
class GroupingParameters:
    """Parameters that group votes into instances; distances are pixels of the output map.

    The reachability plot is cut where it exceeds ``relative_cut`` times the local mean length of
    the offsets, which is about 0.4 of an object's extent, but never below ``cut`` or above
    ``max_eps``. A cut that keeps a large, near object whole would merge small, far objects.

    Raises:
        ValueError: A value is out of the range in its field's metadata.
    """

    max_eps: float = _parameter(
        8.0, 0.5, 100.0, 'largest distance between votes that OPTICS regards as neighbours'
    )
    min_samples: int = _parameter(
        10, 1, 10000, 'votes within reach that make a vote the core of a cluster'
    )
    cut: float = _parameter(
        1.5,
        0.1,
        100.0,
        'smallest reachability at which the plot is cut into clusters, for small objects; '
        'lower splits more',
    )
    relative_cut: float = _parameter(
        0.1,
        0.0,
        10.0,
        'reachability at which large objects are cut, as a share of the length of their '
        'offsets; higher keeps them whole',
    )
    min_pixels: int = _parameter(20, 1, 100000, 'clusters of fewer votes are dropped')
    max_distance: float = _parameter(
        10.0, 0.0, 1000.0, 'largest distance of a stray vote from the centre of its cluster'
    )

    def __post_init__(self) -> None:
        for parameter in fields(self):
            value, (low, high) = getattr(self, parameter.name), parameter.metadata['range']
            if not low <= value <= high:
                msg = f'{parameter.name} must be from {low:g} to {high:g}, got {value}'
                raise ValueError(msg)


@dataclass(frozen=True)
class Instances:
    """Instances of one frame.

    Attributes:
        ids: ``(H, W)`` uint16, ``label · 1000 + k`` on instances, numbered from k = 0 by decreasing
            size in each class, ties by position from top to bottom, then left to right; the bare
            label ID on stuff and on thing pixels without an instance.
        scores: Mean class probability of each instance ID, 0 to 1.
    """

    ids: np.ndarray
    scores: dict[int, float]


@dataclass(frozen=True)
class Cells:
    """Votes of a frame, merged: one point for the votes of one class in one square.

    Attributes:
        labels: ``(n,)`` label IDs, ascending.
        points: ``(n, 2)`` x and y of the mean vote, pixels.
        weights: ``(n,)`` numbers of votes.
        scales: ``(n,)`` mean lengths of the offsets, pixels.
        size: Edge of a square, pixels; 1 unless that gives more than ``MAX_CELLS``.
        pixels: ``(m,)`` flat indices of the voting pixels.
        of_pixel: ``(m,)`` index of each voting pixel's cell.
    """

    labels: np.ndarray
    points: np.ndarray
    weights: np.ndarray
    scales: np.ndarray
    size: float
    pixels: np.ndarray
    of_pixel: np.ndarray


@dataclass(frozen=True)
class Grouping(Instances):
    """Instances with the steps that led to them.

    Attributes:
        cells: Votes.
        cuts: ``(n,)`` reachability at which the plot is cut at each cell, pixels.
        plots: Reachability plot of the cells of each label ID.
        cell_ids: ``(n,)`` instance IDs; the bare label ID for cells without an instance.
    """

    cells: Cells
    cuts: np.ndarray
    plots: dict[int, Reachability]
    cell_ids: np.ndarray


def group_instances(
    labels: np.ndarray,
    confidence: np.ndarray,
    offsets: np.ndarray,
    parameters: GroupingParameters = GroupingParameters(),
) -> Grouping:
    """Group the pixels of each thing class whose votes meet.

    ``MAX_CELLS`` bounds the cost for any number of pixels and votes.

    Args:
        labels: ``(H, W)`` uint8 label IDs.
        confidence: ``(H, W)`` uint8, 255 is certain.
        offsets: ``(2, H, W)`` float32 (dx, dy) pixels. Votes that are not finite, or farther
            outside the image than ``MARGIN``, are ignored.
        parameters: See ``GroupingParameters``.
    """
    return group_cells(labels, confidence, merge_votes(labels, offsets), parameters)


def group_cells(
    labels: np.ndarray,
    confidence: np.ndarray,
    cells: Cells,
    parameters: GroupingParameters = GroupingParameters(),
    extract: Callable[[Reachability, np.ndarray], np.ndarray] = clusters_at,
) -> Grouping:
    """Group merged votes; ``group_instances`` describes the other arguments.

    Distances scale with the size of the squares and ``min_samples`` with their area, so a cluster
    has equal density in coarse and fine cells. ``extract`` returns the ``(n,)`` clusters of a
    reachability plot of n points and ``(n,)`` cuts; −1 is noise.
    """
    least, most = parameters.cut * cells.size, parameters.max_eps * cells.size
    cuts = np.minimum(np.maximum(parameters.relative_cut * cells.scales, least), most)
    clusters = np.full(cells.labels.size, -1)
    plots: dict[int, Reachability] = {}
    for label, members in _classes(cells.labels):
        plots[label] = optics(
            cells.points[members],
            weights=cells.weights[members],
            min_samples=round(parameters.min_samples * cells.size**2),
            max_eps=most,
        )
        found = extract(plots[label], cuts[members])
        clusters[members] = np.where(found < 0, -1, found + clusters.max(initial=-1) + 1)
    clusters = _without_small(clusters, cells.weights, parameters.min_pixels)
    cell_ids = _instance_ids(cells, _join_nearest(cells, clusters, parameters.max_distance))
    ids = labels.astype(np.uint16, order='C')
    of_pixel = cell_ids[cells.of_pixel]
    ids.ravel()[cells.pixels] = of_pixel
    sums = np.bincount(of_pixel, confidence.ravel()[cells.pixels])
    areas = np.bincount(of_pixel)
    found = np.unique(cell_ids[cell_ids >= INSTANCE_ID_BASE]).tolist()
    scores = {i: float(sums[i] / areas[i] / 255) for i in found}
    return Grouping(ids, scores, cells, cuts, plots, cell_ids)


def merge_votes(labels: np.ndarray, offsets: np.ndarray, max_cells: int = MAX_CELLS) -> Cells:
    """Merge the votes of thing pixels into at most ``max_cells`` cells.

    ``labels`` and ``offsets`` are arguments of ``group_instances``. Squares grow until the cells
    are few enough; ``max_cells`` must be at least the number of thing classes.
    """
    height, width = labels.shape
    margin = MARGIN * max(height, width)
    pixels = np.flatnonzero(IS_THING[labels])
    y, x = np.divmod(pixels, width)
    dx, dy = offsets.reshape(2, -1)[:, pixels].astype(np.float64)
    x, y = x + dx + margin, y + dy + margin
    # Comparisons with NaN are false.
    valid = (x >= 0) & (x < width + 2 * margin) & (y >= 0) & (y < height + 2 * margin)
    if not valid.all():
        pixels, x, y, dx, dy = (values[valid] for values in (pixels, x, y, dx, dy))
    present = np.flatnonzero(np.bincount(labels.ravel()[pixels], minlength=256))
    layer = np.zeros(256, np.int64)
    layer[present] = np.arange(present.size)
    layers = layer[labels.ravel()[pixels]]
    size = 1.0
    while True:
        rows, columns = (int((extent + 2 * margin) / size) + 1 for extent in (height, width))
        key = (layers * rows + (y / size).astype(np.int64)) * columns
        key += (x / size).astype(np.int64)
        votes = np.bincount(key, minlength=present.size * rows * columns)
        n = np.count_nonzero(votes)
        if n <= max_cells:
            break
        size *= max(MIN_GROWTH, math.sqrt(n / max_cells))
    occupied = np.flatnonzero(votes)
    number = np.empty(votes.size, np.int64)
    number[occupied] = np.arange(n)
    of_pixel, weights = number[key], votes[occupied]

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(of_pixel, values, n) / weights

    return Cells(
        labels=present[occupied // (rows * columns)],
        points=np.stack([mean(x) - margin, mean(y) - margin], 1),
        weights=weights,
        scales=mean(np.hypot(dx, dy)),
        size=size,
        pixels=pixels,
        of_pixel=of_pixel,
    )


def _classes(labels: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yield each of the ascending ``labels`` and its slice."""
    found, starts = np.unique(labels, return_index=True)
    bounds = itertools.pairwise([*starts, labels.size])
    for label, (start, stop) in zip(found, bounds, strict=True):
        yield int(label), slice(start, stop)


def _without_small(clusters: np.ndarray, weights: np.ndarray, min_pixels: int) -> np.ndarray:
    inside = clusters >= 0
    sizes = np.bincount(clusters[inside], weights[inside])
    number = np.full(sizes.size + 1, -1)
    kept = np.flatnonzero(sizes >= min_pixels)
    number[kept] = np.arange(kept.size)
    return number[clusters]


def _centers(cells: Cells, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of votes ``(k,)`` and the mean vote ``(k, 2)`` of each cluster."""
    inside = clusters >= 0
    members, weights = clusters[inside], cells.weights[inside]
    votes = np.bincount(members, weights)
    sums = [np.bincount(members, weights * v[inside]) for v in cells.points.T]
    return votes, np.stack(sums, 1) / votes[:, None]


def _join_nearest(cells: Cells, clusters: np.ndarray, max_distance: float) -> np.ndarray:
    """Assign each cell without a cluster to the nearest centre of its class."""
    _, centers = _centers(cells, clusters)
    joined = clusters.copy()
    for _, members in _classes(cells.labels):
        own = clusters[members]
        loose = np.flatnonzero(own < 0) + members.start
        if not 0 < loose.size < own.size:
            continue
        first, last = own[own >= 0].min(), own.max()
        x, y = cells.points[loose].T
        center_x, center_y = centers[first : last + 1].T
        squared = np.square(x[:, None] - center_x) + np.square(y[:, None] - center_y)
        nearest = squared.argmin(1)
        near = squared[np.arange(loose.size), nearest] <= max_distance**2
        joined[loose[near]] = first + nearest[near]
    return joined


def _instance_ids(cells: Cells, clusters: np.ndarray) -> np.ndarray:
    """Return ``label · 1000 + k`` for each cell, k by decreasing size; the label for noise.

    If a class has more than ``MAX_INSTANCES``, the smallest keep the bare label.
    """
    votes, centers = _centers(cells, clusters)
    label = np.empty(votes.size, np.int64)
    label[clusters[clusters >= 0]] = cells.labels[clusters >= 0]
    order = np.lexsort((centers[:, 0], centers[:, 1], -votes, label))
    k = np.empty(votes.size, np.int64)
    k[order] = np.arange(votes.size) - np.searchsorted(label[order], label[order])
    named = np.where(k < MAX_INSTANCES, label * INSTANCE_ID_BASE + k, label)
    return np.where(clusters >= 0, np.append(named, 0)[clusters], cells.labels)
