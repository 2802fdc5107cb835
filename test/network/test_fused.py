# SPDX-License-Identifier: Apache-2.0
"""The fused network equals the network with decoding, in fewer operations."""

import pytest
import torch
from torch import nn

from mtl_perception.network.fused import FusedNetwork
from mtl_perception.network.multitask import MultiTaskNetwork, NetworkConfig, normalize
from mtl_perception.tasks import semantic


def network_with_statistics(**config) -> MultiTaskNetwork:
    """Return a network with random statistics of batch norm, so that folding matters."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig(**{'stride': 16, 'head_width': 8, **config}))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize(
    'config',
    [
        {},
        {'stride': 8},
        {'encoder': 'resnet50'},
        {'encoder': 'efficientnet_lite0', 'context': 'pyramid'},
        {'context': 'aspp'},
    ],
)
def test_it_computes_what_the_network_and_its_decoding_compute(config, images):
    network = network_with_statistics(**config)
    fused = FusedNetwork(network)
    labels, confidence, offsets, disparity = fused(images)
    expected = network(normalize(images))
    decoded = semantic.decode(expected.semantic)
    assert offsets.unique().numel() > 1
    assert (labels == decoded.labels).float().mean() > 0.999
    assert (confidence.int() - decoded.confidence.int()).abs().max() <= 1
    scale = expected.instance.abs().max()
    torch.testing.assert_close(offsets, expected.instance, rtol=0, atol=1e-4 * float(scale))
    scale = expected.depth.abs().max()
    torch.testing.assert_close(disparity, expected.depth[:, 0], rtol=0, atol=1e-4 * float(scale))
    assert fused.outputs == ['labels', 'confidence', 'offsets', 'disparity']


@pytest.mark.parametrize(
    'config', [{}, {'encoder': 'efficientnet_lite0', 'context': 'pyramid'}, {'context': 'aspp'}]
)
def test_no_batch_norm_is_left_and_the_original_is_not_touched(config):
    network = network_with_statistics(**config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fused = FusedNetwork(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_three_heads_are_three_convolutions():
    fused = FusedNetwork(network_with_statistics())
    convolutions = [m for m in fused.heads if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.groups) for c in convolutions] == [(24, 1), (24, 3), (22, 1)]


@torch.inference_mode()
@pytest.mark.parametrize(
    ('task', 'outputs'),
    [
        ('semantic', ['labels', 'confidence']),
        ('instance', ['offsets']),
        ('depth', ['disparity']),
    ],
)
def test_a_single_task_network_has_only_its_maps(task, outputs, images):
    fused = FusedNetwork(network_with_statistics(tasks=(task,)))
    assert fused.outputs == outputs
    assert [values.shape[-2:] for values in fused(images)] == [(32, 48)] * len(outputs)


@torch.inference_mode()
def test_no_map_is_a_view_of_all_channels(images):
    fused = FusedNetwork(network_with_statistics()).to(memory_format=torch.channels_last)
    for values in fused(images):
        assert values.untyped_storage().nbytes() == values.numel() * values.itemsize


@torch.inference_mode()
def test_weights_and_features_have_the_type_that_is_asked_for(images):
    fused = FusedNetwork(network_with_statistics(), torch.bfloat16)
    assert {weight.dtype for weight in fused.parameters()} == {torch.bfloat16}
    assert fused.mean.dtype == torch.float32
    types = [values.dtype for values in fused(images)]
    assert types == [torch.uint8, torch.uint8, torch.float32, torch.float32]
