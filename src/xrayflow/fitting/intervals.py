"""XSPEC's `error`: the range within which the statistic, all other parameters fitted anew, stays below a rise.

Both ends of every interval are sought together.

Source: XSPEC manual, `error`; Lampton, Margon & Bowyer 1976, ApJ 208, 177 (the rise that a level means).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xrayflow.errors import DataError, XrayflowWarning, misused
from xrayflow.fitting.fit import AT_LIMIT, BestFit
from xrayflow.fitting.held import HasBestFit, HeldFits, column_of, fit_of, refitted

ACCURACY = 1e-3
"""The rise at the end of an interval is met to this share of it."""

LOOKS = 30
"""Values tried for each end of an interval at most."""

NEW_MINIMUM = 0.01
"""A statistic lower by this than the fit's is a new minimum, from which `error` starts again (XSPEC's criterion)."""

RESTARTS = 10


@dataclass(frozen=True)
class Interval:
    """The range of one parameter within which the profiled statistic stays below the rise that was asked for.

    Attributes:
        name: XSPEC's.
        unit: Of the values.
        value: At the best fit.
        lo: Lower end; the box's edge where `lo_pegged`.
        hi: Upper end; the box's edge where `hi_pegged`.
        lo_pegged: The statistic does not rise that much down to the edge of the box.
        hi_pegged: Likewise upwards.
        found: Both ends were met to `ACCURACY`, or are pegged.
    """

    name: str
    unit: str
    value: float
    lo: float
    hi: float
    lo_pegged: bool
    hi_pegged: bool
    found: bool

    def __str__(self) -> str:
        marks = [" (limit)" if pegged else "" for pegged in (self.lo_pegged, self.hi_pegged)]
        text = f"{self.name} {self.value:.6g} [{self.lo:.6g}{marks[0]}, {self.hi:.6g}{marks[1]}] {self.unit}".rstrip()
        return text if self.found else f"{text} (not found)"


@dataclass(frozen=True)
class Errors:
    """What `error` found.

    Attributes:
        fit: The best fit; another one than was given where a new minimum came up.
        delta: The rise.
        intervals: One per parameter asked for.
        restarts: How many new minima came up on the way.
    """

    fit: BestFit
    delta: float
    intervals: tuple[Interval, ...]
    restarts: int

    def __str__(self) -> str:
        return "\n".join(str(interval) for interval in self.intervals)


def error(fit: BestFit | HasBestFit, names: str | Iterable[str] | None = None, delta: float = 2.706) -> Errors:
    """Intervals from the profiled statistic, XSPEC's `error`.

    Each parameter is moved away from the best fit, the others fitted anew, until the statistic has risen by delta.

    Args:
        fit: From `optimise`, or an answer of `infer`; its objective is what rises.
        names: Which parameters; default all of the model's.
        delta: The rise: 1 is 68 %, 2.706 is 90 % for one parameter.

    Raises:
        ModelError: A name that is not free.
        DataError: delta is not positive.
    """
    if not delta > 0 or not np.isfinite(delta):
        raise misused(
            DataError(f"error: delta {delta:g} is no rise of the statistic; give a positive number, as 2.706")
        )
    fit = fit_of(fit)
    asked = fit.problem.model.names if names is None else (names,) if isinstance(names, str) else tuple(names)
    columns = [column_of(fit, name) for name in asked]
    for restarts in range(RESTARTS + 1):
        walk = EndSearch(fit, columns, delta)
        lower = walk.run()
        if lower is None:
            return Errors(fit, delta, tuple(walk.interval(i) for i in range(len(columns))), restarts)
        fit = refitted(fit, lower)
    warnings.warn(
        f"error: {RESTARTS + 1} new minima came up one after the other; the fit is far from its minimum, give optimise "
        "more starts",
        XrayflowWarning,
        stacklevel=2,
    )
    return Errors(fit, delta, tuple(replace(walk.interval(i), found=False) for i in range(len(columns))), RESTARTS)


class EndSearch:
    """The search for both ends of several intervals; two rows per parameter, downwards and upwards."""

    def __init__(self, fit: BestFit, columns: Sequence[int], delta: float) -> None:
        self.fits = HeldFits(fit)
        self.columns = list(columns)
        self.delta = delta
        self.column = torch.tensor(self.columns).repeat_interleave(2)
        self.side = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(len(self.columns))
        start = self.fits.best[self.column]
        self.most = torch.where(self.side < 0, start, 1.0 - start)
        self.inside, self.rise_inside = torch.zeros_like(start), torch.zeros_like(start)
        self.outside, self.rise_outside = torch.full_like(start, torch.inf), torch.full_like(start, torch.inf)
        self.distance = torch.minimum(self._first_distance(), self.most)
        self.found = self.most <= AT_LIMIT
        self.pegged = self.found.clone()
        self.x = self.fits.best.expand(self.column.numel(), -1).clone()

    def run(self) -> Tensor | None:
        """None when the ends are found; the place of a new minimum when one came up."""
        for look in range(LOOKS):
            rows = (~self.found).nonzero()[:, 0]
            if rows.numel() == 0:
                break
            rise = self._look(rows, first=look == 0)
            if float(rise.min()) < -NEW_MINIMUM:
                return self.x[rows[rise.argmin()]]
            within = rise < self.delta
            at_edge = self.distance[rows] >= self.most[rows]
            met = (rise - self.delta).abs() <= ACCURACY * self.delta
            self.found[rows] = met | (within & at_edge)
            self.pegged[rows] = within & at_edge & ~met
            self._bracket(rows, rise, within)
        return None

    def interval(self, which: int) -> Interval:
        """The interval of one of the parameters."""
        rows = slice(2 * which, 2 * which + 2)
        column = self.columns[which]
        ends = self.fits.best.expand(2, -1).clone()
        ends[:, column] = (self.fits.best[column] + self.side[rows] * self.distance[rows]).clamp(0.0, 1.0)
        lo, hi = self.fits.goal.to_theta(ends)[:, column].tolist()
        marginal = self.fits.fit.problem.prior.marginals[column]
        lo_pegged, hi_pegged = self.pegged[rows].tolist()
        found = bool(self.found[rows].all())
        return Interval(
            marginal.name, marginal.unit, float(self.fits.fit.theta[column]), lo, hi, lo_pegged, hi_pegged, found
        )

    def _first_distance(self) -> Tensor:
        """Where a parabola of Fisher's curvature has risen by delta; a tenth of the box where that says nothing."""
        inverse, failed = torch.linalg.inv_ex(self.fits.information)
        variance = inverse.diagonal()[self.column]
        usable = (variance > 0) & torch.isfinite(variance) & (failed == 0)
        return torch.where(usable, torch.sqrt(self.delta * variance.clamp(min=1e-300)), 0.1)

    def _look(self, rows: Tensor, first: bool) -> Tensor:
        """The rise of the statistic at the rows' distances."""
        place = (self.fits.best[self.column[rows]] + self.side[rows] * self.distance[rows]).clamp(0.0, 1.0)
        x = self.x[rows].clone()
        if first:
            for i, column in enumerate(self.column[rows].tolist()):
                x[i] = self.fits.followed([column], place[i : i + 1, None])[0]
        held = torch.zeros_like(x, dtype=torch.bool).scatter_(1, self.column[rows, None], True)
        x.scatter_(1, self.column[rows, None], place[:, None])
        self.x[rows], value = self.fits.fitted(x, held)
        return value - self.fits.base

    def _bracket(self, rows: Tensor, rise: Tensor, within: Tensor) -> None:
        """Narrow the bracket, and choose the next distance: the root of the rise is nearly linear in it."""
        inner, outer = rows[within], rows[~within]
        self.inside[inner], self.rise_inside[inner] = self.distance[inner], rise[within].clamp(min=0.0)
        self.outside[outer], self.rise_outside[outer] = self.distance[outer], rise[~within]
        left = rows[~self.found[rows]]
        lo, hi = self.inside[left], self.outside[left]
        a, b = torch.sqrt(self.rise_inside[left]), torch.sqrt(self.rise_outside[left])
        share = (self.delta**0.5 - a) / (b - a)
        share = torch.where(torch.isfinite(b), share, 0.5).clamp(0.02, 0.98)
        between = lo + share * (hi - lo)
        further = lo * (self.delta**0.5 / a.clamp(min=1e-6)).clamp(1.05, 3.0)
        self.distance[left] = torch.minimum(torch.where(torch.isfinite(hi), between, further), self.most[left])
