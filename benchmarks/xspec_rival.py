"""The paper's rival: fits and chains with the compiled XSPEC library, one spectrum at a time.

`TBabs` and `ezdiskbb` are the library's; simplcutx is not in XSPEC's distribution, so ours stands between them. The fit
is scipy's Levenberg-Marquardt within bounds, 130 iterations from one start: the likeliest of 36 places that people
begin from, with the norm matched to the counts. The chain is emcee's. Neither minimiser nor sampler nor components were
written here.

    f(theta) = sum of bins of XSPEC's statistic,        theta on axes, log10 where the prior is logarithmic
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

from xrayflow.errors import ModelError
from xrayflow.models.edges import EnergyBins
from xrayflow.models.simplcutx import bind_simplcutx
from xrayflow.models.xspec import XspecLibrary
from xrayflow.problem import Problem
from xrayflow.statistics import FitStatistic

Numbers = NDArray[np.float64]

ITERATIONS = 130
STARTS = (0.1, 1.0, 5.0), (1.7, 2.5), (0.02, 0.3), (0.2, 0.5, 1.0)
"""TBabs.nH, Gamma, FracSctr, T_max."""
STEP = 1e-4
WALKERS, BURN_IN, STEPS = 20, 150, 600


@dataclass(frozen=True)
class Chain:
    """A chain of one spectrum.

    Attributes:
        seconds: That it took.
        length: Draws of all walkers after the burn-in.
        burn_in: Draws of all walkers before.
        autocorrelation: Length, in draws of all walkers; the longest of all parameters.
    """

    seconds: float
    length: int
    burn_in: int
    autocorrelation: float

    def seconds_for(self, draws: int, spectra: int) -> float:
        """The paper's formula: (N tau + b) t / (L + b) x spectra."""
        each = (draws * self.autocorrelation + self.burn_in) * self.seconds / (self.length + self.burn_in)
        return each * spectra


class Rival:
    """One spectrum with the compiled library."""

    def __init__(self, library: XspecLibrary, problem: Problem) -> None:
        """What it needs.

        Args:
            library: The library's process.
            problem: Of one source; gives response, data, statistic and box.
        """
        (data,) = problem.data.sets
        self.library, self.fold, self.counts = library, data.forward.fold, data.spectra[0].counts
        self.statistic = FitStatistic.of(data.spectra, data.choices)
        self.edges = data.forward.grid.energy_edges
        self.scatter = bind_simplcutx(EnergyBins(torch.from_numpy(self.edges)))
        marginals = problem.prior.marginals
        self.logarithmic = np.array([one.scale == "log" for one in marginals])
        ends = np.array([(one.lo, one.hi) for one in marginals]).T
        self.lo, self.hi = np.where(self.logarithmic, np.log10(ends), ends)

    def theta(self, x: Numbers) -> Numbers:
        """(row, parameter) in the parameters' units, held in the box."""
        inside = np.clip(x, self.lo, self.hi)
        return np.where(self.logarithmic, 10.0 ** np.where(self.logarithmic, inside, 0.0), inside)

    def expected(self, theta: Numbers) -> torch.Tensor:
        """(1, row, bin) counts."""
        absorption, gamma, fraction, temperature, norm = theta.T
        disc = self.disc(temperature) * norm[:, None]
        photons = self.scatter(torch.from_numpy(disc), torch.from_numpy(gamma), torch.from_numpy(fraction), 0.0, 100.0)
        seen = photons.numpy() * self.library.call("TBabs", absorption[:, None], self.edges)
        return self.fold(torch.from_numpy(seen)[None])

    def disc(self, temperature: Numbers) -> Numbers:
        """(row, energy) of norm 1; zeros where the library's answer is no number, as for some cold discs at 1 MeV."""
        try:
            return self.library.call("ezdiskbb", temperature[:, None], self.edges)
        except ModelError:
            if temperature.size == 1:
                return np.zeros((1, self.edges.size - 1))
            return np.concatenate([self.disc(one) for one in temperature[:, None]])

    def per_bin(self, x: Numbers) -> Numbers:
        """(row, bin) signed roots of the statistic; a bin of PGStat that is negative counts nothing."""
        expected = self.expected(self.theta(np.atleast_2d(x)))
        value = self.statistic.per_bin(expected)[0].clamp(min=0.0).sqrt().numpy()
        excess = (self.counts > expected[0].numpy()) * 2.0 - 1.0
        return excess * value

    def value(self, x: Numbers) -> Numbers:
        """(row,) the statistic; infinite outside the box."""
        inside = ((x >= self.lo) & (x <= self.hi)).all(-1)
        found = self.statistic.value(self.expected(self.theta(x)))[0].numpy()
        return np.where(inside, found, np.inf)

    def start(self) -> Numbers:
        """The likeliest of a few places that people begin from, each with the norm that meets the counts."""
        grid = np.array(list(itertools.product(*STARTS)))
        theta = np.column_stack([grid, np.ones(len(grid))])
        theta[:, 4] = self.counts.sum() / self.expected(theta)[0].sum(-1).numpy().clip(min=1e-30)
        axes = np.where(self.logarithmic, np.log10(np.maximum(theta, 1e-30)), theta)
        inside = np.clip(axes, self.lo + 1e-6, self.hi - 1e-6)
        return np.asarray(inside[np.argmin(self.value(inside))])

    def fit(self) -> tuple[Numbers, float]:
        """Where 130 iterations end, and the seconds that they take."""

        def slopes(x: Numbers) -> Numbers:
            rows = np.vstack([x, x + STEP * np.eye(x.size)])
            values = self.per_bin(rows)
            return np.asarray((values[1:] - values[0]).T / STEP)

        started = time.perf_counter()
        # the form of Levenberg-Marquardt that knows bounds, as XSPEC's has pegged parameters
        found = least_squares(
            lambda x: self.per_bin(x)[0],
            self.start(),
            slopes,
            bounds=(self.lo, self.hi),
            x_scale="jac",
            max_nfev=ITERATIONS,
        )
        return self.theta(found.x[None])[0], time.perf_counter() - started

    def chain(self, theta: Numbers, seed: int) -> Chain:
        """A chain about a fit; needs emcee (`pip install 'xrayflow[check]'`)."""
        from emcee import EnsembleSampler

        rng = np.random.default_rng(seed)
        x = np.where(self.logarithmic, np.log10(theta), theta)
        first = np.clip(x + 1e-3 * rng.standard_normal((WALKERS, x.size)), self.lo + 1e-6, self.hi - 1e-6)
        sampler = EnsembleSampler(WALKERS, x.size, lambda rows: -0.5 * self.value(rows), vectorize=True)
        sampler.random_state = np.random.RandomState(seed).get_state()
        started = time.perf_counter()
        sampler.run_mcmc(first, BURN_IN + STEPS)
        seconds = time.perf_counter() - started
        # in steps of an ensemble; each step is a draw of every walker
        tau = float(np.max(sampler.get_autocorr_time(discard=BURN_IN, tol=0)))
        return Chain(seconds, STEPS * WALKERS, BURN_IN * WALKERS, tau)
