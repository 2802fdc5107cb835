# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.frame import Frame
from mtl_perception.pictures.gallery import FrameGallery


@pytest.fixture
def frame(prediction) -> Frame:
    """Return a frame with ``prediction`` as its truth."""
    image = np.zeros((*prediction.labels.shape, 3), np.uint8)
    return Frame('car', image, prediction.labels, prediction.instances, prediction.depth)


def test_the_gallery_shows_the_worst_and_the_best_frames(frame, prediction):
    gallery = FrameGallery()
    sizes = []
    for wrong in (30, 0, 60, 20, 50, 10, 40, 5):
        gallery.add(replace(frame, name=f'wrong{wrong}'), prediction, 1 - wrong / 64)
        sizes.append(gallery.sheet().shape[0])
    assert [entry.name for entry in gallery._entries] == [
        *('wrong60', 'wrong50', 'wrong40'),
        *('wrong10', 'wrong5', 'wrong0'),
    ]
    assert sizes[5] == sizes[7] > sizes[4]


def test_the_gallery_is_empty_without_scores(frame, prediction):
    gallery = FrameGallery()
    gallery.add(frame, prediction, None)
    assert gallery.sheet() is None


def test_the_gallery_puts_truth_beside_prediction(frame, prediction):
    gallery = FrameGallery()
    gallery.add(frame, prediction, 1.0)
    sheet = gallery.sheet()
    columns = [sheet[-200:, i * 324 : i * 324 + 320] for i in range(7)]
    assert np.array_equal(columns[1], columns[2])
    assert not np.array_equal(columns[2], columns[3])


def test_columns_of_truth_are_left_out_where_no_frame_has_it(frame, prediction):
    gallery = FrameGallery()
    gallery.add(Frame(frame.name, frame.image), prediction, 1.0)
    assert gallery.sheet().shape[1] == 4 * 320 + 3 * 4
    gallery.add(frame, prediction, 0.5)
    assert gallery.sheet().shape[1] == 7 * 320 + 6 * 4
