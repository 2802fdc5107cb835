# SPDX-License-Identifier: Apache-2.0
"""OPTICS equals scikit-learn bit for bit, with weights, limits and refused arguments."""

import functools
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import OPTICS, cluster_optics_dbscan, compute_optics_graph

from mtl_perception.tasks import optics as module
from mtl_perception.tasks.optics import Reachability, clusters_at, compile_optics, optics


def uniform(rng: np.random.Generator, n: int) -> NDArray:
    return rng.uniform(0, 100, (n, 2))


def clustered(rng: np.random.Generator, n: int) -> NDArray:
    return rng.uniform(0, 100, (6, 2))[rng.integers(0, 6, n)] + rng.normal(0, 2, (n, 2))


def lattice(rng: np.random.Generator, n: int) -> NDArray:
    return rng.integers(0, 15, (n, 2)).astype(float)


def duplicates(rng: np.random.Generator, n: int) -> NDArray:
    return uniform(rng, n // 5 + 1)[rng.integers(0, n // 5 + 1, n)]


def collinear(rng: np.random.Generator, n: int) -> NDArray:
    return np.outer(rng.uniform(0, 60, n), (1.0, 0.3))


def sizes_apart(rng: np.random.Generator, n: int) -> NDArray:
    return rng.uniform(-1, 1, (n, 2)) * 10.0 ** rng.integers(-9, 9, (n, 1))


OPTICS_DEFAULTS = {
    name: OPTICS().get_params()[name]
    for name in ('metric', 'p', 'metric_params', 'leaf_size', 'n_jobs')
}
KINDS = (uniform, clustered, lattice, duplicates, collinear, sizes_apart)


def reference(points: NDArray, min_samples: int, max_eps: float, algorithm: str) -> Reachability:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        ordering, core_distances, reachability, predecessor = compute_optics_graph(
            points,
            min_samples=min_samples,
            max_eps=max_eps,
            algorithm=algorithm,
            **OPTICS_DEFAULTS,
        )
    return Reachability(ordering, reachability, core_distances, predecessor)


def assert_identical(found: Reachability, expected: Reachability) -> None:
    for name, a, b in zip(Reachability._fields, found, expected, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_plot_is_identical_to_that_of_scikit_learn(
    kind: Callable[[np.random.Generator, int], NDArray],
) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(34):
        n = int(rng.integers(2, 130))
        min_samples = int(rng.integers(2, min(n, 25) + 1))
        max_eps = float(rng.choice((np.inf, 0.0, 1.0, 5.0, 20.0, rng.uniform(0.5, 10))))
        points = kind(rng, n)
        # From half of n on scikit-learn leaves its tree for a search that rounds coarsely.
        algorithm = 'auto' if min_samples < n // 2 else 'kd_tree'
        assert_identical(
            optics(points, min_samples=min_samples, max_eps=max_eps),
            reference(points, min_samples, max_eps, algorithm),
        )


@pytest.mark.slow
def test_plot_of_a_lattice_is_that_of_every_search_scikit_learn_has() -> None:
    points = lattice(np.random.default_rng(0), 90)
    for min_samples in (2, 50):
        for algorithm in ('auto', 'brute'):
            assert_identical(
                optics(points, min_samples=min_samples, max_eps=6.0),
                reference(points, min_samples, 6.0, algorithm),
            )


def test_plot_of_thousands_of_points_is_identical_to_that_of_scikit_learn() -> None:
    points = clustered(np.random.default_rng(1), 2000)
    assert_identical(
        optics(points, min_samples=10, max_eps=10), reference(points, 10, 10.0, 'auto')
    )


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_weights_equal_repeated_points(
    kind: Callable[[np.random.Generator, int], NDArray],
) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for heaviest in (1, 3, 3, 12, 12):
        points = kind(rng, int(rng.integers(20, 60)))
        weights = rng.integers(1, heaviest + 1, len(points))
        max_eps = float(rng.choice((np.inf, 8.0)))
        repeated = reference(np.repeat(points, weights, axis=0), 10, max_eps, 'kd_tree')
        copies = np.repeat(np.arange(len(points)), weights)
        first = np.cumsum(weights) - weights

        found = optics(points, weights=weights, min_samples=10, max_eps=max_eps)

        visited = copies[repeated.ordering]
        _, first_visits = np.unique(visited, return_index=True)
        np.testing.assert_array_equal(found.ordering, visited[np.sort(first_visits)])
        np.testing.assert_array_equal(found.reachability, repeated.reachability[first])
        np.testing.assert_array_equal(found.core_distances, repeated.core_distances[first])
        reached_from = repeated.predecessor[first]
        np.testing.assert_array_equal(
            found.predecessor, np.where(reached_from < 0, -1, copies[reached_from])
        )
        np.testing.assert_array_equal(clusters_at(found, 5.0)[copies], clusters_at(repeated, 5.0))


def test_point_heavy_enough_alone_is_core_at_distance_zero() -> None:
    plot = optics(((0, 0), (3, 4)), weights=(5, 4), min_samples=5, max_eps=np.inf)
    assert plot.core_distances.tolist() == [0, 5]
    assert plot.reachability.tolist() == [np.inf, 5]
    assert plot.predecessor.tolist() == [-1, 0]


def test_no_points_give_empty_arrays() -> None:
    plot = optics(np.empty((0, 2)), min_samples=5, max_eps=3.0)
    assert [len(array) for array in plot] == [0, 0, 0, 0]
    assert clusters_at(plot, 1.0).tolist() == []


@pytest.mark.parametrize('n', [1, 2, 4])
def test_fewer_points_than_min_samples_are_all_noise_in_order_of_their_indices(n: int) -> None:
    plot = optics(np.zeros((n, 2)), min_samples=5, max_eps=np.inf)
    assert plot.ordering.tolist() == list(range(n))
    assert np.isinf(plot.reachability).all()
    assert np.isinf(plot.core_distances).all()
    assert (plot.predecessor == -1).all()
    assert (clusters_at(plot, np.finfo(float).max) == -1).all()


def test_one_point_is_a_cluster_when_one_is_enough() -> None:
    plot = optics(((7, 7),), min_samples=1, max_eps=1.0)
    assert plot.core_distances.tolist() == [0]
    assert clusters_at(plot, 0.5).tolist() == [0]


def test_two_points_reach_each_other_only_within_max_eps() -> None:
    points = ((0, 0), (3, 4))
    assert optics(points, min_samples=2, max_eps=5.0).reachability.tolist() == [np.inf, 5]
    assert optics(points, min_samples=2, max_eps=4.9).reachability.tolist() == [np.inf, np.inf]


def test_twenty_thousand_votes_for_one_spot_are_one_cluster() -> None:
    plot = optics(np.full((20_000, 2), 1.7), min_samples=50, max_eps=np.inf)
    assert plot.ordering.tolist() == list(range(20_000))
    assert (plot.reachability[1:] == 0).all()
    assert (clusters_at(plot, 0.0) == 0).all()


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_points_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match='finite'):
        optics(((0, 0), (1, value)), min_samples=2, max_eps=1.0)


@pytest.mark.parametrize(
    ('arguments', 'complaint'),
    [
        ({'points': np.zeros((4, 3))}, r'\(n, 2\)'),
        ({'points': np.zeros(4)}, r'\(n, 2\)'),
        ({'min_samples': 0}, 'min_samples'),
        ({'max_eps': -1.0}, 'max_eps'),
        ({'max_eps': np.nan}, 'max_eps'),
        ({'weights': (1, 1, 1)}, 'weights'),
        ({'weights': (1, 0, 1, 1)}, 'weights'),
        ({'weights': (1.0, 1.5, 1.0, 1.0)}, 'weights'),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        optics(**{'points': np.zeros((4, 2)), 'min_samples': 2, 'max_eps': 1.0} | arguments)


@pytest.mark.parametrize('cut', [-1.0, np.nan, np.inf])
def test_cut_at_no_distance_is_refused(cut: float) -> None:
    with pytest.raises(ValueError, match='cut'):
        clusters_at(optics(np.zeros((4, 2)), min_samples=2, max_eps=1.0), cut)


def test_each_point_can_have_a_cut_of_its_own() -> None:
    apart = np.array([(0, 0), (0, 1), (4, 0), (4, 1)], float)
    points = np.concatenate([apart, apart + 50])
    plot = optics(points, min_samples=2, max_eps=10.0)
    assert clusters_at(plot, np.repeat((5.0, 2.0), 4)).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    # Between two points the mean of both counts.
    assert clusters_at(plot, np.tile((5.0, 5.0, 3.1, 3.1), 2)).tolist() == [0] * 4 + [1] * 4
    assert clusters_at(plot, np.tile((5.0, 5.0, 2.9, 2.9), 2)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_clusters_are_those_scikit_learn_cuts(
    kind: Callable[[np.random.Generator, int], NDArray],
) -> None:
    plot = optics(kind(np.random.default_rng(0), 300), min_samples=6, max_eps=20)
    for cut in (0.0, 0.7, 1.0, 3.0, 20.0):
        expected = cluster_optics_dbscan(
            reachability=plot.reachability,
            core_distances=plot.core_distances,
            ordering=plot.ordering,
            eps=cut,
        )
        np.testing.assert_array_equal(clusters_at(plot, cut), expected)


def test_clusters_count_in_order_of_the_plot_and_leave_out_noise() -> None:
    points = np.array([(50, 50), (0, 0), (1, 0), (9, 9), (0, 1), (9, 8), (8, 9)], float)
    clusters = clusters_at(optics(points, min_samples=3, max_eps=5.0), 2.0)
    assert clusters.tolist() == [-1, 0, 0, 1, 0, 1, 1]


def test_same_points_give_the_same_plot_and_stay_as_they_are() -> None:
    points = lattice(np.random.default_rng(3), 200)
    weights = np.random.default_rng(4).integers(1, 9, 200)
    before = points.copy(), weights.copy()
    plots = [optics(points, weights=weights, min_samples=9, max_eps=4.0) for _ in range(2)]
    assert_identical(*plots)
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(weights, before[1])


def test_numba_is_imported_only_when_optics_is_compiled() -> None:
    script = (
        'import sys; from mtl_perception.tasks import optics; assert "numba" not in sys.modules;'
        'optics.compile_optics(); assert "numba" in sys.modules'
    )
    subprocess.run([sys.executable, '-c', script], check=True)


def test_without_numba_scikit_learn_gives_the_same_plot_after_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    points, weights = lattice(rng, 80), rng.integers(1, 6, 80)

    def plots() -> list[Reachability]:
        return [
            optics(points, min_samples=5, max_eps=4.0),
            optics(points, weights=weights, min_samples=12, max_eps=4.0),
            optics(points[:12] * 100, min_samples=5, max_eps=4.0),
            optics(points[:3], min_samples=5, max_eps=4.0),
            optics(points[:3], min_samples=1, max_eps=4.0),
            optics(points[:0], min_samples=5, max_eps=4.0),
        ]

    fast = plots()
    monkeypatch.setitem(sys.modules, 'numba', None)
    monkeypatch.delitem(sys.modules, 'mtl_perception.tasks._optics_kernels')
    monkeypatch.delattr('mtl_perception.tasks._optics_kernels')
    monkeypatch.setattr(
        module, '_implementation', functools.cache(module._implementation.__wrapped__)
    )
    with pytest.warns(UserWarning, match='scikit-learn'):
        compile_optics()
    with warnings.catch_warnings(action='error'):
        slow = plots()
    for found, expected in zip(slow, fast, strict=True):
        assert_identical(found, expected)
