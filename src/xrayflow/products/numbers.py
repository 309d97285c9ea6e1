"""How numbers are written: as many digits as their uncertainty deserves, and not one more."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNCERTAINTY_DIGITS = 2
MOST_DIGITS = 12
FIXED_FROM, FIXED_TO = -3, 6
"""Powers of ten between which a number is written without an exponent."""


def with_uncertainty(values: Sequence[float], lower: float, upper: float) -> tuple[str, ...]:
    """Numbers of one quantity, all to the digit that its interval deserves.

    Half of the interval gets two significant digits. An interval of more than a factor of ten has no common last
    digit, so each number then gets three significant digits of its own.

    Args:
        values: The numbers to write.
        lower: Lower end of the interval that says how well the quantity is known.
        upper: Upper end.

    Returns:
        One text per number.

    >>> with_uncertainty([1.79320, 1.7872, 1.7990], 1.7872, 1.7990)
    ('1.7932', '1.7872', '1.7990')
    >>> with_uncertainty([56192.4, 52473.2, 60266.8], 52473.2, 60266.8)
    ('56200', '52500', '60300')
    >>> with_uncertainty([2.533e7, 1.8026e7, 3.5368e7], 1.8026e7, 3.5368e7)
    ('2.53e7', '1.80e7', '3.54e7')
    >>> with_uncertainty([1.56e-4, 9.66e-5, 2.69e-4], 9.66e-5, 2.69e-4)
    ('1.56e-4', '0.97e-4', '2.69e-4')
    >>> with_uncertainty([0.02, 0.001, 3.2], 0.001, 3.2)
    ('0.02', '0.001', '3.2')
    """
    half = 0.5 * (upper - lower)
    largest = max(abs(value) for value in (*values, lower, upper))
    if not (math.isfinite(half) and half > 0 and math.isfinite(largest)) or (lower > 0 and upper > 10 * lower):
        return tuple(significant(value) for value in values)
    last = math.floor(math.log10(half)) - (UNCERTAINTY_DIGITS - 1)
    first = math.floor(math.log10(largest))
    last = max(last, first - MOST_DIGITS + 1)
    if FIXED_FROM <= first < FIXED_TO:
        return tuple(f"{round(value, -last):.{max(-last, 0)}f}" for value in values)
    return tuple(f"{value / 10.0**first:.{max(first - last, 0)}f}e{first}" for value in values)


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent where that is readable.

    >>> significant(0.0123456), significant(123456.0, 4), significant(3.4e7), significant(234.0)
    ('0.0123', '123500', '3.4e+07', '234')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    first = math.floor(math.log10(abs(value)))
    if first >= digits and first < FIXED_TO:
        return f"{round(value, digits - 1 - first):.0f}"
    return f"{value:.{digits}g}"


def counted(value: float) -> str:
    """Counts as people write them.

    >>> counted(95864146.0), counted(58.0), counted(1234.5)
    ('9.59e+07', '58', '1234.5')
    """
    return f"{value:.7g}" if abs(value) < 1e6 else f"{value:.3g}"
