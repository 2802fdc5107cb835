"""Speed of the network in all runtimes, eager PyTorch and single-task networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mtl_perception.benchmark.measuring import Machine, Times, describe_machine, time_in_turns
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
class Alternative:
    """Way to compute the maps of one image.

    Attributes:
        name: Name in the table.
        networks: Networks that it runs.
        dtype: Type of the multiplications.
        run: Function that computes the maps.
        mib: Growth of the memory of GPU or process by its creation in MiB, ``None`` if unknown.
    """

    name: str
    networks: Sequence[MultiTaskNetwork]
    dtype: torch.dtype
    run: Callable[[], object]
    mib: float | None


@dataclass(frozen=True)
class Row(Times):
    """Times of an alternative, compared with its roofline and with the first row.

    Attributes:
        name: Name of the alternative.
        type: Type of the multiplications.
        mib: See ``Alternative``.
        gmac: Multiplications per image in 10⁹.
        roofline: Roofline in milliseconds.
        over_roofline: Ratio of the median to the roofline.
        ratio: Ratio of the median to the median of the first row.
    """

    name: str
    type: str
    mib: float | None
    gmac: float
    roofline: float
    over_roofline: float
    ratio: float

    def __str__(self) -> str:
        memory = '–' if self.mib is None else f'{self.mib:,.0f} MiB'
        return (
            f'{self.name:<32}{self.type:>10}{super().__str__()}{self.spread:>9,.1f} ms'
            f'{memory:>12}{self.roofline:>9,.1f} ms{self.over_roofline:>9.2f}{self.ratio:>8.2f}'
        )


@dataclass(frozen=True)
class NetworkBenchmark:
    """Speed of a network for inputs of ``size`` (height, width), printed as a table.

    Attributes:
        gmac_per_second: Rate of matrix multiplications in 10⁹ per second, by type.
        gib_per_second: Rate at which copies read and write memory.
    """

    machine: Machine
    device: torch.device
    network: NetworkConfig
    size: tuple[int, int]
    gmac_per_second: Mapping[str, float]
    gib_per_second: float
    rows: Sequence[Row]

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return asdict(self) | {'device': str(self.device)}

    def __str__(self) -> str:
        network, (height, width) = self.network, self.size
        rates = [f'{name} {rate:,.0f} GMAC/s' for name, rate in self.gmac_per_second.items()]
        lines = (
            self.machine if self.device.type == 'cpu' else self.machine.gpu,
            (
                f'{network.encoder}, stride {network.stride}, heads of {network.head_width}, '
                f'{height}×{width}: {self.rows[0].gmac:.1f} GMAC'
            ),
            f'matrices: {", ".join(rates)}; copies: {self.gib_per_second:,.0f} GiB/s',
            '',
            (
                f'{"":<32}{"type":>10}{"median":>12}{"p99":>12}{"spread":>12}{"memory":>12}'
                f'{"roofline":>12}{"÷ roof":>9}{"ratio":>8}'
            ),
            *self.rows,
        )
        return '\n'.join(map(str, lines))


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
    be faster than the roofline.

    Args:
        checkpoint: ``.safetensors`` file of this package.
        device: auto, cpu, cuda or cuda:N.
        runtime: auto or the name of a runtime.
        size: (height, width) of the network's input, multiples of 32; ``None`` for the
            checkpoint's height and twice that height.
        repetitions: Number of timed runs.
        compare: Also time the other runtimes of the device, eager PyTorch in float32 and bfloat16,
            and three single-task networks with the same encoder.

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
    dtypes = dict.fromkeys(alternative.dtype for alternative in alternatives)
    times = time_in_turns(
        {
            **{alternative.name: (alternative.run, repetitions) for alternative in alternatives},
            **{str(dtype): (_multiplication(dtype, target), repetitions) for dtype in dtypes},
            'copy': (_copy(target), repetitions),
        },
        'network',
    )
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
        device=target,
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
) -> Alternative:
    torch.cuda.empty_cache()  # cached memory would hide the growth
    before = _memory(device)
    runtimes = [create_runtime(name, network, str(device), len(image)) for network in networks]
    for runtime in runtimes:
        runtime.configure(*image.shape[:2])
        runtime.load(image)

    def run() -> None:
        for runtime in runtimes:
            runtime.run()

    mib = _growth(before, device)
    return Alternative(runtimes[0].name, networks, runtimes[0].dtype, run, mib)


def _eager(
    network: MultiTaskNetwork, dtype: torch.dtype, device: torch.device, image: np.ndarray
) -> Alternative:
    """Return plain PyTorch without the runtimes of this package."""
    torch.cuda.empty_cache()
    before = _memory(device)
    copy = MultiTaskNetwork(network.config).eval()
    copy.load_state_dict(network.state_dict())
    copy.to(device, dtype)

    @torch.inference_mode()
    def run() -> list[np.ndarray]:
        images = normalize(torch.from_numpy(image).to(device)[None])
        output: NetworkOutput = copy(images.to(dtype))
        maps = [] if output.semantic is None else [*semantic.decode(output.semantic)]
        maps += [values for values in (output.instance, output.depth) if values is not None]
        return [values.float().cpu().numpy() for values in maps]

    run()
    mib = _growth(before, device)
    return Alternative(f'eager {_name(dtype)}', [network], dtype, run, mib)


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


def _memory(device: torch.device) -> float | None:
    if device.type == 'cpu':
        return resident_memory()
    return torch.cuda.memory_reserved(device) / MEBIBYTE


def _growth(before: float | None, device: torch.device) -> float | None:
    after = _memory(device)
    return None if before is None or after is None else after - before


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')
