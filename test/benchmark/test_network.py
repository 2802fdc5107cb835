# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the network: its alternatives, and the operations of the roofline."""

from dataclasses import replace

import pytest

from mtl_perception.benchmark import network as benchmarking
from mtl_perception.benchmark.network import NetworkBenchmark, benchmark_network, count_macs
from mtl_perception.network.checkpoint import load_checkpoint
from mtl_perception.network.multitask import MultiTaskNetwork, NetworkConfig

HEIGHT, WIDTH = 64, 96


@pytest.fixture(autouse=True)
def _small_roofline(monkeypatch):
    """Measure the rates of the roofline with little work."""
    monkeypatch.setitem(benchmarking.MATRIX, 'cpu', 64)
    monkeypatch.setattr(benchmarking, 'COPIED_MIB', 1)


def measure(checkpoint, *, size=(HEIGHT, WIDTH), compare=False) -> NetworkBenchmark:
    return benchmark_network(
        checkpoint, device='cpu', runtime='torch', size=size, repetitions=4, compare=compare
    )


def test_multiplications_are_those_of_the_convolutions():
    height, width = 256, 352
    config = NetworkConfig('resnet18', 8, 256)
    stem = height // 2 * width // 2 * 3 * 64 * 7 * 7
    first = height // 4 * width // 4 * 4 * 64 * 64 * 9
    features = height // 8 * width // 8
    others = sum(
        features * (n // 2 * n * 9 + 3 * n * n * 9 + n // 2 * n)  # the last is the shortcut
        for n in (128, 256, 512)
    )
    heads = {
        task: features * (512 * 256 * 9 + 256 * 256 + 256 * channels)
        for task, channels in (('semantic', 34), ('instance', 2), ('depth', 1))
    }
    encoder = stem + first + others
    assert count_macs(MultiTaskNetwork(config), height, width) == encoder + sum(heads.values())
    for task, head in heads.items():
        single = MultiTaskNetwork(replace(config, tasks=(task,)))
        assert count_macs(single, height, width) == encoder + head


@pytest.mark.slow
def test_all_ways_are_compared_with_their_roofline(tiny_checkpoint):
    benchmark = measure(tiny_checkpoint, compare=True)
    rows = {row.name: row for row in benchmark.rows}
    assert next(iter(rows)) == 'torch'
    assert {'eager float32', 'eager bfloat16', 'torch, single-task networks'} <= set(rows)
    network, _ = load_checkpoint(tiny_checkpoint)
    weights = sum(weight.numel() for weight in network.parameters())
    maps = HEIGHT * WIDTH // 4 * (1 + 1 + 2 * 4 + 4)  # label, confidence, offsets, disparity
    moved = HEIGHT * WIDTH * 3 + maps + 4 * weights
    for row in rows.values():
        assert row.calls == 4
        assert row.over_roofline == pytest.approx(row.median / row.roofline)
        assert row.ratio == pytest.approx(row.median / rows['torch'].median)
        compute = row.gmac / benchmark.gmac_per_second[row.type] * 1e3
        assert row.roofline >= compute * (1 - 1e-9)
    first = rows['torch']
    copies = moved / (benchmark.gib_per_second * 2**30) * 1e3
    assert first.roofline == pytest.approx(
        max(first.gmac / benchmark.gmac_per_second['float32'] * 1e3, copies)
    )
    gmac = {name: row.gmac for name, row in rows.items()}
    assert gmac['torch'] == count_macs(network, HEIGHT, WIDTH) / 1e9
    assert gmac['torch'] == gmac['eager float32'] < gmac['torch, single-task networks']
    text = str(benchmark)
    assert benchmark.machine.cpu in text
    assert all(name in text for name in rows)


def test_without_comparison_only_the_chosen_runtime_is_timed(tiny_checkpoint):
    benchmark = measure(tiny_checkpoint)
    assert [row.name for row in benchmark.rows] == ['torch']
    assert benchmark.network.encoder == 'resnet18'
    assert benchmark.size == (HEIGHT, WIDTH)


def test_a_larger_image_takes_longer(tiny_checkpoint):
    (small,) = measure(tiny_checkpoint).rows
    (large,) = measure(tiny_checkpoint, size=(3 * HEIGHT, 3 * WIDTH)).rows
    assert large.median > small.median
    assert large.gmac == pytest.approx(9 * small.gmac)
