"""XSPEC's `steppar`: the statistic on a grid of one or two parameters, all others fitted anew.

A whole grid is one call.

Source: XSPEC manual, `steppar`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from xrayflow.errors import ModelError
from xrayflow.fitting.fit import BestFit
from xrayflow.fitting.held import TOLERANCE, HasBestFit, HeldFits, column_of, fit_of

SWEEPS = 5
"""How often a grid hands the solutions of its points to their neighbours at most."""


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
    fit = fit_of(fit)
    columns = [column_of(fit, name) for name in asked]
    settings = [_each(setting, len(asked)) for setting in (lo, hi, steps, log)]
    axes = tuple(_axis(fit, column, *own) for column, *own in zip(columns, *settings, strict=True))
    grid = ParameterGrid(fit, columns, axes)
    grid.run()
    shape = tuple(axis.size for axis in axes)
    value = (grid.value + (fit.value - grid.fits.base)).reshape(shape)
    theta = grid.fits.goal.to_theta(grid.x).reshape(*shape, -1)
    return Profile(fit, tuple(fit.names[c] for c in columns), axes, value.numpy(), theta.numpy(), grid.fits.evaluations)


class ParameterGrid:
    """All points of a grid at once; then neighbours hand over their solutions until none gains."""

    def __init__(self, fit: BestFit, columns: Sequence[int], axes: Sequence[NDArray[np.float64]]) -> None:
        self.fits = HeldFits(fit)
        self.columns = list(columns)
        mesh = torch.meshgrid(*(torch.from_numpy(axis) for axis in axes), indexing="ij")
        theta = torch.from_numpy(fit.theta).expand(mesh[0].numel(), -1).clone()
        theta[:, self.columns] = torch.stack([part.reshape(-1) for part in mesh], dim=-1)
        self.place = self.fits.goal.from_theta(theta)[:, self.columns]
        self.number = torch.arange(mesh[0].numel()).reshape(mesh[0].shape)
        self.x = self.fits.best.expand(theta.shape[0], -1).clone()
        self.value = torch.full((theta.shape[0],), torch.inf, dtype=torch.float64)

    def run(self) -> None:
        """Fit every point from the best fit and from the quadratic approximation, then from its neighbours."""
        every = self.number.reshape(-1)
        gained = self._offer(every, self.fits.best.expand(every.numel(), -1))
        gained |= self._offer(every, self.fits.followed(self.columns, self.place))
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
        ends, value = self.fits.fitted(x, held)
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
