"""Every threshold of the verdict fires, and does not fire, where it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from ogip_zoo import toy_observation
from xrayflow.inference import Posterior, infer
from xrayflow.inference.checks.predictive import Predictive
from xrayflow.inference.checks.verdict import (
    ACCEPTABLE_P,
    BAD_DEVIANCE,
    BAD_EXCESS,
    BAD_P,
    EDGE_SHARE,
    FAILED_ESS,
    GRID_SPREAD,
    LEAST_SCALE_ESS,
    MOST_DEVIATION,
    UNCOVERED_WEIGHT,
    Computation,
    Evidence,
    FarNuisance,
    FitQuality,
    OtherScale,
    far_nuisances,
    find_flags,
    judge_computation,
    judge_fit,
    other_scales,
    overall,
)
from xrayflow.inference.weights import most_pareto_k
from xrayflow.models import parse_model
from xrayflow.prior import Marginal, Prior

GOOD = Evidence(
    ess=500.0,
    wanted=400.0,
    draws=1000,
    pareto_k=0.2,
    peak_share=0.001,
    grid_spread=0.05,
    likelihood_kind="exact",
)
EPSILON = 1e-9


def test_a_good_computation_is_certified() -> None:
    answer = judge_computation(GOOD)
    assert answer.status == "certified"
    assert answer.reasons == ("500 effective draws of 1000 with exact weights",)


@pytest.mark.parametrize(
    ("field", "last_good", "first_bad", "words"),
    [
        ("ess", 400.0, 400.0 - EPSILON, "were asked for"),
        ("pareto_k", most_pareto_k(1000) - EPSILON, most_pareto_k(1000), "heavy tail"),
        ("pareto_k", -np.inf, np.nan, "heavy tail"),
        ("peak_share", UNCOVERED_WEIGHT, UNCOVERED_WEIGHT + EPSILON, "hardly covered"),
        ("grid_spread", GRID_SPREAD, GRID_SPREAD + EPSILON, "grid is too coarse"),
        ("grid_spread", 0.0, np.nan, "grid is too coarse"),
        ("likelihood_kind", "exact", "approximate", "the likelihood is approximate"),
        ("likelihood_kind", "exact", "profile", "XSPEC's statistic stands in the place of the likelihood"),
    ],
)
def test_a_threshold_of_the_computation(field: str, last_good: object, first_bad: object, words: str) -> None:
    assert judge_computation(replace(GOOD, **{field: last_good})).status == "certified"
    answer = judge_computation(replace(GOOD, **{field: first_bad}))
    assert answer.status == "approximate"
    assert len(answer.reasons) == 1
    assert words in answer.reasons[0]


def test_too_few_effective_draws_are_a_failure() -> None:
    assert judge_computation(replace(GOOD, ess=FAILED_ESS)).status == "approximate"
    answer = judge_computation(replace(GOOD, ess=FAILED_ESS - EPSILON))
    assert answer.status == "failed"
    assert "no proposal fits this posterior" in answer.reasons[0]


def test_all_reasons_are_told() -> None:
    bad = replace(GOOD, ess=100.0, pareto_k=0.9, peak_share=0.5, grid_spread=1.0, likelihood_kind="profile")
    assert len(judge_computation(bad).reasons) == 5


EDGES = (np.arange(1.0, 11.0), np.arange(2.0, 12.0))


def predictive(p: float, deviation: list[float] | None = None, excess: float = 0.0) -> Predictive:
    zeros = np.zeros(10)
    deviations = zeros if deviation is None else np.array(deviation)
    bands = np.zeros((3, 10))
    energy = np.sqrt(EDGES[0] * EDGES[1])
    return Predictive(p, *EDGES, zeros, bands, bands, zeros, zeros, *EDGES, deviations, np.full(10, excess), energy)


def test_a_fit_is_acceptable_until_its_p_value_is_small() -> None:
    assert judge_fit(predictive(ACCEPTABLE_P), 100.0, 100).status == "acceptable"
    poor = judge_fit(predictive(ACCEPTABLE_P - EPSILON), 100.0, 100)
    assert poor.status == "poor"
    assert "1.0 % of simulations" in poor.reasons[0]


def test_a_fit_is_bad_only_when_it_is_improbable_and_far() -> None:
    assert judge_fit(predictive(BAD_P - EPSILON), 100 * BAD_DEVIANCE, 100).status == "poor"
    assert judge_fit(predictive(BAD_P - EPSILON), 100 * BAD_DEVIANCE + EPSILON, 100).status == "bad"
    assert judge_fit(predictive(BAD_P), 1000.0, 100).status == "poor"
    assert "less than 0.1 %" in judge_fit(predictive(BAD_P - EPSILON), 1000.0, 100).reasons[0]


def test_a_fit_with_a_window_beyond_the_limit_is_poor_and_bad_when_the_excess_is_large() -> None:
    at_limit = [0.0] * 4 + [MOST_DEVIATION] + [0.0] * 5
    beyond = [0.0] * 4 + [MOST_DEVIATION + EPSILON] + [0.0] * 5
    assert judge_fit(predictive(0.5, at_limit), 100.0, 100).status == "acceptable"
    poor = judge_fit(predictive(0.5, beyond, 0.2), 100.0, 100)
    assert poor.status == "poor"
    assert poor.worst_energies == ((5.0, 6.0),)
    assert "5.00-6.00 keV (+4 sd, +20 %)" in poor.reasons[0]
    assert judge_fit(predictive(BAD_P - EPSILON, beyond, BAD_EXCESS), 100.0, 100).status == "poor"
    assert judge_fit(predictive(BAD_P - EPSILON, beyond, BAD_EXCESS + EPSILON), 100.0, 100).status == "bad"
    assert judge_fit(predictive(BAD_P - EPSILON, beyond, -2 * BAD_EXCESS), 100.0, 100).status == "bad"


def test_regions_of_one_sign_are_one_and_the_worst_comes_first() -> None:
    deviation = [5.0, 6.0, -7.0, 0.0, 0.0, -8.0, -9.0, 0.0, 4.5, 4.5]
    fit = judge_fit(predictive(0.5, deviation), 100.0, 100)
    assert fit.worst_energies == ((6.0, 8.0), (3.0, 4.0), (1.0, 3.0), (9.0, 11.0))


def test_windows_that_overlap_are_one_region() -> None:
    wide = replace(
        predictive(0.5, [0.0, 5.0, 0.0, 6.0, -7.0, 0.0, 0.0, 0.0, 5.0, 0.0]),
        window_lo=EDGES[0] - 1.2,
        window_hi=EDGES[1] + 1.2,
    )
    fit = judge_fit(wide, 100.0, 100)
    np.testing.assert_allclose(fit.worst_energies, [(3.8, 7.2), (0.8, 6.2), (7.8, 11.2)])


def test_as_many_parameters_as_bins_test_nothing() -> None:
    fit = judge_fit(predictive(0.0, [9.0] * 10), 0.0, 0)
    assert (fit.status, fit.reasons) == ("acceptable", ("as many parameters as bins: nothing can be tested",))


def test_a_nuisance_far_from_what_was_believed_is_named() -> None:
    prior = Prior((Marginal("a", "", 0.0, 1.0, "linear"), Marginal("b", "", -2.0, 2.0, "linear", 0.0, 1.0)))
    weights = np.full(3, 1.0 / 3)

    def of(level: float) -> tuple[FarNuisance, ...]:
        return far_nuisances(prior, 1, torch.tensor([[0.5, level]] * 3, dtype=torch.float64), weights)

    assert of(1.9) == ()
    (found,) = of(1.99)
    assert (found.name, found.sd) == ("b", 1.0)
    assert "b is 2, where 0 +- 1 was expected" in found.reason


def test_five_regions_are_told_at_most() -> None:
    fit = judge_fit(predictive(0.5, [5.0, -5.0] * 5), 100.0, 100)
    assert len(fit.worst_energies) == 5


@pytest.mark.parametrize(
    ("computation", "fit", "verdict"),
    [
        ("certified", "acceptable", "certified"),
        ("certified", "poor", "approximate"),
        ("approximate", "acceptable", "approximate"),
        ("approximate", "poor", "approximate"),
        ("certified", "bad", "do-not-trust"),
        ("failed", "acceptable", "do-not-trust"),
        ("failed", "bad", "do-not-trust"),
    ],
)
def test_the_verdict_of_two_answers(computation: str, fit: str, verdict: str) -> None:
    assert overall(Computation(computation, ()), FitQuality(fit, 0.5, (), ())) == verdict


def test_what_is_known_of_a_likelihood_or_of_a_tail_is_the_reason() -> None:
    why = replace(GOOD, likelihood_kind="approximate", likelihood_why="the background is taken as known")
    assert judge_computation(why).reasons == ("the background is taken as known",)
    tail = judge_computation(replace(GOOD, missing_tail="a tail may be missing: one draw would carry 30 %"))
    assert tail.status == "approximate"
    assert tail.reasons == ("a tail may be missing: one draw would carry 30 %",)


def test_an_answer_that_was_stopped_says_so_first() -> None:
    stopped = replace(GOOD, stopped="stopped at the time limit of 2 s")
    assert judge_computation(stopped).status == "approximate"
    assert judge_computation(stopped).reasons == ("stopped at the time limit of 2 s",)
    few = judge_computation(replace(stopped, ess=5.0))
    assert few.status == "failed"
    assert few.reasons[0] == "stopped at the time limit of 2 s"


def test_a_coarse_grid_is_told_by_whose_it_is() -> None:
    ours, theirs = (judge_computation(replace(GOOD, grid_spread=0.57, own_grid=own)).reasons for own in (True, False))
    assert ours == ("the energy grid is too coarse (ln L scatters by 0.57 on a finer one)",)
    assert theirs == ("the energy grid that was given is too coarse (ln L scatters by 0.57 on a finer one)",)


def flags_of(unit: np.ndarray, optima: int = 1) -> tuple[str, ...]:
    """Flags of draws whose last parameter has these places in the prior, the others well inside."""
    prior = Prior.of(parse_model("powerlaw"))
    middle = 0.5 + 0.01 * np.linspace(-1.0, 1.0, unit.size)
    v = torch.special.ndtri(torch.from_numpy(np.stack([middle, unit], axis=-1)))
    return find_flags(prior, prior.to_theta(v), np.full(unit.size, 1.0 / unit.size), optima)


def test_flags_of_a_posterior_inside_the_box() -> None:
    inside = np.linspace(0.3, 0.4, 1001)
    assert flags_of(inside) == ()
    assert flags_of(inside, optima=2) == ("several_modes",)


def test_flags_of_a_posterior_at_an_edge() -> None:
    assert flags_of(np.linspace(0.0001, 0.1, 1001)) == ("upper_limit:powerlaw.norm",)
    assert flags_of(np.linspace(0.9, 0.9999, 1001)) == ("lower_limit:powerlaw.norm",)
    # the 5 % quantile stands at 0.0145: not yet a limit
    assert flags_of(np.linspace(0.01, 0.1, 1001)) == ()


@pytest.mark.parametrize(("mean", "flags"), [(0.2, ()), (0.005, ("upper_limit:TBabs.nH",))])
def test_a_normal_prior_has_no_edge_but_that_of_its_box(mean: float, flags: tuple[str, ...]) -> None:
    """Draws that lie as far out in the prior as its tenth are an interval; at the edge of the box they are a limit."""
    prior = Prior.of(parse_model("TBabs*powerlaw"), [f"TBabs.nH~N({mean},0.1)"])
    generator = torch.Generator().manual_seed(4)
    theta = prior.to_theta(0.02 * torch.randn((4000, 3), generator=generator, dtype=torch.float64))
    z = torch.randn(4000, generator=generator, dtype=torch.float64)
    theta[:, 0] = prior.marginals[0].lo + 0.05 * z.abs() if flags else 0.3 + 0.06 * z
    assert find_flags(prior, theta, np.full(4000, 1.0 / 4000), 1) == flags


def test_flags_of_a_posterior_that_is_the_prior() -> None:
    assert flags_of(np.linspace(0.0005, 0.9995, 2001)) == ("prior_dominated:powerlaw.norm",)
    # N(0, 0.7) in probit units is told, N(0, 0.8) is not
    z = np.asarray(torch.special.ndtri(torch.linspace(0.0005, 0.9995, 2001, dtype=torch.float64)))
    for sd, flags in ((0.7, ()), (0.8, ("prior_dominated:powerlaw.norm",))):
        assert flags_of(np.asarray(torch.special.ndtr(torch.from_numpy(sd * z)))) == flags


def place(share: np.ndarray, density: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Quantiles of a density on 0..1."""
    at = np.linspace(0.0, 1.0, 20_001)
    cumulative = np.cumsum(density(at))
    return np.interp(share, cumulative / cumulative[-1], at)


