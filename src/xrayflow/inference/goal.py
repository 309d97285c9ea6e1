"""What the optimiser minimises, and the coordinates x in which it walks.

| goal | minimised | x |
|---|---|---|
| probit | -2 log posterior density in probit coordinates: its mode and curvature shape the proposal | probit v |
| scale | -2 log posterior density in each parameter's own scale: its mode is `best` | place in the box |
| statistic | XSPEC's fit statistic: no prior but the edges of the box | place in the box |

In probit coordinates the prior keeps every row off the edges and the normal equations regular. The place in the box, 0..1
along the parameter's own scale, reaches an edge exactly, as a best fit may.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.inference.fit_statistic import FitStatistic
from xrayflow.problem import Problem
from xrayflow.statistics import Choice

GOALS = ("probit", "scale", "statistic")

EDGE = 8.0
"""|v| is held below this, where the box's edge is reached to 1e-15."""

Rows = Float[Tensor, "row parameter"]


@dataclass(frozen=True)
class Goal:
    """A goal of many rows: `problem` has one source per row.

    Attributes:
        problem: One source per row.
        kind: One of `GOALS`.
        statistic: XSPEC's, for the goal "statistic".
    """

    problem: Problem
    kind: str
    statistic: FitStatistic | None = None

    @classmethod
    def of(cls, problem: Problem, kind: str, choices: Sequence[Choice] = ()) -> Goal:
        """The goal of a batch.

        Args:
            problem: The batch.
            kind: One of `GOALS`.
            choices: The statistic of each source, for "statistic".
        """
        return cls(problem, kind, FitStatistic.of(problem.spectra, choices) if kind == "statistic" else None)

    @property
    def lo(self) -> float:
        """Smallest coordinate."""
        return -EDGE if self.kind == "probitv" else 6.3e-16 if self.kind == "probit" else 0.0

    @property
    def hi(self) -> float:
        """Largest coordinate."""
        return EDGE if self.kind == "probitv" else 1 - 6.7e-16 if self.kind == "probit" else 1.0

    @property
    def longest(self) -> float:
        """The most that a coordinate moves in one step: two prior standard deviations, or half the box."""
        return 2.0 if self.kind == "probitv" else 0.5

    @property
    def norms(self) -> list[int]:
        """Columns of theta that all expected counts are proportional to together; none where a box has negative norms."""
        columns = [i for i, parameter in enumerate(self.problem.model.free) if parameter.is_norm]
        every_norm_is_free = all(not p.frozen for p in self.problem.model.parameters if p.is_norm)
        positive = all(self.problem.prior.marginals[i].lo >= 0 for i in columns)
        return columns if every_norm_is_free and positive else []

    def select(self, rows: Int[Tensor, " chosen"]) -> Goal:
        """The goal of some of the rows."""
        statistic = None if self.statistic is None else self.statistic.select(rows)
        return replace(self, problem=self.problem.select(rows), statistic=statistic)

    def on(self, problem: Problem) -> Goal:
        """The same goal with another grid's problem."""
        return replace(self, problem=problem)

    def to_theta(self, x: Rows) -> Rows:
        """Coordinates -> parameters in their units."""
        if self.kind == "probitv":
            return self.problem.prior.to_theta(x)
        columns = []
        for i, marginal in enumerate(self.problem.prior.marginals):
            if marginal.scale == "log":
                value = marginal.lo * torch.exp(math.log(marginal.hi / marginal.lo) * x[..., i])
            else:
                value = marginal.lo + (marginal.hi - marginal.lo) * x[..., i]
            columns.append(value.clamp(marginal.lo, marginal.hi))
        return torch.stack(columns, dim=-1)

    def from_theta(self, theta: Rows) -> Rows:
        """Parameters -> coordinates, held in the box."""
        if self.kind == "probitv":
            return self.problem.prior.to_probit(theta).clamp(-EDGE, EDGE)
        columns = []
        for i, marginal in enumerate(self.problem.prior.marginals):
            if marginal.scale == "log":
                place = torch.log(theta[..., i] / marginal.lo) / math.log(marginal.hi / marginal.lo)
            else:
                place = (theta[..., i] - marginal.lo) / (marginal.hi - marginal.lo)
            columns.append(place.clamp(0.0, 1.0))
        return torch.stack(columns, dim=-1)

    def theta_slope(self, x: Rows) -> Rows:
        """d theta / d x."""
        if self.kind == "probitv":
            return self.problem.prior.slope(x)
        theta = self.to_theta(x)
        columns = [
            theta[..., i] * math.log(m.hi / m.lo) if m.scale == "log" else torch.full_like(x[..., i], m.hi - m.lo)
            for i, m in enumerate(self.problem.prior.marginals)
        ]
        return torch.stack(columns, dim=-1)

    def expected(self, x: Rows) -> Float[Tensor, "row bin"]:
        """Expected source counts."""
        return self.problem.expected(self.to_theta(x)[:, None, :])[:, 0]

    def linearised(self, x: Rows) -> tuple[Float[Tensor, "row bin"], Float[Tensor, "row bin parameter"]]:
        """Expected source counts and their Jacobian in x."""
        expected, jacobian = self.problem.jacobian(self.to_theta(x)[:, None, :])
        return expected[:, 0], jacobian[:, 0] * self.theta_slope(x)[:, None, :]

    def value(self, expected: Float[Tensor, "row bin"], x: Rows) -> Float[Tensor, " row"]:
        """What is minimised."""
        if self.statistic is not None:
            return self.statistic.value(expected[:, None])[:, 0]
        return -2.0 * self.problem.noise.log_likelihood(expected[:, None])[:, 0] + self._penalty(x)[0]

    def slopes(self, expected: Float[Tensor, "row bin"]) -> tuple[Tensor, Tensor]:
        """Slope of the goal's data part, d (-goal / 2) / d expected, and Fisher weight of each bin."""
        if self.statistic is not None:
            score, weight = self.statistic.slopes(expected[:, None])
            return score[:, 0], weight[:, 0]
        noise = self.problem.noise
        variance = noise.variance(expected[:, None])[:, 0]
        score = torch.where(variance > 0, noise.score(expected[:, None])[:, 0], 0.0)
        used = noise.used if noise.used.shape == variance.shape else torch.ones_like(variance)
        weight = torch.where(variance > 0, used / variance.clamp(min=1e-300), 0.0)
        return score, weight

    def penalty_slopes(self, x: Rows) -> tuple[Rows, Rows]:
        """Half the gradient and half the curvature of the prior's part."""
        return self._penalty(x)[1:]

    def norms_in_box(self, theta: Rows, log_factor: Float[Tensor, " row"]) -> Float[Tensor, " row"]:
        """The factor that all norms can take without leaving their boxes."""
        for i in self.norms:
            marginal = self.problem.prior.marginals[i]
            norm = theta[:, i].clamp(min=1e-300)
            least = torch.log(torch.full_like(norm, marginal.lo) / norm).clamp(max=0.0)
            most = torch.log(torch.full_like(norm, marginal.hi) / norm).clamp(min=0.0)
            log_factor = torch.minimum(torch.maximum(log_factor, least), most)
        return log_factor

    def with_norms(self, theta: Rows, x: Rows) -> Rows:
        """The coordinates x with the norms of theta."""
        moved = x.clone()
        moved[..., self.norms] = self.from_theta(theta)[..., self.norms]
        return moved

    def _penalty(self, x: Rows) -> tuple[Tensor, Rows, Rows]:
        """-2 log prior density (up to a constant), half its gradient, half its curvature, per coordinate."""
        if self.kind == "probitv":
            return (x * x).sum(-1), x, torch.ones_like(x)
        if self.kind == "probit":
            v = self.problem.prior.to_probit(self.to_theta(x)).clamp(-EDGE, EDGE)
            dv = self.theta_slope(x) / self.problem.prior.slope(v)
            return (v * v).sum(-1), v * dv, dv * dv
        if self.kind == "statistic":
            return x.new_zeros(x.shape[:-1]), torch.zeros_like(x), torch.zeros_like(x)
        theta, slope = self.to_theta(x), self.theta_slope(x)
        marginals = self.problem.prior.marginals
        normal = torch.tensor([marginal.mean is not None for marginal in marginals])
        mean = torch.tensor([marginal.mean or 0.0 for marginal in marginals], dtype=x.dtype)
        sd = torch.tensor([marginal.sd or 1.0 for marginal in marginals], dtype=x.dtype)
        z = torch.where(normal, (theta - mean) / sd, 0.0)
        dz = torch.where(normal, slope / sd, 0.0)
        return (z * z).sum(-1), z * dz, dz * dz
