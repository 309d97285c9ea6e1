"""XSPEC's statistics against brute-force minimisation over the background, and where they break."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.statistics.statistic import chi2, cstat, pgstat, psi, pstat, wstat

Array = NDArray[np.float64]
REFERENCE = Path(__file__).resolve().parents[1] / "reference"
NAMES = ("counts", "expected", "source_exposure", "background", "background_err", "background_exposure")


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_bins(bins: int, seed: int) -> dict[str, Array]:
    maker = runpy.run_path(str(REFERENCE / "make_statistic_tables.py"))
    rows: dict[str, Array] = maker["random_bins"](seed, bins)
    return rows


def without_err(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: row for name, row in rows.items() if name != "background_err"}


def least(function: Callable[[Array], Array], lo: Array, hi: Array) -> Array:
    """Golden section in every bin at once."""
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(120):
        a, b = hi - golden * (hi - lo), lo + golden * (hi - lo)
        left = function(a) < function(b)
        lo, hi = np.where(left, lo, a), np.where(left, b, hi)
    return function(0.5 * (lo + hi))


def poisson_part(counts: Array, mean: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(counts > 0, counts * np.log(counts / mean), 0.0)
    return 2.0 * (mean - counts + logs)


@pytest.fixture(scope="module")
def table() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "statistics.npz") as file:
        return {name: file[name] for name in file.files if name != "about"}


def test_w_and_pgstat_agree_with_brute_force_in_40_digits(table: dict[str, np.ndarray]) -> None:
    rows = {name: torch.from_numpy(table[f"bins {name}"]) for name in NAMES}
    ours = torch.stack([wstat(**without_err(rows)), pgstat(**rows), pgstat(**rows, as_xspec=True)], dim=1)
    theirs = torch.from_numpy(table["bins wstat pgstat pgstat-xspec"])
    assert float(rows["counts"].max()) > 1e8
    assert bool((theirs[:, 1] < -1.0).any())
    # 1e-13 of the expected counts of a bin is what their own rounding gives
    tolerance = 1e-9 * (1.0 + theirs.abs()) + 1e-13 * rows["expected"][:, None]
    assert bool(((ours - theirs).abs() < tolerance).all())


def test_w_agrees_with_minimisation_over_ten_thousand_random_bins() -> None:
    rows = random_bins(10_000, seed=1)
    s, mu, ts, b, _, tb = rows.values()

    def statistic(beta: Array) -> Array:
        return poisson_part(s, mu + beta) + poisson_part(b, beta * tb / ts)

    brute = least(statistic, np.full(s.size, 1e-300), s + b * ts / tb + 1.0)
    ours = wstat(**without_err({name: torch.from_numpy(row) for name, row in rows.items()})).numpy()
    assert (np.abs(ours - brute) < 1e-8 * (1.0 + brute) + 1e-14 * (s + b + mu)).all()


@pytest.mark.parametrize("as_xspec", [False, True])
def test_pgstat_agrees_with_minimisation_over_ten_thousand_random_bins(as_xspec: bool) -> None:
    rows = random_bins(10_000, seed=2)
    s, mu, ts, b, err, tb = rows.values()
    sigma = np.where(err > 0, err, 1.0) / (np.sqrt(tb) if as_xspec else 1.0)

    def statistic(total: Array) -> Array:
        return poisson_part(s, total) + ((b - (total - mu) * tb / ts) / sigma) ** 2

    lowest = np.where(s > 0, 1e-300, -(mu + b * ts / tb + 2.0 * (sigma * ts / tb) ** 2) - 1.0)
    brute = least(statistic, lowest, mu + s + b * ts / tb + 1.0)
    brute = np.where(err > 0, brute, poisson_part(s, mu + b * ts / tb))
    ours = pgstat(**{name: torch.from_numpy(row) for name, row in rows.items()}, as_xspec=as_xspec).numpy()
    # golden section finds the place to 1e-8 of the interval, which a narrow sigma turns into a height
    slack = (1e-14 * (mu + s + b * ts / tb) / (sigma * ts / tb)) ** 2
    assert (np.abs(ours - brute) < 1e-7 * (1.0 + np.abs(brute)) + 1e-14 * (s + b + mu) + slack).all()
    assert (ours[(s == 0) & (err > 0)] < 0).any()
    assert (ours[s > 0] >= 0).all()


def test_chi2_subtracts_the_background_and_divides_by_the_variance() -> None:
    assert chi2(tensor(10.0), tensor(5.0), tensor(4.0), tensor(1.0)).item() == 4.0


def test_statistics_without_counts_are_the_manuals() -> None:
    zero, mu, ts, tb, b = tensor(0.0), tensor(3.0), tensor(100.0), tensor(400.0), tensor(8.0)
    assert cstat(zero, mu).item() == 6.0
    assert pstat(zero, mu, ts, b, tb).item() == pytest.approx(2 * (3.0 + 2.0))
    assert wstat(zero, mu, ts, b, tb).item() == pytest.approx(2 * (3.0 - 8.0 * np.log(400.0 / 500.0)))
    # 2 [t_s m + B t_s/t_b - s2 (t_s/t_b)^2 / 2], here below zero
    assert pgstat(zero, mu, ts, b, tensor(16.0), tb).item() == pytest.approx(2 * (3.0 + 2.0 - 256.0 / 32.0))


def test_w_without_background_counts_is_the_manuals() -> None:
    s, zero, ts, tb = tensor(10.0), tensor(0.0), tensor(100.0), tensor(400.0)
    faint, bright = tensor(1.0), tensor(9.0)
    expected = 2 * (-400.0 * 0.01 - 10.0 * np.log(100.0 / 500.0))
    assert wstat(s, faint, ts, zero, tb).item() == pytest.approx(expected)
    assert wstat(s, bright, ts, zero, tb).item() == pytest.approx(cstat(s, bright).item())


def test_a_background_without_error_makes_pgstat_pstat() -> None:
    rows = {name: torch.from_numpy(row) for name, row in random_bins(1000, seed=3).items()}
    exact = pgstat(**{**rows, "background_err": torch.zeros(1000, dtype=torch.float64)})
    torch.testing.assert_close(exact, pstat(**without_err(rows)), rtol=1e-9, atol=1e-9)


def test_nothing_of_the_background_makes_all_of_them_c() -> None:
    s, mu, one, zero = tensor(7.0), tensor(4.0), tensor(1.0), tensor(0.0)
    c = cstat(s, mu).item()
    assert pstat(s, mu, one, zero, one).item() == pytest.approx(c)
    assert pgstat(s, mu, one, zero, zero, one).item() == pytest.approx(c)
    assert wstat(s, mu, one, zero, 1e9 * one).item() == pytest.approx(c, rel=1e-6)


def test_counts_where_the_model_is_zero_are_infinitely_bad() -> None:
    s, zero, one = tensor(3.0), tensor(0.0), tensor(1.0)
    assert cstat(s, zero).item() == np.inf
    assert pstat(s, zero, one, zero, one).item() == np.inf
    assert pgstat(s, zero, one, zero, zero, one).item() == np.inf
    # a background that may be anything can explain them
    assert np.isfinite(wstat(s, zero, one, zero, one).item())
    assert np.isfinite(pgstat(s, zero, one, zero, one, one).item())


def test_a_bin_of_nothing_gives_nothing_and_no_nan_gradient() -> None:
    zero, one = tensor(0.0), tensor(1.0)
    for statistic in (wstat, pstat):
        mu = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        value = statistic(zero, mu, one, zero, one)
        value.sum().backward()
        assert value.item() == 0.0
        assert mu.grad is not None
        assert bool(torch.isfinite(mu.grad).all())
    mu = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    pgstat(zero, mu, one, zero, zero, one).sum().backward()
    assert mu.grad is not None
    assert mu.grad.item() == 2.0


@pytest.mark.parametrize("name", ["wstat", "pgstat", "pgstat-xspec"])
def test_gradients_of_profiles_are_those_of_the_best_background(name: str) -> None:
    rows = {key: torch.from_numpy(row) for key, row in random_bins(2000, seed=4).items()}
    kept = rows["counts"] > 0
    rows = {key: row[kept] for key, row in rows.items()}
    at = rows["expected"].clone().requires_grad_(True)
    if name == "wstat":
        value = wstat(**without_err({**rows, "expected": at}))
    else:
        value = pgstat(**{**rows, "expected": at}, as_xspec=name == "pgstat-xspec")
    slope = torch.autograd.grad(value.sum(), at)[0]
    step = 1e-5 * rows["expected"]
    shifted = []
    for sign in (1.0, -1.0):
        moved = {**rows, "expected": rows["expected"] + sign * step}
        if name == "wstat":
            shifted.append(wstat(**without_err(moved)))
        else:
            shifted.append(pgstat(**moved, as_xspec=name == "pgstat-xspec"))
    difference = (shifted[0] - shifted[1]) / (2.0 * step)
    noise = 1e-12 * (1.0 + value.detach() + rows["counts"] ** 0.5) / step
    assert bool(((slope - difference).abs() < 1e-5 * (1.0 + slope.abs()) + noise).all())


def test_a_billion_counts_lose_nothing_in_double_precision() -> None:
    s = tensor(1e9)
    for off in (1.0, 1e3, 1e5):
        with mpmath.workdps(40):
            x = mpmath.mpf(10) ** 9 + off
            exact = float(2 * (x - 10**9 + 10**9 * mpmath.log(10**9 / x)))
        assert cstat(s, s + off).item() == pytest.approx(exact, rel=1e-12)


def test_a_billion_counts_are_good_to_a_hundredth_in_single_precision() -> None:
    # the expected counts themselves are rounded to 32 there, 1e-3 sigma
    generator = torch.Generator().manual_seed(0)
    s = torch.full((1000,), 1e9, dtype=torch.float64)
    mu = (0.7e9 + 3e4 * torch.randn(1000, generator=generator, dtype=torch.float64)).to(torch.float32).double()
    ts, tb, b, err = (torch.full_like(s, value) for value in (1e4, 2.5e3, 7.5e7, 3e3))
    for name, exact, single in (
        ("c", cstat(s, mu + 0.3e9), cstat(s.float(), mu.float() + 0.3e9)),
        ("pstat", pstat(s, mu, ts, b, tb), pstat(s.float(), mu.float(), ts.float(), b.float(), tb.float())),
        ("w", wstat(s, mu, ts, b, tb), wstat(*(x.float() for x in (s, mu, ts, b, tb)))),
        ("pgstat", pgstat(s, mu, ts, b, err, tb), pgstat(*(x.float() for x in (s, mu, ts, b, err, tb)))),
    ):
        worst = ((single.double() - exact).abs() / (1.0 + exact.sqrt())).max()
        assert float(worst) < 1e-2, name


def test_psi_has_all_digits_from_tiny_to_large() -> None:
    y = torch.cat([torch.logspace(-12, 3, 400, dtype=torch.float64), -torch.logspace(-12, -0.01, 400).double()])
    with mpmath.workdps(40):
        exact = tensor(*(float(mpmath.mpf(v) - mpmath.log1p(mpmath.mpf(v))) for v in y.tolist()))
    torch.testing.assert_close(psi(y), exact, rtol=5e-15, atol=0)
    single = psi(y.float()).double()
    with mpmath.workdps(40):
        exact = tensor(*(float(mpmath.mpf(v) - mpmath.log1p(mpmath.mpf(v))) for v in y.float().double().tolist()))
    torch.testing.assert_close(single, exact, rtol=2e-6, atol=0)
    assert psi(tensor(-1.0)).item() == np.inf
