"""Fixtures that several tests share."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope='session', autouse=True)
def _caches_of_this_run() -> Iterator[None]:
    """Keep what is cached, compiled models above all, out of the user's folder."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', folder)
        yield


@pytest.fixture(scope='session')
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of a small network for inputs of 64 rows.

    Its weights are random, its biases such that it sees a few cars, and everything metres away.
    """
    import torch

    from mtl_perception.network.checkpoint import CheckpointInfo, save_checkpoint
    from mtl_perception.network.multitask import MultiTaskNetwork, NetworkConfig

    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig(encoder='resnet18', stride=16, head_width=16))
    with torch.no_grad():
        network.heads['semantic'][-1].bias[26] += 0.7
        network.heads['instance'][-1].bias.copy_(torch.tensor([-24.0, 0.0]))
        network.heads['depth'][-1].bias.fill_(1.0)
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.safetensors'
    save_checkpoint(path, network, CheckpointInfo(network.config, input_height=64, data='nothing'))
    return path


@pytest.fixture(scope='session')
def partial_checkpoint(
    tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Return a function that writes ``tiny_checkpoint`` without the heads of all but some tasks."""
    from dataclasses import replace

    from mtl_perception.network.checkpoint import load_checkpoint, save_checkpoint
    from mtl_perception.network.multitask import MultiTaskNetwork

    network, info = load_checkpoint(tiny_checkpoint)

    def write(*tasks: str) -> Path:
        config = replace(info.network, tasks=tasks)
        part = MultiTaskNetwork(config)
        part.load_state_dict(network.state_dict(), strict=False)
        path = tmp_path_factory.mktemp('checkpoint') / 'partial.safetensors'
        save_checkpoint(path, part, replace(info, network=config))
        return path

    return write


@pytest.fixture(scope='session')
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small dataset of synthetic streets: 8 frames to train on, 2 to validate on."""
    from mtl_perception.data.cityscapes import write_frame
    from mtl_perception.data.synthetic import synthetic_frame

    root = tmp_path_factory.mktemp('streets')
    for split, seed, count in (('train', 0, 8), ('val', 1, 2)):
        for index in range(count):
            write_frame(root, split, synthetic_frame(seed, index, height=64, width=128))
    return root
