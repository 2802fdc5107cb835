"""How fast the network is: runtimes, eager PyTorch, single-task networks, and the roofline."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mtl_perception.benchmark.measuring import machine, milliseconds_columns, time_in_turns
from mtl_perception.inference.devices import has_openvino, resolve_device
from mtl_perception.inference.runtimes import create_runtime
from mtl_perception.memory import MEBIBYTE, resident_memory
from mtl_perception.network.checkpoint import load_checkpoint
from mtl_perception.network.multitask import (
    OUTPUT_STRIDE,
    MultiTaskNetwork,
    NetworkOutput,
    checked_size,
    normalize,
)
from mtl_perception.tasks import semantic

MATRIX = {'cpu': 2048, 'cuda': 8192}
"""Rows and columns of the matrices whose multiplication is timed: enough for the full rate."""

COPIED_MIB = 256
"""How much is copied to measure the bandwidth: more than caches hold."""

MAP_BYTES = 14
"""What a pixel of the output has: label, confidence, two offsets and disparity."""


@dataclass(frozen=True)
class Alternative:
    """A way to get the maps of one image.

    Attributes:
        name: in the table.
        networks: what it runs.
        dtype: what it multiplies.
        run: computes the maps.
        mib: memory that making it took, of the GPU, or of the process; ``None`` if not known.
    """

    name: str
    networks: Sequence[MultiTaskNetwork]
    dtype: torch.dtype
    run: Callable[[], object]
    mib: float | None


def benchmark_network(
    checkpoint: Path,
    *,
    device: str,
    runtime: str,
    size: tuple[int, int] | None,
    repetitions: int,
    compare: bool,
) -> dict[str, Any]:
    """Time the way of one image from its pixels to its maps, both in the computer's memory.

    The roofline (Williams et al., CACM 2009) is what the multiplications of the network take at the
    rate at which PyTorch multiplies large matrices of the same type, or, if that is longer, what
    its weights, the image and the maps take at the rate at which memory is copied. Both rates are
    measured in turns with everything else; a runtime whose kernels are better than PyTorch's can
    take less.

    Args:
        checkpoint: a ``.safetensors`` file of this package.
        device: auto, cpu, cuda or cuda:N.
        runtime: auto or the name of a runtime.
        size: (height, width) of the network's input, multiples of 32; by default the checkpoint's
            height, and twice that.
        repetitions: how often everything is timed.
        compare: also the other runtimes of the device, eager PyTorch in float32 and bfloat16, and
            three single-task networks with the same encoder.

    Raises:
        FileNotFoundError, CheckpointError: as ``load_checkpoint``.
        ValueError: a size, device or runtime that cannot be used.
    """
    network, info = load_checkpoint(checkpoint)
    height, width = checked_size(size, info.input_height)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    target = resolve_device('cpu' if runtime == 'openvino' else device)
    chosen = _with_runtime(runtime, [network], target, image)
    single = [_single_task(network, task) for task in network.config.tasks]
    alternatives = [chosen]
    if compare:
        others = [name for name in _available(target) if name != chosen.name]
        alternatives += [_with_runtime(name, [network], target, image) for name in others]
        alternatives += [
            _eager(network, dtype, target, image) for dtype in (torch.float32, torch.bfloat16)
        ]
        alone = _with_runtime(chosen.name, single, target, image)
        alternatives.append(replace(alone, name=f'{chosen.name}, single-task networks'))
    dtypes = {alternative.dtype for alternative in alternatives}
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
        dtype = alternative.dtype
        macs = sum(count_macs(network, height, width) for network in alternative.networks)
        moved = height * width * (3 + MAP_BYTES / OUTPUT_STRIDE**2) + dtype.itemsize * sum(
            weight.numel() for network in alternative.networks for weight in network.parameters()
        )
        roofline = max(macs / rates[dtype], moved / bandwidth)
        median = times[alternative.name].median
        rows.append(
            {
                'name': alternative.name,
                'type': _name(dtype),
                **asdict(times[alternative.name]),
                'mib': alternative.mib,
                'gmac': macs / 1e9,
                'roofline': roofline,
                'over_roofline': median / roofline,
                'ratio': median / times[chosen.name].median,
            }
        )
    return {
        'machine': machine(target),
        'device': str(target),
        'network': asdict(network.config),
        'size': [height, width],
        'gmac_per_second': {_name(dtype): rate / 1e6 for dtype, rate in rates.items()},
        'gib_per_second': bandwidth * 1e3 / 2**30,
        'rows': rows,
    }


def count_macs(network: MultiTaskNetwork, height: int, width: int) -> int:
    """Return the multiplications of ``network`` for one ``height`` × ``width`` input."""
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        MultiTaskNetwork(network.config).eval()(torch.empty(1, 3, height, width))
    return counter.get_total_flops() // 2


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures of ``benchmark_network`` as text."""
    return '\n'.join(_table_lines(figures))


def _table_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    where, network = figures['machine'], figures['network']
    on_gpu = figures['device'] != 'cpu'
    yield where['gpu'] if on_gpu else f'{where["cpu"]}, {where["cores"]} cores'
    height, width = figures['size']
    yield (
        f'{network["encoder"]}, stride {network["stride"]}, heads of {network["head_width"]}, '
        f'{height}×{width}: {figures["rows"][0]["gmac"]:.1f} GMAC'
    )
    rates = [f'{name} {rate:,.0f} GMAC/s' for name, rate in figures['gmac_per_second'].items()]
    yield f'matrices: {", ".join(rates)}; copies: {figures["gib_per_second"]:,.0f} GiB/s'
    yield ''
    yield (
        f'{"":<32}{"type":>10}{"median":>12}{"p99":>12}{"spread":>12}{"memory":>12}'
        f'{"roofline":>12}{"÷ roof":>9}{"ratio":>8}'
    )
    for row in figures['rows']:
        memory = '–' if row['mib'] is None else f'{row["mib"]:,.0f} MiB'
        yield (
            f'{row["name"]:<32}{row["type"]:>10}{milliseconds_columns(row)}'
            f'{row["spread"]:>9,.1f} ms{memory:>12}{row["roofline"]:>9,.1f} ms'
            f'{row["over_roofline"]:>9.2f}{row["ratio"]:>8.2f}'
        )


def _available(device: torch.device) -> list[str]:
    if device.type == 'cuda':
        return ['cuda_graph', 'torch']
    return ['openvino', 'torch'] if has_openvino() else ['torch']


def _single_task(network: MultiTaskNetwork, task: str) -> MultiTaskNetwork:
    """Return the part of ``network`` that does one task, with the same weights."""
    single = MultiTaskNetwork(replace(network.config, tasks=(task,)))
    single.load_state_dict(network.state_dict(), strict=False)
    return single.eval()


def _with_runtime(
    name: str, networks: Sequence[MultiTaskNetwork], device: torch.device, image: np.ndarray
) -> Alternative:
    torch.cuda.empty_cache()  # what is only kept would hide what is needed
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
    """Return what one would write without this package's runtimes."""
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
        # As convolutions do, whose rate this is compared with; others must not notice.
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
