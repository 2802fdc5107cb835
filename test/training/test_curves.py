# SPDX-License-Identifier: Apache-2.0
"""Curves: read from TensorBoard's logs and drawn together."""

import cv2
import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from mtl_perception.commands import main
from mtl_perception.training.curves import read_curves, write_curves

IOU = {'val/iou': {1: 0.1, 2: 0.3}}


def log(folder, values, name='val/iou', suffix=''):
    writer = SummaryWriter(str(folder), filename_suffix=suffix)
    for step, value in values.items():
        writer.add_scalar(name, value, step)
    writer.close()


def test_curves_are_what_was_logged(tmp_path):
    log(tmp_path / 'log' / 'version_0', {3: 0.25, 6: 0.5})
    log(tmp_path / 'log' / 'version_0', {0: -1}, name='hp_metric', suffix='b')
    assert read_curves(tmp_path) == {'val/iou': {3: 0.25, 6: 0.5}}


def test_what_a_resumed_training_did_again_replaces_what_was_lost(tmp_path):
    log(tmp_path / 'version_0', {1: 0.25, 2: 0.5, 3: 0.75, 9: 1.0}, suffix='a')
    log(tmp_path / 'version_1', {3: 0.125, 4: 0.5}, suffix='b')
    assert read_curves(tmp_path) == {'val/iou': {1: 0.25, 2: 0.5, 3: 0.125, 4: 0.5}}


def test_a_folder_without_a_log_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_curves(tmp_path)


def test_there_is_a_panel_for_each_task_that_some_run_has(tmp_path):
    depth = {'val/disparity_px': {1: 2.0, 2: 1.0}}
    both = {**IOU, **depth}
    widths = []
    for runs in ({'a': [IOU]}, {'a': [IOU], 'b': [depth]}, {'a': [both], 'b': [both, IOU]}):
        write_curves(tmp_path / 'curves.png', runs)
        widths.append(cv2.imread(str(tmp_path / 'curves.png')).shape[1])
    assert widths[1] == widths[2] == 2 * widths[0]
    with pytest.raises(ValueError, match='no validation figure'):
        write_curves(tmp_path / 'curves.png', {'a': [{'train/total': {1: 2.0}}]})


def test_every_run_has_a_line_of_its_own(tmp_path):
    higher = {'val/iou': {1: 0.2, 2: 0.6}}
    pictures = []
    for runs in ({'a': [IOU]}, {'a': [IOU, higher]}, {'a': [IOU], 'b': [higher]}):
        write_curves(tmp_path / 'curves.png', runs)
        picture = cv2.imread(str(tmp_path / 'curves.png')).astype(int)
        pictures.append({tuple(color) for color in np.unique(picture.reshape(-1, 3), axis=0)})
    blue, orange = (180, 119, 31), (14, 127, 255)  # matplotlib's first two, as BGR
    assert [(blue in colors, orange in colors) for colors in pictures] == [
        (True, False), (True, False), (True, True)
    ]  # fmt: skip


def test_the_command_draws_several_runs(tmp_path, capsys):
    for run in ('a', 'b'):
        log(tmp_path / run, {1: 0.5})
    runs = [str(tmp_path / run) for run in ('a', 'b')]
    assert main(['curves', *runs, '--output', str(tmp_path)]) == 0
    assert (tmp_path / 'curves.png').is_file()
    assert main(['curves', str(tmp_path / 'c'), '--output', str(tmp_path)]) == 1
    assert str(tmp_path / 'c') in capsys.readouterr().err
