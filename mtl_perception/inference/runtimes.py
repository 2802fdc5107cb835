# SPDX-License-Identifier: Apache-2.0
"""Runtimes of the network: one small interface, one class for each back end.

Every runtime agrees with float32 PyTorch up to rounding to 16 bits. With the embedded checkpoints,
labels agree wherever the best logit leads by more than 0.5, and on more than 99 % of all pixels;
confidence differs by at most 32 of 255, offsets by at most 2 and disparity by at most 0.4 pixels of
the output map.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mtl_perception.files import make_folder
from mtl_perception.inference.devices import has_openvino, multiplies_bfloat16, resolve_device
from mtl_perception.network.fused import FusedNetwork
from mtl_perception.network.multitask import SIZE_MULTIPLE, MultiTaskNetwork, input_size
from mtl_perception.resources import PACKAGE_NAME

WARM_UP_RUNS = 3
"""Runs before a CUDA graph is captured, in which libraries choose algorithms and allocate."""

INPUT = 'image'
"""Input name of a converted network; its output names are ``FusedNetwork.outputs``."""

CACHED_MODELS = 8
"""Compiled models kept in the cache folder, one for each checkpoint and input size."""


class Runtime(Protocol):
    """Back end that runs a network on one camera image at a time.

    Constructors take the network, a device and the number of rows of the network's input. ``name``
    is the key in ``RUNTIMES``, ``dtype`` the type of weights and features.
    """

    name: str
    device: torch.device
    dtype: torch.dtype

    def configure(self, height: int, width: int) -> None:
        """Prepare for camera images of this size, in pixels, and warm up."""

    def load(self, image: np.ndarray) -> None:
        """Resize an ``(H, W, 3)`` uint8 RGB image of the configured size to the network's input."""

    def run(self) -> tuple[np.ndarray, ...]:
        """Return the maps of the loaded image, in the order of ``FusedNetwork.outputs``.

        The maps are ``(h, w)`` uint8 labels and confidence, ``(2, h, w)`` float32 offsets and
        ``(h, w)`` float32 disparity; maps of absent tasks are left out. Later runs do not overwrite
        the arrays.
        """

    def close(self) -> None:
        """Release the network and all memory; the runtime cannot be used afterwards."""


class TorchRuntime:
    """Eager PyTorch on the CPU or a GPU, in bfloat16 where the hardware multiplies it."""

    name = 'torch'

    def __init__(self, network: MultiTaskNetwork, device: torch.device, input_height: int) -> None:
        self.dtype = torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
        self.device = device
        self._input_height = input_height
        self._network = _on_device(FusedNetwork(network, self.dtype), device)

    def configure(self, height: int, width: int) -> None:
        self._input = _input_buffer(height, width, self._input_height)
        self.run()

    def load(self, image: np.ndarray) -> None:
        _resize_into(self._input, image)

    @torch.inference_mode()
    def run(self) -> tuple[np.ndarray, ...]:
        maps = self._network(torch.from_numpy(self._input).to(self.device)[None])
        return tuple(values[0].cpu().numpy() for values in maps)

    def close(self) -> None:
        del self._network
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()


