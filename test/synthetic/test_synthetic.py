# SPDX-License-Identifier: Apache-2.0
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest

from mtl_perception.data.cityscapes import find_frames, write_frame
from mtl_perception.frame import Frame
from mtl_perception.labels import EVALUATED_IDS, INSTANCE_ID_BASE, IS_THING, SKY_ID, ids
from mtl_perception.synthetic import FRAME_SECONDS, synthetic_drive, synthetic_frame

SIZE = {'height': 96, 'width': 192}
EGO_VEHICLE, ROAD, VEGETATION, CAR, TRAIN = ids('ego vehicle', 'road', 'vegetation', 'car', 'train')


@lru_cache
def street(index: int) -> Frame:
    return synthetic_frame(7, index, **SIZE)


@lru_cache
def drive() -> tuple[Frame, ...]:
    return tuple(synthetic_drive(2, 4, **SIZE))


def ground_points(frame: Frame, mask: np.ndarray) -> np.ndarray:
    """(N, 3) camera coordinates (right, down, forward) of the pixels in mask."""
    camera, depth = frame.camera, frame.depth[mask].astype(np.float64)
    y, x = np.nonzero(mask)
    right, down = (x - camera.cx) / camera.fx * depth, (y - camera.cy) / camera.fy * depth
    return np.stack([right, down, depth], 1)


def test_equal_arguments_give_equal_bytes():
    one, other = synthetic_frame(3, 5, **SIZE), synthetic_frame(3, 5, **SIZE)

    assert one.name == other.name == 'synthetic_000003_000005'
    assert one.camera == other.camera
    for field in ('image', 'labels', 'instances', 'depth'):
        assert getattr(one, field).tobytes() == getattr(other, field).tobytes()


@pytest.mark.parametrize(('seed', 'index'), [(3, 6), (4, 5)])
def test_another_seed_or_index_gives_another_street(seed, index):
    one, other = synthetic_frame(3, 5, **SIZE), synthetic_frame(seed, index, **SIZE)

    assert np.mean(one.labels != other.labels) > 0.1


def test_a_frame_has_the_types_and_the_size_it_promises():
    frame = synthetic_frame(1, 2, height=60, width=90)

    assert frame.image.shape == (60, 90, 3)
    assert frame.labels.shape == frame.instances.shape == frame.depth.shape == (60, 90)
    assert (frame.image.dtype, frame.labels.dtype) == (np.uint8, np.uint8)
    assert (frame.instances.dtype, frame.depth.dtype) == (np.uint16, np.float32)


def test_instances_carry_their_label_and_everything_else_its_bare_label():
    for index in range(10):
        frame = street(index)
        thing = IS_THING[frame.labels]

        np.testing.assert_array_equal(
            frame.instances[thing] // INSTANCE_ID_BASE, frame.labels[thing]
        )
        np.testing.assert_array_equal(frame.instances[~thing], frame.labels[~thing])


def test_sky_and_only_sky_is_infinitely_far_and_only_the_bonnet_is_unknown():
    for index in range(20):
        frame = street(index)

        np.testing.assert_array_equal(np.isinf(frame.depth), frame.labels == SKY_ID)
        np.testing.assert_array_equal(np.isnan(frame.depth), frame.labels == EGO_VEHICLE)
        assert np.nanmin(frame.depth) > 0


def test_the_road_is_a_plane_below_the_camera_at_its_height_and_pitch():
    for index in range(20):
        frame = street(index)
        points = ground_points(frame, frame.labels == ROAD)
        points = points[points[:, 2] < 40]
        if len(points) < 200:
            continue
        down = np.linalg.lstsq(points, np.ones(len(points)), rcond=None)[0]
        height = 1 / np.linalg.norm(down)

        assert height == pytest.approx(frame.camera.height, rel=1e-4)
        assert down[2] * height == pytest.approx(np.sin(frame.camera.pitch), abs=1e-4)
        np.testing.assert_allclose(points @ down * height, height, rtol=1e-3)


def test_what_stands_on_the_road_is_nearer_than_the_road_behind_it():
    compared = 0
    for index in range(20):
        frame = street(index)
        points = ground_points(frame, frame.labels == ROAD)
        if len(points) < 200:
            continue
        down = np.linalg.lstsq(points, np.ones(len(points)), rcond=None)[0]
        y, x = np.nonzero(IS_THING[frame.labels])
        ray = np.stack([(x - frame.camera.cx), (y - frame.camera.cy)], 1) / frame.camera.fx
        inverse_ground = np.column_stack([ray, np.ones(len(ray))]) @ down
        depth = frame.depth[y, x]

        assert np.all(inverse_ground * depth < 1 + 1e-3)
        compared += len(depth)
    assert compared > 10_000


