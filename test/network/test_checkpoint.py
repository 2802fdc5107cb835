# SPDX-License-Identifier: Apache-2.0
"""Checkpoints survive a round trip; foreign or damaged files are refused by name."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mtl_perception.network.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    load_checkpoint,
    read_info,
    record_metrics,
    save_checkpoint,
)
from mtl_perception.network.multitask import MultiTaskNetwork, NetworkConfig

CONFIG = NetworkConfig(stride=16, head_width=16, context='aspp')


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return MultiTaskNetwork(CONFIG).eval()


def test_a_reloaded_checkpoint_gives_exactly_the_outputs_of_what_was_saved(network, tmp_path):
    save_checkpoint(tmp_path / 'a.safetensors', network, CheckpointInfo(CONFIG))
    first, _ = load_checkpoint(tmp_path / 'a.safetensors')
    save_checkpoint(tmp_path / 'b.safetensors', first, CheckpointInfo(CONFIG))
    second, _ = load_checkpoint(tmp_path / 'b.safetensors')
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected, found = first(image), second(image)
        unrounded = network(image)
    for task in CONFIG.tasks:
        assert torch.equal(getattr(expected, task), getattr(found, task))
        torch.testing.assert_close(
            getattr(found, task), getattr(unrounded, task), rtol=0.1, atol=0.1
        )


def test_weights_are_stored_in_bfloat16(network, tmp_path):
    save_checkpoint(tmp_path / 'a.safetensors', network, CheckpointInfo(CONFIG))
    with safe_open(tmp_path / 'a.safetensors', 'pt') as file:
        assert file.get_tensor('encoder.conv1.weight').dtype == torch.bfloat16
        assert file.get_tensor('encoder.bn1.running_var').dtype == torch.float32


def test_the_metadata_comes_back_as_it_was(network, tmp_path):
    info = CheckpointInfo(
        CONFIG,
        input_height=128,
        data='some streets',
        terms='none',
        metrics={'val': {'iou': 0.5}},
        recipe={'steps': 3},
        revision='abc',
    )
    save_checkpoint(tmp_path / 'a.safetensors', network, info)
    assert read_info(tmp_path / 'a.safetensors') == info


def test_recorded_metrics_join_the_metadata_and_leave_the_weights_alone(network, tmp_path):
    path = tmp_path / 'a.safetensors'
    save_checkpoint(path, network, CheckpointInfo(CONFIG, data='streets', metrics={'a val': {}}))
    before, _ = load_checkpoint(path)
    record_metrics(path, 'b test', {'semantic': {'iou_class': 0.5}})
    after, info = load_checkpoint(path)
    assert info.data == 'streets'
    assert info.metrics == {'a val': {}, 'b test': {'semantic': {'iou_class': 0.5}}}
    assert all(
        torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items()
    )


def test_an_absent_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.safetensors'):
        load_checkpoint(tmp_path / 'absent.safetensors')


def test_a_truncated_checkpoint_is_refused(tiny_checkpoint, tmp_path):
    path = tmp_path / 'short.safetensors'
    path.write_bytes(tiny_checkpoint.read_bytes()[:100000])
    with pytest.raises(CheckpointError, match=r'short\.safetensors: not a safetensors file'):
        load_checkpoint(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / 'text.safetensors'
    path.write_text('weights?')
    with pytest.raises(CheckpointError, match=r'text\.safetensors'):
        load_checkpoint(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    path = tmp_path / 'foreign.safetensors'
    save_file({'x': torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match='not a checkpoint of this package'):
        load_checkpoint(path)


def test_weights_that_do_not_fit_the_metadata_are_refused(network, tmp_path):
    save_checkpoint(tmp_path / 'a.safetensors', network, CheckpointInfo(CONFIG))
    with safe_open(tmp_path / 'a.safetensors', 'pt') as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del tensors['encoder.conv1.weight']
    save_file(tensors, tmp_path / 'b.safetensors', metadata)
    with pytest.raises(CheckpointError, match=r'do not match.*conv1'):
        load_checkpoint(tmp_path / 'b.safetensors')


def test_metadata_that_names_an_unknown_encoder_is_refused_with_the_file_named(network, tmp_path):
    save_checkpoint(tmp_path / 'a.safetensors', network, CheckpointInfo(CONFIG))
    with safe_open(tmp_path / 'a.safetensors', 'pt') as file:
        metadata = file.metadata()
    metadata['network'] = metadata['network'].replace('resnet18', 'resnet152')
    save_file({'x': torch.zeros(1)}, tmp_path / 'b.safetensors', metadata)
    with pytest.raises(CheckpointError, match=r"b\.safetensors: .*'resnet152'"):
        load_checkpoint(tmp_path / 'b.safetensors')


def test_a_checkpoint_can_be_read_by_other_users(network, tmp_path):
    save_checkpoint(tmp_path / 'a.safetensors', network, CheckpointInfo(CONFIG))
    (tmp_path / 'plain').write_text('')
    modes = {(tmp_path / name).stat().st_mode for name in ('a.safetensors', 'plain')}
    assert len(modes) == 1


def test_no_half_written_file_is_left_where_writing_fails(network, tmp_path):
    (tmp_path / 'a.safetensors').mkdir()
    with pytest.raises(OSError, match=r'a\.safetensors'):
        save_checkpoint(tmp_path / 'a.safetensors', network, CheckpointInfo(CONFIG))
    assert [path.name for path in tmp_path.iterdir()] == ['a.safetensors']
