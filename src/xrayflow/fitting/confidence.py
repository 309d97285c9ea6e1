"""XSPEC's `error` and `steppar`: how the statistic rises when one parameter is held and all others fit anew.

Every held value is a row of one batch: both ends of every interval are sought together, and a whole grid is one call.

Source: XSPEC manual, `error` and `steppar`; Lampton, Margon & Bowyer 1976, ApJ 208, 177 (the rise that a level means).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from xrayflow.errors import DataError, ModelError, XrayflowWarning, nearest
from xrayflow.fitting.fit import AT_LIMIT, BestFit, best_of
from xrayflow.fitting.multistart import descend
from xrayflow.fitting.objective import Objective

ITERATIONS, TOLERANCE = 60, 1e-5
"""Of the fit at each held value."""

ACCURACY = 1e-3
"""The rise at the end of an interval is met to this share of it."""

LOOKS = 30
"""Values tried for each end of an interval at most."""

NEW_MINIMUM = 0.01
"""A statistic lower by this than the fit's is a new minimum, from which `error` starts again (XSPEC's criterion)."""

RESTARTS = 10
SWEEPS = 5
"""How often a grid hands the solutions of its points to their neighbours at most."""


class HasBestFit(Protocol):
    """An answer that can say where it fits best."""

    def best_fit(self) -> BestFit:
        """The fit."""
        ...


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


@dataclass(frozen=True)
class Profile:
    """What `steppar` found.

    Attributes:
        fit: The best fit that was given.
        names: The parameters held, one or two.
        axes: The values of each.
        value: (*axes) the profiled statistic, or -2 log posterior density.
        theta: (*axes, parameter) where it was found.
        evaluations: Likelihood evaluations.
    """

    fit: BestFit
    names: tuple[str, ...]
    axes: tuple[NDArray[np.float64], ...]
    value: NDArray[np.float64]
    theta: NDArray[np.float64]
    evaluations: int

    @property
    def rise(self) -> NDArray[np.float64]:
        """(*axes) above the best fit; negative where a better one lies."""
        above: NDArray[np.float64] = self.value - self.fit.value
        return above


def error(fit: BestFit | HasBestFit, names: str | Iterable[str] | None = None, delta: float = 2.706) -> Errors:
    """Intervals from the profiled statistic, XSPEC's `error`.

    Each parameter is moved away from the best fit, the others fitted anew, until the statistic has risen by delta.

    Args:
        fit: From `optimise`, or an answer of `infer`; its objective is what rises.
        names: Which parameters; default all.
        delta: The rise: 1 is 68 %, 2.706 is 90 % for one parameter.

    Raises:
        ModelError: A name that is not free.
        DataError: delta is not positive.
    """
    if not delta > 0 or not np.isfinite(delta):
        raise DataError(f"error: delta {delta:g} is no rise of the statistic; give a positive number, as 2.706")
    fit = _fit(fit)
    asked = fit.names if names is None else (names,) if isinstance(names, str) else tuple(names)
    columns = [_column(fit, name) for name in asked]
    for restarts in range(RESTARTS + 1):
        walk = _Walk(fit, columns, delta)
        lower = walk.run()
        if lower is None:
            return Errors(fit, delta, tuple(walk.interval(i) for i in range(len(columns))), restarts)
        fit = _refitted(fit, lower)
    warnings.warn(
        f"error: {RESTARTS + 1} new minima came up one after the other; the fit is far from its minimum, give optimise "
        "more starts",
        XrayflowWarning,
        stacklevel=2,
    )
    return Errors(fit, delta, tuple(replace(walk.interval(i), found=False) for i in range(len(columns))), RESTARTS)


def steppar(
    fit: BestFit | HasBestFit,
    names: str | Sequence[str],
    lo: ArrayLike,
    hi: ArrayLike,
    steps: ArrayLike = 10,
    log: ArrayLike = False,
) -> Profile:
    """The profiled statistic on a grid of one or two parameters, XSPEC's `steppar`.

    Args:
        fit: From `optimise`, or an answer of `infer`; its objective is profiled.
        names: One parameter or two; with two, the other arguments are one for both or a pair.
        lo: First value.
        hi: Last value.
        steps: Number of steps; there are steps + 1 values, as in XSPEC.
        log: Whether the steps are logarithmic.

    Raises:
        ModelError: A name that is not free, more than two names, or values outside the box.
    """
    asked = (names,) if isinstance(names, str) else tuple(names)
    if len(asked) not in (1, 2) or len(set(asked)) != len(asked):
        raise ModelError(f"steppar: {len(asked)} parameters ({', '.join(asked)}); give one, or two different ones")
    fit = _fit(fit)
    columns = [_column(fit, name) for name in asked]
    settings = [_each(setting, len(asked)) for setting in (lo, hi, steps, log)]
    axes = tuple(_axis(fit, column, *own) for column, *own in zip(columns, *settings, strict=True))
    grid = _Grid(fit, columns, axes)
    grid.run()
    shape = tuple(axis.size for axis in axes)
    value = (grid.value + (fit.value - grid.base)).reshape(shape)
    theta = grid.goal.to_theta(grid.x).reshape(*shape, -1)
    return Profile(fit, tuple(fit.names[c] for c in columns), axes, value.numpy(), theta.numpy(), grid.evaluations)


class _Profiler:
    """A fit as a place in the box, and fits with some coordinates held."""

    def __init__(self, fit: BestFit) -> None:
        self.fit = fit
        self.goal: Objective = fit.goal
        place = self.goal.from_theta(torch.from_numpy(fit.theta))[None, None]
        ends = descend(self.goal, place, torch.zeros_like(place, dtype=torch.bool), ITERATIONS, TOLERANCE)
        self.best, self.base = ends.x[0, 0], float(ends.value[0, 0])
        self.information = ends.information[0, 0]
        self.evaluations = int(ends.evaluations[0])

    def fitted(self, x: Float[Tensor, "row parameter"], held: Bool[Tensor, "row parameter"]) -> tuple[Tensor, Tensor]:
        """Where the free coordinates end, and the goal there."""
        ends = descend(self.goal, x[None], held[None], ITERATIONS, TOLERANCE)
        self.evaluations += int(ends.evaluations[0])
        return ends.x[0], ends.value[0]

    def followed(self, columns: Sequence[int], moved: Float[Tensor, "row held"]) -> Float[Tensor, "row parameter"]:
        """Where the quadratic approximation puts the others when some coordinates are moved to given places."""
        held = torch.zeros_like(self.best, dtype=torch.bool)
        held[list(columns)] = True
        stuck = ~held & ((self.best <= AT_LIMIT) | (self.best >= 1.0 - AT_LIMIT))
        others = (~held & ~stuck).nonzero()[:, 0]
        x = self.best.expand(moved.shape[0], -1).clone()
        x[:, list(columns)] = moved
        pull = (moved - self.best[list(columns)]) @ self.information[list(columns)][:, others]
        inverse, failed = torch.linalg.inv_ex(self.information[others[:, None], others])
        follow = -pull @ inverse
        if int(failed) == 0 and bool(torch.isfinite(follow).all()):
            x[:, others] = (self.best[others] + follow).clamp(0.0, 1.0)
        return x


class _Walk(_Profiler):
    """The search for both ends of several intervals; two rows per parameter, downwards and upwards."""

    def __init__(self, fit: BestFit, columns: Sequence[int], delta: float) -> None:
        super().__init__(fit)
        self.columns = list(columns)
        self.delta = delta
        self.column = torch.tensor(self.columns).repeat_interleave(2)
        self.side = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(len(self.columns))
        start = self.best[self.column]
        self.most = torch.where(self.side < 0, start, 1.0 - start)
        self.inside, self.rise_inside = torch.zeros_like(start), torch.zeros_like(start)
        self.outside, self.rise_outside = torch.full_like(start, torch.inf), torch.full_like(start, torch.inf)
        self.distance = torch.minimum(self._first_distance(), self.most)
        self.found = self.most <= AT_LIMIT
        self.pegged = self.found.clone()
        self.x = self.best.expand(self.column.numel(), -1).clone()

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
        ends = self.best.expand(2, -1).clone()
        ends[:, column] = (self.best[column] + self.side[rows] * self.distance[rows]).clamp(0.0, 1.0)
        lo, hi = self.goal.to_theta(ends)[:, column].tolist()
        marginal = self.fit.problem.prior.marginals[column]
        lo_pegged, hi_pegged = self.pegged[rows].tolist()
        found = bool(self.found[rows].all())
        return Interval(
            marginal.name, marginal.unit, float(self.fit.theta[column]), lo, hi, lo_pegged, hi_pegged, found
        )

    def _first_distance(self) -> Tensor:
        """Where a parabola of Fisher's curvature has risen by delta; a tenth of the box where that says nothing."""
        inverse, failed = torch.linalg.inv_ex(self.information)
        variance = inverse.diagonal()[self.column]
        usable = (variance > 0) & torch.isfinite(variance) & (failed == 0)
        return torch.where(usable, torch.sqrt(self.delta * variance.clamp(min=1e-300)), 0.1)

    def _look(self, rows: Tensor, first: bool) -> Tensor:
        """The rise of the statistic at the rows' distances."""
        place = (self.best[self.column[rows]] + self.side[rows] * self.distance[rows]).clamp(0.0, 1.0)
        x = self.x[rows].clone()
        if first:
            for i, column in enumerate(self.column[rows].tolist()):
                x[i] = self.followed([column], place[i : i + 1, None])[0]
        held = torch.zeros_like(x, dtype=torch.bool).scatter_(1, self.column[rows, None], True)
        x.scatter_(1, self.column[rows, None], place[:, None])
        self.x[rows], value = self.fitted(x, held)
        return value - self.base

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


