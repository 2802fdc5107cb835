"""How fast training is: what is timed in which turns, and the table."""

import json

import pytest

from mtl_perception.benchmark.training import ALONE, EAGER, LOOP, benchmark_training, table
from mtl_perception.commands import main
from mtl_perception.resources import share_file

SMALL = (
    *('--data.input_height', '64', '--data.crop', '[64,128]', '--data.batch_size', '2'),
    *('--data.workers', '0', '--model.network.stride', '16', '--model.network.head_width', '8'),
    *('--trainer.precision', '32-true', '--trainer.accelerator', 'cpu'),
)


@pytest.mark.slow
def test_loop_and_network_alone_are_timed_in_turns(streets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures = benchmark_training(
        share_file('config', 'ablate_synthetic.yaml'),
        ['--data.root', str(streets), '--data.cache', str(tmp_path / 'cache'), *SMALL],
        rounds=2,
        steps=3,
        compare=True,
    )
    assert [row['what'] for row in figures['rows']] == [LOOP, ALONE, EAGER]
    assert [row['times']['calls'] for row in figures['rows']] == [6, 6, 6]
    assert figures['ratio_lowest'] <= figures['ratio'] <= figures['ratio_highest']
    assert (figures['batch_size'], figures['crop'], figures['cache']) == (2, [64, 128], True)
    assert any((tmp_path / 'cache').rglob('*'))
    assert [path.name for path in tmp_path.iterdir()] == ['cache']
    text = table(figures)
    assert f'{figures["ratio"]:.0%} of the network alone' in text


@pytest.mark.slow
def test_the_command_takes_options_of_training(streets, tmp_path, capsys):
    path = tmp_path / 'figures.json'
    arguments = ['--rounds', '1', '--steps', '1', '--json', str(path)]
    assert main(['benchmark', 'training', *arguments, '--data.root', str(streets), *SMALL]) == 0
    figures = json.loads(path.read_text())
    assert figures['subject'] == 'training'
    assert [row['what'] for row in figures['rows']] == [LOOP, ALONE]
    loop, alone = (row['samples_per_s'] for row in figures['rows'])
    assert figures['ratio'] == pytest.approx(loop / alone)
    assert loop == pytest.approx(2e3 / figures['rows'][0]['times']['median'])  # batches of 2
    assert table(figures) in capsys.readouterr().out


def test_options_of_training_are_refused_elsewhere(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['benchmark', 'instances', '--data.workers', '1'])
    assert ended.value.code == 2
    assert 'unrecognized arguments: --data.workers 1' in capsys.readouterr().err
