"""A best fit: what `optimise` returns, with errors from Fisher's information."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.inference.goal import Goal
from xrayflow.problem import Problem
from xrayflow.statistics import Choice

AT_LIMIT = 1e-9
"""Of the box: nearer to an edge than this is at it."""


@dataclass(frozen=True)
class Ends:
    """Where the starts of a batch ended.

    Attributes:
        x: (source, start, parameter) place in the box.
        value: (source, start) of the goal; infinite where a start has none.
        information: (source, start, parameter, parameter) half its curvature at x.
        converged: (source, start).
        evaluations: (source,).
    """

    x: Float[Tensor, "source start parameter"]
    value: Float[Tensor, "source start"]
    information: Float[Tensor, "source start parameter parameter"]
    converged: Bool[Tensor, "source start"]
    evaluations: Int[Tensor, " source"]


@dataclass(frozen=True)
class BestFit:
    """Where one spectrum is fitted best.

    Attributes:
        problem: Of this spectrum alone.
        choice: XSPEC's statistic for it.
        objective: What was minimised: "posterior" or "statistic".
        theta: (parameter,) free parameters in the prior's order and their units.
        value: The statistic, or -2 log posterior density per unit of each parameter's own scale.
        dof: Noticed bins - free parameters.
        covariance: (parameter, parameter) inverse of Fisher's information in the parameters' units; nan where a
            parameter sits at a limit, inf where the data do not tell it.
        limits: Per parameter "lower" or "upper" where it sits at that edge of its box, else "".
        converged: Whether the last step promised less than `TOLERANCE`.
        evaluations: Likelihood evaluations, those of all starts.
    """

    problem: Problem
    choice: Choice
    objective: str
    theta: NDArray[np.float64]
    value: float
    dof: int
    covariance: NDArray[np.float64]
    limits: tuple[str, ...]
    converged: bool
    evaluations: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the free parameters, XSPEC's: `TBabs.nH`."""
        return self.problem.prior.names

    @property
    def errors(self) -> NDArray[np.float64]:
        """(parameter,) square roots of the covariance's diagonal; nan where rounding left it below 0."""
        variance = np.diag(self.covariance)
        root: NDArray[np.float64] = np.sqrt(np.where(variance >= 0, variance, np.nan))
        return root

    @property
    def goal(self) -> Goal:
        """What was minimised."""
        return Goal.of(self.problem, "statistic" if self.objective == "statistic" else "scale", [self.choice])

    def __str__(self) -> str:
        title = self.choice.name if self.objective == "statistic" else "-2 log posterior"
        lines = [f"{self.problem.model.text}  {self.problem.spectra[0].observation.pha.path.name}"]
        for marginal, value, error, limit in zip(
            self.problem.prior.marginals, self.theta, self.errors, self.limits, strict=True
        ):
            text = f"at its {limit} limit" if limit else f"+- {error:.3g}"
            lines.append(f"  {marginal.name:<18} {value:>11.5g} {text} {marginal.unit}".rstrip())
        lines.append(f"  {title} = {self.value:.2f}, {self.dof} degrees of freedom")
        return "\n".join(lines)


def best_of(
    problem: Problem, choices: Sequence[Choice], objective: str, goal: Goal, ends: Ends, source: int
) -> BestFit:
    """The lowest end of one source, with errors.

    Args:
        problem, choices, objective: Of the batch.
        goal: What was minimised.
        ends: Of all sources.
        source: Which.
    """
    value = ends.value[source]
    at = int(value.argmin())
    x = ends.x[source, at]
    lower, upper = x <= AT_LIMIT, x >= 1.0 - AT_LIMIT
    free = (~(lower | upper)).nonzero()[:, 0]
    covariance = torch.full((x.numel(), x.numel()), torch.nan, dtype=x.dtype)
    inverse, failed = torch.linalg.inv_ex(ends.information[source, at][free[:, None], free])
    inverse = torch.where(failed > 0, torch.inf, inverse)
    slope = goal.theta_slope(x)[free]
    covariance[free[:, None], free] = slope[:, None] * inverse * slope
    theta = goal.to_theta(x)
    best = float(value[at])
    if objective == "posterior":
        own = problem.select(torch.tensor([source]))
        log_posterior = own.log_likelihood(theta[None, None])[0, 0] + problem.prior.log_density(theta)
        best = -2.0 * float(log_posterior)
    return BestFit(
        problem=problem.select(torch.tensor([source])),
        choice=choices[source],
        objective=objective,
        theta=theta.numpy(),
        value=best,
        dof=problem.spectra[source].counts.size - x.numel(),
        covariance=covariance.numpy(),
        limits=tuple("lower" if lo else "upper" if hi else "" for lo, hi in zip(lower, upper, strict=True)),
        converged=bool(ends.converged[source, at]),
        evaluations=int(ends.evaluations[source]),
    )
