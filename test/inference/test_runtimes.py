# SPDX-License-Identifier: Apache-2.0
"""Every runtime agrees with float32 PyTorch, can be configured again and releases its memory."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from mtl_perception.inference import runtimes
from mtl_perception.inference.predictor import Predictor
from mtl_perception.inference.runtimes import AreaResize, create_runtime
from mtl_perception.labels import EVALUATED_IDS
from mtl_perception.network.checkpoint import load_checkpoint
from mtl_perception.network.multitask import input_size, normalize
from mtl_perception.resources import EMBEDDED_CHECKPOINTS, checkpoint_path
from mtl_perception.synthetic import synthetic_frame
from mtl_perception.tasks import semantic

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
needs_openvino = pytest.mark.skipif(not runtimes.has_openvino(), reason='needs openvino')

RUNTIMES = [
    pytest.param('torch', 'cpu', id='torch'),
    pytest.param('torch', 'cuda', id='torch on a GPU', marks=needs_cuda),
    pytest.param('cuda_graph', 'cuda', id='cuda_graph', marks=needs_cuda),
    pytest.param('openvino', 'cpu', id='openvino', marks=needs_openvino),
]


@pytest.fixture(scope='module')
def tiny(tiny_checkpoint):
    return load_checkpoint(tiny_checkpoint)[0]


@pytest.fixture(scope='module', params=EMBEDDED_CHECKPOINTS)
def street(request):
    """Return a checkpoint, an image, and the output of float32 PyTorch for both."""
    checkpoint = checkpoint_path(request.param)
    image = synthetic_frame(5, 0, height=480, width=640).image
    network, info = load_checkpoint(checkpoint)
    rows, columns = input_size(480, 640, info.input_height)
    small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    with torch.inference_mode():
        return checkpoint, image, network(normalize(torch.from_numpy(small)[None]))


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'device'), RUNTIMES)
def test_results_agree_with_float32(name, device, street):
    checkpoint, image, expected = street
    maps = Predictor(checkpoint, device=device, runtime=name).infer(image)
    labels, confidence = (values[0].numpy() for values in semantic.decode(expected.semantic))
    best = expected.semantic[0, list(EVALUATED_IDS)].topk(2, 0).values
    clear = (best[0] - best[1] > 0.5).numpy()
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(maps.labels[clear], labels[clear])
    assert (maps.labels == labels).mean() > 0.99
    assert np.abs(maps.confidence.astype(int) - confidence).max() <= 32
    np.testing.assert_allclose(maps.offsets, expected.instance[0].numpy(), rtol=0, atol=2.0)
    np.testing.assert_allclose(maps.disparity, expected.depth[0, 0].numpy(), rtol=0, atol=0.4)


@pytest.mark.parametrize(('name', 'device'), RUNTIMES)
def test_a_runtime_can_be_configured_again(name, device, tiny):
    runtime = create_runtime(name, tiny, device, 64)
    rng = np.random.default_rng(0)
    small, large = (rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((64, 96), (90, 160)))
    first = run(runtime, small)
    assert [values.shape for values in first] == [(32, 48), (32, 48), (2, 32, 48), (32, 48)]
    # 64 · 160 / 90 = 114 columns are rounded to 128.
    assert [values.shape[-2:] for values in run(runtime, large)] == [(32, 64)] * 4
    for before, after in zip(first, run(runtime, small), strict=True):
        np.testing.assert_array_equal(before, after)
    runtime.close()


@pytest.mark.parametrize(('name', 'device'), RUNTIMES)
def test_maps_stay_as_they_are_while_the_next_image_is_worked_on(name, device, tiny):
    """The node groups the votes of one image while the network runs on the next."""
    runtime = create_runtime(name, tiny, device, 64)
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    maps = run(runtime, first)
    kept = [values.copy() for values in maps]
    runtime.load(second)
    other = runtime.run()
    assert any((a != b).any() for a, b in zip(kept, other, strict=True))
    for before, after in zip(kept, maps, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'device'), RUNTIMES)
@pytest.mark.parametrize('configured', [False, True])
def test_a_closed_runtime_holds_no_weights(name, device, configured, tiny):
    runtime = create_runtime(name, tiny, device, 64)
    if configured:
        runtime.configure(64, 64)
    held = weakref.ref(getattr(runtime, '_model' if name == 'openvino' else '_network'))
    runtime.close()
    gc.collect()
    assert held() is None


def run(runtime, image):
    runtime.configure(*image.shape[:2])
    runtime.load(image)
    return runtime.run()


def test_the_predictor_takes_images_of_changing_sizes(tiny_checkpoint):
    predictor = Predictor(tiny_checkpoint, device='cpu', runtime='torch')
    sizes = ((64, 96), (64, 64), (128, 192))
    shapes = [predictor.infer(np.zeros((*size, 3), np.uint8)).labels.shape for size in sizes]
    assert shapes == [(32, 48), (32, 32), (32, 48)]


@pytest.mark.parametrize(
    ('image', 'network'), [((480, 640), (256, 352)), ((100, 160), (64, 96)), ((48, 64), (64, 96))]
)
def test_area_resize_is_opencvs(image, network):
    pixels = np.random.default_rng(0).integers(0, 256, (*image, 3), np.uint8)
    expected = cv2.resize(pixels, network[::-1], interpolation=cv2.INTER_AREA)
    found = AreaResize(*image, *network)(torch.from_numpy(pixels)).numpy()
    # OpenCV enlarges in fixed point.
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > 0.85


@needs_cuda
def test_a_graph_of_another_size_uses_no_memory_of_the_one_before(tiny):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    expected = run(create_runtime('cuda_graph', tiny, 'cuda', 64), pixels)
    runtime = create_runtime('cuda_graph', tiny, 'cuda', 64)
    runtime.configure(64, 64)
    runtime.configure(*pixels.shape[:2])
    torch.cuda.empty_cache()
    filler = torch.full((2**28,), torch.nan, device='cuda')
    runtime.load(pixels)
    for _ in range(2):
        for values, wanted in zip(runtime.run(), expected, strict=True):
            np.testing.assert_array_equal(values, wanted)
    assert filler.isnan().all()


@needs_cuda
def test_a_graph_runs_in_another_thread_than_it_was_captured_in(tiny):
    runtime = create_runtime('cuda_graph', tiny, 'cuda', 64)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    expected = run(runtime, pixels)
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(runtime.run).result()
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(values, wanted)


@needs_openvino
def test_auto_on_the_cpu_is_openvino(tiny):
    assert create_runtime('auto', tiny, 'cpu', 64).name == 'openvino'


@needs_cuda
def test_auto_on_a_gpu_is_a_cuda_graph(tiny):
    assert create_runtime('auto', tiny, 'cuda', 64).name == 'cuda_graph'


def test_without_openvino_auto_is_torch_and_asking_for_it_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(runtimes, 'has_openvino', lambda: False)
    assert create_runtime('auto', tiny, 'cpu', 64).name == 'torch'
    with pytest.raises(ValueError, match='openvino needs the package openvino, which is not'):
        create_runtime('openvino', tiny, 'auto', 64)


def test_a_runtime_refuses_a_device_that_it_does_not_run_on(tiny):
    with pytest.raises(ValueError, match="cuda_graph needs a CUDA device, got 'cpu'"):
        create_runtime('cuda_graph', tiny, 'cpu', 64)
    with pytest.raises(ValueError, match="openvino needs the device cpu, got 'cuda:0'"):
        runtimes.OpenVinoRuntime(tiny, torch.device('cuda:0'), 64)


@needs_openvino
def test_what_openvino_compiles_is_kept_and_a_damaged_file_is_no_obstacle(
    tiny, tmp_path, monkeypatch
):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    first = run(create_runtime('openvino', tiny, 'cpu', 64), image)
    (kept,) = (tmp_path / 'mtl_perception').iterdir()
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes()[:1000])
    again = run(create_runtime('openvino', tiny, 'cpu', 64), image)
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before, after)


@needs_openvino
def test_the_cache_holds_only_the_newest_models(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(runtimes, 'CACHED_MODELS', 2)
    runtime = create_runtime('openvino', tiny, 'cpu', 64)
    for width in (64, 96, 128, 160):
        runtime.configure(64, width)
    assert len(list((tmp_path / 'mtl_perception').iterdir())) == 2


@needs_openvino
def test_a_cache_folder_that_cannot_be_made_is_no_obstacle(tiny, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    image = np.zeros((64, 64, 3), np.uint8)
    assert run(create_runtime('openvino', tiny, 'cpu', 64), image)[0].shape == (32, 32)
