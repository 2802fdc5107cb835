# SPDX-License-Identifier: Apache-2.0
"""An exported network agrees with its checkpoint and carries its metadata."""

import json

import numpy as np
import pytest
import torch

from mtl_perception.inference import export as exporting
from mtl_perception.inference.export import FORMATS, ExportError, export
from mtl_perception.network.checkpoint import load_checkpoint
from mtl_perception.network.fused import FusedNetwork

openvino = pytest.importorskip('openvino')
onnx = pytest.importorskip('onnx')
pytestmark = pytest.mark.slow


@pytest.mark.parametrize('kind', FORMATS)
def test_an_exported_network_computes_what_the_checkpoint_does(kind, tiny_checkpoint, tmp_path):
    path = export(tiny_checkpoint, tmp_path, kind, (64, 96))
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3), np.uint8)
    settings = {'INFERENCE_PRECISION_HINT': 'f32'}
    found = openvino.Core().compile_model(path, 'CPU', settings)({'image': image})
    with torch.inference_mode():
        expected = FusedNetwork(load_checkpoint(tiny_checkpoint)[0])(torch.from_numpy(image))
    labels, confidence, offsets, disparity = (values.numpy() for values in expected)
    assert (found['labels'] == labels).mean() > 0.999
    assert np.abs(found['confidence'].astype(int) - confidence).max() <= 1
    np.testing.assert_allclose(found['offsets'], offsets, atol=1e-3)
    np.testing.assert_allclose(found['disparity'], disparity, atol=1e-3)
    assert found['labels'].dtype == found['confidence'].dtype == np.uint8


def test_a_file_is_named_after_checkpoint_and_size_and_nothing_else_is_left(
    tiny_checkpoint, tmp_path
):
    export(tiny_checkpoint, tmp_path, 'onnx')
    export(tiny_checkpoint, tmp_path, 'openvino', (64, 96))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['tiny-64x128.onnx', 'tiny-64x96.bin', 'tiny-64x96.xml']


@pytest.mark.parametrize('kind', FORMATS)
def test_the_metadata_say_what_the_checkpoint_says(kind, tiny_checkpoint, tmp_path):
    path = export(tiny_checkpoint, tmp_path, kind, (64, 64))
    if kind == 'onnx':
        metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    else:
        names = openvino.Core().read_model(path).get_rt_info('mtl_perception').value
        metadata = {f'mtl_perception.{name}': value for name, value in names.items()}
    assert json.loads(metadata['mtl_perception.label_names'])[26] == 'car'
    assert json.loads(metadata['mtl_perception.network'])['encoder'] == 'resnet18'
    assert metadata['mtl_perception.input_height'] == '64'
    assert metadata['mtl_perception.data'] == 'nothing'


def test_the_metadata_of_a_network_for_labels_alone_name_no_other_output(
    partial_checkpoint, tmp_path
):
    model = onnx.load(export(partial_checkpoint('semantic'), tmp_path, 'onnx', (64, 64)))
    assert [output.name for output in model.graph.output] == ['labels', 'confidence']
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    expected = 'at half the size: labels (IDs), confidence (255 is certain)'
    assert metadata['mtl_perception.outputs'] == expected


@pytest.mark.parametrize('kind', FORMATS)
def test_a_file_that_computes_something_else_is_not_written(
    kind, tiny_checkpoint, tmp_path, monkeypatch
):
    write, suffix = FORMATS[kind]

    def write_another(network, path, image, metadata):
        network.heads[-1].bias += torch.arange(22) % 5
        write(network, path, image, metadata)
        network.heads[-1].bias -= torch.arange(22) % 5

    monkeypatch.setitem(exporting.FORMATS, kind, (write_another, suffix))
    with pytest.raises(ExportError, match=r'tiny-64x64\.\w+: not written: the map labels differs'):
        export(tiny_checkpoint, tmp_path, kind, (64, 64))
    assert not list(tmp_path.iterdir())


def test_a_size_that_the_network_cannot_take_is_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(ValueError, match='the size 64x100 is not in multiples of 32'):
        export(tiny_checkpoint, tmp_path, 'onnx', (64, 100))
