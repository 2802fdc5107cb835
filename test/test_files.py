import pytest

from mtl_perception.files import make_folder, write_file


def test_a_file_replaces_its_predecessor_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'a' / 'b' / 'data.bin'
    write_file(path, b'old')
    write_file(path, b'new')
    assert path.read_bytes() == b'new'
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_below_a_file_is_refused_by_name(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='cannot be made a folder') as caught:
        make_folder(tmp_path / 'file')
    assert caught.value.filename == str(tmp_path / 'file')
    with pytest.raises(OSError, match='cannot be made a folder'):
        write_file(tmp_path / 'file' / 'out' / 'data.bin', b'')


def test_a_failed_write_names_the_file_and_leaves_no_temporary_one(tmp_path):
    (tmp_path / 'taken').mkdir()
    (tmp_path / 'taken' / 'inside').write_text('')
    with pytest.raises(OSError, match='cannot be written') as caught:
        write_file(tmp_path / 'taken', b'data')
    assert caught.value.filename == str(tmp_path / 'taken')
    assert [path.name for path in tmp_path.iterdir()] == ['taken']
