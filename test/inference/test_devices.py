# SPDX-License-Identifier: Apache-2.0
"""Devices are chosen by name, from the GPUs that PyTorch has kernels for."""

import pytest
import torch

from mtl_perception.inference.devices import Gpu, resolve_device


@pytest.mark.parametrize(
    ('capability', 'architectures', 'usable'),
    [
        (86, ['sm_75', 'sm_86'], True),
        (87, ['sm_80', 'sm_90a'], False),
        (87, ['sm_87'], True),
        (89, ['sm_87'], False),
        (89, ['sm_80', 'sm_90a'], True),
        (61, ['sm_75', 'sm_80', 'compute_90'], False),
        (75, ['sm_70'], True),
        (70, ['sm_75'], False),
        (120, ['sm_90', 'compute_90'], True),
        (120, ['sm_90'], False),
        (94, ['gfx90a', 'gfx942'], True),
    ],
)
def test_a_gpu_that_pytorch_was_not_built_for_is_not_used(capability, architectures, usable):
    gpus = [Gpu('Some GPU', capability, architectures)]
    assert resolve_device('auto', gpus).type == ('cuda' if usable else 'cpu')
    if usable:
        assert resolve_device('cuda:0', gpus) == torch.device('cuda:0')
    else:
        with pytest.raises(ValueError, match=r'Some GPU: PyTorch .* was built for sm_'):
            resolve_device('cuda', gpus)


def test_a_name_selects_among_several_gpus():
    gpus = [Gpu('New', 120, ['sm_86']), Gpu('Old', 86, ['sm_86'])]
    assert resolve_device('cuda:1', gpus) == torch.device('cuda:1')
    assert resolve_device('auto', gpus) == torch.device('cpu')
    with pytest.raises(ValueError, match='New: '):
        resolve_device('cuda:0', gpus)
    with pytest.raises(ValueError, match="no device 'cuda:2': PyTorch sees 2 CUDA devices"):
        resolve_device('cuda:2', gpus)


def test_without_a_gpu_auto_is_the_cpu():
    assert resolve_device('auto', []) == resolve_device('cpu', []) == torch.device('cpu')
    with pytest.raises(ValueError, match="no device 'cuda': PyTorch sees 0 CUDA devices"):
        resolve_device('cuda', [])


@pytest.mark.parametrize('name', ['tpu', 'mps', 'cuda:x', ''])
def test_an_unknown_device_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"unknown device '{name}'; choose auto, cpu, cuda"):
        resolve_device(name, [])