EVEN = (np.arange(4000) + 0.5) / 4000


def test_a_logarithmic_marginal_that_is_flat_and_then_cut_is_an_upper_limit() -> None:
    """As of a component that is not there: every faint norm is as good as none, bright ones are excluded."""
    cut = place(EVEN, lambda at: np.exp(-(np.exp(12.0 * (at - 0.4)))))
    assert np.quantile(cut, 0.05) > EDGE_SHARE
    assert flags_of(cut) == ("upper_limit:powerlaw.norm",)
    assert flags_of(1.0 - cut) == ("lower_limit:powerlaw.norm",)


@pytest.mark.parametrize(("sigmas", "flags"), [(1.0, ("upper_limit:powerlaw.norm",)), (2.2, ()), (3.0, ()), (6.0, ())])
def test_a_detection_is_no_limit(sigmas: float, flags: tuple[str, ...]) -> None:
    """A normal whose mean is so many standard deviations from the edge; the edge is allowed within 1.5 of them."""
    assert flags_of(place(EVEN, lambda at: stats.norm.pdf(at, 0.06 * sigmas, 0.06))) == flags


@pytest.fixture(scope="module")
def column(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Posterior]:
    """The answer to a source without absorption, whose column has an upper limit alone, with a prior of it."""
    observation = toy_observation(tmp_path_factory.mktemp("column"), exposure=10.0, seed=1)

    def answered(*prior: str) -> Posterior:
        return infer(observation, "TBabs*powerlaw", list(prior), energies=[(1.0, 6.0)], ess=2000, draws=4000)

    return answered


