# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from mtl_perception.commands import main


def run(subject, path, *arguments):
    assert main(['benchmark', subject, '--json', str(path), *map(str, arguments)]) == 0
    figures = json.loads(path.read_text())
    assert figures['subject'] == subject
    return figures


def test_instances_are_measured_and_written_as_json(tiny_checkpoint, tmp_path, capsys):
    small = ('--repetitions', 1, '--reference-repetitions', 1, '--votes', 300, '--draws', 2)
    options = ('--checkpoint', tiny_checkpoint, '--device', 'cpu', '--limit', 1, *small)
    figures = run('instances', tmp_path / 'figures.json', *options)
    optics = figures['optics']
    assert (optics['votes'], optics['identical']) == (300, True)
    assert optics['exact']['calls'] == optics['scikit_learn']['calls'] == 1
    assert optics['exact_ratio'] == pytest.approx(
        optics['scikit_learn']['median'] / optics['exact']['median']
    )
    text = capsys.readouterr().out
    assert f'{figures["machine"]["cpu"]}, {figures["machine"]["cores"]} cores' in text
    assert f'numba {figures["machine"]["numba"]}' in text
    assert f'scikit-learn {figures["machine"]["scikit_learn"]}' in text
    assert f'exact: {optics["exact_ratio"]:,.0f} times as fast, identical' in text
    lines = text.splitlines()
    for row in figures['worst']:
        (line,) = [line for line in lines if line.startswith(row['map'])]
        assert f'{row["cells"]:>6}{row["cell_px"]:>6.1f}{row["median"]:>9,.1f} ms' in line
    for row in figures['groupings']:
        assert any(line.startswith(row['grouping']) for line in lines)
    for row in figures['coarser_cells']:
        assert any(line.startswith(f'at most {row["max_cells"]} ') for line in lines)


def test_the_network_is_measured_and_written_as_json(tiny_checkpoint, tmp_path, capsys):
    options = ('--checkpoint', tiny_checkpoint, '--device', 'cpu')
    small = ('--size', '64x64', '--repetitions', 1)
    figures = run('network', tmp_path / 'figures.json', *options, *small)
    assert (figures['device'], figures['size']) == ('cpu', [64, 64])
    (row,) = figures['rows']
    assert (row['calls'], row['spread'], row['ratio']) == (1, 0, 1)
    assert row['over_roofline'] == pytest.approx(row['median'] / row['roofline'])
    text = capsys.readouterr().out
    assert f'64×64: {row["gmac"]:.1f} GMAC' in text
    assert f'{row["type"]:>10}{row["median"]:>9,.1f} ms{row["p99"]:>9,.1f} ms' in text
