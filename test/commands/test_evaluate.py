# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import numpy as np
import pytest

from mtl_perception.commands import main
from mtl_perception.data.cityscapes import write_frame
from mtl_perception.frame import Frame
from mtl_perception.network.checkpoint import read_info


@pytest.fixture
def dataset(tmp_path):
    """Three labelled frames without instances or depth, and one split without any truth."""
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    labels = np.full((64, 96), 7, np.uint8)
    for i in range(3):
        write_frame(tmp_path / 'data', 'val', Frame(f'aa_{i:06d}_000000', image, labels))
    write_frame(tmp_path / 'data', 'test', Frame('aa_000009_000000', image))
    return tmp_path / 'data'


def run(*words):
    return main(['evaluate', '--device', 'cpu', *map(str, words)])


def test_figures_are_printed_and_written(dataset, tiny_checkpoint, tmp_path, capsys):
    output, extra = tmp_path / 'out', tmp_path / 'extra.json'
    status = run(
        '--data', dataset, '--checkpoint', tiny_checkpoint,
        '--output', output, '--json', extra, '--limit', 2,
    )  # fmt: skip
    assert status == 0
    metrics = json.loads((output / 'metrics.json').read_text())
    assert metrics['frames'] == 2
    assert metrics['instance'] is metrics['depth'] is None
    assert np.sum(metrics['semantic']['confusion']) == 2 * 64 * 96
    assert json.loads(extra.read_text()) == metrics
    assert (output / 'frames.png').is_file()
    printed = capsys.readouterr().out
    assert f'IoU {metrics["semantic"]["iou_class"] * 100:.1f} %' in printed
    assert str(output) in printed


@pytest.mark.slow
def test_what_is_no_task_of_the_network_is_not_measured(
    streets, tiny_checkpoint, partial_checkpoint, tmp_path, capsys
):
    whole, part = tmp_path / 'whole', tmp_path / 'part'
    networks = (tiny_checkpoint, whole), (partial_checkpoint('semantic', 'depth'), part)
    for checkpoint, output in networks:
        assert run('--data', streets, '--checkpoint', checkpoint, '--output', output) == 0
    assert 'instance  not measured' in capsys.readouterr().out
    expected, found = (
        json.loads((output / 'metrics.json').read_text()) for output in (whole, part)
    )
    assert expected['instance'] is not None
    assert found['instance'] is None
    assert expected['measured'] == {'semantic': 2, 'instance': 2, 'depth': 2}
    assert found['measured'] == {'semantic': 2, 'instance': 0, 'depth': 2}
    assert found['semantic']['iou_class'] == pytest.approx(
        expected['semantic']['iou_class'], abs=0.01
    )
    assert found['depth']['abs_rel'] == pytest.approx(expected['depth']['abs_rel'], rel=0.01)
    assert (part / 'frames.png').is_file()


def test_frames_without_ground_truth_do_not_pass_for_measured(
    dataset, tiny_checkpoint, tmp_path, capsys
):
    next(dataset.glob('gtFine/val/aa/*labelIds.png')).unlink()
    assert run('--data', dataset, '--checkpoint', tiny_checkpoint, '--output', tmp_path / 'o') == 0
    printed = capsys.readouterr().out
    assert 'frames    3; with ground truth: semantic 2, instance 0, depth 0' in printed


@pytest.mark.parametrize(
    ('split', 'reason'), [('tset', "no split 'tset'"), ('test', 'has ground truth')]
)
def test_a_split_that_cannot_be_measured_is_one_line(
    dataset, tiny_checkpoint, capsys, split, reason
):
    status = run('--data', dataset, '--split', split, '--checkpoint', tiny_checkpoint)
    assert status == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert reason in error
    assert str(dataset) in error


def test_a_wrong_root_is_one_line_that_says_what_was_expected(tmp_path, capsys):
    assert run('--data', tmp_path / 'nowhere') == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'leftImg8bit' in error


def test_an_output_that_cannot_be_written_is_one_line(dataset, tiny_checkpoint, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    output = tmp_path / 'file' / 'out'
    assert run('--data', dataset, '--checkpoint', tiny_checkpoint, '--output', output) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert str(output) in error


@pytest.mark.slow
def test_groups_of_labels_are_printed_and_written(dataset, tiny_checkpoint, tmp_path, capsys):
    arguments = ('--data', dataset, '--checkpoint', tiny_checkpoint, '--output', tmp_path / 'out')
    assert run(*arguments, '--groups', 'camvid') == 0
    groups = json.loads((tmp_path / 'out' / 'metrics.json').read_text())['semantic']['groups']
    road = groups['camvid']['per_group']['road']
    assert groups['camvid']['iou'] == road
    assert f'road                    {road * 100:>7.1f} %' in capsys.readouterr().out
    assert run(*arguments, '--groups', 'vamcid') == 1
    assert 'camvid or idd' in capsys.readouterr().err


@pytest.mark.slow
def test_one_city_of_several_is_measured_and_recorded_under_its_name(
    dataset, tiny_checkpoint, tmp_path, capsys
):
    checkpoint = tmp_path / 'mine.safetensors'
    shutil.copy(tiny_checkpoint, checkpoint)
    image = np.zeros((64, 96, 3), np.uint8)
    write_frame(dataset, 'val', Frame('bb_000000_000000', image, np.full((64, 96), 7, np.uint8)))
    arguments = ('--data', dataset, '--checkpoint', checkpoint, '--output', tmp_path / 'out')
    assert run(*arguments, '--cities', 'bb', '--record') == 0
    assert read_info(checkpoint).metrics['data val bb']['frames'] == 1
    assert run(*arguments, '--cities', 'bb', 'cc') == 1
    assert "no city 'cc'; the cities are aa, bb" in capsys.readouterr().err


@pytest.mark.slow
def test_recorded_figures_are_kept_in_the_checkpoint(dataset, tiny_checkpoint, tmp_path):
    checkpoint, output = tmp_path / 'mine.safetensors', tmp_path / 'out'
    shutil.copy(tiny_checkpoint, checkpoint)
    arguments = ('--data', dataset, '--checkpoint', checkpoint, '--output', output)
    assert run(*arguments) == 0
    assert read_info(checkpoint).metrics == {}
    assert run(*arguments, '--record') == 0
    metrics = json.loads((output / 'metrics.json').read_text())
    recorded = read_info(checkpoint).metrics['data val']
    assert recorded['frames'] == 3
    assert recorded['depth'] is None
    assert recorded['semantic'] == {
        key: metrics['semantic'][key]
        for key in ('iou_class', 'iou_category', 'iiou_class', 'iiou_category')
    }
