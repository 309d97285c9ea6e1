"""What the optimiser minimises, and the coordinates x in which it walks.

| goal | minimised |
|---|---|
| probit | -2 log posterior density in probit coordinates: its mode and curvature shape the proposal |
| scale | -2 log posterior density in each parameter's own scale: its mode is `best`; for a plain box the likelihood's |
| statistic | XSPEC's fit statistic: no prior but the edges of the box |

x is the place in the box, 0..1 along the parameter's own scale (logarithmic or linear). A best fit at an edge is
reached exactly there, and the expected counts bend less in x than in probit coordinates, which squeeze the edges
together.

A goal may be `pulled` to the middle of the prior: |v|^2 is added, v the probit coordinates. The pull keeps a start from
being stranded on an edge where the data do not care; "probit" has it by definition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.errors import DataError
from xrayflow.inference.fit_statistic import FitStatistic
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.statistics import Choice

GOALS = ("probit", "scale", "statistic")

FAR = 8.0
"""|v| is held below this, where the box's edge is reached to 1e-15."""

EDGE = 6e-16
"""A pulled goal keeps this distance from the edges, where |v| = 8."""

Rows = Float[Tensor, "row parameter"]


@dataclass(frozen=True)
class Box:
    """The prior's marginals as tensors (parameter,).

    Attributes:
        lo, hi: Edges.
        is_log: Whether the scale is logarithmic.
        log_ratio: ln(hi / lo) there, 1 elsewhere.
        is_normal: Whether the marginal is a normal cut to the box.
        mean, sd: Of the normal; 0 and 1 elsewhere.
    """

    lo: Tensor
    hi: Tensor
    is_log: Tensor
    log_ratio: Tensor
    is_normal: Tensor
    mean: Tensor
    sd: Tensor

    @classmethod
    def of(cls, prior: Prior) -> Box:
        """The box of a prior."""

        def row(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64)

        marginals = prior.marginals
        return cls(
            row([m.lo for m in marginals]),
            row([m.hi for m in marginals]),
            torch.tensor([m.scale == "log" for m in marginals]),
            row([math.log(m.hi / m.lo) if m.scale == "log" else 1.0 for m in marginals]),
            torch.tensor([m.mean is not None for m in marginals]),
            row([m.mean or 0.0 for m in marginals]),
            row([m.sd or 1.0 for m in marginals]),
        )


