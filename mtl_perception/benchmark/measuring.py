# SPDX-License-Identifier: Apache-2.0
"""Timing in turns, and the times and the machine that every benchmark reports.

Alternatives run in turns in one process, so that load on the machine slows all of them alike.
"""

import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

WARM_UP_FROM = 4
"""Functions timed fewer times than this get no warm-up call: they are too slow for one."""


@dataclass(frozen=True)
class Times:
    """Median, 99th percentile and interquartile range of the times of calls, in milliseconds."""

    calls: int
    median: float
    p99: float
    spread: float

    def __str__(self) -> str:
        return f'{self.median:>9,.1f} ms{self.p99:>9,.1f} ms'


@dataclass(frozen=True)
class Machine:
    """Hardware and software of a measurement; ``gpu`` is ``None`` without CUDA."""

    cpu: str
    cores: int | None
    python: str
    torch: str
    gpu: str | None

    def __str__(self) -> str:
        return f'{self.cpu}, {self.cores} cores'


@dataclass(frozen=True)
class Result:
    """Result of a benchmark, printed as a table."""

    machine: Machine

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON; times are in milliseconds."""
        return asdict(self)


def describe_machine(device: torch.device | None = None) -> Machine:
    """Return this machine with the GPU ``device``, or with its first GPU for other devices."""
    gpu = device if device is not None and device.type == 'cuda' else None
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        torch=torch.__version__,
        gpu=torch.cuda.get_device_name(gpu) if torch.cuda.is_available() else None,
    )


def time_in_turns(
    functions: Mapping[str, tuple[Callable[[], object], int]], title: str
) -> dict[str, Times]:
    """Call functions, each with its number of timed calls, in turns and return their times.

    From ``WARM_UP_FROM`` calls on, one more call precedes them as a warm-up.
    """
    milliseconds: dict[str, list[float]] = {name: [] for name in functions}
    for function, calls in functions.values():
        if calls >= WARM_UP_FROM:
            function()
    rounds = max(calls for _, calls in functions.values())
    for i in tqdm(range(rounds), desc=title, unit='round', disable=None):
        for name, (function, calls) in functions.items():
            if i < calls:
                start = time.perf_counter()
                function()
                milliseconds[name].append((time.perf_counter() - start) * 1e3)
    return {name: times_of(values) for name, values in milliseconds.items()}


def times_of(milliseconds: Sequence[float]) -> Times:
    """Return the summary of single times."""
    low, median, high, p99 = np.percentile(milliseconds, (25, 50, 75, 99)).tolist()
    return Times(len(milliseconds), median, p99, high - low)


def _cpu() -> str:
    table = Path('/proc/cpuinfo')
    text = table.read_text() if table.exists() else ''
    model = re.search(r'^model name\s*:[ \t]*(.*\S)', text, re.MULTILINE)
    return model[1] if model else platform.processor() or platform.machine()
