"""Values that come from a file or a user, checked before they are used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from xrayflow.errors import DataError, nearest


def known_fields(title: str, kind: type[Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values, if their names are those of a dataclass.

    Args:
        title: What they are, for the error line.
        kind: The dataclass.
        values: By name.

    Raises:
        DataError: A name is unknown, or one without a default is missing.
    """
    if not isinstance(values, Mapping):
        raise DataError(f"{title}: {values!r} is no table of names and values")
    known = [one.name for one in fields(kind)]
    for name in values:
        if name not in known:
            raise DataError(f"{title}: unknown '{name}'{nearest(str(name), known)}")
    missing = [one.name for one in fields(kind) if one.default is MISSING and one.name not in values]
    if missing:
        raise DataError(f"{title}: {', '.join(missing)} is missing; give it")
    return values


def pair(title: str, name: str, value: Sequence[float], above: float, below: float = math.inf) -> tuple[float, float]:
    """A range lo .. hi within bounds.

    Args:
        title: What it belongs to, for the error line.
        name: What it is.
        value: Two numbers, lo <= hi.
        above: lo must be above.
        below: hi must be at most so large.

    Raises:
        DataError: It is none.
    """
    try:
        lo, hi = (float(one) for one in value)
    except (TypeError, ValueError):
        raise DataError(f"{title}: {name} {value!r}; give two numbers, lo and hi") from None
    if not (above < lo <= hi <= below and math.isfinite(hi)):
        limits = f"above {above:g}" + ("" if math.isinf(below) else f", up to {below:g}")
        raise DataError(f"{title}: {name} {lo:g} .. {hi:g}; give lo <= hi, {limits}")
    return lo, hi


def number(title: str, name: str, value: float, lo: float, hi: float) -> float:
    """A number in lo .. hi, both included.

    Args:
        title: What it belongs to, for the error line.
        name: What it is.
        value: The number.
        lo: Lowest.
        hi: Highest.

    Raises:
        DataError: It is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise DataError(f"{title}: {name} {value!r}; give a number") from None
    if not lo <= found <= hi:
        raise DataError(f"{title}: {name} {found:g}; give {lo:g} .. {hi:g}")
    return found
