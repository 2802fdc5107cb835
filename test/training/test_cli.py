"""``mtl train``: the shipped configuration, the checkpoint it ends with, and resuming."""

import pytest
import torch

from mtl_perception.commands import main
from mtl_perception.network.checkpoint import load_checkpoint
from mtl_perception.share import share_file


@pytest.fixture
def arguments(streets, tmp_path) -> list[str]:
    """Return the shipped configuration, made small and short."""
    return [
        *('train', 'fit', '--config', str(share_file('config', 'train_synthetic.yaml'))),
        *('--data.root', str(streets), '--data.workers', '0', '--data.batch_size', '4'),
        *('--data.input_height', '64', '--data.crop', '[64,128]', '--model.network.stride', '16'),
        *('--model.network.head_width', '16', '--trainer.precision', '32-true'),
        *('--trainer.default_root_dir', str(tmp_path), '--trainer.enable_progress_bar', 'false'),
        *('--trainer.logger.init_args.save_dir', str(tmp_path)),
        *('--trainer.callbacks.init_args.dirpath', str(tmp_path)),
        *('--trainer.callbacks.init_args.every_n_train_steps', '2'),
        *('--trainer.val_check_interval', '2', '--trainer.log_every_n_steps', '1'),
    ]


def test_training_ends_with_a_checkpoint_that_says_what_it_is(arguments, tmp_path):
    assert main([*arguments, '--trainer.max_steps', '2']) == 0
    network, info = load_checkpoint(tmp_path / 'model.safetensors')
    assert info.network.stride == network.config.stride == 16
    assert info.input_height == 64
    assert info.data.startswith('synthetic streets')
    assert info.recipe['steps'] == 2
    assert info.recipe['config']['model']['weighting'] == 'uncertainty'


def test_an_interrupted_training_is_resumed(arguments, tmp_path):
    assert main([*arguments, '--trainer.max_steps', '2']) == 0
    first, _ = load_checkpoint(tmp_path / 'model.safetensors')
    resume = ['--ckpt_path', str(tmp_path / 'last.ckpt')]
    assert main([*arguments, '--trainer.max_steps', '4', *resume]) == 0
    second, info = load_checkpoint(tmp_path / 'model.safetensors')
    assert info.recipe['steps'] == 4
    name = 'encoder.conv1.weight'
    assert not torch.equal(first.state_dict()[name], second.state_dict()[name])


def test_a_wrong_root_ends_with_one_line_that_names_it(arguments, tmp_path, capsys):
    nowhere = tmp_path / 'nowhere'
    assert main([*arguments, '--data.root', str(nowhere)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('mtl train: ')
    assert str(nowhere) in error


def test_help_and_no_arguments_tell_how_to_train(capsys):
    assert main(['train', '--help']) == 0
    assert main(['train']) == 2
    assert 'mtl train fit --config' in capsys.readouterr().out
