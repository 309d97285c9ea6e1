"""The command of an answer makes that answer again, to the last digit."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from answer_zoo import toy_posterior
from command_zoo import Run, runner
from ogip_zoo import toy_files
from xrayflow.products import load_result
from xrayflow.products.commands import command_text, fit_words
from xrayflow.setup import FitSetup


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(capsys, monkeypatch)


CASES = {
    "usual": ("--model", "powerlaw"),
    "everything": (
        *("--model", "TBabs*(powerlaw+gaussian+gaussian)", "--abund", "angr", "--energies", "1-2.5,3-5.9"),
        *(
            "--freeze",
            "gaussian.LineE=3.3",
            "--freeze",
            "gaussian.Sigma=0.1",
            "--freeze",
            "gaussian_4.LineE=4.123456789",
        ),
        *("--link", "gaussian_4.Sigma=2*gaussian.Sigma", "--prior", "powerlaw.PhoIndex=1:2.7123456789"),
        *("--prior", "powerlaw.PhoIndex~N(1.7,0.2)", "--prior", "TBabs.nH=lin:0.001:1", "--grouping", "min:40"),
        *("--systematic", "0.012", "--likelihood", "known", "--draws", "1200", "--ess", "300", "--seed", "7"),
        *("--network", "none", "--statistic", "cstat"),
    ),
    "channels": (
        "--model",
        "phabs*powerlaw",
        "--channels",
        "20-60",
        "--background-scale",
        "0.2",
        "--freeze",
        "phabs.nH=0",
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_command_of_an_answer_makes_it_again(run: Run, tmp_path: Path, case: str) -> None:
    toy = toy_files(tmp_path, exposure=100.0, background=case == "channels")
    assert run("fit", toy, *CASES[case], "--no-report", "--out", tmp_path / "a").code in (0, 3)
    before = load_result(tmp_path / "a")
    words = shlex.split(command_text(fit_words(before)).replace("\\\n", " "))
    assert words[:2] == ["xrayflow", "fit"]
    assert run(*words[1:], "--no-report", "--out", tmp_path / "b").code in (0, 3)
    after = load_result(tmp_path / "b")
    assert after.prior == before.prior
    assert [(p.name, p.value, p.frozen) for p in after.model.parameters] == [
        (p.name, p.value, p.frozen) for p in before.model.parameters
    ]
    np.testing.assert_array_equal(after.draws, before.draws)
    np.testing.assert_array_equal(after.log_weight, before.log_weight)
    assert after.statistic.value == before.statistic.value
    assert fit_words(after) == fit_words(before)


def test_a_parameter_that_is_frozen_as_usual_is_thawed_by_its_prior() -> None:
    model, prior = FitSetup(model="simplcutx*powerlaw", prior=["simplcutx.kT_e=5:80"]).model_and_prior()
    assert "simplcutx.kT_e" in model.names
    posterior = replace(toy_posterior(), model=model, prior=prior)
    words = fit_words(posterior)
    assert "simplcutx.kT_e=log:5:80" in words or "simplcutx.kT_e=lin:5:80" in words
    changes = [value for option, value in pairwise(words) if option == "--prior"]
    again = FitSetup(model=model.text, prior=changes).model_and_prior()[1]
    assert again == prior
    # as wide as usual, it still has to be named
    usual = FitSetup(model="simplcutx*powerlaw", prior=["simplcutx.kT_e~N(40,10)"]).model_and_prior()
    named = fit_words(replace(posterior, model=usual[0], prior=usual[1]))
    assert "simplcutx.kT_e~N(40,10)" in named