def of_answer(answer: Posterior, scales: Sequence[str] | None = None) -> tuple[OtherScale, ...]:
    default = [parameter.scale for parameter in answer.model.free] if scales is None else scales
    return other_scales(answer.prior, default, torch.from_numpy(answer.draws), answer.weights)


def test_the_median_with_the_other_scale_is_that_of_an_answer_with_it(column: Callable[..., Posterior]) -> None:
    """Within .15 sd: medians of 2000 effective draws, once weighted by nH over a factor of 100, are known to .05. The
    way back weighs the few draws of a linear prior at a small nH by 1 / nH: over twelve runs it was off by up to .36
    sd, more than its effective draws tell, since the heaviest of them are often not among so few."""
    log, linear = column(), column("TBabs.nH=lin:0.005:75")
    (found,) = of_answer(log)
    assert (found.name, found.scale, found.other, found.reliable) == ("TBabs.nH", "log", "linear", True)
    low, median, high = linear.quantile([0.16, 0.5, 0.84])[:, 0]
    assert abs(found.other_median - median) < 0.15 * 0.5 * (high - low)
    assert found.median == pytest.approx(log.quantile(0.5)[0])
    (back,) = of_answer(linear, scales=["linear", "linear", "log"])
    low, median, high = log.quantile([0.16, 0.5, 0.84])[:, 0]
    factor = linear.weights / linear.draws[:, 0]
    few = factor.sum() ** 2 / (factor**2).sum()
    assert back.reliable == (few >= LEAST_SCALE_ESS)
    assert abs(np.log(back.other_median / median)) < 0.5 * 0.5 * np.log(high / low)


