# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from mtl_perception.data import SPLITS
from mtl_perception.data.cityscapes import image_path, pair, write_frame
from mtl_perception.synthetic import synthetic_frame
from mtl_perception.synthetic.dataset import split_seed, write_dataset, write_preview

SIZE = {'height': 32, 'width': 64}


def write(root, index):
    frame = synthetic_frame(split_seed(5, 'val'), index, **SIZE)
    write_frame(root, 'val', frame)
    return image_path(root, 'val', frame.name)


def test_only_missing_frames_are_rendered_and_workers_render_equal_bytes(tmp_path):
    existing = write(tmp_path, 1)
    before = existing.stat().st_mtime_ns

    images = write_dataset(tmp_path, 'val', 3, seed=5, workers=2, **SIZE)

    assert images[1] == existing
    assert existing.stat().st_mtime_ns == before
    for index, image in enumerate(images):
        frame, expected = pair(image).read(), synthetic_frame(split_seed(5, 'val'), index, **SIZE)
        assert frame.name == expected.name
        for field in ('image', 'labels', 'instances'):
            np.testing.assert_array_equal(getattr(frame, field), getattr(expected, field))


def test_a_split_of_another_size_is_refused_and_left_alone(tmp_path):
    existing = write(tmp_path, 0)

    with pytest.raises(ValueError, match='is 32x64, not 32x96'):
        write_dataset(tmp_path, 'val', 2, seed=6, height=32, width=96, workers=1)

    assert list(existing.parent.iterdir()) == [existing]


def test_no_two_splits_of_any_seeds_share_streets():
    seeds = [split_seed(seed, split) for seed in range(100) for split in SPLITS]

    assert len(set(seeds)) == len(seeds)


def test_a_preview_of_an_odd_number_of_frames_ends_with_a_black_tile(tmp_path):
    images = [write(tmp_path, index) for index in range(3)]

    write_preview(tmp_path / 'preview.png', images)

    sheet = cv2.imread(str(tmp_path / 'preview.png'))
    assert sheet.shape == (64, 256, 3)
    np.testing.assert_array_equal(sheet[32:, :64], cv2.imread(str(images[2])))
    assert not sheet[32:, 128:].any()
