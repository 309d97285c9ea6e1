"""The problem: what everything below sees of prior, model and data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor

import xrayflow.problem
from ogip_zoo import toy_observation
from xrayflow.data import bundled_pha
from xrayflow.errors import ModelError, PriorError
from xrayflow.folding import EXACT, FINER, SEARCH, Fidelity, Fold, Grid
from xrayflow.models import parse_model
from xrayflow.ogip import read_observation
from xrayflow.prior import FAR, Prior, log_standard_normal
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup
from xrayflow.setup import problem_of as problem_of_spectra
from xrayflow.simulate import simulate
from xrayflow.statistics import StatisticChoice

TEXT = "TBabs*simpl*ezdiskbb"
CSTAT = StatisticChoice("cstat", "", gaussian=False)
SINGLE = Fidelity("single", dtype=torch.float32)


def problem_of(folder: Path, text: str = TEXT, systematic: float = 0.0, grid: Grid | None = None) -> Problem:
    """Three spectra of other exposures, areas and groupings."""
    first = toy_observation(folder)
    assert first.arf is not None
    wave = 1.0 + 0.3 * torch.sin(torch.arange(150) / 9.0).numpy()
    second = replace(first, pha=replace(first.pha, exposure=300.0))
    third = replace(first, arf=replace(first.arf, area=first.arf.area * wave))
    spectra = [first.bin(((1.0, 6.0),)), second.bin(((2.0, 5.0),)), third.bin(((1.0, 6.0),), grouping="min:50")]
    model, setup = parse_model(text), FitSetup(systematic=systematic, grid=grid)
    return problem_of_spectra(spectra, model, Prior.of(model), setup, [CSTAT] * 3)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return problem_of(tmp_path_factory.mktemp("toy"))


def draws_of(problem: Problem, draws: int = 7, seed: int = 0) -> Tensor:
    v = torch.randn(problem.sources, draws, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 0.7 * v


def test_expected_counts_are_the_folded_model(problem: Problem) -> None:
    theta = problem.prior.to_theta(draws_of(problem))
    expected, grid = problem.expected(theta), problem.data.sets[0].forward.grid
    for i, spectrum in enumerate(problem.data.sets[0].spectra):
        photons = problem.model.photon_flux(theta[i], torch.from_numpy(grid.energy_edges))
        alone = Fold.of([spectrum], grid)(photons[None])[0]
        torch.testing.assert_close(expected[i, :, : spectrum.counts.size], alone, rtol=1e-10, atol=1e-300)
        assert not expected[i, :, spectrum.counts.size :].any()


def test_components_are_folded_alone_and_add_up_to_the_model(tmp_path: Path) -> None:
    """Through an absorber and a convolution; exact, and corrected on a coarse grid with its float32."""
    problem = problem_of(tmp_path, "TBabs*simpl*(ezdiskbb+powerlaw)+gaussian")
    problem = problem.select(torch.tensor([0]))
    v = 0.3 * torch.randn((1, 40, problem.parameters), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theta = problem.prior.to_theta(v)
    known = torch.ones((1, 1), dtype=torch.bool)
    for one, rtol in ((problem, 1e-12), (problem.corrected(theta[:, :1], known), 1e-5)):
        parts = one.components(theta)
        assert list(parts) == ["ezdiskbb", "powerlaw", "gaussian"]
        torch.testing.assert_close(sum(parts.values()), one.expected(theta), rtol=rtol, atol=1e-9)
    # a component alone is the model with the norms of the others at nothing
    column = [p.name for p in problem.model.free].index("powerlaw.norm")
    others = [p.is_norm and i != column for i, p in enumerate(problem.model.free)]
    alone = torch.where(torch.tensor(others), 0.0, theta)
    torch.testing.assert_close(problem.components(theta)["powerlaw"], problem.expected(alone), rtol=1e-10, atol=1e-9)


def test_log_likelihood_is_scipys_of_the_expected_counts(problem: Problem) -> None:
    theta = problem.prior.to_theta(draws_of(problem))
    expected = problem.expected(theta)
    for i, spectrum in enumerate(problem.data.sets[0].spectra):
        mean = expected[i, :, : spectrum.counts.size].numpy()
        exact = torch.from_numpy(scipy.stats.poisson.logpmf(spectrum.counts, mean).sum(-1))
        torch.testing.assert_close(problem.log_likelihood(theta)[i], exact, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("text", [TEXT, "TBabs*powerlaw"])
def test_the_jacobian_is_what_differences_find(text: str, tmp_path: Path) -> None:
    problem = problem_of(tmp_path, text)
    parameters = len(problem.prior.names)
    theta = problem.prior.to_theta(draws_of(problem)[..., :parameters])
    expected, jacobian = problem.data.sets[0].forward.linearised(theta)
    assert jacobian.shape == (*expected.shape, parameters)
    torch.testing.assert_close(expected, problem.expected(theta), rtol=1e-9, atol=1e-300)
    largest = expected.amax(-1, keepdim=True)
    for i in range(parameters):
        step = 1e-4 * theta[..., i]
        up, down = theta.clone(), theta.clone()
        up[..., i] += step
        down[..., i] -= step
        difference = (problem.expected(up) - problem.expected(down)) / (2 * step[..., None])
        # per relative change of the parameter, against the largest bin
        error = (jacobian[..., i] - difference).abs() * theta[..., i, None] / largest
        assert error.max().item() < 1e-6


def test_the_curvature_in_probit_coordinates_is_what_differences_find(problem: Problem) -> None:
    v = draws_of(problem)
    theta = problem.prior.to_theta(v)
    found = problem.curvature(theta, problem.prior.slope(v))
    columns = []
    for i in range(5):
        step = torch.zeros(5, dtype=torch.float64)
        step[i] = 1e-4
        ends = [problem.prior.to_theta(v + sign * step) for sign in (1.0, -1.0)]
        rise = (problem.log_likelihood(ends[0]) - problem.log_likelihood(ends[1])) / 2e-4
        scale = found.gradient.abs().amax(-1) + found.information.diagonal(dim1=-2, dim2=-1).amax(-1).sqrt()
        assert float(((found.gradient[..., i] - rise).abs() / scale).max()) < 1e-4
        columns.append((problem.expected(ends[0]) - problem.expected(ends[1])) / 2e-4)
    jacobian, expected = torch.stack(columns, dim=-1), problem.expected(theta)
    weight = torch.where(expected > 0, 1.0 / expected.clamp(min=1e-300), 0.0)
    by_hand = jacobian.mT @ (weight[..., None] * jacobian)
    size = by_hand.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (found.information - by_hand).abs() / (size[..., None] * size[..., None, :]).clamp(min=1e-6)
    assert float(error.max()) < 1e-3


def test_the_target_bends_by_the_data_and_the_prior(problem: Problem) -> None:
    """Its gradient is that of central differences; its information exceeds the data's by the prior's, which is 1."""
    v, step = draws_of(problem), 1e-4
    found = problem.target_curvature(v)
    data = problem.curvature(problem.prior.to_theta(v), problem.prior.slope(v))
    torch.testing.assert_close(found.information - data.information, torch.eye(5).double().expand_as(data.information))
    for i in range(5):
        off = torch.zeros(5, dtype=torch.float64)
        off[i] = step
        rise = (problem.log_target(v + off) - problem.log_target(v - off)) / (2.0 * step)
        scale = found.gradient.abs().amax(-1) + found.information.diagonal(dim1=-2, dim2=-1).amax(-1).sqrt()
        assert float(((found.gradient[..., i] - rise).abs() / scale).max()) < 1e-4


@pytest.mark.parametrize("piece", [1, 20_000, 10**9])
def test_the_size_of_the_pieces_changes_nothing(problem: Problem, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    theta = problem.prior.to_theta(draws_of(problem))
    slope = torch.ones_like(theta)
    expected, likelihood = problem.expected(theta), problem.log_likelihood(theta)
    curvature, (matched, at_matched) = problem.curvature(theta, slope), problem.matched(theta)
    monkeypatch.setattr(xrayflow.problem, "PIECE", piece)
    torch.testing.assert_close(problem.expected(theta), expected, rtol=1e-12, atol=1e-300)
    torch.testing.assert_close(problem.log_likelihood(theta), likelihood, rtol=1e-12, atol=0)
    again = problem.curvature(theta, slope)
    for ours, before in (again.gradient, curvature.gradient), (again.information, curvature.information):
        torch.testing.assert_close(ours, before, rtol=1e-9, atol=1e-9 * before.abs().max().item())
    torch.testing.assert_close(problem.matched(theta)[0], matched, rtol=1e-12, atol=0)
    torch.testing.assert_close(problem.matched(theta)[1], at_matched, rtol=1e-10, atol=0)


def test_selected_sources_answer_as_before(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, systematic=0.05)
    theta = problem.prior.to_theta(draws_of(problem))
    likelihood = problem.log_likelihood(theta)
    chosen = torch.tensor([2, 0, 2])
    some = problem.select(chosen)
    assert some.sources == 3
    assert some.data.sets[0].spectra[0] is problem.data.sets[0].spectra[2]
    torch.testing.assert_close(some.log_likelihood(theta[chosen]), likelihood[chosen], rtol=1e-10, atol=0)
    one = problem.select(torch.tensor([1]))
    torch.testing.assert_close(one.log_likelihood(theta[1:2]), likelihood[1:2], rtol=1e-10, atol=0)
    assert problem.select(torch.arange(3)) is problem


def test_another_grid_is_another_fold_of_the_same_problem(problem: Problem) -> None:
    theta = problem.prior.to_theta(draws_of(problem))
    finer = problem.finer(3)
    edges, cut = (one.data.sets[0].forward.grid.energy_edges for one in (problem, finer))
    assert cut.size == 3 * (edges.size - 1) + 1
    change = finer.log_likelihood(theta) - problem.log_likelihood(theta)
    assert change.abs().max().item() > 0
    expected, fine = problem.expected(theta), finer.expected(theta)
    error = ((fine - expected).abs() / expected.amax(-1, keepdim=True)).max().item()
    assert error < 1e-4
    torch.testing.assert_close(problem.at(FINER).log_likelihood(theta), finer.log_likelihood(theta), rtol=1e-12, atol=0)
    coarse = problem.on(Grid.log(0.01, 200.0, 1000))
    assert coarse.data.sets[0].likelihood is problem.data.sets[0].likelihood
    assert coarse.log_likelihood(theta).shape == (3, 7)
    assert (coarse.energies, coarse.is_exact) == (1001, True)


def test_a_fidelity_is_the_same_problem_and_exact_is_itself(problem: Problem) -> None:
    search = problem.at(SEARCH)
    assert problem.at(EXACT) is problem
    assert (problem.is_exact, problem.at(FINER).is_exact) == (True, False)
    assert search.at(SEARCH) is search
    assert search.energies < problem.energies
    assert "thinned" in search.data.grid
    theta = problem.prior.to_theta(draws_of(problem))
    torch.testing.assert_close(search.at(EXACT).log_likelihood(theta), problem.log_likelihood(theta))
    some = torch.tensor([2, 1])
    torch.testing.assert_close(
        problem.select(some).at(SEARCH).log_likelihood(theta[some]),
        search.log_likelihood(theta)[some],
        rtol=1e-10,
        atol=0,
    )


def test_a_corrected_problem_is_the_exact_one_at_its_places_and_nearly_so_around(problem: Problem) -> None:
    """ln L and its curvature; the search's own grid is off by much more."""
    places = problem.prior.to_theta(0.3 * draws_of(problem, 2))
    known = torch.tensor([[True, True], [True, False], [True, True]])
    cheap, corrected = problem.at(SEARCH), problem.corrected(places, known)
    assert corrected.data.fidelity == SEARCH
    assert not corrected.is_exact
    torch.testing.assert_close(
        corrected.log_likelihood(places)[known], problem.log_likelihood(places)[known], rtol=1e-11, atol=0
    )
    slope = problem.prior.slope(problem.prior.to_probit(places))
    found, wanted = (one.curvature(places, slope) for one in (corrected, problem))
    torch.testing.assert_close(found.gradient[known], wanted.gradient[known], rtol=1e-8, atol=1e-6)
    torch.testing.assert_close(found.information[known], wanted.information[known], rtol=1e-8, atol=1e-6)
    near = places * (1.0 + 1e-3)
    off, uncorrected = (
        (one.log_likelihood(near) - problem.log_likelihood(near))[known].abs() for one in (corrected, cheap)
    )
    assert bool((off < 0.02 * uncorrected).all())


