# SPDX-License-Identifier: Apache-2.0
"""Sources of images: pictures, videos, synthetic streets, and refused ones."""

import logging
import shutil

import cv2
import numpy as np
import pytest

from mtl_perception.data.cityscapes import find_frames
from mtl_perception.sources import SYNTHETIC, open_source


@pytest.fixture
def folder(tmp_path):
    for name, value in (('b.png', 200), ('a.jpg', 50)):
        cv2.imwrite(str(tmp_path / name), np.full((20, 30, 3), value, np.uint8))
    (tmp_path / 'notes.txt').write_text('no picture')
    return tmp_path


def test_a_folder_gives_its_pictures_by_name(folder):
    source = open_source(str(folder))
    assert len(source) == 2
    assert [(image.name, round(image.image.mean())) for image in source] == [('a', 50), ('b', 200)]


def test_colours_are_red_green_blue(tmp_path):
    cv2.imwrite(str(tmp_path / 'red.png'), np.full((2, 2, 3), (0, 0, 255), np.uint8))
    (red,) = open_source(str(tmp_path / 'red.png'))
    assert red.image[0, 0].tolist() == [255, 0, 0]


def test_a_picture_that_cannot_be_read_is_named_and_left_out(folder, caplog):
    (folder / 'c.png').write_bytes(b'not a picture')
    source = open_source(str(folder))
    with caplog.at_level(logging.WARNING):
        assert [image.name for image in source] == ['a', 'b']
    assert source.unreadable == 1
    assert 'c.png' in caplog.text


def test_pictures_in_the_cityscapes_layout_bring_their_camera_and_truth(streets):
    source = open_source(str(streets / 'leftImg8bit' / 'val'))
    (first, *_), truth = source, find_frames(streets, 'val')
    assert first.camera == truth[0].read().camera
    assert source.frames == truth


def test_a_video_gives_its_frames(tmp_path):
    path = tmp_path / 'drive.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (32, 24))
    for value in (0, 100, 200):
        writer.write(np.full((24, 32, 3), value, np.uint8))
    writer.release()
    source = open_source(str(path))
    assert len(source) == 3
    for _ in range(2):  # a video can be read again
        images = list(source)
        assert [image.name for image in images] == [f'drive_{i:06d}' for i in range(3)]
        assert [round(image.image.mean(), -1) for image in images] == [0, 100, 200]


def test_a_synthetic_street_has_the_size_that_is_asked_for():
    source = open_source(SYNTHETIC, size=(48, 64), seed=7)
    first = next(iter(source))
    assert first.image.shape == (48, 64, 3)
    assert first.camera is not None
    again = next(iter(open_source(SYNTHETIC, size=(48, 64), seed=7)))
    np.testing.assert_array_equal(first.image, again.image)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no picture'):
        open_source(str(tmp_path))


def test_what_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.mp4: no such'):
        open_source(str(tmp_path / 'absent.mp4'))


def test_a_file_that_is_no_video_is_refused(folder):
    shutil.move(folder / 'notes.txt', folder / 'notes.mp4')
    with pytest.raises(ValueError, match=r'notes\.mp4: cannot be opened'):
        open_source(str(folder / 'notes.mp4'))
