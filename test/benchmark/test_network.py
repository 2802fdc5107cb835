"""The benchmark of the network: what it compares, and the operations of the roofline."""

from dataclasses import replace

import pytest

from mtl_perception.benchmark import network as benchmarking
from mtl_perception.benchmark.network import benchmark_network, count_macs, table
from mtl_perception.network.multitask import MultiTaskNetwork, NetworkConfig


@pytest.fixture
def small_roofline(monkeypatch):
    """Measure the rates of the roofline with little work."""
    monkeypatch.setitem(benchmarking.MATRIX, 'cpu', 64)
    monkeypatch.setattr(benchmarking, 'COPIED_MIB', 1)


def measure(checkpoint, *, compare):
    return benchmark_network(
        checkpoint, device='cpu', runtime='torch', size=(64, 96), repetitions=4, compare=compare
    )


def test_multiplications_are_those_of_the_convolutions():
    config = NetworkConfig('resnet18', 8, 256)
    macs = count_macs(MultiTaskNetwork(config), 256, 352)
    assert macs == pytest.approx(22e9, rel=0.02)
    head = 32 * 44 * (512 * 256 * 9 + 256 * 256 + 256 * 2)
    one, two = (
        count_macs(MultiTaskNetwork(replace(config, tasks=tasks)), 256, 352)
        for tasks in (('depth',), ('depth', 'instance'))
    )
    assert two - one == head


@pytest.mark.slow
@pytest.mark.usefixtures('small_roofline')
def test_all_ways_are_compared_with_their_roofline(tiny_checkpoint):
    figures = measure(tiny_checkpoint, compare=True)
    rows = {row['name']: row for row in figures['rows']}
    assert next(iter(rows)) == 'torch'
    assert {'eager float32', 'eager bfloat16', 'torch, single-task networks'} <= set(rows)
    for row in rows.values():
        assert row['calls'] == 4
        assert row['roofline'] > 0
        assert row['over_roofline'] == pytest.approx(row['median'] / row['roofline'])
        assert row['ratio'] == pytest.approx(row['median'] / rows['torch']['median'])
    gmac = {name: row['gmac'] for name, row in rows.items()}
    assert gmac['torch'] == gmac['eager float32'] < gmac['torch, single-task networks']
    text = table(figures)
    assert figures['machine']['cpu'] in text
    assert all(name in text for name in rows)


@pytest.mark.usefixtures('small_roofline')
def test_without_comparison_there_is_one_row(tiny_checkpoint):
    figures = measure(tiny_checkpoint, compare=False)
    assert [row['name'] for row in figures['rows']] == ['torch']
    assert figures['network']['encoder'] == 'resnet18'
    assert figures['size'] == [64, 96]