def test_a_corrected_problem_of_some_sources_is_theirs(problem: Problem) -> None:
    places = problem.prior.to_theta(0.3 * draws_of(problem, 2))
    corrected = problem.corrected(places, torch.ones((3, 2), dtype=torch.bool))
    theta, rows = problem.prior.to_theta(0.3 * draws_of(problem, 3, seed=1)), torch.tensor([2, 0])
    torch.testing.assert_close(
        corrected.select(rows).log_likelihood(theta[rows]), corrected.log_likelihood(theta)[rows], rtol=1e-10, atol=0
    )


def test_many_draws_of_a_corrected_problem_are_single_and_few_are_not(problem: Problem) -> None:
    """Of data that the model gives: ln L to a hundredth."""
    places = problem.prior.to_theta(0.3 * draws_of(problem, 1))
    one = problem.corrected(places, torch.ones((3, 1), dtype=torch.bool)).select(torch.tensor([0]))
    one = replace(one, data=one.data.replicate(one.expected(places[:1]), places[:1], torch.Generator().manual_seed(2)))
    theta = places[:1] * (1.0 + 2e-3 * torch.randn((1, 40, 5), generator=torch.Generator().manual_seed(1)).double())
    many = one.log_likelihood(theta)
    few = torch.cat([one.log_likelihood(part) for part in theta.split(10, dim=1)], dim=1)
    assert 0.0 < float((many - few).abs().max()) < 1e-2


