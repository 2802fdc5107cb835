# SPDX-License-Identifier: Apache-2.0
"""``mtl train``: shipped configurations, final checkpoint, resuming and one-line errors."""

import shutil
from dataclasses import replace

import pytest
import torch
import yaml

from mtl_perception.commands import main
from mtl_perception.data.cityscapes import find_frames
from mtl_perception.network.checkpoint import load_checkpoint, read_info, save_checkpoint
from mtl_perception.resources import checkpoint_path, share_file
from mtl_perception.training.cli import training_cli


@pytest.fixture
def arguments(streets, tmp_path) -> list[str]:
    """Return the options of a small and short training with a shipped configuration."""
    return [
        *('train', 'fit', '--config', str(share_file('config', 'train_synthetic.yaml'))),
        *('--data.root', str(streets), '--data.workers', '0', '--data.batch_size', '4'),
        *('--data.input_height', '64', '--data.crop', '[64,128]', '--model.network.stride', '16'),
        *('--model.network.head_width', '16', '--trainer.precision', '32-true'),
        *('--trainer.default_root_dir', str(tmp_path), '--trainer.enable_progress_bar', 'false'),
        *('--checkpoint.every_n_train_steps', '2'),
        *('--trainer.val_check_interval', '2', '--trainer.log_every_n_steps', '1'),
    ]


def test_training_ends_with_a_checkpoint_that_says_what_it_is(arguments, tmp_path):
    assert main([*arguments, '--trainer.max_steps', '2']) == 0
    network, info = load_checkpoint(tmp_path / 'model.safetensors')
    assert info.network.stride == network.config.stride == 16
    assert info.input_height == 64
    assert info.data.startswith('synthetic streets')
    assert info.recipe['steps'] == 2
    assert info.recipe['processes'] == 1
    assert info.recipe['config']['model']['weighting'] == 'uncertainty'
    assert info.metrics['val']['frames'] == 2
    assert 0 <= info.metrics['val']['iou'] <= 1
    assert info.metrics['val']['disparity_px'] > 0
    config = yaml.safe_load((tmp_path / 'config.yaml').read_text())
    assert config['model']['learning_rate'] == 5e-4
    assert config['trainer']['max_steps'] == 2


def test_the_recipe_has_the_shares_of_the_data_and_no_paths(arguments, streets, tmp_path):
    city = find_frames(streets, 'train')[0].city
    roots = f'{{{streets}: {{{city}: 2}}}}'
    arguments += ['--model.network.encoder', 'efficientnet_lite0', '--trainer.max_steps', '1']
    assert main([*arguments, '--data.root', roots, '--model.pretrained', 'imagenet']) == 0
    recipe = read_info(tmp_path / 'model.safetensors').recipe
    assert recipe['config']['data']['root'] == {streets.name: {city: 2.0}}
    assert recipe['config']['model']['pretrained'] == 'imagenet'
    assert str(streets.parent) not in str(recipe)


def test_the_seed_is_that_of_the_order_too(arguments):
    for seed in ('0', '7'):
        cli = training_cli([*arguments[2:], '--seed_everything', seed], runs=False)
        assert cli.datamodule.seed == int(seed)


@pytest.mark.slow
def test_the_end_names_a_command_that_measures_what_has_labels(
    arguments, streets, tmp_path, caplog
):
    arguments += ['--trainer.max_steps', '1']
    assert main(arguments) == 0
    command = f'mtl evaluate --data {streets} --checkpoint {tmp_path / "model.safetensors"}'
    assert command in caplog.text
    caplog.clear()
    arguments += ['--trainer.default_root_dir', str(tmp_path / 'depth')]
    assert main([*arguments, '--model.network.tasks', '[depth]']) == 0
    assert 'written' in caplog.text
    assert 'mtl evaluate' not in caplog.text