class CudaGraphRuntime:
    """One CUDA graph from the camera image to the maps, in 16 bits.

    Raises:
        ValueError: The device is not a CUDA device.
    """

    name = 'cuda_graph'

    def __init__(self, network: MultiTaskNetwork, device: torch.device, input_height: int) -> None:
        if device.type != 'cuda':
            msg = f'the runtime cuda_graph needs a CUDA device, got {str(device)!r}'
            raise ValueError(msg)
        self.dtype = torch.bfloat16 if multiplies_bfloat16(device) else torch.float16
        self.device = device
        self._input_height = input_height
        self._network = _on_device(FusedNetwork(network, self.dtype), device)
        self._capture: Any = None  # a _Capture after configure

    @torch.inference_mode()
    def configure(self, height: int, width: int) -> None:
        # Drop the old graph before the capture, and capture on a new stream: the end of a graph
        # frees cuBLAS' workspace of its stream, which a new graph on that stream would still use.
        self._capture = None
        self._stream = torch.cuda.Stream(self.device)
        rows, columns = input_size(height, width, self._input_height)
        resize = AreaResize(height, width, rows, columns).to(self.device)
        host_image = torch.zeros((height, width, 3), dtype=torch.uint8, pin_memory=True)
        image = host_image.to(self.device)
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process may use the GPU during the capture.
        capture = torch.cuda.graph(graph, stream=self._stream, capture_error_mode='thread_local')
        with (
            torch.cuda.device(self.device),
            torch.backends.cudnn.flags(enabled=True, benchmark=True),
        ):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP_RUNS):
                    self._network(resize(image)[None])
            self._stream.synchronize()
            with capture:
                maps = self._network(resize(image)[None])
        host_maps = [torch.empty_like(m, device='cpu').pin_memory() for m in maps]
        self._capture = _Capture(graph, resize, host_image, image, maps, host_maps)

    def load(self, image: np.ndarray) -> None:
        np.copyto(self._capture.host_image.numpy(), image)

    @torch.inference_mode()
    def run(self) -> tuple[np.ndarray, ...]:
        capture = self._capture
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            capture.image.copy_(capture.host_image, non_blocking=True)
            capture.graph.replay()
            for host, maps in zip(capture.host_maps, capture.maps, strict=True):
                host.copy_(maps, non_blocking=True)
        self._stream.synchronize()
        return tuple(maps[0].numpy().copy() for maps in capture.host_maps)

    def close(self) -> None:
        del self._network
        self._capture = None
        torch.cuda.empty_cache()


class OpenVinoRuntime:
    """OpenVINO on the CPU, in bfloat16 where the CPU multiplies it.

    Compiled models are kept in the user's cache folder if it is writable.

    Raises:
        ValueError: The device is not a CPU, or OpenVINO is not installed.
    """

    name = 'openvino'

    def __init__(self, network: MultiTaskNetwork, device: torch.device, input_height: int) -> None:
        if device.type != 'cpu':
            msg = f'the runtime openvino needs the device cpu, got {str(device)!r}'
            raise ValueError(msg)
        if not has_openvino():
            msg = 'the runtime openvino needs the package openvino, which is not installed'
            raise ValueError(msg)
        import openvino

        self.device = device
        self._core = openvino.Core()
        capabilities = self._core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        self.dtype = torch.bfloat16 if 'BF16' in capabilities else torch.float32
        self._input_height = input_height
        self._model = to_openvino(FusedNetwork(network))
        self._request: Any = None

    def configure(self, height: int, width: int) -> None:
        self._input = _input_buffer(height, width, self._input_height)
        model = self._model.clone()
        model.reshape([1, *self._input.shape])
        self._request = _compile(self._core, model).create_infer_request()
        self.run()

    def load(self, image: np.ndarray) -> None:
        _resize_into(self._input, image)

    def run(self) -> tuple[np.ndarray, ...]:
        maps = self._request.infer([self._input[None]], share_inputs=True)
        return tuple(values[0] for values in maps.values())

    def close(self) -> None:
        self._model = self._request = None


class AreaResize(nn.Module):
    """OpenCV's ``INTER_AREA`` from height × width to rows × columns, as two matrix products."""

    vertical: Tensor
    horizontal: Tensor

    def __init__(self, height: int, width: int, rows: int, columns: int) -> None:
        super().__init__()
        self.register_buffer('vertical', _area_weights(height, rows))
        self.register_buffer('horizontal', _area_weights(width, columns))

    def forward(self, image: Tensor) -> Tensor:
        """Resize ``(H, W, 3)`` uint8 to ``(rows, columns, 3)`` float32 whole numbers."""
        height, width, channels = image.shape
        lines = (self.vertical @ image.float().reshape(height, -1)).reshape(-1, width, channels)
        return (self.horizontal @ lines).round()