def test_a_problem_on_a_coarse_grid_is_corrected_by_being_itself(problem: Problem) -> None:
    coarse = problem.on(Grid.log(1e-3, 1e3, 300))
    places = problem.prior.to_theta(draws_of(problem, 1))
    assert coarse.corrected(places, torch.ones((3, 1), dtype=torch.bool)).is_exact


def test_the_grid_is_wide_where_the_model_convolves(problem: Problem, tmp_path: Path) -> None:
    assert problem.data.sets[0].forward.grid.energy_edges[0] == 1e-3
    assert problem_of(tmp_path, "TBabs*powerlaw").data.sets[0].forward.grid.energy_edges[0] == 0.2


@pytest.fixture(scope="module")
def faint() -> tuple[Problem, Problem, Tensor]:
    """A NICER spectrum of 1e4 counts in float64 and in float32, and the theta that it was drawn from."""
    model = parse_model(TEXT)
    theta = torch.tensor([0.3, 2.2, 0.1, 0.7, 200.0], dtype=torch.float64)
    values = dict(zip(model.names, theta.tolist(), strict=True))
    spectrum = simulate(read_observation(bundled_pha()), model, values, 4.75, seed=3).bin(grouping="file")
    assert spectrum.counts.sum() == pytest.approx(1e4, rel=0.1)
    exact = problem_of_spectra([spectrum], model, Prior.of(model), FitSetup(), [CSTAT])
    return exact, exact.at(SINGLE), theta


