"""The splines are zuko's, by which networks were trained, and differentiable both ways."""

from __future__ import annotations

import math

import pytest
import torch
import zuko
from torch import Tensor

from xrayflow.networks.nn.spline import LEAST_SLOPE, Spline

BOUND, BINS, MOVED, ROWS = 8.0, 6, 2, 400


def raw(size: float = 1.0, seed: int = 0, rows: int = ROWS) -> Tensor:
    """Free numbers of every row."""
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn((MOVED, 3 * BINS - 1, rows), generator=generator, dtype=torch.float64)


def places(seed: int = 1) -> Tensor:
    """From within the knots, beyond both ends, and 0."""
    x = 5.0 * torch.randn((MOVED, ROWS), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[:, :4] = torch.tensor([0.0, -20.0, 20.0, 7.999])
    return x


def zukos(numbers: Tensor) -> zuko.transforms.MonotonicRQSTransform:
    """The same splines, row by row."""
    parts = numbers.movedim(1, -1).split([BINS, BINS, BINS - 1], dim=-1)
    return zuko.transforms.MonotonicRQSTransform(*parts, bound=BOUND)


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_values_slopes_and_inverses_are_zukos(size: float) -> None:
    numbers, x = raw(size), places()
    spline, known = Spline(numbers, BOUND), zukos(numbers)
    y, log_slope = spline(x)
    wanted, wanted_slope = known.call_and_ladj(x)
    torch.testing.assert_close(y, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_slope, wanted_slope, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(spline.inverse(x), known.inv(x), rtol=1e-9, atol=1e-9)
    assert float((y - x).abs().max()) > 0.1 * min(size, 1.0)


@pytest.mark.parametrize("size", [1.0, 10.0])
def test_the_inverse_undoes_the_spline(size: float) -> None:
    """Slopes reach down to 1e-3, so that an error of y grows a thousandfold on the way back, and a root is taken."""
    spline, x = Spline(raw(size), BOUND), places()
    torch.testing.assert_close(spline.inverse(spline(x)[0]), x, rtol=0, atol=1e-8)


def test_beyond_its_bound_a_spline_is_the_identity() -> None:
    spline = Spline(raw(3.0, rows=4), BOUND)
    x = torch.tensor([-1e4, -8.001, 8.001, 30.0], dtype=torch.float64).expand(MOVED, -1)
    y, log_slope = spline(x)
    assert torch.equal(y, x)
    assert torch.equal(spline.inverse(x), x)
    assert not bool(log_slope.any())


def test_a_spline_rises_everywhere_whatever_its_numbers_ask_for() -> None:
    x = torch.linspace(-BOUND, BOUND, 4001, dtype=torch.float64).expand(MOVED, -1)
    spline = Spline(raw(20.0, rows=1).expand(-1, -1, 4001), BOUND)
    y, log_slope = spline(x)
    assert bool((y.diff(dim=1) > 0).all())
    assert bool(torch.isfinite(log_slope).all())
    assert float(spline.slope.abs().max()) > -math.log(LEAST_SLOPE)


def test_the_slope_has_no_jump_at_a_knot() -> None:
    numbers = raw(rows=1)
    knots = Spline(numbers, BOUND).knots[:, 0, 1:-1, 0]
    left, right = (Spline(numbers.expand(-1, -1, BINS - 1), BOUND)(knots + side * 1e-9)[1] for side in (-1.0, 1.0))
    torch.testing.assert_close(left, right, rtol=0, atol=1e-6)
    assert float(left.diff(dim=1).abs().min()) > 1e-3


def test_the_slope_is_the_derivative() -> None:
    spline = Spline(raw(), BOUND)
    x = places().requires_grad_(True)
    y, log_slope = spline(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope.exp(), slope, rtol=1e-9, atol=1e-12)


def test_values_slopes_and_inverses_have_gradients_in_the_free_numbers() -> None:
    numbers = raw(rows=8).requires_grad_(True)
    x = torch.linspace(-9.0, 7.0, 8, dtype=torch.float64).repeat(MOVED, 1).requires_grad_(True)

    def both(numbers: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spline = Spline(numbers, BOUND)
        return *spline(x), spline.inverse(x)

    assert torch.autograd.gradcheck(both, (numbers, x), atol=1e-7)
    sum(one.sum() for one in both(numbers, x)).backward()  # type: ignore[union-attr]
    assert numbers.grad is not None
    assert bool(torch.isfinite(numbers.grad).all())


def test_the_end_of_a_spline_has_a_gradient_that_is_a_number() -> None:
    """Rows beyond the bound take no part of the spline, and must not spoil the gradients of what made it."""
    numbers = raw(rows=3).requires_grad_(True)
    x = torch.tensor([-50.0, 0.5, 50.0], dtype=torch.float64).expand(MOVED, -1)
    spline = Spline(numbers, BOUND)
    (spline(x)[1].sum() + spline.inverse(x).sum()).backward()
    assert numbers.grad is not None
    assert bool(torch.isfinite(numbers.grad).all())
    assert not bool(numbers.grad[..., [0, 2]].any())


def test_float32_is_good_to_its_digits() -> None:
    numbers, x = raw(), places()
    y, log_slope = Spline(numbers, BOUND)(x)
    single, single_slope = Spline(numbers.float(), BOUND)(x.float())
    assert single.dtype == torch.float32
    assert float((single.double() - y).abs().max()) < 1e-5 * BOUND
    assert float((single_slope.double() - log_slope).abs().max()) < 1e-3