class _Grid(_Profiler):
    """All points of a grid at once; then neighbours hand over their solutions until none gains."""

    def __init__(self, fit: BestFit, columns: Sequence[int], axes: Sequence[NDArray[np.float64]]) -> None:
        super().__init__(fit)
        self.columns = list(columns)
        mesh = torch.meshgrid(*(torch.from_numpy(axis) for axis in axes), indexing="ij")
        theta = torch.from_numpy(fit.theta).expand(mesh[0].numel(), -1).clone()
        theta[:, self.columns] = torch.stack([part.reshape(-1) for part in mesh], dim=-1)
        self.place = self.goal.from_theta(theta)[:, self.columns]
        self.number = torch.arange(mesh[0].numel()).reshape(mesh[0].shape)
        self.x = self.best.expand(theta.shape[0], -1).clone()
        self.value = torch.full((theta.shape[0],), torch.inf, dtype=torch.float64)

    def run(self) -> None:
        """Fit every point from the best fit and from the quadratic approximation, then from its neighbours."""
        every = self.number.reshape(-1)
        gained = self._offer(every, self.best.expand(every.numel(), -1))
        gained |= self._offer(every, self.followed(self.columns, self.place))
        for _ in range(SWEEPS):
            pairs = [(giver, taker) for giver, taker in self._neighbours() if bool(gained[giver].any())]
            before, gained = gained, torch.zeros_like(gained)
            for giver, taker in pairs:
                use = before[giver]
                gained |= self._offer(taker[use], self.x[giver[use]].clone())
            if not bool(gained.any()):
                break

    def _offer(self, points: Tensor, x: Tensor) -> Tensor:
        """Fit the points from other places; which of all points gained."""
        gained = torch.zeros(self.value.numel(), dtype=torch.bool)
        if points.numel() == 0:
            return gained
        x = x.clone()
        x[:, self.columns] = self.place[points]
        held = torch.zeros_like(x, dtype=torch.bool)
        held[:, self.columns] = True
        ends, value = self.fitted(x, held)
        better = value < self.value[points] - 10.0 * TOLERANCE
        gained[points[better]] = True
        self.x[points[better]], self.value[points[better]] = ends[better], value[better]
        return gained

    def _neighbours(self) -> list[tuple[Tensor, Tensor]]:
        """Pairs (giver, taker) of points, for each direction along each axis."""
        pairs = []
        for axis in range(self.number.ndim):
            pairs_along = self.number.shape[axis] - 1
            lower, upper = (self.number.narrow(axis, first, pairs_along).reshape(-1) for first in (0, 1))
            pairs += [(lower, upper), (upper, lower)]
        return pairs


