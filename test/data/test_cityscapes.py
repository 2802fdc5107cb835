# SPDX-License-Identifier: Apache-2.0
"""The Cityscapes layout: writing, reading, absent files and damaged files."""

import json
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mtl_perception.data.cityscapes import (
    DatasetError,
    count_ground_truth,
    find_frames,
    pair,
    write_frame,
)
from mtl_perception.frame import Camera, Frame

CAMERA = Camera(fx=700.0, fy=710.0, cx=31.5, cy=15.5, baseline=0.5, height=1.6, pitch=0.03)


@pytest.fixture
def frame() -> Frame:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([7, 23, 26], np.uint8), (32, 64))
    depth = rng.uniform(2, 90, labels.shape).astype(np.float32)
    depth[labels == 23] = np.inf
    return Frame(
        name='town_000001_000002',
        image=rng.integers(0, 256, (32, 64, 3), dtype=np.uint8),
        labels=labels,
        instances=np.where(labels == 26, 26003, labels.astype(np.uint16)),
        depth=depth,
        camera=CAMERA,
    )


def test_a_written_frame_is_read_as_it_was(frame, tmp_path):
    write_frame(tmp_path, 'val', frame)
    (found,) = find_frames(tmp_path, 'val')
    read = found.read()
    assert read.name == frame.name
    assert read.camera == CAMERA
    for field in ('image', 'labels', 'instances'):
        np.testing.assert_array_equal(getattr(read, field), getattr(frame, field))
    finite = np.isfinite(frame.depth)
    disparity = CAMERA.baseline * CAMERA.fx / frame.depth[finite]
    np.testing.assert_allclose(
        CAMERA.baseline * CAMERA.fx / read.depth[finite], disparity, atol=0.5 / 256 + 1e-4
    )
    assert np.isnan(read.depth[~finite]).all()


def test_the_disparity_file_has_cityscapes_encoding(frame, tmp_path):
    depth = np.full((32, 64), CAMERA.baseline * CAMERA.fx / 12.5, np.float32)
    write_frame(tmp_path, 'val', replace(frame, depth=depth))
    code = cv2.imread(str(find_frames(tmp_path, 'val')[0].disparity), cv2.IMREAD_UNCHANGED)
    assert (code == 12.5 * 256 + 1).all()


def test_files_that_are_absent_are_ground_truth_that_is_absent(frame, tmp_path):
    write_frame(tmp_path, 'train', replace(frame, labels=None, depth=None))
    write_frame(tmp_path, 'train', replace(frame, name='town_000001_000003', instances=None))
    first, second = find_frames(tmp_path, 'train')
    assert first.read().labels is None
    assert first.read().depth is None
    assert second.read().instances is None
    assert count_ground_truth([first, second]) == {
        'frames': 2,
        'semantic': 1,
        'instance': 1,
        'depth': 1,
    }


def test_jpeg_images_are_frames_too(frame, tmp_path):
    folder = tmp_path / 'leftImg8bit' / 'val' / 'town'
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / 'town_0_1_leftImg8bit.jpg'), frame.image)
    (found,) = find_frames(tmp_path, 'val')
    assert found.name == 'town_0_1'
    assert found.read().image.shape == frame.image.shape


def test_a_picture_outside_the_layout_is_a_frame_without_ground_truth(frame, tmp_path):
    path = tmp_path / 'holiday.png'
    cv2.imwrite(str(path), frame.image)
    read = pair(path).read()
    assert read.name == 'holiday'
    assert (read.labels, read.instances, read.depth, read.camera) == (None, None, None, None)


def test_a_wrong_root_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match='leftImg8bit'):
        find_frames(tmp_path, 'val')


def test_a_missing_split_lists_those_that_there_are(frame, tmp_path):
    write_frame(tmp_path, 'train', frame)
    with pytest.raises(FileNotFoundError, match='its splits are train'):
        find_frames(tmp_path, 'val')


def test_an_empty_split_is_refused(tmp_path):
    (tmp_path / 'leftImg8bit' / 'val' / 'town').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='no image'):
        find_frames(tmp_path, 'val')


@pytest.mark.parametrize(
    ('kind', 'suffix', 'content', 'reason'),
    [
        ('leftImg8bit', 'leftImg8bit.png', b'not a picture', 'cannot be decoded'),
        ('leftImg8bit', 'leftImg8bit.png', b'', 'cannot be decoded'),
        (
            'gtFine',
            'gtFine_instanceIds.png',
            np.zeros((32, 64), np.uint8),
            'expected one channel of uint16',
        ),
        (
            'gtFine',
            'gtFine_labelIds.png',
            np.zeros((32, 64, 3), np.uint8),
            'expected one channel of uint8',
        ),
        (
            'gtFine',
            'gtFine_labelIds.png',
            np.zeros((16, 64), np.uint8),
            '64×16 pixels, but its image has 64×32',
        ),
        ('camera', 'camera.json', json.dumps({'intrinsic': {}, 'extrinsic': {}}).encode(), "'fx'"),
        ('camera', 'camera.json', b'{', 'not a Cityscapes camera file'),
    ],
)
def test_damaged_files_are_named_with_the_reason(frame, tmp_path, kind, suffix, content, reason):
    write_frame(tmp_path, 'val', frame)
    path = tmp_path / kind / 'val' / 'town' / f'{frame.name}_{suffix}'
    path.write_bytes(
        content if isinstance(content, bytes) else cv2.imencode('.png', content)[1].tobytes()
    )
    with pytest.raises(DatasetError, match=reason) as raised:
        find_frames(tmp_path, 'val')[0].read()
    assert str(path) in str(raised.value)


def test_a_picture_that_claims_to_be_huge_is_damaged(frame, tmp_path):
    write_frame(tmp_path, 'val', frame)
    path = find_frames(tmp_path, 'val')[0].labels
    content = bytearray(path.read_bytes())
    content[16:24] = (1 << 20).to_bytes(4, 'big') * 2  # width and height in the header
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, 'big')
    path.write_bytes(content)
    with pytest.raises(DatasetError, match='cannot be decoded'):
        find_frames(tmp_path, 'val')[0].read()


def test_depth_without_a_camera_cannot_be_written(frame, tmp_path):
    with pytest.raises(ValueError, match='without a camera'):
        write_frame(tmp_path, 'val', replace(frame, camera=None))
