"""The figures of ``mtl benchmark instances``: that they say what they claim to say."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from mtl_perception.benchmark import instances as benchmark
from mtl_perception.benchmark.instances import Maps, Peaks, Scene, compare_groupings
from mtl_perception.tasks import instance
from mtl_perception.tasks.optics import clusters_at, optics


@pytest.fixture
def scene() -> Scene:
    """Two cars whose votes are exact."""
    truth = np.full((96, 160), 7, np.int32)
    truth[20:60, 10:60] = 26000
    truth[30:60, 90:130] = 26001
    small = truth[::2, ::2]
    labels = np.where(small >= 1000, 26, small).astype(np.uint8)
    offsets = np.nan_to_num(instance.target(small))
    return Scene(Maps(labels, np.full_like(labels, 255), offsets), truth)


def test_every_grouping_finds_what_the_votes_say_exactly(scene):
    rows = {row['grouping']: row for row in compare_groupings([scene], repetitions=1)}
    assert rows['this package']['ap50'] == rows['this package']['ap'] == 1
    assert rows['OPTICS on every vote']['ap'] == 1
    assert {rows[name]['ap'] for name in benchmark.PEAKS} == {1}
    assert rows['this package']['times']['calls'] == 1
    assert rows['OPTICS on every vote']['times'] is None


def test_a_peak_is_the_highest_within_the_kernel():
    labels = np.full((20, 40), 26, np.uint8)
    y, x = np.mgrid[:20, :40]
    centers = np.where(x < 15, 10, np.where(x < 25, 12, 30))
    maps = Maps(labels, np.full_like(labels, 255), np.stack([centers - x, 8 - y]).astype(float))
    assert len(Peaks(3, 0.0)(maps).scores) == 3
    assert len(Peaks(7, 0.0)(maps).scores) == 2


def test_votes_in_cells_make_the_clusters_of_all_votes():
    points = benchmark.random_votes(3, 3000)
    every = optics(points, min_samples=benchmark.MIN_SAMPLES, max_eps=benchmark.MAX_EPS)
    expected = clusters_at(every, benchmark.CUT)
    assert expected.max() + 1 >= 5
    assert adjusted_rand_score(benchmark.weighted_clusters(points), expected) > 0.9


def test_a_seed_gives_the_same_maps():
    (name, first), (again, second) = (
        benchmark.random_maps(np.random.default_rng(5)) for _ in range(2)
    )
    assert name == again
    np.testing.assert_array_equal(first.offsets, second.offsets)
    np.testing.assert_array_equal(first.labels, second.labels)
