"""Levenberg-Marquardt on many starts of many sources at once, in the prior's probit coordinates v.

There every parameter is unbounded, so no step is pegged at a limit, and the curvature of the prior keeps the normal
equations regular. A step solves (H + lambda diag H) dv = -g with Fisher's information as H:

    g = -J^T d ln p / d mu + penalty gradient,        H = J^T diag(1 / variance) J + penalty curvature.

The damping follows the ratio of the gained to the predicted decrease.

Two objectives share the loop: `probit` is -2 log posterior density in v (its mode and H shape the proposal), `scale` is
-2 log posterior density in each parameter's own scale (its mode is `best`; for a plain box the likelihood's maximum).

Source: Nielsen 1999, "Damping parameter in Marquardt's method" (IMM-REP-1999-05).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.prior import Prior
from xrayflow.problem import Problem

CANDIDATES = 64
"""Prior draws from which each start takes the likeliest."""

ITERATIONS = 60
TOLERANCE = 1e-3
"""A row stops when a step promises to lower -2 log posterior by less than this."""

LONGEST_STEP = 2.0
"""In probit units: two prior standard deviations."""

EDGE = 8.0
"""|v| is held below this, where the box's edge is reached to 1e-15."""

ROWS = 64
"""Rows that are evaluated together."""


@dataclass(frozen=True)
class Optima:
    """Where the starts ended.

    Attributes:
        v: (source, start, parameter) probit coordinates.
        objective: (source, start) -2 log posterior density, up to the same constant for all.
        information: (source, start, parameter, parameter) H at v.
        evaluations: Likelihood evaluations per source (a Jacobian counts as one for each parameter).
    """

    v: Float[Tensor, "source start parameter"]
    objective: Float[Tensor, "source start"]
    information: Float[Tensor, "source start parameter parameter"]
    evaluations: Int[Tensor, " source"]


