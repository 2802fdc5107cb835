# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from mtl_perception.commands import main
from mtl_perception.labels import COLORS


def synthesize(folder, *words):
    return main(['synthesize', '--output', str(folder), '--split', 'val', *map(str, words)])


def test_frames_are_added_and_none_is_rendered_anew(tmp_path):
    assert synthesize(tmp_path, '--frames', 2, '--size', '32x64') == 0
    images = tmp_path / 'leftImg8bit' / 'val' / 'synthetic'
    before = {path.name: path.stat().st_mtime_ns for path in images.iterdir()}
    assert synthesize(tmp_path, '--frames', 3, '--size', '32x64') == 0
    after = {path.name: path.stat().st_mtime_ns for path in images.iterdir()}
    assert len(before) == 2
    assert len(after) == 3
    assert before.items() < after.items()


def test_frames_of_another_size_are_not_taken_for_done(tmp_path, capsys):
    assert synthesize(tmp_path, '--frames', 1, '--size', '32x64') == 0
    for seed in (0, 1):
        assert synthesize(tmp_path, '--frames', 2, '--size', '64x64', '--seed', seed) == 1
        assert 'is 32x64, not 64x64; give that --size' in capsys.readouterr().err


def test_the_preview_shows_the_frames_that_there_are(tmp_path):
    preview = tmp_path / 'preview.png'
    assert synthesize(tmp_path, '--frames', 1, '--size', '32x64', '--preview', preview) == 0
    (image,) = (tmp_path / 'leftImg8bit').rglob('*.png')
    (labels,) = (tmp_path / 'gtFine').rglob('*labelIds.png')
    sheet = cv2.imread(str(preview))[..., ::-1]
    assert sheet.shape == (32, 256, 3)
    np.testing.assert_array_equal(sheet[:, :64], cv2.imread(str(image))[..., ::-1])
    colors = COLORS[cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)]
    np.testing.assert_array_equal(sheet[:, 64:128], colors)


def test_a_preview_that_could_not_be_written_is_refused_before_rendering(tmp_path, capsys):
    with pytest.raises(SystemExit):
        synthesize(tmp_path, '--preview', tmp_path / 'preview')
    assert 'does not end in .png or .jpg' in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
