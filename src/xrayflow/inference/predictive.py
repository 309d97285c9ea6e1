"""Posterior predictive check: would the model, at the posterior, give counts like the observed ones?

Two questions. The deviance: how often do counts simulated from posterior draws lie further from their model than the
observed ones do (a p-value)? And the shape: residuals summed over windows as wide as a detector's resolution, in
standard deviations, which find a line or an edge that the total deviance drowns.

The posterior was drawn to the observed counts and not to the simulated ones. Where bins hold few counts the deviance is
nearly a function of what the posterior follows, such as the number of all counts, and then no observation is far from
its posterior: p gathers at 0.5. So what the score s = d ln L / d theta tells of the deviance is taken away from both,

    T(counts, theta) = deviance - s . b,        b = Cov(s)^-1 Cov(s, deviance) over simulated counts,

which makes p uniform under the model; of many counts, b vanishes.

Source: Gelman, Meng & Stern 1996, Statistica Sinica 6, 733 (posterior predictive p-value); Robins, van der Vaart &
Ventura 2000, JASA 95, 1143 (why it is not uniform, and that a discrepancy uncorrelated with the score is).
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

SLOPES = 25
"""Draws that the derivatives of the expected counts are averaged over."""

WINDOW = 0.06
"""Width of a residual window as a fraction of the energy (NICER resolves 0.1 keV at 1 keV, 0.14 at 6)."""

WINDOW_COUNTS = 25.0
"""A window grows until it expects this many counts: below, a sum of counts is not nearly normal."""


@dataclass(frozen=True)
class Predictive:
    """What the posterior predicts, and how the data compare.

    Attributes:
        p_value: Share of simulated data sets at least as far from their model as the data, (k + 1) / (n + 1).
        expected: (3, bin asked for) 5 %, 50 % and 95 % quantile over draws of the expected source counts.
        total: (3, bin asked for) the same with the background.
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


def check(problem: Problem, asked: Problem, theta: Tensor, generator: torch.Generator) -> Predictive:
    """Compare the data of one source with what posterior draws predict.

    Args:
        problem: Of one source.
        asked: The same in the bins that were asked for, in which figures show the prediction.
        theta: (draw, parameter) equally weighted posterior draws; `DRAWS` suffice.
        generator: For the simulated counts.
    """
    spectrum, noise = problem.spectra[0], problem.noise
    expected = problem.expected(theta[None])
    # a mean slope serves all draws: the score's mean is 0 with any
    slope = problem.jacobian(theta[None, :: max(theta.shape[0] // SLOPES, 1)])[1][0].mean(0)

    def distance(counts: Tensor | None) -> tuple[Tensor, Tensor]:
        """(draw,) deviance and (draw, parameter) score."""
        per_bin = torch.where(noise.variance(expected) > 0, noise.score(expected, counts), 0.0)
        return noise.deviance(expected, counts)[0], per_bin[0] @ slope

    observed, own = distance(None)
    simulated = [distance(noise.sample(expected, generator)) for _ in range(REPLICATES)]
    deviance, score = (torch.stack(part) for part in zip(*simulated, strict=True))
    told = _told_by_score(deviance, score)
    exceed = int((deviance - score @ told >= observed - own @ told).sum())
    bins = spectrum.counts.size
    shown = expected if asked is problem else asked.expected(theta[None])
    own_bins = slice(asked.spectra[0].counts.size)
    quantile = torch.tensor([0.05, 0.5, 0.95], dtype=expected.dtype)
    bands = torch.quantile(shown[0, :, own_bins], quantile, dim=0)
    total = torch.quantile(asked.noise.total(shown)[0, :, own_bins], quantile, dim=0)
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


def _told_by_score(deviance: Tensor, score: Tensor) -> Tensor:
    """(parameter,) b: least squares of the deviance, less its mean at each draw, on the score.

    Args:
        deviance: (replicate, draw) of simulated counts.
        score: (replicate, draw, parameter); its mean is 0 at each draw.
    """
    parameters = score.shape[-1]
    centred = (deviance - deviance.mean(0)).reshape(-1)
    flat = (score - score.mean(0)).reshape(-1, parameters)
    scale = flat.square().mean(0).sqrt().clamp(min=1e-300)
    solution: Tensor = torch.linalg.lstsq(flat / scale, centred[:, None], driver="gelsd").solution
    return solution[:, 0] / scale


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