def starting_points(problem: Problem, starts: int, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Independent starts: each is the likeliest of `CANDIDATES` prior draws, scaled to the observed counts.

    The expected counts are linear in the norms, so all norms of a draw are multiplied by the factor (within the box)
    that meets the observed total.

    Returns:
        (source, start, parameter) probit coordinates, and the evaluations per source.
    """
    shape = (starts * CANDIDATES, len(problem.prior.marginals))
    v = torch.stack([torch.randn(shape, generator=generator, dtype=torch.float64) for generator in generators])
    theta = problem.prior.to_theta(v)
    expected = problem.expected(theta)
    norms = [i for i, parameter in enumerate(problem.model.free) if parameter.is_norm]
    if norms:
        factor = _matching_factor(problem, theta, expected, norms)
        expected = expected * factor[..., None]
        theta = theta.clone()
        theta[..., norms] = theta[..., norms] * factor[..., None]
        v = problem.prior.to_probit(theta).clamp(-EDGE, EDGE)
    value = problem.noise.log_likelihood(expected).reshape(problem.sources, starts, CANDIDATES)
    value = torch.where(torch.isfinite(value), value, -torch.inf)
    best = value.argmax(-1)[..., None, None].expand(-1, -1, 1, v.shape[-1])
    chosen = v.reshape(problem.sources, starts, CANDIDATES, -1).gather(2, best)[:, :, 0]
    return chosen, torch.full((problem.sources,), shape[0])


def minimise(problem: Problem, starts: Float[Tensor, "source start parameter"], objective: str = "probit") -> Optima:
    """Run every start of every source to its optimum.

    Args:
        problem: The batch.
        starts: Probit coordinates.
        objective: "probit" or "scale", see the module's docstring.
    """
    sources, count, parameters = starts.shape
    source_of_row = torch.arange(sources).repeat_interleave(count)
    parts = [
        _Rows(problem.select(of), v[:, None, :], objective).run()
        for v, of in zip(starts.reshape(-1, parameters).split(ROWS), source_of_row.split(ROWS), strict=True)
    ]
    evaluations = torch.cat([part.evaluations for part in parts]).reshape(sources, count).sum(-1)
    return Optima(
        v=torch.cat([part.v for part in parts]).reshape(sources, count, parameters),
        objective=torch.cat([part.value for part in parts]).reshape(sources, count),
        information=torch.cat([part.hessian for part in parts]).reshape(sources, count, parameters, parameters),
        evaluations=evaluations,
    )


class _Rows:
    """The state of up to `ROWS` minimisations; a row is one start of one source, with a draw axis of length 1."""

    def __init__(self, problem: Problem, v: Float[Tensor, "row 1 parameter"], objective: str) -> None:
        rows, _, parameters = v.shape
        self.problem = problem
        self.objective = objective
        self.v = v.clamp(-EDGE, EDGE)
        self.gradient = v.new_zeros(rows, parameters)
        self.hessian = v.new_zeros(rows, parameters, parameters)
        self.evaluations = torch.zeros(rows, dtype=torch.int64)
        self.value = v.new_zeros(rows)
        self.damping = v.new_full((rows,), 1e-2)
        self.growth = v.new_full((rows,), 2.0)

    def run(self) -> _Rows:
        """Iterate until no row moves."""
        everything = torch.arange(self.v.shape[0])
        self.value = self._value(everything, self.v)
        self._linearise(everything)
        active = everything[torch.isfinite(self.value)]
        for _ in range(ITERATIONS):
            if active.numel() == 0:
                break
            step, promised = self._step(active)
            trial = (self.v[active, 0] + step).clamp(-EDGE, EDGE)[:, None, :]
            value = self._value(active, trial)
            gain = self.value[active] - value
            better = torch.isfinite(value) & (gain > 0)
            accepted = active[better]
            self.v[accepted] = trial[better]
            self.value[accepted] = value[better]
            self._damp(active, better, gain / promised.clamp(min=1e-300))
            finished = torch.where(better, promised < TOLERANCE, self.damping[active] > 1e8) | (
                promised < 1e-3 * TOLERANCE
            )
            self._linearise(accepted)
            active = active[~finished]
        return self

    def _damp(self, active: Tensor, better: Tensor, ratio: Tensor) -> None:
        """Nielsen's rule."""
        shrink = torch.clamp(1.0 - (2.0 * ratio - 1.0) ** 3, min=1.0 / 3.0, max=2.0)
        damping, growth = self.damping[active], self.growth[active]
        self.damping[active] = torch.where(better, (damping * shrink).clamp(min=1e-9), damping * growth)
        self.growth[active] = torch.where(better, 2.0, growth * 2.0)

    def _step(self, active: Tensor) -> tuple[Tensor, Tensor]:
        """The damped step and the decrease of the objective that its quadratic model promises."""
        hessian, gradient = self.hessian[active], self.gradient[active]
        diagonal = hessian.diagonal(dim1=-2, dim2=-1)
        damped = hessian + torch.diag_embed(self.damping[active, None] * diagonal + 1e-10)
        step = -torch.linalg.solve(damped, gradient[..., None])[..., 0]
        step = step * torch.clamp(LONGEST_STEP / step.abs().amax(-1, keepdim=True).clamp(min=1e-300), max=1.0)
        quadratic = (step[:, None, :] @ hessian @ step[..., None])[:, 0, 0]
        return step, -2.0 * (gradient * step).sum(-1) - quadratic

    def _value(self, rows: Tensor, v: Tensor) -> Tensor:
        problem = self.problem.select(rows)
        theta = problem.prior.to_theta(v)
        self.evaluations[rows] += 1
        return -2.0 * problem.log_likelihood(theta)[:, 0] + _penalty(problem.prior, v, self.objective)[0][:, 0]

    def _linearise(self, rows: Tensor) -> None:
        """Gradient (half of the objective's) and information at the rows' places."""
        if rows.numel() == 0:
            return
        problem = self.problem.select(rows)
        expected, jacobian = problem.linearised(self.v[rows])
        variance = problem.noise.variance(expected)
        weight = torch.where(variance > 0, 1.0 / variance.clamp(min=1e-300), 0.0)
        score = torch.where(variance > 0, problem.noise.score(expected), 0.0)
        _, slope, curvature = _penalty(problem.prior, self.v[rows], self.objective)
        jacobian = jacobian[:, 0]
        self.gradient[rows] = -(score[:, 0, :, None] * jacobian).sum(-2) + slope[:, 0]
        self.hessian[rows] = jacobian.mT @ (weight[:, 0, :, None] * jacobian) + torch.diag_embed(curvature[:, 0])
        self.evaluations[rows] += len(problem.prior.marginals)


def _penalty(prior: Prior, v: Tensor, objective: str) -> tuple[Tensor, Tensor, Tensor]:
    """-2 log prior density of the objective (up to a constant), half its gradient, half its curvature, per parameter."""
    if objective == "probit":
        return (v * v).sum(-1), v, torch.ones_like(v)
    theta, slope = prior.to_theta(v), prior.slope(v)
    normal = torch.tensor([marginal.mean is not None for marginal in prior.marginals])
    mean = torch.tensor([marginal.mean or 0.0 for marginal in prior.marginals], dtype=v.dtype)
    sd = torch.tensor([marginal.sd or 1.0 for marginal in prior.marginals], dtype=v.dtype)
    z = torch.where(normal, (theta - mean) / sd, 0.0)
    dz = torch.where(normal, slope / sd, 0.0)
    return (z * z).sum(-1), z * dz, dz * dz


def _matching_factor(problem: Problem, theta: Tensor, expected: Tensor, norms: list[int]) -> Tensor:
    """(source, draw) what all norms are multiplied by to meet the observed net counts, held in the box."""
    noise = problem.noise
    background = noise.total(torch.zeros_like(expected[:, :1]))[:, 0]
    net = ((noise.counts - background) * noise.used).sum(-1).clamp(min=1.0)
    factor = net[:, None] / expected.sum(-1).clamp(min=1e-300)
    lo = torch.tensor([problem.prior.marginals[i].lo for i in norms], dtype=theta.dtype)
    hi = torch.tensor([problem.prior.marginals[i].hi for i in norms], dtype=theta.dtype)
    norm = theta[..., norms]
    smallest = (lo / norm).amax(-1)
    largest = (hi / norm).amin(-1)
    return torch.minimum(torch.maximum(factor, smallest), largest)