def test_float32_keeps_the_expected_counts(faint: tuple[Problem, Problem, Tensor]) -> None:
    exact, single, _ = faint
    theta = exact.prior.sample((1, 300), torch.Generator().manual_seed(7))
    expected, cast = exact.expected(theta), single.expected(theta)
    assert cast.dtype == torch.float64
    seen = expected > 1e-6 * expected.amax(-1, keepdim=True)
    error = ((cast - expected).abs() / expected)[seen]
    # measured 8e-6; 0 would mean that nothing was computed in float32
    assert 1e-8 < error.max().item() < 2e-5
    regrouped = single.on(Grid.log(1e-3, 1e3, 1000)).at(SINGLE)
    dtypes = regrouped.data.sets[0].forward.fold.dtype, regrouped.expected(theta[:, :2]).dtype
    assert dtypes == (torch.float32, torch.float64)


def test_float32_keeps_the_log_likelihood_of_ten_thousand_counts(faint: tuple[Problem, Problem, Tensor]) -> None:
    exact, single, truth = faint
    generator = torch.Generator().manual_seed(8)
    wander = torch.randn(1, 300, truth.numel(), generator=generator, dtype=torch.float64)
    theta = truth * torch.exp(0.02 * wander)
    before = exact.log_likelihood(theta)
    change = single.log_likelihood(theta) - before
    assert single.log_likelihood(theta).dtype == torch.float64
    assert before.std().item() > 1.0
    assert 0.0 < change.abs().max().item() < 0.01


