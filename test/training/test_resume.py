# SPDX-License-Identifier: Apache-2.0
"""A killed and resumed run ends with the weights of an uninterrupted run, bit for bit."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from mtl_perception.commands import main
from mtl_perception.training.callbacks import AtomicCheckpointIO

KILLED = """
import os, signal, sys
from mtl_perception.commands import main
from mtl_perception.training.module import MultiTaskModule

step, *arguments = sys.argv[1:]

def die(module, optimizer):
    if module.global_step == int(step):
        os.kill(os.getpid(), signal.SIGKILL)

MultiTaskModule.on_before_optimizer_step = die
main(arguments)
"""


@pytest.fixture
def arguments(streets) -> list[str]:
    """Return the options of a training of 8 steps in epochs of 4, saved every third step."""
    return [
        *('train', 'fit', '--data.root', str(streets), '--data.batch_size', '2'),
        *('--data.input_height', '32', '--data.crop', '[32,64]', '--data.workers', '0'),
        *('--model.network.encoder', 'resnet18', '--model.network.stride', '16'),
        *('--model.network.head_width', '16', '--trainer.accelerator', 'cpu'),
        *('--trainer.max_steps', '8', '--trainer.logger', 'false'),
        *('--trainer.limit_val_batches', '0', '--checkpoint.every_n_train_steps', '3'),
        *('--trainer.enable_progress_bar', 'false', '--trainer.enable_model_summary', 'false'),
    ]


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights_and_momenta(arguments, tmp_path):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    finish = ['--checkpoint.every_n_train_steps', '1']
    assert main([*arguments, '--trainer.default_root_dir', str(whole), *finish]) == 0

    # Workers read ahead, which must not change the order.
    options = ['--trainer.default_root_dir', str(killed), '--data.workers', '1']
    result = subprocess.run(
        [sys.executable, '-c', KILLED, '5', *arguments, *options],
        check=False,
        env={**os.environ, 'OMP_NUM_THREADS': str(torch.get_num_threads())},
    )
    assert result.returncode == -signal.SIGKILL
    assert load(killed)['global_step'] == 3
    resume = ['--ckpt_path', str(killed / 'last.ckpt')]
    assert main([*arguments, *options, *finish, *resume]) == 0

    expected, found = load(whole), load(killed)
    assert found['global_step'] == expected['global_step'] == 8
    assert_identical(found['state_dict'], expected['state_dict'])
    assert_identical(
        found['optimizer_states'][0]['state'], expected['optimizer_states'][0]['state']
    )


def test_a_resumed_run_saves_nothing_amid_accumulated_batches(arguments, tmp_path, monkeypatch):
    options = ['--trainer.default_root_dir', str(tmp_path), '--checkpoint.every_n_train_steps', '1']
    options += ['--trainer.accumulate_grad_batches', '2']
    assert main([*arguments, *options, '--trainer.max_steps', '2']) == 0
    saved = []
    save = AtomicCheckpointIO.save_checkpoint

    def recorded(self, checkpoint, path, storage_options=None):
        saved.append(checkpoint['global_step'])
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, 'save_checkpoint', recorded)
    resume = ['--ckpt_path', str(tmp_path / 'last.ckpt'), '--trainer.max_steps', '4']
    assert main([*arguments, *options, *resume]) == 0
    assert saved == [3, 4]


def test_a_resumed_run_has_the_learning_rate_of_now(arguments, tmp_path):
    arguments = [*arguments, '--trainer.default_root_dir', str(tmp_path)]
    arguments += ['--checkpoint.every_n_train_steps', '1', '--model.weight_decay', '0.1']
    assert main([*arguments, '--trainer.max_steps', '1', '--model.learning_rate', '0.1']) == 0
    resume = ['--ckpt_path', str(tmp_path / 'last.ckpt'), '--model.learning_rate', '1e-3']
    assert main([*arguments, *resume, '--trainer.max_steps', '2', '--model.weight_decay', '0']) == 0
    (optimizer,), (schedule,) = (load(tmp_path)[f] for f in ('optimizer_states', 'lr_schedulers'))
    network = optimizer['param_groups'][0]
    assert network['initial_lr'] == schedule['base_lrs'][0] == 1e-3
    assert network['lr'] <= 1e-3
    assert network['weight_decay'] == 0


def test_another_architecture_is_not_resumed(arguments, tmp_path, capsys):
    arguments = [*arguments, '--trainer.default_root_dir', str(tmp_path)]
    short = ['--trainer.max_steps', '1', '--checkpoint.every_n_train_steps', '1']
    assert main([*arguments, *short]) == 0
    resume = ['--ckpt_path', str(tmp_path / 'last.ckpt')]
    assert main([*arguments, *resume, '--model.network.head_width', '32']) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(tmp_path / 'last.ckpt') in error
    assert 'network.head_width 16 instead of 32' in error


@pytest.mark.parametrize('content', [b'', b'no checkpoint', b'half'])
def test_a_damaged_file_is_not_resumed_from(arguments, tmp_path, capsys, content):
    path = tmp_path / 'last.ckpt'
    AtomicCheckpointIO().save_checkpoint({'step': 1}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == b'half' else content)
    assert main([*arguments, '--ckpt_path', str(path)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f'mtl train: {path}: not a checkpoint to resume from')


def load(folder) -> dict:
    return torch.load(folder / 'last.ckpt', weights_only=True)


def assert_identical(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_identical(found[key], value)
        elif isinstance(value, torch.Tensor):
            assert torch.equal(found[key], value), key
        else:
            assert found[key] == value, key
