# SPDX-License-Identifier: Apache-2.0
"""Two processes train like one on the joined batches, also if one of them lacks a task."""

import csv
import os
import shutil
import subprocess
import sys

import pytest
import torch

from mtl_perception.commands import main
from mtl_perception.data.cityscapes import find_frames


@pytest.fixture
def partial_streets(streets, tmp_path):
    """Return eight streets, one of them with depth, five with instances."""
    root = tmp_path / 'streets'
    shutil.copytree(streets, root)
    for i, frame in enumerate(find_frames(root, 'train')):
        if i > 0:
            frame.disparity.unlink()
        if i > 4:
            frame.instances.unlink()
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    'launcher', [('-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2'), ()]
)
def test_two_processes_equal_one_with_the_joined_batch(partial_streets, tmp_path, launcher):
    """torchrun starts the processes in one case, Lightning in the other."""
    options = [
        *('train', 'fit', '--data.root', str(partial_streets), '--data.workers', '0'),
        *('--data.input_height', '32', '--data.crop', '[32,64]', '--model.freeze_batch_norm'),
        *('true', '--model.network.encoder', 'resnet18', '--model.network.stride', '16'),
        *('--model.network.head_width', '16', '--model.learning_rate', '1e-3'),
        *('--trainer.accelerator', 'cpu'),
        *('--trainer.max_steps', '20', '--trainer.log_every_n_steps', '1'),
        *('--trainer.logger', 'lightning.pytorch.loggers.CSVLogger'),
        *('--trainer.enable_progress_bar', 'false', '--trainer.enable_model_summary', 'false'),
        *('--checkpoint.every_n_train_steps', '20'),
    ]

    def folder(name: str) -> list[str]:
        path = str(tmp_path / name)
        return ['--trainer.default_root_dir', path, '--trainer.logger.init_args.save_dir', path]

    assert main([*options, *folder('one'), '--data.batch_size', '4']) == 0
    subprocess.run(
        [
            *(sys.executable, *launcher, '-m', 'mtl_perception', *options, *folder('two')),
            *('--data.batch_size', '2', '--trainer.devices', '2', '--trainer.strategy', 'ddp'),
        ],
        check=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    expected, found = losses(tmp_path / 'one'), losses(tmp_path / 'two')
    assert len(expected) == 20
    assert 0 < sum('train/depth' in row for row in expected) < 20
    for a, b in zip(expected, found, strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    one, two = (
        torch.load(tmp_path / name / 'last.ckpt', weights_only=True)['state_dict']
        for name in ('one', 'two')
    )
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5, msg=key)


def losses(folder) -> list[dict[str, float]]:
    """Return the losses of every step; tasks without ground truth are absent."""
    (path,) = folder.glob('**/metrics.csv')
    with path.open() as file:
        rows = [
            {key: float(text) for key, text in row.items() if 'train/' in key and text}
            for row in csv.DictReader(file)
        ]
    return [row for row in rows if row]
