# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.objects import find_objects

ROAD, CAR = 7, 26


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    """Return instances and depth of two cars of 10 × 10 pixels on a road, 12 and 30 metres away."""
    instances = np.full((40, 60), ROAD, np.uint16)
    depth = np.full((40, 60), 5, np.float32)
    for k, (x, metres) in enumerate([(10, 12), (40, 30)]):
        box = slice(20, 30), slice(x, x + 10)
        instances[box], depth[box] = CAR * 1000 + k, metres
    return instances, depth


def test_an_object_has_class_score_depth_and_place(maps):
    first, second = find_objects(*maps, {26000: 0.9})
    assert (first.id, first.label, first.name) == (26000, CAR, 'car')
    assert (first.score, second.score) == (0.9, None)
    assert (first.depth, second.depth) == (12.0, 30.0)
    assert first.box == (10, 20, 20, 30)
    assert second.box == (40, 20, 50, 30)
    assert first.center == pytest.approx((14.5, 24.5))
    assert first.area == 100


def test_the_mask_of_an_object_is_true_on_its_pixels_alone(maps):
    instances, depth = maps
    _, second = find_objects(instances, depth)
    assert np.array_equal(second.mask, instances == 26001)
    left, top, right, bottom = second.box
    assert second.mask[top:bottom, left:right].sum() == second.area == second.mask.sum()


def test_the_depth_of_an_object_is_the_median_of_its_known_pixels(maps):
    instances, depth = maps
    depth[20:24, 10:20] = np.nan
    depth[24, 10:12] = 1000
    assert find_objects(instances, depth)[0].depth == 12.0
    depth[20:30, 10:20] = np.nan
    assert find_objects(instances, depth)[0].depth is None
    depth[20:30, 10:20] = np.inf
    assert find_objects(instances, depth)[0].depth == np.inf


def test_maps_without_instances_hold_no_objects(maps):
    instances, depth = maps
    assert find_objects(None) == []
    assert find_objects(np.full_like(instances, CAR), depth) == []
    assert find_objects(np.zeros((0, 0), np.uint16)) == []


@pytest.mark.parametrize('wrong', [34_000, 65_535])
def test_an_id_without_a_label_is_refused(maps, wrong):
    instances, depth = maps
    instances[0, 0] = wrong
    with pytest.raises(ValueError, match=f'{wrong} is not an instance ID'):
        find_objects(instances, depth)


def test_maps_of_two_sizes_are_refused(maps):
    instances, depth = maps
    with pytest.raises(ValueError, match=r'shape \(40, 60\), the depth map \(20, 60\)'):
        find_objects(instances, depth[::2])


def test_an_object_of_one_pixel_in_the_corner_has_a_box_of_one_pixel():
    instances = np.zeros((3, 5), np.uint16)
    instances[2, 4] = 33_999
    (only,) = find_objects(instances)
    assert (only.name, only.box, only.area, only.depth) == ('bicycle', (4, 2, 5, 3), 1, None)
