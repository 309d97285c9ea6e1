"""The coordinates in which a norm is the counts that it gives: a bijection with the slope that it says, flat where the
parameters trade for each other."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from coordinates_zoo import SETUPS, coordinates_problem, places
from ogip_zoo import toy_observation
from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.inference import SamplingBudget, infer_batch
from xrayflow.inference.proposals.counts_coordinates import CountsCoordinates, MixtureInCoordinates
from xrayflow.inference.proposals.student import StudentMixture
from xrayflow.models import parse_model
from xrayflow.ogip import read_observation
from xrayflow.prior import FAR, log_standard_normal
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate


@pytest.fixture(scope="module", params=list(SETUPS))
def problem(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return coordinates_problem(tmp_path_factory.mktemp("level"), request.param)


def test_there_and_back(problem: Problem) -> None:
    level, v = CountsCoordinates.of(problem), places(problem)
    torch.testing.assert_close(level.back(level.into(v)), v, rtol=1e-9, atol=1e-9)


def test_the_first_norm_becomes_the_log_of_the_counts(problem: Problem) -> None:
    level, v = CountsCoordinates.of(problem), places(problem)
    counts = level.problem.expected(problem.prior.to_theta(v)).sum(-1)
    torch.testing.assert_close(level.into(v)[..., level.norms[0]], torch.log(counts))
    others = [i for i in range(v.shape[-1]) if i not in level.norms]
    assert torch.equal(level.into(v)[..., others], v[..., others])


def test_the_slope_is_that_of_central_differences(problem: Problem) -> None:
    level, v, step = CountsCoordinates.of(problem), places(problem, 6), 1e-5
    columns = []
    for i in range(v.shape[-1]):
        off = torch.zeros_like(v)
        off[..., i] = step
        columns.append((level.into(v + off) - level.into(v - off)) / (2.0 * step))
    slope = torch.linalg.slogdet(torch.stack(columns, dim=-1))[1]
    torch.testing.assert_close(level.log_slope(v), slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"freeze": {"powerlaw.norm": 0.1}}, {"model": "TBabs*(powerlaw+bbodyrad)", "freeze": {"bbodyrad.norm": 1.0}}],
    ids=["no norm is free", "one of two is not"],
)
def test_without_norms_that_scale_all_counts_nothing_changes(tmp_path: Path, change: dict[str, object]) -> None:
    setup = FitSetup(**{"model": "TBabs*powerlaw", **change})  # type: ignore[arg-type]
    problem = build_problem([toy_observation(tmp_path, seed=2)], setup)
    level, v = CountsCoordinates.of(problem), places(problem)
    assert level.norms == ()
    assert torch.equal(level.into(v), v)
    assert torch.equal(level.back(v), v)
    assert torch.equal(level.log_slope(v), torch.zeros(1, v.shape[1], dtype=torch.float64))


def test_beyond_the_box_a_norm_lies_at_its_edge(problem: Problem) -> None:
    level = CountsCoordinates.of(problem)
    w = level.into(places(problem, 3))
    w[..., level.norms[0]] = torch.tensor([-200.0, 200.0, torch.nan], dtype=torch.float64)
    assert level.back(w)[0, :, level.norms[0]].tolist() == [-FAR, FAR, FAR]


def test_a_thin_bent_sheet_is_certified() -> None:
    """A disc too cold to be seen but for what it scatters: temperature, norm and fraction trade for each other while
    the counts, known to 0.2 %, hardly change. In the prior's coordinates hundreds of kernels gave 2 effective draws of
    4000."""
    template = read_observation(bundled_pha(), bundled_rmf(), bundled_arf(), "none")
    values = {
        "TBabs.nH": 25.3,
        "simpl.Gamma": 3.37,
        "simpl.FracSctr": 0.88,
        "ezdiskbb.T_max": 0.075,
        "ezdiskbb.norm": 1.64e7,
    }
    model = "TBabs*simpl*ezdiskbb"
    observation = simulate(template, parse_model(model), values, 14_000.0, 4)
    setup = FitSetup(model=model, energies=[(0.3, 10.0)], grouping="optimal")
    answer = infer_batch([observation], setup, seed=1, budget=SamplingBudget(starts=8))[0]
    assert answer.network == "nicer-bhb"
    assert answer.computation.status == "certified", answer.computation.reasons


def test_a_part_in_these_coordinates_is_normalised(problem: Problem) -> None:
    """The mean of f / q over draws of q is 1 for any density f within its reach, within four standard errors."""
    level = CountsCoordinates.of(problem)
    w = level.into(places(problem, 4000))
    mean = w.mean(1, keepdim=True)
    scale = torch.linalg.cholesky(1.5 * torch.cov(w[0].T))[None, None]
    part = MixtureInCoordinates(level, StudentMixture(torch.zeros((1, 1), dtype=torch.float64), mean, scale))
    v = part.sample(60_000, torch.Generator().manual_seed(3))
    narrow = log_standard_normal(3.0 * v) + v.shape[-1] * math.log(3.0)
    ratio = torch.exp(narrow - part.log_density(v))
    error = 4.0 * float(ratio.std()) / 60_000**0.5
    assert error < 0.3
    assert float(ratio.mean()) == pytest.approx(1.0, abs=error)


def test_such_a_part_has_no_density_where_the_coordinates_have_no_number() -> None:
    mixture = StudentMixture(torch.zeros((1, 1)), torch.zeros((1, 1, 2)), torch.eye(2)[None, None])
    part = MixtureInCoordinates(CountsCoordinates(None, ()), mixture)  # type: ignore[arg-type]
    v = torch.tensor([[0.0, 0.0], [0.0, torch.nan]])
    assert torch.isfinite(part.log_density(v)).tolist() == [True, False]
    assert float(part.log_density(v)[1]) == -math.inf
