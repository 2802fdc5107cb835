# SPDX-License-Identifier: Apache-2.0
import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mtl_perception.commands import main
from mtl_perception.prediction import DEPTH_UNITS, FAR_CODE


@pytest.fixture
def pictures(tmp_path):
    """A folder of two pictures of one name in two sub-folders, and one that is broken."""
    folder = tmp_path / 'pictures'
    random = np.random.default_rng(0)
    for sub in ('a', 'b'):
        (folder / sub).mkdir(parents=True)
        noise = random.integers(0, 256, (96, 128, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / sub / 'street.png'), cv2.GaussianBlur(noise, (0, 0), 5))
    (folder / 'b' / 'broken.jpg').write_bytes(b'not a picture')
    return folder


def run(*words):
    return main(['predict', '--device', 'cpu', *map(str, words)])


@pytest.mark.slow
def test_a_folder_becomes_overviews_and_maps_and_a_broken_picture_is_named(
    pictures, tiny_checkpoint, tmp_path
):
    output = tmp_path / 'out'
    command = [sys.executable, '-m', 'mtl_perception', 'predict', str(pictures)]
    options = ['--checkpoint', str(tiny_checkpoint), '--output', str(output), '--device', 'cpu']
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'broken.jpg' in done.stderr
    *_, summary, note = done.stdout.splitlines()
    assert summary.startswith(f'2 images in {output}, ')
    assert summary.endswith('1 could not be read')
    assert note.endswith('set --focal-length')
    assert sorted(path.name for path in output.glob('*.png')) == ['street.png', 'street_2.png']
    for name in ('street', 'street_2'):
        labels = cv2.imread(str(output / 'raw' / f'{name}_labels.png'), cv2.IMREAD_UNCHANGED)
        instances = cv2.imread(str(output / 'raw' / f'{name}_instances.png'), cv2.IMREAD_UNCHANGED)
        depth = cv2.imread(str(output / 'raw' / f'{name}_depth.png'), cv2.IMREAD_UNCHANGED)
        rows = json.loads((output / 'raw' / f'{name}_instances.json').read_text())
        assert labels.shape == instances.shape == depth.shape == (96, 128)
        assert instances.dtype == depth.dtype == np.uint16
        assert {row['id'] for row in rows} >= set(np.unique(instances[instances >= 1000]).tolist())


@pytest.mark.slow
def test_raw_maps_can_be_left_out_and_images_limited(pictures, tiny_checkpoint, tmp_path, capsys):
    output = tmp_path / 'out'
    options = ('--checkpoint', tiny_checkpoint, '--output', output, '--no-raw', '--limit', 1)
    assert run(pictures / 'a' / 'street.png', *options) == 0
    assert [path.name for path in output.iterdir()] == ['street.png']
    summary = capsys.readouterr().out.splitlines()[1]
    assert re.match(rf'1 image in {re.escape(str(output))}, [0-9.]+ frames/s$', summary)
    assert run(pictures / 'a' / 'street.png', *options, '--focal-length', 100) == 0
    assert 'focal length unknown' not in capsys.readouterr().out


@pytest.mark.slow
def test_an_explanation_is_drawn_beside_the_overview(pictures, tiny_checkpoint, tmp_path):
    output = tmp_path / 'out'
    options = ('--checkpoint', tiny_checkpoint, '--output', output, '--no-raw', '--explain')
    assert run(pictures / 'a' / 'street.png', *options) == 0
    assert {path.name for path in output.iterdir()} == {'street.png', 'street_explained.png'}
    assert cv2.imread(str(output / 'street_explained.png')).std() > 0


@pytest.mark.slow
def test_a_network_for_labels_alone_writes_what_it_has(
    pictures, partial_checkpoint, tmp_path, capsys
):
    output = tmp_path / 'out'
    words = (pictures / 'a' / 'street.png', '--checkpoint', partial_checkpoint('semantic'))
    assert run(*words, '--output', output) == 0
    assert [path.name for path in (output / 'raw').iterdir()] == ['street_labels.png']
    assert run(*words, '--output', output, '--explain') == 1
    assert 'lacks instance' in capsys.readouterr().err


@pytest.mark.slow
def test_depth_scales_with_the_focal_length(pictures, tiny_checkpoint, tmp_path):
    output = tmp_path / 'out'

    def depth(*options):
        words = ('--checkpoint', tiny_checkpoint, '--output', output)
        assert run(pictures / 'a', *words, *options) == 0
        return cv2.imread(str(output / 'raw' / 'street_depth.png'), cv2.IMREAD_UNCHANGED)

    near, far = (depth('--focal-length', pixels).astype(float) for pixels in (100, 200))
    assert far.max() < 65535
    assert np.allclose(far, 2 * near, atol=2)
    params = tmp_path / 'tuned.yaml'
    params.write_text('/**: {ros__parameters: {max_depth: 1.0}}')
    assert near.min() > DEPTH_UNITS
    assert (depth('--focal-length', 100, '--params-file', params) == FAR_CODE).all()


def test_a_folder_of_broken_pictures_alone_is_an_error(tmp_path, tiny_checkpoint, capsys):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'broken.png').write_bytes(b'')
    options = ('--checkpoint', tiny_checkpoint, '--output', tmp_path / 'out')
    assert run(tmp_path / 'in', *options) == 1
    assert 'none of its images could be read' in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_one_line(pictures, tiny_checkpoint, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    output = tmp_path / 'file' / 'out'
    assert run(pictures, '--checkpoint', tiny_checkpoint, '--output', output) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert str(output) in error


def test_a_source_that_does_not_exist_is_one_line(tmp_path, capsys):
    assert run(tmp_path / 'nothing.png') == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'nothing.png' in error
