"""Every threshold of the verdict fires, and does not fire, where it stands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xrayflow.inference.importance import most_pareto_k
from xrayflow.inference.predictive import Predictive
from xrayflow.inference.verdict import (
    ACCEPTABLE_P,
    BAD_DEVIANCE,
    BAD_EXCESS,
    BAD_P,
    FAILED_ESS,
    GRID_SPREAD,
    MOST_DEVIATION,
    UNCOVERED_WEIGHT,
    Computation,
    Evidence,
    FitQuality,
    find_flags,
    judge_computation,
    judge_fit,
    overall,
    weighted_quantile,
)
from xrayflow.models import parse_model
from xrayflow.prior import Prior

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
        ("likelihood_kind", "exact", "approximate", "background"),
        ("likelihood_kind", "exact", "profile", "background"),
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
    return Predictive(p, np.zeros((3, 10)), np.zeros((3, 10)), deviations, np.full(10, excess), zeros)


def test_a_fit_is_acceptable_until_its_p_value_is_small() -> None:
    assert judge_fit(predictive(ACCEPTABLE_P), 100.0, 100, EDGES).status == "acceptable"
    poor = judge_fit(predictive(ACCEPTABLE_P - EPSILON), 100.0, 100, EDGES)
    assert poor.status == "poor"
    assert "1.0 % of simulations" in poor.reasons[0]


def test_a_fit_is_bad_only_when_it_is_improbable_and_far() -> None:
    assert judge_fit(predictive(BAD_P - EPSILON), 100 * BAD_DEVIANCE, 100, EDGES).status == "poor"
    assert judge_fit(predictive(BAD_P - EPSILON), 100 * BAD_DEVIANCE + EPSILON, 100, EDGES).status == "bad"
    assert judge_fit(predictive(BAD_P), 1000.0, 100, EDGES).status == "poor"
    assert "less than 0.1 %" in judge_fit(predictive(BAD_P - EPSILON), 1000.0, 100, EDGES).reasons[0]


def test_a_fit_with_a_window_beyond_the_limit_is_poor_and_bad_when_the_excess_is_large() -> None:
    at_limit = [0.0] * 4 + [MOST_DEVIATION] + [0.0] * 5
    beyond = [0.0] * 4 + [MOST_DEVIATION + EPSILON] + [0.0] * 5
    assert judge_fit(predictive(0.5, at_limit), 100.0, 100, EDGES).status == "acceptable"
    poor = judge_fit(predictive(0.5, beyond, 0.2), 100.0, 100, EDGES)
    assert poor.status == "poor"
    assert poor.worst_energies == ((5.0, 6.0),)
    assert "5.00-6.00 keV (+4 sd, +20 %)" in poor.reasons[0]
    assert judge_fit(predictive(BAD_P - EPSILON, beyond, BAD_EXCESS), 100.0, 100, EDGES).status == "poor"
    assert judge_fit(predictive(BAD_P - EPSILON, beyond, BAD_EXCESS + EPSILON), 100.0, 100, EDGES).status == "bad"
    assert judge_fit(predictive(BAD_P - EPSILON, beyond, -2 * BAD_EXCESS), 100.0, 100, EDGES).status == "bad"


def test_regions_of_one_sign_are_one_and_the_worst_comes_first() -> None:
    deviation = [5.0, 6.0, -7.0, 0.0, 0.0, -8.0, -9.0, 0.0, 4.5, 4.5]
    fit = judge_fit(predictive(0.5, deviation), 100.0, 100, EDGES)
    assert fit.worst_energies == ((6.0, 8.0), (3.0, 4.0), (1.0, 3.0), (9.0, 11.0))


def test_five_regions_are_told_at_most() -> None:
    fit = judge_fit(predictive(0.5, [5.0, -5.0] * 5), 100.0, 100, EDGES)
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


def test_flags_of_a_posterior_that_is_the_prior() -> None:
    assert flags_of(np.linspace(0.0005, 0.9995, 2001)) == ("prior_dominated:powerlaw.norm",)
    # N(0, 0.7) in probit units is told, N(0, 0.8) is not
    z = np.asarray(torch.special.ndtri(torch.linspace(0.0005, 0.9995, 2001, dtype=torch.float64)))
    for sd, flags in ((0.7, ()), (0.8, ("prior_dominated:powerlaw.norm",))):
        assert flags_of(np.asarray(torch.special.ndtr(torch.from_numpy(sd * z)))) == flags


def test_weighted_quantiles_are_those_of_repeated_draws() -> None:
    random = np.random.default_rng(1)
    values, repeats = random.standard_normal(500), random.integers(0, 5, 500)
    q = np.linspace(0.05, 0.95, 19)
    weighted = weighted_quantile(values, repeats / repeats.sum(), q)
    repeated = np.quantile(np.repeat(values, repeats), q, method="hazen")
    np.testing.assert_allclose(weighted, repeated, atol=0.03)
    equal = weighted_quantile(values, np.full(500, 0.002), q)
    np.testing.assert_allclose(equal, np.quantile(values, q, method="hazen"), atol=1e-12)
