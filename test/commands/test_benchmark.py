import json

import pytest

from mtl_perception.commands import main


@pytest.mark.slow
def test_instances_are_measured_and_written_as_json(tiny_checkpoint, tmp_path, capsys):
    path = tmp_path / 'figures.json'
    options = ('--checkpoint', tiny_checkpoint, '--device', 'cpu', '--limit', 1, '--json', path)
    small = ('--repetitions', 1, '--reference-repetitions', 1, '--votes', 300, '--draws', 2)
    assert main(['benchmark', 'instances', *map(str, (*options, *small))]) == 0
    figures = json.loads(path.read_text())
    assert figures['subject'] == 'instances'
    assert figures['machine']['cpu']
    assert figures['optics']['identical'] is True
    assert figures['optics']['exact']['calls'] == figures['optics']['scikit_learn']['calls'] == 1
    assert 0 < figures['optics']['weighted_ari'] <= 1
    assert {row['map'] for row in figures['worst']} >= {
        'all pixels one class, zero offsets',
        'all pixels one class, uniform random votes',
    }
    assert all({'median', 'p99', 'cells', 'cell_px'} <= set(row) for row in figures['worst'])
    assert all({'grouping', 'ap', 'ap50', 'times'} == set(row) for row in figures['groupings'])
    assert [row['max_cells'] for row in figures['coarser_cells']]
    text = capsys.readouterr().out
    assert figures['machine']['cpu'] in text
    assert 'identical' in text


@pytest.mark.slow
def test_the_network_is_measured_and_written_as_json(tiny_checkpoint, tmp_path, capsys):
    path = tmp_path / 'figures.json'
    options = ('--checkpoint', tiny_checkpoint, '--device', 'cpu', '--json', path)
    small = ('--size', '64x64', '--repetitions', 1)
    assert main(['benchmark', 'network', *map(str, (*options, *small))]) == 0
    figures = json.loads(path.read_text())
    assert figures['subject'] == 'network'
    (row,) = figures['rows']
    assert {'median', 'p99', 'spread', 'mib', 'roofline', 'over_roofline'} <= set(row)
    assert row['name'] in capsys.readouterr().out
