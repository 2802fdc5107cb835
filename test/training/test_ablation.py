# SPDX-License-Identifier: Apache-2.0
"""``mtl ablate``: options of each run, finished and failed runs, and the comparison."""

import fcntl
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from mtl_perception.commands import main
from mtl_perception.network.checkpoint import read_info
from mtl_perception.resources import share_file
from mtl_perception.training import ablation
from mtl_perception.training.ablation import AblationError, ablate
from mtl_perception.training.comparison import ROWS


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'train.yaml'
    path.write_text('trainer: {max_steps: 3}\n')
    return path


@pytest.fixture
def trained(monkeypatch, finish):
    """Replace training by writing its checkpoint; return the options of every run."""
    runs = []

    def train(command, _lock):
        words = command[command.index('fit') + 1 :]
        options = dict(zip(words[::2], words[1::2], strict=True))
        runs.append(options)
        folder = Path(options['--trainer.default_root_dir'])
        finish(folder, iou=0.5)
        return 0

    monkeypatch.setattr(ablation, '_train', train)
    return runs


def test_every_row_gets_its_tasks_and_weights_and_all_else_is_equal(config, tmp_path, trained):
    ablate(config, tmp_path / 'out', seeds=(7,), overrides=['--data.root', 'streets'])
    assert len(trained) == len(ROWS) == 9
    found = {}
    for options in trained:
        row = Path(options.pop('--trainer.default_root_dir')).parent.name
        tasks = json.loads(options.pop('--model.network.tasks'))
        weights = json.loads(options.pop('--model.fixed_weights'))
        found[row] = tasks, options.pop('--model.weighting'), weights
        assert options == {
            '--config': str(tmp_path / 'out' / 'config.yaml'),
            '--data.root': 'streets',
            '--seed_everything': '7',
            '--data.val_frames': 'null',
            '--trainer.limit_val_batches': '1.0',
        }
    copy = yaml.safe_load((tmp_path / 'out' / 'config.yaml').read_text())
    assert copy == {'trainer': {'max_steps': 3}}
    every = ['semantic', 'instance', 'depth']
    assert found['depth'] == (['depth'], 'fixed', {'depth': 1.0})
    assert found['unweighted'] == (every, 'fixed', dict.fromkeys(every, 1 / 3))
    assert found['optimal'] == (every, 'fixed', {'semantic': 0.89, 'instance': 0.01, 'depth': 0.1})
    assert found['instance+depth'] == (every[1:], 'uncertainty', None)
    assert found['all'] == (every, 'uncertainty', None)


def test_finished_runs_are_kept_and_an_interrupted_one_goes_on(config, tmp_path, trained, finish):
    rows = ('semantic', 'depth', 'all')
    finish(tmp_path / 'semantic' / 'seed_0', iou=0.25)
    (tmp_path / 'depth' / 'seed_0').mkdir(parents=True)
    (tmp_path / 'depth' / 'seed_0' / 'last.ckpt').touch()
    ablate(config, tmp_path, rows=rows)
    resumed = [options.get('--ckpt_path') for options in trained]
    assert resumed == [str(tmp_path / 'depth' / 'seed_0' / 'last.ckpt'), None]
    ablate(config, tmp_path, rows=rows)
    assert len(trained) == 2
    ablate(config, tmp_path, rows=rows, seeds=(0, 1))
    assert [options['--seed_everything'] for options in trained[2:]] == ['1', '1', '1']


def test_other_settings_are_refused_because_budgets_would_differ(config, tmp_path, trained):
    ablate(config, tmp_path / 'out', rows=['depth'])
    with pytest.raises(AblationError, match='another --output'):
        ablate(config, tmp_path / 'out', rows=['all'], overrides=['--trainer.max_steps', '9'])
    config.write_text('trainer: {max_steps: 9}\n')
    with pytest.raises(AblationError, match='another --output'):
        ablate(config, tmp_path / 'out', rows=['all'])
    assert len(trained) == 1


def test_an_infinite_number_in_the_configuration_is_the_same_setting_again(
    config, tmp_path, trained
):
    config.write_text('trainer: {max_steps: 3, gradient_clip_val: .inf}\n')
    for row in ('depth', 'all'):
        ablate(config, tmp_path / 'out', rows=[row])
    assert len(trained) == 2


