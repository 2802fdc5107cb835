# SPDX-License-Identifier: Apache-2.0
"""The cache of frames: content, replacement of entries, and sharing."""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.data.augmentation import resize_frame
from mtl_perception.data.cache import FrameCache
from mtl_perception.data.cityscapes import DatasetError, FramePaths, find_frames
from mtl_perception.frame import Frame


@pytest.fixture
def paths(streets, tmp_path) -> FramePaths:
    """Return a frame whose files a test may change."""
    (source, *_) = find_frames(streets, 'train')
    for path in source.files:
        target = tmp_path / 'data' / path.relative_to(streets)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (paths,) = find_frames(tmp_path / 'data', 'train')
    return paths


def assert_equal(found: Frame, expected: Frame) -> None:
    for name in ('image', 'labels', 'instances', 'depth'):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.name, found.camera) == (expected.name, expected.camera)


def entry_of(cache: FrameCache):
    (entry,) = cache.folder.glob('*.npz')
    return entry


def test_frames_come_from_the_cache_as_they_were_put_there(paths, tmp_path):
    cache = FrameCache(tmp_path / 'cache', 32)
    first = cache.read(paths)
    assert first.image.shape == (32, 64, 3)
    assert_equal(first, resize_frame(paths.read(), 32, 64))
    written = entry_of(cache).stat().st_mtime_ns
    assert_equal(cache.read(paths), first)
    assert entry_of(cache).stat().st_mtime_ns == written


def test_small_frames_are_kept_as_they_are(paths, tmp_path):
    assert_equal(FrameCache(tmp_path / 'cache', 1024).read(paths), paths.read())


def test_ground_truth_that_there_is_not_stays_absent(paths, tmp_path):
    bare = replace(paths, labels=None, disparity=None, camera=None)
    cache = FrameCache(tmp_path / 'cache', 1024)
    for _ in range(2):
        frame = cache.read(bare)
        assert (frame.labels, frame.depth, frame.camera) == (None, None, None)
        assert frame.instances is not None


def test_a_changed_source_makes_the_entry_anew(paths, tmp_path):
    cache = FrameCache(tmp_path / 'cache', 32)
    before = cache.read(paths)
    paths.camera.write_text(paths.camera.read_text().replace('"fy": ', '"fy": 2'))
    found = cache.read(paths)
    assert found.camera.fy > before.camera.fy
    assert_equal(found, resize_frame(paths.read(), 32, 64))
    entry_of(cache)  # replaced the old one


@pytest.mark.parametrize(
    'damage', ['truncated', 'a byte', 'a name', 'a method', 'empty', 'another file']
)
def test_a_damaged_entry_is_made_anew(paths, tmp_path, damage):
    cache = FrameCache(tmp_path / 'cache', 32)
    first = cache.read(paths)
    whole = entry_of(cache).read_bytes()
    directory = whole.index(b'PK\x01\x02') + 10  # how the first array is compressed
    data = bytearray(whole)
    middle = data.find(first.image.tobytes()) + first.image.size // 2
    data[middle] ^= 1
    content = {
        'truncated': data[:middle],
        'a byte': data,
        'a name': whole.replace(b'labels.npy', b'lapels.npy'),
        'a method': whole[:directory] + b'\x63' + whole[directory + 1 :],
        'empty': b'',
        'another file': b'not a cache',
    }[damage]
    entry_of(cache).write_bytes(content)
    assert_equal(cache.read(paths), first)
    assert entry_of(cache).read_bytes() != content


def test_settings_do_not_share_entries(paths, tmp_path):
    for height in (16, 32, 16):
        assert FrameCache(tmp_path / 'cache', height).read(paths).image.shape[0] == height
    assert len(list((tmp_path / 'cache').glob('*.npz'))) == 2


def test_several_may_fill_it_at_once(paths, tmp_path):
    cache = FrameCache(tmp_path / 'cache', 32)
    with multiprocessing.get_context('fork').Pool(4) as pool:
        frames = pool.map(cache.read, [paths] * 8, chunksize=1)
    for frame in frames:
        assert_equal(frame, frames[0])
    assert [path.suffix for path in cache.folder.iterdir()] == ['.npz']


def test_damaged_frames_are_not_kept(paths, tmp_path):
    paths.labels.write_bytes(b'not a picture')
    with pytest.raises(DatasetError, match='cannot be decoded'):
        FrameCache(tmp_path / 'cache', 32).read(paths)
    assert not (tmp_path / 'cache').exists()


def test_a_file_that_is_gone_is_named(paths, tmp_path):
    paths.labels.unlink()
    with pytest.raises(DatasetError, match=str(paths.labels)):
        FrameCache(tmp_path / 'cache', 32).read(paths)


def test_a_frame_that_cannot_be_kept_is_returned_with_a_warning(paths, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.warns(UserWarning, match='not cached: .*cannot be created'):
        frame = FrameCache(tmp_path / 'file' / 'cache', 1024).read(paths)
    assert_equal(frame, paths.read())
