"""Groups that the counts decided are shown, and are not what the likelihood and p rest on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ogip_zoo import toy_observation
from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.errors import DataError
from xrayflow.fitting import optimise, optimise_problem
from xrayflow.inference import Posterior, infer
from xrayflow.inference.checks.predictive import check
from xrayflow.joint_data import JointData
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, blank_pha, read_observation, read_rmf
from xrayflow.ogip.regroup import group_min
from xrayflow.problem import Problem
from xrayflow.products.display import shown_bins
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate
from xrayflow.statistics import CountLikelihood

BAND = [(1.0, 6.0)]


@pytest.fixture(scope="module")
def faint(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """A power law of some 50 counts, one in a channel."""
    return toy_observation(tmp_path_factory.mktemp("faint"), exposure=2.0)


def fitted(observation: Observation, grouping: str) -> Posterior:
    return infer(observation, "powerlaw", energies=BAND, grouping=grouping, network="none", draws=300, ess=100.0)


@pytest.mark.parametrize("grouping", ["min:1", "min:5", "file"])
def test_groups_of_counts_give_the_answer_of_the_channels(faint: Observation, grouping: str) -> None:
    channels = fitted(faint, "none")
    columns = group_min(faint.pha.quality, faint.pha.counts, 5)
    given = replace(faint, pha=replace(faint.pha, grouping=columns[0], quality=columns[1]))
    answer = fitted(given if grouping == "file" else faint, grouping)
    assert np.array_equal(answer.draws, channels.draws)
    assert answer.fit.p_value == channels.fit.p_value
    assert answer.deviance == channels.deviance


def test_the_statistic_and_the_bins_shown_are_those_of_the_groups_asked_for(faint: Observation) -> None:
    answer = fitted(faint, "min:5")
    asked = faint.bin(BAND, grouping="min:5")
    problem = build_problem([faint], FitSetup(model="powerlaw", energies=BAND, grouping="min:5"), "statistic")
    best = torch.from_numpy(answer.best)[None, None]
    assert answer.statistic.value == pytest.approx(float(problem.statistic(best)))
    assert answer.statistic.dof == asked.counts.size - 2 < answer.deviance.dof
    assert answer.summary()["observations"][0]["bins"] == asked.counts.size
    assert answer.predictive.total.shape == (3, asked.counts.size)
    assert np.array_equal(shown_bins(answer).counts.sum(), asked.counts.sum())
    assert any("the counts decided where groups end" in reason for reason in answer.reasons)


def test_a_fit_of_xspecs_statistic_is_of_the_groups_asked_for(faint: Observation) -> None:
    asked = faint.bin(BAND, grouping="min:5")
    settings = {"energies": BAND, "grouping": "min:5"}
    by_statistic = optimise(faint, "powerlaw", objective="statistic", **settings)  # type: ignore[arg-type]
    assert by_statistic.dof == asked.counts.size - 2
    by_posterior = optimise(faint, "powerlaw", objective="posterior", **settings)  # type: ignore[arg-type]
    assert by_posterior.dof == faint.bin(BAND, grouping="none").counts.size - 2
    problem = build_problem([faint], FitSetup(model="powerlaw", **settings))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="build the problem for objective 'statistic'"):
        optimise_problem(problem, "statistic")


@pytest.mark.parametrize(("statistic", "background"), [("chi2", False), ("wstat", True)])
def test_chi2_and_a_counted_background_that_is_known_keep_their_groups(
    tmp_path: Path, statistic: str, background: bool
) -> None:
    found = toy_observation(tmp_path, exposure=20.0, background=background)
    setup = FitSetup(model="powerlaw", energies=BAND, grouping="min:5", statistic=statistic, likelihood="known")
    problem = build_problem([found], setup)
    assert problem.as_asked() is problem
    assert problem.data.sets[0].spectra[0].counts.size == found.bin(BAND, grouping="min:5").counts.size


def normal_posterior(problem: Problem, start: Tensor, generator: torch.Generator) -> Tensor:
    """(draw, parameter) of the normal approximation at the maximum of the likelihood."""
    data = problem.data.sets[0]
    best, counts = start, data.likelihood.counts[0, 0]
    for _ in range(5):
        expected, slope = (part[0, 0] for part in data.forward.linearised(best[None, None]))
        covariance = torch.linalg.inv(slope.T @ (slope / expected[:, None]))
        best = best + covariance @ slope.T @ (counts / expected - 1.0)
    normal = torch.randn((100, best.numel()), generator=generator, dtype=best.dtype)
    return best + normal @ torch.linalg.cholesky(covariance).T


def test_p_is_uniform_where_channels_hold_few_counts() -> None:
    """A power law of 60 counts in 649 channels; Kolmogorov-Smirnov of 60 spectra, a false alarm once in 1000 seeds."""
    rmf, truth = read_rmf(bundled_rmf()), {"powerlaw.PhoIndex": 1.8, "powerlaw.norm": 1.0}
    template = read_observation(blank_pha(rmf), rmf, bundled_arf(), "none")
    some = simulate(template, parse_model("powerlaw"), truth, 1.0, 1)
    problem = build_problem([some], FitSetup(model="powerlaw", energies=[(0.5, 7.0)], grouping="none"))
    start = torch.tensor([truth[name] for name in problem.prior.names], dtype=torch.float64)
    unit = problem.expected(start[None, None])[0]
    generator, found = torch.Generator().manual_seed(9), []
    data, zeros = problem.data.sets[0], torch.zeros_like(unit)
    fold = replace(data.forward.fold, area=data.forward.fold.area * 60.0 / float(unit.sum()))
    data = replace(data, forward=replace(data.forward, fold=fold))
    for row in torch.poisson((unit * 60.0 / unit.sum()).expand(60, -1), generator=generator):
        likelihood = CountLikelihood.of(row[None], zeros, zeros[:, 0], torch.ones_like(zeros))
        given = replace(problem, data=JointData((replace(data, likelihood=likelihood),)))
        found.append(check(given, normal_posterior(given, start, generator), generator).p_value)
    assert stats.kstest(found, "uniform").pvalue > 1e-3