def test_a_configuration_that_is_no_yaml_is_named(tmp_path):
    config = tmp_path / 'broken.yaml'
    config.write_text('trainer: [')
    with pytest.raises(AblationError, match=r'broken\.yaml: not a YAML file'):
        ablate(config, tmp_path / 'out')


def test_a_run_that_another_process_works_on_is_left_to_it(
    config, tmp_path, trained, finish, capsys
):
    folder = tmp_path / 'semantic' / 'seed_0'
    folder.mkdir(parents=True)
    with (folder / '.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def end_of_other():
            while not trained:
                time.sleep(0.01)
            finish(folder, iou=0.5)
            fcntl.flock(lock, fcntl.LOCK_UN)

        with ThreadPoolExecutor() as threads:
            threads.submit(end_of_other)
            text = ablate(config, tmp_path, rows=('semantic', 'depth'))
    assert '1 of 2: semantic, seed 0: in progress' in capsys.readouterr().out
    assert [json.loads(options['--model.network.tasks']) for options in trained] == [['depth']]
    assert '| semantic only | 1 / 0 / 0 | 1 | 50.0 |' in text


def test_what_a_training_left_behind_works_on_is_left_to_it(config, tmp_path, monkeypatch):
    """The process of a run and its children inherit the lock."""
    ended = tmp_path / 'ended'
    script = (
        'import os, sys, time, pathlib; os.fork() and sys.exit(3)\n'
        'for _ in range(1000):\n'
        f'    pathlib.Path({str(ended)!r}).exists() and sys.exit()\n'
        '    time.sleep(0.02)'
    )
    monkeypatch.setattr(ablation, 'PROGRAM', (sys.executable, '-c', script))
    with pytest.raises(AblationError, match='status 3'):
        ablate(config, tmp_path, rows=['depth'])
    with (tmp_path / 'depth' / 'seed_0' / '.lock').open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ended.touch()
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_a_run_that_fails_does_not_keep_the_others_from_running(
    config, tmp_path, finish, monkeypatch
):
    ran = []

    def train(command, _lock):
        folder = Path(command[command.index('--trainer.default_root_dir') + 1])
        ran.append(folder.parent.name)
        if folder.parent.name == 'instance':
            return 3
        finish(folder)
        return 0

    monkeypatch.setattr(ablation, '_train', train)
    with pytest.raises(AblationError, match=r'1 of 3 runs failed: instance, seed 0 \(status 3\)'):
        ablate(config, tmp_path, rows=('semantic', 'instance', 'depth'))
    assert ran == ['semantic', 'instance', 'depth']
    assert (tmp_path / 'ablation.md').is_file()


@pytest.mark.slow
def test_a_real_run_ends_with_figures_table_and_curves(streets, tmp_path, capsys):
    arguments = [
        *('ablate', '--config', str(share_file('config', 'ablate_synthetic.yaml'))),
        *('--output', str(tmp_path), '--rows', 'depth', '--data.root', str(streets)),
        *('--data.input_height', '64', '--data.crop', '[64,128]', '--data.batch_size', '2'),
        *('--data.workers', '0', '--model.network.stride', '16', '--model.network.head_width', '8'),
        *('--trainer.max_steps', '1', '--trainer.val_check_interval', '1'),
        *('--trainer.precision', '32-true', '--trainer.accelerator', 'cpu'),
    ]
    assert main(arguments) == 0
    folder = tmp_path / 'depth' / 'seed_0'
    info = read_info(folder / 'model.safetensors')
    assert info.network.tasks == ('depth',)
    figures = json.loads((tmp_path / 'ablation.json').read_text())['rows'][2]['seeds']['0']
    assert figures == info.metrics['val']
    assert figures['disparity_rms_px'] >= figures['disparity_px'] > 0
    assert (tmp_path / 'ablation.md').read_text().strip() in capsys.readouterr().out
    assert (tmp_path / 'curves.png').is_file()


def test_an_unknown_row_is_refused(config, tmp_path, capsys):
    arguments = ['--config', str(config), '--output', str(tmp_path), '--rows', 'sem']
    assert main(['ablate', *arguments]) == 1
    assert 'semantic+instance' in capsys.readouterr().err