def test_a_parameter_that_depends_on_its_scale_is_flagged_with_both_numbers(column: Callable[..., Posterior]) -> None:
    answer = column()
    assert {"prior_dominated:TBabs.nH", "upper_limit:TBabs.nH"} <= set(answer.flags)
    (found,) = of_answer(answer)
    (reason,) = answer.provenance.notes
    assert reason == found.reason
    for words in (
        "TBabs.nH",
        f"{found.median:.4g} with the log",
        f"{found.other_median:.4g} with a linear",
        "=lin:lo:hi",
    ):
        assert words in reason
    assert reason in answer.reasons
    # what the data tell depends on no scale
    assert not any("PhoIndex" in words or "norm" in words for words in (*answer.flags, reason))


def test_a_scale_that_the_user_chose_is_not_doubted(column: Callable[..., Posterior]) -> None:
    for prior in ("TBabs.nH=lin:0.005:75", "TBabs.nH~N(0.1,0.2)"):
        answer = column(prior)
        assert of_answer(answer) == ()
        assert answer.provenance.notes == ()


def test_few_effective_draws_under_the_other_scale_say_about() -> None:
    prior = Prior.of(parse_model("powerlaw"))
    log_norm = np.linspace(-3.0, 3.0, 101) * 3.0
    theta = torch.from_numpy(np.stack([np.full(101, 1.7), np.exp(log_norm) * 1e-3], axis=-1))
    theta = theta.clamp(min=prior.box.lo, max=prior.box.hi)
    (found,) = other_scales(prior, ["linear", "log"], theta, np.full(101, 1.0 / 101))
    assert not found.reliable
    assert f"about {found.other_median:.4g} with a linear one" in found.reason
