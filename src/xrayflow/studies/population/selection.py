"""Which sources could be in the catalogue at all: the part that is found, against a parameter.

Sources that were picked, by their counts for example, are no fair sample. With f(x) the part that is found of the
sources at x, the likelihood of n sources is

    product_i L_i(h) / alpha(h)^n,        alpha(h) = integral f(x) p(x | h) dx.

Source: Loredo 2004, AIP Conf. Proc. 735, 195; Mandel, Farr & Gair 2019, MNRAS 486, 1086, equation 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError, FileError
from xrayflow.studies.population.draws import Axis

Numbers = NDArray[np.float64]

FOUND = "found"
"""The column of the part that is found."""

FORMATS = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".fits": "fits"}


@dataclass(frozen=True, eq=False)
class Selection:
    """The part of the sources that is found: linear in x between places, constant beyond the outer two.

    Attributes:
        place: (place,) in x, rising.
        found: (place,) 0 .. 1.
    """

    place: Numbers
    found: Numbers

    def __call__(self, x: Numbers) -> Numbers:
        """The part that is found at places x."""
        return np.interp(x, self.place, self.found)


def read_selection(path: Path, axis: Axis) -> Selection:
    """A selection from a table with a column named after the parameter and one named `found`.

    Args:
        path: ECSV, CSV or FITS.
        axis: The parameter, in its own unit in the table.

    Raises:
        FileError: It cannot be read, or lacks a column.
        DataError: Its numbers are no selection.
    """
    from astropy.table import Table

    name = axis.marginal.name
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise FileError(f"{path}: --selection reads .ecsv, .csv or .fits; give one of these")
    try:
        table = Table.read(path, format=kind)
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{path}: no table that can be read ({error or 'broken'})") from None
    missing = [column for column in (name, FOUND) if column not in table.colnames]
    if missing:
        raise FileError(
            f"{path}: no column {missing[0]} among {', '.join(table.colnames)}; give {name} and {FOUND}, the part of "
            "the sources that is found"
        )
    words = [column for column in (name, FOUND) if table[column].dtype.kind not in "fiu"]
    if words:
        raise FileError(f"{path}: {words[0]} holds words; give numbers")
    theta, found = (np.asarray(table[column], dtype=np.float64) for column in (name, FOUND))
    if not (theta.size >= 2 and np.isfinite(theta).all() and (np.diff(theta) > 0).all()):
        raise DataError(f"{path}: {name} has to rise from row to row, in two rows or more")
    if axis.is_log and theta[0] <= 0:
        raise DataError(f"{path}: {name} starts at {theta[0]:g}; its prior is logarithmic, so give values above 0")
    if not (((found >= 0) & (found <= 1)).all() and found.any()):
        raise DataError(f"{path}: {FOUND} is a part, between 0 and 1, and not 0 everywhere")
    return Selection(axis.place(theta), found)
