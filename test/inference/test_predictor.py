# SPDX-License-Identifier: Apache-2.0
"""Predictions from images: sizes, metric depth, requested maps and refused arguments."""

import gc
import weakref

import numpy as np
import pytest
import torch

from mtl_perception.inference.predictor import Predictor
from mtl_perception.inference.runtimes import TorchRuntime
from mtl_perception.labels import IS_EVALUATED, IS_THING
from mtl_perception.network.checkpoint import CheckpointError, load_checkpoint
from mtl_perception.network.multitask import normalize
from mtl_perception.prediction import Prediction


@pytest.fixture(scope='module')
def predictor(tiny_checkpoint) -> Predictor:
    return Predictor(tiny_checkpoint, device='cpu')


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def test_maps_have_half_the_networks_input_size(predictor, image):
    prediction = predictor.predict(image)
    # 64 rows are what this network sees; 128 · 64 / 96 = 85 columns are rounded to 96.
    assert prediction.labels.shape == prediction.confidence.shape == (32, 48)
    assert prediction.instances.shape == prediction.depth.shape == (32, 48)
    assert prediction.offsets.shape == (2, 32, 48)


def test_maps_have_the_types_that_are_published(predictor, image):
    prediction = predictor.predict(image)
    assert prediction.labels.dtype == prediction.confidence.dtype == np.uint8
    assert prediction.instances.dtype == np.uint16
    assert prediction.depth.dtype == np.float32
    assert IS_EVALUATED[prediction.labels].all()


def test_labels_and_depth_are_those_of_the_networks_own_outputs(tiny_checkpoint, image):
    """Compare with float32, step by step; the image already has the network's input size."""
    network, _ = load_checkpoint(tiny_checkpoint)
    small = image[:64, :96]
    with torch.inference_mode():
        output = network(normalize(torch.from_numpy(small)[None]))
    prediction = Predictor(tiny_checkpoint, device='cpu').predict(small, focal_length=100.0)
    evaluated = np.nonzero(IS_EVALUATED[:34])[0]
    logits = output.semantic[0, evaluated]
    best = logits.topk(2, 0)
    clear = (best.values[0] - best.values[1] > 0.05).numpy()  # bfloat16 may swap close ones
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(
        prediction.labels[clear], evaluated[best.indices[0].numpy()][clear]
    )
    np.testing.assert_allclose(prediction.disparity, output.depth[0, 0].numpy(), atol=0.05)


def test_depth_is_proportional_to_the_focal_length(predictor, image):
    near = predictor.predict(image, focal_length=100.0)
    far = predictor.predict(image, focal_length=200.0)
    both = np.isfinite(near.depth) & np.isfinite(far.depth)
    assert both.mean() > 0.9
    np.testing.assert_allclose(far.depth[both], 2 * near.depth[both], rtol=1e-5)
    np.testing.assert_array_equal(near.disparity, far.disparity)


@pytest.mark.slow
def test_depth_beyond_the_maximum_is_infinite(tiny_checkpoint, image):
    unlimited = Predictor(tiny_checkpoint, device='cpu').predict(image).depth
    values = np.unique(unlimited)
    middle = float(values[len(values) // 2 : len(values) // 2 + 2].mean())
    depth = Predictor(tiny_checkpoint, device='cpu', max_depth=middle).predict(image).depth
    np.testing.assert_array_equal(np.isinf(depth), unlimited > middle)
    assert 0.1 < np.isinf(depth).mean() < 0.9


def test_what_is_not_asked_for_is_not_computed(predictor, image):
    predictor.infer(image)  # from now on the runtime is ready for this size
    prediction = predictor.predict(image, instances=False, depth=False)
    assert prediction.instances is None
    assert prediction.depth is None
    assert set(prediction.milliseconds) == {'preprocess', 'network'}
    assert set(predictor.predict(image).milliseconds) == {
        'preprocess',
        'network',
        'instance',
        'depth',
    }


def test_instance_ids_carry_their_label(predictor, image):
    prediction = predictor.predict(image)
    grouped = prediction.instances >= 1000
    assert grouped.any()
    assert (prediction.instances[grouped] // 1000 == prediction.labels[grouped]).all()
    assert (prediction.instances[~grouped] == prediction.labels[~grouped]).all()
    assert not grouped[~IS_THING[prediction.labels]].any()
    assert set(prediction.scores) == set(np.unique(prediction.instances[grouped]))


def test_the_same_image_gives_the_same_maps(predictor, image):
    first, second = predictor.predict(image), predictor.predict(image)
    for name in ('labels', 'confidence', 'instances', 'depth', 'offsets'):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_resized_maps_hold_only_values_that_there_were():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 34, (8, 12), dtype=np.uint8)
    prediction = Prediction(labels, labels, labels.astype(np.uint16), depth=labels / np.float32(3))
    large = prediction.resized(24, 36)
    np.testing.assert_array_equal(large.labels, labels.repeat(3, 0).repeat(3, 1))
    np.testing.assert_array_equal(large.depth, prediction.depth.repeat(3, 0).repeat(3, 1))
    assert prediction.resized(8, 12) is prediction


@pytest.mark.slow
@pytest.mark.parametrize(
    ('runtime', 'tasks', 'absent'),
    [
        ('torch', ('semantic', 'depth'), ('instances', 'offsets')),
        ('openvino', ('semantic', 'instance'), ('depth', 'disparity')),
    ],
)
def test_a_network_that_lacks_a_task_says_the_same_of_the_others(
    tiny_checkpoint, partial_checkpoint, image, runtime, tasks, absent
):
    if runtime == 'openvino':
        pytest.importorskip('openvino')
    predictor = Predictor(partial_checkpoint(*tasks), device='cpu', runtime=runtime)
    assert f'tasks {", ".join(tasks)}' in predictor.description
    part = predictor.predict(image)
    whole = Predictor(tiny_checkpoint, device='cpu', runtime=runtime).predict(image)
    assert (part.labels == whole.labels).mean() > 0.99
    for name in ('instances', 'offsets', 'depth', 'disparity'):
        assert (getattr(part, name) is None) == (name in absent)
    for name in {'offsets', 'disparity'} - set(absent):
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name), atol=0.05)
    missing = {'semantic', 'instance', 'depth'} - set(tasks)
    assert missing.isdisjoint(part.milliseconds)