def test_float32_gives_the_slopes_to_a_thousandth_of_the_largest(faint: tuple[Problem, Problem, Tensor]) -> None:
    exact, single, _ = faint
    theta = exact.prior.sample((1, 50), torch.Generator().manual_seed(9))
    (expected, jacobian), (value, slopes) = (one.data.sets[0].forward.linearised(theta) for one in (exact, single))
    assert slopes.dtype == torch.float64
    torch.testing.assert_close(value, single.expected(theta), rtol=2e-5, atol=1e-30 + 1e-9 * expected.max().item())
    error = (slopes - jacobian).abs() / jacobian.abs().amax(2, keepdim=True)
    # measured 4e-4, of the difference by T_max; the slopes that components state are good to 6e-5
    assert 1e-8 < error.max().item() < 1e-3
    assert error[..., [0, 1, 2, 4]].max().item() < 2e-4


def test_a_model_without_free_parameters_is_no_problem(problem: Problem) -> None:
    frozen = problem.model.freeze({p.name: p.value for p in problem.model.free})
    with pytest.raises(ModelError, match=r"TBabs\*simpl\*ezdiskbb: every parameter is frozen; leave at least one free"):
        problem_of_spectra(problem.data.sets[0].spectra, frozen, Prior.of(frozen), FitSetup(), [CSTAT] * 3)


def test_the_target_is_likelihood_and_prior_and_minus_infinity_outside_the_box(problem: Problem) -> None:
    v = draws_of(problem)
    likelihood = problem.log_likelihood(problem.prior.to_theta(v))
    torch.testing.assert_close(problem.log_target(v), likelihood + log_standard_normal(v))
    torch.testing.assert_close(problem.log_target(v, 0.4), 0.4 * likelihood + log_standard_normal(v))
    v[:, 1, 0], v[:, 2, 1], v[:, 3, 2] = FAR, -FAR - 1.0, torch.nan
    assert torch.isneginf(problem.log_target(v)).tolist() == [[False, True, True, True, *[False] * 3]] * 3


def test_matched_norms_give_the_observed_counts_within_the_box(problem: Problem) -> None:
    theta = problem.prior.to_theta(draws_of(problem))
    matched, value = problem.matched(theta)
    torch.testing.assert_close(value, problem.log_likelihood(matched), rtol=1e-9, atol=1e-9)
    norm = list(problem.norms)
    box = problem.prior.box
    inside = ((matched[..., norm] > box.lo[norm]) & (matched[..., norm] < box.hi[norm])).all(-1)
    net = problem.data.facts.net[:, None].expand(3, 7)
    assert bool(inside.any())
    torch.testing.assert_close(problem.expected_counts(matched)[inside], net[inside], rtol=1e-9, atol=0)
    others = [i for i in range(5) if i not in norm]
    assert torch.equal(matched[..., others], theta[..., others])
    assert bool(problem.prior.contains(matched).all())


def test_the_random_numbers_of_a_source_are_those_of_its_file(problem: Problem) -> None:
    every = problem.generators(3)
    alone = problem.select(torch.tensor([1])).generators(3)[0]
    assert alone.initial_seed() == every[1].initial_seed()
    assert problem.generators(4)[1].initial_seed() != every[1].initial_seed()


def test_a_prior_of_other_parameters_is_refused(problem: Problem) -> None:
    own = Prior.of(problem.model)
    others = (Prior.of(parse_model("TBabs*powerlaw")), Prior(own.marginals[:1]), Prior(own.marginals[::-1]))
    for other in others:
        with pytest.raises(PriorError, match=r"TBabs\*simpl\*ezdiskbb: its free parameters are TBabs\.nH, simpl"):
            Problem.of(problem.model, other, problem.data.sets)
