"""What the C library does with memory that is freed, and how much of it this process holds."""

import ctypes
from pathlib import Path

MEBIBYTE = 2**20

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of ``mallopt(3)``."""

LARGEST, KEPT = 2**25, 2**30
"""Bytes of the largest block that is kept when it is freed, which is what glibc allows, and of all
that are."""


def reuse_freed_memory() -> None:
    """Let this process keep large blocks that are freed, for those that it needs next.

    By default glibc gives them back to the system, and a frame's images then cost more in new pages
    than in computing their pixels. All threads share what is kept, so threads that come and go hold
    nothing back. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return
    mallopt(M_ARENA_MAX, 1)
    mallopt(M_MMAP_THRESHOLD, LARGEST)
    mallopt(M_TRIM_THRESHOLD, KEPT)


def release_freed_memory() -> None:
    """Give freed memory back to the system once, after work that is not repeated."""
    malloc_trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if malloc_trim is not None:
        malloc_trim(0)


def resident_memory(process: int | str = 'self') -> float | None:
    """Return the MiB of memory that a process occupies, ``None`` where there is no ``/proc``."""
    try:
        status = Path(f'/proc/{process}/status').read_text()
    except OSError:
        return None
    lines = dict(line.split(':', 1) for line in status.splitlines())
    return int(lines['VmRSS'].split()[0]) * 1024 / MEBIBYTE
