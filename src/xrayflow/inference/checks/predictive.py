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

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.joint_data import JointData
from xrayflow.models import additive_components
from xrayflow.problem import Problem
from xrayflow.shown import predictions

DRAWS = 250
REPLICATES = 4
"""Simulated data sets per posterior draw, where one of each leaves p near a limit: 1000 in all, so that p < 0.001 can
be told."""

CLEAR = 0.06
"""A p above this from one simulated data set per draw is not going to be below 0.01."""

SLOPES = 25
"""Draws that the derivatives of the expected counts are averaged over."""

COMPONENT_DRAWS = 50
"""Draws that the medians of components are told from."""

WINDOW = 0.06
"""Width of a residual window as a fraction of the energy (NICER resolves 0.1 keV at 1 keV, 0.14 at 6)."""

WINDOW_COUNTS = 25.0
"""A window grows until it expects this many counts: below, a sum of counts is not nearly normal."""


@dataclass(frozen=True)
class Predictive:
    """What the posterior predicts, and how the data compare; bins of several data sets stand end to end.

    Attributes:
        p_value: Share of simulated data sets at least as far from their model as the data, (k + 1) / (n + 1).
        energy_lo, energy_hi: (bin asked for,) keV.
        counts: (bin asked for,) as the likelihood sees them: less the background where that is subtracted.
        expected: (3, bin asked for) 5 %, 50 % and 95 % quantile over draws of the expected source counts.
        total: (3, bin asked for) the same with the background.
        variance: (bin asked for,) of the counts at the median; `data_variance` what it is without a source.
        window_lo, window_hi: (bin,) keV, ends of the window around each of the likelihood's bins.
        deviation: (bin,) the window's residual around each bin, in standard deviations.
        excess: (bin,) the same residual as a fraction of the model in the window.
        energy: (bin,) keV, geometric middle of the likelihood's bins.
        total68: (2, bin asked for) 16 % and 84 % quantile of the expected counts with the background; empty in answers
            of older versions.
        components: (bin asked for,) median over draws of the expected counts of each additive component, by name; none
            where there is one alone.
    """

    p_value: float
    energy_lo: NDArray[np.float64]
    energy_hi: NDArray[np.float64]
    counts: NDArray[np.float64]
    expected: NDArray[np.float64]
    total: NDArray[np.float64]
    variance: NDArray[np.float64]
    data_variance: NDArray[np.float64]
    window_lo: NDArray[np.float64]
    window_hi: NDArray[np.float64]
    deviation: NDArray[np.float64]
    excess: NDArray[np.float64]
    energy: NDArray[np.float64]
    total68: NDArray[np.float64] = field(default_factory=lambda: np.empty((2, 0)))
    components: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def check(problem: Problem, theta: Tensor, generator: torch.Generator, asked: Problem | None = None) -> Predictive:
    """Compare the data of one source with what posterior draws predict.

    Args:
        problem: A batch of one.
        theta: (draw, parameter) equally weighted posterior draws; `DRAWS` suffice.
        generator: For the simulated counts.
        asked: The same in the bins that were asked for, as `as_asked` makes it where it is not given.
    """
    here = problem.data.as_judged(theta[None])
    expected = problem.expected(here)
    # a mean slope serves all draws: the score's mean is 0 with any
    slope = problem.data.mean_jacobian(here[:, :: max(theta.shape[0] // SLOPES, 1)])

    def distance(data: JointData) -> tuple[Tensor, Tensor]:
        """(draw,) deviance and (draw, parameter) score."""
        return data.deviance(expected, here)[0], data.score(expected, here, slope)[0]

    observed, own = distance(problem.data)
    simulated, p_value = [], 0.0
    for _ in range(REPLICATES):
        simulated.append(distance(problem.data.replicate(expected, here, generator)))
        deviance, score = (torch.stack(part) for part in zip(*simulated, strict=True))
        told = _told_by_score(deviance, score)
        exceed = int((deviance - score @ told >= observed - own @ told).sum())
        p_value = (exceed + 1) / (deviance.numel() + 1)
        if p_value > CLEAR:
            break
    asked = problem.as_asked() if asked is None else asked
    shown = expected if asked is problem else asked.expected(here)
    bands, windows = _shown(asked, shown, here), _compared(problem, expected, here)
    return Predictive(p_value=p_value, **bands, **windows, components=_components(asked, here))


def _shown(asked: Problem, expected: Tensor, theta: Tensor) -> dict[str, NDArray[np.float64]]:
    """Bands and errors in the bins that were asked for."""
    median, middle = (torch.from_numpy(np.median(of.numpy(), axis=1, keepdims=True)) for of in (expected, theta))
    parts = []
    for one, at_median, without in zip(
        predictions(asked, expected, theta),
        predictions(asked, median, middle),
        predictions(asked, torch.zeros_like(median), middle),
        strict=True,
    ):
        total = np.quantile(one.total, (0.05, 0.16, 0.5, 0.84, 0.95), axis=0)
        parts.append(
            {
                "energy_lo": one.energy_lo,
                "energy_hi": one.energy_hi,
                "counts": one.counts,
                "expected": np.quantile(one.expected, (0.05, 0.5, 0.95), axis=0),
                "total": total[::2],
                "total68": total[1::2],
                "variance": at_median.variance[0],
                "data_variance": without.variance[0],
            }
        )
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def _components(asked: Problem, theta: Tensor) -> dict[str, NDArray[np.float64]]:
    """Medians of what each additive component gives, where there are several."""
    if len(additive_components(asked.model)) < 2:
        return {}
    found = asked.components(theta[:, :: max(theta.shape[1] // COMPONENT_DRAWS, 1)])
    return {name: np.median(counts[0].numpy(), axis=0) for name, counts in found.items()}


def _compared(problem: Problem, expected: Tensor, theta: Tensor) -> dict[str, NDArray[np.float64]]:
    """Residuals in windows of the likelihood's bins."""
    parts = []
    for one in predictions(problem, expected, theta):
        energy = np.sqrt(one.energy_lo * one.energy_hi)
        deviation, excess, first, last = _windows(energy, one.counts, one.total.mean(0), one.variance.mean(0))
        # channels may descend, as a grating's
        ends = one.energy_lo[first], one.energy_hi[first], one.energy_lo[last], one.energy_hi[last]
        parts.append((np.min(ends, axis=0), np.max(ends, axis=0), deviation, excess, energy))
    names = ("window_lo", "window_hi", "deviation", "excess", "energy")
    return {name: np.concatenate(columns) for name, columns in zip(names, zip(*parts, strict=True), strict=True)}


def _told_by_score(deviance: Tensor, score: Tensor) -> Tensor:
    """(parameter,) b: least squares of the deviance, less its mean, on the score.

    Args:
        deviance: (replicate, draw) of simulated counts.
        score: (replicate, draw, parameter); its mean is 0 at each draw.
    """
    parameters = score.shape[-1]
    centred = (deviance - deviance.mean()).reshape(-1)
    flat = score.reshape(-1, parameters)
    scale = flat.square().mean(0).sqrt().clamp(min=1e-300)
    solution: Tensor = torch.linalg.lstsq(flat / scale, centred[:, None], driver="gelsd").solution
    return solution[:, 0] / scale


def _windows(
    energy: NDArray[np.float64],
    counts: NDArray[np.float64],
    total: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Residual of the window around each bin in standard deviations, and as a fraction of the model; its end bins."""
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
    return deviation, excess, lo, hi - 1
