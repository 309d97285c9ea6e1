"""The predictive check is calibrated on data of the model, finds a line, and is calm where counts are few."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from fit_zoo import BAND, observation, spectrum_of
from xrayflow.inference.checks.predictive import CLEAR, DRAWS, REPLICATES, Predictive, check
from xrayflow.inference.checks.verdict import MOST_DEVIATION
from xrayflow.joint_data import JointData
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.statistics import CountLikelihood

TRUTH = torch.tensor([1.7, 0.05], dtype=torch.float64)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """A power law of about 2e4 counts."""
    found = observation(tmp_path_factory.mktemp("toy"), exposure=200.0)
    return build_problem([found], FitSetup(model="powerlaw", energies=BAND))


def with_counts(problem: Problem, counts: torch.Tensor, exposure: float = 1.0) -> Problem:
    """The problem with other counts, of another exposure."""
    (data,) = problem.data.sets
    assert isinstance(data.likelihood, CountLikelihood)
    before, fold = data.likelihood, data.forward.fold
    likelihood = CountLikelihood.of(counts, before.background, before.systematic[:, 0], before.used)
    forward = replace(data.forward, fold=replace(fold, area=fold.area * exposure))
    return replace(problem, data=JointData((replace(data, likelihood=likelihood, forward=forward),)))


def checked(problem: Problem, counts: torch.Tensor, seed: int, exposure: float = 1.0, draws: int = DRAWS) -> Predictive:
    theta = TRUTH.expand(draws, -1)
    given = with_counts(problem, counts, exposure)
    return check(given, theta, torch.Generator().manual_seed(seed))


def simulated(problem: Problem, count: int, exposure: float = 1.0) -> torch.Tensor:
    """(simulation, bin) counts of the model itself."""
    mean = exposure * problem.expected(TRUTH[None, None])[0]
    return torch.poisson(mean.expand(count, -1), generator=torch.Generator().manual_seed(17))


def test_p_values_of_data_from_the_model_are_uniform(problem: Problem) -> None:
    """Kolmogorov-Smirnov of 120 simulations; a false alarm once in 1000 seeds."""
    p = [checked(problem, row[None], i, draws=100).p_value for i, row in enumerate(simulated(problem, 120))]
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert min(p) >= 1.0 / (100 * REPLICATES + 1)
    assert max(p) <= 1.0


def test_windows_of_data_from_the_model_are_standard_normal(problem: Problem) -> None:
    """A spread of 1 within 10 %: some 12 independent windows in each of 100 simulations scatter by 2 %."""
    deviation = np.array([checked(problem, row[None], 0, draws=2).deviation for row in simulated(problem, 100)])
    assert deviation.std() == pytest.approx(1.0, rel=0.1)
    assert deviation.mean() == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("energy", [1.5, 3.0, 5.0])
def test_a_line_is_found_at_its_energy(problem: Problem, energy: float) -> None:
    spectrum = spectrum_of(problem)
    mean = problem.expected(TRUTH[None, None])[0]
    middle = torch.from_numpy(0.5 * (spectrum.energy_lo + spectrum.energy_hi))
    shape = torch.exp(-0.5 * ((middle - energy) / (0.02 * energy + 0.05)) ** 2)
    window = (middle / energy - 1.0).abs() < 0.05
    strength = 10.0 * float(mean[0, window].sum()) ** 0.5 / float(shape[window].sum())
    answer = checked(problem, torch.round(mean + strength * shape), 1)
    worst = int(np.argmax(np.abs(answer.deviation)))
    assert answer.energy[worst] == pytest.approx(energy, rel=0.05)
    assert answer.deviation[worst] > 5.0
    assert answer.excess[worst] > 0.0
    dip = checked(problem, torch.round((mean - strength * shape).clamp(min=0.0)), 1)
    worst = int(np.argmax(np.abs(dip.deviation)))
    assert dip.energy[worst] == pytest.approx(energy, rel=0.05)
    assert dip.deviation[worst] < -5.0


@pytest.mark.parametrize(("counts", "most"), [(300.0, 2), (30.0, 2), (3.0, 3)])
def test_windows_with_few_counts_do_not_cry_wolf(problem: Problem, counts: float, most: int) -> None:
    """100 faint simulations; a Poisson mean of 25 is 4 sd off once in 10 000, of 3 once in 800."""
    exposure = counts / float(problem.expected(TRUTH[None, None]).sum())
    alarms = 0
    for i, row in enumerate(simulated(problem, 100, exposure)):
        answer = checked(problem, row[None], i, exposure, draws=5)
        alarms += bool((np.abs(answer.deviation) > MOST_DEVIATION).any())
        assert np.isfinite(answer.deviation).all()
    assert alarms <= most


def test_a_model_without_the_observed_shape_has_a_small_p_value(problem: Problem) -> None:
    answer = checked(problem, torch.round(1.3 * problem.expected(TRUTH[None, None])[0]), 3)
    assert answer.p_value == pytest.approx(1.0 / (DRAWS * REPLICATES + 1))
    assert answer.excess.mean() == pytest.approx(0.3, abs=0.02)


def test_a_p_value_that_is_clear_takes_one_replica_of_each_draw_and_a_small_one_four(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """p is (k + 1) / (n + 1) of all n replicas that were made."""
    made: list[int] = []
    replicate = JointData.replicate

    def counting(self: JointData, expected: torch.Tensor, theta: torch.Tensor, generator: torch.Generator) -> JointData:
        made.append(expected.shape[1])
        return replicate(self, expected, theta, generator)

    monkeypatch.setattr(JointData, "replicate", counting)
    mean = problem.expected(TRUTH[None, None])[0]
    for excess, replicates in ((1.0, 1), (1.02, None), (1.3, REPLICATES)):
        made.clear()
        p = checked(problem, torch.round(excess * mean), 1).p_value
        assert set(made) == {DRAWS}
        assert len(made) == (1 if p > CLEAR else REPLICATES)
        assert replicates is None or len(made) == replicates
        assert (p * (len(made) * DRAWS + 1)) == pytest.approx(round(p * (len(made) * DRAWS + 1)))


def test_bands_hold_the_spread_of_the_draws_and_the_background(tmp_path: Path) -> None:
    found = observation(tmp_path, "counts", exposure=200.0)
    problem = build_problem([found], FitSetup(model="powerlaw", energies=BAND, likelihood="known"))
    theta = torch.stack([torch.full((101,), 1.7), torch.linspace(0.04, 0.06, 101)], dim=-1).double()
    answer = check(problem, theta, torch.Generator().manual_seed(4))
    one = problem.expected(TRUTH[None, None])[0, 0].numpy()
    np.testing.assert_allclose(answer.expected, np.outer([0.82, 1.0, 1.18], one), rtol=1e-6)
    (data,) = problem.data.sets
    assert isinstance(data.likelihood, CountLikelihood)
    np.testing.assert_allclose(answer.total - answer.expected, np.tile(data.likelihood.background.numpy(), (3, 1)))
    np.testing.assert_allclose(answer.energy**2, data.spectra[0].energy_lo * data.spectra[0].energy_hi)
    np.testing.assert_array_equal(answer.counts, data.spectra[0].counts)
    np.testing.assert_allclose(answer.variance, answer.total[1])
    np.testing.assert_allclose(answer.data_variance, data.likelihood.background[0].numpy())


def test_bands_nest_and_components_make_up_the_model(tmp_path: Path) -> None:
    found = observation(tmp_path, exposure=200.0)
    setup = FitSetup(model="powerlaw+gaussian", freeze={"gaussian.LineE": 3.0, "gaussian.Sigma": 0.1}, energies=BAND)
    problem = build_problem([found], setup)
    generator = torch.Generator().manual_seed(0)
    draws = torch.tensor([1.7, 0.05, 0.004], dtype=torch.float64) * (
        1.0 + 0.02 * torch.randn((100, 3), dtype=torch.float64, generator=generator)
    )
    made = check(problem, draws, generator)
    rows = np.stack([made.total[0], made.total68[0], made.total[1], made.total68[1], made.total[2]])
    assert (np.diff(rows, axis=0) >= 0).all()
    assert list(made.components) == ["powerlaw", "gaussian"]
    np.testing.assert_allclose(sum(made.components.values()), made.expected[1], rtol=0.02)
    line = made.components["gaussian"]
    assert made.energy_lo[line.argmax()] == pytest.approx(3.0, abs=0.2)


def test_one_component_is_the_model_itself(problem: Problem) -> None:
    assert checked(problem, simulated(problem, 1), 0, draws=20).components == {}


def test_bins_of_several_data_sets_stand_end_to_end(problem: Problem) -> None:
    """Twice the same data: twice the same residuals, and a window does not reach into the other set."""
    (data,) = problem.data.sets
    joint = replace(problem, data=JointData((data, data)))
    theta = TRUTH.expand(20, -1)
    alone, both = (check(one, theta, torch.Generator().manual_seed(5)) for one in (problem, joint))
    for name in ("energy_lo", "counts", "deviation", "excess", "variance"):
        np.testing.assert_allclose(getattr(both, name), np.tile(getattr(alone, name), 2))
    assert both.expected.shape == (3, 2 * data.spectra[0].counts.size)
