"""The fit that people know: the best of independent cold starts, with errors from Fisher's information."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.errors import DataError, XrayflowWarning, nearest
from xrayflow.fitting.corrected import centred
from xrayflow.fitting.minima import Minima
from xrayflow.fitting.multistart import find_minima
from xrayflow.fitting.objective import Objective
from xrayflow.fitting.starts import StartingProposal, starting_points
from xrayflow.folding import Grid
from xrayflow.models import Model
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.setup import APART, FitSetup, build_problem
from xrayflow.statistics import MODELLED_SCALE

OBJECTIVES = ("posterior", "statistic")

AT_LIMIT = 1e-9
"""Of the box: nearer to an edge than this is at it."""


@dataclass(frozen=True)
class BestFit:
    """Where one spectrum is fitted best.

    Attributes:
        problem: Of this spectrum alone.
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
    def goal(self) -> Objective:
        """What was minimised."""
        return Objective.of(self.problem, "statistic" if self.objective == "statistic" else "scale")

    def __str__(self) -> str:
        title = self.problem.of_statistic().data.rests_on.name if self.objective == "statistic" else "-2 log posterior"
        lines = [f"{self.problem.model.text}  {self.problem.data.facts.names[0]}"]
        for marginal, value, error, limit in zip(
            self.problem.prior.marginals, self.theta, self.errors, self.limits, strict=True
        ):
            text = f"at its {limit} limit" if limit else f"+- {error:.3g}"
            lines.append(f"  {marginal.name:<18} {value:>11.5g} {text} {marginal.unit}".rstrip())
        lines.append(f"  {title} = {self.value:.2f}, {self.dof} degrees of freedom")
        return "\n".join(lines)


def best_of(problem: Problem, objective: str, goal: Objective, ends: Minima, source: int) -> BestFit:
    """The lowest end of one source, with errors.

    Args:
        problem, objective: The batch, and "posterior" or "statistic".
        goal: What was minimised.
        ends: Where all starts of the batch ended.
        source: Its number.
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
    best, evaluations = float(value[at]), int(ends.evaluations[source])
    if objective == "posterior":
        evaluations += 1
        own = problem.select(torch.tensor([source]))
        log_posterior = own.log_likelihood(theta[None, None])[0, 0] + problem.prior.log_density(theta)
        best = -2.0 * float(log_posterior)
    return BestFit(
        problem=problem.select(torch.tensor([source])),
        objective=objective,
        theta=theta.numpy(),
        value=best,
        dof=int(problem.data.facts.bins[source]) - x.numel(),
        covariance=covariance.numpy(),
        limits=tuple("lower" if lo else "upper" if hi else "" for lo, hi in zip(lower, upper, strict=True)),
        converged=bool(ends.converged[source, at]),
        evaluations=evaluations,
    )


def optimise(
    observation: Observation,
    model: str | Model | None = None,
    prior: Iterable[str] | Prior | None = None,
    freeze: Mapping[str, float] | None = None,
    link: Mapping[str, str] | None = None,
    systematic: float | str | None = None,
    energies: Sequence[tuple[float, float]] | None = None,
    channels: tuple[int, int] | None = None,
    grouping: str | None = None,
    statistic: str = "auto",
    grid: Grid | None = None,
    objective: str = "posterior",
    starts: int = 8,
    seed: int = 0,
    abund: str | None = None,
    likelihood: str = "marginalised",
    background_scale: float = MODELLED_SCALE,
) -> BestFit:
    """The best fit of one spectrum, from independent cold starts.

    Args:
        observation: From `read_observation`.
        model, prior, freeze, link, systematic, energies, channels, grouping, statistic, grid: As `infer`.
        objective: "posterior" (the mode that `infer` calls best) or "statistic" (XSPEC's, as its `fit`; a systematic
            error has no place in it).
        starts: Independent starts.
        seed: The same seed and file give the same starts.
        abund: Abundances of the absorbers where the model is an expression.
        likelihood, background_scale: As `infer`.

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    setup = FitSetup(
        model=model,
        abund=abund,
        prior=prior,
        freeze=freeze,
        link=link,
        systematic=systematic,
        energies=energies,
        channels=channels,
        grouping=grouping,
        statistic=statistic,
        grid=grid,
        likelihood=likelihood,
        background_scale=background_scale,
    )
    return optimise_batch([observation], setup, objective, starts, seed)[0]


def optimise_batch(
    observations: Sequence[Observation],
    setup: FitSetup | None = None,
    objective: str = "posterior",
    starts: int = 8,
    seed: int = 0,
) -> list[BestFit]:
    """The best fits of spectra that share one RMF, found together.

    Args:
        observations: From `read_observation`, at least one.
        setup: What is asked of them.
        objective: "posterior" or "statistic", as in `optimise`.
        starts: Independent starts.
        seed: The same seed and file give the same starts.

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    setup = setup or FitSetup()
    parts = [observations[i : i + APART] for i in range(0, max(len(observations), 1), APART)]
    return [
        fit
        for part in parts
        for fit in optimise_problem(build_problem(part, setup, objective), objective, starts, seed)
    ]


def optimise_problem(
    problem: Problem,
    objective: str = "posterior",
    starts: int = 8,
    seed: int = 0,
    proposal: StartingProposal | None = None,
) -> list[BestFit]:
    """The best fit of each source of a problem.

    Args:
        problem: The batch.
        objective: "posterior" or "statistic".
        starts: Independent starts.
        seed: Of the starts, with each file's hash.
        proposal: What knows the answers roughly: some of the starts come from it, see `starting_points`.

    Raises:
        DataError: An unknown objective, or less than one start.
    """
    if objective not in OBJECTIVES:
        raise DataError(f"objective '{objective}' does not exist{nearest(objective, OBJECTIVES)}")
    if starts < 1:
        raise DataError(f"starts = {starts}: give at least one")
    if objective == "statistic" and bool((problem.data.facts.systematic > 0).any()):
        warnings.warn(
            "XSPEC's statistic has no place for --systematic; it is left out here, and the posterior has it",
            XrayflowWarning,
            stacklevel=3,
        )
    first, tried = starting_points(problem, starts, problem.generators(seed), proposal)
    goal = Objective.of(problem, "statistic" if objective == "statistic" else "scale")
    ends = find_minima(goal, goal.from_theta(problem.prior.to_theta(first)))
    ends = replace(ends, evaluations=ends.evaluations + tried)
    if objective == "posterior":
        leader = ends.x[torch.arange(problem.sources), ends.value.argmin(-1)]
        exact = centred(problem, problem.prior.to_probit(goal.to_theta(leader)))
        if exact is not problem:
            problem, goal = exact, Objective.of(exact, "scale")
            ends = replace(find_minima(goal, ends.x, coarse=False), evaluations=ends.evaluations)
    return [best_of(problem, objective, goal, ends, source) for source in range(problem.sources)]
