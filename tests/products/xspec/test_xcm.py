"""The script, run by a real Tcl whose commands only note what they were told."""

from __future__ import annotations

import tkinter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from answer_zoo import altered, toy_posterior
from xrayflow.dataset import Calibration
from xrayflow.errors import DataError
from xrayflow.inference import Posterior
from xrayflow.prior import Prior
from xrayflow.products.xspec import script
from xrayflow.products.xspec.xcm import word

ORDER = [
    *("statistic", "data", "response", "arf", "backgrnd", "ignore", "method", "abund", "xsect", "cosmo", "xset"),
    *("systematic", "energies", "model", "bayes"),
]


def run(text: str) -> tuple[list[list[str]], list[str]]:
    """The commands that XSPEC would be told, as Tcl divides them into words, and the lines below `model`.

    Those lines are answers to `model`, which XSPEC reads itself.
    """
    tcl = tkinter.Tcl()
    told: list[list[str]] = []
    for name in (*ORDER, "exec", "exit", "puts", "set", "source", "unknown"):
        tcl.createcommand(name, lambda *words, name=name: told.append([name, *words]))
    answers: list[str] = []
    below = False
    for line in text.splitlines():
        if below and line.split()[0] != "bayes":
            answers.append(line)
            continue
        tcl.eval(line)
        below = line.startswith("model ")
    return told, answers


def told(posterior: Posterior) -> dict[str, list[str]]:
    """The words of each command."""
    commands, _ = run(script(posterior))
    return {command[0]: command[1:] for command in commands}


def comments(posterior: Posterior) -> str:
    return "\n".join(line for line in script(posterior).splitlines() if line.startswith("#"))


def test_commands_come_in_the_order_of_save_all() -> None:
    commands, answers = run(script(toy_posterior()))
    assert [command[0] for command in commands] == ORDER
    assert len(answers) == 3


def test_files_bins_and_settings_are_those_of_the_fit() -> None:
    posterior = toy_posterior(background=True)
    said, data = told(posterior), posterior.data[0]
    assert said["statistic"] == ["cstat"]
    assert said["data"] == ["1:1", str(data.pha)]
    assert said["response"] == ["1:1", str(data.rmf)]
    assert said["arf"] == ["1:1", str(data.arf)]
    assert said["backgrnd"] == ["1", str(data.background)]
    assert told(toy_posterior())["backgrnd"] == ["1", "none"]
    assert (said["abund"], said["xsect"]) == (["wilm"], ["vern"])
    assert said["energies"] == ["extend", "low", "0.001", "200", "log"]
    assert said["model"] == ["TBabs*powerlaw"]
    assert said["systematic"] == ["0"]
    assert said["bayes"] == ["off"]


def of_bins(number: list[int], all_bins: int, grouping: str = "file") -> Posterior:
    """The answer as if these bins had been fitted."""
    toy = toy_posterior()
    data = replace(toy.data[0], number=np.array(number), all_bins=all_bins, grouping=grouping)
    return replace(toy, data=(data,))


@pytest.mark.parametrize(
    ("number", "all_bins", "ignored"),
    [
        ([3, 4, 5, 9, 10], 12, "1:1-2,6-8,11-12"),
        ([1, 2, 3], 4, "1:4"),
        ([2], 3, "1:1,3"),
        ([*range(22, 55), *range(83, 255)], 326, "1:1-21,55-82,255-326"),
        ([9, 8, 7], 10, "1:1-6,10"),
    ],
)
def test_bins_that_were_not_fitted_are_ignored_by_their_numbers(number: list[int], all_bins: int, ignored: str) -> None:
    assert told(of_bins(number, all_bins))["ignore"] == [ignored]


def test_nothing_is_ignored_where_all_bins_were_fitted() -> None:
    assert "ignore" not in told(of_bins([1, 2, 3], 3))


def test_groups_that_xspec_does_not_have_are_told_and_energies_ignored() -> None:
    toy = toy_posterior()
    data = replace(toy.data[0], energies=((0.5, 1.5), (2.3, 10.0)), grouping="min:20")
    posterior = replace(toy, data=(data,))
    assert told(posterior)["ignore"] == ["1:**-0.500000,1.500000-2.300000,10.000000-**"]
    assert "grouptype=min groupscale=20" in comments(posterior)
    assert "grouptype=opt respfile=RMF" in comments(of_bins([1], 2, "optimal"))
    assert "ftgrouppha" not in comments(of_bins([1], 2))


def numbers(line: str) -> list[float]:
    return [float(number) for number in line.split()]