def test_a_network_that_lacks_a_task_that_is_needed_is_refused(partial_checkpoint):
    with pytest.raises(CheckpointError, match=r'partial\.safetensors: the network lacks semantic'):
        Predictor(partial_checkpoint('depth'))
    with pytest.raises(CheckpointError, match=r'lacks instance: .* with semantic, instance'):
        Predictor(partial_checkpoint('semantic', 'depth'), needs=('instance',))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'runtime': 'tensorrt'}, "unknown runtime 'tensorrt'; choose auto, torch, cuda_graph"),
        ({'device': 'tpu'}, "unknown device 'tpu'"),
        ({'device': 'cuda:99'}, "no device 'cuda:99'"),
        ({'needs': ('depth', 'pose')}, 'unknown tasks pose; choose from semantic, instance'),
    ],
)
def test_unknown_runtimes_devices_and_tasks_are_refused(tiny_checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        Predictor(tiny_checkpoint, **options)


def test_the_description_names_network_and_data(tiny_checkpoint):
    predictor = Predictor(tiny_checkpoint, device='cpu', runtime='torch')
    assert predictor.description == 'resnet18, stride 16; runtime torch on cpu; trained on nothing'


def test_getting_ready_for_another_size_is_a_stage_of_its_own(tiny_checkpoint, image):
    predictor = Predictor(tiny_checkpoint, device='cpu', runtime='torch')
    stages = [list(predictor.infer(shown).milliseconds) for shown in (image, image, image[:64])]
    later = ['preprocess', 'network']
    assert stages == [['configure', *later], later, ['configure', *later]]


def test_a_with_block_releases_the_network(tiny_checkpoint, image):
    with Predictor(tiny_checkpoint, device='cpu', runtime='torch') as predictor:
        predictor.infer(image)
        network = weakref.ref(predictor._runtime._network)
    gc.collect()
    assert network() is None


@pytest.mark.parametrize('runtime', ['torch', 'openvino'])
def test_a_closed_predictor_says_so_and_can_be_closed_again(tiny_checkpoint, image, runtime):
    predictor = Predictor(tiny_checkpoint, device='cpu', runtime=runtime)
    predictor.close()
    predictor.close()
    with pytest.raises(ValueError, match='the predictor is closed'):
        predictor.predict(image)


@pytest.mark.parametrize(
    'change',
    [
        lambda image: image[..., 0],
        lambda image: image[..., :1],
        lambda image: image[..., [0, 1, 2, 2]],
        lambda image: image.astype(np.float32),
        lambda image: image[:0],
    ],
    ids=['grey', 'one channel', 'four channels', 'float32', 'empty'],
)
def test_an_image_that_is_not_rgb_of_8_bits_is_refused(predictor, image, change):
    wrong = change(image)
    with pytest.raises(ValueError, match=rf'uint8 RGB, got .*{wrong.dtype}'):
        predictor.predict(wrong)


def test_the_memory_layout_of_an_image_does_not_matter(predictor, image):
    expected = predictor.predict(image)
    for other in (np.asfortranarray(image), np.repeat(image, 2, 1)[:, ::2]):
        np.testing.assert_array_equal(predictor.predict(other).offsets, expected.offsets)


@pytest.mark.parametrize('focal_length', [0.0, -500.0, np.nan, np.inf])
def test_a_focal_length_that_is_not_positive_is_refused(predictor, image, focal_length):
    with pytest.raises(ValueError, match='focal length must be a positive number'):
        predictor.predict(image, focal_length)


def test_after_a_size_that_failed_the_next_image_is_right_again(
    tiny_checkpoint, image, monkeypatch
):
    predictor = Predictor(tiny_checkpoint, device='cpu', runtime='torch')
    expected = predictor.infer(image)
    configure = TorchRuntime.configure

    def fail_when_done(self, height, width):
        configure(self, height, width)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(TorchRuntime, 'configure', fail_when_done)
        with pytest.raises(MemoryError):
            predictor.infer(np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_array_equal(predictor.infer(image).offsets, expected.offsets)
