# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from mtl_perception.files import decode_picture, make_folder, write_file, write_picture


def test_a_file_replaces_its_predecessor_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'a' / 'b' / 'data.bin'
    write_file(path, b'old')
    write_file(path, b'new')
    assert path.read_bytes() == b'new'
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_below_a_file_is_refused_by_name(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='cannot be created') as caught:
        make_folder(tmp_path / 'file')
    assert caught.value.filename == str(tmp_path / 'file')
    with pytest.raises(OSError, match='cannot be created'):
        write_file(tmp_path / 'file' / 'out' / 'data.bin', b'')


def test_a_failed_write_names_the_file_and_leaves_no_temporary_one(tmp_path):
    (tmp_path / 'taken').mkdir()
    (tmp_path / 'taken' / 'inside').write_text('')
    with pytest.raises(OSError, match='cannot be written') as caught:
        write_file(tmp_path / 'taken', b'data')
    assert caught.value.filename == str(tmp_path / 'taken')
    assert [path.name for path in tmp_path.iterdir()] == ['taken']


def test_a_picture_survives_saving(tmp_path):
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    write_picture(tmp_path / 'new' / 'a.png', picture)
    read = cv2.imread(str(tmp_path / 'new' / 'a.png'))
    assert np.array_equal(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), picture)


def test_a_picture_that_cannot_be_saved_names_the_folder(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='cannot be created'):
        write_picture(tmp_path / 'file' / 'a.png', np.zeros((2, 2, 3), np.uint8))


def test_a_jpeg_without_its_end_is_damaged_even_where_opencv_makes_one_up(monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    whole = cv2.imencode('.jpg', picture)[1].tobytes()
    thumbnail = b'\xff\xe1' + (2 + len(whole)).to_bytes(2, 'big') + whole
    with_thumbnail = whole[:2] + thumbnail + whole[2:]
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: picture)
    for data in (whole, with_thumbnail, b'\xff\xd8\xff' + whole[2:]):
        for trailer in (b'', bytes(64), b'film \xff\xda film'):
            assert decode_picture(data + trailer, cv2.IMREAD_COLOR) is picture
        for share in (0.9, 0.6, 0.1):
            cut_off = data[: int(len(data) * share)]
            assert decode_picture(cut_off, cv2.IMREAD_COLOR) is None