def test_each_parameter_has_six_numbers_in_their_order() -> None:
    posterior = toy_posterior()
    _, answers = run(script(posterior))
    for line, best, marginal in zip(answers, posterior.best, posterior.prior.marginals, strict=True):
        value, delta, lowest, low, high, highest = numbers(line)
        assert value == pytest.approx(best, rel=1e-11)
        assert delta > 0
        assert (lowest, low, high, highest) == (marginal.lo, marginal.lo, marginal.hi, marginal.hi)
        assert lowest <= low <= value <= high <= highest


def with_model(model: Any) -> Posterior:
    """The answer as if it were one of another model."""
    prior = Prior.of(model)
    middle = np.array([np.sqrt(m.lo * m.hi) if m.scale == "log" else 0.5 * (m.lo + m.hi) for m in prior.marginals])
    return altered(toy_posterior(), model=model, prior=prior, draws=np.tile(middle, (5, 1)), best=middle)


def test_frozen_and_linked_parameters_are_so_in_xspec() -> None:
    from xrayflow.models import parse_model

    model = parse_model("TBabs*simpl*(gaussian+gaussian)").freeze({"TBabs.nH": 0.25})
    model = model.link({"gaussian_4.Sigma": "2*gaussian.Sigma+0.001", "gaussian_4.norm": "gaussian.norm/3"})
    _, answers = run(script(with_model(model)))
    assert len(answers) == 10
    assert numbers(answers[0])[:2] == [0.25, -0.001]
    assert numbers(answers[3])[1] < 0
    assert answers[8] == "= 2*p6+0.001"
    assert answers[9] == "= p7/3"


@pytest.mark.parametrize(
    "name",
    [
        "my source.pha",
        "a[exec touch pwned].pha",
        "$HOME.pha",
        'a"b.pha',
        "a{b.pha",
        "a;puts x.pha",
        "a\\b.pha",
        "#a.pha",
        "ü.pha",
    ],
)
def test_a_name_of_a_file_is_one_word_and_does_nothing(name: str) -> None:
    toy = toy_posterior()
    data = replace(toy.data[0], pha=Path("/data") / name)
    assert told(replace(toy, data=(data,)))["data"] == ["1:1", f"/data/{name}"]


@pytest.mark.parametrize("name", ["a\nexit.pha", "a\rb.pha", "a\x00b"])
def test_a_name_with_a_line_break_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="a control character in the name, which XSPEC cannot read; rename the file"):
        word(Path("/data") / name)


def test_files_are_named_from_the_root() -> None:
    assert Path(word(Path("here.pha"))).is_absolute()


def test_comments_say_what_to_expect_and_what_xspec_is_not_told() -> None:
    posterior = toy_posterior(background=True)
    text = comments(posterior)
    assert f"Expect C-Statistic {posterior.statistic.value:.2f} with {posterior.statistic.dof} degrees" in text
    assert "powerlaw.norm: uniform in its logarithm" in text
    assert "background.lnA is a nuisance of the likelihood: XSPEC has none" in text
    assert "response was allowed" not in text
    calibrated = altered(posterior, calibration=Calibration("nicer-v1", "0" * 64, 1.0))
    assert "The response was allowed to be wrong (modes nicer-v1)" in comments(calibrated)
    assert "A systematic error of 0.015 was believed" in comments(altered(posterior, systematic=0.015))
    pgstat = altered(posterior, statistic=replace(posterior.statistic, name="pgstat"))
    assert "--statistic pgstat-xspec shows that one" in comments(pgstat)
    assert told(pgstat)["statistic"] == ["pgstat"]


def test_a_systematic_error_beside_chi_squared_is_a_command() -> None:
    toy = toy_posterior()
    chi = altered(toy, statistic=replace(toy.statistic, name="chi2"), systematic=0.02)
    assert told(chi)["systematic"] == ["0.02"]
    assert told(chi)["statistic"] == ["chi"]
    assert "A systematic error" not in comments(chi)


def test_a_normal_prior_is_told() -> None:
    toy = toy_posterior()
    prior = Prior.of(toy.model, ["powerlaw.PhoIndex~N(1.7,0.2)"])
    assert "powerlaw.PhoIndex: normal, 1.7 +- 0.2, within -2 .. 9" in comments(replace(toy, prior=prior))


def test_a_comment_ends_with_its_line() -> None:
    toy = toy_posterior()
    bent = altered(toy, name="Poisson\nexit\\")
    assert [command[0] for command in run(script(bent))[0]] == ORDER


def test_a_local_model_is_told() -> None:
    from xrayflow.models import parse_model

    assert "simplcutx is a local model" in comments(with_model(parse_model("TBabs*simplcutx*ezdiskbb")))
