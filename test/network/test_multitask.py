# SPDX-License-Identifier: Apache-2.0
"""The whole network: outputs, tasks, context and number of weights."""

import numpy as np
import pytest
import torch

from mtl_perception.network.checkpoint import read_info
from mtl_perception.network.encoder import STRIDES
from mtl_perception.network.multitask import (
    CONTEXTS,
    MultiTaskNetwork,
    NetworkConfig,
    input_size,
    normalize,
)
from mtl_perception.resources import checkpoint_path


@pytest.mark.parametrize('context', CONTEXTS)
@pytest.mark.parametrize('stride', STRIDES)
def test_every_output_has_half_the_input_size(context, stride):
    config = NetworkConfig(stride=stride, head_width=16, context=context)
    network = MultiTaskNetwork(config).eval()
    with torch.inference_mode():
        output = network(torch.zeros(2, 3, 64, 96))
    assert output.semantic.shape == (2, 34, 32, 48)
    assert output.instance.shape == (2, 2, 32, 48)
    assert output.depth.shape == (2, 1, 32, 48)


def test_a_pyramid_gives_the_heads_of_a_coarse_encoder_features_at_stride_8():
    config = NetworkConfig('efficientnet_lite0', 16, 16, 'pyramid')
    network = MultiTaskNetwork(config).eval()
    with torch.inference_mode():
        fine, coarse = network.encoder(torch.rand(1, 3, 64, 96))
        assert coarse.shape[2:] == (4, 6)
        features = network.context(fine, coarse)
        assert features.shape == (1, 128, 8, 12)
        assert not torch.equal(network.context(0 * fine, coarse), features)
        assert not torch.equal(network.context(fine, 0 * coarse), features)


def test_a_single_task_network_has_only_that_head():
    network = MultiTaskNetwork(NetworkConfig(head_width=16, tasks=('depth',))).eval()
    with torch.inference_mode():
        output = network(torch.zeros(1, 3, 64, 64))
    assert output.semantic is None
    assert output.instance is None
    assert output.depth is not None


@pytest.mark.parametrize(('name', 'millions'), [('street', 4.1), ('synthetic', 14.9)])
def test_the_embedded_networks_are_small(name, millions):
    network = MultiTaskNetwork(read_info(checkpoint_path(name)).network)
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == pytest.approx(millions * 1e6, rel=0.01)


@pytest.mark.parametrize(
    'wrong',
    [
        {'tasks': ('semantics',)},
        {'tasks': ('depth', 'depth')},
        {'tasks': ()},
        {'context': 'psp'},
        {'head_width': 0},
    ],
)
def test_unknown_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r'unknown|must be'):
        NetworkConfig(**wrong)


def test_normalisation_uses_imagenets_statistics():
    image = np.array([[[124, 116, 104]]], np.uint8)  # close to ImageNet's mean colour
    values = normalize(torch.from_numpy(image)[None])
    assert values.shape == (1, 3, 1, 1)
    assert values.abs().max() < 0.02


@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        ((1024, 2048), (256, 512)),
        ((480, 640), (256, 352)),
        ((375, 1242), (256, 832)),
        ((900, 10), (256, 32)),
    ],
)
def test_the_input_keeps_the_aspect_ratio_to_a_multiple_of_32(image, expected):
    assert input_size(*image, 256) == expected


def test_first_weights_do_not_depend_on_which_other_tasks_there_are():
    def weights(*tasks):
        torch.manual_seed(3)
        return MultiTaskNetwork(NetworkConfig(stride=16, head_width=4, tasks=tasks)).state_dict()

    everything = weights('semantic', 'instance', 'depth')
    for tasks in (('depth',), ('semantic', 'depth')):
        for name, value in weights(*tasks).items():
            assert torch.equal(value, everything[name]), name
