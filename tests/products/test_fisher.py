"""A forecast by curvature: closed forms, the simulated forecast beside it, and where it says that it is none."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ogip_zoo import power_law_counts, toy_files
from xrayflow.errors import DataError
from xrayflow.inference import Posterior, infer, infer_problem
from xrayflow.ogip import read_observation
from xrayflow.products import Plan, fisher_forecast, fisher_table, forecast
from xrayflow.setup import FitSetup, joint_problem

BAND = [(1.0, 6.0)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_files(tmp_path_factory.mktemp("toy"), exposure=100.0, background=True)


@pytest.fixture(scope="module")
def answer(toy: Path) -> Posterior:
    """Of a power law with a background, whose files stay."""
    return infer(read_observation(toy), "powerlaw", energies=BAND, grouping="min:20")


@pytest.fixture(scope="module")
def vague(toy: Path) -> Posterior:
    """With an absorber that these energies hardly see."""
    return infer(read_observation(toy), "TBabs*powerlaw", energies=BAND, grouping="min:20")


def test_a_norm_alone_is_known_to_the_root_of_its_counts(toy: Path) -> None:
    """Poisson counts without a background: sigma / norm = 1 / sqrt(N)."""
    alone = read_observation(toy, background="none")
    answer = infer(alone, "powerlaw", energies=BAND, freeze={"powerlaw.PhoIndex": 1.8})
    (row,) = (found := fisher_forecast(answer, Plan(exposure=1000.0))).rows()
    # whose own four spectra scatter by sqrt(N) each
    assert row["standard_deviation"] / found.truth[0] == pytest.approx(found.counts**-0.5, rel=0.01)
    assert row["doubt"] == ""


@pytest.mark.parametrize("exposure", [100.0, 3000.0])
def test_it_is_the_simulated_forecast_where_there_are_many_counts(answer: Posterior, exposure: float) -> None:
    """The median of 10 widths scatters by 2 % (bin-to-bin background), the promise is 10 %."""
    curved = fisher_forecast(answer, Plan(exposure=exposure))
    drawn = forecast(answer, Plan(exposure=exposure, spectra=10, seed=3))
    for one, other in zip(curved.rows(), drawn.rows(), strict=True):
        assert one["doubt"] == ""
        assert one["width90"] == pytest.approx(other["width90"], rel=0.1)
        assert one["narrower_by"] == pytest.approx(one["width90_now"] / one["width90"])
    assert curved.counts == pytest.approx(float(np.median(drawn.counts)), rel=0.05)


def test_the_prior_is_in_it(toy: Path) -> None:
    """A normal prior narrower than the data by far: its own width is left, and that is said."""
    sharp = infer(read_observation(toy), "powerlaw", energies=BAND, prior=["powerlaw.PhoIndex~N(1.8,0.001)"])
    index, norm = fisher_forecast(sharp, Plan(exposure=100.0)).rows()
    assert index["standard_deviation"] == pytest.approx(0.001, rel=0.01)
    assert index["doubt"] == "the prior says more"
    assert norm["doubt"] == "beside powerlaw.PhoIndex"


def test_where_it_is_not_to_be_trusted_it_says_so(vague: Posterior) -> None:
    found = fisher_forecast(vague, Plan(exposure=1.0))
    assert [row["doubt"] for row in found.rows()] == ["the prior says more", *["beside TBabs.nH"] * 2]
    text = StringIO()
    Console(file=text, width=200).print(fisher_table(found))
    assert "not to be trusted: ln of the posterior is no parabola" in text.getvalue()
    assert "the same command without --fisher simulates" in text.getvalue()
    bent = fisher_forecast(vague, Plan(exposure=4e4)).rows()  # nH is measured now, near the edge of its prior
    assert {row["doubt"] for row in bent} <= {"no parabola", "beside TBabs.nH"}
    assert bent[0]["doubt"] == "no parabola"


def test_what_is_told_is_plain(answer: Posterior) -> None:
    poor = replace(answer, fit=replace(answer.fit, status="poor"))
    found = fisher_forecast(poor, Plan(exposure=400.0))
    text = StringIO()
    Console(file=text, width=200).print(fisher_table(found))
    assert "by Fisher's information at the medians of the answer, and the prior" in text.getvalue()
    assert "not to be trusted: ln" not in text.getvalue()
    assert "the model does not describe the data well" in text.getvalue()
    told = found.report()
    assert told["exposure"] == 400.0
    assert [row["name"] for row in told["parameters"]] == ["powerlaw.PhoIndex", "powerlaw.norm"]
    again = fisher_forecast(poor, Plan(exposure=400.0)).report()
    assert again == told
    with pytest.raises(DataError, match=r"exposure 1e-05 s: 4 of 4 simulated spectra have no counts; give a longer"):
        fisher_forecast(answer, Plan(exposure=1e-5))
    with pytest.raises(DataError, match="exposure -1 s: give a time above 0"):
        fisher_forecast(answer, Plan(exposure=-1.0))


def test_several_data_sets_are_foretold_together(tmp_path: Path) -> None:
    """The same spectrum twice tells sqrt(2) more than once."""
    setup = FitSetup(model="powerlaw", energies=BAND)
    one = read_observation(toy_files(tmp_path, exposure=1000.0))
    once, twice = (infer_problem(joint_problem([one] * n, [setup] * n))[0] for n in (1, 2))
    single = fisher_forecast(once, Plan(exposure=2000.0)).rows()
    both = fisher_forecast(twice, Plan(exposure=2000.0)).rows()
    for alone, together in zip(single, both, strict=True):
        assert alone["width90"] / together["width90"] == pytest.approx(2.0**0.5, rel=0.03)


@pytest.mark.parametrize("way", ["curvature", "draws"])
def test_errors_of_a_file_do_not_shrink_with_the_exposure(tmp_path: Path, way: str) -> None:
    """chi2 with SYS_ERR of 20 % in bins of 1 % noise: four times the exposure tells nothing new."""
    counts = power_law_counts(1e4)
    noisy = np.random.default_rng(0).normal(counts, 0.2 * counts).clip(min=1.0)
    path = toy_files(tmp_path, counts=np.rint(noisy), exposure=1e4, sys_err=np.full(120, 0.2))
    answer = infer(read_observation(path), "powerlaw", energies=BAND, statistic="chi2")
    plan = Plan(exposure=4e4, spectra=4)
    found = fisher_forecast(answer, plan) if way == "curvature" else forecast(answer, plan)
    for row in found.rows():
        assert row["narrower_by"] == pytest.approx(1.0, rel=0.1)
