"""A density of the model's parameters, made one of the likelihood's nuisances too.

A network knows nothing of the nuisances, and the prior's own would hardly meet the data. What they are likely to be
when the parameters are known hangs on the expected counts mu alone:

    q(v, n) = q(v) t(n; n0 + H^-1 C (mu(v) - mu0), H^-1),      C = d score_n / d mu,

n0 and mu0 those of the best mode, H the information that the nuisances have there. The score is nearly linear in mu,
and mu far from linear in v: a middle that is linear in v is off by 1.3 of the nuisance's standard deviations in half
of the spectra with a background, this one by 0.03 (docs/decisions/0020-nuisances-follow-the-counts.md). mu is that of
the grid of searches. Far away the middle is held where it is `FARTHEST` widths from the mode.

Source: derived here; one step of Newton's method on the nuisances, linear in mu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.folding import EXACT, SEARCH
from xrayflow.inference.proposals.density import Density
from xrayflow.inference.proposals.student import log_student, root_of_inverse, student_scale
from xrayflow.problem import Problem

FARTHEST = 5.0
"""Standard deviations that the nuisances' middle moves with the parameters, at most."""

TOGETHER = 1024
"""Draws whose expected counts are held together."""

Own = Float[Tensor, "draw own"]


@dataclass(frozen=True)
class Nuisances:
    """The nuisances of one source when its parameters are known.

    Attributes:
        place: (nuisance,) where the mode has them.
        factor: (nuisance, nuisance) lower Cholesky factor of their covariance.
        width: (nuisance,) their standard deviations with the parameters free.
        moves: The parameters' v -> how far the middle has moved from `place`.
    """

    place: Float[Tensor, " nuisance"]
    factor: Float[Tensor, "nuisance nuisance"]
    width: Float[Tensor, " nuisance"]
    moves: Callable[[Own], Float[Tensor, "draw nuisance"]]

    @classmethod
    def of(cls, problem: Problem, source: int, place: Tensor, information: Tensor) -> Nuisances:
        """From a mode.

        Args:
            problem: The batch.
            source: Its number.
            place, information: Of the mode, nuisances last.
        """
        free = len(problem.model.free)
        factor = root_of_inverse(information[free:, free:])
        width = root_of_inverse(information).square().sum(-1).sqrt()[free:]
        moves: Callable[[Own], Tensor] = _Still(place.numel() - free)
        if bool(information[free:, :free].any()):
            # a corrected problem takes float32 for many draws: a draw's middle would depend on its company
            plain = problem.select(torch.tensor([source])).at(EXACT).at(SEARCH)
            moves = _Following(plain, place, factor @ factor.T)
        return cls(place[free:], factor, width, moves)

    def sample(self, v: Own, generator: torch.Generator) -> Float[Tensor, "draw nuisance"]:
        """Draws, one for each of the parameters'."""
        return self.middle(v) + self.scatter(v.shape[0], generator)

    def scatter(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw nuisance"]:
        """How far draws lie from where they are likeliest."""
        z = torch.randn((draws, self.place.numel()), generator=generator, dtype=torch.float64)
        return (z @ self.factor.T) * student_scale(draws, generator)[:, None]

    def log_density(self, v: Own, nuisance: Float[Tensor, "draw nuisance"]) -> Float[Tensor, " draw"]:
        """Natural log of the density that `sample` draws from."""
        white = torch.linalg.solve_triangular(self.factor, (nuisance - self.middle(v)).T, upper=False)
        return log_student(white.square().sum(0)[None, :, None], self.factor[None, None])[0, :, 0]

    def middle(self, v: Own) -> Float[Tensor, "draw nuisance"]:
        """Where they are likeliest."""
        farthest = FARTHEST * self.width
        return self.place + torch.maximum(torch.minimum(self.moves(v), farthest), -farthest)


@dataclass(frozen=True)
class WithNuisances:
    """Of one source.

    Attributes:
        own: Density of the model's parameters.
        nuisances: What follows them; the parts of a proposal have one together.
    """

    own: Density
    nuisances: Nuisances

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        v = self.own.sample(draws, generator)
        return torch.cat([v, self.nuisances.sample(v, generator)], dim=1)

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """Natural log of the density."""
        own, behind = self.split(v)
        return self.own.log_density(own) + self.nuisances.log_density(own, behind)

    def split(self, v: Float[Tensor, "draw parameter"]) -> tuple[Own, Float[Tensor, "draw nuisance"]]:
        """The model's parameters, and the nuisances."""
        count = self.nuisances.place.numel()
        return v[:, :-count], v[:, -count:]


@dataclass(frozen=True)
class _Still:
    """Nuisances that no expected count has a say in: the amplitude of calibration modes.

    Attributes:
        nuisances: How many.
    """

    nuisances: int

    def __call__(self, v: Own) -> Float[Tensor, "draw nuisance"]:
        return v.new_zeros((v.shape[0], self.nuisances))


class _Following:
    """How far the middle moves, by the expected counts; the places that were asked last are kept."""

    def __init__(self, problem: Problem, place: Tensor, covariance: Tensor) -> None:
        """From a mode.

        Args:
            problem: Of the source alone, on the grid of searches.
            place: (parameter,) the mode, nuisances last.
            covariance: (nuisance, nuisance) H^-1.
        """
        self.problem = problem
        theta = problem.prior.to_theta(place[None, None])
        expected = problem.expected(theta)
        free = len(problem.model.free)
        slopes = _score_slopes(problem, expected, theta) * problem.prior.slope(place[None, None])[0, 0, free:, None]
        self.weights = (covariance @ slopes).T
        self.start = expected[0, 0] @ self.weights
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, v: Own) -> Float[Tensor, "draw nuisance"]:
        """(draw, nuisance) from the mode; 0 where the model gives no number, and so no posterior.

        Args:
            v: The parameters'.
        """
        if self._last is None or not torch.equal(self._last[0], v):
            theta = self.problem.model_prior.to_theta(v)[None]
            parts = [self.problem.expected(part)[0] @ self.weights for part in torch.split(theta, TOGETHER, dim=1)]
            moved = torch.cat([*parts, v.new_zeros((0, self.weights.shape[1]))]) - self.start
            self._last = v.clone(), torch.where(torch.isfinite(moved), moved, 0.0)
        return self._last[1]


def _score_slopes(problem: Problem, expected: Tensor, theta: Tensor) -> Float[Tensor, "nuisance bin"]:
    """d score / d mu of the nuisances, in theta, by mean and variance of the counts.

    Args:
        problem: A batch of one.
        expected: (1, 1, bin) mu.
        theta: (1, 1, parameter) there, nuisances last.
    """
    free = len(problem.model.free)
    nothing = torch.zeros((1, expected.shape[-1], free), dtype=torch.float64)
    with torch.enable_grad():
        at = expected.detach().clone().requires_grad_(True)
        score = problem.data.score(at, theta, nothing)[0, 0, free:]
        rows = [torch.autograd.grad(one, at, retain_graph=True, allow_unused=True)[0] for one in score]
    return torch.stack([torch.zeros_like(at[0, 0]) if row is None else row[0, 0] for row in rows]).detach()