def test_nearer_cars_are_taller_in_the_picture():
    heights, depths = [], []
    for index in range(20):
        frame = street(index)
        for instance in np.unique(frame.instances[frame.labels == CAR]):
            rows = np.nonzero(frame.instances == instance)
            if len(rows[0]) > 60:
                heights.append(np.ptp(rows[0]) / frame.camera.fy)
                depths.append(np.median(frame.depth[rows]))

    assert np.corrcoef(np.log(heights), np.log(depths))[0, 1] < -0.7


def test_every_evaluated_class_but_train_appears_within_forty_frames():
    seen = set()
    for index in range(40):
        labels, counts = np.unique(street(index).labels, return_counts=True)
        seen |= set(labels[counts >= 15].tolist())

    assert set(EVALUATED_IDS) - seen <= {TRAIN}


def test_the_picture_shows_what_the_labels_say():
    """Averaged over frames, the sky is brighter than the road, and vegetation is not blue."""
    sky, road, green = [], [], []
    for index in range(20):
        frame = street(index)
        for values, label in ((sky, SKY_ID), (road, ROAD), (green, VEGETATION)):
            mask = frame.labels == label
            if mask.sum() > 100:
                values.append(frame.image[mask].mean(axis=0))

    assert np.mean(sky) > np.mean(road) + 40
    assert np.mean(green, axis=0)[1] > np.mean(green, axis=0)[2]


def test_a_drive_moves_along_one_street():
    frames = drive()

    assert [frame.name for frame in frames] == [f'synthetic_000002_{k:06d}' for k in range(4)]
    assert len({frame.camera for frame in frames}) == 1
    for one, other in pairwise(frames):
        assert 0 < np.mean(one.labels != other.labels) < 0.2
        assert 0 < np.abs(one.image.astype(int) - other.image).mean() < 30
    far = np.mean(frames[0].labels != synthetic_frame(2, 0, **SIZE).labels)
    near = np.mean(frames[0].labels != frames[1].labels)
    assert near < far


def test_equal_arguments_give_equal_drives():
    for one, other in zip(drive(), synthetic_drive(2, 4, **SIZE), strict=True):
        for field in ('image', 'labels', 'instances', 'depth'):
            assert getattr(one, field).tobytes() == getattr(other, field).tobytes()


def test_an_instance_keeps_its_id_and_moves_at_the_speed_of_traffic():
    """Instances overlap from frame to frame, and no two road users approach at 30 m/s."""
    moves = []
    for one, other in pairwise(drive()):
        instances, counts = np.unique(one.instances, return_counts=True)
        for instance in instances[(instances >= INSTANCE_ID_BASE) & (counts > 60)]:
            before, after = one.instances == instance, other.instances == instance
            if not after.any():
                continue
            assert (before & after).sum() > 0.5 * (before | after).sum()
            moves.append(np.median(other.depth[after]) - np.median(one.depth[before]))
    assert len(moves) >= 9
    assert 0.05 < np.abs(moves).max() < 30 * FRAME_SECONDS


def test_an_instance_is_no_deeper_than_a_bus_is_long():
    distances = []
    for index in range(20):
        frame = street(index)
        for instance in np.unique(frame.instances[IS_THING[frame.labels]]):
            depth = frame.depth[frame.instances == instance]
            assert np.ptp(depth) < 13
            distances.append(depth[0])
    assert len(distances) > 100
    assert np.ptp(distances) > 50


def test_a_drive_keeps_the_instances_of_what_stays_in_view():
    first, second = drive()[:2]

    def large(frame: Frame) -> set[int]:
        ids, counts = np.unique(frame.instances, return_counts=True)
        return set(ids[(ids >= INSTANCE_ID_BASE) & (counts > 60)].tolist())

    gone = large(first) - set(np.unique(second.instances).tolist())
    assert len(large(first)) >= 3
    assert len(gone) <= 1


def test_a_frame_survives_the_cityscapes_layout(tmp_path):
    frame = street(0)
    write_frame(tmp_path, 'val', frame)
    (paths,) = find_frames(tmp_path, 'val')
    read = paths.read()

    np.testing.assert_array_equal(read.image, frame.image)
    np.testing.assert_array_equal(read.labels, frame.labels)
    np.testing.assert_array_equal(read.instances, frame.instances)
    assert read.camera == frame.camera
    near = np.isfinite(frame.depth) & (frame.depth < 30)
    np.testing.assert_allclose(read.depth[near], frame.depth[near], rtol=0.03)
