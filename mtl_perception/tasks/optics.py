# SPDX-License-Identifier: Apache-2.0
"""OPTICS, exact and in real time: density-based ordering of points and clusters cut from it.

Ankerst, Breunig, Kriegel, Sander, *OPTICS: Ordering Points To Identify the Clustering Structure*,
SIGMOD 1999.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Reachability(NamedTuple):
    """Reachability plot of n points; every array but the ordering is indexed by point."""

    ordering: NDArray[np.int64]
    """``(n,)`` indices of the points in visiting order."""
    reachability: NDArray[np.float64]
    """``(n,)`` distance at which each point was reached; inf if it was not."""
    core_distances: NDArray[np.float64]
    """``(n,)`` radius that holds ``min_samples`` points, itself included; inf above ``max_eps``."""
    predecessor: NDArray[np.int64]
    """``(n,)`` index of the point that each point was reached from; −1 if it was not."""


def optics(
    points: ArrayLike, *, weights: ArrayLike | None = None, min_samples: int, max_eps: float
) -> Reachability:
    """Return the exact reachability plot of ``points``.

    Without weights the plot equals, bit for bit, ``ordering_``, ``reachability_``,
    ``core_distances_`` and ``predecessor_`` of scikit-learn 1.9's ``OPTICS`` with
    ``algorithm='kd_tree'``, its default if ``min_samples`` is less than half of n; ties go to the
    lowest index. scikit-learn's other distances (brute force, ``metric='euclidean'``) are computed
    as x² − 2xy + y², whose rounding is coarse and differs between CPUs; results agree where that is
    exact, as on integers.

    A weight stands for as many copies of the point. Core distances count the copies; reachability,
    predecessor and position in the ordering belong to the copy visited first, the only one that
    affects other points. A point of weight ``min_samples`` or more has core distance 0.

    Two cases in which scikit-learn raises an error are defined here. Without points the arrays are
    empty. If the points (or the sum of their weights) are fewer than ``min_samples``, no point is
    core or reached, and the ordering is by index.

    Args:
        points: ``(n, 2)`` coordinates, usually pixels.
        weights: ``(n,)`` integers, at least 1.
        min_samples: Points within the core distance, the centre included; at least 1.
        max_eps: Largest distance considered, in the unit of the points; may be inf.

    Raises:
        ValueError: A point is NaN or infinite, or an argument is out of range.
    """
    points = np.ascontiguousarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        msg = f'points must be (n, 2), got {points.shape}'
        raise ValueError(msg)
    if not np.isfinite(points).all():
        msg = 'points must be finite'
        raise ValueError(msg)
    if min_samples < 1:
        msg = f'min_samples must be 1 or more, got {min_samples}'
        raise ValueError(msg)
    if not max_eps >= 0:
        msg = f'max_eps must be 0 or more, got {max_eps}'
        raise ValueError(msg)
    n = len(points)
    counts = _checked_weights(weights, n)
    if counts.sum() < min_samples:
        never = np.full(n, math.inf)
        return Reachability(np.arange(n), never, never.copy(), np.full(n, -1))
    return Reachability(*_implementation()(points, counts, int(min_samples), float(max_eps)))


def clusters_at(plot: Reachability, cut: ArrayLike) -> NDArray[np.int64]:
    """Return the ``(n,)`` clusters of a plot that is cut at distance ``cut``; −1 is noise.

    Clusters are numbered from 0 in the order of the plot. They equal the clusters of DBSCAN with
    radius ``cut``, except for points on the border of a cluster (Ankerst et al.,
    ExtractDBSCAN-Clustering). A ``cut`` beyond the plot's ``max_eps`` is equivalent to ``max_eps``.

    With a cut for each point, a point stays with its predecessor if its reachability is at most the
    mean of their two cuts.

    Args:
        plot: Reachability plot of n points.
        cut: Distance for all points, or ``(n,)`` distances.

    Raises:
        ValueError: A ``cut`` is negative, infinite or NaN.
    """
    n = len(plot.ordering)
    cuts = np.broadcast_to(np.asarray(cut, np.float64), n)
    if not ((cuts >= 0) & (cuts < math.inf)).all():
        msg = f'cut must be 0 or more and finite, got {cut!r}'
        raise ValueError(msg)
    stays = plot.reachability <= cuts / 2 + cuts[plot.predecessor] / 2
    roots = np.where(stays, plot.predecessor, np.arange(n))
    while (roots != (further := roots[roots])).any():
        roots = further
    in_cluster = plot.core_distances <= cuts
    in_cluster[roots[stays]] = True
    first = ((roots == np.arange(n)) & in_cluster)[plot.ordering]
    number = np.full(n, -1)
    number[plot.ordering[first]] = np.arange(np.count_nonzero(first))
    return number[roots]


def compile_optics() -> None:
    """Compile ``optics``, or load it from numba's cache on disk, before the first frame."""
    optics(np.zeros((2, 2)), min_samples=2, max_eps=math.inf)


def _checked_weights(weights: ArrayLike | None, n: int) -> NDArray[np.int64]:
    if weights is None:
        return np.ones(n, np.int64)
    weights = np.asarray(weights)
    if weights.shape != (n,) or not (n == 0 or np.issubdtype(weights.dtype, np.integer)):
        msg = f'weights must be ({n},) integers, got {weights.shape} {weights.dtype}'
        raise ValueError(msg)
    if (weights < 1).any():
        msg = f'weights must be 1 or more, got {weights.min()}'
        raise ValueError(msg)
    return weights.astype(np.int64)


@functools.cache
def _implementation() -> Callable[[NDArray, NDArray, int, float], tuple[NDArray, ...]]:
    try:
        # Imported here because numba takes half a second, and most commands do not need it.
        from mtl_perception.tasks import _optics_kernels
    except ImportError as err:
        warnings.warn(
            f'OPTICS runs on scikit-learn, about a thousand times slower: {err}', stacklevel=3
        )
        return _with_scikit_learn
    return _optics_kernels.run


def _with_scikit_learn(
    points: NDArray, weights: NDArray, min_samples: int, max_eps: float
) -> tuple[NDArray, ...]:
    from sklearn.cluster import compute_optics_graph

    if min_samples == 1:
        # scikit-learn refuses 1, which is equivalent to 2 with every point doubled.
        weights, min_samples = 2 * weights, 2
    weights = np.minimum(weights, min_samples)  # enough for a core distance of 0
    original = np.repeat(np.arange(len(points)), weights)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'All reachability values are inf')
        ordering, core_distances, reachability, predecessor = compute_optics_graph(
            points[original],
            min_samples=min_samples,
            max_eps=max_eps,
            metric='minkowski',
            p=2,
            metric_params=None,
            algorithm='kd_tree',
            leaf_size=30,
            n_jobs=None,
        )
    _, first = np.unique(original, return_index=True)
    reached_from = predecessor[first]
    return (
        original[ordering[np.isin(ordering, first)]],
        reachability[first],
        core_distances[first],
        np.where(reached_from < 0, -1, original[reached_from]),
    )
