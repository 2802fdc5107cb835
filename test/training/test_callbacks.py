# SPDX-License-Identifier: Apache-2.0
"""Callbacks: pictures and curves of a training, whole checkpoints, the end of siblings."""

import signal
import subprocess
from types import SimpleNamespace

import cv2
import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtl_perception.network.multitask import NetworkConfig
from mtl_perception.training.callbacks import (
    PANEL_WIDTH,
    AtomicCheckpointIO,
    CurvesPicture,
    KillSiblingsOnFailure,
    ValidationPictures,
)
from mtl_perception.training.curves import read_curves
from mtl_perception.training.data import StreetData
from mtl_perception.training.module import MultiTaskModule


@pytest.mark.parametrize('tasks', [('semantic', 'instance', 'depth'), ('depth',)])
def test_training_leaves_curves_and_pictures_of_validation_frames(streets, tmp_path, tasks):
    torch.manual_seed(0)
    network = NetworkConfig(stride=16, head_width=16, tasks=tasks)
    data = StreetData(streets, input_height=64, crop=(64, 128), batch_size=2, workers=0)
    trainer = L.Trainer(
        max_steps=2,
        val_check_interval=1,
        num_sanity_val_steps=0,
        accelerator='cpu',
        logger=TensorBoardLogger(tmp_path, 'log'),
        callbacks=[ValidationPictures(), CurvesPicture()],
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(MultiTaskModule(network, optimizer='adamw'), data)
    curves = read_curves(tmp_path)
    assert ('val/iou' in curves, 'val/disparity_px' in curves) == ('semantic' in tasks, True)
    picture = cv2.imread(str(tmp_path / 'curves.png'))
    assert picture.shape[1] == 520 * len(tasks)
    events = EventAccumulator(trainer.logger.log_dir, {'images': 0})
    events.Reload()
    images = events.Images('val/frames')
    assert [image.step for image in images] == [1, 2]
    sheet = cv2.imdecode(np.frombuffer(images[-1].encoded_image_string, np.uint8), 1)
    assert sheet.shape[1] == 7 * (PANEL_WIDTH + 4) - 4
    assert sheet.shape[0] == 28 + 2 * 128
    truth, answer = (sheet[28:, i * 260 : i * 260 + 256] for i in (1, 2))
    grey = (answer[0] == 40).all()
    assert grey == ('semantic' not in tasks)
    assert len(np.unique(truth.reshape(-1, 3), axis=0)) > 3


def test_a_process_that_fails_ends_those_that_wait_for_it():
    with subprocess.Popen(['sleep', '60']) as other:
        strategy = SimpleNamespace(launcher=_SubprocessScriptLauncher(None, 2, 1))
        strategy.launcher.procs = [other]
        KillSiblingsOnFailure().on_exception(SimpleNamespace(strategy=strategy), None, ValueError())
        assert other.wait() == -signal.SIGKILL
    strategy.launcher = None
    KillSiblingsOnFailure().on_exception(SimpleNamespace(strategy=strategy), None, ValueError())


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / 'last.ckpt'
    AtomicCheckpointIO().save_checkpoint({'step': 1}, path)

    def half_a_write(self, data):
        with self.open('wb') as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('pathlib.Path.write_bytes', half_a_write)
    with pytest.raises(OSError, match='No space left') as raised:
        AtomicCheckpointIO().save_checkpoint({'step': 2}, path)
    assert raised.value.filename == str(path)
    assert torch.load(path) == {'step': 1}
    assert [file.name for file in tmp_path.iterdir()] == ['last.ckpt']
