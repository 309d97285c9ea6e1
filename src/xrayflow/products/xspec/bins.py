"""What a session of XSPEC means for a spectrum: its noticed bins as ranges of energy, and all else of a fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError, FormatError, XrayflowWarning
from xrayflow.models import Model
from xrayflow.ogip import Bins, Observation
from xrayflow.prior import name_of
from xrayflow.products.xspec.session import Notice, Session

Mask = NDArray[np.bool_]

INSIDE = 0.01
"""Part of an ignored bin by which a range reaches into it."""


@dataclass(frozen=True)
class SessionFit:
    """A session as `infer` takes it.

    Attributes:
        model: With frozen and linked parameters; None where the session has none.
        values: What the session says of its free parameters, by name.
        prior: Ranges that are not ours.
        energies: The noticed ranges [keV]; None where the session leaves bins alone.
        statistic: Its name here.
        systematic: Of chi^2; None elsewhere.
        remarks: What is to be known, in words.
    """

    model: Model | None
    values: Mapping[str, float]
    prior: tuple[str, ...]
    energies: tuple[tuple[float, float], ...] | None
    statistic: str
    systematic: str | None
    remarks: tuple[str, ...]

    def tell(self) -> None:
        """The remarks, as warnings."""
        for remark in self.remarks:
            warnings.warn(remark, XrayflowWarning, stacklevel=2)

    def without_ranges(self, names: Iterable[str]) -> SessionFit:
        """The same without the ranges of some parameters, which are free no more.

        Args:
            names: As typed, in any case.
        """
        gone = {name.strip().lower() for name in names}
        return replace(self, prior=tuple(one for one in self.prior if name_of(one).strip().lower() not in gone))


def session_fit(
    session: Session,
    observation: Observation,
    with_model: bool = True,
    abund: str | None = None,
    xsect: str | None = None,
) -> SessionFit:
    """What a session means for a spectrum.

    Args:
        session: Of `read_session`.
        observation: Its spectrum.
        with_model: Whether its model is wanted; another may be fitted to its data.
        abund, xsect: Other abundances and cross-sections than it says; None takes its own.

    Raises:
        FormatError: A model that cannot be read.
        ModelError: A component that is not here, or a value that cannot be.
        DataError: No bin is noticed.
    """
    remarks = list(session.remarks)
    bins = observation.bins()
    if np.any(bins.quality != 0) and not session.ignores_bad:
        remarks.append(f"{session.path.name}: has no 'ignore bad'; bad channels are left out here all the same")
    statistic = session.statistic or "auto"
    if statistic == "cstat" and observation.background is not None:
        statistic = "wstat"
    systematic = f"{session.systematic:g}" if session.systematic > 0.0 else None
    if systematic is not None and statistic != "chi2":
        remarks.append(f"{session.path.name}: systematic {systematic} acts on chi^2 alone in XSPEC; it is left out")
        systematic = None
    try:
        saved = None
        if session.model is not None and with_model:
            saved = session.model.settings(abund or session.abund, xsect or session.xsect)
    except ValueError as error:
        raise FormatError(f"{session.path}: {error}") from None
    return SessionFit(
        model=None if saved is None else saved.model,
        values={} if saved is None else saved.values,
        prior=() if saved is None else saved.priors,
        energies=noticed_ranges(bins, session.notices, str(session.path)) if session.notices else None,
        statistic=statistic,
        systematic=systematic,
        remarks=tuple(remarks),
    )


def noticed(bins: Bins, notices: Sequence[Notice]) -> Mask:
    """Which bins are left after `ignore` and `notice`, one after the other.

    Args:
        bins: Of the file's grouping, numbered from 1 as XSPEC's.
        notices: Of a session.
    """
    size = bins.e_min.size
    kept = np.ones(size, dtype=np.bool_)
    descending = size > 1 and bins.e_min[0] > bins.e_min[-1]
    e_min, e_max = (bins.e_min[::-1], bins.e_max[::-1]) if descending else (bins.e_min, bins.e_max)
    for one in notices:
        if one.by_energy:
            first = 0 if one.low is None else _bin_of(one.low, e_min, e_max)
            last = size - 1 if one.high is None else _bin_of(one.high, e_min, e_max)
            if last < 0 or first >= size:
                continue
            ends = max(first, 0), min(last, size - 1)
            ends = (size - 1 - ends[1], size - 1 - ends[0]) if descending else ends
        else:
            ends = 0 if one.low is None else int(one.low) - 1, size - 1 if one.high is None else int(one.high) - 1
        kept[max(ends[0], 0) : max(ends[1] + 1, 0)] = one.keep
    return kept


def noticed_ranges(bins: Bins, notices: Sequence[Notice], where: str) -> tuple[tuple[float, float], ...]:
    """The noticed bins as ranges of energy that notice just these.

    A range a-b leaves out the bin that holds a, the one that holds b and all beyond, as `ignore **-a b-**` does. So a
    lies within the last bin that is ignored, and b in the next one.

    Args:
        bins: Of the file's grouping.
        notices: Of a session.
        where: For error lines.

    Raises:
        DataError: No bin is noticed.
    """
    kept = noticed(bins, notices)
    plain = _as_typed(notices)
    low, high = bins.e_min, bins.e_max
    if low.size > 1 and low[0] > low[-1]:
        kept, low, high = kept[::-1], low[::-1], high[::-1]
    places = np.flatnonzero(kept)
    if places.size == 0:
        raise DataError(f"{where}: ignores all {kept.size} bins; mend its ignore lines")
    if plain is not None:
        return plain
    cuts = np.flatnonzero(np.diff(places) > 1)
    firsts, lasts = places[np.append(0, cuts + 1)], places[np.append(cuts, places.size - 1)]
    found = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        # just inside the ignored bins: the band is that of the data, and two may have one such bin between them
        start = low[0] if first == 0 else high[first - 1] - INSIDE * (high[first - 1] - low[first - 1])
        end = 1.001 * high[-1] if last == kept.size - 1 else low[last + 1] + INSIDE * (high[last + 1] - low[last + 1])
        found.append((float(start), float(end)))
    return tuple(found)


def _as_typed(notices: Sequence[Notice]) -> tuple[tuple[float, float], ...] | None:
    """The user's own numbers, where they are `**-a`, gaps, `b-**` and nothing else."""
    if any(one.keep or not one.by_energy for one in notices):
        return None
    below = [one.high for one in notices if one.low is None and one.high is not None]
    above = [one.low for one in notices if one.high is None and one.low is not None]
    gaps = sorted((one.low, one.high) for one in notices if one.low is not None and one.high is not None)
    if len(below) != 1 or len(above) != 1 or len(below) + len(above) + len(gaps) != len(notices):
        return None
    edges = [below[0], *(edge for gap in gaps for edge in gap), above[0]]
    if any(first >= second for first, second in pairwise(edges)):
        return None
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _bin_of(energy: float, e_min: NDArray[np.float64], e_max: NDArray[np.float64]) -> int:
    """The first bin that ends at an energy or above; -1 below all, their number above all."""
    return -1 if energy <= e_min[0] else int(np.searchsorted(e_max, energy, side="left"))
