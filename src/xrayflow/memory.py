"""Memory that is freed stays with the process.

Work in pieces frees and asks for a few megabytes thousands of times a second. The C library would give them back to the
system each time, and be given zeroed pages again: a fifth of an answer's time.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of glibc's mallopt."""

KEPT, LARGEST = 256 * 2**20, 32 * 2**20
"""Bytes: free memory that is kept at most, and the largest piece that comes from it: the most that glibc takes."""


@functools.cache
def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory; once in a process, and not where the user's environment rules it.

    Returns:
        Whether it was asked: False where it is not glibc.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # either alone makes matters worse: naming one threshold ends glibc's own choice of the other
    return all([mallopt(TRIM_THRESHOLD, KEPT), mallopt(MMAP_THRESHOLD, LARGEST)])
