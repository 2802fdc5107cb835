# SPDX-License-Identifier: Apache-2.0
"""Matching of images with calibration, ground truth and published maps."""

from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from mtl_perception.bags.frames import BagFrame, BagFrames, Selection
from mtl_perception.bags.messages import (
    IMAGE,
    TYPESTORE,
    camera_info_message,
    compressed_message,
    header,
    map_message,
    rgb_message,
    serialize,
)
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.topics import find_topics
from mtl_perception.frame import CITYSCAPES_FOCAL_RATIO, Camera
from mtl_perception.messages.stamps import SECOND

HEIGHT, WIDTH = 16, 24
PERIOD = SECOND // 10
CAMERA = Camera(30, 40, 12, 8)
WHOLE = Selection()


def image(stamp: int, value: int = 0) -> Any:
    return rgb_message(np.full((HEIGHT, WIDTH, 3), value, np.uint8), header(stamp, 'front'))


def labels(stamp: int, value: int = 7, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Any:
    return map_message(np.full(size, value, np.uint8), header(stamp, 'front'))


def stamps(count: int) -> list[int]:
    return [(i + 10) * PERIOD for i in range(count)]


def read(path: Path, selection: Selection = WHOLE, **names: Any) -> tuple[list[BagFrame], Any]:
    with BagReader(path) as bag:
        frames = BagFrames(bag, find_topics(bag, **names), selection)
        found = list(frames)
        assert frames.tally.frames == len(found)
        return found, frames.tally


def test_raw_and_compressed_images_come_out_with_stamp_and_time_untouched(make_bag):
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    head = header(5 * SECOND, 'front')
    for message in (rgb_message(pixels, head), compressed_message(pixels, head, 'png')):
        (frame,), _ = read(make_bag([('/front/image', 7 * SECOND, message)]))
        np.testing.assert_array_equal(frame.frame.image, pixels)
        assert (frame.stamp, frame.time) == (5 * SECOND, 7 * SECOND)


def test_truth_is_matched_by_stamp_wherever_it_lies_within_a_second(make_bag):
    entries = [('/image', stamp, image(stamp)) for stamp in stamps(6)]
    for i, stamp in enumerate(stamps(6)):
        time = stamp + (SECOND - 1 if i % 2 else 1 - SECOND)
        entries.append(('/ground_truth/semantic/image', time, labels(stamp, 7 + i)))
    path = make_bag(sorted(entries, key=lambda entry: entry[1]))
    found, tally = read(path, Selection(focal_length=30.0))
    assert [frame.frame.labels[0, 0] for frame in found] == [7, 8, 9, 10, 11, 12]
    assert tally.truth['semantic'].matched == 6
    assert list(tally.notes()) == []


def test_stamps_match_within_the_tolerance_and_the_others_are_counted(make_bag):
    entries = []
    for i, stamp in enumerate(stamps(5)):
        off = stamp + i * SECOND // 100
        entries += [('/image', stamp, image(stamp)), ('/truth', stamp + 1, labels(off))]
    path = make_bag(entries)
    for tolerance, matched in ((0, 1), (0.02, 3), (0.04, 5)):
        selection = Selection(tolerance=tolerance, focal_length=30.0)
        found, tally = read(path, selection, truth={'semantic': '/truth'})
        counts = tally.truth['semantic']
        assert sum(frame.frame.labels is not None for frame in found) == matched
        assert (counts.matched, counts.images_without) == (matched, 5 - matched)
        assert counts.without_image == 5 - matched
        assert len(list(tally.notes())) == (0 if matched == 5 else 2)


def test_truth_of_another_size_or_with_impossible_values_is_counted_and_left_out(make_bag):
    entries = []
    for stamp, truth in zip(
        stamps(3), (labels(0, size=(8, 8)), labels(0, value=200), labels(0)), strict=True
    ):
        truth.header = header(stamp, 'front')
        entries += [('/image', stamp, image(stamp)), ('/ground_truth/semantic/image', stamp, truth)]
    found, tally = read(make_bag(entries))
    assert [frame.frame.labels is None for frame in found] == [True, True, False]
    assert tally.truth['semantic'].unusable == 2
    assert any('8×8 pixels, but the image has 24×16' in note for note in tally.notes())


def test_an_image_has_the_camera_info_of_its_stamp_or_the_nearest_one_of_its_frame(make_bag):
    entries = []
    for i, stamp in enumerate(stamps(4)):
        camera = Camera(30 + i, 40 + i, 12, 8)
        for frame_id in ('front', 'rear'):
            info = camera_info_message(camera, WIDTH, HEIGHT, header(stamp, frame_id))
            info.k = info.k * (1 if frame_id == 'front' else 2)
            if i != 3:
                entries.append(('/camera_info', stamp + 1000, info))
        entries.append(('/image', stamp, image(stamp)))
    found, _ = read(make_bag(sorted(entries, key=lambda entry: entry[1])))
    assert [frame.frame.focal_length for frame in found] == [40, 41, 42, 42]
    assert all(frame.is_calibrated for frame in found)


def test_a_camera_info_at_the_beginning_holds_for_a_later_start(make_bag):
    entries = [('/camera_info', 0, camera_info_message(CAMERA, WIDTH, HEIGHT, header(0, 'front')))]
    entries += [('/image', stamp, image(stamp)) for stamp in stamps(60)]
    found, _ = read(make_bag(entries), Selection(start=5))
    assert {frame.frame.focal_length for frame in found} == {CAMERA.fy}


def test_without_camera_info_the_focal_length_is_the_given_or_that_of_cityscapes(make_bag):
    path = make_bag([('/image', SECOND, image(SECOND))])
    (frame,), tally = read(path)
    assert frame.frame.focal_length == CITYSCAPES_FOCAL_RATIO * HEIGHT
    assert next(tally.notes()).startswith('1 frames have no usable CameraInfo')
    (frame,), tally = read(path, Selection(focal_length=33.0))
    assert frame.frame.focal_length == 33
    assert not list(tally.notes())
    assert not frame.is_calibrated


def test_a_part_of_the_bag_can_be_selected(make_bag):
    entries = []
    for stamp in stamps(30):
        entries += [('/image', stamp, image(stamp))]
        entries += [('/ground_truth/semantic/image', stamp, labels(stamp))]
    path = make_bag(entries)
    first = stamps(30)[0]
    for selection, expected in (
        (Selection(start=1, duration=0.5), range(10, 15)),
        (Selection(every=7), range(0, 30, 7)),
        (Selection(start=0.5, limit=3), range(5, 8)),
    ):
        found, tally = read(path, selection)
        assert [(frame.stamp - first) // PERIOD for frame in found] == list(expected)
        assert all(frame.frame.labels is not None for frame in found)
        assert tally.truth['semantic'].without_image == 0 or selection.limit
        with BagReader(path) as bag:
            assert len(BagFrames(bag, find_topics(bag), selection)) == len(found)


def test_truth_after_the_last_frame_of_a_limit_is_not_counted(make_bag):
    first, second = stamps(2)
    entries = [('/image', first, image(first)), ('/image', second, image(second))]
    path = make_bag([*entries, ('/ground_truth/semantic/image', second, labels(second))])
    _, tally = read(path, Selection(limit=1))
    assert (tally.frames, tally.truth['semantic'].without_image) == (1, 0)


def test_images_out_of_order_stay_in_the_order_of_their_arrival(make_bag):
    order = [10, 12, 11, 13]
    entries = [('/image', i * PERIOD, image(stamp * PERIOD)) for i, stamp in enumerate(order)]
    found, tally = read(make_bag(entries))
    assert [frame.stamp // PERIOD for frame in found] == order
    assert tally.out_of_order == 1


def test_images_that_cannot_be_decoded_are_counted_and_left_out(make_bag):
    entries = [('/image', stamp, image(stamp)) for stamp in stamps(3)]
    entries[1][2].encoding = 'magic'
    found, tally = read(make_bag(entries))
    assert len(found) == 2
    assert (tally.images, tally.unreadable) == (3, 1)
    assert "encoding 'magic'" in next(tally.notes())


def test_types_that_nobody_knows_do_not_matter(tmp_path):
    with Writer(tmp_path / 'odd', version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        odd = bag.add_connection('/odd', 'maker/msg/Odd', msgdef='int32 x\n', rihs01='RIHS01_0')
        images = bag.add_connection('/image', IMAGE, typestore=TYPESTORE)
        for stamp in stamps(3):
            bag.write(odd, stamp, b'\x00\x01\x00\x00\x01\x00\x00\x00')
            bag.write(images, stamp, serialize(image(stamp)))
    assert len(read(tmp_path / 'odd')[0]) == 3


def test_only_the_chosen_one_of_several_image_topics_makes_frames(make_bag):
    path = make_bag([('/left', 1, image(1)), ('/right', 2, image(2)), ('/right', 3, image(3))])
    assert [frame.stamp for frame in read(path, image='/right')[0]] == [2, 3]


def test_what_a_node_published_counts_where_all_of_it_is_there(make_bag):
    published = {task: f'/node/{task}/image' for task in ('semantic', 'instance', 'depth')}
    whole, part = stamps(2)
    entries = [('/image', stamp, image(stamp)) for stamp in (whole, part)]
    for topic, value in zip(
        published.values(), (np.uint8(7), np.uint16(7), np.float32(7)), strict=True
    ):
        values = np.full((HEIGHT, WIDTH), value)
        entries.append((topic, whole, map_message(values, header(whole, 'front'))))
    entries.append((published['semantic'], part, labels(part)))
    path = make_bag(sorted(entries, key=lambda entry: entry[1]))
    found, _ = read(path, image='/image', published=published)
    assert found[0].published.instances[0, 0] == found[0].published.depth[0, 0] == 7
    assert found[1].published is None
