"""Posterior predictive check: would the model, at the posterior, give counts like the observed ones?

Two questions. The deviance: how often do counts simulated from posterior draws lie further from their model than the
observed ones do (a p-value)? And the shape: residuals summed over windows as wide as a detector's resolution, in
standard deviations, which find a line or an edge that the total deviance drowns.

Source: Gelman, Meng & Stern 1996, Statistica Sinica 6, 733 (posterior predictive p-value).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.problem import Problem

DRAWS = 250
REPLICATES = 4
"""Simulated data sets per posterior draw: 1000 in all, so p < 0.001 can be told."""

WINDOW = 0.06
"""Width of a residual window as a fraction of the energy (NICER resolves 0.1 keV at 1 keV, 0.14 at 6)."""

WINDOW_COUNTS = 25.0
"""A window grows until it expects this many counts: below, a sum of counts is not nearly normal."""


@dataclass(frozen=True)
class Predictive:
    """What the posterior predicts, and how the data compare.

    Attributes:
        p_value: Share of simulated data sets at least as far from their model as the data, (k + 1) / (n + 1).
        expected: (3, bin) 5 %, 50 % and 95 % quantile over draws of the expected source counts.
        total: (3, bin) the same with the background.
        deviation: (bin,) the window's residual around each bin, in standard deviations.
        excess: (bin,) the same residual as a fraction of the model in the window.
        energy: (bin,) keV, geometric middle of the bins.
    """

    p_value: float
    expected: NDArray[np.float64]
    total: NDArray[np.float64]
    deviation: NDArray[np.float64]
    excess: NDArray[np.float64]
    energy: NDArray[np.float64]


def check(problem: Problem, theta: Tensor, generator: torch.Generator) -> Predictive:
    """Compare the data of one source with what posterior draws predict.

    Args:
        problem: Of one source.
        theta: (draw, parameter) equally weighted posterior draws; `DRAWS` suffice.
        generator: For the simulated counts.
    """
    spectrum, noise = problem.spectra[0], problem.noise
    expected = problem.expected(theta[None])
    observed = noise.deviance(expected)[0]
    exceed = 0
    for _ in range(REPLICATES):
        counts = noise.sample(expected, generator)
        exceed += int((noise.deviance(expected, counts)[0] >= observed).sum())
    bins = spectrum.counts.size
    quantile = torch.tensor([0.05, 0.5, 0.95], dtype=expected.dtype)
    bands = torch.quantile(expected[0, :, :bins], quantile, dim=0)
    total = torch.quantile(noise.total(expected)[0, :, :bins], quantile, dim=0)
    energy = np.sqrt(spectrum.energy_lo * spectrum.energy_hi)
    deviation, excess = _windows(
        energy,
        noise.counts[0, :bins].numpy(),
        noise.total(expected)[0, :, :bins].mean(0).numpy(),
        noise.variance(expected)[0, :, :bins].mean(0).numpy(),
    )
    return Predictive(
        p_value=(exceed + 1) / (theta.shape[0] * REPLICATES + 1),
        expected=bands.numpy(),
        total=total.numpy(),
        deviation=deviation,
        excess=excess,
        energy=energy,
    )


def _windows(
    energy: NDArray[np.float64],
    counts: NDArray[np.float64],
    total: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residual of the window around each bin: in standard deviations, and as a fraction of the model."""
    running = np.concatenate([[0.0], np.cumsum(total)])
    middle = 0.5 * (running[1:] + running[:-1])
    lo = np.minimum(
        np.searchsorted(energy, energy * (1.0 - 0.5 * WINDOW)),
        np.searchsorted(running[1:], middle - 0.5 * WINDOW_COUNTS, side="right"),
    )
    hi = np.maximum(
        np.searchsorted(energy, energy * (1.0 + 0.5 * WINDOW), side="right"),
        np.searchsorted(running[:-1], middle + 0.5 * WINDOW_COUNTS, side="left"),
    )
    hi = np.clip(hi, 1, energy.size)
    lo = np.minimum(lo, hi - 1)

    def over(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        window: NDArray[np.float64] = sums[hi] - sums[lo]
        return window

    residual = over(counts - total)
    spread, model = over(variance), over(total)
    deviation = np.divide(residual, np.sqrt(spread), out=np.zeros_like(residual), where=spread > 0)
    excess = np.divide(residual, model, out=np.zeros_like(residual), where=model > 0)
    return deviation, excess