@dataclass(frozen=True)
class Goal:
    """A goal of many rows.

    Attributes:
        problem: One source per row.
        kind: One of `GOALS`.
        pulled: Whether |v|^2 is added.
        box: Of the problem's prior.
        statistic: XSPEC's, for the goal "statistic".
    """

    problem: Problem
    kind: str
    pulled: bool
    box: Box
    statistic: FitStatistic | None = None

    @classmethod
    def of(cls, problem: Problem, kind: str, choices: Sequence[Choice] = ()) -> Goal:
        """The goal of a batch.

        Args:
            problem: The batch.
            kind: One of `GOALS`.
            choices: The statistic of each source, for "statistic".

        Raises:
            DataError: The statistic of bins that were not asked for.
        """
        if kind == "statistic" and any(spectrum.shown is not None for spectrum in problem.spectra):
            raise DataError("XSPEC's statistic is of the bins asked for; build the problem for objective 'statistic'")
        statistic = FitStatistic.of(problem.spectra, choices) if kind == "statistic" else None
        return cls(problem, kind, kind == "probit", Box.of(problem.prior), statistic)

    def pull(self) -> Goal:
        """The same goal, pulled; the prior's own normal marginals are in |v|^2 already."""
        return replace(self, kind="probit" if self.kind == "scale" else self.kind, pulled=True)

    def on(self, problem: Problem) -> Goal:
        """The same goal on another energy grid."""
        return replace(self, problem=problem)

    def select(self, rows: Int[Tensor, " chosen"]) -> Goal:
        """The goal of some of the rows."""
        statistic = None if self.statistic is None else self.statistic.select(rows)
        return replace(self, problem=self.problem.select(rows), statistic=statistic)

    @property
    def lo(self) -> float:
        """Smallest coordinate."""
        return EDGE if self.pulled else 0.0

    @property
    def hi(self) -> float:
        """Largest coordinate."""
        return 1.0 - EDGE if self.pulled else 1.0

    def to_theta(self, x: Rows) -> Rows:
        """Coordinates -> parameters in their units."""
        box = self.box
        growing = torch.exp(box.log_ratio * x)
        theta = torch.where(box.is_log, box.lo * growing, box.lo + (box.hi - box.lo) * x)
        return torch.clamp(theta, box.lo, box.hi)

    def from_theta(self, theta: Rows) -> Rows:
        """Parameters -> coordinates, held in the box."""
        box = self.box
        on_log = torch.log(theta / torch.where(box.is_log, box.lo, theta)) / box.log_ratio
        return torch.where(box.is_log, on_log, (theta - box.lo) / (box.hi - box.lo)).clamp(0.0, 1.0)

    def theta_slope(self, x: Rows) -> Rows:
        """d theta / d x."""
        box = self.box
        return torch.where(box.is_log, self.to_theta(x) * box.log_ratio, (box.hi - box.lo).expand_as(x))

    def to_probit(self, x: Rows) -> Rows:
        """Coordinates -> probit coordinates of the prior; the place in a plain box is its own distribution function."""
        v = torch.clamp(torch.special.ndtri(x), -FAR, FAR)
        if bool(self.box.is_normal.any()):
            v = torch.where(self.box.is_normal, self.problem.prior.to_probit(self.to_theta(x)).clamp(-FAR, FAR), v)
        return v

    def probit_slope(self, x: Rows) -> Rows:
        """d v / d x."""
        v = self.to_probit(x)
        slope = math.sqrt(2.0 * math.pi) * torch.exp(0.5 * v * v)
        if bool(self.box.is_normal.any()):
            normal = self.theta_slope(x) / self.problem.prior.slope(v).clamp(min=1e-300)
            slope = torch.where(self.box.is_normal, normal, slope)
        return slope

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
            data = self.statistic.value(expected[:, None])[:, 0]
        else:
            data = -2.0 * self.problem.noise.log_likelihood(expected[:, None])[:, 0]
        return data + self.penalty(x)[0]

    def slopes(self, expected: Float[Tensor, "row bin"]) -> tuple[Tensor, Tensor]:
        """Slope of the goal's data part, d (-goal / 2) / d expected, and Fisher weight of each bin."""
        if self.statistic is not None:
            score, weight = self.statistic.slopes(expected[:, None])
            return score[:, 0], weight[:, 0]
        noise = self.problem.noise
        variance = noise.variance(expected[:, None])[:, 0]
        known = (variance > 0) & (noise.used > 0)
        score = torch.where(known, noise.score(expected[:, None])[:, 0], 0.0)
        return score, torch.where(known, 1.0 / variance.clamp(min=1e-300), 0.0)

    def penalty(self, x: Rows) -> tuple[Float[Tensor, " row"], Rows, Rows]:
        """What stands beside the data: its value (up to a constant), half its gradient, half its curvature."""
        if self.pulled:
            v, slope = self.to_probit(x), self.probit_slope(x)
            return (v * v).sum(-1), v * slope, slope * slope
        if self.kind == "statistic":
            return x.new_zeros(x.shape[:-1]), torch.zeros_like(x), torch.zeros_like(x)
        box = self.box
        z = torch.where(box.is_normal, (self.to_theta(x) - box.mean) / box.sd, 0.0)
        slope = torch.where(box.is_normal, self.theta_slope(x) / box.sd, 0.0)
        return (z * z).sum(-1), z * slope, slope * slope