def test_training_without_an_end_is_refused(arguments, capsys):
    endless = ['--trainer.max_steps', '-1', '--trainer.max_epochs', '-1']
    assert main([*arguments, *endless]) == 1
    assert 'set trainer.max_steps' in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_training_is_resumed_and_not_replaced(arguments, tmp_path, capsys):
    assert main([*arguments, '--trainer.max_steps', '2']) == 0
    first, _ = load_checkpoint(tmp_path / 'model.safetensors')
    before = (tmp_path / 'config.yaml').read_bytes()
    assert main([*arguments, '--trainer.max_steps', '3']) == 1
    assert f'resume it with --ckpt_path {tmp_path}/last.ckpt' in capsys.readouterr().err
    assert (tmp_path / 'config.yaml').read_bytes() == before
    resume = ['--ckpt_path', str(tmp_path / 'last.ckpt')]
    assert main([*arguments, '--trainer.max_steps', '4', *resume]) == 0
    second, info = load_checkpoint(tmp_path / 'model.safetensors')
    assert info.recipe['steps'] == 4
    name = 'encoder.conv1.weight'
    assert not torch.equal(first.state_dict()[name], second.state_dict()[name])


@pytest.mark.slow
def test_what_is_trained_further_says_what_it_began_as(arguments, tiny_checkpoint, tmp_path):
    network, origin = load_checkpoint(tiny_checkpoint)
    initial = tmp_path / 'initial.safetensors'
    save_checkpoint(initial, network, replace(origin, data='drives', terms='research only'))
    arguments += ['--checkpoint.every_n_train_steps', '1']
    further = ['--model.initial', str(initial), '--trainer.max_steps', '1']
    assert main([*arguments, *further]) == 0
    info = read_info(tmp_path / 'model.safetensors')
    assert info.recipe['initial'] == {'data': 'drives', **origin.recipe}
    assert info.terms == 'research only'
    initial.unlink()
    resume = ['--ckpt_path', str(tmp_path / 'last.ckpt'), '--trainer.max_steps', '2']
    assert main([*arguments, *resume]) == 0
    resumed = read_info(tmp_path / 'model.safetensors')
    assert resumed.recipe['initial'] == info.recipe['initial']
    assert resumed.terms == info.terms


