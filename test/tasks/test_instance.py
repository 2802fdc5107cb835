"""The instance task: targets against a brute-force loop, and votes that become instances."""

import numpy as np
import pytest

from mtl_perception.tasks import instance
from mtl_perception.tasks.instance import GroupingParameters, group_instances


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


def two_cars() -> tuple[np.ndarray, np.ndarray]:
    """Return the instance IDs and labels of a street with a large and a small car, and a person."""
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
