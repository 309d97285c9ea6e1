"""From observations and what a user says of them to a problem."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ogip_zoo import toy_observation
from xrayflow.errors import DataError, MismatchError, ModelError, PriorError
from xrayflow.fitting import optimise
from xrayflow.folding import Forward, Grid
from xrayflow.inference import infer
from xrayflow.models import parse_model
from xrayflow.ogip import Observation
from xrayflow.prior import Marginal, Prior
from xrayflow.setup import (
    APART,
    DEFAULT_MODEL,
    TOGETHER,
    FitSetup,
    build_problem,
    joint_problem,
    number_together,
    problem_of,
)
from xrayflow.statistics import GaussianLikelihood, choose


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    return toy_observation(tmp_path_factory.mktemp("toy"), exposure=100.0)


def test_the_default_model_is_the_papers() -> None:
    assert parse_model(DEFAULT_MODEL).text == "TBabs*simpl*ezdiskbb"
    assert FitSetup().model_and_prior()[0].text == "TBabs*simpl*ezdiskbb"


def test_spectra_of_many_binnings_are_fewer_together(toy: Observation) -> None:
    """Each binning has a folding matrix of its own."""
    alike = [FitSetup().bin(toy)] * 100
    assert number_together(alike) == TOGETHER
    other = FitSetup().bin(toy)
    apart = [replace(other, bin_of_channel=np.roll(other.bin_of_channel, i)) for i in range(APART + 1)]
    assert number_together(apart[:APART] * 3) == TOGETHER
    assert number_together(apart) == APART


def test_a_setup_is_said_in_words_of_its_own() -> None:
    with pytest.raises(TypeError, match="positional"):
        FitSetup("powerlaw")  # type: ignore[misc]


def test_answers_and_fits_take_the_words_of_a_setup_with_its_defaults() -> None:
    words = {name: one.default for name, one in inspect.signature(FitSetup).parameters.items()}
    for function in (infer, optimise):
        taken = inspect.signature(function).parameters
        assert {name: taken[name].default for name in words} == words, function


def test_expressions_freezes_links_and_priors_reach_the_problem(toy: Observation) -> None:
    setup = FitSetup(
        model="TBabs*(powerlaw+powerlaw)",
        abund="angr",
        prior=["powerlaw.PhoIndex=1:3"],
        freeze={"TBabs.nH": 0.05},
        link={"powerlaw_3.PhoIndex": "powerlaw.PhoIndex - 0.5"},
        energies=[(1.0, 6.0)],
    )
    problem = build_problem([toy], setup)
    assert problem.model.abund == "angr"
    assert problem.prior.names == ("powerlaw.PhoIndex", "powerlaw.norm", "powerlaw_3.norm")
    assert (problem.prior.marginals[0].lo, problem.prior.marginals[0].hi) == (1.0, 3.0)
    values = problem.model.values(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64))
    assert values.tolist() == pytest.approx([0.05, 2.0, 1.0, 1.5, 1.0])


def test_a_parameter_frozen_by_default_is_freed_by_a_prior_and_stays_where_a_user_holds_it() -> None:
    setup = FitSetup(model="TBabs*simplcutx*powerlaw", prior=["simplcutx.kT_e=10:300"])
    assert "simplcutx.kT_e" in setup.model_and_prior()[1].names
    with pytest.raises(PriorError, match="it is frozen"):
        replace(setup, freeze={"simplcutx.kT_e": 50.0}).model_and_prior()


def test_a_model_and_a_prior_that_are_made_already_are_taken_as_they_are() -> None:
    model = parse_model("powerlaw")
    prior = Prior((Marginal("powerlaw.PhoIndex", "", 1.0, 3.0, "linear"), Prior.of(model).marginals[1]))
    found = FitSetup(model=model, prior=prior).model_and_prior()
    assert (found[0].text, found[1]) == ("powerlaw", prior)


def test_bins_are_those_that_the_setup_asks_for(toy: Observation) -> None:
    spectrum = FitSetup(energies=[(1, 2), (3, 4)], grouping="min:20").bin(toy)
    assert spectrum.energies == ((1.0, 2.0), (3.0, 4.0))
    assert (spectrum.counts >= 20).all()
    assert spectrum.energy_lo.min() == 1.0
    by_channel = FitSetup(channels=(20, 29), grouping="none").bin(toy)
    assert (by_channel.channels, by_channel.counts.size) == ((20, 29), 10)
    assert FitSetup().bin(toy).energy_lo.min() == pytest.approx(0.3, abs=0.11)


def test_no_counts_in_the_band_are_one_line(toy: Observation) -> None:
    empty = replace(toy, pha=replace(toy.pha, counts=np.zeros(toy.pha.counts.size)))
    with pytest.raises(DataError, match=r"toy\.pha: no counts in .* keV; choose another band with --energies"):
        build_problem([empty], FitSetup(model="powerlaw"))


def test_wrong_names_are_refused_with_the_nearest(toy: Observation) -> None:
    for change, error, message in (
        ({"model": "TBasb*powerlaw"}, ModelError, "did you mean 'TBabs'"),
        ({"freeze": {"powerlaw.PhoIndx": 2.0}}, ModelError, r"did you mean 'powerlaw\.PhoIndex'"),
        ({"prior": ["powerlaw.nrm=1:2"]}, PriorError, r"powerlaw\.norm"),
        ({"statistic": "cstats"}, DataError, "did you mean 'cstat'"),
        ({"systematic": 0.7}, DataError, "it is a fraction of the model"),
        ({"background_scale": "x"}, DataError, "--background-scale 'x': it is no number"),
        ({"background_scale": True}, DataError, "--background-scale True: it is no number"),
        ({"freeze": {"background.lnA": 0.0}}, ModelError, r"background\.lnA is a nuisance .*--background known takes"),
        ({"link": {"Background.tilt": "1"}}, ModelError, r"Background\.tilt is a nuisance of the likelihood"),
        ({"prior": ["background.lna=-1:1"]}, ModelError, r"background\.lna is a nuisance .*--background-scale says"),
    ):
        with pytest.raises(error, match=message):
            build_problem([toy], FitSetup(**{"model": "powerlaw", **change}))  # type: ignore[arg-type]


def test_statistic_systematic_error_and_grid_reach_the_data(toy: Observation) -> None:
    grid = Grid.log(0.1, 12.0, 300)
    setup = FitSetup(model="powerlaw", statistic="chi2", grouping="min:20", systematic=0.03, grid=grid)
    (data,) = build_problem([toy, toy], setup).data.sets
    assert isinstance(data.likelihood, GaussianLikelihood)
    assert data.likelihood.systematic.tolist() == [[0.03], [0.03]]
    assert data.forward.grid is grid
    assert [choice.name for choice in data.choices] == ["chi2", "chi2"]


def test_spectra_that_are_binned_already_may_bring_their_statistics(toy: Observation) -> None:
    spectrum, model = toy.bin(((1.0, 6.0),), grouping="min:20"), parse_model("powerlaw")
    problem = problem_of([spectrum], model, Prior.of(model), FitSetup(), [choose(spectrum, "chi2")])
    assert problem.data.statistic_names == ("chi2",)
    assert isinstance(problem.data.sets[0].forward, Forward)


def test_spectra_of_two_responses_are_no_batch(toy: Observation) -> None:
    other = replace(toy, rmf=replace(toy.rmf, sha256="0" * 64))
    with pytest.raises(MismatchError, match="a batch of spectra must share one RMF"):
        build_problem([toy, other], FitSetup(model="powerlaw"))


def test_a_link_that_leaves_its_limits_is_refused(tmp_path: Path) -> None:
    setup = FitSetup(model="powerlaw+powerlaw", link={"powerlaw_2.norm": "powerlaw.norm - 1e30"})
    with pytest.raises(ModelError, match=r"powerlaw_2\.norm"):
        build_problem([toy_observation(tmp_path)], setup)


def test_changes_of_a_prior_may_come_from_an_iterator() -> None:
    setup = FitSetup(model="powerlaw", prior=iter(["powerlaw.PhoIndex=1:2"]))
    assert setup.model_and_prior() == setup.model_and_prior()
    assert setup.model_and_prior()[1].marginals[0].hi == 2.0


def test_several_instruments_add_their_likelihoods(toy: Observation) -> None:
    setups = [FitSetup(model="powerlaw", energies=[band]) for band in ((1.0, 3.0), (2.0, 6.0))]
    theta = torch.tensor([[[1.7, 0.05], [2.0, 0.1]]], dtype=torch.float64)
    both = joint_problem([toy, toy], setups)
    each = [build_problem([toy], setup).log_likelihood(theta) for setup in setups]
    torch.testing.assert_close(both.log_likelihood(theta), each[0] + each[1])
