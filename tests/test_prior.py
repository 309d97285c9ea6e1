"""The prior: unit cube to parameters and back, densities that integrate to one, and what users may write."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrayflow.errors import PriorError
from xrayflow.models import Model, parse_model
from xrayflow.prior import FAR, Box, Marginal, Prior, log_standard_normal

MARGINALS = (
    Marginal("a.log", "", 5e-3, 75.0, "log"),
    Marginal("a.linear", "", 1.3, 4.0, "linear"),
    Marginal("a.negative", "", -3.0, 2.0, "linear"),
    Marginal("a.wide", "", 1e-2, 1e10, "log"),
    Marginal("a.normal", "", -5.0, 9.0, "linear", 1.0, 0.8),
    Marginal("a.cut", "", 0.0, 2.0, "linear", 0.3, 0.5),
    Marginal("a.edge", "", 0.0, 2.0, "linear", 2.0, 0.2),
    Marginal("a.narrow", "", 5e-3, 75.0, "log", 0.32, 0.01),
    Marginal("a.flat", "", -1.0, 1.0, "linear", 0.0, 100.0),
)
PRIOR = Prior(MARGINALS)


@pytest.fixture(scope="module")
def model() -> Model:
    return parse_model("TBabs*simpl*ezdiskbb")


def scipys(marginal: Marginal) -> scipy.stats.rv_continuous:
    """The same distribution of theta, by scipy."""
    if marginal.mean is not None and marginal.sd is not None:
        edges = ((edge - marginal.mean) / marginal.sd for edge in (marginal.lo, marginal.hi))
        return scipy.stats.truncnorm(*edges, loc=marginal.mean, scale=marginal.sd)
    if marginal.scale == "log":
        return scipy.stats.loguniform(marginal.lo, marginal.hi)
    return scipy.stats.uniform(marginal.lo, marginal.hi - marginal.lo)


@settings(deadline=None)
@given(v=st.floats(-5.0, 5.0))
def test_going_to_theta_and_back_is_the_identity(v: float) -> None:
    at = torch.full((9,), v, dtype=torch.float64)
    theta = PRIOR.to_theta(at)
    # as far as theta has digits left: one of its last moves v by spacing / slope
    spacing = np.spacing(np.maximum(np.abs(theta.numpy()), [max(abs(m.lo), abs(m.hi)) * 1e-3 for m in MARGINALS]))
    tolerance = 1e-7 + 8.0 * torch.from_numpy(spacing) / PRIOR.slope(at)
    assert bool(((PRIOR.to_probit(theta) - at).abs() < tolerance.clamp(max=0.5)).all())
    assert bool(PRIOR.contains(theta))


@pytest.mark.parametrize("number", range(len(MARGINALS)))
def test_the_probit_is_that_of_the_distribution_function(number: int) -> None:
    v = torch.linspace(-5.0, 5.0, 41, dtype=torch.float64)
    theta = PRIOR.to_theta(v[:, None].expand(-1, len(MARGINALS)))[:, number].numpy()
    np.testing.assert_allclose(scipys(MARGINALS[number]).cdf(theta), scipy.stats.norm.cdf(v), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(scipys(MARGINALS[number]).sf(theta), scipy.stats.norm.sf(v), rtol=1e-6, atol=1e-9)


def test_slope_is_the_derivative() -> None:
    v = torch.linspace(-5.0, 5.0, 41, dtype=torch.float64)[:, None].expand(-1, len(MARGINALS))
    step = 1e-5
    difference = (PRIOR.to_theta(v + step) - PRIOR.to_theta(v - step)) / (2 * step)
    slope = PRIOR.slope(v)
    spacing = 1e-14 * torch.tensor([max(abs(m.lo), abs(m.hi)) for m in MARGINALS]) / step
    assert bool(((slope - difference).abs() < 1e-6 * slope.abs() + spacing).all())


def test_slope_is_what_autograd_finds() -> None:
    v = torch.linspace(-3.0, 3.0, 9, dtype=torch.float64)[:, None].repeat(1, len(MARGINALS)).requires_grad_(True)
    slope = torch.autograd.grad(PRIOR.to_theta(v).sum(), v)[0]
    torch.testing.assert_close(slope, PRIOR.slope(v.detach()), rtol=1e-8, atol=1e-12)


def test_far_out_everything_is_finite_and_in_the_box() -> None:
    for v in (-50.0, -FAR, -9.0, 9.0, FAR, 50.0):
        at = torch.full((9,), v, dtype=torch.float64)
        theta = PRIOR.to_theta(at)
        assert bool(torch.isfinite(theta).all())
        assert bool(PRIOR.contains(theta))
        assert bool(torch.isfinite(PRIOR.slope(at)).all())


def test_both_tails_of_a_normal_have_digits() -> None:
    normal = Prior((Marginal("a.b", "", -1e3, 1e3, "linear", 0.0, 1.0),))
    v = torch.tensor([[-11.0], [-8.5], [8.5], [11.0]], dtype=torch.float64)
    torch.testing.assert_close(normal.to_theta(v), v, rtol=1e-9, atol=0)
    torch.testing.assert_close(normal.to_probit(v), v, rtol=1e-9, atol=0)
    torch.testing.assert_close(normal.slope(v), torch.ones_like(v), rtol=1e-9, atol=0)


def test_edges_and_beyond_are_as_far_as_the_probit_goes() -> None:
    lo = torch.tensor([m.lo for m in MARGINALS], dtype=torch.float64)
    hi = torch.tensor([m.hi for m in MARGINALS], dtype=torch.float64)
    for low, high in ((lo, hi), (lo - 1.0, 2.0 * hi)):
        assert bool((PRIOR.to_probit(low) <= -FAR + 1e-9).all())
        assert bool((PRIOR.to_probit(high) >= FAR - 1e-9).all())
    assert not bool(PRIOR.contains(hi + 1.0))


@pytest.mark.parametrize("number", range(len(MARGINALS)))
def test_the_density_integrates_to_one(number: int) -> None:
    marginal = MARGINALS[number]
    one = Prior((marginal,))
    uniform_in_log = marginal.scale == "log" and marginal.mean is None
    if uniform_in_log:
        at = torch.linspace(math.log10(marginal.lo), math.log10(marginal.hi), 200_001, dtype=torch.float64)
        theta = (10.0**at).clamp(marginal.lo, marginal.hi)
    else:
        at = theta = torch.linspace(marginal.lo, marginal.hi, 200_001, dtype=torch.float64)
    density = one.log_density(theta[:, None]).exp()
    assert torch.trapezoid(density, at).item() == pytest.approx(1.0, abs=1e-4)
    if not uniform_in_log:
        inner = theta[1:-1].numpy()
        np.testing.assert_allclose(density[1:-1].numpy(), scipys(marginal).pdf(inner), rtol=1e-9, atol=1e-300)


def test_the_density_is_that_of_the_probit_coordinates() -> None:
    v = torch.randn(20, len(MARGINALS), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta = PRIOR.to_theta(v)
    jacobian = PRIOR.slope(v).log()
    for i, marginal in enumerate(MARGINALS):
        if marginal.scale == "log" and marginal.mean is None:
            jacobian[:, i] -= torch.log(theta[:, i] * math.log(10.0))
    torch.testing.assert_close(PRIOR.log_density(theta) + jacobian.sum(-1), log_standard_normal(v))


def test_outside_the_box_the_density_is_zero() -> None:
    theta = PRIOR.to_theta(torch.zeros(9, dtype=torch.float64))
    assert math.isfinite(PRIOR.log_density(theta).item())
    theta[1] = 4.5
    assert PRIOR.log_density(theta).item() == -math.inf


# False-alarm probability 9e-4: nine tests of 1e-4.
def test_draws_follow_their_marginals() -> None:
    draws = PRIOR.sample((4, 5000), torch.Generator().manual_seed(7))
    assert draws.shape == (4, 5000, 9)
    for i, marginal in enumerate(MARGINALS):
        pvalue = scipy.stats.kstest(draws[..., i].flatten().numpy(), scipys(marginal).cdf).pvalue
        assert pvalue > 1e-4, marginal.name
    again = PRIOR.sample((4, 5000), torch.Generator().manual_seed(7))
    assert torch.equal(draws, again)


def test_the_models_box_is_the_default(model: Model) -> None:
    prior = Prior.of(model)
    assert prior.names == model.names
    for marginal, parameter in zip(prior.marginals, model.free, strict=True):
        assert (marginal.lo, marginal.hi, marginal.scale) == (*parameter.box, parameter.scale)
        assert marginal.mean is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TBabs.nH=0.1:2", (0.1, 2.0, "log", None, None)),
        ("tbabs.NH = 0.1 : 2 ", (0.1, 2.0, "log", None, None)),
        ("TBabs.nH=lin:0:2", (0.0, 2.0, "linear", None, None)),
        ("TBabs.nH=LINEAR:0:2", (0.0, 2.0, "linear", None, None)),
        ("TBabs.nH=log:1e-3:2e1", (1e-3, 20.0, "log", None, None)),
        ("TBabs.nH~N(0.3,0.02)", (5e-3, 75.0, "log", 0.3, 0.02)),
        ("tbabs.nh ~ n( 3e-1 , .02 )", (5e-3, 75.0, "log", 0.3, 0.02)),
    ],
)
def test_every_form_of_a_change_is_understood(
    model: Model, text: str, expected: tuple[float, float, str, float | None, float | None]
) -> None:
    found = Prior.of(model, [text]).marginals[0]
    assert (found.lo, found.hi, found.scale, found.mean, found.sd) == expected
    assert (found.name, found.unit) == ("TBabs.nH", model.free[0].unit)


def test_changes_act_in_turn(model: Model) -> None:
    for changes in (["TBabs.nH=0.1:2", "TBabs.nH~N(0.3,0.02)"], ["TBabs.nH~N(0.3,0.02)", "TBabs.nH=0.1:2"]):
        found = Prior.of(model, changes).marginals[0]
        assert (found.lo, found.hi, found.mean, found.sd) == (0.1, 2.0, 0.3, 0.02)
    found = Prior.of(model, ["simpl.Gamma=1.5:2", "ezdiskbb.norm=1:10"]).marginals
    assert (found[1].lo, found[4].hi) == (1.5, 10.0)


def test_a_prior_says_itself_in_words(model: Model) -> None:
    prior = Prior.of(model, ["simpl.Gamma~N(2,0.1)"])
    assert str(prior.marginals[0]) == "0.005 .. 75 log"
    assert str(prior.marginals[1]) == "N(2, 0.1) in 1.3 .. 4"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["TBabs.nH"], r"not understood; write NAME=lo:hi or NAME~N\(mean,sd\)"),
        (["TBabs.nH="], "not understood"),
        (["TBabs.nH=1"], "not understood"),
        (["TBabs.nH=1:2:3"], "not understood"),
        (["TBabs.nh2=1:2"], r"no free parameter 'TBabs.nh2' in TBabs\*simpl\*ezdiskbb; did you mean 'TBabs.nH'"),
        (["simpl.UpScOnly=0:1"], "no free parameter 'simpl.UpScOnly' in .*; it is frozen"),
        (["TBabs.nH=a:2"], "'a' is not a number"),
        (["TBabs.nH=1:inf"], "'inf' is not a number"),
        (["TBabs.nH=2:1"], "2 is not below 1; to fix a value use --freeze TBabs.nH=2"),
        (["TBabs.nH=2:2"], "2 is not below 2; to fix a value use --freeze"),
        (["simpl.Gamma=0.5:3"], "simpl.Gamma must stay within 1:5"),
        (["simpl.Gamma=2:7"], "simpl.Gamma must stay within 1:5"),
        (["TBabs.nH=0:2"], r"a logarithmic range starts above 0; give lo > 0 or NAME=lin:0:2"),
        (["TBabs.nH~N(0.3)"], r"write NAME~N\(mean,sd\) with sd > 0"),
        (["TBabs.nH~U(0.3,1)"], r"write NAME~N\(mean,sd\) with sd > 0"),
        (["TBabs.nH~N(0.3,0)"], r"write NAME~N\(mean,sd\) with sd > 0"),
        (["TBabs.nH~N(0.3,-1)"], r"write NAME~N\(mean,sd\) with sd > 0"),
        (["TBabs.nH~N(nan,1)"], "'nan' is not a number"),
        (["TBabs.nH~N(0.3,x)"], "'x' is not a number"),
        (["TBabs.nH~N(100,1)"], r"the mean 100 lies outside the box 0.005:75; widen that with TBabs.nH=lo:hi"),
        (["TBabs.nH~N(0.3,1)", "TBabs.nH=1:2"], r"the mean 0.3 lies outside the box 1:2"),
    ],
)
def test_what_cannot_be_is_refused_with_the_words_that_cannot(model: Model, changes: list[str], message: str) -> None:
    with pytest.raises(PriorError, match=message) as caught:
        Prior.of(model, changes)
    assert f"--prior '{changes[-1]}'" in str(caught.value)


def test_standard_normal_density_is_normalised() -> None:
    v: Tensor = torch.linspace(-9.0, 9.0, 2001, dtype=torch.float64)
    assert torch.trapezoid(log_standard_normal(v[:, None]).exp(), v).item() == pytest.approx(1.0)


def test_the_box_is_the_marginals_as_tensors() -> None:
    box = Box.of(MARGINALS)
    assert box.lo.tolist() == [marginal.lo for marginal in MARGINALS]
    assert box.hi.tolist() == [marginal.hi for marginal in MARGINALS]
    assert box.is_log.tolist() == [marginal.scale == "log" for marginal in MARGINALS]
    assert box.is_normal.tolist() == [marginal.mean is not None for marginal in MARGINALS]
    ratios = [math.log(m.hi / m.lo) if m.scale == "log" else 1.0 for m in MARGINALS]
    assert box.log_ratio.tolist() == pytest.approx(ratios)
    assert box.mean.tolist() == [marginal.mean or 0.0 for marginal in MARGINALS]
    assert box.sd.tolist() == [marginal.sd or 1.0 for marginal in MARGINALS]
    assert PRIOR.box is PRIOR.box


def test_nuisances_stand_behind_the_parameters_of_the_model(model: Model) -> None:
    prior, factor = Prior.of(model), Marginal("calibration.factor", "", 0.5, 1.5, "linear", 1.0, 0.1)
    assert prior.extended(()) is prior
    longer = prior.extended([factor])
    assert longer.names == (*prior.names, "calibration.factor")
    assert longer.box.is_normal.tolist() == [False] * 5 + [True]
    v = torch.tensor([0.3, -0.2, 0.1, 0.5, -1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(longer.to_theta(v)[:5], prior.to_theta(v[:5]))
    assert float(longer.to_theta(v)[5]) == pytest.approx(1.2, abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["TBabs.nH=0.1:2.7182818284590452", "powerlaw.PhoIndex~N(1.7,0.123456789012345)"],
        ["powerlaw.norm=lin:0:1e-7", "TBabs.nH=log:0.1:2", "TBabs.nH~N(0.3,0.1)"],
    ],
)
def test_the_words_of_a_prior_make_it_again_to_the_last_digit(changes: list[str]) -> None:
    model = parse_model("TBabs*powerlaw")
    prior = Prior.of(model, changes)
    words = [word for marginal in prior.marginals for word in marginal.words]
    assert Prior.of(model, words) == prior
