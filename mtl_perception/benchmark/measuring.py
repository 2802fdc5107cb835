"""What all benchmarks share: times taken in turns, and the machine they were taken on.

Alternatives are timed in turns, in one process, so that all of them see the same machine.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

WARM_UP_FROM = 4
"""What is called fewer times is too slow for a call that does not count."""


@dataclass(frozen=True)
class Times:
    """How often something was timed, and median, 99th percentile and spread in milliseconds.

    The spread is the distance of the quartiles: half of the measurements lie within it.
    """

    calls: int
    median: float
    p99: float
    spread: float


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """Return what the figures were measured on; of GPUs ``device``, or else the first."""
    gpu = device if device is not None and device.type == 'cuda' else None
    cpu = platform.processor() or platform.machine()
    for line in _lines(Path('/proc/cpuinfo')):
        name, _, value = line.partition(':')
        if name.strip() == 'model name':
            cpu = value.strip()
            break
    return {
        'cpu': cpu,
        'cores': os.cpu_count(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'gpu': torch.cuda.get_device_name(gpu) if torch.cuda.is_available() else None,
    }


def time_in_turns(
    functions: Mapping[str, tuple[Callable[[], object], int]], what: str
) -> dict[str, Times]:
    """Call each function as often as asked, in turns, and return how long it took.

    Args:
        functions: by name, with how often each is called; once more comes first, not counted,
            where that is ``WARM_UP_FROM`` or more.
        what: for the progress bar.
    """
    milliseconds: dict[str, list[float]] = {name: [] for name in functions}
    for function, calls in functions.values():
        if calls >= WARM_UP_FROM:
            function()
    rounds = max(calls for _, calls in functions.values())
    for i in tqdm(range(rounds), desc=what, unit='round', disable=None):
        for name, (function, calls) in functions.items():
            if i < calls:
                start = time.perf_counter()
                function()
                milliseconds[name].append((time.perf_counter() - start) * 1e3)
    return {name: times_of(values) for name, values in milliseconds.items()}


def times_of(milliseconds: Sequence[float]) -> Times:
    """Return the summary of single measurements."""
    low, median, high, p99 = np.percentile(milliseconds, (25, 50, 75, 99)).tolist()
    return Times(len(milliseconds), median, p99, high - low)


def milliseconds_columns(times: Mapping[str, Any]) -> str:
    """Return a row's ``median`` and ``p99`` as two columns of text."""
    return f'{times["median"]:>9,.1f} ms{times["p99"]:>9,.1f} ms'


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