RUNTIMES = {runtime.name: runtime for runtime in (TorchRuntime, CudaGraphRuntime, OpenVinoRuntime)}


def create_runtime(name: str, network: MultiTaskNetwork, device: str, input_height: int) -> Runtime:
    """Return a runtime for a copy of ``network``.

    Args:
        name: Key in ``RUNTIMES``, or auto: cuda_graph on a GPU, openvino on a CPU if it is
            installed, else torch.
        network: Network in evaluation mode.
        device: auto, cpu, cuda or cuda:N.
        input_height: Rows of the network's input.

    Raises:
        ValueError: The name is unknown, or this machine lacks the device or the runtime.
    """
    if name != 'auto' and name not in RUNTIMES:
        msg = f'unknown runtime {name!r}; choose auto, {", ".join(RUNTIMES)}'
        raise ValueError(msg)
    if name == 'openvino' and device == 'auto':
        device = 'cpu'
    target = resolve_device(device)
    if name == 'auto':
        on_cpu = 'openvino' if has_openvino() else 'torch'
        name = 'cuda_graph' if target.type == 'cuda' else on_cpu
    return RUNTIMES[name](network, target, input_height)


def to_openvino(network: FusedNetwork) -> Any:
    """Return ``network`` as an ``openvino.Model`` for one image of any size; weights are shared."""
    # openvino.convert_model reports its use to the vendor.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros((1, SIZE_MULTIPLE, SIZE_MULTIPLE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        traced = torch.jit.trace(network, (example,), check_trace=False)
    # The conversion needs the decoder until it is done.
    decoder = TorchScriptPythonDecoder(traced, skip_freeze=True)
    frontend = FrontEndManager().load_by_framework('pytorch')
    model = frontend.convert(frontend.load(decoder))
    model.inputs[0].set_names({INPUT})
    for output, name in zip(model.outputs, network.outputs, strict=True):
        output.set_names({name})
    return model


@dataclass(frozen=True)
class _Capture:
    """CUDA graph from ``image`` to ``maps`` on the GPU, and pinned copies of both on the host."""

    graph: torch.cuda.CUDAGraph
    resize: AreaResize  # kept because the graph reads its weights
    host_image: Tensor
    image: Tensor
    maps: Sequence[Tensor]
    host_maps: Sequence[Tensor]


def _compile(core: Any, model: Any) -> Any:
    """Compile for low latency, through the user's cache folder if it can be used."""
    settings = {'PERFORMANCE_HINT': 'LATENCY'}
    folder = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / PACKAGE_NAME
    try:
        make_folder(folder)
        compiled = core.compile_model(model, 'CPU', {**settings, 'CACHE_DIR': str(folder)})
    except (OSError, RuntimeError):  # no folder, no space or a damaged file
        return core.compile_model(model, 'CPU', settings)
    with contextlib.suppress(OSError):  # another process may delete the files too
        kept = sorted(folder.glob('*.blob'), key=lambda path: path.stat().st_mtime)
        for path in kept[:-CACHED_MODELS]:
            path.unlink()
    return compiled


def _on_device(network: FusedNetwork, device: torch.device) -> FusedNetwork:
    # mypy knows only the overloads without a memory format.
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _input_buffer(height: int, width: int, input_height: int) -> np.ndarray:
    return np.zeros((*input_size(height, width, input_height), 3), np.uint8)


def _resize_into(buffer: np.ndarray, image: np.ndarray) -> None:
    cv2.resize(image, buffer.shape[1::-1], dst=buffer, interpolation=cv2.INTER_AREA)


def _area_weights(source: int, target: int) -> Tensor:
    """Return the share of each source pixel in each target pixel, ``(target, source)``."""
    # OpenCV's own weights: each column of the identity is resized as an image column.
    identity = np.eye(source, dtype=np.float32)
    return torch.from_numpy(cv2.resize(identity, (source, target), interpolation=cv2.INTER_AREA))
