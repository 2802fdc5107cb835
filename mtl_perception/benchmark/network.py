# SPDX-License-Identifier: Apache-2.0
"""Speed of the network in all runtimes, eager PyTorch and single-task networks."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mtl_perception.benchmark.measuring import Result, Times, describe_machine, time_in_turns
from mtl_perception.inference.devices import has_openvino, resolve_device
from mtl_perception.inference.runtimes import create_runtime
from mtl_perception.memory import MEBIBYTE, resident_memory
from mtl_perception.network.checkpoint import load_checkpoint
from mtl_perception.network.multitask import (
    OUTPUT_STRIDE,
    MultiTaskNetwork,
    NetworkConfig,
    NetworkOutput,
    checked_size,
    normalize,
)
from mtl_perception.tasks import semantic

MATRIX = {'cpu': 2048, 'cuda': 8192}
"""Rows and columns of the multiplied matrices per device type: enough for the full rate."""

COPIED_MIB = 256
"""MiB copied to measure the bandwidth: more than caches hold."""

MAP_BYTES = 14
"""Bytes per output pixel: label, confidence, two offsets and disparity."""


@dataclass(frozen=True)
class _Alternative:
    """Way to compute the maps of one image by ``networks``; its creation grew memory by ``mib``."""

    name: str
    networks: Sequence[MultiTaskNetwork]
    dtype: torch.dtype
    run: Callable[[], object]
    mib: float


@dataclass(frozen=True)
class Row(Times):
    """Times of an alternative, compared with its roofline and with the first row.

    Attributes:
        type: Type of the multiplications.
        mib: Growth of the memory of GPU or process by the creation in MiB, NaN if unknown.
        gmac: Multiplications per image in 10⁹.
        roofline: Roofline in milliseconds.
        over_roofline: Ratio of the median to the roofline.
        ratio: Ratio of the median to the median of the first row.
    """

    name: str
    type: str
    mib: float
    gmac: float
    roofline: float
    over_roofline: float
    ratio: float

    def __str__(self) -> str:
        memory = '–' if math.isnan(self.mib) else f'{self.mib:,.0f} MiB'
        return (
            f'{self.name:<32}{self.type:>10}{super().__str__()}{self.spread:>9,.1f} ms'
            f'{memory:>12}{self.roofline:>9,.1f} ms{self.over_roofline:>9.2f}{self.ratio:>8.2f}'
        )


@dataclass(frozen=True)
class NetworkBenchmark(Result):
    """Speed of a network on a device, for inputs of ``size`` (height, width).

    Attributes:
        gmac_per_second: Rate of matrix multiplications in 10⁹ per second, by type.
        gib_per_second: Rate at which copies read and write memory.
    """

    device: str
    network: NetworkConfig
    size: tuple[int, int]
    gmac_per_second: Mapping[str, float]
    gib_per_second: float
    rows: Sequence[Row]

    def __str__(self) -> str:
        network, (height, width) = self.network, self.size
        rates = (f'{name} {rate:,.0f} GMAC/s' for name, rate in self.gmac_per_second.items())
        return (
            f'{self.machine if self.device == "cpu" else self.machine.gpu}\n'
            f'{network.encoder}, stride {network.stride}, heads of {network.head_width}, '
            f'{height}×{width}: {self.rows[0].gmac:.1f} GMAC\n'
            f'matrices: {", ".join(rates)}; copies: {self.gib_per_second:,.0f} GiB/s\n\n'
            f'{"":<32}{"type":>10}{"median":>12}{"p99":>12}{"spread":>12}{"memory":>12}'
            f'{"roofline":>12}{"÷ roof":>9}{"ratio":>8}\n'
        ) + '\n'.join(map(str, self.rows))


def benchmark_network(
    checkpoint: Path,
    *,
    device: str,
    runtime: str,
    size: tuple[int, int] | None,
    repetitions: int,
    compare: bool,
) -> NetworkBenchmark:
    """Time one image from its pixels to its maps, both in the computer's memory.

    The roofline (Williams et al., CACM 2009) is the longer of two times: the multiplications of the
    network at the rate at which PyTorch multiplies large matrices of the same type, and the
    transfer of weights, image and maps at the rate at which memory is copied. Both rates are
    measured in turns with the alternatives. A runtime whose kernels are better than PyTorch's can
    be faster than the roofline. ``compare`` adds the other runtimes of the device, eager PyTorch in
    float32 and bfloat16, and single-task networks with the same encoder. ``size`` is (height,
    width) of the network's input; ``None`` for the checkpoint's height and twice that height.
    Device and runtime are named as in ``Predictor``.

    Raises:
        FileNotFoundError, CheckpointError: See ``load_checkpoint``.
        ValueError: The size, device or runtime cannot be used.
    """
    network, info = load_checkpoint(checkpoint)
    height, width = checked_size(size, info.input_height)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    target = resolve_device('cpu' if runtime == 'openvino' else device)
    chosen = _with_runtime(runtime, [network], target, image)
    alternatives = [chosen]
    if compare:
        others = [name for name in _available(target) if name != chosen.name]
        alternatives += [_with_runtime(name, [network], target, image) for name in others]
        alternatives += [
            _eager(network, dtype, target, image) for dtype in (torch.float32, torch.bfloat16)
        ]
        single = [_single_task(network, task) for task in network.config.tasks]
        alone = _with_runtime(chosen.name, single, target, image)
        alternatives.append(replace(alone, name=f'{chosen.name}, single-task networks'))
    functions = {alternative.name: alternative.run for alternative in alternatives}
    dtypes = dict.fromkeys(alternative.dtype for alternative in alternatives)
    functions |= {str(dtype): _multiplication(dtype, target) for dtype in dtypes}
    functions['copy'] = _copy(target)
    times = time_in_turns({name: (run, repetitions) for name, run in functions.items()}, 'network')
    rates = {dtype: MATRIX[target.type] ** 3 / times[str(dtype)].median for dtype in dtypes}
    bandwidth = 2 * COPIED_MIB * MEBIBYTE / times['copy'].median
    rows = []
    for alternative in alternatives:
        dtype, own = alternative.dtype, times[alternative.name]
        macs = sum(count_macs(network, height, width) for network in alternative.networks)
        moved = height * width * (3 + MAP_BYTES / OUTPUT_STRIDE**2) + dtype.itemsize * sum(
            weight.numel() for network in alternative.networks for weight in network.parameters()
        )
        roofline = max(macs / rates[dtype], moved / bandwidth)
        rows.append(
            Row(
                **vars(own),
                name=alternative.name,
                type=_name(dtype),
                mib=alternative.mib,
                gmac=macs / 1e9,
                roofline=roofline,
                over_roofline=own.median / roofline,
                ratio=own.median / times[chosen.name].median,
            )
        )
    return NetworkBenchmark(
        machine=describe_machine(target),
        device=str(target),
        network=network.config,
        size=(height, width),
        gmac_per_second={_name(dtype): rate / 1e6 for dtype, rate in rates.items()},
        gib_per_second=bandwidth * 1e3 / 2**30,
        rows=rows,
    )


def count_macs(network: MultiTaskNetwork, height: int, width: int) -> int:
    """Return the number of multiplications of ``network`` for a ``height`` × ``width`` input."""
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        MultiTaskNetwork(network.config).eval()(torch.empty(1, 3, height, width))
    return counter.get_total_flops() // 2


def _available(device: torch.device) -> list[str]:
    if device.type == 'cuda':
        return ['cuda_graph', 'torch']
    return ['openvino', 'torch'] if has_openvino() else ['torch']


def _single_task(network: MultiTaskNetwork, task: str) -> MultiTaskNetwork:
    single = MultiTaskNetwork(replace(network.config, tasks=(task,)))
    single.load_state_dict(network.state_dict(), strict=False)
    return single.eval()


def _with_runtime(
    name: str, networks: Sequence[MultiTaskNetwork], device: torch.device, image: np.ndarray
) -> _Alternative:
    torch.cuda.empty_cache()  # cached memory would hide the growth
    before = _memory(device)
    runtimes = [create_runtime(name, network, str(device), len(image)) for network in networks]
    for runtime in runtimes:
        runtime.configure(*image.shape[:2])
        runtime.load(image)

    def run() -> None:
        for runtime in runtimes:
            runtime.run()

    first = runtimes[0]
    return _Alternative(first.name, networks, first.dtype, run, _memory(device) - before)


def _eager(
    network: MultiTaskNetwork, dtype: torch.dtype, device: torch.device, image: np.ndarray
) -> _Alternative:
    """Return plain PyTorch without the runtimes of this package."""
    torch.cuda.empty_cache()
    before = _memory(device)
    own = copy.deepcopy(network).to(device, dtype)

    @torch.inference_mode()
    def run() -> list[np.ndarray]:
        images = normalize(torch.from_numpy(image).to(device)[None])
        output: NetworkOutput = own(images.to(dtype))
        maps = [] if output.semantic is None else [*semantic.decode(output.semantic)]
        maps += [values for values in (output.instance, output.depth) if values is not None]
        return [values.float().cpu().numpy() for values in maps]

    run()
    return _Alternative(f'eager {_name(dtype)}', [network], dtype, run, _memory(device) - before)


def _multiplication(dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    n = MATRIX[device.type]
    matrix = torch.rand(n, n, device=device, dtype=dtype)

    def run() -> None:
        # Convolutions, which the rate is compared with, may use TF32; so may the matrices here.
        settings, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.allow_tf32
        settings.allow_tf32 = torch.backends.cudnn.allow_tf32
        try:
            _finish(torch.mm(matrix, matrix), device)
        finally:
            settings.allow_tf32 = before

    return run


def _copy(device: torch.device) -> Callable[[], object]:
    source = torch.ones(COPIED_MIB * MEBIBYTE, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: _finish(target.copy_(source), device)


def _finish(result: object, device: torch.device) -> object:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return result


def _memory(device: torch.device) -> float:
    """Return the memory of GPU or process in MiB; NaN if it is unknown."""
    if device.type == 'cpu':
        return resident_memory() or math.nan
    return torch.cuda.memory_reserved(device) / MEBIBYTE


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')
