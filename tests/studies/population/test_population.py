"""Populations: against closed forms and brute force, priors taken out, noise foretold, and a verdict that speaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

from population_zoo import INDEX, NORM, Planted, planted, priors
from xrayflow.errors import DataError
from xrayflow.prior import Marginal
from xrayflow.studies.population import (
    IGNORED,
    Axis,
    Population,
    PopulationConfig,
    PopulationLikelihood,
    Selection,
    SourceDraws,
    axis_of,
    find_population,
    population_lines,
    shape_named,
)
from xrayflow.studies.population.draws import MOST_DRAWS
from xrayflow.studies.population.population import judge
from xrayflow.studies.population.sampler import sample

Numbers = NDArray[np.float64]

MEAN, SD, ERROR = 1.7, 0.2, 0.15


def normal_sources(number: int, draws: int, seed: int) -> Planted:
    """Photon indices of a normal, each measured with the same error."""
    generator = np.random.default_rng(seed)
    truth = MEAN + SD * generator.standard_normal((number, 1))
    return planted(truth, np.full((number, 1), ERROR), draws, generator)


def closed_form(middle: Numbers) -> tuple[Numbers, Numbers]:
    """Mean and sd of the posterior of (mean, sd) of a normal population: a grid over the integrated likelihood."""
    mean, sd = np.meshgrid(np.linspace(1.4, 2.0, 301), np.linspace(0.002, 0.6, 300), indexing="ij")
    width = np.sqrt(sd**2 + ERROR**2)
    square = ((middle[:, None, None] - mean) / width) ** 2
    log = -0.5 * square.sum(0) - middle.size * np.log(width)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    values = np.stack([mean, sd])
    centre = (values * weight).sum((1, 2))
    return centre, np.sqrt(((values - centre[:, None, None]) ** 2 * weight).sum((1, 2)))


def moments(found: Population) -> tuple[Numbers, Numbers]:
    centre = np.average(found.values, axis=0, weights=found.weights)
    return centre, np.sqrt(np.average((found.values - centre) ** 2, axis=0, weights=found.weights))


def test_a_normal_population_is_its_closed_form() -> None:
    sources = normal_sources(100, 2000, 1)
    found = find_population(sources.gathered([INDEX]))
    expected, spread = closed_form(sources.middle[:, 0])
    centre, width = moments(found)
    assert found.computation.status == "certified"
    assert found.facts["noise"] < 0.1
    # noise of the draws 0.1 sd and of 1000 effective draws 0.03 sd: 0.35 sd is beyond 3 of them
    assert np.abs(centre - expected).max() < 0.35 * spread.min()
    np.testing.assert_allclose(width, spread, rtol=0.15)


def test_the_prior_of_the_draws_is_taken_out() -> None:
    sources = normal_sources(60, 4000, 2)
    plain, prior = priors()[INDEX], norm(2.2, 0.3)
    told = Marginal(plain.name, plain.unit, plain.lo, plain.hi, plain.scale, 2.2, 0.3)
    precision = 1.0 / ERROR**2 + 1.0 / 0.3**2
    middle = (sources.middle / ERROR**2 + 2.2 / 0.3**2) / precision
    noise = np.random.default_rng(5).standard_normal(sources.draws.shape)
    draws = middle[:, None] + noise / np.sqrt(precision)
    assert abs(prior.cdf(plain.hi) - prior.cdf(plain.lo) - 1.0) < 1e-9
    pulled = SourceDraws.of([Axis(told)], [(str(i), x, np.zeros(len(x))) for i, x in enumerate(draws)])
    expected, spread = closed_form(sources.middle[:, 0])
    centre, _ = moments(find_population(pulled))
    assert np.abs(centre - expected).max() < 0.4 * spread.min()
    # and without that the answer would be another one
    wrong = SourceDraws.of([Axis(plain)], [(str(i), x, np.zeros(len(x))) for i, x in enumerate(draws)])
    assert np.abs(moments(find_population(wrong))[0] - expected).max() > 2.0 * spread.max()


def test_weights_of_draws_count() -> None:
    """Draws of a wide proposal with weights say what draws of the posterior say."""
    generator = np.random.default_rng(6)
    sources = normal_sources(60, 10, 3)
    wide = sources.middle[:, None] + 2.0 * ERROR * generator.standard_normal((60, 4000, 1))
    log_weight = norm.logpdf(wide[..., 0], sources.middle, ERROR) - norm.logpdf(wide[..., 0], sources.middle, 2 * ERROR)
    given = [(str(i), x, w) for i, (x, w) in enumerate(zip(wide, log_weight, strict=True))]
    expected, spread = closed_form(sources.middle[:, 0])
    centre, _ = moments(find_population(SourceDraws.of([Axis(priors()[INDEX])], given)))
    assert np.abs(centre - expected).max() < 0.4 * spread.min()


@pytest.mark.parametrize("name", ["normal", "two-normals", "correlated"])
def test_both_likelihoods_are_the_integrated_one(name: str) -> None:
    generator = np.random.default_rng(7)
    axes = 2 if name == "correlated" else 1
    centre = np.array([1.7, -2.0])[:axes]
    truth = centre + 0.2 * generator.standard_normal((20, axes))
    sources = planted(truth, np.full((20, axes), 0.1), 20_000, generator)
    names = [INDEX, NORM][:axes]
    axis = [Axis(priors()[one]) for one in names]
    given = [
        (
            str(i),
            np.stack([10.0 ** x[:, k] if one.is_log else x[:, k] for k, one in enumerate(axis)], -1),
            np.zeros(len(x)),
        )
        for i, x in enumerate(sources.draws)
    ]
    draws = SourceDraws.of(axis, given, most=20_000)
    h = {
        "normal": [[1.7, 0.2], [1.6, 0.3], [1.8, 0.15]],
        "two-normals": [[1.5, 0.1, 1.8, 0.2, 0.7], [1.0, 0.5, 1.7, 0.2, 0.8], [1.7, 0.2, 3.0, 0.5, 0.1]],
        "correlated": [[1.7, 0.2, -2.0, 0.2, 0.0], [1.75, 0.25, -1.9, 0.2, 0.6], [1.7, 0.2, -2.1, 0.3, -0.5]],
    }[name]
    likelihood = PopulationLikelihood(draws, shape_named(name, axis))
    expected = np.array([closed_likelihood(sources, row) for row in h])
    exact = likelihood.exact(np.array(h))
    # twenty sources of 20 000 draws: the difference of two h scatters by about 0.02
    np.testing.assert_allclose(exact - exact[0], expected - expected[0], atol=0.15)
    quick = likelihood.quick(np.array(h))
    np.testing.assert_allclose(quick - quick[0], exact - exact[0], atol=0.01 if axes == 1 else 2.0)


def closed_likelihood(sources: Planted, h: list[float]) -> float:
    """ln of the product over sources of the integral of posterior x population, of uncut normals."""
    middle, error = sources.middle, sources.error[0, 0]
    if len(h) == 2:
        return float(norm.logpdf(middle, h[0], np.hypot(h[1], error)).sum())
    if middle.shape[1] == 1:
        parts = [norm.pdf(middle, h[i], np.hypot(h[i + 1], error)) for i in (0, 2)]
        return float(np.log((1 - h[4]) * parts[0] + h[4] * parts[1]).sum())
    cross = h[4] * h[1] * h[3]
    covariance = [[h[1] ** 2 + error**2, cross], [cross, h[3] ** 2 + error**2]]
    return float(multivariate_normal([h[0], h[2]], covariance).logpdf(middle).sum())


@pytest.mark.parametrize("name", ["normal", "two-normals", "correlated"])
def test_a_shape_is_normalised_in_the_box_and_its_cells_are_its_density(name: str) -> None:
    axes = [Axis(priors()[INDEX]), Axis(priors()[NORM])][: 2 if name == "correlated" else 1]
    shape = shape_named(name, axes)
    h = shape.from_probit(np.random.default_rng(8).standard_normal((5, len(shape.names))))
    lines = [np.linspace(*axis.box, 601 if name == "correlated" else 1201) for axis in axes]
    middles = [0.5 * (line[1:] + line[:-1]) for line in lines]
    grid = np.stack(np.meshgrid(*middles, indexing="ij"), -1).reshape(-1, len(axes))
    cell = np.prod([line[1] - line[0] for line in lines])
    density = np.exp(shape.log_density(h, grid)) * cell
    np.testing.assert_allclose(density.sum(-1), 1.0, rtol=2e-3)
    parts = shape.inside(h, lines[0])
    np.testing.assert_allclose(parts.sum(-1), 1.0, rtol=2e-3)
    np.testing.assert_allclose(parts, density.reshape(5, parts.shape[1], -1).sum(-1), atol=2e-4)


@pytest.mark.parametrize("name", ["normal", "two-normals", "correlated"])
def test_guesses_are_places_of_the_prior_near_the_sources(name: str) -> None:
    axes = [Axis(priors()[INDEX]), Axis(priors()[NORM])][: 2 if name == "correlated" else 1]
    shape = shape_named(name, axes)
    v = np.random.default_rng(14).standard_normal((50, len(shape.names)))
    np.testing.assert_allclose(shape.to_probit(shape.from_probit(v)), v, atol=1e-6)
    for medians in (np.array([[1.7, -2.0], [1.9, -1.0], [2.4, -1.5]]), np.full((5, 2), -1.0)):
        guesses = shape.guesses(medians[:, : len(axes)])
        assert np.isfinite(shape.to_probit(guesses)).all()
        assert (guesses[:, 0] >= medians[:, 0].min()).all()
        assert (guesses[:, 0] <= medians[:, 0].max()).all()


def test_what_draws_of_the_prior_do_not_find_is_found_from_a_guess() -> None:
    """A spike of whose volume the prior holds a hundred-thousandth, beside a wide hill that the optimiser ends on."""
    spike, width = np.array([1.5, -1.5, 1.0, -1.0]), 0.05

    def log_likelihood(v: Numbers) -> Numbers:
        hill = -0.5 * np.square(v / 0.5).sum(-1)
        return np.logaddexp(hill, 25.0 - 0.5 * np.square((v - spike) / width).sum(-1))

    def evidence(height: float, centre: Numbers, sd: float) -> float:
        return float(height + norm.logpdf(centre, 0.0, np.hypot(1.0, sd)).sum() - norm.logpdf(0.0, 0.0, sd) * 4)

    expected = np.logaddexp(evidence(0.0, np.zeros(4), 0.5), evidence(25.0, spike, width))
    found = sample(log_likelihood, (spike + 0.1)[None], torch.Generator().manual_seed(15))
    assert found.ess > 1000.0
    assert found.log_evidence == pytest.approx(expected, abs=0.1)
    assert sample(log_likelihood, np.empty((0, 4)), torch.Generator().manual_seed(15)).log_evidence < expected - 3.0


def test_the_noise_of_the_draws_is_foretold() -> None:
    """The same sources with other draws: answers scatter as each of them said."""
    generator = np.random.default_rng(9)
    middle = normal_sources(80, 10, 10).middle
    centres, widths, foretold = [], [], []
    for _ in range(6):
        draws = middle[:, None] + ERROR * generator.standard_normal((80, 60, 1))
        found = find_population(Planted(middle, middle, middle, draws).gathered([INDEX]))
        centre, width = moments(found)
        centres.append(centre)
        widths.append(width)
        foretold.append(found.facts["noise"])
    scatter = np.sqrt((np.var(centres, axis=0, ddof=1) / np.mean(widths, axis=0) ** 2).mean())
    # ten degrees of freedom: a right one is out of this once in a hundred
    assert 0.5 < scatter / np.mean(foretold) < 1.8


def test_too_few_draws_are_said() -> None:
    found = find_population(normal_sources(200, 12, 11).gathered([INDEX]))
    assert found.computation.status == "approximate"
    assert "of 200 sources have fewer than 10 effective draws under the population" in found.computation.reasons[0]


def test_sources_with_few_draws_under_the_population_are_named() -> None:
    generator = np.random.default_rng(12)
    truth = np.concatenate([np.full(45, 1.0), np.full(5, 2.0)])[:, None] + 0.02 * generator.standard_normal((50, 1))
    sources = planted(truth, np.full((50, 1), 0.05), 300, generator)
    effective = np.array([200.0] * 45 + [1.5] * 5)
    words = judge({"ess": 1000.0, "noise": 0.1}, effective, [("s46.pha", 1.5)])
    assert words.status == "approximate"
    assert "5 of 50 sources have fewer than 10 effective draws under the population, s46.pha 1.5" in words.reasons[0]
    found = find_population(sources.gathered([INDEX]), PopulationConfig("two-normals"))
    assert found.quantiles()["share_2"]["median"] == pytest.approx(0.1, abs=0.08)
    assert found.facts["log_evidence_one_normal"] < found.facts["log_evidence"]
    assert any(line.startswith("two normals: evidence larger by a factor of") for line in population_lines(found))


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"ess": 1000.0, "noise": 0.1, "pareto_k": 0.2, "draws": 2000.0}, "certified", "1000 effective draws"),
        ({"ess": 1000.0, "noise": 0.1, "pareto_k": 0.9, "draws": 2000.0}, "approximate", "Pareto k of its weights is"),
        ({"ess": 200.0, "noise": 0.1}, "approximate", "200 effective draws of the distribution, 400 are wanted"),
        ({"ess": 20.0, "noise": 0.1}, "failed", "20 effective draws"),
        ({"ess": 1000.0, "noise": 0.1, "rhat": 1.2}, "approximate", "its chains have not settled: R-hat is 1.200"),
        ({"ess": 1000.0, "noise": 2.0}, "failed", "they alone may have moved it by 2.00 standard deviations"),
    ],
)
def test_a_verdict_says_why(facts: dict[str, float], status: str, words: str) -> None:
    found = judge(facts, np.full(10, 100.0), [("a", 100.0)])
    assert found.status == status
    assert words in found.reasons[0]


def test_a_selection_that_is_given_is_undone() -> None:
    """Only sources above a norm are in the catalogue: ignored, the mean is off; given, it is right."""
    generator = np.random.default_rng(13)
    truth = -2.5 + 0.5 * generator.standard_normal((600, 1))
    kept = truth[generator.random((600, 1))[:, 0] < norm.cdf((truth[:, 0] + 2.5) / 0.2)]
    sources = planted(kept, np.full(kept.shape, 0.05), 500, generator).gathered([NORM])
    place = np.linspace(-5, 1, 400)
    selection = Selection(place, norm.cdf((place + 2.5) / 0.2))
    right, wrong = find_population(sources, selection=selection), find_population(sources)
    centre, width = moments(right)
    assert np.abs((centre - [-2.5, 0.5]) / width).max() < 3.3  # one in 500
    off, narrow = moments(wrong)
    assert off[0] - -2.5 > 5.0 * narrow[0]
    assert right.summary()["selection"] == "given"
    assert wrong.summary()["selection"] == IGNORED


def test_the_same_seed_gives_the_same_numbers() -> None:
    draws = normal_sources(20, 200, 14).gathered([INDEX])
    one, two, other = (find_population(draws, PopulationConfig(seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.values, two.values)
    assert not np.array_equal(one.values[:10], other.values[:10])


def test_many_draws_of_a_source_are_picked_by_weight() -> None:
    generator = np.random.default_rng(16)
    x = generator.normal(1.5, 0.2, (3 * MOST_DRAWS, 1))
    log_weight = np.where(x[:, 0] > 1.5, 0.0, -np.inf)
    found = SourceDraws.of([Axis(priors()[INDEX])], [("a", x, log_weight)] * 3)
    assert found.lengths.tolist() == [MOST_DRAWS] * 3
    assert found.x.min() > 1.5
    np.testing.assert_allclose(found.quantile(0.5), np.median(x[x > 1.5]), atol=0.01)
    thin = found.thinned(50)
    assert thin.lengths.tolist() == [50] * 3
    np.testing.assert_allclose(thin.quantile(0.5), np.median(x[x > 1.5]), atol=0.04)


def test_what_cannot_be_a_population_is_one_line() -> None:
    draws = normal_sources(20, 50, 17)
    with pytest.raises(DataError, match="2 sources make no population; give a table with three or more"):
        find_population(normal_sources(2, 50, 17).gathered([INDEX]))
    with pytest.raises(DataError, match="no shape 'gamma'; one of normal, two-normals, histogram"):
        find_population(draws.gathered([INDEX]), PopulationConfig("gamma"))
    with pytest.raises(DataError, match="no source with draws; give a table"):
        SourceDraws.of([Axis(priors()[INDEX])], [])
    with pytest.raises(DataError, match=r"a\.pha: none of its draws lies in the prior's box"):
        SourceDraws.of([Axis(priors()[INDEX])], [("a.pha", np.full((5, 1), 99.0), np.zeros(5))])
    with pytest.raises(DataError, match="no parameter 'PhoIndx' with draws in the table; did you mean"):
        axis_of(priors(), "PhoIndx")
    two = planted(np.tile([1.7, -2.0], (5, 1)), np.full((5, 2), 0.1), 20, np.random.default_rng(0))
    with pytest.raises(DataError, match="two parameters are normal together; leave --shape histogram out"):
        find_population(two.gathered([INDEX, NORM]), PopulationConfig("histogram"))
