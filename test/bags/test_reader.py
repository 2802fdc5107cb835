# SPDX-License-Identifier: Apache-2.0
"""Every storage and compression of bags, and the intact part of damaged bags."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

from mtl_perception.bags.messages import IMAGE, TYPESTORE, header, rgb_message
from mtl_perception.bags.reader import ZSTD_MAGIC, BagError, BagReader, Message
from mtl_perception.bags.writer import BagWriter

IMAGE_TOPIC = '/camera/image_raw'


def messages(path: Path, *topics: str) -> list[Message]:
    with BagReader(path) as bag:
        return list(bag.messages(topics or list(bag.topics)))


@pytest.fixture
def kinds(street_bag: Path, tmp_path: Path) -> dict[str, Path]:
    """Return one bag in every storage, compression and version."""

    def write(plugin: str, mode: str, version: int) -> Path:
        path = tmp_path / f'{plugin}_{mode}_{version}'
        with Reader(street_bag) as reader:
            writer = Writer(path, version=version, storage_plugin=plugins[plugin])
            writer.set_compression(modes[mode], CompressionFormat.ZSTD)
            with writer:
                copies = {
                    c.topic: writer.add_connection(c.topic, c.msgtype, typestore=TYPESTORE)
                    for c in reader.connections
                }
                for connection, time, data in reader.messages():
                    writer.write(copies[connection.topic], time, data)
        return path

    plugins = {'mcap': StoragePlugin.MCAP, 'sqlite': StoragePlugin.SQLITE3}
    modes = {'plain': CompressionMode.NONE, 'file': CompressionMode.FILE}
    modes['message'] = CompressionMode.MESSAGE
    return {
        f'{plugin} {mode} {version}': write(plugin, mode, version)
        for plugin, mode, version in itertools.product(plugins, modes, (8, 9))
    }


def test_every_kind_of_bag_holds_the_same_messages(kinds, street_bag):
    expected = sorted(messages(street_bag))
    assert len(expected) == 8 * 5
    for kind, path in kinds.items():
        assert sorted(messages(path)) == expected, kind


def test_metadata_of_humble_is_read(kinds):
    path = kinds['sqlite plain 8'] / 'metadata.yaml'
    content = yaml.safe_load(path.read_text())
    information = content['rosbag2_bagfile_information']
    information['version'] = 5
    for topic in information['topics_with_message_count']:
        del topic['topic_metadata']['type_description_hash']
    path.write_text(yaml.safe_dump(content))
    assert len(messages(path.parent, IMAGE_TOPIC)) == 8


def test_a_split_bag_is_read_in_the_order_of_its_numbers(street_bag, tmp_path):
    whole = messages(street_bag, IMAGE_TOPIC)
    split = tmp_path / 'split'
    split.mkdir()
    for number, i in zip((1, 2, 9, 10), range(0, 8, 2), strict=True):
        part = tmp_path / f'part_{number}'
        with Writer(part, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connection = writer.add_connection(IMAGE_TOPIC, IMAGE, typestore=TYPESTORE)
            for message in whole[i : i + 2]:
                writer.write(connection, message.time, message.data)
        (part / f'part_{number}.mcap').rename(split / f'split_{number}.mcap')
    with BagReader(split) as bag:
        assert list(bag.messages([IMAGE_TOPIC])) == whole
        assert bag.notes == ['no metadata.yaml; read 4 files in the order of their names']
        assert (bag.start, bag.end) == (whole[0].time, whole[-1].time)


@pytest.mark.parametrize('kind', ['mcap plain 9', 'sqlite message 9', 'mcap file 9'])
def test_a_lost_metadata_file_is_no_loss(kinds, street_bag, kind):
    (kinds[kind] / 'metadata.yaml').unlink()
    with BagReader(kinds[kind]) as bag:
        assert sorted(bag.messages(list(bag.topics))) == sorted(messages(street_bag))
        assert 'no metadata.yaml' in bag.notes[0]


def test_a_file_of_a_bag_is_a_bag(kinds, street_bag):
    (file,) = kinds['mcap plain 9'].glob('*.mcap')
    assert sorted(messages(file)) == sorted(messages(street_bag))


@pytest.fixture
def noise(tmp_path: Path) -> tuple[Path, list[Message]]:
    """Return a bag of several chunks and its messages."""
    random = np.random.default_rng(0)
    with BagWriter(tmp_path / 'noise') as bag:
        for stamp in range(1, 21):
            picture = random.integers(0, 256, (256, 256, 3), np.uint8)
            bag.write_message(IMAGE_TOPIC, stamp, rgb_message(picture, header(stamp, 'camera')))
    return tmp_path / 'noise', messages(tmp_path / 'noise')


def test_a_truncated_file_is_read_up_to_its_end(noise):
    path, whole = noise
    (file,) = path.glob('*.mcap')
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with BagReader(path) as bag:
        found = list(bag.messages([IMAGE_TOPIC]))
        assert 0 < len(found) < len(whole)
        assert found == whole[: len(found)]
        assert bag.topics[IMAGE_TOPIC].count == len(found)
        (note,) = (note for note in bag.notes if file.name in note)
        assert 'cut off' in note
        assert f'metadata.yaml counts 20 messages, of which {len(found)} can be read' in bag.notes


def test_a_file_with_a_damaged_index_is_read_without_it(noise):
    path, whole = noise
    (file,) = path.glob('*.mcap')
    footer_and_magic = 28
    data = bytearray(file.read_bytes())
    data[-footer_and_magic : -footer_and_magic + 8] = b'\x7f' * 8
    file.write_bytes(data)
    with BagReader(path) as bag:
        assert list(bag.messages([IMAGE_TOPIC])) == whole
        assert bag.notes == [
            f'{file.name}: index damaged; 20 messages before the damage can be read'
        ]


def test_damage_in_the_middle_is_noted_and_what_comes_before_it_read(noise):
    path, whole = noise
    (file,) = path.glob('*.mcap')
    data = bytearray(file.read_bytes())
    chunk = data.index(ZSTD_MAGIC, len(data) // 2)
    data[chunk : chunk + len(ZSTD_MAGIC)] = b'oops'
    file.write_bytes(data)
    with BagReader(path) as bag:
        found = list(bag.messages([IMAGE_TOPIC]))
        assert 0 < len(found) < len(whole)
        assert found == whole[: len(found)]
        assert any(f'damaged after {len(found)} messages' in note for note in bag.notes)


def test_a_damaged_file_does_not_take_the_others_with_it(noise):
    path, whole = noise
    (path / 'metadata.yaml').unlink()
    (path / 'broken.mcap').write_bytes(b'no bag at all')
    (path / 'broken.db3').write_bytes(b'no database at all')
    with BagReader(path) as bag:
        assert list(bag.messages([IMAGE_TOPIC])) == whole
        for name in ('broken.mcap', 'broken.db3'):
            assert any(f'{name}: cannot be read' in note for note in bag.notes)


@pytest.mark.parametrize('make', [Path.mkdir, Path.touch])
def test_what_is_no_bag_is_refused(tmp_path, make):
    path = tmp_path / 'folder'
    make(path)
    with pytest.raises(BagError, match=r'expected a \.mcap or \.db3 file, or a folder with'):
        BagReader(path)


def test_a_bag_of_which_nothing_can_be_read_says_why(tmp_path):
    (tmp_path / 'broken.mcap').write_bytes(b'')
    with pytest.raises(BagError, match=r'no file of this bag can be read.*broken\.mcap'):
        BagReader(tmp_path)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such bag'):
        BagReader(tmp_path / 'absent')
