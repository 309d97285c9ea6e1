"""DATASUM: does a table hold what its writer wrote?

The sum is that of the data as 32-bit words in ones' complement, so modulo 2^32 - 1. Tools that change a column and
leave the keyword alone are common (10 of 123 real tables that have it), so a sum that does not fit is no damage by
itself, and `xrayflow inspect` shows it as an oddity. But one byte that is not what it was, as a disk or a line damages
files, moves the sum by b 256^j with |b| < 256, which chance does once in two million times: that is warned of whenever
a file is read.

Source: FITS standard 4.0, section 4.4.2.7 and appendix J.
"""

from __future__ import annotations

import warnings

import numpy as np

from xrayflow.errors import XrayflowWarning
from xrayflow.ogip.header import BLOCK
from xrayflow.ogip.table import Table

MODULUS = (1 << 32) - 1


def sum_of(data: bytes | memoryview) -> int:
    """The sum of some bytes, which are padded with zeros.

    >>> sum_of(bytes([0, 0, 0, 1, 255, 255, 255, 255, 1]))
    16777217
    """
    whole = len(data) // 4 * 4
    total = int(np.frombuffer(data, ">u4", whole // 4).sum(dtype=np.uint64)) if whole else 0
    last = int.from_bytes(bytes(data[whole:]).ljust(4, b"\0"), "big")
    return (total + last) % MODULUS


def difference(table: Table) -> int | None:
    """What the data of a table sum to over what its header says, modulo 2^32 - 1; None where it says nothing."""
    try:
        said = table.header.get("DATASUM")
        # 0 may stand for 2^32 - 1; an empty text for "not computed"
        said = int(str(said).strip()) if said is not None and str(said).strip() else None
    except ValueError:
        return None
    if said is None or not 0 <= said <= MODULUS:
        return None
    end = table.start + -(-table.size // BLOCK) * BLOCK
    return (sum_of(memoryview(table.content)[table.start : end]) - said) % MODULUS


def is_one_byte(moved: int) -> bool:
    """Whether one other byte would move a sum so.

    >>> is_one_byte(1 << 28), is_one_byte(MODULUS - 3 * 256), is_one_byte(257), is_one_byte(0)
    (True, True, False, False)
    """
    shifted = [moved * (1 << 8 * place) % MODULUS for place in range(4)]
    return any(0 < one < 256 or 0 < MODULUS - one < 256 for one in shifted)


def warn_of_damage(table: Table) -> None:
    """Warn of a table in which one byte is not what was written."""
    if is_one_byte(difference(table) or 0):
        warnings.warn(
            f"{table.where}: by its DATASUM one byte of the data is not what was written; get the file again, if "
            "nobody edited it",
            XrayflowWarning,
            stacklevel=4,
        )
