# SPDX-License-Identifier: Apache-2.0
"""The instance task: targets by brute force, the loss by hand, and votes that become instances."""

import functools
import math
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from mtl_perception.tasks import instance
from mtl_perception.tasks import optics as optics_module
from mtl_perception.tasks.instance import (
    MAX_CELLS,
    GroupingParameters,
    group_cells,
    group_instances,
    merge_votes,
)


def brute_force_offsets(instances: np.ndarray) -> np.ndarray:
    height, width = instances.shape
    things = (24, 25, 26, 27, 28, 31, 32, 33)
    offsets = np.full((2, height, width), np.nan)
    for y in range(height):
        for x in range(width):
            if instances[y, x] < 1000 or instances[y, x] // 1000 not in things:
                continue
            pixels = [
                (u, v)
                for v in range(height)
                for u in range(width)
                if instances[v, u] == instances[y, x]
            ]
            cx = sum(u for u, _ in pixels) / len(pixels)
            cy = sum(v for _, v in pixels) / len(pixels)
            offsets[:, y, x] = cx - x, cy - y
    return offsets


def test_targets_equal_those_of_a_brute_force_loop():
    rng = np.random.default_rng(0)
    ids = np.array([7, 26, 26000, 26001, 24000, 24003, 29000, 33000])
    instances = rng.choice(ids, (9, 13)).astype(np.int32)
    np.testing.assert_allclose(
        instance.target(instances), brute_force_offsets(instances), rtol=1e-5, atol=1e-5
    )


def test_group_regions_and_classes_that_are_not_evaluated_have_no_centroid():
    instances = np.array([[26, 24, 29000, 30001, 7, 0]], np.int32)
    assert np.isnan(instance.target(instances)).all()


def test_the_offset_loss_adds_both_components_over_pixels_with_a_centroid():
    offsets = torch.tensor([[[[1.0, 5.0]], [[-2.0, 5.0]]]])
    target = torch.tensor([[[[3.0, math.nan]], [[1.0, math.nan]]]])
    loss = instance.loss(offsets, target)
    assert loss.count == 1
    assert loss.total == 5.0


def test_pixels_without_a_centroid_pass_no_gradient():
    offsets = torch.ones(1, 2, 1, 2, requires_grad=True)
    target = torch.tensor([[[[0.0, math.nan]], [[0.0, math.nan]]]])
    instance.loss(offsets, target).total.backward()
    assert offsets.grad.tolist() == [[[[1, 0]], [[1, 0]]]]


def test_a_frame_without_instances_has_no_loss_and_no_count():
    loss = instance.loss(torch.rand(1, 2, 2, 2), torch.full((1, 2, 2, 2), math.nan))
    assert loss.count == 0
    assert loss.total == 0