def test_a_wrong_root_ends_with_one_line_that_names_it(arguments, tmp_path, capsys):
    nowhere = tmp_path / 'nowhere'
    assert main([*arguments, '--data.root', str(nowhere)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('mtl train: ')
    assert str(nowhere) in error


@pytest.mark.parametrize(
    ('option', 'said'),
    [('--model.weighting', "'uncertainty', 'fixed'"), ('--data.on_error', "'fail', 'skip'")],
)
def test_an_unknown_word_is_refused_with_those_that_there_are(arguments, option, said, capsys):
    with pytest.raises(SystemExit) as raised:
        main([*arguments, option, 'guessed'])
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_a_precision_that_is_emulated_is_warned_of(arguments, monkeypatch):
    monkeypatch.setattr('mtl_perception.training.cli.multiplies_bfloat16', lambda _device: False)
    options = ['--trainer.precision', 'bf16-mixed', '--trainer.max_steps', '1']
    options += ['--trainer.accelerator', 'cpu']
    with pytest.warns(UserWarning, match='bfloat16: use --trainer.precision 32-true'):
        assert main([*arguments, *options]) == 0


def test_a_precision_that_the_network_does_not_take_is_refused(arguments, capsys):
    assert main([*arguments, '--trainer.precision', 'bf16-true']) == 1
    assert 'bf16-true: choose 32-true, bf16-mixed or 16-mixed' in capsys.readouterr().err


@pytest.mark.parametrize('launcher', ['torchrun', 'slurm'])
def test_processes_that_would_each_train_by_themselves_are_refused(
    launcher, arguments, tmp_path, monkeypatch, capsys
):
    variables = {
        'torchrun': {
            'WORLD_SIZE': '2',
            'RANK': '1',
            'LOCAL_RANK': '1',
            'GROUP_RANK': '0',
            'LOCAL_WORLD_SIZE': '2',
            'TORCHELASTIC_RUN_ID': '1',
        },
        'slurm': {
            'SLURM_NTASKS': '2',
            'SLURM_NTASKS_PER_NODE': '2',
            'SLURM_JOB_NAME': 'train',
            'SLURM_PROCID': '1',
            'SLURM_LOCALID': '1',
            'SLURM_NODEID': '0',
        },
    }
    for name, value in variables[launcher].items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 1
    assert '2 processes were started, but' in capsys.readouterr().err
    assert not (tmp_path / 'last.ckpt').exists()


def test_what_lightning_refuses_is_said_in_one_line(arguments, capsys):
    assert main([*arguments, '--trainer.val_check_interval', '0.5']) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('mtl train: ')
    assert 'val_check_interval' in error


def test_an_unknown_task_is_refused(arguments, capsys):
    assert main([*arguments, '--model.network.tasks', '[semantics]']) == 1
    assert 'the tasks are semantic, instance, depth' in capsys.readouterr().err


def test_several_datasets_are_spelled_with_their_weights(arguments, streets, tmp_path):
    other = shutil.copytree(streets, tmp_path / 'other' / streets.name)
    options = ['--data.root', f'{{{streets}: 1, {other}: 2}}', '--trainer.max_steps', '1']
    assert main([*arguments, *options]) == 0
    root = read_info(tmp_path / 'model.safetensors').recipe['config']['data']['root']
    # The recipe has no absolute paths, and still distinguishes datasets of one name.
    assert root == {f'{streets.parent.name}/{streets.name}': 1, f'other/{streets.name}': 2}


def test_the_recipe_for_streets_trains_on_all_of_them(capsys):
    config = ['--config', str(share_file('config', 'train_street.yaml'))]
    with pytest.raises(SystemExit):
        main(['train', 'fit', *config, '--print_config'])
    values = yaml.safe_load(capsys.readouterr().out)
    synthetic, real = values['data']['root'].values()
    assert synthetic > 0
    assert set(real) == {'camvid', 'idd', 'kitti', 'dgp'}
    assert (
        values['model']['network']
        == read_info(checkpoint_path('street')).recipe['config']['model']['network']
    )


def test_the_end_of_a_training_says_what_was_skipped(arguments, streets, tmp_path, capsys):
    root = tmp_path / 'streets'
    shutil.copytree(streets, root)
    find_frames(root, 'val')[0].labels.write_bytes(b'')
    options = ['--data.root', str(root), '--data.on_error', 'skip', '--trainer.max_steps', '1']
    assert main([*arguments, *options]) == 0
    assert 'skipped: 1 damaged frames, drawn 1 times' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('name', 'batch', 'steps', 'scale', 'crop'),
    [
        ('train_cityscapes.yaml', 8, 50_000, [1.0, 1.0], [256, 512]),
        ('train_cityscapes_full.yaml', 16, 100_000, [0.7, 2.0], [512, 512]),
    ],
)
def test_the_recipes_for_cityscapes_are_the_papers(name, batch, steps, scale, crop, capsys):
    config = ['--config', str(share_file('config', name)), '--data.root', '/data/cityscapes']
    with pytest.raises(SystemExit):
        main(['train', 'fit', *config, '--print_config'])
    values = yaml.safe_load(capsys.readouterr().out)
    assert (values['trainer']['max_steps'], values['trainer']['devices']) == (steps, 1)
    data, model = values['data'], values['model']
    assert (data['batch_size'], data['crop'], data['root']) == (batch, crop, '/data/cityscapes')
    assert (data['augmentation']['scale'], data['augmentation']['flip']) == (scale, 0.5)
    assert model['network']['encoder'] == 'resnet101'
    assert (model['network']['stride'], model['network']['head_width']) == (8, 512)
    assert (model['optimizer'], model['learning_rate'], model['weight_decay']) == (
        'sgd',
        2.5e-3,
        1e-4,
    )


def test_help_and_no_arguments_tell_how_to_train(capsys):
    assert main(['train', '--help']) == 0
    assert main(['train']) == 2
    assert 'mtl train fit --config' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='2'):
        main(['train', 'fit'])
    error = capsys.readouterr().err
    assert '--config FILE' in error
    assert 'config/train_synthetic.yaml' in error
