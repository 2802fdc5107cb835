# SPDX-License-Identifier: Apache-2.0
"""Memory of the process, and how the C library treats freed memory."""

import ctypes
from pathlib import Path

MEBIBYTE = 2**20

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of ``mallopt(3)``."""

LARGEST, KEPT = 2**25, 2**30
"""Bytes of the largest block that is kept (the maximum in glibc), and of all kept blocks."""


def reuse_freed_memory() -> None:
    """Keep large freed blocks in this process for later allocations.

    By default glibc returns them to the system, and the images of a frame then cost more in new
    pages than in computing their pixels. All threads share the kept blocks, so a thread that ends
    holds no memory back. Only glibc is affected.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return
    mallopt(M_ARENA_MAX, 1)
    mallopt(M_MMAP_THRESHOLD, LARGEST)
    mallopt(M_TRIM_THRESHOLD, KEPT)


def release_freed_memory() -> None:
    """Return freed memory to the system once, after work that is not repeated."""
    malloc_trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if malloc_trim is not None:
        malloc_trim(0)


def resident_memory(process: int | str = 'self') -> float | None:
    """Return the resident memory of a process in MiB, or ``None`` without ``/proc``."""
    try:
        status = Path(f'/proc/{process}/status').read_text()
    except OSError:
        return None
    lines = dict(line.split(':', 1) for line in status.splitlines())
    return int(lines['VmRSS'].split()[0]) * 1024 / MEBIBYTE