def _refitted(fit: BestFit, x: Tensor) -> BestFit:
    """The best fit that a place leads to."""
    goal = fit.goal
    ends = descend(goal, x[None, None], torch.zeros_like(x, dtype=torch.bool)[None, None], ITERATIONS, TOLERANCE)
    found = best_of(fit.problem, fit.objective, goal, ends, 0)
    return replace(found, evaluations=found.evaluations + fit.evaluations)


def _fit(fit: BestFit | HasBestFit) -> BestFit:
    """The fit itself, or that of an answer."""
    return fit if isinstance(fit, BestFit) else fit.best_fit()


def _column(fit: BestFit, name: str) -> int:
    """The column of theta that a name means."""
    for column, known in enumerate(fit.names):
        if known.lower() == name.strip().lower():
            return column
    raise ModelError(f"{fit.problem.model.text} has no free parameter '{name}'{nearest(name, fit.names)}")


def _each(setting: ArrayLike, count: int) -> list[float]:
    """A setting for each parameter."""
    given: list[float] = np.atleast_1d(np.asarray(setting)).tolist()
    if np.ndim(setting) == 0:
        given = given * count
    if len(given) != count:
        raise ModelError(
            f"steppar: {len(given)} values {given} for {count} parameters; give one for each, or one for all"
        )
    return given


def _axis(fit: BestFit, column: int, lo: float, hi: float, steps: float, log: float) -> NDArray[np.float64]:
    """The values of one parameter."""
    marginal = fit.problem.prior.marginals[column]
    if not marginal.lo <= lo < hi <= marginal.hi:
        raise ModelError(
            f"steppar: {marginal.name} from {lo:g} to {hi:g}; give lo < hi within its box "
            f"{marginal.lo:g}:{marginal.hi:g}, or widen that with --prior"
        )
    if steps < 1 or int(steps) != steps:
        raise ModelError(f"steppar: {marginal.name} in {steps:g} steps; give a whole number, at least 1")
    if log and lo <= 0:
        raise ModelError(f"steppar: logarithmic steps of {marginal.name} cannot start at {lo:g}; start above 0")
    make = np.geomspace if log else np.linspace
    axis: NDArray[np.float64] = make(lo, hi, int(steps) + 1)
    axis[0], axis[-1] = lo, hi
    return axis
