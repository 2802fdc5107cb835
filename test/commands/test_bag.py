# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.bags.frames import BagFrames, Selection
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.topics import find_topics
from mtl_perception.commands import main
from mtl_perception.data.cityscapes import find_frames, write_frame
from mtl_perception.frame import Frame


def frames_of(path: Path) -> list:
    with BagReader(path) as bag:
        return list(BagFrames(bag, find_topics(bag), Selection()))


@pytest.mark.parametrize('encoding', ['raw', 'png'])
def test_a_dataset_comes_back_from_its_bag_bit_by_bit(streets, tmp_path, encoding):
    words = [str(streets), '--split', 'train', '--limit', '3', '--rate', '20']
    assert main(['bag', *words, '--encoding', encoding, '--output', str(tmp_path / 'bag')]) == 0
    found = frames_of(tmp_path / 'bag')
    assert [frame.stamp - found[0].stamp for frame in found] == [0, 50_000_000, 100_000_000]
    for item, paths in zip(found, find_frames(streets, 'train'), strict=False):
        frame, expected = item.frame, paths.read()
        np.testing.assert_array_equal(frame.image, expected.image)
        np.testing.assert_array_equal(frame.labels, expected.labels)
        np.testing.assert_array_equal(frame.instances, expected.instances)
        assert frame.depth.tobytes() == expected.depth.tobytes()
        assert frame.focal_length == expected.focal_length
        assert item.stamp == item.time


def test_jpeg_lies_below_the_topic_and_looks_like_the_image(streets, tmp_path):
    words = [str(streets), '--encoding', 'jpeg', '--topic', '/front/image', '--frame-id', 'front']
    assert main(['bag', *words, '--output', str(tmp_path / 'bag')]) == 0
    with BagReader(tmp_path / 'bag') as bag:
        assert {'/front/image/compressed', '/front/camera_info'} <= set(bag.topics)
    item = frames_of(tmp_path / 'bag')[0]
    expected = find_frames(streets, 'val')[0].read_image().astype(int)
    assert item.header.frame_id == 'front'
    assert np.abs(item.frame.image - expected).mean() < 8


def test_what_a_frame_lacks_is_not_written(tmp_path, capsys):
    image = np.zeros((64, 96, 3), np.uint8)
    for i, labels in enumerate((np.full((64, 96), 7, np.uint8), None)):
        write_frame(tmp_path / 'data', 'val', Frame(f'aa_00000{i}_000000', image, labels))
    assert main(['bag', str(tmp_path / 'data'), '--output', str(tmp_path / 'bag')]) == 0
    assert 'ground truth: 1 semantic, 0 instance, 0 depth' in capsys.readouterr().out
    with BagReader(tmp_path / 'bag') as bag:
        counts = {topic.name: topic.count for topic in bag.topics.values()}
    assert counts == {'/camera/image_raw': 2, '/ground_truth/semantic/image': 1}


def test_a_folder_that_is_no_bag_is_not_replaced(streets, tmp_path, capsys):
    (tmp_path / 'precious').mkdir()
    assert main(['bag', str(streets), '--output', str(tmp_path / 'precious')]) == 1
    assert 'exists and is not a bag' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / 'precious']
