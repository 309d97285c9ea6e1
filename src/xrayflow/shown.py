"""What an answer shows of a problem of one source: XSPEC's statistic, the deviance, predicted counts, remarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.problem import Problem
from xrayflow.statistics import FitStatistic


@dataclass(frozen=True)
class Prediction:
    """What one data set of one source holds, and what draws of theta make of it.

    Attributes:
        energy_lo, energy_hi: (bin,) keV.
        counts: (bin,) observed.
        expected: (draw, bin) of the source model.
        total: (draw, bin) with the background.
        variance: (draw, bin) of the counts.
    """

    energy_lo: NDArray[np.float64]
    energy_hi: NDArray[np.float64]
    counts: NDArray[np.float64]
    expected: NDArray[np.float64]
    total: NDArray[np.float64]
    variance: NDArray[np.float64]


@dataclass(frozen=True)
class Value:
    """A statistic with its degrees of freedom and why it was chosen."""

    name: str
    value: float
    dof: int
    reason: str


def shown_at(problem: Problem, theta: Float[Tensor, " parameter"], asked: Problem | None = None) -> tuple[Value, Value]:
    """XSPEC's statistic of the bins asked for, and the deviance of the likelihood's.

    Args:
        problem: A batch of one.
        theta: The point.
        asked: The same in the bins asked for, of `as_asked`, where it is known already.
    """
    asked, here, data = problem.as_asked() if asked is None else asked, theta[None, None], problem.data
    shown = float(shown_statistic(asked, theta[None])[0])
    reasons = "; ".join(dict.fromkeys(one.choices[0].reason for one in data.sets))
    dof = int(asked.data.facts.bins[0]) - len(problem.model.free)
    deviance = float(data.deviance(problem.expected(here), here))
    own_dof = int(data.facts.bins[0]) - problem.parameters
    return (
        Value(data.statistic_names[0], shown, dof, reasons),
        Value("deviance", deviance, own_dof, data.rests_on.name),
    )


def shown_statistic(
    asked: Problem, theta: Float[Tensor, "draw parameter"], log_likelihood: Float[Tensor, " draw"] | None = None
) -> Float[Tensor, " draw"]:
    """XSPEC's statistic, as tables show it.

    Args:
        asked: A batch of one, in the bins asked for (`Problem.as_asked`).
        theta: The points.
        log_likelihood: There, in these very bins, where it is known: C is measured from the same number.
    """
    sets = asked.data.sets
    if log_likelihood is not None and all(one.likelihood.is_poisson and one.choices[0].name == "cstat" for one in sets):
        return 2.0 * (sum(one.likelihood.log_saturated()[0, 0] for one in sets) - log_likelihood)
    statistics = [FitStatistic.of(one.spectra, one.choices, float(one.likelihood.systematic[0, 0])) for one in sets]
    shown = []
    for piece in asked.pieces(theta[None]):
        value = torch.zeros(piece.shape[1], dtype=torch.float64)
        parts = asked.data.parts(asked.data.expected(piece), piece)
        for statistic, (_, part, _) in zip(statistics, parts, strict=True):
            value += statistic.value(part)[0]
        shown.append(value)
    return torch.cat(shown)


def predictions(
    problem: Problem, expected: Float[Tensor, "one draw bin"], theta: Float[Tensor, "one draw parameter"]
) -> tuple[Prediction, ...]:
    """What each data set holds, and what draws make of it.

    Args:
        problem: A batch of one.
        expected: Of `Problem.expected` at theta.
        theta: For its nuisances.
    """
    found = []
    for data, part, nuisance in problem.data.parts(expected, theta):
        spectrum, likelihood = data.spectra[0], data.likelihood
        bins = spectrum.counts.size
        total, variance = likelihood.moments(part, nuisance)
        found.append(
            Prediction(
                spectrum.energy_lo,
                spectrum.energy_hi,
                likelihood.counts[0, 0, :bins].numpy(),
                part[0, :, :bins].numpy(),
                total[0, :, :bins].numpy(),
                variance[0, :, :bins].numpy(),
            )
        )
    return tuple(found)


def remarks(problem: Problem) -> tuple[str, ...]:
    """What there is to say of the bins of a batch of one, and of its model."""
    outside = [
        f"{p.name} is held at {p.value:g}, where its prior would not go ({p.box[0]:g} .. {p.box[1]:g})"
        for p in problem.model.parameters
        if p.frozen and not p.is_switch and p.value != 0.0 and not p.box[0] <= p.value <= p.box[1]
    ]
    return (*(remark for data in problem.data.sets for remark in data.remarks), *outside)
