# SPDX-License-Identifier: Apache-2.0
"""The benchmark of training: the turns, the ratio, and the table."""

import json

import pytest

from mtl_perception.benchmark.training import ALONE, EAGER, LOOP, benchmark_training
from mtl_perception.commands import main
from mtl_perception.resources import share_file
from mtl_perception.training.callbacks import AtomicCheckpointIO

SMALL = (
    *('--data.input_height', '64', '--data.crop', '[64,128]', '--data.batch_size', '2'),
    *('--data.workers', '0', '--model.network.stride', '16', '--model.network.head_width', '8'),
    *('--trainer.precision', '32-true', '--trainer.accelerator', 'cpu'),
)


@pytest.mark.slow
def test_loop_and_network_alone_are_timed_in_turns(streets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved: list[object] = []
    monkeypatch.setattr(AtomicCheckpointIO, 'save_checkpoint', lambda *args: saved.append(args))
    benchmark = benchmark_training(
        share_file('config', 'ablate_synthetic.yaml'),
        ['--data.root', str(streets), '--data.cache', str(tmp_path / 'cache'), *SMALL],
        rounds=2,
        steps=3,
        compare=True,
    )
    assert [row.what for row in benchmark.rows] == [LOOP, ALONE, EAGER]
    assert [row.times.calls for row in benchmark.rows] == [6, 6, 6]
    assert benchmark.ratio_lowest <= benchmark.ratio <= benchmark.ratio_highest
    # The median of two rounds is their mean.
    mean = (benchmark.ratio_lowest + benchmark.ratio_highest) / 2
    assert benchmark.ratio == pytest.approx(mean)
    assert (benchmark.batch_size, benchmark.crop, benchmark.cache) == (2, (64, 128), True)
    assert any((tmp_path / 'cache').rglob('*'))
    assert [path.name for path in tmp_path.iterdir()] == ['cache']
    assert f'{benchmark.ratio:.0%} of the network alone' in str(benchmark)
    assert not saved


@pytest.mark.slow
def test_the_command_takes_options_of_training(streets, tmp_path, capsys):
    path = tmp_path / 'figures.json'
    arguments = ['--rounds', '1', '--steps', '1', '--json', str(path)]
    assert main(['benchmark', 'training', *arguments, '--data.root', str(streets), *SMALL]) == 0
    figures = json.loads(path.read_text())
    assert (figures['subject'], figures['device']) == ('training', 'cpu')
    assert (figures['batch_size'], figures['crop'], figures['workers']) == (2, [64, 128], 0)
    assert [row['what'] for row in figures['rows']] == [LOOP, ALONE]
    loop, alone = (row['samples_per_s'] for row in figures['rows'])
    assert figures['ratio'] == pytest.approx(loop / alone)
    assert loop == pytest.approx(2e3 / figures['rows'][0]['times']['median'])  # batches of 2
    text = capsys.readouterr().out
    assert f'the loop reaches {figures["ratio"]:.0%} of the network alone' in text
    for row in figures['rows']:
        assert f'{row["samples_per_s"]:>12,.2f}{row["times"]["median"]:>9,.1f} ms' in text


def test_options_of_training_are_refused_elsewhere(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['benchmark', 'instances', '--data.workers', '1'])
    assert ended.value.code == 2
    assert 'unrecognized arguments: --data.workers 1' in capsys.readouterr().err
