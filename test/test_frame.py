# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.frame import CITYSCAPES_FOCAL_RATIO, Camera, Frame, resize_depth, resize_nearest


def sparse_depth(points: dict[tuple[int, int], float], size: tuple[int, int]) -> np.ndarray:
    depth = np.full(size, np.nan, np.float32)
    for pixel, metres in points.items():
        depth[pixel] = metres
    return depth


def test_every_cell_with_a_point_keeps_one_of_its_points():
    rng = np.random.default_rng(0)
    depth = np.full((375, 1242), np.nan, np.float32)
    known = rng.random(depth.shape) < 0.04
    depth[known] = rng.uniform(2, 80, known.sum())
    small = resize_depth(depth, 128, 424)
    y, x = np.nonzero(known)
    of_cell: dict[tuple[int, int], set[float]] = {}
    for row, column, metres in zip(y * 128 // 375, x * 424 // 1242, depth[known], strict=True):
        of_cell.setdefault((int(row), int(column)), set()).add(float(metres))
    assert {tuple(pixel) for pixel in np.argwhere(~np.isnan(small)).tolist()} == set(of_cell)
    assert all(float(small[cell]) in points for cell, points in of_cell.items())
    assert np.isnan(resize_nearest(depth, 128, 424)).sum() > np.isnan(small).sum()


def test_the_nearest_point_of_a_cell_holds():
    depth = sparse_depth({(0, 0): 30.0, (0, 1): 7.0, (3, 3): np.inf, (2, 7): 4.0}, (4, 8))
    small = resize_depth(depth, 1, 2)
    assert small.tolist() == [[7.0, 4.0]]


def test_infinite_depth_is_known_and_yields_to_a_point():
    far = sparse_depth({(0, 0): np.inf}, (4, 4))
    assert resize_depth(far, 1, 1).tolist() == [[np.inf]]
    both = sparse_depth({(0, 0): np.inf, (3, 0): 9.0}, (4, 4))
    assert resize_depth(both, 1, 1).tolist() == [[9.0]]


def test_dense_depth_is_resized_by_nearest_neighbour():
    depth = np.random.default_rng(1).uniform(1, 90, (64, 96)).astype(np.float32)
    assert np.array_equal(resize_depth(depth, 20, 30), resize_nearest(depth, 20, 30))


@pytest.mark.parametrize('size', [(8, 12), (4, 6)])
def test_larger_and_equal_maps_gain_no_points(size):
    depth = sparse_depth({(1, 2): 5.0}, (4, 6))
    large = resize_depth(depth, *size)
    assert np.array_equal(large, resize_nearest(depth, *size), equal_nan=True)


def test_an_unknown_camera_has_the_field_of_view_of_cityscapes():
    image = np.zeros((10, 20, 3), np.uint8)
    unknown, known = Frame('a', image), Frame('b', image, camera=Camera.assumed(10, 20, 30.0))
    assert unknown.focal_ratio == CITYSCAPES_FOCAL_RATIO
    assert unknown.known_camera == Camera.assumed(10, 20)
    assert (known.focal_ratio, known.known_camera.cx, known.known_camera.cy) == (3.0, 9.5, 4.5)
