# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the grouping: its votes, maps, peers and figures."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.cluster import OPTICS
from sklearn.metrics import adjusted_rand_score

from mtl_perception.benchmark import instances as benchmark
from mtl_perception.benchmark.instances import (
    Maps,
    Peaks,
    Scene,
    compare_groupings,
    measure_coarser_cells,
    measure_optics,
    search_worst,
)
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
    rows = {row.grouping: row for row in compare_groupings([scene], repetitions=1)}
    assert rows['this package'].ap50 == rows['this package'].ap == 1
    assert rows['OPTICS on every vote'].ap == 1
    assert {rows[name].ap for name in benchmark.PEAKS} == {1}
    assert rows['this package'].times.calls == 1
    assert rows['OPTICS on every vote'].times is None
    assert str(rows['this package']).count('100.0 %') == 2


def test_wrong_votes_cost_every_grouping_its_score(scene):
    wrong = scene.maps._replace(offsets=np.zeros_like(scene.maps.offsets))
    rows = {row.grouping: row for row in compare_groupings([replace(scene, maps=wrong)], 1)}
    assert all(row.ap < 1 for row in rows.values())


def test_each_scene_is_grouped_in_every_repetition(scene, monkeypatch):
    grouped = []
    record = {'recorded': lambda maps: grouped.append(maps) or Peaks(3, 0.0)(maps)}
    monkeypatch.setattr(benchmark, 'PEAKS', record)
    other = replace(scene, maps=Maps(*scene.maps))
    rows = {row.grouping: row for row in compare_groupings([scene, other], repetitions=1)}
    assert rows['recorded'].times.calls == 2
    assert [maps is other.maps for maps in grouped] == [False, True] * 2  # timed, then scored


def test_exact_votes_need_no_coarser_cells(scene):
    for row in measure_coarser_cells([scene]):
        assert (row.grown_scenes, row.median_cell_px, row.ari) == (0, None, None)


def test_fewer_cells_are_larger_cells(scene):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 8, scene.maps.offsets.shape)
    noisy = replace(scene, maps=scene.maps._replace(offsets=scene.maps.offsets + noise))
    rows = sorted(measure_coarser_cells([noisy]), key=lambda row: -row.max_cells)
    assert [row.grown_scenes for row in rows[-2:]] == [1, 1]
    widths = [row.median_cell_px or 1 for row in rows]
    assert widths == sorted(widths)
    assert widths[-1] > widths[0]
    assert 0 < rows[-1].ari_lowest == rows[-1].ari < 1


def test_exact_optics_equals_scikit_learns():
    found = measure_optics(0, 300, repetitions=2, reference_repetitions=1)
    assert found.identical
    assert (found.exact.calls, found.weighted.calls, found.scikit_learn.calls) == (2, 2, 1)
    assert found.exact_ratio == found.scikit_learn.median / found.exact.median
    assert found.weighted_ratio == found.scikit_learn.median / found.weighted.median
    assert 0 < found.weighted_ari_lowest <= found.weighted_ari <= 1


def test_a_difference_to_scikit_learn_is_reported(monkeypatch):
    monkeypatch.setattr(benchmark, 'OPTICS', lambda **given: OPTICS(**given | {'max_eps': 3.0}))
    assert not measure_optics(0, 300, repetitions=1, reference_repetitions=1).identical


def test_the_slowest_maps_come_first():
    rows = search_worst(0, repetitions=1, draws=2)
    assert [row.median for row in rows] == sorted((row.median for row in rows), reverse=True)
    maps = {row.map: row for row in rows}
    assert sum(name.startswith('draw ') for name in maps) == 2
    exact = maps['all pixels one object, exact votes']
    assert (exact.cells, exact.cell_px, exact.instances) == (1, 1, 1)
    spread = maps['all pixels one class, zero offsets']
    assert spread.cells <= instance.MAX_CELLS
    assert spread.cells * spread.cell_px**2 >= benchmark.HEIGHT * benchmark.WIDTH


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