def two_cars() -> tuple[np.ndarray, np.ndarray]:
    """Return instance IDs and labels of a street with a large car, a small car and a person."""
    instances = np.full((64, 96), 7, np.int32)
    instances[20:40, 10:40] = 26001
    instances[30:36, 50:62] = 26000
    instances[10:40, 70:78] = 24000
    labels = np.where(instances >= 1000, instances // 1000, instances).astype(np.uint8)
    return instances, labels


def certain(labels: np.ndarray) -> np.ndarray:
    return np.full(labels.shape, 255, np.uint8)


def test_perfect_votes_give_the_true_instances_largest_first():
    instances, labels = two_cars()
    offsets = np.nan_to_num(instance.target(instances))
    found = group_instances(labels, certain(labels), offsets)
    expected = instances.copy()
    expected[instances == 26001], expected[instances == 26000] = 26000, 26001
    np.testing.assert_array_equal(found.ids, expected)
    assert found.scores == {24000: 1.0, 26000: 1.0, 26001: 1.0}


def test_noisy_votes_still_give_two_cars():
    instances, labels = two_cars()
    rng = np.random.default_rng(0)
    offsets = np.nan_to_num(instance.target(instances)) + rng.normal(0, 1.5, (2, *labels.shape))
    ids = group_instances(labels, certain(labels), offsets).ids
    assert set(np.unique(ids[labels == 26])) <= {26, 26000, 26001}
    assert (ids[instances == 26001] == 26000).mean() > 0.95
    assert (ids[instances == 26000] == 26001).mean() > 0.95


def test_classes_are_never_grouped_together():
    labels = np.full((20, 40), 26, np.uint8)
    labels[:, 20:] = 27
    y, x = np.mgrid[:20, :40]
    offsets = np.stack([20 - x, 10 - y]).astype(np.float32)  # all votes meet in one point
    ids = group_instances(labels, certain(labels), offsets).ids
    assert set(np.unique(ids)) == {26000, 27000}


def test_pixels_whose_votes_lie_far_from_every_cluster_keep_their_bare_label():
    instances, labels = two_cars()
    offsets = np.nan_to_num(instance.target(instances))
    offsets[:, 20, 10] = 500.0
    assert group_instances(labels, certain(labels), offsets).ids[20, 10] == 26


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_votes_that_are_not_finite_belong_to_nothing(value):
    instances, labels = two_cars()
    offsets = np.nan_to_num(instance.target(instances))
    offsets[0, 25, 15] = value
    ids = group_instances(labels, certain(labels), offsets).ids
    assert ids[25, 15] == 26
    assert ids[26, 15] == 26000


def test_small_clusters_are_dropped():
    instances, labels = two_cars()
    offsets = np.nan_to_num(instance.target(instances))
    few = GroupingParameters(min_pixels=100, max_distance=0.0)
    ids = group_instances(labels, certain(labels), offsets, few).ids
    assert set(np.unique(ids)) == {7, 26, 24000, 26000}


def test_the_score_is_the_mean_probability_on_the_mask():
    instances, labels = two_cars()
    offsets = np.nan_to_num(instance.target(instances))
    confidence = np.where(labels == 24, 51, 255).astype(np.uint8)
    assert group_instances(labels, confidence, offsets).scores[24000] == pytest.approx(0.2)


def test_no_things_and_one_pixel_of_a_thing_are_no_instances():
    labels = np.full((8, 8), 7, np.uint8)
    zero = np.zeros((2, 8, 8), np.float32)
    assert group_instances(labels, certain(labels), zero).scores == {}
    labels[3, 3] = 26
    ids = group_instances(labels, certain(labels), zero).ids
    assert ids[3, 3] == 26


def test_a_screen_filled_with_one_bus_is_one_instance():
    labels = np.full((128, 256), 28, np.uint8)
    instances = np.full(labels.shape, 28000, np.int32)
    found = group_instances(labels, certain(labels), instance.target(instances))
    assert set(np.unique(found.ids)) == {28000}


@pytest.mark.parametrize('wrong', [{'cut': -1.0}, {'min_samples': 0}, {'max_eps': 1e9}])
def test_parameters_out_of_range_are_refused_with_the_range(wrong):
    with pytest.raises(ValueError, match=r'must be from'):
        GroupingParameters(**wrong)


def votes_for(points: np.ndarray, *, shape: tuple[int, int] = (128, 256)) -> np.ndarray:
    """Return offsets with which all pixels vote for ``points``, (2, H, W) or (2, 1, 1)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (points - np.stack([x, y])).astype(np.float32)


def noisy_grid(spacing: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return square instances that fill a map of cars, and noisy votes for their centres."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :256]
    instances = 26000 + y // spacing * (256 // spacing) + x // spacing
    offsets = instance.target(instances) + rng.normal(0, noise, (2, 128, 256))
    return instances, offsets.astype(np.float32)


CAR = np.full((128, 256), 26, np.uint8)
THINGS = np.array([24, 25, 26, 27, 28, 31, 32, 33], np.uint8)


def hard_maps() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    uniform = votes_for(rng.uniform(0, 1, (2, 128, 256)) * np.array([256, 128])[:, None, None])
    zero = np.zeros((2, 128, 256), np.float32)
    any_class = THINGS[rng.integers(0, 8, CAR.shape)]
    checkered = np.where(np.indices(CAR.shape).sum(0) % 2, 26, 24).astype(np.uint8)
    return {
        'exact': (CAR, votes_for(np.array([128.0, 64.0])[:, None, None])),
        'uniform': (CAR, uniform),
        'zero': (CAR, zero),
        'uniform, any class': (any_class, uniform),
        'zero, any class': (any_class, zero),
        'checkered': (checkered, zero),
        'cauchy': (CAR, rng.standard_cauchy(zero.shape).astype(np.float32) * 3),
        'astronomical': (CAR, rng.choice((-1e30, 1e30, 0), zero.shape).astype(np.float32)),
        'nowhere': (CAR, np.full_like(zero, np.nan)),
    }


@pytest.mark.parametrize('name', hard_maps())
def test_cells_are_bounded_and_every_pixel_keeps_its_class(name):
    labels, offsets = hard_maps()[name]
    found = group_instances(labels, certain(labels), offsets)
    assert found.cells.labels.size <= MAX_CELLS
    assert found.cells.weights.sum() == found.cells.pixels.size
    ids = found.ids
    np.testing.assert_array_equal(np.where(ids < 1000, ids, ids // 1000), labels)
    assert set(found.scores) == set(np.unique(ids[ids >= 1000]).tolist())


def test_cells_that_hold_no_more_than_a_pixel_do_not_grow():
    labels, offsets = hard_maps()['exact']
    cells = merge_votes(labels, offsets)
    assert cells.size == 1
    assert cells.weights.tolist() == [CAR.size]
    np.testing.assert_allclose(cells.points, [[128, 64]])


def test_grown_cells_have_the_mean_of_their_votes():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (2, 128, 256)) * np.array([256, 128])[:, None, None]
    cells = merge_votes(CAR, votes_for(points), max_cells=50)
    assert cells.size > 1
    assert cells.labels.size <= 50
    votes = points.reshape(2, -1)[:, cells.pixels]
    for cell in range(cells.labels.size):
        mean = votes[:, cells.of_pixel == cell].mean(1)
        np.testing.assert_allclose(cells.points[cell], mean, atol=1e-4)


def test_instances_are_the_same_in_cells_that_grew():
    instances, offsets = noisy_grid(64, 4.0)
    found = group_instances(CAR, certain(CAR), offsets)
    assert found.cells.size > 1
    ids = found.ids
    assert np.unique(ids[ids >= 1000]).size == 8
    for true in np.unique(instances):
        values, counts = np.unique(ids[instances == true], return_counts=True)
        assert counts.max() > 0.9 * 64**2
        assert values[counts.argmax()] >= 1000


def test_small_far_objects_are_kept_apart_at_a_cut_that_keeps_a_large_near_one_whole():
    """The votes of the large car, and of the two small ones, meet in two places 3 px apart."""
    labels = np.full((128, 256), 7, np.uint8)
    centers = np.zeros((2, 128, 256))
    for box, center in (
        ((slice(20, 120), slice(20, 95)), (93.5, 70)),
        ((slice(20, 120), slice(95, 170)), (96.5, 70)),
        ((slice(60, 68), slice(200, 205)), (203, 64)),
        ((slice(60, 68), slice(205, 210)), (206, 64)),
    ):
        labels[box] = 26
        centers[0][box], centers[1][box] = center
    offsets = votes_for(centers)
    near, left, right = labels[:, :180] == 26, (64, 202), (64, 207)

    ids = group_instances(labels, certain(labels), offsets).ids
    assert set(np.unique(ids[:, :180][near])) == {26000}
    assert {ids[left], ids[right]} == {26001, 26002}

    for cut, whole, apart in ((1.5, False, True), (4.0, True, False)):
        fixed = GroupingParameters(cut=cut, relative_cut=0.0)
        ids = group_instances(labels, certain(labels), offsets, fixed).ids
        assert (np.unique(ids[:, :180][near]).size == 1) == whole
        assert (ids[left] != ids[right]) == apart


def test_instances_of_one_size_are_numbered_from_the_top_then_from_the_left():
    labels = np.full((64, 96), 7, np.uint8)
    instances = np.zeros(labels.shape, np.int32)
    boxes = ((10, 60), (40, 10), (40, 60))
    for k, (y, x) in enumerate(boxes):
        labels[y : y + 10, x : x + 10] = 26
        instances[y : y + 10, x : x + 10] = 26005 - k
    found = group_instances(labels, certain(labels), np.nan_to_num(instance.target(instances)))
    assert [found.ids[y, x] for y, x in boxes] == [26000, 26001, 26002]


def test_equal_maps_give_equal_instances():
    _, offsets = noisy_grid(32, 3.0)
    first, second = (group_instances(CAR, certain(CAR), offsets) for _ in range(2))
    np.testing.assert_array_equal(first.ids, second.ids)
    assert first.scores == second.scores
    sizes = np.bincount(first.ids[first.ids >= 26000] - 26000)
    assert all(a >= b for a, b in pairwise(sizes.tolist()))


def test_more_instances_than_the_encoding_holds_leave_the_smallest_out():
    y, x = np.mgrid[:128, :256]
    instances = 26000 + y // 5 * 52 + x // 5
    offsets = instance.target(instances)
    few = GroupingParameters(min_pixels=1, min_samples=1, max_distance=0.0)
    cells = merge_votes(CAR, offsets, max_cells=2000)
    ids = group_cells(CAR, certain(CAR), cells, few).ids
    assert ids.max() == 26999
    assert (ids == 26).any()
    assert np.bincount(ids[ids >= 26000] - 26000).min() >= 5


def test_votes_just_outside_the_image_count():
    labels = np.full((64, 96), 7, np.uint8)
    labels[20:40, :10] = 26
    point = np.array([-5.0, 30.0])[:, None, None]
    assert group_instances(
        labels, certain(labels), votes_for(point, shape=labels.shape)
    ).scores == {26000: 1.0}


def test_without_numba_the_grouping_is_the_same_after_a_warning(monkeypatch):
    instances, labels = two_cars()
    rng = np.random.default_rng(0)
    offsets = np.nan_to_num(instance.target(instances)) + rng.normal(0, 1.0, (2, *labels.shape))
    fast = group_instances(labels, certain(labels), offsets)
    monkeypatch.setitem(sys.modules, 'numba', None)
    monkeypatch.delitem(sys.modules, 'mtl_perception.tasks._optics_kernels')
    monkeypatch.delattr('mtl_perception.tasks._optics_kernels')
    monkeypatch.setattr(
        optics_module,
        '_implementation',
        functools.cache(optics_module._implementation.__wrapped__),
    )
    with pytest.warns(UserWarning, match='scikit-learn'):
        slow = group_instances(labels, certain(labels), offsets)
    np.testing.assert_array_equal(slow.ids, fast.ids)
    assert slow.scores == fast.scores


def test_the_order_of_the_maps_in_memory_does_not_matter():
    instances, labels = two_cars()
    offsets = np.nan_to_num(instance.target(instances))
    confidence = np.full_like(labels, 255)
    expected = group_instances(labels, confidence, offsets, GroupingParameters())
    found = group_instances(
        np.asfortranarray(labels), np.asfortranarray(confidence), offsets, GroupingParameters()
    )
    assert len(expected.scores) > 1
    np.testing.assert_array_equal(found.ids, expected.ids)
