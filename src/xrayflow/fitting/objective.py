"""What the optimiser minimises, and the coordinates x in which it walks.

| objective | minimised |
|---|---|
| probit | -2 log posterior density in probit coordinates: its mode and curvature shape the proposal |
| scale | -2 log posterior density in each parameter's own scale: its mode is `best`; for a plain box the likelihood's |
| statistic | XSPEC's fit statistic: no prior but the edges of the box |

x is the place in the box, 0..1 along the parameter's own scale (logarithmic or linear). A best fit at an edge is
reached exactly there, and the expected counts bend less in x than in probit coordinates, which squeeze the edges
together.

An objective may be `pulled` to the middle of the prior: |v|^2 is added, v the probit coordinates. The pull keeps a
start from being stranded on an edge where the data do not care; "probit" has it by definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.folding import Fidelity
from xrayflow.prior import Box, Prior
from xrayflow.problem import Problem
from xrayflow.statistics import Curvature

OBJECTIVES = ("probit", "scale", "statistic")

FAR = 8.0
"""|v| is held below this, where the box's edge is reached to 1e-15."""

EDGE = 6e-16
"""A pulled goal keeps this distance from the edges, where |v| = 8."""

Rows = Float[Tensor, "row parameter"]


class Target(Protocol):
    """What a problem offers an optimiser: the target of many sources."""

    @property
    def prior(self) -> Prior:
        """The prior of theta."""
        ...

    @property
    def energies(self) -> int:
        """What a row of theta costs."""
        ...

    def log_likelihood(self, theta: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"]:
        """ln L."""
        ...

    def curvature(
        self, theta: Float[Tensor, "source draw parameter"], slope: Float[Tensor, "source draw parameter"]
    ) -> Curvature:
        """Gradient of ln L and Fisher's information in coordinates with a given d theta / d coordinate."""
        ...

    def at(self, fidelity: Fidelity) -> Self:
        """The same at another fidelity."""
        ...

    def softened(self, error: float) -> Self:
        """As if the model were off by a part of itself in every bin."""
        ...

    def is_sharp(self, error: float) -> Bool[Tensor, " source"]:
        """Whether starts of a source are led better there."""
        ...

    def select(self, sources: Int[Tensor, " chosen"]) -> Self:
        """Some of the sources."""
        ...


@dataclass(frozen=True)
class Objective:
    """An objective of many rows.

    Attributes:
        problem: One source per row; with XSPEC's statistics in the place of likelihoods for "statistic".
        kind: One of `OBJECTIVES`.
        pulled: Whether |v|^2 is added.
    """

    problem: Target
    kind: str
    pulled: bool

    @classmethod
    def of(cls, problem: Problem, kind: str) -> Objective:
        """The objective of a batch.

        Args:
            problem: The batch.
            kind: One of `OBJECTIVES`.
        """
        return cls(problem.of_statistic() if kind == "statistic" else problem, kind, kind == "probit")

    def pull(self) -> Objective:
        """The same objective, pulled; the prior's own normal marginals are in |v|^2 already."""
        return replace(self, kind="probit" if self.kind == "scale" else self.kind, pulled=True)

    def at(self, fidelity: Fidelity) -> Objective:
        """The same objective at another fidelity of the expected counts."""
        return replace(self, problem=self.problem.at(fidelity))

    def softened(self, error: float) -> Objective:
        """The same objective as if the model were off by a part of itself in every bin."""
        return replace(self, problem=self.problem.softened(error))

    def is_sharp(self, error: float) -> Bool[Tensor, " row"]:
        """Whether starts of a row's source are led better there."""
        return self.problem.is_sharp(error)

    def select(self, rows: Int[Tensor, " chosen"]) -> Objective:
        """The objective of some of the rows."""
        return replace(self, problem=self.problem.select(rows))

    @property
    def box(self) -> Box:
        """The prior's marginals as tensors."""
        return self.problem.prior.box

    @property
    def cost(self) -> int:
        """Elements of one row's work: how many rows fit into the processor's cache."""
        return self.problem.energies

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

    def in_probit(
        self, x: Rows, information: Float[Tensor, "row parameter parameter"]
    ) -> Float[Tensor, "row parameter parameter"]:
        """A curvature in x as one in probit coordinates."""
        slope = 1.0 / self.probit_slope(x).clamp(min=1e-300)
        return slope[..., :, None] * information * slope[..., None, :]

    def value(self, x: Rows) -> Float[Tensor, " row"]:
        """What is minimised."""
        data = -2.0 * self.problem.log_likelihood(self.to_theta(x)[:, None, :])[:, 0]
        return data + self.penalty(x)[0]

    def curvature(self, x: Rows) -> tuple[Rows, Float[Tensor, "row parameter parameter"]]:
        """Half the gradient and half the curvature in x, the latter by Fisher's information."""
        found = self.problem.curvature(self.to_theta(x)[:, None, :], self.theta_slope(x)[:, None, :])
        _, slope, bend = self.penalty(x)
        return slope - found.gradient[:, 0], found.information[:, 0] + torch.diag_embed(bend)

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
