"""The loop under every optimiser, on functions whose minima are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear, minimize
from torch import Tensor

from xrayflow.fitting import LevenbergMarquardt


@dataclass(frozen=True)
class Quadratic:
    """(x - middle)' H (x - middle) of each row, in a box."""

    middle: Tensor
    half: Tensor
    lo: float = 0.0
    hi: float = 1.0
    cost: int = 10
    calls: dict[str, int] = field(default_factory=lambda: {"value": 0, "curvature": 0})

    def value(self, x: Tensor) -> Tensor:
        """The function."""
        self.calls["value"] += x.shape[0]
        off = x - self.middle
        return torch.einsum("ri,rij,rj->r", off, self.half, off)

    def curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Half its gradient, half its curvature."""
        self.calls["curvature"] += x.shape[0]
        return torch.einsum("rij,rj->ri", self.half, x - self.middle), self.half

    def select(self, rows: Tensor) -> Quadratic:
        """Some of the rows."""
        return Quadratic(self.middle[rows], self.half[rows], self.lo, self.hi, self.cost, self.calls)


@dataclass(frozen=True)
class Rosenbrock:
    """(1 - a)^2 + 100 (b - a^2)^2, with a, b = 4 x - 2; curvature by Gauss and Newton."""

    lo: float = 0.0
    hi: float = 1.0
    cost: int = 10

    def residuals(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(row, 2) and their slopes in x."""
        a, b = (4.0 * x - 2.0).unbind(-1)
        zero = torch.zeros_like(a)
        slope = torch.stack([torch.stack([-1.0 + zero, zero], -1), torch.stack([-20.0 * a, 10.0 + zero], -1)], -2)
        return torch.stack([1.0 - a, 10.0 * (b - a * a)], -1), 4.0 * slope

    def value(self, x: Tensor) -> Tensor:
        """The function."""
        return self.residuals(x)[0].square().sum(-1)

    def curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Half its gradient, half its curvature."""
        residual, slope = self.residuals(x)
        return (slope.mT @ residual[..., None])[..., 0], slope.mT @ slope

    def select(self, rows: Tensor) -> Rosenbrock:
        """The same for all."""
        return self


def quadratics(rows: int, parameters: int = 3) -> Quadratic:
    """With middles inside the box and outside."""
    generator = torch.Generator().manual_seed(4)
    root = torch.randn((rows, parameters, parameters), generator=generator, dtype=torch.float64)
    middle = 2.0 * torch.rand((rows, parameters), generator=generator, dtype=torch.float64) - 0.5
    return Quadratic(middle, 100.0 * root @ root.mT + torch.eye(parameters, dtype=torch.float64))


def started(goal: object, x: Tensor, held: Tensor | None = None) -> LevenbergMarquardt:
    fixed = torch.zeros_like(x, dtype=torch.bool) if held is None else held
    return LevenbergMarquardt(goal, x, fixed).run(1e-8, 200)  # type: ignore[arg-type]


def test_a_quadratic_in_a_box_ends_where_scipys_bounded_least_squares_does() -> None:
    goal = quadratics(40)
    found = started(goal, torch.full((40, 3), 0.5, dtype=torch.float64))
    assert bool(found.converged.all())
    for row in range(40):
        root = np.linalg.cholesky(goal.half[row].numpy()).T
        known = lsq_linear(root, root @ goal.middle[row].numpy(), bounds=(0.0, 1.0), tol=1e-14, max_iter=1000)
        np.testing.assert_allclose(found.x[row].numpy(), known.x, atol=2e-5)
        assert float(found.value[row]) == pytest.approx(2.0 * known.cost, rel=1e-5, abs=1e-7)
    at_edge = (found.x == 0.0) | (found.x == 1.0)
    assert 10 < int(at_edge.sum()) < 110


def test_rows_share_functions_and_more_rows_than_fit_together_are_all_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrayflow.fitting.levenberg_marquardt.ROWS_TOGETHER", 5)
    goal, of = quadratics(4), torch.arange(4).repeat_interleave(6)
    x = torch.rand((24, 3), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    held = torch.zeros_like(x, dtype=torch.bool)
    found = LevenbergMarquardt(goal, x, held, of).run(1e-8, 200)  # type: ignore[arg-type]
    known = started(goal.select(of), x)  # a function of its own for each row
    assert bool(found.converged.all())
    torch.testing.assert_close(found.x, known.x, rtol=0.0, atol=1e-9)
    assert torch.equal(found.evaluations, known.evaluations)


def test_a_bent_valley_is_followed_to_its_end() -> None:
    starts = torch.rand((20, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = started(Rosenbrock(), starts)
    rival = minimize(lambda x: float(Rosenbrock().value(torch.tensor(x)[None])), [0.2, 0.9], method="Nelder-Mead")
    np.testing.assert_allclose(found.x.numpy(), np.tile([0.75, 0.75], (20, 1)), atol=1e-4)
    assert float(found.value.max()) < 1e-6 <= rival.fun + 1e-6


def test_held_coordinates_keep_their_place_wherever_it_is() -> None:
    goal = quadratics(5)
    x = torch.full((5, 3), 0.5, dtype=torch.float64)
    x[:, 1] = 1.7
    held = torch.zeros_like(x, dtype=torch.bool)
    held[:, 1] = True
    found = started(goal, x, held)
    assert found.x[:, 1].tolist() == [1.7] * 5
    assert float(found.gradient[:, [0, 2]][(found.x[:, [0, 2]] > 0) & (found.x[:, [0, 2]] < 1)].abs().max()) < 1e-2


def test_rows_do_not_see_each_other() -> None:
    goal, x = quadratics(6), torch.full((6, 3), 0.3, dtype=torch.float64)
    together = started(goal, x)
    for row in range(6):
        at = torch.tensor([row])
        alone = started(goal.select(at), x[at])
        torch.testing.assert_close(together.x[at], alone.x, rtol=1e-12, atol=1e-12)
        assert int(together.evaluations[row]) == int(alone.evaluations)


def test_every_evaluation_is_counted_and_a_curvature_is_one_for_each_parameter() -> None:
    goal = quadratics(7)
    found = started(goal, torch.full((7, 3), 0.5, dtype=torch.float64))
    assert int(found.evaluations.sum()) == goal.calls["value"] + 3 * goal.calls["curvature"]


def test_a_row_without_a_number_stays_and_is_not_converged() -> None:
    x = torch.full((3, 3), 0.5, dtype=torch.float64)
    x[1] = torch.nan
    found = started(quadratics(3), x)
    assert found.converged.tolist() == [True, False, True]
    assert not torch.isfinite(found.value[1])
    assert int(found.evaluations[1]) == 1


def test_too_few_iterations_do_not_count_as_arrived() -> None:
    far = LevenbergMarquardt(Rosenbrock(), torch.tensor([[0.1, 0.9]]).double(), torch.tensor([[False, False]]))
    assert far.run(1e-8, 2).converged.tolist() == [False]
